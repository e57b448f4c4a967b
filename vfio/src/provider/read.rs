//! CardReading the card: counter snapshots, and entries as they stand in its tables.

use std::collections::HashMap;
use std::ops::Range;

use flow::{Counters, Cursor, Dumped, Generation, PART, Stats, Ufid};

use super::entries::DriverEntry;
use super::pending::Purpose;
use super::{FpgaProvider, READBACK};
use crate::admission::CardEntry;
use crate::error::Error;
use crate::int::{low32, to_u32, to_usize};
use crate::key::CardKey;
use crate::ring::command::{COMMAND_BYTES, CardCommand, CardOpcode, CardTable, CounterId, command};
use crate::ring::record::{
    CardCompletion, CommandStatus, RECORD_BYTES, SnapshotHeader, WORD_BYTES, snapshot_counter,
};
use crate::table::EntryHandle;

/// Smallest range of a snapshot, so that the SNAP block is rarely set anew.
const SNAPSHOT_STEP: u32 = 256;
/// What a cursor of the statistics counts, in its high half: the driver's entries, and then the
/// slots of the card where something seems to be lost.
const ENTRIES: u64 = 1;
const SLOTS: u64 = 2;

impl FpgaProvider {
    /// Asks for a snapshot. None may be in flight, because the SNAP block belongs to it.
    pub(super) fn ask_for_snapshot(&mut self) -> Result<(), Error> {
        let reach = self.counters.reach().next_multiple_of(SNAPSHOT_STEP).min(self.card.counters);
        let reach = reach.max(1);
        if reach != self.snapshot.reach {
            self.snapshot.block.set(self.snapshot.memory.iova(), 0, reach);
            self.snapshot.reach = reach;
        }
        let ticket = self.counters.request();
        self.snapshots += 1;
        self.channel.send(CardCommand::new(CardOpcode::SnapNow), Purpose::Snapshot(ticket))
    }

    /// Handles the end of a snapshot: counters leave quarantine.
    pub(super) fn snapshot_taken(
        &mut self,
        ticket: u64,
        completion: CardCompletion,
    ) -> Result<(), Error> {
        succeeded(completion)?;
        let mut header = [0; RECORD_BYTES];
        self.snapshot.memory.read(0, &mut header);
        let reach = self.snapshot.reach;
        SnapshotHeader::of(&header)
            .filter(|h| h.sequence == completion.counter && (h.first, h.count) == (0, reach))
            .ok_or_else(|| Error::Unusable("a torn snapshot".into()))?;
        self.snapshots -= 1;
        self.counters.snapshot_done(ticket);
        Ok(())
    }

