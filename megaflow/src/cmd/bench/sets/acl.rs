//! An access list with random rules, and the megaflows that random packets make under it.

use std::cmp::Reverse;
use std::collections::HashSet;

use flow::{Field, Key, Mask, Match};

use super::FlowSet;
use super::draw::Draw;
use super::rules::AccessList;
use crate::cmd::bench::traffic::key;

const RULES: usize = 300;
/// Packets to draw for each that is wanted, at most.
const PATIENCE: u64 = 100;
/// The lengths of the prefixes that rules compare, each as likely as the others: of the address at
/// one end, of that at the other end, and of the ports.
const NARROW: [u32; 6] = [16, 20, 24, 24, 28, 32];
const WIDE: [u32; 6] = [0, 0, 14, 16, 20, 24];
const SOURCE_PORT: [u32; 6] = [0, 0, 0, 0, 6, 16];
const DESTINATION_PORT: [u32; 6] = [0, 0, 6, 16, 16, 16];

/// This number of megaflows, and a packet for each.
pub(in crate::cmd::bench) fn hits(flows: u32) -> Result<FlowSet, String> {
    let mut packets = NewPackets::start();
    let (flows, mut traffic) = packets.take(flows)?;
    packets.draw.shuffle(&mut traffic);
    Ok(FlowSet { flows, traffic, hits: true })
}

/// The same megaflows, and as many packets that would make others.
pub(in crate::cmd::bench) fn misses(flows: u32) -> Result<FlowSet, String> {
    let mut packets = NewPackets::start();
    let ((flows, _), (_, traffic)) = (packets.take(flows)?, packets.take(flows)?);
    Ok(FlowSet { flows, traffic, hits: false })
}

/// Packets each of which hits no megaflow that those before it have made.
struct NewPackets {
    draw: Draw,
    list: AccessList,
    made: HashSet<Match>,
}

impl NewPackets {
    fn start() -> NewPackets {
        let mut draw = Draw::new(3);
        let mut rules: Vec<Match> = (0..RULES).map(|_| rule(&mut draw)).collect();
        // An exception goes before the rule that it is an exception of.
        rules.sort_by_key(|rule| Reverse(compared(rule)));
        NewPackets { draw, list: AccessList(rules), made: HashSet::new() }
    }

    /// The next packets, and the megaflows that they make.
    fn take(&mut self, count: u32) -> Result<(Vec<Match>, Vec<Key>), String> {
        let (mut flows, mut packets) = (Vec::new(), Vec::new());
        for _ in 0..PATIENCE * u64::from(count) {
            let packet = near(&self.list.0, &mut self.draw);
            let flow = self.list.search(&packet);
            if self.made.insert(flow.clone()) {
                flows.push(flow);
                packets.push(packet);
            }
            if flows.len() == count as usize {
                return Ok((flows, packets));
            }
        }
        Err(format!("{RULES} rules give fewer than {count} new megaflows"))
    }
}

/// A packet that one of the rules is about, although it may match another before that one.
fn near(rules: &[Match], draw: &mut Draw) -> Key {
    let packet = packet(draw);
    let rule = draw.one_of(rules);
    rule.map_or(packet, |rule| packet.without(rule.mask()).union(&rule.key()))
}

/// A packet between any two hosts of four networks, to one of a few services.
fn packet(draw: &mut Draw) -> Key {
    let mut packet = key(0);
    for field in [Field::Ipv4Src, Field::Ipv4Dst] {
        packet.set(field, 0x0a00_0000 | u128::from(draw.number() & 0x0003_0fff));
    }
    packet.set(Field::TpSrc, draw.number().into());
    packet.set(Field::TpDst, u128::from(draw.number() & 0x1f) * 171 + 22);
    packet.set(Field::IpProto, if draw.number() & 3 == 0 { 6 } else { 17 });
    packet
}

/// The number of bits that a rule compares.
fn compared(rule: &Match) -> u32 {
    rule.mask().words().iter().map(|word| word.count_ones()).sum()
}

/// A rule for packets like this one. Only one that compares the protocol compares ports.
fn rule(draw: &mut Draw) -> Match {
    let mut mask = Mask::default();
    let mut compare = |field: Field, lengths: &[u32], draw: &mut Draw| {
        let length = draw.one_of(lengths).copied().unwrap_or_default();
        mask.set(field, field.full_mask() & !(field.full_mask() >> length));
    };
    let [narrow, wide] = match draw.number() & 1 {
        0 => [Field::Ipv4Src, Field::Ipv4Dst],
        _ => [Field::Ipv4Dst, Field::Ipv4Src],
    };
    compare(narrow, &NARROW, draw);
    compare(wide, &WIDE, draw);
    if draw.number() & 3 > 0 {
        compare(Field::IpProto, &[8], draw);
        compare(Field::TpSrc, &SOURCE_PORT, draw);
        compare(Field::TpDst, &DESTINATION_PORT, draw);
    }
    Match::new(&packet(draw), &mask)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{masks_of, visited};
    use super::*;

    #[test]
    fn packets_make_megaflows_under_many_masks() {
        let set = hits(400).unwrap();
        assert!(masks_of(&set) > 200 && set.flows == hits(400).unwrap().flows);
        assert_eq!((visited(&set), set.flows.len(), set.traffic.len()), (400, 400, 400));
        let set = misses(200).unwrap();
        assert!(masks_of(&set) > 100);
        assert_eq!((set.flows.len(), set.traffic.len()), (200, 200));
    }

    /// As the list of cases says.
    #[test]
    fn ten_thousand_megaflows_have_this_number_of_masks() {
        let flows = hits(10_000).unwrap().flows;
        let masks: HashSet<_> = flows.iter().map(|flow| *flow.mask()).collect();
        assert_eq!(masks.len(), 2757);
    }
}
