//! Dumps all flows, or some.

use flow::Placement;

use super::{options, without_datapath};
use crate::control::methods::{Context, select};
use crate::control::render::flow_line;
use ::offload::FlowView;

pub(in crate::control::methods) fn dump(
    context: &Context,
    params: &[&str],
) -> Result<String, String> {
    let (options, params) = options(params)?;
    let (mut filter, mut types, mut rest) = (None, None, Vec::new());
    for param in params {
        if let Some(text) = param.strip_prefix("filter=") {
            once(&mut filter, text, "filter")?;
        } else if let Some(text) = param.strip_prefix("type=") {
            once(&mut types, text, "type")?;
        } else {
            rest.push(param);
        }
    }
    without_datapath(context, "dump-flows", &rest, 0)?;
    let types = Types::parse(types.unwrap_or("all"))?;
    let mut flows = select(context, None, filter.unwrap_or(""))?;
    flows.retain(|view| types.has(view));
    let names = options.names(context)?;
    let line = |view| flow_line(view, options.more, &|port| names.find(port)) + "\n";
    Ok(flows.iter().map(line).collect())
}

fn once<'a>(slot: &mut Option<&'a str>, value: &'a str, what: &str) -> Result<(), String> {
    match slot.replace(value) {
        Some(_) => Err(format!("{what}= appears twice")),
        None => Ok(()),
    }
}

/// The words of `type=`.
const WORDS: [&str; 9] = [
    "all",
    "ovs",
    "tc",
    "dpdk",
    "fpga",
    "host",
    "offloaded",
    "non-offloaded",
    "partially-offloaded",
];

struct Types<'a>(Vec<&'a str>);

impl<'a> Types<'a> {
    fn parse(text: &'a str) -> Result<Types<'a>, String> {
        let words: Vec<&str> = text.split(',').collect();
        match words.iter().find(|word| !WORDS.contains(word)) {
            Some(bad) => Err(format!("unknown type '{bad}': expected {}", WORDS.join(", "))),
            None => Ok(Types(words)),
        }
    }

    /// Returns true if one of the words stands for the megaflow. No megaflow is partially
    /// offloaded, and no megaflow lives in DPDK.
    fn has(&self, view: &FlowView) -> bool {
        let nic = view.placement == Placement::Nic;
        self.0.iter().any(|word| match *word {
            "all" => true,
            "offloaded" => nic,
            "ovs" | "host" | "non-offloaded" => !nic,
            provider => nic && view.provider.as_deref() == Some(provider),
        })
    }
}
