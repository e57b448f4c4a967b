//! What a provider can do, as data, and the pure function that decides about a megaflow by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, ActionKind};
use crate::field::Field;
use crate::id::PortId;
use crate::megaflow::Megaflow;
use crate::refusal::{Reason, Refusal};

/// The masks under which a field can be matched or set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FieldSupport {
    /// The whole field or nothing of it.
    Exact,
    /// Any mask.
    Masked,
}

/// What a provider can do, probed from the device. `megaflow doctor` prints it, and
/// [`Capabilities::admit`] decides by it. A provider whose device has rules beyond this (an order
/// of actions, a combination of fields) checks them in its own translation, behind the same
/// [`Admission`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// Fields that the provider can match on. Every other field must be wild.
    pub fields: BTreeMap<Field, FieldSupport>,
    /// Actions that the provider can execute.
    pub actions: BTreeSet<ActionKind>,
    /// Fields that the provider can rewrite, with any mask if [`FieldSupport::Masked`].
    pub set: BTreeMap<Field, FieldSupport>,
    /// Ports of the device. A megaflow with another `in_port` or output is refused.
    pub ports: BTreeSet<PortId>,
    /// Longest list of actions.
    pub max_actions: usize,
}

impl Capabilities {
    /// Can the device hold this megaflow? The refusal names the first field, action or port that
    /// it can't do. A mask bit is never ignored and never widened.
    pub fn admit(&self, flow: &Megaflow) -> Result<(), Refusal> {
        let mask = flow.matching.mask();
        for field in mask.fields() {
            match self.fields.get(&field) {
                None => return Err(Refusal::new(Reason::MatchField, field.name())),
                Some(FieldSupport::Exact) if mask.get(field) != field.full_mask() => {
                    let detail = format!(
                        "mask {:#x} is partial; the device takes the whole field or nothing",
                        mask.get(field)
                    );
                    return Err(Refusal::new(Reason::MatchMask, field.name()).detail(detail));
                }
                Some(_) => {}
            }
        }
        self.admit_port(flow.matching.key().port(), "in_port")?;
        if flow.actions.len() > self.max_actions {
            let detail = format!("{} actions, at most {}", flow.actions.len(), self.max_actions);
            return Err(Refusal::new(Reason::ActionList, "number of actions").detail(detail));
        }
        flow.actions.iter().try_for_each(|action| self.admit_action(action))
    }

    fn admit_port(&self, port: PortId, what: &str) -> Result<(), Refusal> {
        if self.ports.contains(&port) {
            return Ok(());
        }
        let subject = format!("{what} {port}");
        Err(Refusal::new(Reason::Port, subject).detail("the port is not on this device"))
    }

    fn admit_action(&self, action: &Action) -> Result<(), Refusal> {
        if !self.actions.contains(&action.kind()) {
            return Err(Refusal::new(Reason::Action, action.kind().name()));
        }
        match action {
            Action::Output(port) => self.admit_port(*port, "output"),
            Action::Set(set) => {
                set.mask.fields().try_for_each(|field| match self.set.get(&field) {
                    Some(FieldSupport::Masked) => Ok(()),
                    Some(FieldSupport::Exact) if set.mask.get(field) == field.full_mask() => Ok(()),
                    Some(FieldSupport::Exact) => Err(Refusal::new(Reason::SetField, field.name())
                        .detail("the device rewrites the whole field or nothing")),
                    None => Err(Refusal::new(Reason::SetField, field.name())),
                })
            }
            Action::Sample { actions, .. } => {
                actions.iter().try_for_each(|action| self.admit_action(action))
            }
            Action::Userspace(_)
            | Action::PushVlan { .. }
            | Action::PopVlan
            | Action::PushMpls { .. }
            | Action::PopMpls { .. }
            | Action::Recirc(_)
            | Action::Hash { .. }
            | Action::Trunc(_) => Ok(()),
        }
    }
}

/// The decision whether a provider's device can hold a megaflow: a pure function of a snapshot of
/// the probed capabilities. The same function decides for the engine and explains to people, so
/// what `explain` says is what happens.
pub trait Admission: Send + Sync {
    /// What was probed, for `doctor` and reports.
    fn capabilities(&self) -> &Capabilities;

    /// Can the device hold it? No side effect, no device access, no room considered.
    fn admit(&self, flow: &Megaflow) -> Result<(), Refusal>;

    /// The plan in the device's own words (for tc the equivalent `tc filter add …` line).
    fn explain(&self, flow: &Megaflow) -> Result<String, Refusal>;
}
