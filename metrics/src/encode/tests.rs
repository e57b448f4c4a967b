use std::collections::BTreeSet;

use flow::{
    Counters, Histogram, Learning, OpKind, Placement, Reason, TableName, TableUsage, Transition,
};

use super::*;
use crate::snapshot::{Direction, OperationMetrics, PortMetrics, ProviderMetrics};

fn full() -> Snapshot {
    let mut snapshot = Snapshot { version: "1.2.3".into(), ..Snapshot::default() };
    snapshot.flows.insert(Placement::Nic, 5);
    let change = Transition { from: Placement::Host, to: Placement::Nic, cause: "installed" };
    snapshot.placement_changes.insert(change, 7);
    let mut operation = OperationMetrics { ok: 3, ..OperationMetrics::default() };
    operation.errors.insert("full", 2);
    operation.duration.observe(0.5e-6);
    let mut provider =
        ProviderMetrics { up: true, ports: Some(2), admitted: 9, ..ProviderMetrics::default() };
    provider.refused.insert(Reason::TableFull, 4);
    provider.operations.insert(OpKind::Install, operation);
    provider.corrections.insert("missing", 1);
    provider.tables.push(TableUsage {
        table: TableName::ExactMatch,
        holds_megaflows: true,
        entries: 6,
        capacity: Some(64),
    });
    snapshot.providers.insert("fpga".into(), provider);
    snapshot.learning = Some(Learning { addresses: 17, capacity: 18, ..Learning::default() });
    let mut port = PortMetrics { upcalls: 11, evicted_addresses: 19, ..PortMetrics::default() };
    port.nic.received = Counters { packets: 12, bytes: 1200 };
    port.host.sent = Counters { packets: 13, bytes: 1300 };
    port.drops.insert((Direction::Transmit, "full"), 14);
    port.upcall_drops.insert("queue-full", 15);
    snapshot.ports.insert("vf\"0\n".into(), port);
    snapshot.cache_lookups.insert("classifier", 16);
    let mut steps = Histogram::durations();
    steps.observe(0.5e-3);
    snapshot.steps.insert("host", steps);
    snapshot
}

#[test]
fn every_metric_of_the_table_is_in_the_text() {
    let text = encode(&full());
    for family in FAMILIES {
        assert!(text.contains(&format!("\n# TYPE {} {}\n", family.name, family.kind.name())));
    }
    for line in [
        "megaflow_flows{placement=\"nic\"} 5",
        "megaflow_flows{placement=\"host\"} 0",
        "megaflow_flow_placement_changes_total{from=\"host\",to=\"nic\",cause=\"installed\"} 7",
        "megaflow_offload_decisions_total{provider=\"fpga\",reason=\"admitted\"} 9",
        "megaflow_offload_decisions_total{provider=\"fpga\",reason=\"table-full\"} 4",
        "megaflow_offload_decisions_total{provider=\"fpga\",reason=\"echo\"} 0",
        "megaflow_flow_operations_total{provider=\"fpga\",operation=\"install\",\
         result=\"error\"} 2",
        "megaflow_flow_operations_total{provider=\"fpga\",operation=\"remove\",result=\"ok\"} 0",
        "megaflow_hw_table_capacity_entries{provider=\"fpga\",table=\"exact-match\"} 64",
        "megaflow_port_receive_bytes_total{port=\"vf\\\"0\\n\",path=\"nic\"} 1200",
        "megaflow_step_seconds_bucket{thread=\"host\",le=\"0.0003\"} 0",
        "megaflow_step_seconds_bucket{thread=\"host\",le=\"0.001\"} 1",
        "megaflow_fdb_entries 17",
        "megaflow_fdb_evicted_total{port=\"vf\\\"0\\n\"} 19",
        "megaflow_provider_up{provider=\"fpga\"} 1",
        "megaflow_provider_ports{provider=\"fpga\"} 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn no_series_stands_there_twice() {
    let text = encode(&full());
    let series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series))
        .collect();
    assert!(series.len() > 100);
    assert_eq!(series.iter().collect::<BTreeSet<_>>().len(), series.len());
}

#[test]
fn every_error_of_a_provider_starts_at_zero() {
    use flow::{ProviderError as E, Refusal, Subject, Ufid};
    let refusal = Refusal::new(Reason::Device, Subject::Device);
    let all = [
        E::Unsupported(refusal.clone()),
        E::Full(refusal),
        E::Busy(String::new()),
        E::Exists,
        E::NotFound,
        E::Overlap(Ufid(0)),
        E::Gone(String::new()),
    ];
    let text = encode(&full());
    for error in all {
        let series = format!("operation=\"replace\",errno=\"{}\"}} 0", error.name());
        assert!(text.contains(&series), "{series}");
    }
}

#[test]
fn labels_never_name_a_flow_or_an_address() {
    for family in FAMILIES {
        for label in family.labels {
            assert!(!["ufid", "flow", "address", "mac", "recirc_id"].contains(label));
        }
    }
}
