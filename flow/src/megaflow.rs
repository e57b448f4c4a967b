//! A megaflow: match, actions and identity.

use serde::Serialize;

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::action::{Action, Actions};
use crate::id::{PortId, Ufid};
use crate::matching::Match;
use crate::recent::Recent;

/// A match and what happens to the packets that hit it. The ufid follows from the match, so two
/// megaflows of the same match are the same flow, whatever their actions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Megaflow {
    /// The identity, computed from the match's key and mask.
    pub ufid: Ufid,
    /// The packets that hit.
    pub matching: Match,
    /// The actions on these packets; an empty list drops them.
    pub actions: Actions,
}

impl Megaflow {
    /// A megaflow with the identity that its match gives it. Megaflows that a thread makes one
    /// after the other share the memory of equal actions.
    #[must_use]
    pub fn new(matching: Match, actions: impl Into<Actions>) -> Megaflow {
        let actions = actions.into();
        let actions = ACTIONS.with_borrow_mut(|recent| {
            recent.share(&actions, |same| *same == actions, || actions.clone())
        });
        Megaflow { ufid: matching.ufid(), matching, actions }
    }

    /// Every port that it names: the one that it matches, and those that it outputs to.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<PortId> {
        let mut ports = BTreeSet::from([self.matching.port()]);
        outputs(&self.actions, &mut ports);
        ports
    }
}

thread_local! {
    static ACTIONS: RefCell<Recent<Actions>> = const { RefCell::new(Recent::NONE) };
}

fn outputs(actions: &[Action], ports: &mut BTreeSet<PortId>) {
    for action in actions {
        match action {
            Action::Output(port) => {
                ports.insert(*port);
            }
            Action::Sample { actions, .. } => outputs(actions, ports),
            Action::Userspace(_)
            | Action::Set(_)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Field, Key, Mask};

    #[test]
    fn equal_actions_share_memory() {
        let of = |port: u32| {
            let key = Key { in_port: port, ..Key::default() };
            let actions = [Action::Output(PortId(port % 600))];
            Megaflow::new(Match::new(&key, &Mask::default()), actions)
        };
        for port in 0..2000 {
            let (one, other) = (of(port), of(port));
            assert_eq!(one.actions[..], [Action::Output(PortId(port % 600))]);
            assert!(std::sync::Arc::ptr_eq(&one.actions, &other.actions));
        }
    }

    #[test]
    fn ufid_covers_the_mask_too() {
        let key = Key { ip_tos: 0, ..Key::default() };
        let one = Match::new(&key, &Mask { ip_tos: 0xff, ..Mask::default() });
        let other = Match::new(&key, &Mask { ip_tos: 0x20, ..Mask::default() });
        assert_eq!(one.key(), other.key());
        assert_ne!(one.ufid(), other.ufid());
    }

    #[test]
    fn ufid_is_the_same_after_a_restart() {
        let matching = Match::new(
            &Key { in_port: 1, eth_type: 0x800, ..Key::default() },
            &Mask { eth_type: 0xffff, ..Mask::default() },
        );
        // Computed once and written down: device cookies of older runs hold this value.
        assert_eq!(Megaflow::new(matching, []).ufid.to_string(), PINNED);
    }

    /// Every field has a part in it, in its own place.
    #[test]
    fn ufid_of_all_fields_is_the_same_after_a_restart() {
        let mut key = Key::default();
        for (n, field) in (1..).zip(Field::ALL) {
            key.set(*field, n * 0x0102_0305);
        }
        let all = Match::new(&key, &Key::mask_of(Field::ALL));
        assert_eq!(all.ufid().to_string(), PINNED_ALL);
    }

    const PINNED_ALL: &str = "ufid:3a376229-85f9-329c-6a36-b2cb2e585351";

    const PINNED: &str = "ufid:cca68dcf-8df3-ab22-8ecf-5164e1b92587";
}
