//! The key as the card has it: 80 bytes, big-endian, with one area for all layer-3 fields.

use flow::{Field, Key};

use crate::layout::{Layout, Word, layout};

/// The length of a key in bytes.
pub const KEY_BYTES: usize = 80;
/// The length in bytes of a key and its mask together; a record of ACT_WRITE holds an action list
/// in their place.
pub const PAYLOAD_BYTES: usize = 2 * KEY_BYTES;

/// A key or a mask in the card's form.
pub type CardKey = [u8; KEY_BYTES];

layout! {
    /// The key.
    key "KEY" {
        IN_PORT 0x00 2;
        RESERVED 0x02 2;
        RECIRC_ID 0x04 4;
        ETH_DST 0x08 6;
        ETH_SRC 0x0e 6;
        VLAN_TPID 0x14 2;
        VLAN_TCI 0x16 2;
        CVLAN_TPID 0x18 2;
        CVLAN_TCI 0x1a 2;
        ETH_TYPE 0x1c 2;
        IP_PROTO 0x1e 1;
        IP_FRAG 0x1f 1;
        IP_TOS 0x20 1;
        IP_TTL 0x21 1;
        TP_SRC 0x22 2;
        TP_DST 0x24 2;
        TCP_FLAGS 0x26 2;
        L3 0x28 36;
        RESERVED2 0x4c 4;
    }
}
layout! {
    /// The L3 area of IPv4.
    ipv4 "L3_IPV4" {
        IPV4_SRC 0x00 4;
        IPV4_DST 0x04 4;
    }
}
layout! {
    /// The L3 area of IPv6.
    ipv6 "L3_IPV6" {
        IPV6_SRC 0x00 16;
        IPV6_DST 0x10 16;
        IPV6_LABEL 0x20 4;
    }
}
layout! {
    /// The L3 area of ARP.
    arp "L3_ARP" {
        ARP_OP 0x00 2;
        ARP_SIP 0x04 4;
        ARP_TIP 0x08 4;
        ARP_SHA 0x0c 6;
        ARP_THA 0x12 6;
    }
}
layout! {
    /// The L3 area of MPLS.
    mpls "L3_MPLS" {
        MPLS0 0x00 4;
        MPLS1 0x04 4;
        MPLS2 0x08 4;
    }
}

/// All layouts of the key, for the test that compares them with `docs/fpga-abi.md`.
pub const LAYOUTS: &[Layout] =
    &[key::LAYOUT, ipv4::LAYOUT, ipv6::LAYOUT, arp::LAYOUT, mpls::LAYOUT];

/// The layer-3 protocol whose fields are in the L3 area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum L3Family {
    /// EtherType 0x0800.
    Ipv4,
    /// EtherType 0x86dd.
    Ipv6,
    /// EtherTypes 0x0806 and 0x8035.
    Arp,
    /// EtherTypes 0x8847 and 0x8848.
    Mpls,
    /// Any other EtherType: the area is 0.
    Other,
}

impl L3Family {
    /// Returns the family of an EtherType.
    #[must_use]
    pub fn of(eth_type: u16) -> L3Family {
        match eth_type {
            0x0800 => L3Family::Ipv4,
            0x86dd => L3Family::Ipv6,
            0x0806 | 0x8035 => L3Family::Arp,
            0x8847 | 0x8848 => L3Family::Mpls,
            _ => L3Family::Other,
        }
    }

    fn fields(self) -> &'static [(Field, Word)] {
        match self {
            L3Family::Ipv4 => &[(Field::Ipv4Src, ipv4::IPV4_SRC), (Field::Ipv4Dst, ipv4::IPV4_DST)],
            L3Family::Ipv6 => &[
                (Field::Ipv6Src, ipv6::IPV6_SRC),
                (Field::Ipv6Dst, ipv6::IPV6_DST),
                (Field::Ipv6Label, ipv6::IPV6_LABEL),
            ],
            L3Family::Arp => &[
                (Field::ArpOp, arp::ARP_OP),
                (Field::ArpSip, arp::ARP_SIP),
                (Field::ArpTip, arp::ARP_TIP),
                (Field::ArpSha, arp::ARP_SHA),
                (Field::ArpTha, arp::ARP_THA),
            ],
            L3Family::Mpls => &[
                (Field::Mpls0, mpls::MPLS0),
                (Field::Mpls1, mpls::MPLS1),
                (Field::Mpls2, mpls::MPLS2),
            ],
            L3Family::Other => &[],
        }
    }
}

