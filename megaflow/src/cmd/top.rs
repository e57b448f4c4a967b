//! `megaflow top`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use flow::Clock;
use serde::Serialize;

use super::client::DaemonSocket;
use super::outcome::{CommandFailure, CommandOutcome, print, print_json};
use crate::control::render::table;
use crate::control::view::{Flow, ShownState};

/// Shows the busiest megaflows of a running daemon, its tables and its packet totals.
#[derive(clap::Args)]
#[command(after_help = "Example: megaflow top --once --seconds 2")]
pub(super) struct Args {
    #[command(flatten)]
    daemon: DaemonSocket,
    /// Print one report and exit; without it, reports follow each other until interrupted
    #[arg(long)]
    once: bool,
    /// Seconds over which rates are measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Number of megaflows to show
    #[arg(long, default_value_t = 20)]
    flows: usize,
    /// Print JSON, one object per report
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Look {
    status: ShownState,
    flows: Vec<Rated>,
}

#[derive(Serialize)]
struct Rated {
    packets_per_second: f64,
    bytes_per_second: f64,
    flow: Flow,
}

pub(super) fn run(args: &Args) -> CommandOutcome {
    loop {
        let look = look(args)?;
        if args.json {
            print_json(&look)?;
        } else {
            print(&text(&look))?;
        }
        if args.once {
            return Ok(());
        }
    }
}

fn look(args: &Args) -> Result<Look, CommandFailure> {
    let read = || args.daemon.data::<Vec<Flow>>("offload/flows", &[]);
    let start = Clock::start();
    let before: BTreeMap<String, Flow> =
        read()?.into_iter().map(|flow| (flow.ufid.clone(), flow)).collect();
    std::thread::sleep(Duration::from_secs(args.seconds));
    let after = read()?;
    let time = start.elapsed().as_secs_f64();
    let mut flows: Vec<Rated> = after.into_iter().map(|flow| rate(&before, flow, time)).collect();
    flows.sort_by(|a, b| {
        b.bytes_per_second
            .total_cmp(&a.bytes_per_second)
            .then(b.flow.total.bytes.cmp(&a.flow.total.bytes))
            .then_with(|| a.flow.ufid.cmp(&b.flow.ufid))
    });
    flows.truncate(args.flows);
    Ok(Look { status: args.daemon.data("offload/status", &[])?, flows })
}

/// The rates of a flow over `time` seconds. All hits of a flow count if the flow is new, or if it
/// was removed and installed again meanwhile, so that its total is less than before.
#[allow(clippy::cast_precision_loss, reason = "rates for people")]
fn rate(before: &BTreeMap<String, Flow>, flow: Flow, time: f64) -> Rated {
    let old = before.get(&flow.ufid).map(|old| old.total).unwrap_or_default();
    let grown = |new: u64, old: u64| new.checked_sub(old).unwrap_or(new) as f64 / time;
    Rated {
        packets_per_second: grown(flow.total.packets, old.packets),
        bytes_per_second: grown(flow.total.bytes, old.bytes),
        flow,
    }
}

fn text(look: &Look) -> String {
    let state = &look.status;
    let mut text = format!("{}  client {}  flows:", state.name, state.client);
    for (place, count) in &state.flows {
        let _ = write!(text, " {place} {count}");
    }
    text.push('\n');
    for provider in &state.providers {
        let up = if provider.up { "up" } else { "down" };
        let _ = write!(text, "{} {up}  queue {}", provider.name, provider.queue.0);
        for usage in &provider.tables {
            let _ = write!(text, "  {} {}", usage.table, usage.entries);
            if let Some(capacity) = usage.capacity {
                let _ = write!(text, "/{capacity}");
            }
        }
        text.push('\n');
    }
    text += &state.conservation.lines();
    let header = ["packets/s", "bytes/s", "packets", "where", "megaflow"].map(str::to_owned);
    let mut rows = vec![header];
    for rated in &look.flows {
        let flow = &rated.flow;
        rows.push([
            format!("{:.0}", rated.packets_per_second),
            format!("{:.0}", rated.bytes_per_second),
            flow.total.packets.to_string(),
            flow.provider.clone().unwrap_or_else(|| flow.placement.clone()),
            format!("{} actions:{}", flow.matching, flow.actions),
        ]);
    }
    text + &table(&rows, &[0, 1, 2])
}
