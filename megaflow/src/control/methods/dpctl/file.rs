//! Installs flows in bulk, from a file that the daemon reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flow::Megaflow;

use super::{megaflow, options, parse, without_datapath};
use crate::control::methods::{Context, status};
use crate::handle::{Handle, Pending};
use crate::status::Status;
use crate::text;
use ::offload::{Request, RequestError, Response};

/// The number of megaflows in one request.
const BATCH: usize = 256;
/// The number of requests that are under way at once.
const BATCHES: usize = 8;

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
    let megaflows: Vec<Arc<Megaflow>> = flows.iter().map(|(_, flow)| flow.clone()).collect();
    install_all(&context.handle, &megaflows).map_err(|(place, error)| {
        let line = flows.get(place).map_or(0, |(number, _)| *number);
        format!("{file}:{line}: {error}")
    })?;
    Ok(String::new())
}

/// Installs all megaflows or none of them. Returns the place of the first one that could not be
/// installed, with the error.
fn install_all(handle: &Handle, flows: &[Arc<Megaflow>]) -> Result<(), (usize, RequestError)> {
    let mut failed = BTreeMap::new();
    let mut begun = 0;
    let mut under_way: VecDeque<(usize, Pending<Response>)> = VecDeque::new();
    for batch in flows.chunks(BATCH) {
        if under_way.len() == BATCHES
            && let Some((start, pending)) = under_way.pop_front()
        {
            note(&mut failed, start, pending);
        }
        if !failed.is_empty() {
            break;
        }
        let pending = handle.begin(Request::InstallAll(batch.to_vec()));
        under_way.push_back((begun, pending.map_err(|error| (begun, error))?));
        begun += batch.len();
    }
    for (start, pending) in under_way {
        note(&mut failed, start, pending);
    }
    let Some((place, error)) = failed.first_key_value() else { return Ok(()) };
    for (place, flow) in flows.iter().enumerate().take(begun) {
        // A megaflow that somebody else has removed meanwhile is gone as well; a daemon that is
        // stopping removes all of them.
        if !failed.contains_key(&place)
            && let Err(RequestError::Stopping) = handle.request(Request::Remove(flow.ufid))
        {
            break;
        }
    }
    Err((*place, error.clone()))
}

/// Waits for a batch that began at this place, and notes what failed in it.
fn note(failed: &mut BTreeMap<usize, RequestError>, start: usize, pending: Pending<Response>) {
    match pending.wait() {
        Ok(Response::Installed { failed: of_batch }) => {
            failed.extend(of_batch.into_iter().map(|(place, error)| (start + place, error)));
        }
        Ok(_) => {
            let error = "the answer does not fit the request".to_owned();
            failed.insert(start, RequestError::Refused(error));
        }
        Err(error) => drop(failed.insert(start, error)),
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
