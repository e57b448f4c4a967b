//! Where the values of each metric stand in the snapshot; one function per line of the table.

use flow::conservation::{Conservation, ConservationState};
use flow::{Counters, Histogram, Learning, OpKind, Placement, Reason};

use super::Rows;
use crate::snapshot::{OperationMetrics, PortMetrics, ProviderMetrics, Snapshot};

/// The words of [`flow::ProviderError::name`]: each series starts at zero.
const ERRORS: [&str; 8] =
    ["invalid", "unsupported", "full", "busy", "exists", "not-found", "overlap", "gone"];

pub(crate) fn build_info(snapshot: &Snapshot, rows: &mut Rows) {
    rows.count(&[&snapshot.version], 1);
}

pub(crate) fn start(snapshot: &Snapshot, rows: &mut Rows) {
    rows.value(&[], snapshot.start_seconds);
}

pub(crate) fn config(snapshot: &Snapshot, rows: &mut Rows) {
    rows.count(&[], u64::from(snapshot.config_ok));
}

pub(crate) fn flows(snapshot: &Snapshot, rows: &mut Rows) {
    for placement in Placement::ALL {
        rows.count(&[placement.name()], snapshot.flows.get(&placement).copied().unwrap_or(0));
    }
}

pub(crate) fn placement_changes(snapshot: &Snapshot, rows: &mut Rows) {
    for (change, count) in &snapshot.placement_changes {
        rows.count(&[change.from.name(), change.to.name(), change.cause], *count);
    }
}

pub(crate) fn decisions(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, provider) in &snapshot.providers {
        rows.count(&[name, "admitted"], provider.admitted);
        for reason in Reason::ALL {
            let count = provider.refused.get(reason).copied().unwrap_or(0);
            rows.count(&[name, reason.code()], count);
        }
    }
}

pub(crate) fn operations(snapshot: &Snapshot, rows: &mut Rows) {
    each_operation(snapshot, |name, kind, operation| {
        rows.count(&[name, kind, "ok"], operation.ok);
        rows.count(&[name, kind, "error"], operation.errors.values().sum());
    });
}

pub(crate) fn operation_errors(snapshot: &Snapshot, rows: &mut Rows) {
    each_operation(snapshot, |name, kind, operation| {
        for error in ERRORS {
            rows.count(&[name, kind, error], operation.errors.get(error).copied().unwrap_or(0));
        }
        for (error, count) in operation.errors.iter().filter(|(e, _)| !ERRORS.contains(*e)) {
            rows.count(&[name, kind, error], *count);
        }
    });
}

pub(crate) fn operation_durations(snapshot: &Snapshot, rows: &mut Rows) {
    each_operation(snapshot, |name, kind, operation| {
        rows.histogram(&[name, kind], &operation.duration);
    });
}

fn each_operation(snapshot: &Snapshot, mut row: impl FnMut(&str, &str, &OperationMetrics)) {
    let none = OperationMetrics::default();
    for (name, provider) in &snapshot.providers {
        for kind in OpKind::ALL {
            row(name, kind.name(), provider.operations.get(&kind).unwrap_or(&none));
        }
    }
}

fn each_provider(snapshot: &Snapshot, rows: &mut Rows, value: impl Fn(&ProviderMetrics) -> u64) {
    for (name, provider) in &snapshot.providers {
        rows.count(&[name], value(provider));
    }
}

pub(crate) fn queue_length(snapshot: &Snapshot, rows: &mut Rows) {
    each_provider(snapshot, rows, |provider| provider.queue_length);
}

pub(crate) fn queue_limit(snapshot: &Snapshot, rows: &mut Rows) {
    each_provider(snapshot, rows, |provider| provider.queue_limit);
}

pub(crate) fn up(snapshot: &Snapshot, rows: &mut Rows) {
    each_provider(snapshot, rows, |provider| u64::from(provider.up));
}

pub(crate) fn provider_ports(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, provider) in &snapshot.providers {
        if let Some(ports) = provider.ports {
            rows.count(&[name], ports);
        }
    }
}

pub(crate) fn drift(snapshot: &Snapshot, rows: &mut Rows) {
    each_provider(snapshot, rows, |provider| provider.drift_packets);
}

pub(crate) fn reconcile(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, provider) in &snapshot.providers {
        rows.value(&[name], provider.last_reconcile_seconds);
    }
}

pub(crate) fn corrections(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, provider) in &snapshot.providers {
        for (kind, count) in &provider.corrections {
            rows.count(&[name, kind], *count);
        }
    }
}

pub(crate) fn table_entries(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, provider) in &snapshot.providers {
        for usage in &provider.tables {
            rows.count(&[name, usage.table.name()], usage.entries);
        }
    }
}

pub(crate) fn table_capacity(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, provider) in &snapshot.providers {
        for usage in &provider.tables {
            if let Some(capacity) = usage.capacity {
                rows.count(&[name, usage.table.name()], capacity);
            }
        }
    }
}

pub(crate) fn upcalls(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, port) in &snapshot.ports {
        rows.count(&[name], port.upcalls);
    }
}

pub(crate) fn upcall_drops(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, port) in &snapshot.ports {
        for (reason, count) in &port.upcall_drops {
            rows.count(&[name, reason], *count);
        }
    }
}

pub(crate) fn upcall_duration(snapshot: &Snapshot, rows: &mut Rows) {
    only(&snapshot.upcall_duration, rows);
}

