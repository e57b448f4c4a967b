//! The command queue: fetch, check, execute, complete.

use super::card::CardCore;
use super::registers::{CMDQ_RING, CPLQ_RING, CTRL, EVTQ_RING, SNAP};
use super::rings::Doorbell;
use super::tables::Entry;
use crate::crc::crc32c;
use crate::int::to_u32;
use crate::register::CardState;
use crate::register::words::{ctrl, err, snap};
use crate::ring::command::{COMMAND_BYTES, CardCommand, CardOpcode, CardTable, CounterId, command};
use crate::ring::record::{
    CommandStatus, RECORD_BYTES, WORD_BYTES, cause, completion, event, snapshot_header,
    snapshot_word,
};
use crate::sys::DmaFault;

/// The number of commands executed in one go; packets must not wait for a long batch.
const BATCH: u16 = 64;
/// The number of bytes of a snapshot written at a time.
const CHUNK: usize = 1 << 16;

/// The values that a command returns besides its status.
#[derive(Default)]
struct Outcome {
    packets: u64,
    bytes: u64,
    counter: u32,
}

impl CardCore {
    /// Executes the commands that wait in the command ring; returns true if there were any.
    pub(super) fn run_commands(&mut self) -> bool {
        let ready = self.ring(CMDQ_RING) && self.ring(CPLQ_RING);
        if !ready || self.state() == CardState::Halted {
            self.held.clear();
            return false;
        }
        let waiting = self.rings[CMDQ_RING].waiting(&self.registers);
        let waiting = self.believe(CMDQ_RING, waiting).min(BATCH);
        if waiting > 0 {
            self.refresh_secrets();
        }
        let mut is_busy = false;
        for _ in 0..waiting {
            let free = self.rings[CPLQ_RING].free(&self.registers);
            if usize::from(self.believe(CPLQ_RING, free)) <= self.held.len() {
                break;
            }
            is_busy = true;
            if let Err(DmaFault) = self.run_command() {
                self.halt(CMDQ_RING, 1);
                return true;
            }
        }
        let was_held = self.held.len() > 0;
        if let Err(DmaFault) = self.complete(!is_busy) {
            self.halt(CMDQ_RING, 1);
        }
        is_busy || was_held
    }

    /// Writes completions, all of them if they are due.
    fn complete(&mut self, all_are_due: bool) -> Result<(), DmaFault> {
        while let Some(record) = self.held.pop(all_are_due) {
            self.rings[CPLQ_RING].write(&*self.memory, 0, &record)?;
            self.rings[CPLQ_RING].advance();
        }
        Ok(())
    }

    /// Returns the room that the doorbell shows; an impossible doorbell is captured and counts as
    /// 0.
    pub(super) fn believe(&mut self, ring: usize, doorbell: Doorbell) -> u16 {
        match doorbell {
            Doorbell::Room(room) => room,
            Doorbell::Bad(first) => {
                if first {
                    self.error(5, to_u32(ring), err::RING_ERRORS);
                }
                0
            }
        }
    }

    fn run_command(&mut self) -> Result<(), DmaFault> {
        let mut record = CardCommand { bytes: [0; COMMAND_BYTES] };
        self.rings[CMDQ_RING].read(&*self.memory, 0, &mut record.bytes)?;
        let result = self.execute(&record);
        let (status, outcome) = match result {
            Ok(outcome) => (CommandStatus::Ok, outcome),
            Err(status) => (status, Outcome::default()),
        };
        self.counts.commands += 1;
        self.counts.commands_failed += u64::from(status != CommandStatus::Ok);
        let mut out = [0; RECORD_BYTES];
        completion::SEQ.put(&mut out, u64::from(record.get32(command::SEQ)));
        completion::STATUS.put(&mut out, status as u64);
        completion::OP.put(&mut out, u64::from(record.bytes[command::OP.offset]));
        completion::BOOT_EPOCH.put(&mut out, u64::from(self.epoch));
        completion::PACKETS.put(&mut out, outcome.packets);
        completion::BYTES.put(&mut out, outcome.bytes);
        completion::CNT.put(&mut out, u64::from(outcome.counter));
        completion::TS.put(&mut out, u64::from(self.now()));
        self.rings[CMDQ_RING].advance();
        let is_fence = record.bytes[command::OP.offset] == CardOpcode::Fence as u8;
        if is_fence {
            self.complete(true)?;
        }
        self.held.push(out);
        self.complete(is_fence)
    }

