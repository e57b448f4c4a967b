//! The types that the socket, the HTTP listener and `--json` show: one set for all three.

use std::collections::BTreeMap;

use flow::odp;
use hostdp::port::LinkState;
use serde::{Deserialize, Serialize};

use super::balance::Balance;
pub use super::count::Count;
use crate::status::Status;
use offload::{Explanation, FlowView, Standing};

/// One megaflow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// The ufid as text: `ufid:…`.
    pub ufid: String,
    /// The match as ODP text.
    #[serde(rename = "match")]
    pub matching: String,
    /// The actions as ODP text.
    pub actions: String,
    /// Where the megaflow lives: `host`, `nic` or `refused`.
    pub placement: String,
    /// The hardware provider that the megaflow lives in, if any.
    pub provider: Option<String>,
    /// Why the megaflow is not in hardware: all the reasons.
    pub refusals: Vec<ShownRefusal>,
    /// Seconds for which the megaflow has been refused for the first of the reasons; null if it
    /// is not refused.
    pub refused_seconds: Option<f64>,
    /// Hits in hardware and on the host.
    pub total: Count,
    /// Hits in hardware.
    pub nic: Count,
    /// Hits on the host.
    pub host: Count,
    /// Seconds since the last hit; null if there was no hit.
    pub used_seconds: Option<f64>,
    /// Union of the TCP flags that the host saw, as letters.
    pub tcp_flags: String,
}

/// Why a megaflow is not in hardware.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownRefusal {
    /// The stable code of the reason.
    pub reason: String,
    /// The field, action, port, table or limit at fault.
    pub subject: String,
    /// What the device said, or what would make the megaflow possible in hardware.
    pub detail: String,
}

impl From<&flow::Refusal> for ShownRefusal {
    fn from(refusal: &flow::Refusal) -> ShownRefusal {
        ShownRefusal {
            reason: refusal.reason.code().to_owned(),
            subject: refusal.subject.to_string(),
            detail: refusal.detail.to_string(),
        }
    }
}

/// Lists all the refusals.
pub(crate) fn listed(refusals: &flow::Refusals) -> Vec<ShownRefusal> {
    refusals.iter().map(ShownRefusal::from).collect()
}

impl std::fmt::Display for ShownRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.reason, self.subject)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl From<&FlowView> for Flow {
    fn from(view: &FlowView) -> Flow {
        Flow {
            ufid: view.flow.ufid.to_string(),
            matching: odp::format_match(&view.flow.matching),
            actions: odp::format_actions(&view.flow.actions),
            placement: view.placement.name().to_owned(),
            provider: view.provider.clone(),
            refusals: view.refused.as_ref().map(|r| listed(&r.why)).unwrap_or_default(),
            refused_seconds: view.refused.as_ref().map(|r| r.lasting.as_secs_f64()),
            total: view.total().into(),
            nic: view.nic.into(),
            host: view.host.into(),
            used_seconds: view.used.map(|time| time.as_secs_f64()),
            tcp_flags: tcp_flags(view.tcp_flags),
        }
    }
}

/// Returns TCP flags as OVS writes them: a letter for each, the reserved ones in brackets, and
/// `0` if no flag is set.
#[must_use]
pub fn tcp_flags(flags: u16) -> String {
    /// The bit and name of each flag, in OVS's order.
    const NAMES: [(u16, &str); 12] = [
        (0x002, "S"),
        (0x001, "F"),
        (0x008, "P"),
        (0x004, "R"),
        (0x020, "U"),
        (0x010, "."),
        (0x040, "E"),
        (0x080, "C"),
        (0x100, "N"),
        (0x200, "[200]"),
        (0x400, "[400]"),
        (0x800, "[800]"),
    ];
    if flags == 0 {
        return "0".to_owned();
    }
    NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect()
}

