//! The entries that the driver has in the card.

use std::sync::Arc;

use flow::{Counters, Generation, Megaflow, Slab, Ufid, UfidIndex};

use crate::ring::command::{CardTable, CounterId};
use crate::table::EntryHandle;

/// Where an entry lives in the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CardSlot {
    Exact { slot: u32, mask_id: u8 },
    Row(u32),
}

impl CardSlot {
    pub(super) fn table(self) -> (CardTable, u32) {
        match self {
            CardSlot::Exact { slot, .. } => (CardTable::Exact, slot),
            CardSlot::Row(row) => (CardTable::Rows, row),
        }
    }
}

/// What the driver knows of an entry. Its form in the card follows from the megaflow.
pub(super) struct DriverEntry {
    pub(super) flow: Arc<Megaflow>,
    pub(super) generation: Generation,
    pub(super) place: CardSlot,
    pub(super) action: u32,
    pub(super) counter: CounterId,
    /// The card's counter as last seen, and the sum of its growth since the install.
    pub(super) last: Counters,
    pub(super) total: Counters,
    /// A command on it is in flight.
    pub(super) busy: bool,
    /// Tells this entry from all others that had or will have its handle.
    pub(super) serial: u64,
    /// The number of the last dump that showed it.
    pub(super) dumped: u64,
}

/// The entries by their handles, and the handles by ufid.
#[derive(Default)]
pub(super) struct Entries {
    slab: Slab<DriverEntry>,
    by_ufid: UfidIndex,
}

impl Entries {
    pub(super) fn get(&self, handle: EntryHandle) -> Option<&DriverEntry> {
        self.slab.values().get(handle)
    }

    pub(super) fn get_mut(&mut self, handle: EntryHandle) -> Option<&mut DriverEntry> {
        self.slab.get_mut(handle)
    }

    /// The handle of the entry with this ufid.
    pub(super) fn find(&self, ufid: Ufid) -> Option<EntryHandle> {
        self.by_ufid.find(ufid, |handle| Some(self.get(handle)?.flow.ufid))
    }

    /// The entry with this ufid.
    pub(super) fn of(&self, ufid: Ufid) -> Option<&DriverEntry> {
        self.get(self.find(ufid)?)
    }

    /// The handle of the next entry.
    pub(super) fn next(&self) -> EntryHandle {
        self.slab.next()
    }

    /// All handles are below this one.
    pub(super) fn end(&self) -> EntryHandle {
        self.slab.end()
    }

    /// Adds an entry of a ufid that has none, under the handle that [`Entries::next`] gave.
    pub(super) fn insert(&mut self, entry: DriverEntry) {
        let ufid = entry.flow.ufid;
        let handle = self.slab.insert(entry);
        self.by_ufid.insert(ufid, handle);
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, handle: EntryHandle) -> Option<DriverEntry> {
        let entry = self.slab.remove(handle)?;
        self.by_ufid.remove(entry.flow.ufid, handle);
        Some(entry)
    }
}
