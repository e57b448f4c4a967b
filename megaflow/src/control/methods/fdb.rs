//! Methods for the learnt addresses.

use std::fmt::Write;

use super::Context;
use super::ask::{done, status, text};
use ::offload::Request;

pub(super) fn show(context: &Context, params: &[&str]) -> Result<String, String> {
    check_bridge(context, params)?;
    text(context, Request::FdbShow)
}

/// Returns the statistics in OVS's form. No address is ever static here.
pub(super) fn stats(context: &Context, params: &[&str]) -> Result<String, String> {
    check_bridge(context, params)?;
    let status = status(context)?;
    let learning = status.metrics.learning.as_ref();
    let learning =
        learning.ok_or_else(|| format!("the client '{}' learns no addresses", status.client))?;
    let mut text = format!("Statistics for bridge \"{}\":\n", status.name);
    let mut line = |what: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "  {what:<40}: {value}");
    };
    let full = format!("{}/{}", learning.addresses, learning.capacity);
    line("Current/maximum MAC entries in the table", &full);
    line("Current static MAC entries in the table", &0);
    line("Total number of learned MAC entries", &learning.learned);
    line("Total number of expired MAC entries", &learning.expired);
    line("Total number of evicted MAC entries", &learning.evicted.values().sum::<u64>());
    line("Total number of port moved MAC entries", &learning.moved);
    Ok(text)
}

pub(super) fn flush(context: &Context, params: &[&str]) -> Result<String, String> {
    check_bridge(context, params)?;
    done(context, Request::FdbFlush).map(|()| "table successfully flushed\n".to_owned())
}

fn check_bridge(context: &Context, params: &[&str]) -> Result<(), String> {
    let [bridge] = params else { return Ok(()) };
    let name = status(context)?.name;
    if *bridge == name {
        return Ok(());
    }
    Err(format!("no such bridge '{bridge}'; there is '{name}'"))
}
