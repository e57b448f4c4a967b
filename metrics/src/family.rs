//! The table of all metrics.

use crate::encode::Rows;
use crate::snapshot::Snapshot;

/// How a metric behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows while the process lives.
    Counter,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// Prometheus's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric: its name with the prefix, its labels, and where its values come from.
pub struct Family {
    /// `megaflow_…`
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Label names, in the order of the values.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
    pub(crate) rows: fn(&Snapshot, &mut Rows),
}

macro_rules! families {
    ($($name:literal $kind:ident [$($label:literal),*] $help:literal $rows:ident;)*) => {
        /// Every metric that is exported, in the order of the text.
        pub const FAMILIES: &[Family] = &[$(Family {
            name: concat!("megaflow_", $name),
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
            rows: crate::encode::rows::$rows,
        },)*];
    };
}

families! {
    "build_info" Gauge ["version"]
        "Always 1; the label carries the version." build_info;
    "process_start_time_seconds" Gauge []
        "Start of the process in seconds since 1970." start;
    "config_last_reload_successful" Gauge []
        "1 if the configuration that was read last was applied." config;
    "flows" Gauge ["placement"]
        "Megaflows that live now, by where they live." flows;
    "flow_placement_changes_total" Counter ["from", "to", "cause"]
        "Changes of a megaflow's placement, by cause." placement_changes;
    "offload_decisions_total" Counter ["provider", "reason"]
        "Admission decisions: admitted, or the reason code of the refusal." decisions;
    "flow_operations_total" Counter ["provider", "operation", "result"]
        "Operations carried out by a provider, by result (ok or error)." operations;
    "flow_operation_errors_total" Counter ["provider", "operation", "errno"]
        "Operations that failed, by the error's word." operation_errors;
    "flow_operation_duration_seconds" Histogram ["provider", "operation"]
        "Time from handing an operation to the provider to its completion." operation_durations;
    "offload_queue_length" Gauge ["provider"]
        "Operations that wait for the provider." queue_length;
    "offload_queue_limit" Gauge ["provider"]
        "Operations that may wait for the provider." queue_limit;
    "provider_up" Gauge ["provider"]
        "1 if the device answers." up;
    "provider_ports" Gauge ["provider"]
        "Ports whose megaflows the provider can hold; 0: it offloads nothing." provider_ports;
    "hw_table_entries" Gauge ["provider", "table"]
        "Entries in use." table_entries;
    "hw_table_capacity_entries" Gauge ["provider", "table"]
        "Entries that fit; absent where nobody knows." table_capacity;
    "stats_last_reconcile_timestamp_seconds" Gauge ["provider"]
        "When belief and device were last made equal, seconds since 1970; 0 if never." reconcile;
    "stats_drift_packets" Gauge ["provider"]
        "Packets by which the last reconciliation found device and count to differ." drift;
    "stats_corrections_total" Counter ["provider", "kind"]
        "What reconciliations repaired, by kind." corrections;
    "upcalls_total" Counter ["port"]
        "Packets that came up to the client." upcalls;
    "upcall_drops_total" Counter ["port", "reason"]
        "Packets that should have come up and were dropped." upcall_drops;
    "upcall_duration_seconds" Histogram []
        "Time from the upcall to its answer carried out." upcall_duration;
    "step_seconds" Histogram ["thread"]
        "Time that a thread runs for one step, during which it does nothing else. Forwarding is no \
         step: those of `host` are what holds it up." steps;
    "fdb_entries" Gauge []
        "Addresses that the L2 client knows." fdb_entries;
    "fdb_capacity_entries" Gauge []
        "Addresses that the L2 client can know at once (mac_table_size)." fdb_capacity;
    "fdb_learned_total" Counter []
        "Addresses that were new when the L2 client learnt them." fdb_learned;
    "fdb_moved_total" Counter []
        "Addresses that turned up behind another port." fdb_moved;
    "fdb_expired_total" Counter []
        "Addresses that were not seen for mac_aging_time." fdb_expired;
    "fdb_evicted_total" Counter ["port"]
        "Addresses that a full table gave up, by the port that had the most: grows when one is \
         flooded with source addresses." fdb_evicted;
    "recirculation_depth" Histogram []
        "How often packets were recirculated on the host." recirculation_depth;
    "recirculation_limit_exceeded_total" Counter []
        "Packets dropped because they were recirculated too often." recirculation_limit;
    "cache_lookups_total" Counter ["tier"]
        "Lookups of the host datapath by the tier that answered." cache_lookups;
    "port_state" Gauge ["port", "state"]
        "1 for the state that the port is in: up, down, or gone with its device." port_state;
    "port_receive_packets_total" Counter ["port", "path"]
        "Packets received, by who forwarded them (nic or host)." port_receive_packets;
    "port_receive_bytes_total" Counter ["port", "path"]
        "Bytes received: whole Ethernet frames without FCS." port_receive_bytes;
    "port_transmit_packets_total" Counter ["port", "path"]
        "Packets sent, by who forwarded them (nic or host)." port_transmit_packets;
    "port_transmit_bytes_total" Counter ["port", "path"]
        "Bytes sent: whole Ethernet frames without FCS." port_transmit_bytes;
    "conservation_state" Gauge ["unit", "state"]
        "1 for what can be said of packets and of bytes: holds, not-checked (some of it is known \
         from one counter alone), not-at-rest, does-not-hold." conservation_state;
    "conservation_packets" Gauge ["term", "reason"]
        "Packets by term of the conservation line: offered + copies = sent-nic + sent-host + \
         consumed + lost-nic + lost-host + in-flight, and offered + recirculated = hit-nic + \
         hit-host + unmatched + went-on."
        conservation_packets;
    "conservation_bytes" Gauge ["term", "reason"]
        "The same in bytes; those that action lists added (rewritten) count as offered."
        conservation_bytes;
    "port_drops_total" Counter ["port", "direction", "reason"]
        "Packets dropped, by direction and reason." port_drops;
}
