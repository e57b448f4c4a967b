//! Slow and obvious versions of the flow table and of the executor, with which the fast ones are
//! compared.

use std::sync::Arc;

use crate::action::{Action, Userspace};
use crate::id::{PortId, RecircId};
use crate::key::Key;
use crate::megaflow::Megaflow;
use crate::packet::{self, Packet};

/// A flow table that looks at every megaflow in turn.
#[derive(Default, Debug)]
pub struct ReferenceTable {
    flows: Vec<Arc<Megaflow>>,
}

impl ReferenceTable {
    /// Adds a megaflow, or returns an installed one that it overlaps: some packet matches both.
    pub fn install(&mut self, flow: Arc<Megaflow>) -> Result<(), Arc<Megaflow>> {
        match self.flows.iter().find(|other| other.matching.overlaps(&flow.matching)) {
            Some(other) => Err(other.clone()),
            None => {
                self.flows.push(flow);
                Ok(())
            }
        }
    }

    /// Removes a megaflow; returns true if it was installed.
    pub fn remove(&mut self, ufid: crate::Ufid) -> bool {
        let before = self.flows.len();
        self.flows.retain(|flow| flow.ufid != ufid);
        self.flows.len() < before
    }

    /// The megaflow that the key hits: there is at most one.
    #[must_use]
    pub fn lookup(&self, key: &Key) -> Option<&Arc<Megaflow>> {
        self.flows.iter().find(|flow| flow.matching.hits(key))
    }
}

/// One effect of a list of actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// This frame leaves by the port.
    Output(PortId, Vec<u8>),
    /// This frame goes up to the client, with its key at that point.
    Userspace(Userspace, Key, Vec<u8>),
    /// The packet is looked up again under this key, whose `recirc_id` is the new one.
    Recirc(RecircId, Key, Packet),
}

/// Executes actions on a copy of the packet and returns their effects in order. `key` is the
/// packet's, with its metadata. `sample` decides for a probability (out of `u32::MAX`) that is
/// neither always nor never.
///
/// - `trunc` cuts bytes off the end of the frame in the next output or userspace action, unless
///   another `trunc` comes first. As in the kernel, the number of bytes is fixed at the `trunc`: a
///   header that is pushed later is not cut. A frame keeps its first 14 bytes. A nested list
///   starts with the truncation in force and does not change it for the list around it.
/// - `sample` works on a copy: the actions behind it do not see its rewrites and its hash.
/// - `recirc` hands on the whole packet with the rewrites so far; the list goes on behind it.
#[must_use]
pub fn execute(
    actions: &[Action],
    packet: &Packet,
    key: &Key,
    sample: &mut dyn FnMut(u32) -> bool,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    let state = State { packet: packet.clone(), key: *key, cut: 0 };
    run(actions, state, sample, &mut effects);
    effects
}

/// One packet on its way through a list.
#[derive(Clone)]
struct State {
    packet: Packet,
    key: Key,
    /// Bytes that the next output or userspace action leaves off.
    cut: usize,
}

impl State {
    /// The frame for an output or userspace action; ends the truncation.
    fn frame(&mut self) -> Vec<u8> {
        let whole = self.packet.bytes();
        let keep = whole.len().saturating_sub(self.cut).max(14).min(whole.len());
        self.cut = 0;
        whole.iter().copied().take(keep).collect()
    }
}

fn run(
    actions: &[Action],
    mut state: State,
    sample: &mut dyn FnMut(u32) -> bool,
    effects: &mut Vec<Effect>,
) {
    for action in actions {
        match action {
            Action::Output(port) => effects.push(Effect::Output(*port, state.frame())),
            Action::Userspace(userspace) => {
                let frame = state.frame();
                effects.push(Effect::Userspace(userspace.clone(), state.key, frame));
            }
            Action::Recirc(id) => {
                let key = Key {
                    in_port: state.key.in_port,
                    dp_hash: state.key.dp_hash,
                    recirc_id: id.0,
                    ..packet::extract(state.packet.bytes())
                };
                // A recirculated packet is parsed anew, like one that was just received.
                let packet = Packet::new(state.packet.bytes());
                effects.push(Effect::Recirc(*id, key, packet));
            }
            Action::Trunc(max) => {
                let max = usize::try_from(*max).unwrap_or(usize::MAX);
                state.cut = state.packet.len().saturating_sub(max);
            }
            Action::Sample { probability, actions } => {
                let hit = match *probability {
                    0 => false,
                    u32::MAX => true,
                    share => sample(share),
                };
                if hit {
                    run(actions, state.clone(), sample, effects);
                }
            }
            Action::Set(_)
            | Action::PushVlan { .. }
            | Action::PopVlan
            | Action::PushMpls { .. }
            | Action::PopMpls { .. }
            | Action::Hash { .. } => packet::edit(&mut state.packet, &mut state.key, action),
        }
    }
}

#[cfg(test)]
mod tests;
