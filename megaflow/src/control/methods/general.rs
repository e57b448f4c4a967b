//! Methods for the daemon itself.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{Context, METHODS};

pub(super) fn list(_: &Context, _: &[&str]) -> Result<String, String> {
    let mut text = String::from("The available commands are:\n");
    for method in METHODS {
        let line = format!("  {:<23} {}", method.name, method.usage);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    Ok(text)
}

/// Returns the list of methods as a JSON document in OVS's form.
pub(super) fn list_as_json(_: &Context, _: &[&str]) -> Result<Value, String> {
    let methods = METHODS.iter().map(|method| (method.name.to_owned(), method.usage.into()));
    Ok(Value::Object(methods.collect::<Map<_, _>>()))
}

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
