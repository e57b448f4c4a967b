//! What an operator can set.

use serde::{Deserialize, Serialize};

use std::time::Duration;

/// What an operator can set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// A client's megaflow is removed when it has had no packet for this time.
    pub max_idle: Duration,
    /// The largest number of megaflows. At this limit, packets without a megaflow are forwarded
    /// one by one.
    pub flow_limit: usize,
    /// Time between two statistics passes.
    pub stats_interval: Duration,
}

impl Default for Settings {
    /// OVS's own defaults: 10 s, 200,000 megaflows, 500 ms.
    fn default() -> Settings {
        Settings {
            max_idle: Duration::from_secs(10),
            flow_limit: 200_000,
            stats_interval: Duration::from_millis(500),
        }
    }
}