/// The answer of one provider about a megaflow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The provider's name.
    pub provider: String,
    /// Where the megaflow stands with the provider. `holds`: the provider holds it. `takes`:
    /// nothing keeps it from going in. `waits`: something keeps it out for now. `refuses`: it
    /// can't go in.
    pub standing: String,
    /// The plan in the provider's words; null if the provider can't do the megaflow.
    pub plan: Option<String>,
    /// Everything that the megaflow waits for, or all the reasons why it is refused.
    pub refusals: Vec<ShownRefusal>,
}

impl From<&Explanation> for Plan {
    fn from(explanation: &Explanation) -> Plan {
        let (standing, refusals) = match &explanation.standing {
            Standing::Holds => ("holds", Vec::new()),
            Standing::Takes => ("takes", Vec::new()),
            Standing::Waits(why) => ("waits", listed(why)),
            Standing::Refuses(why) => ("refuses", listed(why)),
        };
        Plan {
            provider: explanation.provider.clone(),
            standing: standing.to_owned(),
            plan: explanation.plan.clone(),
            refusals,
        }
    }
}

/// A megaflow, where it lives, and each provider's answer about it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The ufid as text: `ufid:…`; null if Megaflow can't have the flow.
    pub ufid: Option<String>,
    /// The match as ODP text; if Megaflow can't have the flow, the match as the client wrote it.
    #[serde(rename = "match")]
    pub matching: String,
    /// The actions as ODP text; if Megaflow can't have the flow, the actions as the client wrote
    /// them.
    pub actions: String,
    /// Why Megaflow can't have the flow at all, neither on the host nor in hardware: all the
    /// reasons.
    pub refusals: Vec<ShownRefusal>,
    /// The megaflow as it is installed; null if it is not.
    pub installed: Option<Flow>,
    /// One plan per hardware provider. If Megaflow can't have the flow, only the plans of
    /// providers that can't do the rest of the flow either.
    pub plans: Vec<Plan>,
}

/// The state in numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShownState {
    /// The datapath's name.
    pub name: String,
    /// The client, which answers upcalls.
    pub client: String,
    /// The version of the program.
    pub version: String,
    /// Megaflows by placement.
    pub flows: BTreeMap<String, u64>,
    /// The ports, by number.
    pub ports: Vec<ShownPort>,
    /// The hardware providers, by name.
    pub providers: Vec<ShownProvider>,
    /// Where packets and bytes came in and where they ended.
    pub conservation: Balance,
    /// Lookups of the host datapath by the tier that answered.
    pub cache_lookups: BTreeMap<String, u64>,
}

/// One port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownPort {
    /// The port's number in megaflows.
    pub number: u32,
    /// The port's name.
    pub name: String,
    /// The port's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// True if the port can carry packets.
    pub up: bool,
    /// The port's state: `up`, `down` or `gone`.
    pub state: String,
    /// Why the port is not up, or what else is wrong with it.
    pub trouble: Option<String>,
    /// The way that the port's frames take; `None` for the usual one of its type.
    #[serde(default)]
    pub way: Option<String>,
    /// Packets received by the port and forwarded by hardware.
    pub received_nic: Count,
    /// Packets received by the port and forwarded by the host.
    pub received_host: Count,
    /// Packets sent by the port and forwarded by hardware.
    pub sent_nic: Count,
    /// Packets sent by the port and forwarded by the host.
    pub sent_host: Count,
    /// Packets that came up to the client.
    pub upcalls: u64,
    /// Packets that should have come up to the client and were dropped, by reason.
    pub upcall_drops: BTreeMap<String, u64>,
    /// Packets dropped on the way in, by reason.
    pub receive_drops: BTreeMap<String, u64>,
    /// Packets dropped on the way out, by reason.
    pub transmit_drops: BTreeMap<String, u64>,
}

/// One hardware provider.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShownProvider {
    /// The provider's name.
    pub name: String,
    /// True if the device answers.
    pub up: bool,
    /// Why the device does not answer.
    pub trouble: Option<String>,
    /// The number of operations that wait, and the largest number that may wait.
    pub queue: (u64, u64),
    /// Megaflows that admission let through.
    pub admitted: u64,
    /// Megaflows refused so far, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Operations that worked, by kind.
    pub operations: BTreeMap<String, u64>,
    /// Operations that failed, by kind and the error's word.
    pub errors: BTreeMap<String, BTreeMap<String, u64>>,
    /// The device's tables.
    pub tables: Vec<ShownTable>,
    /// The time of the last reconciliation, in seconds since 1970; 0 if there was none.
    pub last_reconcile_seconds: f64,
    /// Packets by which belief and device differed at the last reconciliation.
    pub drift_packets: u64,
    /// Repairs by reconciliations, by kind.
    pub corrections: BTreeMap<String, u64>,
}

