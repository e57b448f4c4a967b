//! Warnings about floods of source addresses, at most one per minute and port.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::{Moment, PortId};

/// Shortest time between two warnings about one port.
const PAUSE: Duration = Duration::from_secs(60);

/// The last warning about each port.
#[derive(Default)]
pub(super) struct Floods(BTreeMap<PortId, Told>);

#[derive(Default)]
struct Told {
    evicted: u64,
    /// `None` until the first warning.
    at: Option<Moment>,
}

impl Floods {
    /// Returns the ports to warn about now, each with the number of its addresses that were
    /// evicted since the last warning. `evicted` counts from the start.
    pub(super) fn news(
        &mut self,
        evicted: &BTreeMap<PortId, u64>,
        now: Moment,
    ) -> Vec<(PortId, u64)> {
        let mut news = Vec::new();
        for (port, count) in evicted {
            let told = self.0.entry(*port).or_default();
            let is_due = told.at.is_none_or(|at| now.since(at) >= PAUSE);
            if *count > told.evicted && is_due {
                news.push((*port, *count - told.evicted));
                *told = Told { evicted: *count, at: Some(now) };
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_minute_and_port() {
        let mut floods = Floods::default();
        let at = |second: u64| Moment(second * 1_000_000_000);
        let evicted = |one: u64, two: u64| BTreeMap::from([(PortId(1), one), (PortId(2), two)]);
        assert_eq!(floods.news(&BTreeMap::new(), at(0)), []);
        assert_eq!(floods.news(&evicted(5, 0), at(1)), [(PortId(1), 5)]);
        assert_eq!(floods.news(&evicted(9, 1), at(2)), [(PortId(2), 1)]);
        assert_eq!(floods.news(&evicted(900, 1), at(60)), []);
        assert_eq!(floods.news(&evicted(901, 1), at(61)), [(PortId(1), 896)]);
        assert_eq!(floods.news(&evicted(901, 1), at(600)), [], "the flood is over");
    }
}
