//! One bounded queue of upcalls.

use std::collections::VecDeque;

use super::{QueueCounters, Upcall};

pub(super) enum Item {
    /// The index of a pending upcall; stale if the upcall there has another serial now.
    Miss { index: usize, serial: u32 },
    /// The whole upcall of an action: no packet waits for its answer.
    Action(Box<Upcall>),
}

pub(super) struct Queue {
    items: VecDeque<Item>,
    limit: usize,
    counters: QueueCounters,
    /// Number of the port's packets that wait for answers, those of delivered upcalls included.
    pub(super) waiting: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Queue {
        Queue { items: VecDeque::new(), limit, counters: QueueCounters::default(), waiting: 0 }
    }

    pub(super) fn has_room(&self) -> bool {
        self.items.len() < self.limit
    }

    pub(super) fn push(&mut self, item: Item) {
        self.counters.queued += 1;
        self.items.push_back(item);
    }

    pub(super) fn refuse(&mut self) {
        self.counters.dropped += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
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
