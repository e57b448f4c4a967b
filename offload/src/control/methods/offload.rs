//! Where megaflows live, and why not elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use flow::{Megaflow, Placement, Ufid, odp};

use super::{Context, all_flows, ask, flows as ask_flows, port_names, status, unexpected};
use crate::control::filter::Filter;
use crate::control::view::{Explained, Flow, Plan, State};
use crate::request::{FlowView, Request, Response};

/// The megaflows as a JSON list: `[all|host|nic|refused] [FILTER]`.
pub(super) fn flows(context: &Context, params: &[&str]) -> Result<String, String> {
    let (place, filter) = match params {
        [] => (None, ""),
        [word] => place(word).map_or((None, *word), |place| (place, "")),
        [word, filter, ..] => {
            let place = place(word);
            let place =
                place.ok_or_else(|| format!("'{word}' is none of all, host, nic, refused"))?;
            (place, *filter)
        }
    };
    let flows: Vec<Flow> = select(context, place, filter)?.iter().map(Flow::from).collect();
    json(&flows)
}

/// A place by its word; `None` inside stands for all of them.
fn place(word: &str) -> Option<Option<Placement>> {
    if word == "all" {
        return Some(None);
    }
    Placement::ALL.into_iter().find(|place| place.name() == word).map(Some)
}

/// The megaflows that live there and pass the filter, by ufid.
pub(crate) fn select(
    context: &Context,
    place: Option<Placement>,
    filter: &str,
) -> Result<Vec<FlowView>, String> {
    let filter = {
        let status = status(context)?;
        Filter::parse(filter, &port_names(&status))?
    };
    let mut flows = all_flows(context)?;
    flows.retain(|view| {
        place.is_none_or(|place| view.placement == place) && filter.passes(&view.flow.matching)
    });
    Ok(flows)
}

