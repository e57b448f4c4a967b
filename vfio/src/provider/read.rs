//! Reading the card: counter snapshots, and entries as they stand in its tables.

use std::collections::{HashMap, HashSet};

use flow::{Counters, Dumped, Generation, ProviderError, Stats, Ufid};

use super::{Entry, FpgaProvider, READBACK};
use crate::admission::CardEntry;
use crate::error::Error;
use crate::int::{to_u32, to_usize};
use crate::key::CardKey;
use crate::ring::command::{COMMAND_BYTES, CardCommand, CardOpcode, CardTable, CounterId, command};
use crate::ring::record::{RECORD_BYTES, SnapshotHeader, WORD_BYTES, snapshot_counter};
use crate::table::EntryHandle;

/// Smallest range of a snapshot, so that the SNAP block is rarely set anew.
const SNAPSHOT_STEP: u32 = 256;

impl FpgaProvider {
    /// Takes a snapshot and adds what entries have counted since the last one; returns those
    /// that were in it. Nothing may be in flight.
    pub(super) fn take_snapshot(&mut self) -> Result<Vec<EntryHandle>, ProviderError> {
        self.alive()?;
        match self.snapshot_words() {
            Ok(seen) => Ok(seen),
            Err(error) => Err(self.fail(&error)),
        }
    }

    fn snapshot_words(&mut self) -> Result<Vec<EntryHandle>, Error> {
        let reach = self.counters.reach().next_multiple_of(SNAPSHOT_STEP).min(self.card.counters);
        let reach = reach.max(1);
        if reach != self.snapshot_reach {
            self.snapshot.block.set(self.snapshot.memory.iova(), 0, reach);
            self.snapshot_reach = reach;
        }
        let ticket = self.counters.request();
        let completion = self.channel.call(CardCommand::new(CardOpcode::SnapNow))?;
        let mut header = [0; RECORD_BYTES];
        self.snapshot.memory.read(0, &mut header);
        let header = SnapshotHeader::of(&header)
            .filter(|h| h.sequence == completion.counter && (h.first, h.count) == (0, reach))
            .ok_or_else(|| Error::Unusable("a torn snapshot".into()))?;
        let mut words = vec![0; header.count as usize * WORD_BYTES];
        self.snapshot.memory.read(RECORD_BYTES, &mut words);
        let mut seen = Vec::with_capacity(self.by_ufid.len());
        for word in words.chunks_exact(WORD_BYTES) {
            let (id, now) = snapshot_counter(word);
            // A counter of no megaflow, or a late word of a generation that is over, has no owner.
            let Some(handle) = self.counters.owner(id) else { continue };
            let Some(entry) = self.entry(handle).filter(|entry| entry.counter == id) else {
                continue;
            };
            let growth = self.growth(entry.last, now);
            if let Some(entry) = self.entry_mut(handle) {
                entry.total += growth;
                entry.last = now;
            }
            seen.push(handle);
        }
        self.counters.snapshot_done(ticket);
        Ok(seen)
    }

