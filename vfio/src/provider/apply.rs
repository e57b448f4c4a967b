//! Install, replace and remove: resources are taken first, then commands are queued.

use std::sync::Arc;

use flow::{
    Counters, Generation, Megaflow, Op, ProviderError, Subject, Submission, TableName, Ufid,
};

use super::pending::{Next, Purpose, Results};
use super::{Entry, FpgaProvider, Place, full};
use crate::admission::CardEntry;
use crate::ring::command::{CardCommand, CardOpcode, CardTable};
use crate::table::{Acquired, CuckooPlan, EntryHandle};

/// The reason why an op did not start.
enum Stop {
    /// The op fails for good.
    Error(ProviderError),
    /// A command in flight is in the way: the op is tried again when all commands have completed.
    Again,
}

impl From<ProviderError> for Stop {
    fn from(error: ProviderError) -> Stop {
        Stop::Error(error)
    }
}

impl FpgaProvider {
    pub(super) fn apply_batch(&mut self, ops: &[Submission]) {
        let mut results: Results = vec![None; ops.len()];
        // `gone` keeps an error of this and of what follows.
        let _ = self.begin();
        // Clears mask slots that lost their last entry since the last batch.
        let _ = self.clear_masks(&mut results);
        for (index, op) in ops.iter().enumerate() {
            if let Err(error) = self.start(index, &op.op, &mut results) {
                results[index] = Some(Err(error));
            }
        }
        // `gone` keeps an error, and every op without a result then fails with it.
        let _ = self.drain(&mut results);
        let _ = self.clear_masks(&mut results);
        let gone = || Err(ProviderError::Gone(self.gone.clone().unwrap_or_default()));
        let ends = ops.iter().zip(results);
        let ends = ends.map(|(op, result)| op.completed(result.unwrap_or_else(gone)));
        self.done.extend(ends);
    }