/// How full a hardware table is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownTable {
    /// The table's name.
    pub table: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries that fit; null if the number is unknown.
    pub capacity: Option<u64>,
}

impl From<&Status> for ShownState {
    fn from(status: &Status) -> ShownState {
        let metrics = &status.metrics;
        let flows = flow::Placement::ALL
            .iter()
            .map(|place| (place.name().to_owned(), metrics.flows.get(place).copied().unwrap_or(0)));
        let tiers = metrics.cache_lookups.iter().map(|(tier, n)| ((*tier).to_owned(), *n));
        ShownState {
            name: status.name.clone(),
            client: status.client.to_owned(),
            version: metrics.version.clone(),
            flows: flows.collect(),
            ports: status.ports.iter().map(|port| port_of(port, metrics)).collect(),
            providers: metrics
                .providers
                .iter()
                .map(|(name, p)| provider_of(name, p, status))
                .collect(),
            conservation: (&metrics.conservation).into(),
            cache_lookups: tiers.collect(),
        }
    }
}

fn port_of(port: &crate::status::PortView, metrics: &metrics::Snapshot) -> ShownPort {
    let counted = metrics.ports.get(&port.name).cloned().unwrap_or_default();
    let drops = |direction: metrics::Direction| {
        let those = counted.drops.iter().filter(|((way, _), _)| *way == direction);
        those.map(|((_, reason), count)| ((*reason).to_owned(), *count)).collect()
    };
    ShownPort {
        number: port.id.0,
        name: port.name.clone(),
        kind: port.kind.to_owned(),
        up: port.state == LinkState::Up,
        state: port.state.name().to_owned(),
        trouble: port.trouble.clone(),
        way: port.way.map(str::to_owned),
        received_nic: counted.nic.received.into(),
        received_host: port.received.into(),
        sent_nic: counted.nic.sent.into(),
        sent_host: port.sent.into(),
        upcalls: counted.upcalls,
        upcall_drops: owned(&counted.upcall_drops),
        receive_drops: drops(metrics::Direction::Receive),
        transmit_drops: drops(metrics::Direction::Transmit),
    }
}

fn provider_of(name: &str, from: &metrics::ProviderMetrics, status: &Status) -> ShownProvider {
    let operations = from.operations.iter();
    let errors = from.operations.iter().filter(|(_, operation)| !operation.errors.is_empty());
    let table = |usage: &flow::TableUsage| ShownTable {
        table: usage.table.name().to_owned(),
        entries: usage.entries,
        capacity: usage.capacity,
    };
    ShownProvider {
        name: name.to_owned(),
        up: from.up,
        trouble: status.gone.get(name).cloned(),
        queue: (from.queue_length, from.queue_limit),
        admitted: from.admitted,
        refused: from.refused.iter().map(|(r, count)| (r.code().to_owned(), *count)).collect(),
        operations: operations.map(|(kind, o)| (kind.name().to_owned(), o.ok)).collect(),
        errors: errors.map(|(kind, o)| (kind.name().to_owned(), owned(&o.errors))).collect(),
        tables: from.tables.iter().map(table).collect(),
        last_reconcile_seconds: from.last_reconcile_seconds,
        drift_packets: from.drift_packets,
        corrections: owned(&from.corrections),
    }
}

fn owned(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_letters() {
        assert_eq!(tcp_flags(0), "0");
        assert_eq!(tcp_flags(0x013), "SF.");
        assert_eq!(tcp_flags(0x1ff), "SFPRU.ECN");
        assert_eq!(tcp_flags(0xa80), "C[200][800]");
    }
}
