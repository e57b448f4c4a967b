//! OVS's verbs for flows.

pub(super) mod dump;
pub(super) mod file;
pub(super) mod flows;
mod names;
pub(super) mod show;

use std::sync::Arc;

use flow::{Actions, Match, Megaflow, Ufid, odp};

use names::PortNames;
pub(super) use show::lookups;

use super::Context;
use super::ask::{port_names, status};
use crate::status::Status;

/// Returns the datapath's name as OVS writes it: type and name.
pub(super) fn datapath(status: &Status) -> String {
    format!("megaflow@{}", status.name)
}

/// The options of any `dpctl` verb.
#[derive(Default)]
struct Options {
    more: bool,
    names: Option<bool>,
    statistics: bool,
    may_create: bool,
}

impl Options {
    /// Returns the port names that flows are shown with. As in OVS, `-m` shows names unless told
    /// otherwise.
    fn names(&self, context: &Context) -> Result<PortNames, String> {
        if self.names.unwrap_or(self.more) {
            status(context).map(|status| PortNames::of(&status))
        } else {
            Ok(PortNames::default())
        }
    }
}

/// Separates the options from the other parameters, wherever they stand.
fn options<'a>(params: &[&'a str]) -> Result<(Options, Vec<&'a str>), String> {
    let mut options = Options::default();
    let mut rest = Vec::new();
    for param in params {
        match *param {
            "-m" | "--more" => options.more = true,
            "-s" | "--statistics" => options.statistics = true,
            "-ms" | "-sm" => (options.more, options.statistics) = (true, true),
            "--may-create" => options.may_create = true,
            "--names" => options.names = Some(true),
            "--no-names" => options.names = Some(false),
            other if other.starts_with('-') => {
                return Err(format!(
                    "unknown option '{other}' (there are -m, -s, --names, --no-names, \
                     --may-create)"
                ));
            }
            other => rest.push(other),
        }
    }
    Ok((options, rest))
}

/// Removes the datapath's name if there is one parameter more than the verb needs. The name must
/// be ours.
fn without_datapath<'a, 'b>(
    context: &Context,
    verb: &str,
    params: &'b [&'a str],
    needs: usize,
) -> Result<&'b [&'a str], String> {
    match params {
        [name, rest @ ..] if rest.len() == needs => {
            let status = status(context)?;
            if *name == status.name || *name == datapath(&status) {
                return Ok(rest);
            }
            Err(format!("no datapath '{name}'; there is {}", datapath(&status)))
        }
        _ if params.len() == needs => Ok(params),
        _ => {
            let plural = if needs == 1 { "" } else { "s" };
            Err(format!(
                "dpctl/{verb} takes {needs} argument{plural} (and the datapath's name before, if \
                 at all), not {}",
                params.len()
            ))
        }
    }
}

/// The contents of a flow's text.
struct Parsed {
    matching: Match,
    actions: Option<Actions>,
}

impl Parsed {
    fn ufid(&self) -> Ufid {
        self.matching.ufid()
    }

    /// Returns the megaflow, whose actions stood beside the flow and not in it.
    fn with(self, actions: Actions) -> Result<Megaflow, String> {
        match self.actions {
            Some(_) => Err("flow: has actions in it already".to_owned()),
            None => Ok(Megaflow::new(self.matching, actions)),
        }
    }
}

/// Reads a flow, with or without actions in the same text. If the text has a ufid, it must be the
/// ufid of the match.
fn parse(status: &Status, text: &str) -> Result<Parsed, String> {
    let parsed = odp::parse_flow_with(text, &port_names(status));
    let (ufid, matching, actions) = parsed.map_err(|error| format!("flow: {error}"))?;
    let parsed = Parsed { matching, actions };
    match ufid {
        Some(ufid) if ufid != parsed.ufid() => Err(format!(
            "flow: {ufid} is not the ufid of this match, {} is: leave it out",
            parsed.ufid()
        )),
        _ => Ok(parsed),
    }
}

/// Reads a whole megaflow from the text of the flow and the text of the actions.
fn megaflow(status: &Status, flow: &str, actions: &str) -> Result<Arc<Megaflow>, String> {
    let parsed = parse(status, flow)?;
    parsed.with(actions_of(status, actions)?).map(Arc::new)
}

/// Reads a list of actions.
fn actions_of(status: &Status, text: &str) -> Result<Actions, String> {
    odp::parse_actions_with(text, &port_names(status)).map_err(|error| format!("actions: {error}"))
}
