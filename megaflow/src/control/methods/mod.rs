//! The methods that clients may call over the socket: one table, and one file per group.

mod ask;
mod audit;
mod coverage;
mod dpctl;
mod dpif;
mod explain;
mod fdb;
mod general;
mod offload;
mod pages;
mod port;
mod queues;
mod vlog;

use std::fmt::Write;

use serde_json::{Map, Value};

pub(crate) use ask::status;
pub(super) use coverage::sample;
pub(crate) use explain::explained;
pub(crate) use offload::json;
pub(super) use pages::Pages;
pub(crate) use pages::{Chosen, PAGES_AT_ONCE};

use super::Context;
use super::format::Format;

/// One method.
pub(super) struct Method {
    name: &'static str,
    usage: &'static str,
    /// The smallest and the largest number of parameters.
    params: (usize, usize),
    run: Run,
}

/// The way in which a method runs.
enum Run {
    /// Answers with a text.
    Text(Ask<String>),
    /// Answers with a text or, to clients that want JSON, with a document of its own.
    Either(Ask<String>, Ask<Value>),
    /// Answers with a text about all megaflows, a page at a time.
    Pages(Ask<Pages>),
    /// Changes the form in which the client is answered.
    Options(fn(&[&str]) -> Result<Format, String>),
}

type Ask<T> = fn(&Context, &[&str]) -> Result<T, String>;

/// The answer to a client.
pub(super) enum MethodAnswer {
    /// A text, sent in the form that the client wants.
    Text(String),
    /// A document, sent as it is.
    Json(Value),
    /// A text that is made while it is sent.
    Pages(Pages),
    /// An empty answer. The client has this form from now on.
    Options(Format),
}

/// No limit on the number of parameters.
const MANY: usize = usize::MAX;

/// All methods, by name.
const METHODS: &[Method] = &[
    method("coverage/read-counter", "COUNTER", (1, 1), coverage::read_counter),
    method("coverage/show", "", (0, 0), coverage::show),
    method("dpctl/add-flow", "[DP] FLOW ACTIONS", (1, MANY), dpctl::flows::add),
    method("dpctl/add-flows", "[DP] FILE", (1, MANY), dpctl::file::add),
    method("dpctl/del-flow", "[DP] FLOW|ufid:…", (1, MANY), dpctl::flows::del),
    method("dpctl/del-flows", "[DP]", (0, MANY), dpctl::flows::del_all),
    method("dpctl/dump-dps", "", (0, 0), dpctl::show::dump_dps),
    Method {
        name: "dpctl/dump-flows",
        usage: "[-m] [--names|--no-names] [DP] [filter=…] [type=…]",
        params: (0, MANY),
        run: Run::Pages(dpctl::dump::dump),
    },
    method("dpctl/get-flow", "[-m] [--names|--no-names] [DP] ufid:…", (1, MANY), dpctl::flows::get),
    method("dpctl/mod-flow", "[DP] FLOW ACTIONS", (1, MANY), dpctl::flows::modify),
    method("dpctl/offload-stats-show", "[DP]", (0, MANY), dpctl::show::offload_stats),
    method("dpctl/show", "[-s] [DP]", (0, MANY), dpctl::show::show),
    method("dpif-netdev/pmd-rxq-show", "[-pmd CORE] [DP]", (0, 3), queues::show),
    Method {
        name: "dpif/show",
        usage: "",
        params: (0, 0),
        run: Run::Either(dpif::show, dpif::show_as_json),
    },
    method("exit", "", (0, MANY), general::exit),
    method("fdb/flush", "[BRIDGE]", (0, 1), fdb::flush),
    method("fdb/show", "[BRIDGE]", (0, 1), fdb::show),
    method("fdb/stats-show", "[BRIDGE]", (0, 1), fdb::stats),
    Method {
        name: "list-commands",
        usage: "",
        params: (0, 0),
        run: Run::Either(list, list_as_json),
    },
    method("memory/show", "", (0, 0), coverage::memory),
    method("metrics/show", "", (0, 0), coverage::metrics),
    method("offload/audit", "", (0, 0), audit::audit),
    method("offload/explain", "[--json] FLOW|UFID [ACTIONS]", (1, 3), explain::explain),
    Method {
        name: "offload/flows",
        usage: "[all|host|nic|refused] [FILTER]",
        params: (0, 2),
        run: Run::Pages(offload::flows),
    },
    method("offload/reasons", "", (0, 0), offload::reasons),
    method("offload/show", "", (0, 0), offload::show),
    method("offload/status", "", (0, 0), offload::status_as_json),
    method("port/receive", "PORT HEX", (2, MANY), port::receive),
    Method {
        name: "set-options",
        usage: "[--format text|json]",
        params: (1, 2),
        run: Run::Options(Format::parse),
    },
    method("upcall/show", "", (0, 0), coverage::upcalls),
    method("version", "", (0, 0), general::version),
    method("vlog/list", "", (0, 0), vlog::list),
    method("vlog/set", "[[MODULE:][console:]LEVEL]…", (0, MANY), vlog::set),
];

const fn method(
    name: &'static str,
    usage: &'static str,
    params: (usize, usize),
    run: Ask<String>,
) -> Method {
    Method { name, usage, params, run: Run::Text(run) }
}

/// Carries out a method. If the method fails, the error is one line and nothing was changed.
/// Blocks until the engine has answered.
pub(super) fn call(
    context: &Context,
    format: Format,
    name: &str,
    params: &[String],
) -> Result<MethodAnswer, String> {
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    let result = match METHODS.iter().find(|method| method.name == name) {
        None => Err(format!(
            "\"{name}\" is not a valid command (use \"list-commands\" to see a list of valid \
             commands)"
        )),
        Some(Method { params: (least, _), usage, .. }) if params.len() < *least => {
            let plural = if *least == 1 { "" } else { "s" };
            Err(format!(
                "\"{name}\" command requires at least {least} argument{plural}: {name} {usage}"
            ))
        }
        Some(Method { params: (_, most), .. }) if params.len() > *most => {
            let plural = if *most == 1 { "" } else { "s" };
            Err(format!("\"{name}\" command takes at most {most} argument{plural}"))
        }
        Some(method) => match (&method.run, format) {
            (Run::Either(_, run), Format::Json) => run(context, &params).map(MethodAnswer::Json),
            (Run::Text(run) | Run::Either(run, _), _) => {
                run(context, &params).map(MethodAnswer::Text)
            }
            (Run::Pages(run), _) => run(context, &params).map(MethodAnswer::Pages),
            (Run::Options(parse), _) => parse(&params).map(MethodAnswer::Options),
        },
    };
    // The request may have brought any text, but the answer stays one line.
    result.map_err(|error| error.replace('\n', " "))
}

fn list(_: &Context, _: &[&str]) -> Result<String, String> {
    let mut text = String::from("The available commands are:\n");
    for method in METHODS {
        let line = format!("  {:<23} {}", method.name, method.usage);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    Ok(text)
}

/// Returns the list of methods as a JSON document in OVS's form.
fn list_as_json(_: &Context, _: &[&str]) -> Result<Value, String> {
    let methods = METHODS.iter().map(|method| (method.name.to_owned(), method.usage.into()));
    Ok(Value::Object(methods.collect::<Map<_, _>>()))
}
