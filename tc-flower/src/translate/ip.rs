//! Translates IPv4 and IPv6: addresses, protocol, ToS, TTL, fragments.

use flow::{Detail, Field, Refusal};

use super::keys::{FlowerKeys, mask, value};
use super::table::{self, Simple};
use crate::rule::FlowerKey;

/// The key's numbers for fragments.
pub(super) const FRAG_NO: u8 = 0;
const FRAG_FIRST: u8 = 1;

/// The IPv6 extension headers that a key skips to find the protocol: hop-by-hop options, routing,
/// fragment, authentication, destination options.
const EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];

/// Fields behind the IP header.
const PORTS: &[Field] = &[Field::TpSrc, Field::TpDst, Field::TcpFlags];

impl FlowerKeys<'_> {
    pub(super) fn ip(&mut self, addresses: &[Simple]) {
        let protocol = self.protocol();
        let protocol = self.part(&[Field::IpProto], protocol);
        self.simple(addresses);
        self.simple(table::IP_BITS);
        let fragments = self.fragments();
        let fragments = self.part(&[Field::IpFrag], fragments);
        // If the protocol or the fragment match is refused, the kind of the ports is not known.
        if protocol.is_some() && fragments.is_some() {
            let ports = self.transport();
            self.part(PORTS, ports);
        } else {
            PORTS.iter().for_each(|field| self.take(*field));
        }
    }

    fn protocol(&mut self) -> Result<(), Refusal> {
        self.whole(Field::IpProto)?;
        if self.mask.ip_proto != 0 {
            self.ipv6_protocol()?;
            self.out.push(FlowerKey::exact(table::IP_PROTO, &[self.key.ip_proto]));
            self.take(Field::IpProto);
        }
        Ok(())
    }

    /// Refuses a match on the protocol if tc's dissector would find another protocol in an IPv6
    /// packet than the key does. For a later fragment tc shows the protocol behind the fragment
    /// header, where the key has 44. tc stops at an authentication header, where the key goes on.
    fn ipv6_protocol(&self) -> Result<(), Refusal> {
        if self.key.eth_type != table::IPV6_TYPE {
            return Ok(());
        }
        if EXTENSIONS.contains(&self.key.ip_proto) {
            let why = &"an IPv6 extension header is not a protocol: tc would match other packets";
            return Err(value(Field::IpProto, why));
        }
        match self.mask.ip_frag {
            0 => {
                let why = &"match frag=no beside the protocol: tc finds it in later IPv6 fragments";
                Err(mask(Field::IpFrag, why))
            }
            _ => Ok(()),
        }
    }

    fn fragments(&mut self) -> Result<(), Refusal> {
        self.whole(Field::IpFrag)?;
        if self.mask.ip_frag == 0 {
            return Ok(());
        }
        let later = table::FLAG_FRAGMENT | table::FLAG_FIRST;
        let (flags, mask) = match self.key.ip_frag {
            FRAG_NO => (0, table::FLAG_FRAGMENT),
            _ if self.key.eth_type == table::IPV6_TYPE => {
                return Err(value(Field::IpFrag, &"fragments of IPv6 are the host's"));
            }
            FRAG_FIRST => (later, later),
            2 => (table::FLAG_FRAGMENT, later),
            other => {
                let detail = Detail::OfNumber(&"there is no {}", u32::from(other));
                return Err(value(Field::IpFrag, detail));
            }
        };
        self.out.push(FlowerKey::masked(
            table::FLAGS,
            table::FLAGS_MASK,
            &flags.to_be_bytes(),
            &mask.to_be_bytes(),
        ));
        self.take(Field::IpFrag);
        Ok(())
    }
}
