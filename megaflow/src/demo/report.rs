//! The report at the end of the demo.

use std::fmt::Write;

use flow::conservation::ConservationState;
use flow::{Counters, odp};
use serde_json::{Value, json};
use vfio::CardLedger;

use crate::control::balance::Balance;
use crate::status::Status;
use offload::FlowView;

/// Everything that the demo found.
pub(super) struct DemoReport {
    pub(super) facts: Vec<String>,
    pub(super) flows: Vec<FlowView>,
    /// The metrics that the page showed last.
    pub(super) metrics: metrics::Snapshot,
    pub(super) verdict: AccountingCheck,
}

/// Whether the accounting adds up.
pub(super) struct AccountingCheck {
    /// What does not add up, one line each.
    complaints: Vec<String>,
    /// Bulk TCP bytes in the NIC and on the host.
    bulk: Option<(Counters, Counters)>,
}

/// Share of the bulk TCP bytes that has to go through the NIC, in percent.
const BULK_SHARE: u64 = 95;

impl AccountingCheck {
    /// Compares the accounting with the card's own ledger, which nothing else reads.
    pub(super) fn new(
        flows: &[FlowView],
        status: &Status,
        bulk: Option<(Counters, Counters)>,
        ledger: &CardLedger,
    ) -> AccountingCheck {
        let mut complaints = Vec::new();
        let conservation = &status.metrics.conservation;
        if conservation.state() != ConservationState::Holds {
            let lines = Balance::from(conservation).lines();
            complaints.push(format!("does not add up: {}", lines.trim_end().replace('\n', " | ")));
        }
        if !ledger.is_complete() {
            complaints
                .push("the card's ledger holds no more flows: not all are audited".to_owned());
        }
        for view in flows {
            let truth = ledger.flow(view.flow.ufid.0);
            if truth != view.nic {
                complaints.push(format!(
                    "does not add up: {} is off: the card hit it with {}, accounted for are {}: {}",
                    view.flow.ufid,
                    counters(truth),
                    counters(view.nic),
                    odp::format_match(&view.flow.matching),
                ));
            }
        }
        if let Some((nic, host)) = bulk
            && nic.bytes * 100 < (nic.bytes + host.bytes) * BULK_SHARE
        {
            complaints.push(format!(
                "only {} of {} bulk TCP bytes went through the NIC, less than {BULK_SHARE} %",
                nic.bytes,
                nic.bytes + host.bytes,
            ));
        }
        AccountingCheck { complaints, bulk }
    }

    pub(super) fn passed(&self) -> bool {
        self.complaints.is_empty()
    }
}

fn counters(counters: Counters) -> String {
    format!("{} packets / {} bytes", counters.packets, counters.bytes)
}

/// The report as text: the table, the conservation lines and the verdict.
pub(super) fn text(outcome: &DemoReport) -> String {
    let mut out = String::new();
    let mut flows: Vec<&FlowView> = outcome.flows.iter().collect();
    flows.sort_by_key(|view| std::cmp::Reverse(view.total().bytes));
    // Writing to a String can't fail.
    let _ = writeln!(out, "\n{:<8} {:>10} {:>10}  megaflow", "where", "nic pkts", "host pkts");
    for view in flows {
        let _ = writeln!(
            out,
            "{:<8} {:>10} {:>10}  {} actions:{}",
            view.placement.name(),
            view.nic.packets,
            view.host.packets,
            odp::format_match(&view.flow.matching),
            odp::format_actions(&view.flow.actions),
        );
        for refusal in view.refused.iter().flat_map(|refused| refused.why.iter()) {
            let _ = writeln!(out, "{:<30}  refused: {refusal}", "");
        }
    }
    let balance = Balance::from(&outcome.metrics.conservation);
    let _ = write!(out, "\n{}", balance.lines());
    if let Some((nic, host)) = outcome.verdict.bulk {
        let all = (nic.bytes + host.bytes).max(1);
        let tenths = nic.bytes.saturating_mul(1000) / all;
        let _ = write!(out, "bulk TCP: {}.{} % of the bytes", tenths / 10, tenths % 10);
        let _ = writeln!(out, " went through the NIC");
    }
    for complaint in &outcome.verdict.complaints {
        let _ = writeln!(out, "{complaint}");
    }
    if outcome.verdict.passed() {
        out += "it all adds up\n";
    }
    out
}

/// The report as JSON.
pub(super) fn json(outcome: &DemoReport) -> Value {
    let counters = |c: Counters| json!({"packets": c.packets, "bytes": c.bytes});
    let flows = outcome.flows.iter().map(|view| {
        json!({
            "ufid": view.flow.ufid.to_string(),
            "match": odp::format_match(&view.flow.matching),
            "actions": odp::format_actions(&view.flow.actions),
            "placement": view.placement.name(),
            "refusal": view.refused.as_ref().map(|refused| refused.why.to_string()),
            "nic": counters(view.nic),
            "host": counters(view.host),
        })
    });
    json!({
        "facts": outcome.facts,
        "flows": flows.collect::<Vec<_>>(),
        "conservation": Balance::from(&outcome.metrics.conservation),
        "bulk_tcp": outcome.verdict.bulk.map(|(nic, host)| {
            json!({"nic_bytes": nic.bytes, "host_bytes": host.bytes})
        }),
        "metrics": metrics::encode(&outcome.metrics),
        "complaints": outcome.verdict.complaints,
        "passed": outcome.verdict.passed(),
    })
}
