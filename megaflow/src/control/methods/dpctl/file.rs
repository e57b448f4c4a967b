//! Installs flows in bulk, from a file that the daemon reads.

use std::sync::Arc;

use flow::{Megaflow, Ufid};

use super::{megaflow, options, parse, without_datapath};
use crate::control::methods::{Context, done, status};
use crate::status::Status;
use crate::text;
use ::offload::{Request, RequestError};

/// Installs the flows of a file, one on each line: `FLOW ACTIONS`, or as a dump prints them. If
/// one flow can't be read or installed, none is installed.
pub(in crate::control::methods) fn add(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (_, params) = options(params)?;
    let params = without_datapath(context, "add-flows", &params, 1)?;
    let file = params[0];
    if !file.starts_with('/') {
        return Err(format!("{file}: give an absolute path: the daemon reads the file"));
    }
    let text = text::read_regular(file.as_ref()).map_err(|error| format!("{file}: {error}"))?;
    let status = status(context)?;
    let mut flows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            context.handle.check_stopping().map_err(|error| format!("{file}: {error}"))?;
            let flow = read_line(&status, line)
                .map_err(|error| format!("{file}:{}: {error}", number + 1))?;
            flows.push((number + 1, flow));
        }
    }
    for (place, (number, flow)) in flows.iter().enumerate() {
        if let Err(error) = done(context, Request::Install(flow.clone())) {
            take_back(context, flows[..place].iter().map(|(_, flow)| flow.ufid));
            return Err(format!("{file}:{number}: {error}"));
        }
    }
    Ok(String::new())
}

/// Removes the flows that a file brought before its error. A megaflow that somebody else has
/// removed meanwhile is gone as well; a daemon that is stopping removes all of them.
fn take_back(context: &Context, flows: impl Iterator<Item = Ufid>) {
    for ufid in flows {
        if let Err(RequestError::Stopping) = context.handle.request(Request::Remove(ufid)) {
            return;
        }
    }
}

fn read_line(status: &Status, line: &str) -> Result<Arc<Megaflow>, String> {
    let line = line.strip_prefix("add ").unwrap_or(line).trim();
    if line.contains("actions:") {
        let parsed = parse(status, line)?;
        let actions = parsed.actions.unwrap_or_default();
        return Ok(Arc::new(Megaflow::new(parsed.matching, actions)));
    }
    match line.rsplit_once(char::is_whitespace) {
        Some((flow, actions)) => megaflow(status, flow.trim(), actions),
        None => Err("wants FLOW ACTIONS".to_owned()),
    }
}
