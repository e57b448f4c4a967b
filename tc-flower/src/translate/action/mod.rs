//! From actions to tc actions, in their order.

mod header;
mod output;
pub(crate) mod set;
mod tag;

use flow::{Action, ActionKind, Key, Mask, Reason, Refusal};

use super::{PortDevice, Tags, Target, table};
use crate::rule::TcAction;

/// `TCA_ACT_MAX_PRIO`: more actions the kernel does not take.
pub(crate) const MAX_ACTIONS: usize = 32;
/// What cards and OVS limit the rewritten words of a filter to.
const MAX_WORDS: usize = 32;

/// The IP header that a `set` can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum L3 {
    Ipv4,
    Ipv6,
    /// Another protocol, or the match does not say which.
    Unknown,
}

/// What is known of the packet at a point of the list: from the match, then from the actions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'t> {
    pub(crate) tags: Tags,
    pub(crate) l3: L3,
    /// The IP protocol if it is matched.
    pub(crate) protocol: Option<u8>,
    /// True if the match demands that the packet is not a fragment.
    pub(crate) whole: bool,
    /// True if the outermost network header is an MPLS label.
    pub(crate) mpls: bool,
    /// Where it came in.
    pub(crate) device: &'t PortDevice,
}

impl<'t> Context<'t> {
    pub(super) fn new(key: &Key, mask: &Mask, tags: Tags, device: &'t PortDevice) -> Context<'t> {
        let l3 = match key.eth_type {
            table::IPV4_TYPE => L3::Ipv4,
            table::IPV6_TYPE => L3::Ipv6,
            _ => L3::Unknown,
        };
        Context {
            tags,
            l3,
            protocol: (mask.ip_proto == 0xff).then_some(key.ip_proto),
            whole: mask.ip_frag == 0xff && key.ip_frag == 0,
            mpls: matches!(key.eth_type, super::mpls::UNICAST | super::mpls::MULTICAST),
            device,
        }
    }
}

#[cfg(test)]
pub(crate) fn set_places() -> &'static [header::Place] {
    header::PLACES
}

/// A list in translation.
struct List<'t> {
    target: &'t Target,
    context: Context<'t>,
    out: Vec<TcAction>,
    /// Checksums that the rewrites so far have left wrong: made right before anything else
    /// looks at the packet.
    stale: u32,
    words: usize,
}

/// The tc actions of a list; an empty list is a drop.
pub(super) fn translate(
    actions: &[Action],
    target: &Target,
    context: Context<'_>,
) -> Result<Vec<TcAction>, Refusal> {
    let Some(last) = actions.last() else { return Ok(vec![TcAction::Drop]) };
    if let Some(action) = actions.iter().find(|action| is_unknown_to_tc(action.kind())) {
        return Err(Refusal::new(Reason::Action, action.kind().name()).detail("tc has none"));
    }
    if !matches!(last, Action::Output(_) | Action::Recirc(_)) {
        return Err(order(last.kind(), "tc wants an output or recirc at the end of the list"));
    }
    let out = Vec::with_capacity(actions.len() + 1);
    let mut list = List { target, context, out, stale: 0, words: 0 };
    for (at, action) in actions.iter().enumerate() {
        list.action(action, at + 1 == actions.len())?;
    }
    if list.out.len() > MAX_ACTIONS {
        let detail = format!("{} tc actions, at most {MAX_ACTIONS}", list.out.len());
        return Err(Refusal::new(Reason::ActionList, "number of actions").detail(detail));
    }
    Ok(list.out)
}

impl List<'_> {
    fn action(&mut self, action: &Action, last: bool) -> Result<(), Refusal> {
        if !matches!(action, Action::Set(_)) {
            self.repair();
        }
        match action {
            Action::Output(port) => self.output(*port, last),
            Action::Recirc(id) => self.recirc(*id, last),
            Action::Set(fields) => self.set(fields),
            Action::PushVlan { tpid, tci } => self.push_vlan(*tpid, *tci),
            Action::PopVlan => self.pop_vlan(),
            Action::PushMpls { lse, eth_type } => self.push_mpls(*lse, *eth_type),
            Action::PopMpls { eth_type } => self.pop_mpls(*eth_type),
            Action::Userspace(_)
            | Action::Hash { .. }
            | Action::Trunc(_)
            | Action::Sample { .. } => {
                Err(Refusal::new(Reason::Action, action.kind().name()).detail("tc has none"))
            }
        }
    }

    /// Makes the checksums right before the packet is looked at again.
    fn repair(&mut self) {
        if self.stale != 0 {
            self.out.push(TcAction::Csum(self.stale));
            self.stale = 0;
        }
    }
}

fn is_unknown_to_tc(kind: ActionKind) -> bool {
    match kind {
        ActionKind::Userspace | ActionKind::Hash | ActionKind::Trunc | ActionKind::Sample => true,
        ActionKind::Output
        | ActionKind::Set
        | ActionKind::PushVlan
        | ActionKind::PopVlan
        | ActionKind::PushMpls
        | ActionKind::PopMpls
        | ActionKind::Recirc => false,
    }
}

fn order(kind: ActionKind, why: &str) -> Refusal {
    Refusal::new(Reason::ActionList, kind.name()).detail(why)
}

/// Chains are not used: see `TcOptions::recirculation`.
pub(super) fn no_recirculation() -> Refusal {
    Refusal::new(Reason::Recirculation, "recirc_id").detail(
        "chains are off: a packet that misses in a chain would come to the host without its \
         recirculation id",
    )
}
