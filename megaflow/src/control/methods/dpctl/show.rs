//! Shows the datapath and its ports.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{datapath, options, without_datapath};
use crate::control::methods::Context;
use crate::control::methods::ask::status;
use crate::control::view::{ShownPort, ShownState};
use crate::status::{Masks, Status};

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
    let state = ShownState::from(&status);
    let Lookups { hit, missed } = lookups(&status);
    let lost: u64 = state.ports.iter().flat_map(|port| port.upcall_drops.values()).sum();
    let _ = writeln!(text, "  lookups: hit:{hit} missed:{missed} lost:{lost}");
    let _ = writeln!(text, "  flows: {}", state.flows.values().sum::<u64>());
    let (Masks { visited, total }, packets) = (status.masks, hit + missed);
    let each = ratio(visited, packets);
    let _ = writeln!(text, "  masks: hit:{visited} total:{total} hit/pkt:{each:.2}");
    for port in &state.ports {
        let state = if port.up { String::new() } else { format!(", {}", port.state) };
        let way = port.way.as_ref().map_or_else(String::new, |way| format!(", {way}"));
        let ShownPort { number, name, kind, .. } = port;
        let _ = writeln!(text, "  port {number}: {name} ({kind}{way}{state})");
        if options.statistics {
            text += &counters(port);
        }
    }
    Ok(text)
}

/// The results of lookups on the host.
pub(in crate::control::methods) struct Lookups {
    pub(in crate::control::methods) hit: u64,
    pub(in crate::control::methods) missed: u64,
}

pub(in crate::control::methods) fn lookups(status: &Status) -> Lookups {
    let tier = |name| status.metrics.cache_lookups.get(name).copied().unwrap_or(0);
    Lookups { hit: tier("classifier"), missed: tier("miss") }
}

#[allow(clippy::cast_precision_loss, reason = "an average for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Reasons for which a received packet is dropped: faults of the frame.
const RECEIVE_ERRORS: &[&str] = &["malformed", "oversize"];
/// Reasons for which a received packet is dropped: nobody fetched it in time.
const OVERRUNS: &[&str] = &["rx-overrun", "rx-ring-full"];
/// Reasons for which a packet to be sent is dropped: faults of the frame or the device.
const TRANSMIT_ERRORS: &[&str] = &["tx-error", "tx-too-long", "tx-bad"];
/// Reasons for which a packet to be sent is dropped: the port had no link.
const CARRIER: &[&str] = &["port-down"];

/// Returns a port's counters in the form of `ovs-dpctl show -s`, hardware and host together. A
/// packet that was lost is counted in one column. As in OVS, `?` stands for a number that no port
/// counts.
fn counters(port: &ShownPort) -> String {
    let (received, sent) = (&port.receive_drops, &port.transmit_drops);
    let all = |drops: &Drops| drops.values().sum::<u64>();
    let [errors, overruns] = [RECEIVE_ERRORS, OVERRUNS].map(|reasons| of(received, reasons));
    let mut text = format!(
        "    RX packets:{} errors:{errors} dropped:{} overruns:{overruns} frame:?\n",
        port.received_nic.packets + port.received_host.packets,
        all(received) - errors - overruns,
    );
    let [errors, carrier] = [TRANSMIT_ERRORS, CARRIER].map(|reasons| of(sent, reasons));
    let _ = writeln!(
        text,
        "    TX packets:{} errors:{errors} dropped:{} aborted:? carrier:{carrier}",
        port.sent_nic.packets + port.sent_host.packets,
        all(sent) - errors - carrier,
    );
    let received = with_unit(port.received_nic.bytes + port.received_host.bytes);
    let sent = with_unit(port.sent_nic.bytes + port.sent_host.bytes);
    let _ = writeln!(text, "    collisions:?\n    RX bytes:{received}  TX bytes:{sent}");
    text
}

/// Dropped packets, by reason.
type Drops = BTreeMap<String, u64>;

fn of(drops: &Drops, reasons: &[&str]) -> u64 {
    reasons.iter().filter_map(|reason| drops.get(*reason)).sum()
}

/// Returns a number of bytes as OVS writes it: `1536 (1.5 KiB)`.
fn with_unit(bytes: u64) -> String {
    let unit = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, bits)| bytes >> bits > 0);
    match unit {
        Some((name, bits)) => format!("{bytes} ({:.1} {name})", ratio(bytes, 1 << bits)),
        None => bytes.to_string(),
    }
}

/// Returns the operations on hardware, per provider.
pub(in crate::control::methods) fn offload_stats(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (_, params) = options(params)?;
    without_datapath(context, "offload-stats-show", &params, 0)?;
    let status = status(context)?;
    let state = ShownState::from(&status);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::Count;

    #[test]
    fn a_packet_that_was_lost_stands_in_one_column() {
        let drops = |list: &[(&str, u64)]| {
            list.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
        };
        let port = ShownPort {
            number: 1,
            name: "vf0".to_owned(),
            kind: "fpga".to_owned(),
            up: true,
            state: "up".to_owned(),
            trouble: None,
            way: None,
            received_nic: Count { packets: 3, bytes: 1000 },
            received_host: Count { packets: 4, bytes: 536 },
            sent_nic: Count { packets: 1, bytes: 1 << 20 },
            sent_host: Count { packets: 1, bytes: 3 << 20 },
            upcalls: 0,
            // These are also among the drops on the way in.
            upcall_drops: drops(&[("upcall-queue-full", 20)]),
            receive_drops: drops(&[
                ("malformed", 1),
                ("oversize", 2),
                ("rx-overrun", 4),
                ("rx-ring-full", 8),
                ("upcall-queue-full", 20),
                ("halted", 100),
            ]),
            transmit_drops: drops(&[
                ("tx-error", 1),
                ("tx-too-long", 2),
                ("tx-bad", 4),
                ("port-down", 30),
                ("tx-full", 100),
                ("tx-wire", 200),
            ]),
        };
        let want = "    RX packets:7 errors:3 dropped:120 overruns:12 frame:?\n    \
                    TX packets:2 errors:7 dropped:300 aborted:? carrier:30\n    \
                    collisions:?\n    \
                    RX bytes:1536 (1.5 KiB)  TX bytes:4194304 (4.0 MiB)\n";
        assert_eq!(counters(&port), want);
    }
}
