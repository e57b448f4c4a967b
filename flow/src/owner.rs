//! The owner of a megaflow, and the number of its life in a device.

use serde::{Deserialize, Serialize};

use std::fmt;

/// The owner of a megaflow. An operator outranks the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// The client, in answer to an upcall: the megaflow ages and is revalidated.
    Client,
    /// An operator: the megaflow stays until an operator removes it.
    Operator,
}

/// The number of a megaflow's life and its owner, in one word. A device keeps the word beside the
/// ufid and gives it back, so that a process that adopts the megaflows of a dead one knows both.
/// Bit 31 is set if the owner is an operator; the other bits count the lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Generation(pub u32);

impl Generation {
    const OPERATOR: u32 = 1 << 31;

    /// The generation before the first life of the owner's megaflow.
    #[must_use]
    pub fn before_first(owner: Owner) -> Generation {
        match owner {
            Owner::Client => Generation(0),
            Owner::Operator => Generation(Generation::OPERATOR),
        }
    }

    /// The next life, with the given owner.
    #[must_use]
    pub fn next(self, owner: Owner) -> Generation {
        let life = self.0.wrapping_add(1) & !Generation::OPERATOR;
        Generation(life | Generation::before_first(owner).0)
    }

    /// The owner of the megaflow in this life.
    #[must_use]
    pub fn owner(self) -> Owner {
        match self.0 & Generation::OPERATOR {
            0 => Owner::Client,
            _ => Owner::Operator,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match self.owner() {
            Owner::Client => "the client's",
            Owner::Operator => "an operator's",
        };
        write!(f, "{} ({owner})", self.0 & !Generation::OPERATOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_counted_and_keep_their_owner() {
        let mut generation = Generation::before_first(Owner::Operator);
        for (life, owner) in [(1, Owner::Operator), (2, Owner::Client), (3, Owner::Operator)] {
            generation = generation.next(owner);
            assert_eq!((generation.0 & 0xff, generation.owner()), (life, owner));
        }
        assert_eq!(generation.to_string(), "3 (an operator's)");
        // After the last life the count starts again at 0 and leaves the owner's bit alone.
        assert_eq!(Generation(0x7fff_ffff).next(Owner::Client), Generation(0));
        assert_eq!(Generation(u32::MAX).next(Owner::Operator), Generation(0x8000_0000));
    }
}
