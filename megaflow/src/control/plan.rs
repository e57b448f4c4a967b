//! The text of a megaflow that a client asks a plan for.

use flow::odp::{self, PlanText, PortsByName};

/// Reads a flow. Its actions are in the same text, in the second text, or missing. A part that
/// Megaflow does not have becomes a reason in the result; a part that no datapath can mean is an
/// error.
pub(crate) fn read(
    text: &str,
    actions: Option<&str>,
    ports: PortsByName<'_>,
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
    // If parts were left out, the rest of the flow may make no sense alone, so it is not checked.
    if flow.unsupported.is_empty() {
        flow::validate(&flow.matching, flow.actions.as_deref().unwrap_or_default())
            .map_err(|error| error.to_string())?;
    }
    Ok(flow)
}
