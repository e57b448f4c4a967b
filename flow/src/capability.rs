//! What a provider can do, as data, and the pure function that decides about a megaflow by it.

use serde::{Deserialize, Serialize};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::action::{Action, ActionKind};
use crate::field::Field;
use crate::id::PortId;
use crate::key::Mask;
use crate::megaflow::Megaflow;
use crate::refusal::{Detail, Reason, Reasons, Refusal, Refusals, Subject, Unit};

/// The masks under which a field can be matched or set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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
    /// Returns the refusals if the device can't hold this megaflow: they name every field, action
    /// and port at fault. A mask bit is never ignored and never widened.
    pub fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        let mut reasons = Reasons::default();
        let mask = flow.matching.mask();
        for field in mask.fields() {
            match self.fields.get(&field) {
                None => reasons.add(Refusal::new(Reason::MatchField, field)),
                Some(FieldSupport::Exact) if mask.get(field) != field.full_mask() => {
                    let detail = Detail::PartialMask(Arc::new(mask.get(field)));
                    reasons.add(Refusal::new(Reason::MatchMask, field).detail(detail));
                }
                Some(_) => {}
            }
        }
        let in_port = flow.matching.port();
        self.admit_port(in_port, Subject::InPort(in_port), &mut reasons);
        if flow.actions.len() > self.max_actions {
            let detail = Detail::too_many(Unit::Actions, flow.actions.len(), self.max_actions);
            reasons.add(Refusal::new(Reason::ActionList, Subject::ActionCount).detail(detail));
        }
        self.admit_actions(&flow.actions, &mut reasons);
        reasons.into_result(())
    }

    fn admit_port(&self, port: PortId, subject: Subject, reasons: &mut Reasons) {
        if !self.ports.contains(&port) {
            let refusal = Refusal::new(Reason::Port, subject);
            reasons.add(refusal.detail(&"the port is not on this device"));
        }
    }

    fn admit_actions(&self, actions: &[Action], reasons: &mut Reasons) {
        for action in actions {
            if !self.actions.contains(&action.kind()) {
                reasons.add(Refusal::new(Reason::Action, action.kind()));
                continue;
            }
            match action {
                Action::Output(port) => self.admit_port(*port, Subject::Output(*port), reasons),
                Action::Set(set) => self.admit_set(&set.mask, reasons),
                Action::Sample { actions, .. } => self.admit_actions(actions, reasons),
                Action::Userspace(_)
                | Action::PushVlan { .. }
                | Action::PopVlan
                | Action::PushMpls { .. }
                | Action::PopMpls { .. }
                | Action::Recirc(_)
                | Action::Hash { .. }
                | Action::Trunc(_) => {}
            }
        }
    }

    fn admit_set(&self, mask: &Mask, reasons: &mut Reasons) {
        for field in mask.fields() {
            let refusal = Refusal::new(Reason::SetField, field);
            match self.set.get(&field) {
                Some(FieldSupport::Masked) => {}
                Some(FieldSupport::Exact) if mask.get(field) == field.full_mask() => {}
                Some(FieldSupport::Exact) => {
                    reasons.add(refusal.detail(&"the device rewrites the whole field or nothing"));
                }
                None => reasons.add(refusal),
            }
        }
    }
}

/// The decision whether a provider's device can hold a megaflow: a pure function of a snapshot of
/// the probed capabilities. The same function decides for the engine and explains to people, so
/// what `explain` says is what happens.
pub trait Admission: Send + Sync {
    /// What was probed, for `doctor` and reports.
    fn capabilities(&self) -> &Capabilities;

    /// Returns all refusals if the device can't hold the megaflow. The call has no side effect and
    /// no access to the device, and does not consider the room in the device's tables.
    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals>;

    /// The plan in the device's own words (for tc the equivalent `tc filter add …` line).
    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals>;
}

/// Capabilities decide by themselves. They have no words of their own for a plan.
impl Admission for Capabilities {
    fn capabilities(&self) -> &Capabilities {
        self
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        Capabilities::admit(self, flow)
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        Capabilities::admit(self, flow).map(|()| String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::odp;

    #[test]
    fn every_fault_is_a_reason_and_each_is_said_once() {
        let capabilities = Capabilities {
            fields: [(Field::InPort, FieldSupport::Exact), (Field::EthType, FieldSupport::Exact)]
                .into(),
            actions: [ActionKind::Output, ActionKind::Set].into(),
            set: [(Field::EthSrc, FieldSupport::Exact)].into(),
            ports: [PortId(1)].into(),
            max_actions: 5,
        };
        let why = |matching: &str, actions: &str| {
            let matching = odp::parse_match(matching).unwrap();
            let flow = Megaflow::new(matching, odp::parse_actions(actions).unwrap());
            let refusals = capabilities.admit(&flow).expect_err("refused");
            refusals.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let mac = "01:00:00:00:00:00/01:00:00:00:00:00";
        let matching = format!("recirc_id(0),in_port(2),eth(dst={mac}),eth_type(0x0800/0xff00)");
        assert_eq!(
            why(&matching, &format!("trunc(99),3,set(eth(src={mac},dst={mac})),trunc(98),3,1")),
            [
                "match-field recirc_id",
                "match-field eth_dst",
                "match-field vlan_tci",
                "match-mask eth_type: mask 0xff00 is partial; the device takes the whole field or \
                 nothing",
                "port in_port 2: the port is not on this device",
                "action-list number of actions: 6 actions, at most 5",
                "action trunc",
                "port output 3: the port is not on this device",
                "set-field eth_dst",
                "set-field eth_src: the device rewrites the whole field or nothing",
            ]
        );
    }
}
