//! Install, replace and remove: resources are taken first, then commands are queued.

use std::sync::Arc;

use flow::{Counters, Generation, Megaflow, Op, ProviderError, Subject, TableName, Ufid};

use super::entries::{CardSlot, DriverEntry};
use super::jobs::JobId;
use super::pending::{Next, Purpose};
use super::{FpgaProvider, full};
use crate::admission::CardEntry;
use crate::error::Error;
use crate::ring::command::{CardCommand, CardOpcode, CardTable};
use crate::table::{Acquired, CuckooPlan, EntryHandle};

/// The reason why an op did not start.
enum Stop {
    /// The op fails for good.
    Op(ProviderError),
    /// A command in flight is in the way.
    Again,
    /// The card can't be used any more.
    Card(Error),
}

impl From<ProviderError> for Stop {
    fn from(error: ProviderError) -> Stop {
        Stop::Op(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Card(error)
    }
}

impl FpgaProvider {
    /// Begins the ops whose turn it is, as long as the command ring has room.
    pub(super) fn begin_jobs(&mut self) -> Result<(), Error> {
        while self.channel.has_room() {
            let channel = &self.channel;
            let next = self.jobs.next(|number| channel.is_done_before(number));
            let Some((job, op)) = next else { break };
            let error = match self.try_start(job, &op) {
                Ok(()) => continue,
                Err(Stop::Card(error)) => return Err(error),
                Err(Stop::Again) => ProviderError::Busy("moves of other entries".into()),
                Err(Stop::Op(error)) => {
                    if !self.may_free(&error)? {
                        self.jobs.end(job, Err(error));
                        continue;
                    }
                    error
                }
            };
            let due = self.channel.time.job(self.channel.in_flight());
            if !self.jobs.block(job, self.channel.end(), due) {
                self.jobs.end(job, Err(error));
            }
        }
        Ok(())
    }

    /// Returns true if the commands in flight may free the room that an op did not find. A counter
    /// becomes free only after a snapshot, which is asked for here.
    fn may_free(&mut self, error: &ProviderError) -> Result<bool, Error> {
        let ProviderError::Full(refusal) = error else { return Ok(false) };
        let counters = refusal.subject == Subject::Table(TableName::Counters);
        if counters && self.counters.in_quarantine() > 0 && self.snapshots == 0 {
            self.ask_for_snapshot()?;
        }
        Ok(self.channel.in_flight() > 0)
    }

    fn try_start(&mut self, job: JobId, op: &Op) -> Result<(), Stop> {
        match op {
            Op::Install { flow, generation } => self.install(job, flow, *generation),
            Op::Replace { flow, generation } => self.replace(job, flow, *generation),
            Op::Remove { ufid } => self.remove(job, *ufid),
        }
    }

    fn encode(&self, flow: &Megaflow) -> Result<CardEntry, ProviderError> {
        self.admission.encode(flow).map_err(|why| ProviderError::Unsupported(why.first))
    }

    fn install(
        &mut self,
        job: JobId,
        flow: &Arc<Megaflow>,
        generation: Generation,
    ) -> Result<(), Stop> {
        if self.entries.find(flow.ufid).is_some() {
            return Err(ProviderError::Exists.into());
        }
        let card = self.encode(flow)?;
        let handle = self.entries.next();
        let action = self.actions.acquire(&card.actions);
        let action = action.ok_or_else(|| full(TableName::Actions))?;
        let placed = match self.counters.acquire(handle) {
            Some(counter) => match self.find_place(job, &card, handle) {
                Ok(place) => Ok((counter, place)),
                Err(stop) => {
                    self.counters.give_back(counter);
                    Err(stop)
                }
            },
            None => Err(full(TableName::Counters).into()),
        };
        let (counter, found) = match placed {
            Ok(placed) => placed,
            Err(stop) => {
                self.actions.release(action.id);
                return Err(stop);
            }
        };
        let place = found.place();
        self.serial += 1;
        self.entries.insert(DriverEntry {
            flow: flow.clone(),
            generation,
            place,
            action: action.id,
            counter,
            last: Counters::default(),
            total: Counters::default(),
            busy: true,
            serial: self.serial,
            dumped: 0,
        });
        Ok(self.send_install(job, handle, &card, action, &found)?)
    }

    /// Finds a slot under a mask slot, or else a masked row.
    fn find_place(
        &mut self,
        job: JobId,
        card: &CardEntry,
        handle: EntryHandle,
    ) -> Result<Found, Stop> {
        let Some(mask) = self.masks.acquire(&card.mask) else {
            // Rows are few, and slower in some cards: a mask slot is worth waiting for.
            if self.masks.will_have_room() && self.jobs.is_first_attempt(job) {
                return Err(Stop::Again);
            }
            let row = self.rows.acquire(handle).ok_or_else(|| full(TableName::Masks))?;
            return Ok(Found::Row(row));
        };
        let hashes = self.toeplitz.hashes(&card.key, mask.id);
        let buckets = self.cuckoo.buckets_of(hashes);
        let plan = self.cuckoo.plan(buckets);
        let busy = |owner| self.entries.get(owner).is_some_and(|entry| entry.busy);
        let moves_busy = |plan: &CuckooPlan| plan.moves.iter().any(|step| busy(step.owner));
        let again = plan.as_ref().is_some_and(moves_busy);
        if let Some(plan) = plan.filter(|_| !again) {
            self.cuckoo.commit(&plan, handle, buckets);
            for step in &plan.moves {
                self.reading.moved(step);
                if let Some(entry) = self.entries.get_mut(step.owner)
                    && let CardSlot::Exact { slot, .. } = &mut entry.place
                {
                    *slot = step.to;
                }
            }
            return Ok(Found::Exact { mask, plan });
        }
        if self.masks.release(mask.id) {
            // The mask slot was never written to the card.
            self.masks.free(mask.id);
        }
        if again {
            return Err(Stop::Again);
        }
        self.rows.acquire(handle).map(Found::Row).ok_or_else(|| full(TableName::ExactMatch).into())
    }

