//! Validation: checks whether a flow is meaningful. These are the rules by which the kernel takes
//! or refuses a flow, for the keys and actions that we have.
//!
//! Actions are checked against the headers that the match says exactly; what the match leaves open
//! is unknown. The rules differ from the kernel's in two points. A label may be pushed or popped
//! only if the match (or the actions before) exclude a VLAN tag; the kernel takes a tag that is
//! left open as absent. And `set` of ICMP, ARP and `dp_hash` is allowed, as in OVS's userspace
//! datapath.
//!
//! All faults of a flow are collected. An action at fault counts as left out for those behind it.

use serde::{Deserialize, Serialize};

use std::fmt;

mod layers;
mod matching;
mod set;

#[cfg(test)]
mod tests;

use layers::KnownHeaders;

use crate::action::{Action, Userspace};
use crate::field::Field;
use crate::key::{Key, Mask};
use crate::matching::Match;

/// Deepest nesting of action lists; the outermost list has depth 0.
pub const MAX_DEPTH: usize = 16;

/// Ports are 0 to 65,534, as in OVS's datapaths (`DP_MAX_PORTS`).
pub const MAX_PORTS: u32 = 65_535;

/// Shortest length in bytes to which `trunc` can cut: that of an Ethernet header.
pub const MIN_TRUNC: u32 = 14;

/// Everything that is wrong with a flow; there is at least one fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub struct Invalid {
    faults: Vec<Fault>,
}

/// A fault of a flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// The field by its name, or the action as ODP text.
    pub subject: String,
    /// What is wrong with the field or action.
    pub why: String,
}

/// The largest number of faults that are told: nobody reads those of thousands of actions.
const MAX_FAULTS: usize = 64;

impl Invalid {
    /// All faults in order.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Fault { subject, why }) in self.faults.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{subject}: {why}")?;
        }
        Ok(())
    }
}

/// The faults that were found so far.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault, unless it was added already.
    fn add(&mut self, subject: impl Into<String>, why: impl Into<String>) {
        let fault = Fault { subject: subject.into(), why: why.into() };
        if self.0.len() < MAX_FAULTS && !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    fn into_result(self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid { faults: self.0 }) }
    }
}

/// Checks a match, and actions on the packets that hit it. The error names every field and action
/// at fault.
pub fn validate(matching: &Match, actions: &[Action]) -> Result<(), Invalid> {
    let mut faults = Faults::default();
    matching::check(matching, &mut faults);
    check_list(KnownHeaders::of(&matching.key(), matching.mask()), actions, 0, &mut faults);
    faults.into_result()
}

/// Checks actions on one packet that has this key. Every list passes that is valid for a match
/// that the packet hits.
pub fn validate_actions(key: &Key, actions: &[Action]) -> Result<(), Invalid> {
    let exact = Key::mask_of(Field::ALL);
    // A match may leave open whether the packet is a later fragment, which ports are not set in.
    let open = Mask { ip_frag: 0, ..exact };
    let check = |mask: &Mask| {
        let mut faults = Faults::default();
        check_list(KnownHeaders::of(key, mask), actions, 0, &mut faults);
        faults.into_result()
    };
    check(&exact).or_else(|_| check(&open))
}

/// Checks a list of actions; `layers` are the headers known in front of it.
fn check_list(mut layers: KnownHeaders, actions: &[Action], depth: usize, faults: &mut Faults) {
    if depth > MAX_DEPTH {
        return faults.add("sample", format!("nested more than {MAX_DEPTH} deep"));
    }
    for action in actions {
        if let Action::Sample { actions, .. } = action {
            check_list(layers, actions, depth + 1, faults);
            continue;
        }
        let mut wrong = Vec::new();
        check_action(&mut layers, action, &mut wrong);
        for why in wrong {
            faults.add(crate::odp::format_actions(std::slice::from_ref(action)), why);
        }
    }
}

fn no_port() -> String {
    format!("a port's number is at most {}", MAX_PORTS - 1)
}

/// Adds what is wrong with an action; `layers` become those behind the action.
fn check_action(layers: &mut KnownHeaders, action: &Action, wrong: &mut Vec<String>) {
    match action {
        Action::Output(port) if port.0 >= MAX_PORTS => wrong.push(no_port()),
        Action::Userspace(Userspace { pid, userdata, .. }) => {
            let (bytes, most) = (userdata.len(), crate::odp::MAX_USERDATA);
            if *pid == 0 {
                wrong.push("pid 0 has no receiver".to_owned());
            }
            if bytes > most {
                wrong.push(format!("userdata has {bytes} bytes, more than {most}"));
            }
        }
        Action::Trunc(length) if *length < MIN_TRUNC => {
            wrong.push(format!("shorter than an Ethernet header of {MIN_TRUNC} bytes"));
        }
        Action::Set(fields) => set::check(layers, fields, wrong),
        Action::PushVlan { tpid, tci } => layers.push_vlan(*tpid, *tci, wrong),
        Action::PopVlan => layers.pop_vlan(),
        Action::PushMpls { eth_type, .. } => layers.push_mpls(*eth_type, wrong),
        Action::PopMpls { eth_type } => layers.pop_mpls(*eth_type, wrong),
        Action::Output(_)
        | Action::Recirc(_)
        | Action::Hash { .. }
        | Action::Trunc(_)
        | Action::Sample { .. } => {}
    }
}
