//! The learnt addresses.

use super::{Context, done, status, text};
use crate::request::Request;

pub(super) fn show(context: &Context, params: &[&str]) -> Result<String, String> {
    check_bridge(context, params)?;
    text(context, Request::FdbShow)
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
