//! Megaflows, and packets to look up among them: what the classifier is measured with.
//!
//! Every set is the same in each run, and no two megaflows of a set overlap.

pub(super) mod acl;
pub(super) mod attack;
mod draw;
pub(super) mod ipv6;
pub(super) mod l2;
pub(super) mod peers;
mod rules;

use draw::Draw;
use flow::{Key, Mask, Match};

/// Megaflows in the order of their installs, and the keys of packets.
pub(super) struct FlowSet {
    pub(super) flows: Vec<Match>,
    /// In random order.
    pub(super) traffic: Vec<Key>,
    /// Whether each of these keys hits a megaflow; otherwise none does.
    pub(super) hits: bool,
}

impl FlowSet {
    /// A megaflow for each packet, under the mask beside it.
    fn of_packets(packets: impl Iterator<Item = (Key, Mask)>) -> FlowSet {
        let made = packets.map(|(packet, mask)| (Match::new(&packet, &mask), packet));
        let (flows, mut traffic): (Vec<Match>, Vec<Key>) = made.unzip();
        Draw::new(42).shuffle(&mut traffic);
        FlowSet { flows, traffic, hits: true }
    }

    /// The megaflows, in random order.
    pub(super) fn shuffled(mut self) -> Vec<Match> {
        Draw::new(1).shuffle(&mut self.flows);
        self.flows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flow::validate::validate;

    use super::*;

    /// Checks the set against what is known of it, the slow way; returns the number of its masks.
    pub(super) fn masks_of(set: &FlowSet) -> usize {
        let mut masks = BTreeSet::new();
        for (place, flow) in set.flows.iter().enumerate() {
            assert!(!set.flows[..place].iter().any(|other| other.overlaps(flow)), "{flow:?}");
            validate(flow, &[]).unwrap();
            masks.insert(*flow.mask().words());
        }
        assert!(!set.traffic.is_empty());
        for key in &set.traffic {
            assert_eq!(set.flows.iter().any(|flow| flow.hits(key)), set.hits, "{key:?}");
        }
        masks.len()
    }

    /// The number of megaflows that the traffic hits.
    pub(super) fn visited(set: &FlowSet) -> usize {
        set.flows.iter().filter(|flow| set.traffic.iter().any(|key| flow.hits(key))).count()
    }
}
