//! The fields of a key as data, so that a translator or a printer can walk them in a loop.

use serde::{Deserialize, Serialize};

use crate::key::{Key, Mask};

/// An attribute of ODP text: a field is printed under one, and a `set` action names one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Attr {
    /// `recirc_id(…)`
    RecircId,
    /// `dp_hash(…)`
    DpHash,
    /// `in_port(…)`
    InPort,
    /// `eth(src=…,dst=…)`
    Eth,
    /// `vlan(vid=…,pcp=…)`, the outer tag, with its `eth_type`
    Vlan,
    /// `vlan(vid=…,pcp=…)` inside `encap(…)`, the inner tag
    Cvlan,
    /// `eth_type(…)` behind all tags
    EthType,
    /// `mpls(label=…,tc=…,ttl=…,bos=…)`
    Mpls,
    /// `ipv4(…)` and `ipv6(…)`: what both have
    Ip,
    /// `ipv4(src=…,dst=…)`
    Ipv4,
    /// `ipv6(src=…,dst=…,label=…)`
    Ipv6,
    /// `tcp(…)`, `udp(…)`, `sctp(…)`, `icmp(…)`, `icmpv6(…)`: by the protocol
    Transport,
    /// `tcp_flags(…)`
    TcpFlags,
    /// `arp(…)`
    Arp,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident $field:ident $bits:literal $attr:ident $name:literal;)*) => {
        /// One field of a [`Key`].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Field { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl Field {
            /// All fields, in the order in which a packet carries them.
            pub const ALL: &'static [Field] = &[$(Field::$variant,)*];

            /// The name that refusals, `explain` and reports use; stable.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Field::$variant => $name,)* }
            }

            /// The field's width in bits.
            #[must_use]
            pub fn bits(self) -> u32 {
                match self { $(Field::$variant => $bits,)* }
            }

            /// Adds the fields that a mask has bits in, in packet order, each with its tag.
            pub(crate) fn write_compared(mask: &Mask, key: &Key, out: &mut Vec<u8>) {
                $(if !mask.$field.is_wild() {
                    const TAG: u32 = tag($name);
                    out.extend(TAG.to_le_bytes());
                    mask.$field.write(out);
                    key.$field.write(out);
                })*
            }

            /// The attribute under which ODP text shows the field.
            #[must_use]
            pub fn attr(self) -> Attr {
                match self { $(Field::$variant => Attr::$attr,)* }
            }
        }

        impl Key {
            /// The field's value as an integer in host order (addresses: first byte highest).
            #[must_use]
            pub fn get(&self, field: Field) -> u128 {
                match field { $(Field::$variant => u128::from(self.$field),)* }
            }

            /// Sets the field; bits above the field's width are cut off.
            #[allow(clippy::cast_possible_truncation, reason = "cutting off is the contract")]
            pub fn set(&mut self, field: Field, value: u128) {
                match field { $(Field::$variant => self.$field = FieldType::cut(value),)* }
            }
        }
    };
}

fields! {
    /// Datapath port that the packet came in by.
    InPort in_port 32 InPort "in_port";
    /// Scope of the lookup, 0 for a packet fresh from its port.
    RecircId recirc_id 32 RecircId "recirc_id";
    /// What the `hash` action computed.
    DpHash dp_hash 32 DpHash "dp_hash";
    /// Ethernet destination.
    EthDst eth_dst 48 Eth "eth_dst";
    /// Ethernet source.
    EthSrc eth_src 48 Eth "eth_src";
    /// TPID of the outer tag, 0 without one.
    VlanTpid vlan_tpid 16 Vlan "vlan_tpid";
    /// TCI of the outer tag; bit 12 means "present".
    VlanTci vlan_tci 16 Vlan "vlan_tci";
    /// TPID of the inner tag.
    CvlanTpid cvlan_tpid 16 Cvlan "cvlan_tpid";
    /// TCI of the inner tag.
    CvlanTci cvlan_tci 16 Cvlan "cvlan_tci";
    /// EtherType behind at most two tags; 0x05ff for an 802.2 frame without SNAP.
    EthType eth_type 16 EthType "eth_type";
    /// Outermost MPLS label stack entry.
    Mpls0 mpls0 32 Mpls "mpls0";
    /// Second MPLS label stack entry, 0 below the bottom of the stack.
    Mpls1 mpls1 32 Mpls "mpls1";
    /// Third MPLS label stack entry, 0 below the bottom of the stack.
    Mpls2 mpls2 32 Mpls "mpls2";
    /// ARP opcode.
    ArpOp arp_op 16 Arp "arp_op";
    /// ARP sender IPv4 address.
    ArpSip arp_sip 32 Arp "arp_sip";
    /// ARP target IPv4 address.
    ArpTip arp_tip 32 Arp "arp_tip";
    /// ARP sender Ethernet address.
    ArpSha arp_sha 48 Arp "arp_sha";
    /// ARP target Ethernet address.
    ArpTha arp_tha 48 Arp "arp_tha";
    /// IPv4 source.
    Ipv4Src ipv4_src 32 Ipv4 "ipv4_src";
    /// IPv4 destination.
    Ipv4Dst ipv4_dst 32 Ipv4 "ipv4_dst";
    /// IPv6 source.
    Ipv6Src ipv6_src 128 Ipv6 "ipv6_src";
    /// IPv6 destination.
    Ipv6Dst ipv6_dst 128 Ipv6 "ipv6_dst";
    /// IPv6 flow label.
    Ipv6Label ipv6_label 20 Ipv6 "ipv6_label";
    /// IP protocol, behind IPv6 extension headers.
    IpProto ip_proto 8 Ip "ip_proto";
    /// Type of service / traffic class, all eight bits.
    IpTos ip_tos 8 Ip "ip_tos";
    /// Time to live / hop limit.
    IpTtl ip_ttl 8 Ip "ip_ttl";
    /// 0 no fragment, 1 first, 2 later (the kernel's numbers). Masks are all or nothing.
    IpFrag ip_frag 8 Ip "ip_frag";
    /// Source port of TCP, UDP, SCTP; type of ICMP and ICMPv6.
    TpSrc tp_src 16 Transport "tp_src";
    /// Destination port of TCP, UDP, SCTP; code of ICMP and ICMPv6.
    TpDst tp_dst 16 Transport "tp_dst";
    /// The twelve flag bits of TCP.
    TcpFlags tcp_flags 12 TcpFlags "tcp_flags";
}

