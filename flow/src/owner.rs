//! Whose a megaflow is, and which of its lives in a device.

use std::fmt;

/// Who wanted a megaflow; the later one outranks the earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// The client, in answer to an upcall: the megaflow ages and is revalidated.
    Client,
    /// An operator: the megaflow stays until an operator removes it.
    Operator,
}

/// Which life of a megaflow this is, and whose: one word that a device keeps beside the ufid and
/// gives back, so that whoever takes over what a dead process left knows both. Bit 31 is set in
/// an operator's, the others count the lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Generation(pub u32);

impl Generation {
    const OPERATOR: u32 = 1 << 31;

    /// Before the first life.
    #[must_use]
    pub fn before_first(owner: Owner) -> Generation {
        match owner {
            Owner::Client => Generation(0),
            Owner::Operator => Generation(Generation::OPERATOR),
        }
    }

    /// The next life, which is that owner's.
    #[must_use]
    pub fn next(self, owner: Owner) -> Generation {
        let life = self.0.wrapping_add(1) & !Generation::OPERATOR;
        Generation(life | Generation::before_first(owner).0)
    }

    /// Whose megaflow it is in this life.
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
        // The last life of all is no operator's.
        assert_eq!(Generation(0x7fff_ffff).next(Owner::Client), Generation(0));
        assert_eq!(Generation(u32::MAX).next(Owner::Operator), Generation(0x8000_0000));
    }
}
