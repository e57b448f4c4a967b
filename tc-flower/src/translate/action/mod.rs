//! Translates actions to tc actions, in their order.

mod header;
mod output;
pub(crate) mod set;
mod tag;

use flow::refusal::Unit;
use flow::{
    Action, ActionKind, Detail, Field, Key, Mask, Reason, Reasons, Refusal, Refusals, Subject,
};

use self::header::L3;
use super::tags::Tags;
use super::target::{PortDevice, Target};
use super::{mpls, table};
use crate::rule::TcAction;

/// `TCA_ACT_MAX_PRIO`: the largest number of actions that the kernel takes.
pub(crate) const MAX_ACTIONS: usize = 32;
/// The largest number of words that a filter may rewrite, a limit of cards and OVS.
const MAX_WORDS: usize = 32;

/// The knowledge about the packet at one point of the list, from the match and the actions so
/// far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownPacket<'t> {
    pub(crate) tags: Tags,
    pub(crate) l3: L3,
    /// The IP protocol if it is matched.
    pub(crate) protocol: Option<u8>,
    /// True if the match demands that the packet is not a fragment.
    pub(crate) whole: bool,
    /// True if the outermost network header is an MPLS label.
    pub(crate) mpls: bool,
    /// The interface by which the packet came in; `None` if that is no port of a switch.
    pub(crate) device: Option<&'t PortDevice>,
}

impl<'t> KnownPacket<'t> {
    pub(super) fn new(key: &Key, mask: &Mask, device: Option<&'t PortDevice>) -> KnownPacket<'t> {
        let l3 = match key.eth_type {
            table::IPV4_TYPE => L3::Ipv4,
            table::IPV6_TYPE => L3::Ipv6,
            _ => L3::Unknown,
        };
        KnownPacket {
            tags: Tags::of(key, mask),
            l3,
            protocol: (mask.ip_proto == 0xff).then_some(key.ip_proto),
            whole: mask.ip_frag == 0xff && key.ip_frag == 0,
            mpls: matches!(key.eth_type, mpls::UNICAST | mpls::MULTICAST),
            device,
        }
    }
}

#[cfg(test)]
pub(crate) fn set_places() -> &'static [header::PeditPlace] {
    header::PLACES
}

/// A list in translation.
struct List<'t> {
    target: &'t Target,
    context: KnownPacket<'t>,
    out: Vec<TcAction>,
    /// Checksums that the rewrites so far have left wrong. They are corrected before the next
    /// action that is no rewrite.
    stale: u32,
    words: usize,
}

/// Returns the tc actions of a list without the refused ones; an empty list is a drop.
pub(super) fn translate(
    actions: &[Action],
    target: &Target,
    context: KnownPacket<'_>,
    reasons: &mut Reasons,
) -> Vec<TcAction> {
    if actions.is_empty() {
        return vec![TcAction::Drop];
    }
    let out = Vec::with_capacity(actions.len() + 1);
    let mut list = List { target, context, out, stale: 0, words: 0 };
    for (at, action) in actions.iter().enumerate() {
        reasons.keep(list.action(action, at + 1 == actions.len()));
    }
    if list.out.len() > MAX_ACTIONS {
        let detail = Detail::too_many(Unit::DeviceActions, list.out.len(), MAX_ACTIONS);
        reasons.add(Refusal::new(Reason::ActionList, Subject::ActionCount).detail(detail));
    }
    if list.words > MAX_WORDS {
        let detail = Detail::too_many(Unit::Words, list.words, MAX_WORDS);
        reasons.add(order(ActionKind::Set, detail));
    }
    list.out
}

fn check_end(last: &Action) -> Result<(), Refusal> {
    match last {
        Action::Output(_) | Action::Recirc(_) => Ok(()),
        Action::Userspace(_)
        | Action::Set(_)
        | Action::PushVlan { .. }
        | Action::PopVlan
        | Action::PushMpls { .. }
        | Action::PopMpls { .. }
        | Action::Hash { .. }
        | Action::Trunc(_)
        | Action::Sample { .. } => {
            Err(order(last.kind(), &"tc wants an output or recirc at the end of the list"))
        }
    }
}

impl List<'_> {
    fn action(&mut self, action: &Action, last: bool) -> Result<(), Refusals> {
        if !matches!(action, Action::Set(_)) {
            self.repair();
        }
        match action {
            Action::Output(port) => self.output(*port, last)?,
            Action::Recirc(id) => self.recirc(*id, last)?,
            Action::Set(fields) => self.set(fields)?,
            Action::PushVlan { tpid, tci } => self.push_vlan(*tpid, *tci)?,
            Action::PopVlan => self.pop_vlan()?,
            Action::PushMpls { lse, eth_type } => self.push_mpls(*lse, *eth_type)?,
            Action::PopMpls { eth_type } => self.pop_mpls(*eth_type)?,
            Action::Userspace(_)
            | Action::Hash { .. }
            | Action::Trunc(_)
            | Action::Sample { .. } => {
                let refusal = Refusal::new(Reason::Action, action.kind());
                return Err(refusal.detail(&"tc has none").into());
            }
        }
        if last { Ok(check_end(action)?) } else { Ok(()) }
    }

    /// Adds the action that corrects the checksums which rewrites have left wrong.
    fn repair(&mut self) {
        if self.stale != 0 {
            self.out.push(TcAction::Csum(self.stale));
            self.stale = 0;
        }
    }
}

fn order(kind: ActionKind, why: impl Into<Detail>) -> Refusal {
    Refusal::new(Reason::ActionList, kind).detail(why)
}

/// Returns the refusal for the case that chains are off: see `TcOptions::recirculation`.
pub(super) fn no_recirculation() -> Refusal {
    Refusal::new(Reason::Recirculation, Field::RecircId).detail(
        &"chains are off: a packet that misses in a chain would come to the host without its \
         recirculation id",
    )
}
