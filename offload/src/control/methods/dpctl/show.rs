//! The datapath and its ports.

use std::fmt::Write;

use super::{datapath, options, without_datapath};
use crate::control::methods::{Context, status};
use crate::control::view::{Port, State};

pub(in crate::control::methods) fn dump_dps(
    context: &Context,
    _: &[&str],
) -> Result<String, String> {
    Ok(datapath(&status(context)?) + "\n")
}

pub(in crate::control::methods) fn show(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (options, params) = options(params)?;
    without_datapath(context, "show", &params, 0)?;
    let status = status(context)?;
    let mut text = datapath(&status) + ":\n";
    let state = State::from(&status);
    let lookups = &status.metrics.cache_lookups;
    let hit: u64 = lookups.iter().filter(|(tier, _)| **tier != "miss").map(|(_, n)| n).sum();
    let missed = lookups.get("miss").copied().unwrap_or(0);
    let lost: u64 = state.ports.iter().flat_map(|port| port.upcall_drops.values()).sum();
    let _ = writeln!(text, "  lookups: hit:{hit} missed:{missed} lost:{lost}");
    let _ = writeln!(text, "  flows: {}", state.flows.values().sum::<u64>());
    for port in &state.ports {
        let state = if port.up { String::new() } else { format!(", {}", port.state) };
        let _ = writeln!(text, "  port {}: {} ({}{state})", port.number, port.name, port.kind);
        if options.statistics {
            text += &counters(port);
        }
    }
    Ok(text)
}

/// In the form of `ovs-dpctl show -s`; both paths together.
fn counters(port: &Port) -> String {
    let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    format!(
        "    RX packets:{} dropped:{}\n    TX packets:{} dropped:{}\n    \
         RX bytes:{}  TX bytes:{}\n",
        port.received_nic.packets + port.received_host.packets,
        sum(&port.receive_drops) + sum(&port.upcall_drops),
        port.sent_nic.packets + port.sent_host.packets,
        sum(&port.transmit_drops),
        port.received_nic.bytes + port.received_host.bytes,
        port.sent_nic.bytes + port.sent_host.bytes,
    )
}

/// Operations on hardware, per provider.
pub(in crate::control::methods) fn offload_stats(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (_, params) = options(params)?;
    without_datapath(context, "offload-stats-show", &params, 0)?;
    let status = status(context)?;
    let state = State::from(&status);
    let mut text = String::from("HW Offload stats:\n");
    if state.providers.is_empty() {
        text.push_str("  no hardware provider is configured\n");
    }
    for provider in &state.providers {
        let name = &provider.name;
        let mut line = |what: &str, value: String| {
            let _ = writeln!(text, "  {name:<8} {:<28} {value:>12}", format!("{what}:"));
        };
        line("Enqueued offloads", provider.queue.0.to_string());
        for kind in flow::OpKind::ALL.map(flow::OpKind::name) {
            let ok = provider.operations.get(kind).copied().unwrap_or(0);
            let failed: u64 = provider.errors.get(kind).iter().flat_map(|e| e.values()).sum();
            line(&format!("{kind} done"), ok.to_string());
            line(&format!("{kind} failed"), failed.to_string());
        }
        let operations = status.metrics.providers.get(name).into_iter();
        for (kind, operation) in operations.flat_map(|provider| &provider.operations) {
            let (count, sum) = (operation.duration.count(), operation.duration.sum());
            if count > 0 {
                #[allow(clippy::cast_precision_loss, reason = "an average for people")]
                let micros = sum / count as f64 * 1e6;
                line(&format!("{} avg latency (us)", kind.name()), format!("{micros:.1}"));
            }
        }
    }
    Ok(text)
}
