//! Shows which worker receives from which queues.

use std::fmt::Write;
use std::path::Path;

use super::Context;
use super::ask::status;
use crate::status::Status;
use hostdp::port::LinkState;

/// Returns the queues of each worker in OVS's form. A worker without a core of its own has a dash
/// for it; nobody measures what a queue costs. Takes the core of the one worker to show.
pub(super) fn show(context: &Context, params: &[&str]) -> Result<String, String> {
    let wanted = match params {
        ["-pmd", core, ..] => Some(core.parse::<usize>().map_err(|_| format!("no core: {core}"))?),
        _ => None,
    };
    Ok(text(&status(context)?, wanted))
}

fn text(status: &Status, wanted: Option<usize>) -> String {
    let workers = status.cores.len().max(1);
    let mut ports: Vec<_> = status.ports.iter().collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    for worker in 0..workers {
        let core = status.cores.get(worker).copied();
        if wanted.is_some() && wanted != core {
            continue;
        }
        let numa = core.map_or(0, numa_of);
        let core = core.map_or_else(|| "-".to_owned(), |core| core.to_string());
        let _ = writeln!(text, "pmd thread numa_id {numa} core_id {core}:\n  isolated : false");
        for port in &ports {
            let is_on = if port.state == LinkState::Up { "(enabled) " } else { "(disabled)" };
            let before: usize = port.queues.iter().take(worker).sum();
            let count = port.queues.get(worker).copied().unwrap_or(0);
            for queue in before..before + count {
                let _ = writeln!(
                    text,
                    "  port: {:<16}  queue-id: {queue:>2} {is_on}  pmd usage: NOT AVAIL",
                    port.name
                );
            }
        }
        text.push_str("  overhead: NOT AVAIL\n");
    }
    text
}

/// The memory node of a core; 0 if the system does not tell it.
fn numa_of(core: usize) -> usize {
    let folder = format!("/sys/devices/system/cpu/cpu{core}");
    let entries = std::fs::read_dir(Path::new(&folder)).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("node")?.parse().ok();
    entries.filter_map(|entry| number(entry.file_name().to_str()?)).next().unwrap_or(0)
}
