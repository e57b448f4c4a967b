//! Packets and bytes, as all views show them.

use flow::Counters;
use serde::{Deserialize, Serialize};

/// Packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the same as flow::Counters")]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl From<Counters> for Count {
    fn from(counters: Counters) -> Count {
        Count { packets: counters.packets, bytes: counters.bytes }
    }
}