    fn execute(&mut self, record: &CardCommand) -> Result<Outcome, CommandStatus> {
        if !record.intact() {
            self.error(3, record.get32(command::SEQ), err::CRC_ERRORS);
            return Err(CommandStatus::Crc);
        }
        if record.get32(command::BOOT_EPOCH) != self.epoch {
            return Err(CommandStatus::Epoch);
        }
        let op = CardOpcode::of(record.bytes[command::OP.offset]).ok_or(CommandStatus::BadOp)?;
        let table = match record.bytes[command::TABLE.offset] {
            0 => CardTable::Exact,
            1 => CardTable::Rows,
            _ => return Err(CommandStatus::BadOp),
        };
        let slot = record.get32(command::SLOT);
        let slot2 = record.get32(command::SLOT2);
        let mask_id = record.bytes[command::MASK_ID.offset];
        let counter = CounterId::of(record.get32(command::CNT));
        let (action, cookie) = (record.get32(command::ACT_ID), record.get_cookie());
        let generation = record.get32(command::GENERATION);
        let nothing = |()| Outcome::default();
        match op {
            CardOpcode::Nop | CardOpcode::Fence => Ok(Outcome::default()),
            CardOpcode::EntryWrite => {
                let (key, mask) = (record.get_key(), record.get_mask());
                let entry = Entry { mask_id, key, mask, cookie, generation, action, counter };
                self.tables.write(table, slot, entry).map(nothing)
            }
            CardOpcode::EntryMove if table == CardTable::Rows => Err(CommandStatus::BadOp),
            CardOpcode::EntryMove => self.tables.move_entry(slot, slot2).map(nothing),
            CardOpcode::EntryReplace => self
                .tables
                .replace((table, slot), (cookie, generation), (action, counter))
                .map(final_counter),
            CardOpcode::EntryClear => {
                self.tables.clear_entry(table, slot, cookie).map(final_counter)
            }
            CardOpcode::EntryRead => self.read_entries(record, table, slot, slot2),
            CardOpcode::MaskWrite => {
                self.tables.write_mask(mask_id, record.get_mask()).map(nothing)
            }
            CardOpcode::MaskClear => self.tables.clear_mask(mask_id).map(nothing),
            CardOpcode::MaskRead => {
                let found = self.tables.mask(mask_id)?;
                let found =
                    found.map(|m| CardCommand::new(CardOpcode::MaskWrite).mask_id(mask_id).mask(m));
                self.read_back(record, found.into_iter().collect())
            }
            CardOpcode::ActWrite => {
                let list = record.get_payload().ok_or(CommandStatus::Range)?;
                self.tables.write_action(action, list).map(nothing)
            }
            CardOpcode::ActRead => {
                let found = self.tables.action(action)?;
                let found = found.map(|a| {
                    CardCommand::new(CardOpcode::ActWrite).action(action).payload(&a.bytes)
                });
                self.read_back(record, found.into_iter().collect())
            }
            CardOpcode::Flush => {
                self.tables.flush();
                Ok(Outcome::default())
            }
            CardOpcode::SnapNow => {
                let counter = self.snapshot()?;
                Ok(Outcome { counter, ..Outcome::default() })
            }
        }
    }

    fn read_entries(
        &mut self,
        record: &CardCommand,
        table: CardTable,
        first: u32,
        count: u32,
    ) -> Result<Outcome, CommandStatus> {
        let end = first.checked_add(count).ok_or(CommandStatus::Range)?;
        let mut found = Vec::new();
        for slot in first..end {
            let Some(entry) = self.tables.slot(table, slot)? else { continue };
            let value = self.tables.counters[entry.counter.index as usize].value;
            let mut copy = CardCommand::new(CardOpcode::EntryWrite)
                .slot(table, slot)
                .mask_id(entry.mask_id)
                .cookie(entry.cookie, entry.generation)
                .action(entry.action)
                .counter(entry.counter)
                .key(&entry.key);
            if table == CardTable::Rows {
                copy = copy.mask(&entry.mask);
            }
            command::PACKETS.put(&mut copy.bytes, value.packets);
            command::BYTES.put(&mut copy.bytes, value.bytes);
            found.push(copy);
        }
        self.read_back(record, found)
    }

    fn read_back(
        &self,
        record: &CardCommand,
        found: Vec<CardCommand>,
    ) -> Result<Outcome, CommandStatus> {
        let mut address = command::ADDRESS.get(&record.bytes);
        let packets = found.len() as u64;
        for mut copy in found {
            copy.seal(record.get32(command::SEQ), self.epoch);
            self.memory.write(address, &copy.bytes).map_err(|DmaFault| CommandStatus::Dma)?;
            address = address.wrapping_add(COMMAND_BYTES as u64);
        }
        Ok(Outcome { packets, ..Outcome::default() })
    }

