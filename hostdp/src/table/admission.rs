//! The admission of the host table: it takes every key and mask, and every action.

use std::collections::BTreeSet;

use flow::refusal::Unit;
use flow::{
    Action, ActionKind, Admission, Capabilities, Detail, Field, FieldSupport, Megaflow, Reason,
    Refusal, Refusals, Subject, odp,
};

/// The function that tells what the host datapath can't carry out, of megaflows that mean
/// something: an install checks the meaning first. Unlike that of hardware it has no set of ports:
/// an output to a port that does not exist is a counted drop, and the port may come later.
pub struct HostAdmission {
    capabilities: Capabilities,
}

/// Longest list of actions, nested ones included. The kernel's limit of 32 KiB is about the same.
const MAX_ACTIONS: usize = 4096;

impl Default for HostAdmission {
    fn default() -> HostAdmission {
        let metadata = [Field::InPort, Field::RecircId];
        let masked = |field: &Field| (*field, FieldSupport::Masked);
        HostAdmission {
            capabilities: Capabilities {
                fields: Field::ALL.iter().map(masked).collect(),
                actions: ActionKind::ALL.into_iter().collect(),
                set: Field::ALL.iter().filter(|f| !metadata.contains(f)).map(masked).collect(),
                ports: BTreeSet::new(),
                max_actions: MAX_ACTIONS,
            },
        }
    }
}

impl HostAdmission {
    /// Checks that the list can be carried out.
    pub(super) fn check(&self, actions: &[Action]) -> Result<(), Refusal> {
        let (all, most) = (count(actions), self.capabilities.max_actions);
        if all <= most {
            return Ok(());
        }
        let detail = Detail::too_many(Unit::Actions, all, most);
        Err(Refusal::new(Reason::ActionList, Subject::ActionCount).detail(detail))
    }
}

/// Number of actions, nested ones included.
fn count(actions: &[Action]) -> usize {
    let nested = |action: &Action| match action {
        Action::Sample { actions, .. } => count(actions),
        Action::Output(_)
        | Action::Userspace(_)
        | Action::Set(_)
        | Action::PushVlan { .. }
        | Action::PopVlan
        | Action::PushMpls { .. }
        | Action::PopMpls { .. }
        | Action::Recirc(_)
        | Action::Hash { .. }
        | Action::Trunc(_) => 0,
    };
    actions.iter().map(|action| 1 + nested(action)).sum()
}

impl Admission for HostAdmission {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        Ok(self.check(&flow.actions)?)
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        self.check(&flow.actions)?;
        let matching = odp::format_match(&flow.matching);
        Ok(format!("host: {matching} actions:{}", odp::format_actions(&flow.actions)))
    }
}
