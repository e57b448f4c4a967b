//! What the socket, the HTTP listener and `--json` show: one set of types for all three.

use std::collections::BTreeMap;

use flow::{Counters, odp};
use hostdp::port::LinkState;
use serde::{Deserialize, Serialize};

use super::balance::Balance;
use super::render::tcp_flags;
use crate::request::{Explanation, FlowView, Standing, Status};

/// Packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the same as flow::Counters")]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl From<Counters> for Count {
    fn from(counters: Counters) -> Count {
        Count { packets: counters.packets, bytes: counters.bytes }
    }
}

/// One megaflow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// `ufid:…`
    pub ufid: String,
    /// As ODP text.
    #[serde(rename = "match")]
    pub matching: String,
    /// As ODP text.
    pub actions: String,
    /// `host`, `nic` or `refused`.
    pub placement: String,
    /// In which hardware provider.
    pub provider: Option<String>,
    /// Why it is not in hardware: all the reasons.
    pub refusals: Vec<Refusal>,
    /// Seconds for which it has been refused for the first of them; null if it is not refused.
    pub refused_seconds: Option<f64>,
    /// Hits on both sides.
    pub total: Count,
    /// Hits in hardware.
    pub nic: Count,
    /// Hits on the host.
    pub host: Count,
    /// Seconds since the last hit; null if there was none.
    pub used_seconds: Option<f64>,
    /// Union of the TCP flags that the host saw, as letters.
    pub tcp_flags: String,
}

/// Why a megaflow is not in hardware.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable code.
    pub reason: String,
    /// The field, action, port, table or limit at fault.
    pub subject: String,
    /// What the device said, or what would make it possible.
    pub detail: String,
}

impl From<&flow::Refusal> for Refusal {
    fn from(refusal: &flow::Refusal) -> Refusal {
        Refusal {
            reason: refusal.reason.code().to_owned(),
            subject: refusal.subject.clone(),
            detail: refusal.detail.clone(),
        }
    }
}

/// All of them.
pub(crate) fn listed(refusals: &flow::Refusals) -> Vec<Refusal> {
    refusals.iter().map(Refusal::from).collect()
}

impl std::fmt::Display for Refusal {
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

/// What one provider says of a megaflow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The provider's name.
    pub provider: String,
    /// `holds`: it is in there; `takes`: nothing keeps it from going in; `waits`: something does
    /// now; `refuses`: it can't go in.
    pub standing: String,
    /// The plan in its words, if it can hold the megaflow.
    pub plan: Option<String>,
    /// What the megaflow waits for, or why it is refused: all of it.
    pub refusals: Vec<Refusal>,
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

/// A megaflow, where it lives, and what each provider says of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// `ufid:…`; null if Megaflow can't have it.
    pub ufid: Option<String>,
    /// As ODP text; as it was asked for if Megaflow can't have it.
    #[serde(rename = "match")]
    pub matching: String,
    /// Likewise.
    pub actions: String,
    /// Why Megaflow can't have it, neither on the host nor in hardware: all the reasons.
    pub refusals: Vec<Refusal>,
    /// As it is installed, if it is.
    pub installed: Option<Flow>,
    /// One per hardware provider; if Megaflow can't have it, only what more there is against it.
    pub plans: Vec<Plan>,
}

/// The state in numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// The datapath's name.
    pub name: String,
    /// Who answers upcalls.
    pub client: String,
    /// Of the program.
    pub version: String,
    /// Megaflows by placement.
    pub flows: BTreeMap<String, u64>,
    /// By number.
    pub ports: Vec<Port>,
    /// By name.
    pub providers: Vec<Provider>,
    /// Where packets and bytes went.
    pub conservation: Balance,
    /// Lookups of the host datapath by the tier that answered.
    pub cache_lookups: BTreeMap<String, u64>,
}

/// One port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Its number in megaflows.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Can it carry packets?
    pub up: bool,
    /// `up`, `down` or `gone`.
    pub state: String,
    /// Why it is not up, or what else is wrong with it.
    pub trouble: Option<String>,
    /// Received, by who forwarded it.
    pub received_nic: Count,
    /// The same for the host.
    pub received_host: Count,
    /// Sent, by who forwarded it.
    pub sent_nic: Count,
    /// The same for the host.
    pub sent_host: Count,
    /// Packets that came up to the client.
    pub upcalls: u64,
    /// Packets that should have come up and were dropped, by reason.
    pub upcall_drops: BTreeMap<String, u64>,
    /// Packets dropped on the way in, by reason.
    pub receive_drops: BTreeMap<String, u64>,
    /// Packets dropped on the way out, by reason.
    pub transmit_drops: BTreeMap<String, u64>,
}

/// One hardware provider.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Does the device answer?
    pub up: bool,
    /// Operations that wait, and that may wait.
    pub queue: (u64, u64),
    /// Megaflows let through.
    pub admitted: u64,
    /// Megaflows refused so far, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Operations that worked, by kind.
    pub operations: BTreeMap<String, u64>,
    /// Operations that failed, by kind and the error's word.
    pub errors: BTreeMap<String, BTreeMap<String, u64>>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// When belief and device were last made equal, seconds since 1970; 0 if never.
    pub last_reconcile_seconds: f64,
    /// Packets by which they differed then.
    pub drift_packets: u64,
    /// What reconciliations repaired, by kind.
    pub corrections: BTreeMap<String, u64>,
}

/// How full a hardware table is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub table: String,
    /// In use.
    pub entries: u64,
    /// That fit; null where nobody knows.
    pub capacity: Option<u64>,
}

impl From<&Status> for State {
    fn from(status: &Status) -> State {
        let metrics = &status.metrics;
        let flows = flow::Placement::ALL
            .iter()
            .map(|place| (place.name().to_owned(), metrics.flows.get(place).copied().unwrap_or(0)));
        let tiers = metrics.cache_lookups.iter().map(|(tier, n)| ((*tier).to_owned(), *n));
        State {
            name: status.name.clone(),
            client: status.client.to_owned(),
            version: metrics.version.clone(),
            flows: flows.collect(),
            ports: status.ports.iter().map(|port| port_of(port, metrics)).collect(),
            providers: metrics.providers.iter().map(|(name, p)| provider_of(name, p)).collect(),
            conservation: (&metrics.conservation).into(),
            cache_lookups: tiers.collect(),
        }
    }
}

fn port_of(port: &crate::request::PortView, metrics: &metrics::Snapshot) -> Port {
    let counted = metrics.ports.get(&port.name).cloned().unwrap_or_default();
    let drops = |direction: metrics::Direction| {
        let those = counted.drops.iter().filter(|((way, _), _)| *way == direction);
        those.map(|((_, reason), count)| ((*reason).to_owned(), *count)).collect()
    };
    Port {
        number: port.id.0,
        name: port.name.clone(),
        kind: port.kind.to_owned(),
        up: port.state == LinkState::Up,
        state: port.state.name().to_owned(),
        trouble: port.trouble.clone(),
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

fn provider_of(name: &str, from: &metrics::ProviderMetrics) -> Provider {
    let operations = from.operations.iter();
    let errors = from.operations.iter().filter(|(_, operation)| !operation.errors.is_empty());
    let table = |usage: &flow::TableUsage| Table {
        table: usage.table.to_owned(),
        entries: usage.entries,
        capacity: usage.capacity,
    };
    Provider {
        name: name.to_owned(),
        up: from.up,
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
