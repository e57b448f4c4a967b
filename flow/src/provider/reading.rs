//! What a reading of a provider shows.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use crate::id::Ufid;
use crate::megaflow::Megaflow;
use crate::owner::Generation;
use crate::stats::Stats;

/// Where the next part of a reading begins. The default value is the beginning of a reading; any
/// other one comes from the part before, and its number means something to its provider alone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cursor(pub u64);

/// One megaflow as the device itself shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dumped {
    /// Whose cookie it carries.
    pub ufid: Ufid,
    /// The life of the ufid, and its owner.
    pub generation: Generation,
    /// The megaflow, decoded from the device; `None` where the device can't tell or holds
    /// something that we would not have written.
    pub flow: Option<Arc<Megaflow>>,
    /// The megaflow's statistics.
    pub stats: Stats,
    /// True if the megaflow really forwards in the device (for tc: the kernel says `in_hw`).
    pub active: bool,
}
