//! Upcalls on their way to the client, of which each worker has few.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::upcall::QueuedUpcall;

/// Upcalls of one worker in a message. While this value lives they count as unread, and a worker
/// with several such messages sends no more: what others send does not hold it up.
#[derive(Debug)]
pub struct UpcallBatch {
    upcalls: Vec<QueuedUpcall>,
    unread: Arc<AtomicUsize>,
}

impl UpcallBatch {
    /// The upcalls, which are read now.
    #[must_use]
    pub fn read(mut self) -> Vec<QueuedUpcall> {
        std::mem::take(&mut self.upcalls)
    }
}

impl Drop for UpcallBatch {
    fn drop(&mut self) {
        self.unread.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PartialEq for UpcallBatch {
    fn eq(&self, other: &UpcallBatch) -> bool {
        self.upcalls == other.upcalls
    }
}

impl Eq for UpcallBatch {}

/// The messages of a worker that nobody has read.
#[derive(Default)]
pub(super) struct UnreadBatches(Arc<AtomicUsize>);

impl UnreadBatches {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more.
    pub(super) fn batch(&self, upcalls: Vec<QueuedUpcall>) -> UpcallBatch {
        self.0.fetch_add(1, Ordering::Relaxed);
        UpcallBatch { upcalls, unread: self.0.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_unread_until_somebody_takes_it() {
        let unread = UnreadBatches::default();
        let (one, other) = (unread.batch(Vec::new()), unread.batch(Vec::new()));
        assert_eq!(unread.count(), 2);
        assert!(one.read().is_empty());
        assert_eq!(unread.count(), 1);
        drop(other);
        assert_eq!(unread.count(), 0);
    }
}
