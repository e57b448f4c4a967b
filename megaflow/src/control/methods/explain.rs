//! Explains where one megaflow lives or might live, and why it does not live elsewhere.

use std::fmt::Write;
use std::sync::Arc;

use flow::{Megaflow, Ufid, odp};

use super::Context;
use super::ask::{ask, port_names, status, unexpected};
use super::offload::json;
use crate::control::plan::read;
use crate::control::view::{Explained, Flow, Plan, ShownRefusal};
use ::offload::{FlowView, Request, RequestError, Response};

/// Returns the answer of each provider about a megaflow. The megaflow is installed and named by
/// its ufid or match, or is one that might be installed.
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

/// Returns the answers of all providers about a megaflow, as data.
pub(crate) fn explained(
    context: &Context,
    text: &str,
    actions: Option<&str>,
) -> Result<Explained, String> {
    if let Ok(ufid) = text.parse::<Ufid>() {
        if actions.is_some() {
            return Err("a ufid is explained with the actions that it has".to_owned());
        }
        let view = installed(context, ufid)?.ok_or_else(|| format!("no flow {ufid}"))?;
        return explained_flow(context, view.flow.clone(), Some(&view));
    }
    let asked = read(text, actions, &port_names(&status(context)?))?;
    let wanted = Megaflow::new(asked.matching, asked.actions.clone().unwrap_or_default());
    if !asked.unsupported.is_empty() {
        // The rest of the flow is another flow, which may be installed. Only the plans of
        // providers that can't do the rest are kept.
        let mut plans = plans(context, wanted.into())?;
        plans.retain(|plan| plan.plan.is_none());
        return Ok(Explained {
            ufid: None,
            matching: text.to_owned(),
            actions: actions.unwrap_or_default().to_owned(),
            refusals: asked.unsupported.iter().map(ShownRefusal::from).collect(),
            installed: None,
            plans,
        });
    }
    let view = installed(context, wanted.ufid)?;
    match (asked.actions, view) {
        // The question gives other actions than the installed flow has, so it is about a flow
        // that might be installed.
        (Some(actions), Some(view)) if view.flow.actions != actions => {
            explained_flow(context, wanted.into(), None)
        }
        (_, Some(view)) => explained_flow(context, view.flow.clone(), Some(&view)),
        (Some(_), None) => explained_flow(context, wanted.into(), None),
        (None, None) => {
            let text = odp::format_match(&wanted.matching);
            Err(format!("{text} is not installed: add its actions"))
        }
    }
}

fn explained_flow(
    context: &Context,
    flow: Arc<Megaflow>,
    installed: Option<&FlowView>,
) -> Result<Explained, String> {
    Ok(Explained {
        ufid: Some(flow.ufid.to_string()),
        matching: odp::format_match(&flow.matching),
        actions: odp::format_actions(&flow.actions),
        refusals: Vec::new(),
        installed: installed.map(Flow::from),
        plans: plans(context, flow)?,
    })
}

fn plans(context: &Context, flow: Arc<Megaflow>) -> Result<Vec<Plan>, String> {
    match ask(context, Request::Explain(flow))? {
        Response::Explanation(plans) => Ok(plans.iter().map(Plan::from).collect()),
        other => Err(unexpected(&other)),
    }
}

/// Returns the flow of that ufid, if there is one.
pub(super) fn installed(context: &Context, ufid: Ufid) -> Result<Option<FlowView>, String> {
    match context.handle.request(Request::Flow(ufid)) {
        Err(RequestError::Refused(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(Response::Flows(flows)) => Ok(flows.into_iter().next()),
        Ok(other) => Err(unexpected(&other)),
    }
}

/// Returns the explanation as text for people.
fn explanation(explained: &Explained) -> String {
    let mut text = String::new();
    match &explained.ufid {
        Some(ufid) => {
            let _ =
                writeln!(text, "{ufid}\n  {} actions:{}", explained.matching, explained.actions);
        }
        None => {
            let _ = writeln!(text, "{} {}", explained.matching, explained.actions);
        }
    }
    match &explained.installed {
        None => text.push_str("placement: not installed\n"),
        Some(flow) => {
            let _ = write!(text, "placement: {}", flow.placement);
            if let Some(provider) = &flow.provider {
                let _ = write!(text, " ({provider})");
            } else if let Some(seconds) = flow.refused_seconds {
                let _ = write!(text, " for {seconds:.1} s");
            }
            text.push('\n');
            let [nic, host] = [flow.nic, flow.host];
            let _ = writeln!(text, "nic: packets:{}, bytes:{}", nic.packets, nic.bytes);
            let _ = writeln!(text, "host: packets:{}, bytes:{}", host.packets, host.bytes);
        }
    }
    for refusal in &explained.refusals {
        let _ = writeln!(text, "refused: {refusal}");
    }
    if explained.plans.is_empty() && explained.refusals.is_empty() {
        text.push_str("no hardware provider is configured\n");
    }
    explained.plans.iter().for_each(|plan| print_plan(&mut text, plan));
    text
}

fn print_plan(text: &mut String, plan: &Plan) {
    let name = &plan.provider;
    let words = match plan.standing.as_str() {
        "holds" => "holds it",
        "takes" => "can hold it",
        "waits" => "not now",
        _ => "refused",
    };
    if plan.refusals.is_empty() {
        let _ = writeln!(text, "{name}: {words}");
    }
    for refusal in &plan.refusals {
        let _ = writeln!(text, "{name}: {words}: {refusal}");
    }
    if let Some(plan) = &plan.plan {
        let _ = writeln!(text, "  {}", plan.replace('\n', "\n  "));
    }
}