pub(crate) fn steps(snapshot: &Snapshot, rows: &mut Rows) {
    for (thread, steps) in &snapshot.steps {
        rows.histogram(&[thread], steps);
    }
}

fn of_learning(snapshot: &Snapshot, rows: &mut Rows, value: impl Fn(&Learning) -> u64) {
    if let Some(learning) = &snapshot.learning {
        rows.count(&[], value(learning));
    }
}

pub(crate) fn fdb_entries(snapshot: &Snapshot, rows: &mut Rows) {
    of_learning(snapshot, rows, |learning| learning.addresses);
}

pub(crate) fn fdb_capacity(snapshot: &Snapshot, rows: &mut Rows) {
    of_learning(snapshot, rows, |learning| learning.capacity);
}

pub(crate) fn fdb_learned(snapshot: &Snapshot, rows: &mut Rows) {
    of_learning(snapshot, rows, |learning| learning.learned);
}

pub(crate) fn fdb_moved(snapshot: &Snapshot, rows: &mut Rows) {
    of_learning(snapshot, rows, |learning| learning.moved);
}

pub(crate) fn fdb_expired(snapshot: &Snapshot, rows: &mut Rows) {
    of_learning(snapshot, rows, |learning| learning.expired);
}

pub(crate) fn fdb_evicted(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, port) in snapshot.ports.iter().filter(|_| snapshot.learning.is_some()) {
        rows.count(&[name], port.evicted_addresses);
    }
}

pub(crate) fn recirculation_depth(snapshot: &Snapshot, rows: &mut Rows) {
    only(&snapshot.recirculation_depth, rows);
}

fn only(histogram: &Histogram, rows: &mut Rows) {
    rows.histogram(&[], histogram);
}

pub(crate) fn recirculation_limit(snapshot: &Snapshot, rows: &mut Rows) {
    rows.count(&[], snapshot.recirculation_limit_exceeded);
}

pub(crate) fn cache_lookups(snapshot: &Snapshot, rows: &mut Rows) {
    for (tier, count) in &snapshot.cache_lookups {
        rows.count(&[tier], *count);
    }
}

fn each_path(
    snapshot: &Snapshot,
    rows: &mut Rows,
    side: impl Fn(&crate::Traffic) -> Counters,
    value: impl Fn(Counters) -> u64,
) {
    for (name, PortMetrics { nic, host, .. }) in &snapshot.ports {
        rows.count(&[name, "nic"], value(side(nic)));
        rows.count(&[name, "host"], value(side(host)));
    }
}

pub(crate) fn port_receive_packets(snapshot: &Snapshot, rows: &mut Rows) {
    each_path(snapshot, rows, |traffic| traffic.received, |counters| counters.packets);
}

pub(crate) fn port_receive_bytes(snapshot: &Snapshot, rows: &mut Rows) {
    each_path(snapshot, rows, |traffic| traffic.received, |counters| counters.bytes);
}

pub(crate) fn port_transmit_packets(snapshot: &Snapshot, rows: &mut Rows) {
    each_path(snapshot, rows, |traffic| traffic.sent, |counters| counters.packets);
}

pub(crate) fn port_transmit_bytes(snapshot: &Snapshot, rows: &mut Rows) {
    each_path(snapshot, rows, |traffic| traffic.sent, |counters| counters.bytes);
}

pub(crate) fn port_state(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, port) in &snapshot.ports {
        for state in ["up", "down", "gone"] {
            rows.count(&[name, state], u64::from(port.state == state));
        }
    }
}

pub(crate) fn port_drops(snapshot: &Snapshot, rows: &mut Rows) {
    for (name, port) in &snapshot.ports {
        for ((direction, reason), count) in &port.drops {
            rows.count(&[name, direction.name(), reason], *count);
        }
    }
}

pub(crate) fn conservation_state(snapshot: &Snapshot, rows: &mut Rows) {
    let all = &snapshot.conservation;
    for (unit, said) in [("packets", all.packets()), ("bytes", all.bytes())] {
        for state in ConservationState::ALL {
            rows.count(&[unit, state.name()], u64::from(said.state == state));
        }
    }
}

fn conservation(all: &Conservation, mut row: impl FnMut(&[&str], Counters)) {
    for (term, what) in [
        ("offered", all.offered),
        ("hit-nic", all.nic),
        ("hit-host", all.host),
        ("unmatched", all.unmatched),
        ("recirculated", all.recirculated),
        ("went-on", all.went_on),
        ("copies", all.forks.copies),
        ("sent-nic", all.sent_nic),
        ("sent-host", all.sent_host),
        ("in-flight", all.in_flight),
    ] {
        row(&[term, ""], what);
    }
    for (how, what) in all.consumed() {
        row(&["consumed", how], what);
    }
    for ((side, reason), what) in &all.lost {
        row(&[&format!("lost-{}", side.name()), reason], *what);
    }
}

pub(crate) fn conservation_packets(snapshot: &Snapshot, rows: &mut Rows) {
    conservation(&snapshot.conservation, |labels, what| rows.count(labels, what.packets));
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn conservation_bytes(snapshot: &Snapshot, rows: &mut Rows) {
    conservation(&snapshot.conservation, |labels, what| rows.count(labels, what.bytes));
    rows.value(&["rewritten", ""], snapshot.conservation.forks.rewritten as f64);
}
