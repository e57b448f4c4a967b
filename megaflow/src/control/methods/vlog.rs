//! Methods for the levels of the log.

use super::Context;

pub(super) fn list(context: &Context, _: &[&str]) -> Result<String, String> {
    Ok(context.log.table())
}

pub(super) fn set(context: &Context, params: &[&str]) -> Result<String, String> {
    let specs: Vec<String> = params.iter().map(|spec| (*spec).to_owned()).collect();
    context.log.set(&specs).map(|()| String::new())
}