impl Field {
    /// All ones in the field's width.
    #[must_use]
    pub fn full_mask(self) -> u128 {
        u128::MAX >> (128 - self.bits())
    }
}

impl Key {
    /// The fields that have a bit set, in packet order.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        Field::ALL.iter().copied().filter(|field| self.get(*field) != 0)
    }

    /// A mask of the given fields, each whole.
    #[must_use]
    pub fn mask_of(fields: &[Field]) -> Mask {
        let mut mask = Mask::default();
        fields.iter().for_each(|field| mask.set(*field, field.full_mask()));
        mask
    }
}

impl std::fmt::Debug for Key {
    /// The fields that are not zero.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Key");
        for field in self.fields() {
            out.field(field.name(), &format_args!("{:#x}", self.get(field)));
        }
        out.finish()
    }
}

/// A number for a field's name (FNV-1a). Names are stable, and so is the order of the fields in the
/// list above: both are part of every ufid. New fields may come between old ones.
const fn tag(name: &str) -> u32 {
    let (mut tag, mut n) = (0x811c_9dc5_u32, 0);
    while n < name.len() {
        tag = (tag ^ name.as_bytes()[n] as u32).wrapping_mul(0x0100_0193);
        n += 1;
    }
    tag
}

/// What a field's own type has to do.
trait FieldType {
    /// Converts 128 bits by cutting off the higher bits.
    fn cut(value: u128) -> Self;

    /// Returns true if no bit is set.
    fn is_wild(&self) -> bool;

    /// Adds the value as a little-endian number; an address as its bytes.
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! cut {
    ($($int:ty)*) => {$(
        impl FieldType for $int {
            #[allow(clippy::cast_possible_truncation, reason = "cutting off is the contract")]
            fn cut(value: u128) -> Self { value as $int }

            fn is_wild(&self) -> bool { *self == 0 }

            fn write(&self, out: &mut Vec<u8>) { out.extend(self.to_le_bytes()); }
        }
    )*};
}
cut!(u8 u16 u32 u128);

impl FieldType for crate::MacAddr {
    fn cut(value: u128) -> Self {
        let bytes = value.to_be_bytes();
        let mut mac = [0; 6];
        mac.copy_from_slice(&bytes[10..]);
        crate::MacAddr(mac)
    }

    fn is_wild(&self) -> bool {
        *self == crate::MacAddr::default()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_own_bits() {
        for field in Field::ALL {
            let mut key = Key::default();
            key.set(*field, field.full_mask());
            assert_eq!(key.get(*field), field.full_mask(), "{field:?}");
            for other in Field::ALL.iter().filter(|o| *o != field) {
                assert_eq!(key.get(*other), 0, "{field:?} writes {other:?}");
            }
        }
    }

    /// Two fields of one tag could make two matches one ufid.
    #[test]
    fn every_field_has_its_own_tag() {
        let tags: std::collections::BTreeSet<u32> =
            Field::ALL.iter().map(|field| tag(field.name())).collect();
        assert_eq!(tags.len(), Field::ALL.len());
    }

    /// A field in two words is two to whoever works on words.
    #[test]
    fn no_field_crosses_a_word() {
        for field in Field::ALL.iter().filter(|field| field.bits() <= 64) {
            let key = Key::mask_of(&[*field]);
            assert_eq!(key.words().iter().filter(|word| **word != 0).count(), 1, "{field:?}");
        }
    }

    #[test]
    fn the_fields_are_the_whole_key() {
        let ones: u32 = Field::ALL.iter().map(|f| f.bits()).sum();
        let mut key = Key::default();
        Field::ALL.iter().for_each(|f| key.set(*f, f.full_mask()));
        assert_eq!(key.words().iter().map(|w| w.count_ones()).sum::<u32>(), ones);
    }
}
