//! Memory that megaflows leave behind goes back to the kernel.

use std::time::Duration;

use flow::Moment;
use vfio::sys::heap;

/// Fewest megaflows whose memory is worth the work.
const FEWEST: usize = 10_000;
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Watches the number of megaflows. Once half of them or more have gone, and no others follow,
/// the heap's free pages are given back.
#[derive(Default)]
pub(super) struct FreedMemory {
    /// The largest number since memory was given back.
    most: usize,
    /// The number at the last look.
    before: usize,
    looked: Moment,
}

impl FreedMemory {
    /// Tells the present number of megaflows. What is due is done by a thread of its own.
    pub(super) fn look(&mut self, megaflows: usize, now: Moment) {
        if self.is_due(megaflows, now) {
            let thread = std::thread::Builder::new().name("memory".to_owned());
            // Without a thread the memory stays for the next megaflows.
            let _ = thread.spawn(heap::give_back);
        }
    }

    fn is_due(&mut self, megaflows: usize, now: Moment) -> bool {
        if now.since(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        self.most = self.most.max(megaflows);
        // Who frees memory would wait.
        let is_falling = self.before.saturating_sub(megaflows) > self.most / 64;
        self.before = megaflows;
        let is_due = self.most >= FEWEST && megaflows <= self.most / 2 && !is_falling;
        if is_due {
            self.most = megaflows;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_after_half_of_them_have_gone() {
        let mut freed = FreedMemory::default();
        let steps = [
            (9_999, false),
            (0, false),
            (0, false),
            (50_000, false),
            (25_001, false),
            (25_001, false),
            (25_000, true),
            (25_000, false),
            (10, false),
            (10, true),
            (0, false),
            (0, false),
        ];
        for (second, (megaflows, is_due)) in (1..).zip(steps) {
            let now = Moment(second * 1_000_000_000);
            assert_eq!(freed.is_due(megaflows, now), is_due, "{second}: {megaflows}");
            assert!(!freed.is_due(0, now), "too soon");
        }
    }
}
