//! What the methods ask the engine.

use flow::PortId;
use offload::{FlowView, Request, Response};

use super::Context;
use crate::status::Status;

pub(super) fn ask(context: &Context, request: Request) -> Result<Response, String> {
    context.handle.request(request).map_err(|error| error.to_string())
}

/// Sends a request whose answer is only "done".
pub(super) fn done(context: &Context, request: Request) -> Result<(), String> {
    ask(context, request).map(drop)
}

/// Returns the state in numbers.
pub(crate) fn status(context: &Context) -> Result<Status, String> {
    context.handle.status().map(|status| *status).map_err(|error| error.to_string())
}

pub(super) fn flows(context: &Context, request: Request) -> Result<Vec<FlowView>, String> {
    match ask(context, request)? {
        Response::Flows(flows) => Ok(flows),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn text(context: &Context, request: Request) -> Result<String, String> {
    match ask(context, request)? {
        Response::Text(text) => Ok(text),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(response: &Response) -> String {
    format!("internal error: unexpected answer {:?}", std::mem::discriminant(response))
}

/// Returns a function that finds ports by name.
pub(super) fn port_names(status: &Status) -> impl Fn(&str) -> Option<PortId> + '_ {
    |name| status.ports.iter().find(|port| port.name == name).map(|port| port.id)
}
