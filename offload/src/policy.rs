//! The placement policy: which megaflows a table holds when it has no room for all.

/// Decides which megaflows a table holds when it has no room for all. Rates are in packets per
/// second.
pub trait Policy: Send {
    /// Returns true if the table is so full that a new megaflow needs a victim. The threshold
    /// must be below the capacity.
    fn crowded(&self, entries: u64, capacity: u64) -> bool;

    /// Returns true if the newcomer, which has packets, is to take the victim's place. Must have
    /// hysteresis: two megaflows of the same rate must not push each other out in turn.
    fn displaces(&self, newcomer: f64, victim: f64) -> bool;
}

/// The default policy: a newcomer displaces the slowest megaflow if it is more than twice as fast
/// and has at least 10 packets per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByRate;

impl Policy for ByRate {
    fn crowded(&self, entries: u64, capacity: u64) -> bool {
        // One place in 16 stays free: cuckoo placement and make-before-break need room to move.
        entries.saturating_mul(16) >= capacity.saturating_mul(15)
    }

    fn displaces(&self, newcomer: f64, victim: f64) -> bool {
        newcomer >= 10.0 && newcomer > 2.0 * victim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_flows_do_not_push_each_other_out() {
        assert!(!ByRate.displaces(1000.0, 1000.0));
        assert!(!ByRate.displaces(1900.0, 1000.0));
        assert!(ByRate.displaces(2100.0, 1000.0));
        assert!(!ByRate.displaces(5.0, 0.0));
    }
}
