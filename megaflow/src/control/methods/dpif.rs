//! Shows the datapath with its bridge; there is one of each.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Context;
use super::ask::status;
use super::dpctl::{datapath, lookups};
use crate::status::{PortView, Status};

/// Returns the datapath in OVS's form. A port has one number, which stands for both the OpenFlow
/// number and the datapath's number.
pub(super) fn show(context: &Context, _: &[&str]) -> Result<String, String> {
    let status = status(context)?;
    let lookups = lookups(&status);
    let mut text = datapath(&status);
    let _ = writeln!(text, ": hit:{} missed:{}\n  {}:", lookups.hit, lookups.missed, status.name);
    for port in ports(&status) {
        let number = port.id;
        let _ = writeln!(text, "    {} {number}/{number}: ({})", port.name, port.kind);
    }
    Ok(text)
}

/// Returns the datapath as a JSON document in OVS's form, with numbers as strings.
pub(super) fn show_as_json(context: &Context, _: &[&str]) -> Result<Value, String> {
    let status = status(context)?;
    let lookups = lookups(&status);
    let ports = ports(&status).into_iter().map(|port| {
        let number = port.id.to_string();
        (port.name.clone(), json!({"ofport": number, "port_no": number, "type": port.kind}))
    });
    let ports: Map<String, Value> = ports.collect();
    let stats = json!({"hit": lookups.hit.to_string(), "missed": lookups.missed.to_string()});
    Ok(json!({datapath(&status): {"stats": stats, "bridges": {&status.name: ports}}}))
}

/// Returns the ports by name, the order that OVS uses here.
fn ports(status: &Status) -> Vec<&PortView> {
    let mut ports: Vec<&PortView> = status.ports.iter().collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}
