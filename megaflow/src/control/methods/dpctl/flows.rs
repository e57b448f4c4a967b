//! Methods for one flow, or for all of them.

use flow::Ufid;

use super::{megaflow, options, parse, without_datapath};
use crate::control::methods::Context;
use crate::control::methods::ask::{done, flows, status};
use crate::control::methods::explain::installed;
use crate::control::render::{flow_line, statistics};
use ::offload::Request;

pub(in crate::control::methods) fn add(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (_, params) = options(params)?;
    let params = without_datapath(context, "add-flow", &params, 2)?;
    let flow = megaflow(&status(context)?, params[0], params[1])?;
    done(context, Request::Install(flow)).map(|()| String::new())
}

pub(in crate::control::methods) fn modify(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (options, params) = options(params)?;
    let params = without_datapath(context, "mod-flow", &params, 2)?;
    let flow = megaflow(&status(context)?, params[0], params[1])?;
    if options.may_create && installed(context, flow.ufid)?.is_none() {
        return done(context, Request::Install(flow)).map(|()| String::new());
    }
    let request = Request::Replace(flow.ufid, flow.actions.clone());
    done(context, request).map(|()| String::new())
}

pub(in crate::control::methods) fn del(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (options, params) = options(params)?;
    let params = without_datapath(context, "del-flow", &params, 1)?;
    let ufid = match params[0].parse::<Ufid>() {
        Ok(ufid) => ufid,
        Err(_) => parse(&status(context)?, params[0])?.ufid(),
    };
    let removed = flows(context, Request::Remove(ufid))?;
    let lines = removed.iter().filter(|_| options.statistics);
    Ok(lines.map(|view| statistics(view) + "\n").collect())
}

pub(in crate::control::methods) fn del_all(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (_, params) = options(params)?;
    without_datapath(context, "del-flows", &params, 0)?;
    done(context, Request::RemoveAll).map(|()| String::new())
}

pub(in crate::control::methods) fn get(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (options, params) = options(params)?;
    let params = without_datapath(context, "get-flow", &params, 1)?;
    let names = options.names(context)?;
    let ufid: Ufid = params[0].parse()?;
    match installed(context, ufid)? {
        Some(view) => Ok(flow_line(&view, true, &|port| names.find(port)) + "\n"),
        None => Err(format!("no flow {ufid}")),
    }
}