    fn send_install(
        &mut self,
        job: JobId,
        handle: EntryHandle,
        card: &CardEntry,
        action: Acquired<u32>,
        found: &Found,
    ) -> Result<(), Error> {
        self.send_actions(action, card)?;
        if let Found::Exact { mask, plan } = found {
            if mask.fresh {
                let write = CardCommand::new(CardOpcode::MaskWrite);
                self.channel.send(write.mask_id(mask.id).mask(&card.mask), Purpose::Part)?;
            }
            for step in &plan.moves {
                let Some(moved) = self.entries.get(step.owner) else { continue };
                let purpose = Purpose::Move { handle: step.owner, serial: moved.serial };
                let command = CardCommand::new(CardOpcode::EntryMove);
                let command = command.slot(CardTable::Exact, step.to).slot2(step.from);
                self.channel.send(command, purpose)?;
            }
        }
        let Some(entry) = self.entries.get(handle) else { return Ok(()) };
        let (table, slot) = entry.place.table();
        let write = CardCommand::new(CardOpcode::EntryWrite)
            .slot(table, slot)
            .cookie(entry.flow.ufid.0, entry.generation.0)
            .action(entry.action)
            .counter(entry.counter)
            .key(&card.key);
        let write = match entry.place {
            CardSlot::Exact { mask_id, .. } => write.mask_id(mask_id),
            CardSlot::Row(_) => write.mask(&card.mask),
        };
        self.channel.send(write, Purpose::Write { job, handle })
    }

    /// Writes an action list that the card does not have yet.
    fn send_actions(&mut self, action: Acquired<u32>, card: &CardEntry) -> Result<(), Error> {
        if !action.fresh {
            return Ok(());
        }
        let write = CardCommand::new(CardOpcode::ActWrite);
        self.channel.send(write.action(action.id).payload(&card.actions), Purpose::Part)
    }

    fn replace(
        &mut self,
        job: JobId,
        flow: &Arc<Megaflow>,
        generation: Generation,
    ) -> Result<(), Stop> {
        let handle = self.entries.find(flow.ufid).ok_or(ProviderError::NotFound)?;
        let card = self.encode(flow)?;
        let Some(entry) = self.entries.get(handle) else {
            return Err(ProviderError::NotFound.into());
        };
        if entry.flow.matching != flow.matching {
            // The ufid has another match: this entry is not the one that is meant.
            return Err(ProviderError::NotFound.into());
        }
        let (table, slot) = entry.place.table();
        let action = self.actions.acquire(&card.actions);
        let action = action.ok_or_else(|| full(TableName::Actions))?;
        let Some(counter) = self.counters.acquire(handle) else {
            self.actions.release(action.id);
            return Err(full(TableName::Counters).into());
        };
        self.send_actions(action, &card)?;
        let command = CardCommand::new(CardOpcode::EntryReplace)
            .slot(table, slot)
            .cookie(flow.ufid.0, generation.0)
            .action(action.id)
            .counter(counter);
        let next = Next { flow: flow.clone(), generation, action: action.id, counter };
        self.channel.send(command, Purpose::Replace { job, handle, next })?;
        self.set_busy(handle, true);
        Ok(())
    }

    fn remove(&mut self, job: JobId, ufid: Ufid) -> Result<(), Stop> {
        let handle = self.entries.find(ufid).ok_or(ProviderError::NotFound)?;
        let Some(entry) = self.entries.get(handle) else {
            return Err(ProviderError::NotFound.into());
        };
        let (table, slot) = entry.place.table();
        let command = CardCommand::new(CardOpcode::EntryClear)
            .slot(table, slot)
            .cookie(ufid.0, entry.generation.0);
        self.channel.send(command, Purpose::Clear { job, handle })?;
        self.set_busy(handle, true);
        Ok(())
    }

    pub(super) fn set_busy(&mut self, handle: EntryHandle, busy: bool) {
        if let Some(entry) = self.entries.get_mut(handle) {
            entry.busy = busy;
        }
    }

    /// Clears mask slots without entries on the card.
    pub(super) fn clear_masks(&mut self) -> Result<(), Error> {
        while let Some(id) = self.idle_masks.pop() {
            let command = CardCommand::new(CardOpcode::MaskClear).mask_id(id);
            self.channel.send(command, Purpose::MaskClear(id))?;
        }
        Ok(())
    }
}

/// The place of a new entry.
enum Found {
    Exact { mask: Acquired<u8>, plan: CuckooPlan },
    Row(u32),
}

impl Found {
    fn place(&self) -> CardSlot {
        match self {
            Found::Exact { mask, plan } => CardSlot::Exact { slot: plan.slot, mask_id: mask.id },
            Found::Row(row) => CardSlot::Row(*row),
        }
    }
}