    /// Writes a snapshot as the SNAP block says; returns the snapshot's number.
    fn snapshot(&mut self) -> Result<u32, CommandStatus> {
        let get = |word| self.registers.get(SNAP, word);
        let to = u64::from(get(snap::DST_HI)) << 32 | u64::from(get(snap::DST_LO));
        let (first, count) = (get(snap::FIRST), get(snap::COUNT));
        let end = first.checked_add(count).filter(|end| *end <= self.tables.caps.counters);
        let end = end.ok_or(CommandStatus::Range)?;
        let start = self.now();
        let mut at = to.wrapping_add(RECORD_BYTES as u64);
        let mut chunk = Vec::with_capacity(CHUNK);
        for index in first..end {
            let counter = &self.tables.counters[index as usize];
            let id = CounterId { index, generation: counter.generation };
            let mut word = [0; WORD_BYTES];
            snapshot_word::CNT.put(&mut word, u64::from(id.word()));
            snapshot_word::PACKETS.put(&mut word, counter.value.packets);
            snapshot_word::BYTES.put(&mut word, counter.value.bytes);
            chunk.extend(word);
            if chunk.len() == CHUNK || index + 1 == end {
                self.memory.write(at, &chunk).map_err(|DmaFault| CommandStatus::Dma)?;
                at = at.wrapping_add(chunk.len() as u64);
                chunk.clear();
            }
        }
        self.snapshots = (self.snapshots + 1) & 0x7fff_ffff;
        let mut header = [0; RECORD_BYTES];
        snapshot_header::VERSION.put(&mut header, 1);
        for (word, value) in [
            (snapshot_header::BOOT_EPOCH, self.epoch),
            (snapshot_header::SEQ, self.snapshots),
            (snapshot_header::T_START, start),
            (snapshot_header::T_END, self.now()),
            (snapshot_header::FIRST, first),
            (snapshot_header::COUNT, count),
        ] {
            word.put(&mut header, u64::from(value));
        }
        let crc = crc32c(&header[..snapshot_header::CRC.offset]);
        snapshot_header::CRC.put(&mut header, u64::from(crc));
        self.memory.write(to, &header).map_err(|DmaFault| CommandStatus::Dma)?;
        self.registers.put(SNAP, snap::LAST_SEQ, self.snapshots);
        Ok(self.snapshots)
    }

    /// Writes the snapshot that the SNAP block's trigger asked for; returns true if it asked for
    /// one.
    pub(super) fn run_triggers(&mut self) -> bool {
        let wanted = self.registers.triggers.swap(0, std::sync::atomic::Ordering::SeqCst);
        if wanted == 0 {
            return false;
        }
        match self.snapshot() {
            Ok(number) => self.event(cause::SNAP_DONE, number, 0),
            Err(_) => self.error(2, 0, err::DMA_ERRORS),
        }
        true
    }

    /// Writes an event, or counts it as lost.
    pub(super) fn event(&mut self, cause: u8, arg0: u32, arg1: u32) {
        if !self.ring(EVTQ_RING) {
            return;
        }
        let free = self.rings[EVTQ_RING].free(&self.registers);
        if self.believe(EVTQ_RING, free) == 0 {
            self.registers.error(6, 0, self.now(), err::EVENTS_LOST);
            if self.state() == CardState::Ready {
                self.registers.put(CTRL, ctrl::STATE, CardState::Degraded as u32);
            }
            return;
        }
        self.events = self.events.wrapping_add(1);
        let mut out = [0; RECORD_BYTES];
        event::CAUSE.put(&mut out, u64::from(cause));
        event::BOOT_EPOCH.put(&mut out, u64::from(self.epoch));
        event::SEQ.put(&mut out, u64::from(self.events));
        event::ARG0.put(&mut out, u64::from(arg0));
        event::ARG1.put(&mut out, u64::from(arg1));
        event::TS.put(&mut out, u64::from(self.now()));
        match self.rings[EVTQ_RING].write(&*self.memory, 0, &out) {
            Ok(()) => self.rings[EVTQ_RING].advance(),
            Err(DmaFault) => self.halt(EVTQ_RING, 2),
        }
    }
}

fn final_counter((counter, value): (CounterId, flow::Counters)) -> Outcome {
    Outcome { packets: value.packets, bytes: value.bytes, counter: counter.word() }
}
