//! Installs flows in bulk, from a file that the daemon reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flow::{Actions, Megaflow, Ufid};

use super::{actions_of, options, parse, without_datapath};
use crate::control::methods::Context;
use crate::control::methods::ask::status;
use crate::handle::{Handle, Pending};
use crate::status::Status;
use crate::text;
use ::offload::{Request, RequestError, Response};

/// The number of megaflows in one request.
const BATCH: usize = 64;
/// The number of requests that are under way at once.
const BATCHES: usize = 32;

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
    let (lines, flows) =
        read_all(context, &text).map_err(|(place, error)| format!("{file}{place}: {error}"))?;
    drop(text);
    install_all(&context.handle, flows, &lines).map_err(|(place, error)| {
        let line = lines.get(place).map_or(0, |(number, _)| *number);
        format!("{file}:{line}: {error}")
    })?;
    Ok(String::new())
}

/// Returns the megaflows of a text, and the line and the ufid of each one. An error comes with
/// `:LINE` if it concerns a line.
fn read_all(context: &Context, text: &str) -> Result<Listed, (String, String)> {
    let fault = |error| (String::new(), error);
    let mut reader = Reader { status: &status(context).map_err(fault)?, last: None };
    let (mut lines, mut flows) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            context.handle.check_stopping().map_err(|error| fault(error.to_string()))?;
            let flow = reader.read(line).map_err(|error| (format!(":{number}"), error))?;
            lines.push((number, flow.ufid));
            flows.push(flow);
        }
    }
    Ok((lines, flows))
}

/// The line and the ufid of each megaflow.
type Lines = Vec<(usize, Ufid)>;

/// The megaflows of a file, with the line of each one.
type Listed = (Lines, Vec<Arc<Megaflow>>);

/// Installs all megaflows or none of them. Returns the place of the first one that could not be
/// installed, with the error.
fn install_all(
    handle: &Handle,
    flows: Vec<Arc<Megaflow>>,
    lines: &[(usize, Ufid)],
) -> Result<(), (usize, RequestError)> {
    let mut failed = BTreeMap::new();
    let mut begun = 0;
    let mut under_way: VecDeque<(usize, Pending<Response>)> = VecDeque::new();
    // The requests take the megaflows along: a reference that stays would be one more visit to
    // each of them.
    let mut flows = flows.into_iter();
    while flows.len() > 0 {
        if under_way.len() == BATCHES
            && let Some((start, pending)) = under_way.pop_front()
        {
            note(&mut failed, start, pending);
        }
        if !failed.is_empty() {
            break;
        }
        let batch: Vec<Arc<Megaflow>> = flows.by_ref().take(BATCH).collect();
        let next = begun + batch.len();
        let pending = handle.begin(Request::InstallAll(batch));
        under_way.push_back((begun, pending.map_err(|error| (begun, error))?));
        begun = next;
    }
    for (start, pending) in under_way {
        note(&mut failed, start, pending);
    }
    let Some((place, error)) = failed.first_key_value() else { return Ok(()) };
    for (place, (_, ufid)) in lines.iter().enumerate().take(begun) {
        // A megaflow that somebody else has removed meanwhile is gone as well; a daemon that is
        // stopping removes all of them.
        if !failed.contains_key(&place)
            && let Err(RequestError::Stopping) = handle.request(Request::Remove(*ufid))
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

/// Reads the lines of a file.
struct Reader<'a> {
    status: &'a Status,
    /// The actions that were read last, with their text. Many lines have the same, and their
    /// megaflows then share one list.
    last: Option<(&'a str, Actions)>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, line: &'a str) -> Result<Arc<Megaflow>, String> {
        let line = line.strip_prefix("add ").unwrap_or(line).trim();
        if line.contains("actions:") {
            let parsed = parse(self.status, line)?;
            let actions = parsed.actions.unwrap_or_default();
            return Ok(Arc::new(Megaflow::new(parsed.matching, actions)));
        }
        let Some((flow, text)) = line.rsplit_once(char::is_whitespace) else {
            return Err("wants FLOW ACTIONS".to_owned());
        };
        let parsed = parse(self.status, flow.trim())?;
        let actions = match &self.last {
            Some((last, actions)) if *last == text => actions.clone(),
            _ => actions_of(self.status, text)?,
        };
        self.last = Some((text, actions.clone()));
        parsed.with(actions).map(Arc::new)
    }
}
