//! Validation: checks whether a flow is meaningful. These are the rules by which the kernel takes
//! or refuses a flow, for the keys and actions that we have.
//!
//! Actions are checked against the headers that the match says exactly; what the match leaves open
//! is unknown. The rules differ from the kernel's in two points. A label may be pushed or popped
//! only if the match (or the actions before) exclude a VLAN tag; the kernel takes a tag that is
//! left open as absent. And `set` of ICMP, ARP and `dp_hash` is allowed, as in OVS's userspace
//! datapath.

mod layers;
mod matching;
mod set;

#[cfg(test)]
mod tests;

use layers::Layers;

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

/// Why a flow is refused: the field or action at fault, and the reason.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{subject}: {why}")]
pub struct Invalid {
    /// The field by its name, or the action as ODP text.
    pub subject: String,
    /// What is wrong with the field or action.
    pub why: String,
}

impl Invalid {
    fn new(subject: impl Into<String>, why: impl Into<String>) -> Invalid {
        Invalid { subject: subject.into(), why: why.into() }
    }
}

/// Checks a match, and actions on the packets that hit it. The error names the first field or
/// action at fault.
pub fn validate(matching: &Match, actions: &[Action]) -> Result<(), Invalid> {
    matching::check(matching)?;
    check_list(Layers::of(matching.key(), matching.mask()), actions, 0)
}

/// Checks actions on one packet that has this key. Every list passes that is valid for a match
/// that the packet hits.
pub fn validate_actions(key: &Key, actions: &[Action]) -> Result<(), Invalid> {
    let exact = Key::mask_of(Field::ALL);
    // A match may leave open whether the packet is a later fragment, which ports are not set in.
    let open = Mask { ip_frag: 0, ..exact };
    check_list(Layers::of(key, &exact), actions, 0)
        .or_else(|_| check_list(Layers::of(key, &open), actions, 0))
}

/// Checks a list of actions; `layers` are the headers known in front of it.
fn check_list(mut layers: Layers, actions: &[Action], depth: usize) -> Result<(), Invalid> {
    if depth > MAX_DEPTH {
        return Err(Invalid::new("sample", format!("nested more than {MAX_DEPTH} deep")));
    }
    for action in actions {
        if let Action::Sample { actions, .. } = action {
            check_list(layers, actions, depth + 1)?;
            continue;
        }
        check_action(&mut layers, action).map_err(|why| {
            Invalid::new(crate::odp::format_actions(std::slice::from_ref(action)), why)
        })?;
    }
    Ok(())
}

fn no_port() -> String {
    format!("a port's number is at most {}", MAX_PORTS - 1)
}

fn check_action(layers: &mut Layers, action: &Action) -> Result<(), String> {
    match action {
        Action::Output(port) if port.0 >= MAX_PORTS => Err(no_port()),
        Action::Userspace(Userspace { pid: 0, .. }) => Err("pid 0 has no receiver".to_owned()),
        Action::Userspace(userspace) if userspace.userdata.len() > crate::odp::MAX_USERDATA => {
            let most = crate::odp::MAX_USERDATA;
            Err(format!("userdata has {} bytes, more than {most}", userspace.userdata.len()))
        }
        Action::Trunc(length) if *length < MIN_TRUNC => {
            Err(format!("shorter than an Ethernet header of {MIN_TRUNC} bytes"))
        }
        Action::Set(fields) => set::check(layers, fields),
        Action::PushVlan { tpid, tci } => layers.push_vlan(*tpid, *tci),
        Action::PopVlan => layers.pop_vlan(),
        Action::PushMpls { eth_type, .. } => layers.push_mpls(*eth_type),
        Action::PopMpls { eth_type } => layers.pop_mpls(*eth_type),
        Action::Output(_)
        | Action::Userspace(_)
        | Action::Recirc(_)
        | Action::Hash { .. }
        | Action::Trunc(_)
        | Action::Sample { .. } => Ok(()),
    }
}
