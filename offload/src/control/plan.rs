//! The text of a megaflow that a plan is asked for.

use flow::odp::{self, PlanText, Ports};

/// Reads a flow, with its actions in the same text, in the other or not at all. What Megaflow does
/// not have is a reason in it; what no datapath can mean is an error.
pub(crate) fn read(
    text: &str,
    actions: Option<&str>,
    ports: Ports<'_>,
) -> Result<PlanText, String> {
    let mut flow = odp::plan_flow_with(text, ports).map_err(|error| format!("flow: {error}"))?;
    if let Some(text) = actions {
        if flow.actions.is_some() {
            return Err("the flow has actions already".to_owned());
        }
        let (actions, unsupported) =
            odp::plan_actions_with(text, ports).map_err(|error| format!("actions: {error}"))?;
        flow.actions = Some(actions);
        flow.unsupported.extend(unsupported);
    }
    // What is left of a flow makes sense with the rest of it, if at all.
    if flow.unsupported.is_empty() {
        flow::validate(&flow.matching, flow.actions.as_deref().unwrap_or_default())
            .map_err(|error| error.to_string())?;
    }
    Ok(flow)
}
