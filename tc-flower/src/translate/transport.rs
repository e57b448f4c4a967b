//! Translates TCP, UDP, SCTP, ICMP and ICMPv6.

use flow::{Detail, Field, Refusal};

use super::ip::FRAG_NO;
use super::keys::{FlowerKeys, mask, partial, value};
use super::table::{self, Simple};

/// Protocol numbers of IP.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

/// Returns the keys of a protocol over that EtherType.
pub(crate) fn keys_of(eth_type: u16, protocol: u8) -> &'static [Simple] {
    match (eth_type, protocol) {
        (_, TCP) => table::TCP,
        (_, UDP) => table::UDP,
        (_, SCTP) => table::SCTP,
        (table::IPV4_TYPE, ICMP) => table::ICMP,
        (table::IPV6_TYPE, ICMPV6) => table::ICMPV6,
        _ => &[],
    }
}

impl FlowerKeys<'_> {
    pub(super) fn transport(&mut self) -> Result<(), Refusal> {
        let fields = [Field::TpSrc, Field::TpDst, Field::TcpFlags];
        let Some(first) = fields.into_iter().find(|field| self.mask.get(*field) != 0) else {
            return Ok(());
        };
        if self.mask.ip_proto == 0 {
            return Err(mask(Field::IpProto, &"match on the protocol whose ports are matched"));
        }
        // Cards differ in the bytes that they read as the ports of a fragment.
        if self.mask.ip_frag == 0 {
            return Err(mask(Field::IpFrag, Detail::OfField(&"match frag=no beside {}", first)));
        }
        if self.key.ip_frag != FRAG_NO {
            return Err(value(first, &"with fragments: cards differ in what they read there"));
        }
        let keys = keys_of(self.key.eth_type, self.key.ip_proto);
        if keys.first().is_some_and(|simple| simple.len == 1) {
            self.eight_bits(Field::TpSrc)?;
            self.eight_bits(Field::TpDst)?;
        }
        self.simple(keys);
        Ok(())
    }

    /// Checks ICMP's type or code, which is one byte in a field of two: the mask must cover the
    /// whole field or only bits of the low byte.
    fn eight_bits(&self, field: Field) -> Result<(), Refusal> {
        if self.key.get(field) > 0xff {
            return Err(value(field, &"a type or code of ICMP has eight bits"));
        }
        match self.mask.get(field) {
            0xffff | 0..=0xfe => Ok(()),
            bits => Err(partial(field, bits)),
        }
    }
}
