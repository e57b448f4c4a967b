//! IPv6 under five masks: from single connections to whole networks.

use flow::{Field, Key, Mask};

use super::FlowSet;
use super::draw::Draw;
use crate::cmd::bench::traffic::key;

/// Networks that send to one network.
const SENDERS: u32 = 256;

/// What each of the masks compares of the addresses, in bits, and besides them.
const MASKS: [(u32, u32, &[Field]); 5] = [
    (128, 128, &[Field::IpProto, Field::TpSrc, Field::TpDst]),
    (128, 128, &[Field::IpProto, Field::TpDst]),
    (64, 128, &[Field::IpProto, Field::TpDst]),
    (64, 64, &[Field::IpProto]),
    (48, 64, &[]),
];

/// This number of megaflows, and a packet for each.
pub(in crate::cmd::bench) fn set(flows: u32) -> FlowSet {
    let mut draw = Draw::new(6);
    FlowSet::of_packets((0..flows).zip(MASKS.into_iter().cycle()).map(|(number, compared)| {
        let packet = packet(number, &mut draw);
        let (src, dst, fields) = compared;
        let mut mask = Mask::mask_of(fields);
        [mask.ipv6_src, mask.ipv6_dst] = [src, dst].map(|bits| u128::MAX << (128 - bits));
        (mask.eth_type, mask.vlan_tci, mask.ip_frag) = (u16::MAX, u16::MAX, u8::MAX);
        (packet, mask)
    }))
}

/// A packet from one site to another. The sender's site and the network that it sends to are
/// different for each number, in bits that every mask compares.
fn packet(number: u32, draw: &mut Draw) -> Key {
    let mut packet = Key { ipv4_src: 0, ipv4_dst: 0, eth_type: 0x86dd, ..key(0) };
    let site = |site: u32, network: u32| {
        0x2001_0db8 << 96 | u128::from(site) << 80 | u128::from(network) << 64
    };
    let (to, from) = (number / SENDERS, number % SENDERS);
    packet.ipv6_src = site(0x100 + from, from % 7);
    packet.ipv6_dst = site(to / 256, to % 256);
    for (field, bits) in
        [(Field::Ipv6Src, 64), (Field::Ipv6Dst, 64), (Field::TpSrc, 16), (Field::TpDst, 10)]
    {
        draw.blur(&mut packet, field, bits);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::super::tests::{masks_of, visited};
    use super::*;

    #[test]
    fn five_masks_and_a_packet_for_each_megaflow() {
        let set = set(600);
        assert_eq!((masks_of(&set), visited(&set)), (5, 600));
        assert_eq!((set.flows.len(), set.traffic.len()), (600, 600));
    }
}