/// The state as JSON.
pub(super) fn status_as_json(context: &Context, _: &[&str]) -> Result<String, String> {
    json(&State::from(&status(context)?))
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// What each provider says of a megaflow that is installed, by its ufid or match, or of one that
/// might be.
pub(super) fn explain(context: &Context, params: &[&str]) -> Result<String, String> {
    let (as_json, params) = match params {
        ["--json", rest @ ..] => (true, rest),
        other => (false, other),
    };
    let explained = match params {
        [flow] => explained(context, flow, None)?,
        [flow, actions] => explained(context, flow, Some(actions))?,
        _ => return Err("offload/explain [--json] FLOW|UFID [ACTIONS]".to_owned()),
    };
    if as_json { json(&explained) } else { Ok(explanation(&explained)) }
}

/// The same as data.
pub(crate) fn explained(
    context: &Context,
    text: &str,
    actions: Option<&str>,
) -> Result<Explained, String> {
    let (flow, installed) = find(context, text, actions)?;
    let plans = match ask(context, Request::Explain(flow.clone()))? {
        Response::Explanation(plans) => plans.iter().map(Plan::from).collect(),
        other => return Err(unexpected(&other)),
    };
    Ok(Explained {
        ufid: flow.ufid.to_string(),
        matching: odp::format_match(&flow.matching),
        actions: odp::format_actions(&flow.actions),
        installed: installed.as_ref().map(Flow::from),
        plans,
    })
}

fn find(
    context: &Context,
    text: &str,
    actions: Option<&str>,
) -> Result<(Arc<Megaflow>, Option<FlowView>), String> {
    if let Ok(ufid) = text.parse::<Ufid>() {
        if actions.is_some() {
            return Err("a ufid is explained with the actions that it has".to_owned());
        }
        let view = installed(context, ufid)?;
        let view = view.ok_or_else(|| format!("no flow {ufid}"))?;
        return Ok((view.flow.clone(), Some(view)));
    }
    let status = status(context)?;
    let ports = port_names(&status);
    let (_, matching, own) =
        odp::parse_flow_with(text, &ports).map_err(|error| format!("flow: {error}"))?;
    let actions = match actions {
        Some(_) if own.is_some() => return Err("the flow has actions already".to_owned()),
        Some(text) => Some(
            odp::parse_actions_with(text, &ports).map_err(|error| format!("actions: {error}"))?,
        ),
        None => own,
    };
    flow::validate(&matching, actions.as_deref().unwrap_or_default())
        .map_err(|error| error.to_string())?;
    let wanted = Megaflow::new(matching, actions.clone().unwrap_or_default());
    let view = installed(context, wanted.ufid)?;
    match (actions, view) {
        // Other actions than it has: a question about a flow that might be.
        (Some(actions), Some(view)) if view.flow.actions != actions => Ok((wanted.into(), None)),
        (_, Some(view)) => Ok((view.flow.clone(), Some(view))),
        (Some(_), None) => Ok((wanted.into(), None)),
        (None, None) => {
            Err(format!("{} is not installed: add its actions", odp::format_match(&matching)))
        }
    }
}

/// The flow of that ufid, if there is one.
pub(super) fn installed(context: &Context, ufid: Ufid) -> Result<Option<FlowView>, String> {
    match context.handle.ask(Request::Flow(ufid)) {
        Err(crate::request::RequestError::Refused(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(Response::Flows(flows)) => Ok(flows.into_iter().next()),
        Ok(other) => Err(unexpected(&other)),
    }
}

/// As people read it.
fn explanation(explained: &Explained) -> String {
    let mut text = format!("{}\n", explained.ufid);
    let _ = writeln!(text, "  {} actions:{}", explained.matching, explained.actions);
    match &explained.installed {
        None => text.push_str("placement: not installed\n"),
        Some(flow) => {
            let _ = write!(text, "placement: {}", flow.placement);
            if let Some(provider) = &flow.provider {
                let _ = write!(text, " ({provider})");
            }
            text.push('\n');
            if let Some(refusal) = &flow.refusal {
                let _ = writeln!(text, "because: {refusal}");
            }
            let [nic, host] = [flow.nic, flow.host];
            let _ = writeln!(text, "nic: packets:{}, bytes:{}", nic.packets, nic.bytes);
            let _ = writeln!(text, "host: packets:{}, bytes:{}", host.packets, host.bytes);
        }
    }
    if explained.plans.is_empty() {
        text.push_str("no hardware provider is configured\n");
    }
    for plan in &explained.plans {
        let _ = match (&plan.plan, &plan.refusal) {
            (_, Some(refusal)) => writeln!(text, "{}: refused: {refusal}", plan.provider),
            (Some(words), None) => {
                writeln!(text, "{}: can hold it\n  {}", plan.provider, words.replace('\n', "\n  "))
            }
            (None, None) => writeln!(text, "{}: can hold it", plan.provider),
        };
    }
    text
}

/// How many megaflows are not in hardware, by reason and what is at fault.
pub(super) fn reasons(context: &Context, _: &[&str]) -> Result<String, String> {
    let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let flows = ask_flows(context, Request::Flows)?;
    for refusal in flows.iter().filter_map(|view| view.refusal.as_ref()) {
        let subjects = counts.entry(refusal.reason.code()).or_default();
        *subjects.entry(&refusal.subject).or_default() += 1;
    }
    let mut text = String::new();
    for (reason, subjects) in &counts {
        let total: u64 = subjects.values().sum();
        let list: Vec<String> = subjects.iter().map(|(what, n)| format!("{what} {n}")).collect();
        let _ = writeln!(text, "{reason}: {total} ({})", list.join(", "));
    }
    if counts.is_empty() {
        text.push_str("no flow is refused\n");
    }
    Ok(text)
}

/// The hardware providers: state, tables, decisions.
pub(super) fn show(context: &Context, _: &[&str]) -> Result<String, String> {
    let state = State::from(&status(context)?);
    let mut text = String::new();
    let places: Vec<String> =
        state.flows.iter().map(|(place, count)| format!("{place}:{count}")).collect();
    let _ = writeln!(text, "flows: {}", places.join(" "));
    if state.providers.is_empty() {
        text.push_str("no hardware provider is configured\n");
    }
    for provider in &state.providers {
        let up = if provider.up { "up" } else { "down" };
        let _ = writeln!(text, "{}: {up}", provider.name);
        for table in &provider.tables {
            let capacity = table.capacity.map_or("unknown".to_owned(), |size| size.to_string());
            let _ = writeln!(text, "  table {}: {} of {capacity}", table.table, table.entries);
        }
        let (waiting, limit) = provider.queue;
        let _ = writeln!(text, "  queue: {waiting} of {limit}");
        let _ = write!(text, "  decisions: admitted:{}", provider.admitted);
        for (reason, count) in provider.refused.iter().filter(|(_, count)| **count > 0) {
            let _ = write!(text, " {reason}:{count}");
        }
        text.push('\n');
        let _ = write!(text, "  drift: {} packets; corrections:", provider.drift_packets);
        for (kind, count) in &provider.corrections {
            let _ = write!(text, " {kind}:{count}");
        }
        text.push('\n');
    }
    Ok(text)
}
