//! IPv4 and IPv6: addresses, protocol, ToS, TTL, fragments.

use flow::{Field, Refusal};

use super::table::{self, Simple};
use super::{Keys, value};
use crate::rule::FlowerKey;

/// The key's numbers for fragments.
pub(super) const FRAG_NO: u8 = 0;
const FRAG_FIRST: u8 = 1;

impl Keys<'_> {
    pub(super) fn ip(&mut self, addresses: &[Simple]) -> Result<(), Refusal> {
        self.whole(Field::IpProto)?;
        self.whole(Field::IpFrag)?;
        if self.mask.ip_proto != 0 {
            self.out.push(FlowerKey::exact(table::IP_PROTO, &[self.key.ip_proto]));
            self.take(Field::IpProto);
        }
        self.simple(addresses);
        self.simple(table::IP_BITS);
        if self.mask.ip_frag != 0 {
            self.fragments()?;
        }
        self.transport()
    }

    fn fragments(&mut self) -> Result<(), Refusal> {
        let later = table::FLAG_FRAGMENT | table::FLAG_FIRST;
        let (flags, mask) = match self.key.ip_frag {
            FRAG_NO => (0, table::FLAG_FRAGMENT),
            _ if self.key.eth_type == table::IPV6_TYPE => {
                return Err(value(Field::IpFrag, "fragments of IPv6 are the host's"));
            }
            FRAG_FIRST => (later, later),
            2 => (table::FLAG_FRAGMENT, later),
            other => return Err(value(Field::IpFrag, format!("there is no {other}"))),
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