/// The fields with a place outside the L3 area. `in_port` is not among them, because the card
/// numbers ports differently.
pub(crate) const FIXED: &[(Field, Word)] = &[
    (Field::RecircId, key::RECIRC_ID),
    (Field::EthDst, key::ETH_DST),
    (Field::EthSrc, key::ETH_SRC),
    (Field::VlanTpid, key::VLAN_TPID),
    (Field::VlanTci, key::VLAN_TCI),
    (Field::CvlanTpid, key::CVLAN_TPID),
    (Field::CvlanTci, key::CVLAN_TCI),
    (Field::EthType, key::ETH_TYPE),
    (Field::IpProto, key::IP_PROTO),
    (Field::IpFrag, key::IP_FRAG),
    (Field::IpTos, key::IP_TOS),
    (Field::IpTtl, key::IP_TTL),
    (Field::TpSrc, key::TP_SRC),
    (Field::TpDst, key::TP_DST),
    (Field::TcpFlags, key::TCP_FLAGS),
];

/// Returns the fields of a family in the L3 area.
pub(crate) fn family_fields(family: L3Family) -> impl Iterator<Item = (Field, Word)> {
    let inside = |word: Word| Word { offset: key::L3.offset + word.offset, ..word };
    family.fields().iter().map(move |(field, word)| (*field, inside(*word)))
}

/// Encodes a key or a mask in the card's form. Fields that have no place in this family are left
/// out: in a packet they are 0, and in a match the admission checks them.
#[must_use]
pub fn encode(from: &Key, family: L3Family, in_port: u16) -> CardKey {
    let mut out = [0; KEY_BYTES];
    key::IN_PORT.put_be(&mut out, u128::from(in_port));
    let mut put = |field: Field, word: Word| {
        let value = from.get(field);
        if value != 0 {
            word.put_be(&mut out, value);
        }
    };
    FIXED.iter().for_each(|(field, word)| put(*field, *word));
    family_fields(family).for_each(|(field, word)| put(field, word));
    out
}

/// Decodes a key or a mask; `in_port` stays 0.
#[must_use]
pub fn decode(from: &CardKey, family: L3Family) -> Key {
    let mut out = Key::default();
    let fixed = FIXED.iter().copied();
    for (field, word) in fixed.chain(family_fields(family)) {
        out.set(field, word.get_be(from));
    }
    out
}

/// Returns the key under a mask.
#[must_use]
pub fn masked(key: &CardKey, mask: &CardKey) -> CardKey {
    let mut out = *key;
    out.iter_mut().zip(mask).for_each(|(byte, mask)| *byte &= mask);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_own_place_and_comes_back() {
        let families = [(L3Family::Ipv4, 0x800), (L3Family::Ipv6, 0x86dd), (L3Family::Arp, 0x806)];
        for (family, eth_type) in families.into_iter().chain([(L3Family::Mpls, 0x8847)]) {
            assert_eq!(L3Family::of(eth_type), family);
            let all = FIXED.iter().copied().chain(family_fields(family));
            let mut used = [0; KEY_BYTES];
            for (field, word) in all {
                let mut key = Key::default();
                key.set(field, field.full_mask());
                let card = encode(&key, family, 0);
                assert_eq!(decode(&card, family), key, "{field:?}");
                assert!(word.width * 8 >= field.bits() as usize, "{field:?}");
                for (used, byte) in used.iter_mut().zip(card) {
                    assert_eq!(*used & byte, 0, "{field:?} shares a bit");
                    *used |= byte;
                }
            }
        }
    }
}
