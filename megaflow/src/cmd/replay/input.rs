//! What a replay reads: captures, and a file of megaflows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow::{Megaflow, PortId, odp};

/// One capture and the port that receives it.
#[derive(Clone)]
pub(super) struct ReplayInput {
    pub(super) port: PortId,
    pub(super) file: PathBuf,
}

pub(super) fn input(text: &str) -> Result<ReplayInput, String> {
    let (port, file) = text.split_once('=').ok_or("expected PORT=F.pcap")?;
    let port = port.parse().map_err(|_| format!("'{port}' is not a port number"))?;
    Ok(ReplayInput { port: PortId(port), file: file.into() })
}

/// A megaflow of a file, and the file and line where it is.
pub(super) struct Line {
    pub(super) place: String,
    pub(super) flow: Arc<Megaflow>,
}

/// The flows of a file; an error names file and line.
pub(super) fn read_flows(file: &Path) -> Result<Vec<Line>, String> {
    let name = file.display();
    let text = crate::text::read(file).map_err(|error| format!("{name}: {error}"))?;
    let mut flows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let place = format!("{name}:{}", number + 1);
            let flow = read_flow(line).map_err(|error| format!("{place}: {error}"))?;
            flows.push(Line { place, flow: Arc::new(flow) });
        }
    }
    Ok(flows)
}

fn read_flow(line: &str) -> Result<Megaflow, String> {
    let (matching, actions) = if line.contains("actions:") {
        let (_, matching, actions) = odp::parse_flow(line).map_err(|error| error.to_string())?;
        (matching, actions.unwrap_or_default())
    } else {
        let (flow, actions) =
            line.rsplit_once(char::is_whitespace).ok_or("expected FLOW ACTIONS".to_owned())?;
        let (_, matching, _) = odp::parse_flow(flow).map_err(|error| format!("flow: {error}"))?;
        let actions = odp::parse_actions(actions).map_err(|error| format!("actions: {error}"))?;
        (matching, actions)
    };
    Ok(Megaflow::new(matching, actions))
}
