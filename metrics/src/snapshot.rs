//! What the daemon counts, as plain data.

use std::collections::BTreeMap;

use flow::conservation::Conservation;
use flow::{Counters, Histogram, Learning, OpKind, Placement, Reason, TableUsage, Transition};

/// Everything that is exported, at one moment. All counters are absolute since the start of the
/// process.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Version of the program.
    pub version: String,
    /// Start of the process, seconds since 1970.
    pub start_seconds: f64,
    /// True if the configuration that was read last was applied.
    pub config_ok: bool,
    /// Megaflows that live now; a placement that is not here has none.
    pub flows: BTreeMap<Placement, u64>,
    /// Changes of placement. Who fills it puts the transitions that can happen in with 0.
    pub placement_changes: BTreeMap<Transition, u64>,
    /// The hardware providers, by name.
    pub providers: BTreeMap<String, ProviderMetrics>,
    /// The ports, by name.
    pub ports: BTreeMap<String, PortMetrics>,
    /// Packets and bytes from where they were offered to where they ended.
    pub conservation: Conservation,
    /// What the client learnt; `None` where it learns nothing.
    pub learning: Option<Learning>,
    /// From the upcall to the answer carried out.
    pub upcall_duration: Histogram,
    /// The steps of each thread that does many things in turn.
    pub steps: BTreeMap<&'static str, Histogram>,
    /// How deep packets were recirculated on the host; 0 for those that were not.
    pub recirculation_depth: Histogram,
    /// Packets dropped because they were recirculated too often.
    pub recirculation_limit_exceeded: u64,
    /// Lookups of the host datapath by the tier that answered them, the miss being one.
    pub cache_lookups: BTreeMap<&'static str, u64>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot {
            version: String::new(),
            start_seconds: 0.0,
            config_ok: true,
            flows: BTreeMap::new(),
            placement_changes: BTreeMap::new(),
            providers: BTreeMap::new(),
            ports: BTreeMap::new(),
            conservation: Conservation::default(),
            learning: None,
            upcall_duration: Histogram::durations(),
            steps: BTreeMap::new(),
            recirculation_depth: Histogram::depths(),
            recirculation_limit_exceeded: 0,
            cache_lookups: BTreeMap::new(),
        }
    }
}

/// What is counted for one hardware provider.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProviderMetrics {
    /// True if the device answers.
    pub up: bool,
    /// Ports whose megaflows it can hold; `None` where every port's can live (the host table).
    pub ports: Option<u64>,
    /// Megaflows that admission let through.
    pub admitted: u64,
    /// Megaflows that were refused, by reason; a reason that is not here never was.
    pub refused: BTreeMap<Reason, u64>,
    /// Operations by kind.
    pub operations: BTreeMap<OpKind, OperationMetrics>,
    /// Operations waiting to be carried out.
    pub queue_length: u64,
    /// How many may wait.
    pub queue_limit: u64,
    /// When belief and device were last made equal, seconds since 1970; 0 if never.
    pub last_reconcile_seconds: f64,
    /// Packets by which the last reconciliation found the device and our count to differ.
    pub drift_packets: u64,
    /// What reconciliations repaired, by kind (a stable word such as `missing`, `foreign`).
    pub corrections: BTreeMap<&'static str, u64>,
    /// How full the tables are.
    pub tables: Vec<TableUsage>,
}

/// What is counted for one kind of operation.
#[derive(Clone, PartialEq, Debug)]
pub struct OperationMetrics {
    /// Operations that worked.
    pub ok: u64,
    /// Operations that failed, by [`flow::ProviderError::name`].
    pub errors: BTreeMap<&'static str, u64>,
    /// From handing the operation to the provider to its completion.
    pub duration: Histogram,
}

impl Default for OperationMetrics {
    fn default() -> Self {
        OperationMetrics { ok: 0, errors: BTreeMap::new(), duration: Histogram::durations() }
    }
}

/// What is counted for one port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortMetrics {
    /// How the port is: `up`, `down` or `gone`.
    pub state: &'static str,
    /// What hardware forwarded.
    pub nic: Traffic,
    /// What the host datapath forwarded.
    pub host: Traffic,
    /// Drops, by direction and reason (a stable word).
    pub drops: BTreeMap<(Direction, &'static str), u64>,
    /// Packets that came up from this port.
    pub upcalls: u64,
    /// Packets that should have come up and were dropped, by reason.
    pub upcall_drops: BTreeMap<&'static str, u64>,
    /// Addresses learnt behind this port that a full table gave up.
    pub evicted_addresses: u64,
}

/// Both directions of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Into the datapath.
    pub received: Counters,
    /// Out of it.
    pub sent: Counters,
}

/// Which way a dropped packet went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// Into the datapath.
    Receive,
    /// Out of it.
    Transmit,
}

impl Direction {
    /// The word for it in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Direction::Receive => "receive",
            Direction::Transmit => "transmit",
        }
    }
}
