//! The summary of a replay.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flow::{Megaflow, Stats, Ufid, odp};
use hostdp::{DatapathSnapshot, DropReason};
use serde::Serialize;

use crate::control::view::{Count, tcp_flags};

/// Packets that were sent up, by cause.
#[derive(Default, Serialize)]
pub(super) struct UpcallsByReason {
    /// Packets that hit no megaflow.
    pub(super) miss: u64,
    /// Packets that a `userspace` action sent up.
    pub(super) action: u64,
}

#[derive(Serialize)]
pub(super) struct ReplaySummary {
    flows: Vec<Flow>,
    ports: BTreeMap<String, Port>,
    received: Count,
    /// Dropped packets by reason. A miss is counted as an upcall, not here.
    drops: BTreeMap<&'static str, u64>,
    /// Packets that hit a megaflow without actions.
    explicit_drops: u64,
    upcalls: u64,
    upcalls_by_reason: UpcallsByReason,
    recirculations: u64,
}

#[derive(Serialize)]
struct Flow {
    ufid: String,
    #[serde(rename = "match")]
    matching: String,
    actions: String,
    packets: u64,
    bytes: u64,
    tcp_flags: String,
}

#[derive(Serialize)]
struct Port {
    received: Count,
    sent: Count,
}

impl ReplaySummary {
    pub(super) fn new(
        flows: &[Arc<Megaflow>],
        stats: &HashMap<Ufid, Stats>,
        snapshot: &DatapathSnapshot,
        upcalls: UpcallsByReason,
    ) -> ReplaySummary {
        let flow = |flow: &Arc<Megaflow>| {
            let stats = stats.get(&flow.ufid).copied().unwrap_or_default();
            Flow {
                ufid: flow.ufid.to_string(),
                matching: odp::format_match(&flow.matching),
                actions: odp::format_actions(&flow.actions),
                packets: stats.counters.packets,
                bytes: stats.counters.bytes,
                tcp_flags: tcp_flags(stats.tcp_flags),
            }
        };
        let ports = snapshot.ports.iter().map(|port| {
            let counted = Port { received: port.received.into(), sent: port.sent.into() };
            (port.id.to_string(), counted)
        });
        // A replay has no client. The datapath wants an answer to each miss, and the answer is
        // "drop"; so the reason `Client` counts misses, which are reported as upcalls.
        let dropped = snapshot.drops.iter().filter(|(reason, _)| *reason != DropReason::Client);
        let dropped = dropped.filter(|(_, count)| count.packets > 0);
        ReplaySummary {
            flows: flows.iter().map(flow).collect(),
            ports: ports.collect(),
            received: snapshot
                .ports
                .iter()
                .map(|port| port.received)
                .sum::<flow::Counters>()
                .into(),
            drops: dropped.map(|(reason, count)| (reason.name(), count.packets)).collect(),
            explicit_drops: snapshot.explicit_drops.packets,
            upcalls: upcalls.miss + upcalls.action,
            upcalls_by_reason: upcalls,
            recirculations: snapshot.lookups_at_depth.iter().skip(1).sum(),
        }
    }
}