    /// Frees all entries and mask slots of the card, behind all that was sent before.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.execute(CardCommand::new(CardOpcode::Flush)).and_then(succeeded).map(drop)
    }

    pub(super) fn stats_part(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, Error> {
        let index = low32(from.0);
        match from.0 >> 32 {
            SLOTS => {
                // What was read counts all the same if the card fails only now; the next call
                // tells of the failure.
                Ok(self.follow_losses(index).unwrap_or_else(|error| {
                    self.fail(&error);
                    None
                }))
            }
            phase => {
                // While a snapshot is in flight its words are not whole.
                self.wait_until(|provider| provider.snapshots == 0)?;
                if phase != ENTRIES {
                    self.ask_for_snapshot()?;
                    let in_flight = self.jobs.open();
                    self.wait_until(|provider| provider.snapshots == 0)?;
                    self.compare_fill(in_flight)?;
                }
                Ok(self.stats_of_entries(index, out))
            }
        }
    }

    /// Adds what some entries have counted, as the last snapshot shows it.
    fn stats_of_entries(&mut self, first: u32, out: &mut Vec<(Ufid, Stats)>) -> Option<Cursor> {
        let last = self.entries.end().min(first.saturating_add(to_u32(PART)));
        for handle in first..last {
            let Some(entry) = self.entries.get(handle) else { continue };
            let (id, seen) = (entry.counter, entry.last);
            if id.index < self.snapshot.reach {
                let mut word = [0; WORD_BYTES];
                let at = RECORD_BYTES + id.index as usize * WORD_BYTES;
                self.snapshot.memory.read(at, &mut word);
                let (of, now) = snapshot_counter(&word);
                // Otherwise the snapshot is older than the entry.
                if of == id {
                    let growth = self.growth(seen, now);
                    if let Some(entry) = self.entries.get_mut(handle) {
                        entry.total += growth;
                        entry.last = now;
                    }
                }
            }
            let Some(entry) = self.entries.get(handle) else { continue };
            if !self.jobs.concern(entry.flow.ufid) {
                out.push((entry.flow.ufid, Stats { counters: entry.total, ..Stats::default() }));
            }
        }
        match (last < self.entries.end(), self.reading.is_odd) {
            (true, _) => Some(Cursor(ENTRIES << 32 | u64::from(last))),
            (false, true) => Some(Cursor(SLOTS << 32)),
            (false, false) => None,
        }
    }

    /// Compares the tables' fill with what is believed, after a snapshot: the card counts all that
    /// completed before the snapshot was asked for. Each operation that was in flight then may be
    /// counted or not.
    fn compare_fill(&mut self, in_flight: usize) -> Result<(), Error> {
        let used = self.channel.device.entries_used()?;
        let slack = to_u32(in_flight);
        let is_near = |used: u32, believed: u32| used.abs_diff(believed) <= slack;
        self.reading.is_odd =
            !(is_near(used.0, self.cuckoo.used()) && is_near(used.1, self.rows.used()));
        self.reading.losses = 0;
        self.reading.taken = (in_flight == 0).then(|| self.jobs.taken());
        Ok(())
    }

    /// Compares some slots of the card with what is believed: forgets entries that the card has
    /// lost, so that they are in no later reading, and clears those that nobody knows.
    fn follow_losses(&mut self, first: u32) -> Result<Option<Cursor>, Error> {
        let (ranges, next) = self.part_of_slots(first);
        for (table, slots) in ranges {
            self.compare_slots(table, slots)?;
        }
        if next.is_none()
            && self.reading.losses == 0
            && self.reading.taken == Some(self.jobs.taken())
        {
            let used = self.channel.device.entries_used()?;
            let believed = (self.cuckoo.used(), self.rows.used());
            let why = format!("the tables' fill is {used:?}; they hold {believed:?} entries");
            return Err(Error::Unusable(why));
        }
        Ok(next.map(|next| Cursor(SLOTS << 32 | u64::from(next))))
    }

    /// Returns the slots of a part, READBACK or fewer at a time, and where the next part begins.
    /// Slots are counted over both tables.
    fn part_of_slots(&self, first: u32) -> (Vec<(CardTable, Range<u32>)>, Option<u32>) {
        let (exact, rows) = (self.cuckoo.capacity(), self.rows.capacity());
        let end = (exact + rows).min(first.saturating_add(to_u32(PART)));
        let mut ranges = Vec::new();
        let mut at = first;
        while at < end {
            let border = if at < exact { exact.min(end) } else { end };
            let to = border.min(at + READBACK);
            ranges.push(match at < exact {
                true => (CardTable::Exact, at..to),
                false => (CardTable::Rows, at - exact..to - exact),
            });
            at = to;
        }
        (ranges, (end < exact + rows).then_some(end))
    }

    /// Commands take effect in the order of the ring: what is believed when the command is given
    /// is what the card has to show.
    fn compare_slots(&mut self, table: CardTable, slots: Range<u32>) -> Result<(), Error> {
        let owner = |provider: &FpgaProvider, slot| match table {
            CardTable::Exact => provider.cuckoo.owner(slot),
            CardTable::Rows => provider.rows.owner(slot),
        };
        let owners: Vec<_> = slots.clone().map(|slot| owner(self, slot)).collect();
        let mut owners: Vec<Option<(EntryHandle, u64, Ufid)>> = owners
            .into_iter()
            .map(|handle| {
                let handle = handle?;
                self.entries.get(handle).map(|entry| (handle, entry.serial, entry.flow.ufid))
            })
            .collect();
        let mut strays = Vec::new();
        for record in self.read_slots(table, slots.clone())? {
            let (ufid, slot) = (Ufid(record.get_cookie()), record.get32(command::SLOT));
            let owner = &mut owners[(slot - slots.start) as usize];
            if owner.is_some_and(|(_, _, of)| of == ufid) {
                *owner = None;
            } else {
                let generation = record.get32(command::GENERATION);
                let clear = CardCommand::new(CardOpcode::EntryClear).slot(table, slot);
                strays.push(clear.cookie(ufid.0, generation));
            }
        }
        for (handle, serial, ufid) in owners.into_iter().flatten() {
            let is_same = self.entries.get(handle).is_some_and(|entry| entry.serial == serial);
            // An operation in flight finds out by itself.
            if is_same && !self.jobs.concern(ufid) {
                self.follow_loss(handle);
                self.reading.losses += 1;
            }
        }
        // These entries belong to no megaflow and stand where others may be placed.
        self.reading.losses += strays.len();
        for clear in strays {
            self.execute(clear)?;
        }
        Ok(())
    }

    /// Entries read slot by slot from the card.
    pub(super) fn dump_part(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, Error> {
        let slots = self.cuckoo.capacity() + self.rows.capacity();
        if from == Cursor::default() {
            self.reading.dump += 1;
            self.reading.missed.clear();
        }
        let first = low32(from.0);
        let ranges = if first < slots {
            let (ranges, next) = self.part_of_slots(first);
            self.reading.next = next.unwrap_or(slots);
            ranges
        } else {
            self.missed_slots()
        };
        let mut reader = Reader::default();
        for (table, slots) in ranges {
            for record in self.read_slots(table, slots)? {
                out.extend(self.dumped(table, &record, &mut reader)?);
            }
        }
        let next = self.reading.next;
        let is_over = next >= slots && self.reading.missed.is_empty();
        if is_over {
            self.reading.next = 0;
        }
        Ok((!is_over).then(|| Cursor(u64::from(next))))
    }

    /// The present slots of some entries that the dump has missed.
    fn missed_slots(&mut self) -> Vec<(CardTable, Range<u32>)> {
        let mut ranges = Vec::new();
        while ranges.len() < PART / READBACK as usize
            && let Some(handle) = self.reading.missed.pop_first()
        {
            if let Some(entry) = self.entries.get(handle) {
                let (table, slot) = entry.place.table();
                ranges.push((table, slot..slot + 1));
            }
        }
        ranges
    }

    /// Reads at most READBACK slots from the card.
    fn read_slots(
        &mut self,
        table: CardTable,
        slots: Range<u32>,
    ) -> Result<Vec<CardCommand>, Error> {
        let count = slots.end - slots.start;
        let read = CardCommand::new(CardOpcode::EntryRead).slot(table, slots.start).slot2(count);
        let records = self.read_back(read, count)?;
        let mut next = slots.start;
        for record in &records {
            let slot = record.get32(command::SLOT);
            if !(next..slots.end).contains(&slot) {
                let why = format!("entry {slot} read back; expected {next} or later");
                return Err(Error::Unusable(why));
            }
            next = slot + 1;
        }
        Ok(records)
    }

    /// Executes a command that writes at most `most` records back.
    fn read_back(&mut self, read: CardCommand, most: u32) -> Result<Vec<CardCommand>, Error> {
        // A record of an earlier command is not to be taken for one of this.
        for index in 0..to_usize(u64::from(most)) {
            self.readback.write(index * COMMAND_BYTES, &[0; COMMAND_BYTES]);
        }
        let completion = succeeded(self.execute(read.address(self.readback.iova()))?)?;
        let count = completion.counters.packets;
        if count > u64::from(most) {
            let why = format!("{count} records read back; expected at most {most}");
            return Err(Error::Unusable(why));
        }
        let count = to_usize(count);
        let mut records = Vec::with_capacity(count);
        for index in 0..count {
            let mut record = CardCommand { bytes: [0; COMMAND_BYTES] };
            self.readback.read(index * COMMAND_BYTES, &mut record.bytes);
            if !record.intact() {
                return Err(Error::Unusable("a torn record read back".into()));
            }
            records.push(record);
        }
        Ok(records)
    }

    /// Decodes an entry; `None` if the dump leaves it out, because an operation on it is in flight
    /// or because it has moved and was shown before.
    fn dumped(
        &mut self,
        table: CardTable,
        record: &CardCommand,
        reader: &mut Reader,
    ) -> Result<Option<Dumped>, Error> {
        let ufid = Ufid(record.get_cookie());
        let dump = self.reading.dump;
        let handle = self.entries.find(ufid);
        let was_shown =
            |entry: &mut DriverEntry| std::mem::replace(&mut entry.dumped, dump) == dump;
        if self.jobs.concern(ufid)
            || handle.and_then(|handle| self.entries.get_mut(handle)).is_some_and(was_shown)
        {
            return Ok(None);
        }
        let mask_id = record.bytes[command::MASK_ID.offset];
        let mask = match table {
            CardTable::Rows => Some(record.get_mask()),
            CardTable::Exact => match reader.masks.get(&mask_id) {
                Some(mask) => *mask,
                None => {
                    let read =
                        self.read_back(CardCommand::new(CardOpcode::MaskRead).mask_id(mask_id), 1)?;
                    let mask = read.first().map(CardCommand::get_mask);
                    reader.masks.insert(mask_id, mask);
                    mask
                }
            },
        };
        let action = record.get32(command::ACT_ID);
        let actions = match reader.actions.get(&action) {
            Some(list) => list.clone(),
            None => {
                let read =
                    self.read_back(CardCommand::new(CardOpcode::ActRead).action(action), 1)?;
                let list = read.first().and_then(CardCommand::get_payload).map(<[u8]>::to_vec);
                reader.actions.insert(action, list.clone());
                list
            }
        };
        let card = mask.zip(actions).map(|(mask, actions)| CardEntry {
            key: record.get_key(),
            mask,
            actions,
        });
        let generation = Generation(record.get32(command::GENERATION));
        let counter = CounterId::of(record.get32(command::CNT));
        let now = Counters {
            packets: command::PACKETS.get(&record.bytes),
            bytes: command::BYTES.get(&record.bytes),
        };
        let ours = self.entries.of(ufid);
        let ours = ours.filter(|entry| entry.counter == counter);
        let counters = ours.map_or(now, |entry| entry.total + self.growth(entry.last, now));
        let flow = card.and_then(|card| match ours {
            // The card holds exactly what this megaflow is: give it in its own words (a match on
            // a field that is always 0 has no place in the card).
            Some(entry) if self.is(entry, &card) => Some(entry.flow.clone()),
            _ => self.admission.decode(&card).map(std::sync::Arc::new),
        });
        let stats = Stats { counters, ..Stats::default() };
        Ok(Some(Dumped { ufid, generation, flow, stats, active: true }))
    }

    fn is(&self, entry: &DriverEntry, card: &CardEntry) -> bool {
        self.admission.encode(&entry.flow).is_ok_and(|own| own == *card)
    }

    /// Counters in use, for tests of leaks.
    #[must_use]
    pub fn counters_in_use(&self) -> u32 {
        self.counters.used() - to_u32(self.counters.in_quarantine())
    }
}

/// Masks and action lists that a dump has read already.
#[derive(Default)]
struct Reader {
    masks: HashMap<u8, Option<CardKey>>,
    actions: HashMap<u32, Option<Vec<u8>>>,
}

/// Fails unless the command was successful.
fn succeeded(completion: CardCompletion) -> Result<CardCompletion, Error> {
    match completion.status {
        Ok(CommandStatus::Ok) => Ok(completion),
        status => Err(Error::Unusable(format!("the card answers {status:?}"))),
    }
}
