//! What megaflows do to packets: each list of actions once, however many megaflows have it.

use std::hash::BuildHasher;
use std::sync::Arc;

use flow::{Action, Actions, Numbers, Slab};
use foldhash::quality::FixedState;

use crate::program::Program;

/// The lists, by number. Most megaflows share a few lists, which therefore stay in the caches, and
/// packets of different megaflows with one list are executed together.
pub(super) struct Programs {
    programs: Slab<SharedProgram>,
    by_actions: Numbers,
    hasher: FixedState,
}

struct SharedProgram {
    program: Arc<Program>,
    /// Number of megaflows that have it.
    users: u32,
}

impl Programs {
    /// No list. The seed makes the places unpredictable.
    pub(super) fn new(seed: u64) -> Programs {
        Programs {
            programs: Slab::default(),
            by_actions: Numbers::default(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// One more megaflow has these actions. Returns their number.
    pub(super) fn join(&mut self, actions: &Actions) -> u32 {
        let hash = self.hasher.hash_one(actions);
        if let Some(number) = self.number(hash, actions)
            && let Some(program) = self.programs.get_mut(number)
        {
            program.users += 1;
            return number;
        }
        // A copy of the list: each burst counts who refers to it, and so does whoever makes
        // megaflows with the same actions on another thread.
        let program = Arc::new(Program::new(actions.iter().cloned().collect()));
        let number = self.programs.insert(SharedProgram { program, users: 1 });
        self.by_actions.insert(hash, number);
        number
    }

    /// A megaflow has these actions no longer.
    pub(super) fn leave(&mut self, number: u32) {
        let Some(program) = self.programs.get_mut(number) else { return };
        program.users -= 1;
        if program.users == 0
            && let Some(gone) = self.programs.remove(number)
        {
            self.by_actions.remove(self.hasher.hash_one(gone.program.actions()), number);
        }
    }

    /// The program of a number.
    pub(super) fn program(&self, number: u32) -> Option<&Arc<Program>> {
        self.programs.values().get(number).map(|shared| &shared.program)
    }

    fn number(&self, hash: u64, actions: &[Action]) -> Option<u32> {
        let has = |known: &Arc<Program>| **known.actions() == *actions;
        let is = |number: &u32| self.program(*number).is_some_and(has);
        self.by_actions.of(hash).find(is)
    }
}

#[cfg(test)]
mod tests {
    use flow::PortId;

    use super::*;

    #[test]
    fn a_list_is_there_once_while_megaflows_have_it() {
        let mut programs = Programs::new(3);
        let list = |port| Actions::from([Action::PopVlan, Action::Output(PortId(port))]);
        let numbers: Vec<u32> = (0..100).map(|port| programs.join(&list(port))).collect();
        for (port, number) in (0..).zip(&numbers) {
            assert_eq!(programs.join(&list(port)), *number);
            assert_eq!(programs.program(*number).unwrap().actions(), &list(port));
        }
        numbers.iter().for_each(|number| programs.leave(*number));
        assert_eq!(programs.programs.values().len(), 100, "each has one megaflow left");
        numbers.iter().for_each(|number| programs.leave(*number));
        assert_eq!((programs.programs.values().len(), programs.by_actions.len()), (0, 0));
        assert!(programs.program(numbers[7]).is_none());
    }
}
