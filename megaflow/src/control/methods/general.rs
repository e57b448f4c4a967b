//! Methods for the daemon itself.

use super::Context;

pub(super) fn version(_: &Context, _: &[&str]) -> Result<String, String> {
    Ok(format!("megaflow {}\n", env!("CARGO_PKG_VERSION")))
}

/// Stops the daemon. `--cleanup` is OVS's word for removing everything, which happens here in any
/// case.
pub(super) fn exit(context: &Context, params: &[&str]) -> Result<String, String> {
    if let Some(other) = params.iter().find(|param| **param != "--cleanup") {
        return Err(format!("exit: unknown argument '{other}'"));
    }
    context.handle.exit().map(|()| String::new()).map_err(|error| error.to_string())
}
