//! The admission of the host table: it takes every key and mask, and every action that the host
//! datapath can carry out.

use std::collections::BTreeSet;

use flow::{
    Action, ActionKind, Admission, Capabilities, Field, FieldSupport, Megaflow, Reason, Refusal,
    Refusals, VLAN_PRESENT, odp,
};

/// The function that decides which megaflows the host table takes. Unlike that of hardware it has
/// no set of ports: an output to a port that does not exist is a counted drop, and the port may
/// come later.
pub struct HostAdmission {
    capabilities: Capabilities,
}

/// Deepest nesting of action lists, as in the kernel.
const MAX_DEPTH: usize = 16;
/// Longest list of actions, nested ones included. The kernel's limit of 32 KiB is about the same.
const MAX_ACTIONS: usize = 4096;
/// Longest user data in bytes, as in OVS.
const MAX_USERDATA: usize = 65_512;

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
    /// Checks that the list can be carried out; the refusal names the action at fault.
    pub fn check_actions(&self, actions: &[Action]) -> Result<(), Refusal> {
        let mut left = self.capabilities.max_actions;
        self.check_list(actions, MAX_DEPTH, &mut left)
    }

    pub(super) fn check(&self, flow: &Megaflow) -> Result<(), Refusal> {
        self.check_actions(&flow.actions)
    }

    fn check_list(
        &self,
        actions: &[Action],
        depth: usize,
        left: &mut usize,
    ) -> Result<(), Refusal> {
        if depth == 0 {
            let detail = format!("action lists nest deeper than {MAX_DEPTH}");
            return Err(Refusal::new(Reason::ActionList, "nesting").detail(detail));
        }
        for action in actions {
            *left = left.checked_sub(1).ok_or_else(|| {
                let detail = format!("more than {}", self.capabilities.max_actions);
                Refusal::new(Reason::ActionList, "number of actions").detail(detail)
            })?;
            self.check_action(action, depth, left)?;
        }
        Ok(())
    }

    fn check_action(&self, action: &Action, depth: usize, left: &mut usize) -> Result<(), Refusal> {
        let refuse =
            |detail: String| Err(Refusal::new(Reason::Action, action.kind().name()).detail(detail));
        match action {
            Action::Set(set) => {
                let unknown = |field: &Field| !self.capabilities.set.contains_key(field);
                if let Some(field) = set.mask.fields().find(unknown) {
                    return Err(Refusal::new(Reason::SetField, field.name()));
                }
                if !set.value.without(&set.mask).is_zero() {
                    return refuse("the value has bits outside the mask".into());
                }
                Ok(())
            }
            Action::PushVlan { tpid, tci } => match tpid {
                0x8100 | 0x88a8 if tci & VLAN_PRESENT != 0 => Ok(()),
                0x8100 | 0x88a8 => refuse("the tci lacks the presence bit 0x1000".into()),
                _ => refuse(format!("tpid {tpid:#06x} is neither 0x8100 nor 0x88a8")),
            },
            Action::PushMpls { eth_type, .. } if !matches!(eth_type, 0x8847 | 0x8848) => {
                refuse(format!("eth_type {eth_type:#06x} is neither 0x8847 nor 0x8848"))
            }
            Action::Trunc(max) if *max < 14 => {
                refuse(format!("{max} bytes are less than an Ethernet header"))
            }
            Action::Userspace(userspace) if userspace.userdata.len() > MAX_USERDATA => {
                let length = userspace.userdata.len();
                refuse(format!("user data has {length} bytes, more than {MAX_USERDATA}"))
            }
            Action::Sample { actions, .. } => self.check_list(actions, depth - 1, left),
            Action::Output(_)
            | Action::Userspace(_)
            | Action::PopVlan
            | Action::PushMpls { .. }
            | Action::PopMpls { .. }
            | Action::Recirc(_)
            | Action::Hash { .. }
            | Action::Trunc(_) => Ok(()),
        }
    }
}

impl Admission for HostAdmission {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        Ok(self.check(flow)?)
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        self.check(flow)?;
        let matching = odp::format_match(&flow.matching);
        Ok(format!("host: {matching} actions:{}", odp::format_actions(&flow.actions)))
    }
}
