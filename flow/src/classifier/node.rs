//! What a place of a table or of a tree leads to.

use std::num::NonZeroU32;

/// A megaflow or a node of a tree, in four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Node(NonZeroU32);

/// What a [`Node`] is, with its number among those of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NodeKind {
    Flow(u32),
    List(u32),
    Path(u32),
    Bit(u32),
}

/// Bits of a number; the kind is above them.
const BITS: u32 = 30;
const NUMBERS: u32 = (1 << BITS) - 1;

impl Node {
    pub(super) fn flow(number: u32) -> Node {
        Node::new(0, number)
    }

    pub(super) fn list(number: u32) -> Node {
        Node::new(1, number)
    }

    pub(super) fn path(number: u32) -> Node {
        Node::new(2, number)
    }

    pub(super) fn bit(number: u32) -> Node {
        Node::new(3, number)
    }

    pub(super) fn kind(self) -> NodeKind {
        let number = (self.0.get() & NUMBERS) - 1;
        match self.0.get() >> BITS {
            0 => NodeKind::Flow(number),
            1 => NodeKind::List(number),
            2 => NodeKind::Path(number),
            _ => NodeKind::Bit(number),
        }
    }

    /// The node as a value of an index.
    pub(super) fn value(self) -> NonZeroU32 {
        self.0
    }

    /// The node of such a value.
    pub(super) fn of_value(value: NonZeroU32) -> Node {
        Node(value)
    }

    /// Numbers are below 2^30 - 1: a megaflow has nine nodes of a kind at most, one for its table
    /// and one for each view, and memory has no room for that many.
    fn new(kind: u32, number: u32) -> Node {
        let number = NonZeroU32::MIN.saturating_add(number.min(NUMBERS - 1));
        Node(number | kind << BITS)
    }
}
