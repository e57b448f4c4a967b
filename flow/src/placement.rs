//! Where a megaflow lives.

use serde::Serialize;

/// Where a megaflow lives now. It always lives in the host table too: hardware is a cache of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub enum Placement {
    /// In the host table only, for now: not yet tried, or waiting for room.
    Host,
    /// In hardware.
    Nic,
    /// In the host table only, because of a refusal: hardware can't or won't take it.
    Refused,
}

impl Placement {
    /// All, in display order.
    pub const ALL: [Placement; 3] = [Placement::Host, Placement::Nic, Placement::Refused];

    /// The word for it on the command line and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Placement::Host => "host",
            Placement::Nic => "nic",
            Placement::Refused => "refused",
        }
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A change of placement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Transition {
    /// Where it lived.
    pub from: Placement,
    /// Where it lives now.
    pub to: Placement,
    /// Why: a stable word, such as `installed`, `evicted`, `device-gone`.
    pub cause: &'static str,
}
