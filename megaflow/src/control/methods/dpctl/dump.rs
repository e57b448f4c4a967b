//! Dumps all flows, or some.

use flow::Placement;

use super::{options, without_datapath};
use crate::control::methods::{Chosen, Context, Pages};
use crate::control::render::{LINE, print_flow};
use ::offload::FlowView;

pub(in crate::control::methods) fn dump(
    context: &Context,
    params: &[&str],
) -> Result<Pages, String> {
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
    let chosen = Chosen::parse(context, None, filter.unwrap_or(""))?;
    let names = options.names(context)?;
    Ok(Pages::new(move |page| {
        let views = page.flows.iter().map(|(_, view)| view);
        let shown = views.filter(|view| chosen.has(view) && types.has(view));
        let mut text = String::with_capacity(page.flows.len() * LINE);
        for view in shown {
            print_flow(&mut text, view, options.more, &|port| names.find(port));
            text.push('\n');
        }
        Ok(text)
    }))
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

struct Types(Vec<&'static str>);

impl Types {
    fn parse(text: &str) -> Result<Types, String> {
        let known = |word: &str| {
            let found = WORDS.into_iter().find(|known| *known == word);
            let wrong = || format!("unknown type '{word}': expected {}", WORDS.join(", "));
            found.ok_or_else(wrong)
        };
        text.split(',').map(known).collect::<Result<_, _>>().map(Types)
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
