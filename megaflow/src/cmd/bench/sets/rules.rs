//! Rules by priority, and what their search looks at.

use flow::{Field, Key, Mask, Match};

/// The fields that rules compare, in the order in which they are looked at: the protocol comes
/// before the ports, which only some protocols have.
const FIELDS: [Field; 5] =
    [Field::IpProto, Field::Ipv4Src, Field::Ipv4Dst, Field::TpSrc, Field::TpDst];

/// Rules for IPv4, the first of which goes first. They compare prefixes of [`FIELDS`].
pub(super) struct AccessList(pub(super) Vec<Match>);

impl AccessList {
    /// The megaflow that the search for the packet's rule gives: it compares what the search has
    /// looked at, up to the first rule that the packet matches.
    ///
    /// A field is looked at from its highest bit to the first one that differs from the rule's.
    /// Which bit comes next follows from the bits before it alone, so the first bit in which two
    /// packets differ is one that both megaflows compare: megaflows are equal or do not overlap.
    pub(super) fn search(&self, packet: &Key) -> Match {
        let mut seen = Mask::mask_of(&[Field::EthType, Field::VlanTci, Field::IpFrag]);
        for rule in &self.0 {
            let both = seen.masked(rule.mask());
            let is_open = packet.masked(&both) == rule.key().masked(&both);
            if is_open && compare(packet, rule, &mut seen) {
                break;
            }
        }
        Match::new(packet, &seen)
    }
}

/// Looks at the packet until it differs from the rule; returns true if it does not.
fn compare(packet: &Key, rule: &Match, seen: &mut Mask) -> bool {
    FIELDS.into_iter().all(|field| {
        let mask = rule.mask().get(field);
        let apart = (packet.get(field) ^ rule.key().get(field)) & mask;
        // Flow text has a protocol as a whole only.
        let first = if field == Field::IpProto { 0 } else { apart.checked_ilog2().unwrap_or(0) };
        seen.set(field, seen.get(field) | mask & u128::MAX << first);
        apart == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_looks_at_each_field_up_to_the_first_bit_that_differs() {
        let rule = |key: Key, fields: &[Field]| Match::new(&key, &Mask::mask_of(fields));
        let list = AccessList(vec![
            rule(Key { ip_proto: 17, tp_dst: 80, ..Key::default() }, &[FIELDS[0], FIELDS[4]]),
            rule(Key { ipv4_src: 0x0a00_0001, ..Key::default() }, &[FIELDS[1]]),
        ]);
        let looked = |key: Key| {
            let mask = *list.search(&key).mask();
            (mask.ip_proto, mask.tp_dst, mask.ipv4_src)
        };
        let packet = Key { ip_proto: 17, tp_dst: 80, ..Key::default() };
        assert_eq!(looked(packet), (0xff, 0xffff, 0));
        let other = Key { tp_dst: 0x1050, ipv4_src: 0x0a00_0001, ..packet };
        assert_eq!(looked(other), (0xff, 0xf000, u32::MAX));
        assert_eq!(looked(Key { ipv4_src: 0x0b00_0000, ..other }), (0xff, 0xf000, 0xff00_0000));
        assert_eq!(looked(Key { ip_proto: 6, ..packet }), (0xff, 0, 0xf800_0000));
    }
}
