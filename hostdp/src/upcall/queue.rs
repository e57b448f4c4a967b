//! One bounded queue of upcalls.

use std::collections::VecDeque;

/// Counts of one queue; what it dropped is also among the datapath's drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueCounters {
    /// Upcalls taken in.
    pub queued: u64,
    /// Upcalls handed to the client.
    pub delivered: u64,
    /// Upcalls refused because the queue was full.
    pub dropped: u64,
    /// Upcalls in it now.
    pub length: u64,
}

impl QueueCounters {
    /// Adds the counts of another queue.
    pub(crate) fn add(&mut self, other: QueueCounters) {
        let QueueCounters { queued, delivered, dropped, length } = other;
        self.queued += queued;
        self.delivered += delivered;
        self.dropped += dropped;
        self.length += length;
    }
}

pub(super) struct UpcallQueue<T> {
    items: VecDeque<T>,
    limit: usize,
    counters: QueueCounters,
    /// Bytes of memory of the port's packets that wait for answers, those of delivered upcalls
    /// included.
    pub(super) waiting: usize,
}

impl<T> UpcallQueue<T> {
    pub(super) fn new(limit: usize) -> UpcallQueue<T> {
        UpcallQueue {
            items: VecDeque::new(),
            limit,
            counters: QueueCounters::default(),
            waiting: 0,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.items.len() < self.limit
    }

    pub(super) fn push(&mut self, item: T) {
        self.counters.queued += 1;
        self.items.push_back(item);
    }

    pub(super) fn refuse(&mut self) {
        self.counters.dropped += 1;
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.counters.delivered += 1;
        Some(item)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn counters(&self) -> QueueCounters {
        QueueCounters { length: self.items.len() as u64, ..self.counters }
    }
}