    /// Queues the commands of an op.
    fn start(&mut self, index: usize, op: &Op, results: &mut Results) -> Result<(), ProviderError> {
        self.alive()?;
        let handle = self.by_ufid.get(&op.ufid()).copied();
        if handle.and_then(|handle| self.entry(handle)).is_some_and(|entry| entry.busy) {
            self.drain(results)?;
        }
        match self.try_start(index, op, results) {
            Ok(()) => Ok(()),
            Err(Stop::Error(error @ ProviderError::Full(_))) => {
                // The commands in flight may free room; a counter becomes free only after a
                // snapshot.
                self.drain(results)?;
                self.clear_masks(results)?;
                let counters = error.refusal().subject == Subject::Table(TableName::Counters);
                if counters && self.counters.in_quarantine() > 0 {
                    self.take_snapshot()?;
                }
                self.retry(index, op, results, error)
            }
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Again) => {
                self.drain(results)?;
                let busy = ProviderError::Busy("moves of other entries".into());
                self.retry(index, op, results, busy)
            }
        }
    }

    fn retry(
        &mut self,
        index: usize,
        op: &Op,
        results: &mut Results,
        otherwise: ProviderError,
    ) -> Result<(), ProviderError> {
        self.try_start(index, op, results).map_err(|stop| match stop {
            Stop::Error(error) => error,
            Stop::Again => otherwise,
        })
    }

    fn try_start(&mut self, index: usize, op: &Op, results: &mut Results) -> Result<(), Stop> {
        match op {
            Op::Install { flow, generation } => self.install(index, flow, *generation, results),
            Op::Replace { flow, generation } => self.replace(index, flow, *generation, results),
            Op::Remove { ufid } => self.remove(index, *ufid, results),
        }
    }

    fn encode(&self, flow: &Megaflow) -> Result<CardEntry, ProviderError> {
        self.admission.encode(flow).map_err(|why| ProviderError::Unsupported(why.first))
    }

    fn install(
        &mut self,
        op: usize,
        flow: &Arc<Megaflow>,
        generation: Generation,
        results: &mut Results,
    ) -> Result<(), Stop> {
        if self.by_ufid.contains_key(&flow.ufid) {
            return Err(ProviderError::Exists.into());
        }
        let card = self.encode(flow)?;
        let handle = self.new_handle();
        let action = match self.actions.acquire(&card.actions) {
            Some(action) => action,
            None => {
                self.free.push(handle);
                return Err(full(TableName::Actions).into());
            }
        };
        let placed = match self.counters.acquire(handle) {
            Some(counter) => match self.find_place(&card, handle) {
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
                self.free.push(handle);
                return Err(stop);
            }
        };
        let place = found.place();
        self.entries[handle as usize] = Some(Entry {
            flow: flow.clone(),
            generation,
            key: card.key,
            mask: card.mask,
            place,
            action: action.id,
            counter,
            last: Counters::default(),
            total: Counters::default(),
            busy: true,
        });
        self.by_ufid.insert(flow.ufid, handle);
        self.queue_install(op, handle, &card, action, &found, results)?;
        Ok(())
    }

    /// Finds a slot under a mask slot, or else a masked row.
    fn find_place(&mut self, card: &CardEntry, handle: EntryHandle) -> Result<Found, Stop> {
        let Some(mask) = self.masks.acquire(&card.mask) else {
            let row = self.rows.acquire(handle).ok_or_else(|| full(TableName::Masks))?;
            return Ok(Found::Row(row));
        };
        let hashes = self.toeplitz.hashes(&card.key, mask.id);
        let buckets = self.cuckoo.buckets_of(hashes);
        let plan = self.cuckoo.plan(buckets);
        let busy = |owner| self.entry(owner).is_some_and(|entry| entry.busy);
        let moves_busy = |plan: &CuckooPlan| plan.moves.iter().any(|step| busy(step.owner));
        let again = plan.as_ref().is_some_and(moves_busy);
        if let Some(plan) = plan.filter(|_| !again) {
            self.cuckoo.commit(&plan, handle, buckets);
            for step in &plan.moves {
                if let Some(entry) = self.entry_mut(step.owner)
                    && let Place::Exact { slot, .. } = &mut entry.place
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

    fn queue_install(
        &mut self,
        op: usize,
        handle: EntryHandle,
        card: &CardEntry,
        action: Acquired<u32>,
        found: &Found,
        results: &mut Results,
    ) -> Result<(), ProviderError> {
        let mut commands: Vec<(CardCommand, Purpose)> = Vec::with_capacity(4);
        if action.fresh {
            commands.push((write_action(action.id, &card.actions), Purpose::Part));
        }
        if let Found::Exact { mask, plan } = found {
            if mask.fresh {
                let write =
                    CardCommand::new(CardOpcode::MaskWrite).mask_id(mask.id).mask(&card.mask);
                commands.push((write, Purpose::Part));
            }
            for step in &plan.moves {
                let Some(moved) = self.entry(step.owner) else { continue };
                let pending = Purpose::Move(moved.flow.ufid);
                let step = CardCommand::new(CardOpcode::EntryMove)
                    .slot(CardTable::Exact, step.to)
                    .slot2(step.from);
                commands.push((step, pending));
            }
        }
        let Some(entry) = self.entry(handle) else { return Ok(()) };
        let (table, slot) = entry.place.table();
        let mut write = CardCommand::new(CardOpcode::EntryWrite)
            .slot(table, slot)
            .cookie(entry.flow.ufid.0, entry.generation.0)
            .action(entry.action)
            .counter(entry.counter)
            .key(&card.key);
        write = match entry.place {
            Place::Exact { mask_id, .. } => write.mask_id(mask_id),
            Place::Row(_) => write.mask(&card.mask),
        };
        commands.push((write, Purpose::Write { op, handle }));
        self.queue(commands, results)
    }

    fn replace(
        &mut self,
        op: usize,
        flow: &Arc<Megaflow>,
        generation: Generation,
        results: &mut Results,
    ) -> Result<(), Stop> {
        let handle = *self.by_ufid.get(&flow.ufid).ok_or(ProviderError::NotFound)?;
        let card = self.encode(flow)?;
        let Some(entry) = self.entry(handle) else {
            return Err(ProviderError::NotFound.into());
        };
        if (entry.key, entry.mask) != (card.key, card.mask) {
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
        let mut commands = Vec::with_capacity(2);
        if action.fresh {
            commands.push((write_action(action.id, &card.actions), Purpose::Part));
        }
        let command = CardCommand::new(CardOpcode::EntryReplace)
            .slot(table, slot)
            .cookie(flow.ufid.0, generation.0)
            .action(action.id)
            .counter(counter);
        let next = Next { flow: flow.clone(), generation, action: action.id, counter };
        commands.push((command, Purpose::Replace { op, handle, next }));
        self.set_busy(handle, true);
        self.queue(commands, results)?;
        Ok(())
    }

    fn remove(&mut self, op: usize, ufid: Ufid, results: &mut Results) -> Result<(), Stop> {
        let handle = *self.by_ufid.get(&ufid).ok_or(ProviderError::NotFound)?;
        let Some(entry) = self.entry(handle) else {
            return Err(ProviderError::NotFound.into());
        };
        let (table, slot) = entry.place.table();
        let command = CardCommand::new(CardOpcode::EntryClear)
            .slot(table, slot)
            .cookie(ufid.0, entry.generation.0);
        self.set_busy(handle, true);
        self.queue(vec![(command, Purpose::Clear { op, handle })], results)?;
        Ok(())
    }

    pub(super) fn set_busy(&mut self, handle: EntryHandle, busy: bool) {
        if let Some(entry) = self.entry_mut(handle) {
            entry.busy = busy;
        }
    }

    /// Puts all commands into the ring, and waits for room where needed.
    fn queue(
        &mut self,
        commands: Vec<(CardCommand, Purpose)>,
        results: &mut Results,
    ) -> Result<(), ProviderError> {
        for (mut command, pending) in commands {
            while !self.channel.push(&mut command).map_err(|error| self.fail(&error))? {
                self.complete_one(results)?;
            }
            self.pending.push_back(pending);
        }
        Ok(())
    }

    /// Waits until no command is in flight.
    pub(super) fn drain(&mut self, results: &mut Results) -> Result<(), ProviderError> {
        self.channel.ring();
        while !self.pending.is_empty() {
            self.complete_one(results)?;
        }
        Ok(())
    }

    /// Clears mask slots without entries on the card.
    fn clear_masks(&mut self, results: &mut Results) -> Result<(), ProviderError> {
        self.alive()?;
        if self.idle_masks.is_empty() {
            return Ok(());
        }
        let commands = std::mem::take(&mut self.idle_masks).into_iter();
        let command = |id| CardCommand::new(CardOpcode::MaskClear).mask_id(id);
        let commands = commands.map(|id| (command(id), Purpose::MaskClear(id))).collect();
        self.queue(commands, results)?;
        self.drain(results)
    }
}

/// The place of a new entry.
enum Found {
    Exact { mask: Acquired<u8>, plan: CuckooPlan },
    Row(u32),
}

impl Found {
    fn place(&self) -> Place {
        match self {
            Found::Exact { mask, plan } => Place::Exact { slot: plan.slot, mask_id: mask.id },
            Found::Row(row) => Place::Row(*row),
        }
    }
}

fn write_action(id: u32, list: &[u8]) -> CardCommand {
    CardCommand::new(CardOpcode::ActWrite).action(id).payload(list)
}
