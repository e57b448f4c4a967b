//! The audit: finds every pair of megaflows that overlap.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Key, Mask, Megaflow, Ufid};

/// All overlapping pairs, each once. The table refuses overlapping installs by another method,
/// which this one verifies.
///
/// Flows of two masks overlap exactly if they are equal in the bits that both masks have, so each
/// pair of masks of one port and scope is a join. The cost is masks × flows, not flows².
#[must_use]
pub fn overlaps(flows: &[Arc<Megaflow>]) -> Vec<(Ufid, Ufid)> {
    let mut scopes: HashMap<(u32, u32), HashMap<Mask, Vec<&Megaflow>>> = HashMap::new();
    for flow in flows {
        let key = &flow.matching.key();
        let masks = scopes.entry((key.in_port, key.recirc_id)).or_default();
        masks.entry(*flow.matching.mask()).or_default().push(flow);
    }
    let mut found = Vec::new();
    for masks in scopes.values() {
        let masks: Vec<_> = masks.iter().collect();
        for (n, (one, members)) in masks.iter().enumerate() {
            for (other, others) in &masks[n + 1..] {
                join(&one.masked(other), members, others, &mut found);
            }
        }
    }
    found.sort_unstable();
    found
}

fn join(both: &Mask, members: &[&Megaflow], others: &[&Megaflow], found: &mut Vec<(Ufid, Ufid)>) {
    let mut by_key: HashMap<Key, Vec<Ufid>> = HashMap::new();
    for flow in members {
        by_key.entry(flow.matching.key().masked(both)).or_default().push(flow.ufid);
    }
    for flow in others {
        for ufid in by_key.get(&flow.matching.key().masked(both)).into_iter().flatten() {
            found.push((flow.ufid.min(*ufid), flow.ufid.max(*ufid)));
        }
    }
}
