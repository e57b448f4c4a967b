//! The sets that the peers are measured with: the same megaflows, the same packets.
//!
//! A megaflow compares both addresses by prefix, and whole: both ports, the protocol, whether the
//! packet is a fragment, and whether it has a tag. The masks differ in the lengths of the prefixes;
//! the destination port keeps the megaflows of one mask from those of another.

use std::ops::Range;

use flow::{Field, Key, Mask, Match};

use super::FlowSet;
use super::draw::Draw;
use crate::cmd::bench::traffic::key;

/// The largest number of masks: six prefix lengths of each address.
const MASKS: u32 = 36;
/// The largest number of megaflows under one mask: all that the source address has room for.
const MEMBERS: u32 = 1 << 20;

/// This number of megaflows under that number of masks, and a packet for each of the first ones.
pub(in crate::cmd::bench) fn hits(flows: u32, masks: u32, visited: u32) -> Result<FlowSet, String> {
    set(flows, masks, 0..visited.min(flows), true)
}

/// The same megaflows, and as many packets of others under the same masks.
pub(in crate::cmd::bench) fn misses(flows: u32, masks: u32) -> Result<FlowSet, String> {
    set(flows, masks, flows..flows.saturating_mul(2), false)
}

/// This number of megaflows, and `packets` packets for them by Zipf's law: of any two megaflows the
/// one that is twice as far down the list of the busiest has half the packets.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank is below the number of megaflows"
)]
pub(in crate::cmd::bench) fn zipf(flows: u32, masks: u32, packets: u32) -> Result<FlowSet, String> {
    let set = set(flows, masks, 0..flows, true)?;
    let mut draw = Draw::new(5);
    let by_rank = set.traffic;
    let pick = |_| {
        let part = (draw.number() >> 11) as f64 / (1_u64 << 53) as f64;
        // The sums of 1/rank grow as the logarithm does.
        let rank = (f64::from(flows) + 1.0).powf(part) - 1.0;
        by_rank.get(rank as usize).copied().ok_or("no packet")
    };
    let traffic = (0..packets).map(pick).collect::<Result<Vec<Key>, _>>()?;
    Ok(FlowSet { flows: set.flows, traffic, hits: true })
}

fn set(flows: u32, masks: u32, traffic: Range<u32>, hits: bool) -> Result<FlowSet, String> {
    if !(1..=MASKS).contains(&masks) || flows.max(traffic.end).div_ceil(masks) > MEMBERS {
        return Err(format!(
            "{flows} megaflows under {masks} masks: at most {MEMBERS} under {MASKS}"
        ));
    }
    let flows = (0..flows).map(|number| megaflow(number % masks, number / masks)).collect();
    let mut traffic: Vec<Key> =
        traffic.map(|number| packet(number % masks, number / masks)).collect();
    Draw::new(42).shuffle(&mut traffic);
    Ok(FlowSet { flows, traffic, hits })
}

/// The megaflow of a packet.
pub(super) fn megaflow(class: u32, member: u32) -> Match {
    let mut mask = Mask::mask_of(&[Field::EthType, Field::VlanTci, Field::IpProto, Field::IpFrag]);
    (mask.tp_src, mask.tp_dst) = (u16::MAX, u16::MAX);
    (mask.ipv4_src, mask.ipv4_dst) = (u32::MAX << (class % 6), u32::MAX << (class / 6 % 6));
    Match::new(&packet(class, member), &mask)
}

/// A packet under mask number `class`.
pub(super) fn packet(class: u32, member: u32) -> Key {
    let mut packet = key(0);
    packet.ipv4_src = 0x4000_0000 | member << 6;
    packet.ipv4_dst = 0xc000_0000 | class << 16 | (member & 0x3ff) << 6;
    packet.set(Field::TpSrc, u128::from(1024 + member % 60_000));
    packet.set(Field::TpDst, u128::from(2000 + class));
    packet
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flow::odp;

    use super::super::tests::{masks_of, visited};
    use super::*;

    /// What `odp_match` of the script printed that measures the peers.
    const PRINTED: [(u32, u32, &str); 4] = [
        (
            0,
            0,
            "ipv4(src=64.0.0.0/255.255.255.255,dst=192.0.0.0/255.255.255.255,proto=17,frag=no),\
             udp(src=1024,dst=2000)",
        ),
        (
            7,
            12345,
            "ipv4(src=64.12.14.64/255.255.255.254,dst=192.7.14.64/255.255.255.254,proto=17,\
             frag=no),udp(src=13369,dst=2007)",
        ),
        (
            29,
            3333,
            "ipv4(src=64.3.65.64/255.255.255.224,dst=192.29.65.64/255.255.255.240,proto=17,\
             frag=no),udp(src=4357,dst=2029)",
        ),
        (
            9,
            99999,
            "ipv4(src=64.97.167.192/255.255.255.248,dst=192.9.167.192/255.255.255.254,proto=17,\
             frag=no),udp(src=41023,dst=2009)",
        ),
    ];

    #[test]
    fn the_megaflows_are_those_that_the_peers_get() {
        for (class, member, printed) in PRINTED {
            let text = format!(
                "recirc_id(0x0),in_port(1),packet_type(ns=0,id=0),eth(),eth_type(0x0800),{printed}"
            );
            assert_eq!(megaflow(class, member), odp::parse_match(&text).unwrap(), "{text}");
        }
    }

    #[test]
    fn megaflows_have_so_many_masks_and_a_packet_each() {
        for masks in [1, 10, 30, MASKS] {
            let set = hits(400, masks, 150).unwrap();
            assert_eq!((masks_of(&set), visited(&set)), (masks as usize, 150));
            assert_eq!((set.flows.len(), set.traffic.len()), (400, 150));
            let set = misses(100, masks).unwrap();
            assert_eq!((masks_of(&set), set.traffic.len()), (masks as usize, 100));
        }
    }

    #[test]
    fn half_the_rank_is_twice_the_packets() {
        let set = zipf(1000, 10, 50_000).unwrap();
        assert_eq!((masks_of(&set), set.traffic.len()), (10, 50_000));
        let mut packets = BTreeMap::new();
        set.traffic.iter().for_each(|key| *packets.entry(*key.words()).or_insert(0) += 1);
        let mut packets: Vec<i32> = packets.into_values().collect();
        packets.sort_by_key(|packets| std::cmp::Reverse(*packets));
        for (rank, part) in [(1, 2), (4, 2), (4, 8)] {
            let (more, fewer) = (packets[rank - 1], packets[rank * part - 1]);
            let ratio = f64::from(more) / f64::from(fewer) / part as f64;
            assert!((0.6..1.6).contains(&ratio), "{rank} {part}: {more} to {fewer}");
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        for (flows, masks) in [(10, 0), (10, 37), (MEMBERS + 1, 1)] {
            assert!(
                hits(flows, masks, 10).is_err_and(|why| why.contains("at most 1048576 under 36"))
            );
        }
    }
}