    /// All entries, read slot by slot from the card.
    pub(super) fn dump_card(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        self.begin()?;
        match self.read_tables() {
            Ok(found) => {
                out.extend(found);
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    fn read_tables(&mut self) -> Result<Vec<Dumped>, Error> {
        let mut reader = Reader::default();
        let mut found = Vec::new();
        self.each_entry(|provider, table, record| {
            found.push(provider.dumped(table, record, &mut reader)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads both tables of the card, slot by slot.
    fn each_entry(
        &mut self,
        mut take: impl FnMut(&mut Self, CardTable, &CardCommand) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (table, slots) in
            [(CardTable::Exact, self.cuckoo.capacity()), (CardTable::Rows, self.rows.capacity())]
        {
            let mut first = 0;
            while first < slots {
                let count = READBACK.min(slots - first);
                let read = CardCommand::new(CardOpcode::EntryRead).slot(table, first).slot2(count);
                let mut next = first;
                for record in self.read_back(read, count)? {
                    let slot = record.get32(command::SLOT);
                    if !(next..first + count).contains(&slot) {
                        let why = format!("entry {slot} read back; expected {next} or later");
                        return Err(Error::Unusable(why));
                    }
                    next = slot + 1;
                    take(self, table, &record)?;
                }
                first += count;
            }
        }
        Ok(())
    }

    /// Forgets entries that the card has lost, so that the next snapshot leaves them out, and
    /// clears those that nobody knows. Nothing may be in flight. The tables are read only where
    /// their sizes are not what is believed.
    pub(super) fn follow_losses(&mut self) {
        match self.lost_entries() {
            Ok(lost) => lost.into_iter().for_each(|handle| self.follow_loss(handle)),
            Err(error) => {
                self.fail(&error);
            }
        }
    }

    fn lost_entries(&mut self) -> Result<Vec<EntryHandle>, Error> {
        let (used, believed) =
            (self.channel.device.entries_used()?, (self.cuckoo.used(), self.rows.used()));
        if used == believed {
            return Ok(Vec::new());
        }
        let (mut there, mut strays) = (HashSet::new(), Vec::new());
        self.each_entry(|provider, table, record| {
            let (ufid, slot) = (Ufid(record.get_cookie()), record.get32(command::SLOT));
            let handle = provider.by_ufid.get(&ufid).copied();
            let entry = handle.and_then(|handle| provider.entry(handle));
            if entry.is_some_and(|entry| entry.place.table() == (table, slot)) {
                there.insert(ufid);
            } else {
                let generation = record.get32(command::GENERATION);
                let clear = CardCommand::new(CardOpcode::EntryClear).slot(table, slot);
                strays.push(clear.cookie(ufid.0, generation));
            }
            Ok(())
        })?;
        // These entries belong to no megaflow and stand where others may be placed.
        let has_no_strays = strays.is_empty();
        for clear in strays {
            self.channel.execute(clear)?;
        }
        let lost = self.by_ufid.iter().filter(|(ufid, _)| !there.contains(ufid));
        let lost: Vec<EntryHandle> = lost.map(|(_, handle)| *handle).collect();
        if lost.is_empty() && has_no_strays {
            let why = format!("the tables' fill is {used:?}; they hold {believed:?} entries");
            return Err(Error::Unusable(why));
        }
        Ok(lost)
    }

    /// Executes a command that writes at most `most` records back.
    fn read_back(&mut self, read: CardCommand, most: u32) -> Result<Vec<CardCommand>, Error> {
        // A record of an earlier command is not to be taken for one of this.
        for index in 0..to_usize(u64::from(most)) {
            self.readback.write(index * COMMAND_BYTES, &[0; COMMAND_BYTES]);
        }
        let completion = self.channel.call(read.address(self.readback.iova()))?;
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

    fn dumped(
        &mut self,
        table: CardTable,
        record: &CardCommand,
        reader: &mut Reader,
    ) -> Result<Dumped, Error> {
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
        let ufid = Ufid(record.get_cookie());
        let generation = Generation(record.get32(command::GENERATION));
        let counter = CounterId::of(record.get32(command::CNT));
        let now = Counters {
            packets: command::PACKETS.get(&record.bytes),
            bytes: command::BYTES.get(&record.bytes),
        };
        let ours = self.by_ufid.get(&ufid).and_then(|handle| self.entry(*handle));
        let ours = ours.filter(|entry| entry.counter == counter);
        let counters = ours.map_or(now, |entry| entry.total + self.growth(entry.last, now));
        let flow = card.and_then(|card| match ours {
            // The card holds exactly what this megaflow is: give it in its own words (a match on
            // a field that is always 0 has no place in the card).
            Some(entry) if self.is(entry, &card) => Some(entry.flow.clone()),
            _ => self.admission.decode(&card).map(std::sync::Arc::new),
        });
        let stats = Stats { counters, ..Stats::default() };
        Ok(Dumped { ufid, generation, flow, stats, active: true })
    }

    fn is(&self, entry: &Entry, card: &CardEntry) -> bool {
        (entry.key, entry.mask) == (card.key, card.mask)
            && self.actions.list(entry.action) == card.actions
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
