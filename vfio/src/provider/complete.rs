//! Handling of completions: they give the ops their results and update our picture of the card.

use flow::{Counters, ProviderError, Stats};

use super::entries::{CardSlot, DriverEntry};
use super::pending::{Next, Purpose};
use super::{FpgaProvider, error_of};
use crate::error::Error;
use crate::ring::record::{CardCompletion, CommandStatus};
use crate::table::EntryHandle;

impl FpgaProvider {
    /// Handles the completions that have come.
    pub(super) fn harvest(&mut self) -> Result<(), Error> {
        while let Some((purpose, completion)) = self.channel.take()? {
            self.complete(purpose, completion)?;
        }
        Ok(())
    }

    fn complete(&mut self, purpose: Purpose, completion: CardCompletion) -> Result<(), Error> {
        match purpose {
            // The card has lost the entry, so the slot is empty in both tables. If another command
            // on the megaflow is in flight, that command finds the entry missing.
            Purpose::Move { handle, serial } if completion.status == Ok(CommandStatus::NoEntry) => {
                let is_it = |entry: &&DriverEntry| entry.serial == serial && !entry.busy;
                if self.entries.get(handle).filter(is_it).is_some() {
                    self.follow_loss(handle);
                }
            }
            // The tables here and in the card would differ from now on, so the card is given up.
            Purpose::Part | Purpose::Move { .. } => {
                if completion.status != Ok(CommandStatus::Ok) {
                    let why = format!("the card answers {:?} to a part", completion.status);
                    return Err(Error::Unusable(why));
                }
            }
            Purpose::Write { job, handle } => {
                let result = self.written(handle, completion);
                self.jobs.end(job, result);
            }
            Purpose::Replace { job, handle, next } => {
                let result = self.replaced(handle, next, completion);
                self.jobs.end(job, result);
            }
            Purpose::Clear { job, handle } => {
                let result = self.cleared(handle, completion);
                self.jobs.end(job, result);
            }
            Purpose::MaskClear(id) => {
                if matches!(completion.status, Ok(CommandStatus::Ok | CommandStatus::NoEntry)) {
                    self.masks.free(id);
                }
            }
            Purpose::Snapshot(ticket) => self.snapshot_taken(ticket, completion)?,
            Purpose::Call => self.called = Some(completion),
        }
        Ok(())
    }

    fn written(
        &mut self,
        handle: EntryHandle,
        completion: CardCompletion,
    ) -> Result<Stats, ProviderError> {
        if completion.status == Ok(CommandStatus::Ok) {
            self.set_busy(handle, false);
            return Ok(Stats::default());
        }
        if let Some(entry) = self.forget(handle) {
            self.counters.give_back(entry.counter);
        }
        Err(error_of(completion.status))
    }

    fn replaced(
        &mut self,
        handle: EntryHandle,
        next: Next,
        completion: CardCompletion,
    ) -> Result<Stats, ProviderError> {
        self.set_busy(handle, false);
        if completion.status != Ok(CommandStatus::Ok) {
            self.actions.release(next.action);
            self.counters.give_back(next.counter);
            if completion.status == Ok(CommandStatus::NoEntry) {
                self.follow_loss(handle);
            }
            return Err(error_of(completion.status));
        }
        let Some(entry) = self.entries.get(handle) else { return Err(ProviderError::NotFound) };
        let total = entry.total + self.growth(entry.last, completion.counters);
        let (action, counter) = (entry.action, entry.counter);
        self.actions.release(action);
        self.counters.retire(counter);
        if let Some(entry) = self.entries.get_mut(handle) {
            entry.flow = next.flow;
            entry.generation = next.generation;
            entry.action = next.action;
            entry.counter = next.counter;
            entry.last = Counters::default();
            entry.total = Counters::default();
        }
        Ok(Stats { counters: total, ..Stats::default() })
    }

    fn cleared(
        &mut self,
        handle: EntryHandle,
        completion: CardCompletion,
    ) -> Result<Stats, ProviderError> {
        match completion.status {
            Ok(CommandStatus::Ok) => {
                let Some(entry) = self.forget(handle) else { return Err(ProviderError::NotFound) };
                self.counters.retire(entry.counter);
                let total = entry.total + self.growth(entry.last, completion.counters);
                Ok(Stats { counters: total, ..Stats::default() })
            }
            Ok(CommandStatus::NoEntry) => {
                self.follow_loss(handle);
                Err(ProviderError::NotFound)
            }
            status => {
                self.set_busy(handle, false);
                Err(error_of(status))
            }
        }
    }

    /// Forgets an entry that the card has lost.
    pub(super) fn follow_loss(&mut self, handle: EntryHandle) {
        if let Some(entry) = self.forget(handle) {
            self.counters.retire(entry.counter);
        }
    }

    /// Frees everything that an entry uses, except its counter.
    fn forget(&mut self, handle: EntryHandle) -> Option<DriverEntry> {
        let entry = self.entries.remove(handle)?;
        self.actions.release(entry.action);
        match entry.place {
            CardSlot::Exact { slot, mask_id } => {
                self.cuckoo.clear(slot);
                if self.masks.release(mask_id) {
                    self.idle_masks.push(mask_id);
                }
            }
            CardSlot::Row(row) => self.rows.clear(row),
        }
        Some(entry)
    }
}
