//! Methods that show counters of the daemon as text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::Context;
use super::ask::status;
use crate::status::Status;

/// Returns the metrics as Prometheus text.
pub(super) fn metrics(context: &Context, _: &[&str]) -> Result<String, String> {
    Ok(metrics::encode(&status(context)?.metrics))
}

/// Reads the counters for their rates; `now` is the time since the first reading.
pub(in crate::control) fn sample(context: &Context, now: Duration) -> Result<(), String> {
    context.rates.sample(now, &events(&status(context)?));
    Ok(())
}

/// Returns the events that happened, by name, in OVS's form, and the number of counters that
/// never moved.
pub(super) fn show(context: &Context, _: &[&str]) -> Result<String, String> {
    let events = events(&status(context)?);
    let mut text = format!(
        "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash={:08x}:\n",
        hash(&events)
    );
    for (name, count) in events.iter().filter(|(_, count)| *count > 0) {
        let rate = context.rates.of(name);
        let _ = write!(text, "{name:<24} {:5.1}/sec {:9.3}/sec ", rate.slot, rate.minute);
        let _ = writeln!(text, "{:13.4}/sec   total: {count}", rate.hour);
    }
    let never = events.iter().filter(|(_, count)| *count == 0).count();
    let _ = writeln!(text, "{never} events never hit");
    Ok(text)
}

/// Returns a hash of the events that happened, ordered and grouped by their counts. The counts
/// themselves are not in the hash.
fn hash(events: &[(String, u64)]) -> u64 {
    let mut by_count: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (name, count) in events.iter().filter(|(_, count)| *count > 0) {
        by_count.entry(*count).or_default().push(name);
    }
    let mut hasher = DefaultHasher::new();
    by_count.values().for_each(|names| names.hash(&mut hasher));
    hasher.finish() >> 32
}

/// Returns the count of one event.
pub(super) fn read_counter(context: &Context, params: &[&str]) -> Result<String, String> {
    let events = events(&status(context)?);
    let found = events.iter().find(|(name, _)| params.contains(&name.as_str()));
    found.map(|(_, count)| format!("{count}\n")).ok_or_else(|| "No such counter".to_owned())
}

fn events(status: &Status) -> Vec<(String, u64)> {
    let metrics = &status.metrics;
    let mut events = Vec::new();
    let mut add = |name: String, count: u64| events.push((name, count));
    for (tier, count) in &metrics.cache_lookups {
        add(format!("lookup_{tier}"), *count);
    }
    add("recirculation_limit_exceeded".to_owned(), metrics.recirculation_limit_exceeded);
    for (name, port) in &metrics.ports {
        add(format!("upcall/{name}"), port.upcalls);
        for (reason, count) in &port.upcall_drops {
            add(format!("upcall_drop_{reason}/{name}"), *count);
        }
        for ((direction, reason), count) in &port.drops {
            add(format!("{}_drop_{reason}/{name}", direction.name()), *count);
        }
    }
    if let Some(learning) = &metrics.learning {
        // These are OVS's names.
        add("mac_learning_learned".to_owned(), learning.learned);
        add("mac_learning_expired".to_owned(), learning.expired);
        add("mac_learning_evicted".to_owned(), learning.evicted.values().sum());
        add("mac_learning_moved".to_owned(), learning.moved);
    }
    for (change, count) in &metrics.placement_changes {
        add(format!("{}_to_{}_{}", change.from, change.to, change.cause), *count);
    }
    for (name, provider) in &metrics.providers {
        add(format!("admitted/{name}"), provider.admitted);
        for (reason, count) in &provider.refused {
            add(format!("refused_{reason}/{name}"), *count);
        }
        for (kind, operation) in &provider.operations {
            add(format!("{}/{name}", kind.name()), operation.ok);
            for (error, count) in &operation.errors {
                add(format!("{}_{error}/{name}", kind.name()), *count);
            }
        }
    }
    events
}

/// Returns what is held in memory, in OVS's `name:count` form.
pub(super) fn memory(context: &Context, _: &[&str]) -> Result<String, String> {
    let status = status(context)?;
    let flows: u64 = status.metrics.flows.values().sum();
    let providers = &status.metrics.providers;
    let queued: u64 = providers.values().map(|provider| provider.queue_length).sum();
    let ports = status.ports.len();
    let mut text = format!("flows:{flows} operations-queued:{queued} ports:{ports}");
    if let Some(resident) = resident_kb() {
        let _ = write!(text, " resident-kB:{resident}");
    }
    text.push('\n');
    Ok(text)
}

/// Returns the resident memory of this process, as the kernel reports it.
fn resident_kb() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Returns the flows, the upcalls and the dropped upcalls.
pub(super) fn upcalls(context: &Context, _: &[&str]) -> Result<String, String> {
    let status = status(context)?;
    let metrics = &status.metrics;
    let count = |placement| metrics.flows.get(&placement).copied().unwrap_or(0);
    let mut text = format!("{}:\n", super::dpctl::datapath(&status));
    let flows: u64 = metrics.flows.values().sum();
    let _ = writeln!(text, "  flows           : (current {flows})");
    let _ = writeln!(text, "  offloaded flows : {}", count(flow::Placement::Nic));
    let _ = writeln!(text, "  refused flows   : {}", count(flow::Placement::Refused));
    let answered = metrics.upcall_duration.count();
    let _ = write!(text, "  answered upcalls: {answered}");
    if answered > 0 {
        #[allow(clippy::cast_precision_loss, reason = "an average for people")]
        let micros = metrics.upcall_duration.sum() / answered as f64 * 1e6;
        let _ = write!(text, " (avg {micros:.1} us)");
    }
    text.push('\n');
    for (name, port) in &metrics.ports {
        let _ = write!(text, "  port {name}: upcalls:{}", port.upcalls);
        for (reason, count) in &port.upcall_drops {
            let _ = write!(text, " drop-{reason}:{count}");
        }
        text.push('\n');
    }
    Ok(text)
}
