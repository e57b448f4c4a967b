//! The card's memory: entries, masks, action lists, counters. It checks the host's commands as
//! `docs/fpga-abi.md` says, and more strictly than hardware would.

use std::sync::Arc;

use flow::Counters;

use crate::action::{CardAction, decode};
use crate::int::to_u32;
use crate::key::{CardKey, KEY_BYTES, masked};
use crate::register::CardCapabilities;
use crate::ring::command::{CardTable, CounterId};
use crate::ring::record::CommandStatus;
use crate::toeplitz::Toeplitz;

/// A live entry.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) mask_id: u8,
    pub(super) key: CardKey,
    /// The mask of the masked row, or of the mask slot of an exact-match entry.
    pub(super) mask: CardKey,
    pub(super) cookie: u128,
    pub(super) generation: u32,
    pub(super) action: u32,
    pub(super) counter: CounterId,
}

#[derive(Clone)]
pub(super) struct ActionSlot {
    pub(super) bytes: Vec<u8>,
    pub(super) list: Arc<[CardAction]>,
    users: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Counter {
    pub(super) generation: u8,
    live: bool,
    pub(super) value: Counters,
}

struct MaskSlot {
    mask: CardKey,
    users: u32,
}

/// All tables of a card.
pub(super) struct Tables {
    pub(super) caps: CardCapabilities,
    exact: Vec<Option<Box<Entry>>>,
    rows: Vec<Option<Box<Entry>>>,
    masks: Vec<Option<MaskSlot>>,
    actions: Vec<Option<ActionSlot>>,
    pub(super) counters: Vec<Counter>,
    pub(super) toeplitz: Toeplitz,
    pub(super) exact_used: u32,
    pub(super) rows_used: u32,
    pub(super) high_water: u32,
}

/// The effect of a flipped bit on an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The entry is not live any more. Its counter keeps its value; its mask and list lose a user.
    Lost,
    /// The lowest bit of the entry's cookie is flipped.
    Renamed,
}

impl Tables {
    pub(super) fn new(caps: &CardCapabilities) -> Tables {
        let counter = Counter { generation: 0, live: false, value: Counters::default() };
        let empty = |count: u32| (0..count).map(|_| None).collect();
        Tables {
            caps: caps.clone(),
            exact: empty(caps.em_slots()),
            rows: empty(caps.rows),
            masks: (0..caps.masks).map(|_| None).collect(),
            actions: vec![None; caps.action_slots as usize],
            counters: vec![counter; caps.counters as usize],
            toeplitz: Toeplitz::new(&[[0; _]; 2]),
            exact_used: 0,
            rows_used: 0,
            high_water: 0,
        }
    }

    /// Empties all tables at a reset.
    pub(super) fn clear(&mut self) {
        *self = Tables::new(&self.caps);
    }

    pub(super) fn masks_used(&self) -> u32 {
        to_u32(self.masks.iter().flatten().count())
    }

    fn slot_mut(
        &mut self,
        table: CardTable,
        slot: u32,
    ) -> Result<&mut Option<Box<Entry>>, CommandStatus> {
        let slots = match table {
            CardTable::Exact => &mut self.exact,
            CardTable::Rows => &mut self.rows,
        };
        slots.get_mut(slot as usize).ok_or(CommandStatus::Range)
    }

    pub(super) fn slot(
        &self,
        table: CardTable,
        slot: u32,
    ) -> Result<Option<&Entry>, CommandStatus> {
        let slots = match table {
            CardTable::Exact => &self.exact,
            CardTable::Rows => &self.rows,
        };
        slots.get(slot as usize).map(Option::as_deref).ok_or(CommandStatus::Range)
    }

    /// Returns true if an entry belongs in this place.
    fn placed_right(&self, entry: &Entry, slot: u32) -> bool {
        let hashes = self.toeplitz.hashes(&entry.key, entry.mask_id);
        let side = usize::from(slot >= self.caps.em_slots() / 2);
        let bucket = slot % (self.caps.em_slots() / 2) / self.caps.ways;
        hashes[side] & (self.caps.buckets - 1) == bucket
    }

    /// Executes ENTRY_WRITE.
    pub(super) fn write(
        &mut self,
        table: CardTable,
        slot: u32,
        mut entry: Entry,
    ) -> Result<(), CommandStatus> {
        if self.slot(table, slot)?.is_some() {
            return Err(CommandStatus::Exists);
        }
        if table == CardTable::Exact {
            let mask = self.masks.get(usize::from(entry.mask_id)).ok_or(CommandStatus::Range)?;
            entry.mask = mask.as_ref().ok_or(CommandStatus::NoEntry)?.mask;
            if !self.placed_right(&entry, slot) {
                return Err(CommandStatus::Hash);
            }
        }
        if masked(&entry.key, &entry.mask) != entry.key {
            return Err(CommandStatus::Invalid);
        }
        self.claim(entry.action, entry.counter)?;
        if table == CardTable::Exact {
            if let Some(Some(mask)) = self.masks.get_mut(usize::from(entry.mask_id)) {
                mask.users += 1;
            }
            self.exact_used += 1;
            self.high_water = self.high_water.max(self.exact_used);
        } else {
            self.rows_used += 1;
        }
        *self.slot_mut(table, slot)? = Some(Box::new(entry));
        Ok(())
    }

    /// Takes an action list and a counter into use; if it fails, neither is taken.
    fn claim(&mut self, action: u32, counter: CounterId) -> Result<(), CommandStatus> {
        let list = self.actions.get_mut(action as usize).ok_or(CommandStatus::Range)?;
        let list = list.as_mut().ok_or(CommandStatus::NoEntry)?;
        let cell = self.counters.get_mut(counter.index as usize).ok_or(CommandStatus::Range)?;
        if cell.live {
            return Err(CommandStatus::Busy);
        }
        list.users += 1;
        *cell = Counter { generation: counter.generation, live: true, value: Counters::default() };
        Ok(())
    }

    /// Gives an action list and a counter back; returns the final counter.
    fn release(&mut self, action: u32, counter: CounterId) -> Counters {
        if let Some(Some(list)) = self.actions.get_mut(action as usize) {
            list.users -= 1;
        }
        let cell = &mut self.counters[counter.index as usize];
        cell.live = false;
        cell.value
    }

    /// Returns the entry of a slot if the entry has this cookie.
    fn owned(&self, table: CardTable, slot: u32, cookie: u128) -> Result<&Entry, CommandStatus> {
        let entry = self.slot(table, slot)?;
        entry.filter(|entry| entry.cookie == cookie).ok_or(CommandStatus::NoEntry)
    }

    /// Executes ENTRY_MOVE.
    pub(super) fn move_entry(&mut self, to: u32, from: u32) -> Result<(), CommandStatus> {
        if self.slot(CardTable::Exact, to)?.is_some() {
            return Err(CommandStatus::Exists);
        }
        let entry = self.slot(CardTable::Exact, from)?.ok_or(CommandStatus::NoEntry)?.clone();
        if !self.placed_right(&entry, to) {
            return Err(CommandStatus::Hash);
        }
        *self.slot_mut(CardTable::Exact, to)? = Some(Box::new(entry));
        *self.slot_mut(CardTable::Exact, from)? = None;
        Ok(())
    }

    /// Executes ENTRY_REPLACE; returns the old counter and its final value.
    pub(super) fn replace(
        &mut self,
        (table, slot): (CardTable, u32),
        (cookie, generation): (u128, u32),
        (action, counter): (u32, CounterId),
    ) -> Result<(CounterId, Counters), CommandStatus> {
        let old = self.owned(table, slot, cookie)?.clone();
        self.claim(action, counter)?;
        if let Some(entry) = self.slot_mut(table, slot)? {
            (entry.action, entry.counter, entry.generation) = (action, counter, generation);
        }
        Ok((old.counter, self.release(old.action, old.counter)))
    }

    /// Executes ENTRY_CLEAR; returns the counter and its final value.
    pub(super) fn clear_entry(
        &mut self,
        table: CardTable,
        slot: u32,
        cookie: u128,
    ) -> Result<(CounterId, Counters), CommandStatus> {
        let old = self.owned(table, slot, cookie)?.clone();
        *self.slot_mut(table, slot)? = None;
        if table == CardTable::Exact {
            self.exact_used -= 1;
            if let Some(Some(mask)) = self.masks.get_mut(usize::from(old.mask_id)) {
                mask.users -= 1;
            }
        } else {
            self.rows_used -= 1;
        }
        Ok((old.counter, self.release(old.action, old.counter)))
    }

    /// Damages the entry with this cookie, if there is one.
    pub(super) fn damage(&mut self, cookie: u128, damage: Damage) {
        let is = |slot: &Option<Box<Entry>>| slot.as_ref().is_some_and(|e| e.cookie == cookie);
        let exact = self.exact.iter().position(is).map(|slot| (CardTable::Exact, slot));
        let row = || self.rows.iter().position(is).map(|slot| (CardTable::Rows, slot));
        let Some((table, slot)) = exact.or_else(row) else { return };
        match damage {
            // The entry was found just above, so clearing it can't fail.
            Damage::Lost => drop(self.clear_entry(table, to_u32(slot), cookie)),
            Damage::Renamed => {
                if let Ok(Some(entry)) = self.slot_mut(table, to_u32(slot)) {
                    entry.cookie ^= 1;
                }
            }
        }
    }

    /// Executes MASK_WRITE.
    pub(super) fn write_mask(&mut self, id: u8, mask: CardKey) -> Result<(), CommandStatus> {
        match self.masks.get_mut(usize::from(id)).ok_or(CommandStatus::Range)? {
            Some(_) => Err(CommandStatus::Exists),
            free => {
                *free = Some(MaskSlot { mask, users: 0 });
                Ok(())
            }
        }
    }

    /// Executes MASK_CLEAR.
    pub(super) fn clear_mask(&mut self, id: u8) -> Result<(), CommandStatus> {
        let slot = self.masks.get_mut(usize::from(id)).ok_or(CommandStatus::Range)?;
        match slot {
            None => Err(CommandStatus::NoEntry),
            Some(mask) if mask.users > 0 => Err(CommandStatus::Busy),
            Some(_) => {
                *slot = None;
                Ok(())
            }
        }
    }

    pub(super) fn mask(&self, id: u8) -> Result<Option<&CardKey>, CommandStatus> {
        let slot = self.masks.get(usize::from(id)).ok_or(CommandStatus::Range)?;
        Ok(slot.as_ref().map(|slot| &slot.mask))
    }

    /// Executes ACT_WRITE.
    pub(super) fn write_action(&mut self, id: u32, bytes: &[u8]) -> Result<(), CommandStatus> {
        if bytes.len() > self.caps.action_bytes as usize {
            return Err(CommandStatus::Range);
        }
        let slot = self.actions.get_mut(id as usize).ok_or(CommandStatus::Range)?;
        if slot.as_ref().is_some_and(|slot| slot.users > 0) {
            return Err(CommandStatus::Busy);
        }
        let list = decode(bytes).ok_or(CommandStatus::Invalid)?;
        let ports = self.caps.ports;
        let wrong_port = |action: &CardAction| match action {
            CardAction::Output(port) => u32::from(*port) >= ports,
            _ => false,
        };
        if list.iter().any(wrong_port) {
            return Err(CommandStatus::Invalid);
        }
        *slot = Some(ActionSlot { bytes: bytes.to_vec(), list: list.into(), users: 0 });
        Ok(())
    }

    pub(super) fn action(&self, id: u32) -> Result<Option<&ActionSlot>, CommandStatus> {
        self.actions.get(id as usize).map(Option::as_ref).ok_or(CommandStatus::Range)
    }

    /// Executes FLUSH.
    pub(super) fn flush(&mut self) {
        self.exact.iter_mut().chain(&mut self.rows).for_each(|slot| *slot = None);
        self.masks.iter_mut().for_each(|mask| *mask = None);
        self.actions.iter_mut().flatten().for_each(|slot| slot.users = 0);
        self.counters.iter_mut().for_each(|counter| counter.live = false);
        (self.exact_used, self.rows_used) = (0, 0);
    }

    /// Returns the entry that a key hits.
    pub(super) fn lookup(&self, key: &CardKey) -> Option<&Entry> {
        for (id, slot) in (0..=u8::MAX).zip(&self.masks) {
            // A mask slot without entries can't hit; hardware probes it all the same.
            let Some(slot) = slot.as_ref().filter(|slot| slot.users > 0) else { continue };
            let under = masked(key, &slot.mask);
            let hashes = self.toeplitz.hashes(&under, id);
            for (side, hash) in (0u32..).zip(hashes) {
                let bucket = hash & (self.caps.buckets - 1);
                let first = side * (self.caps.em_slots() / 2) + bucket * self.caps.ways;
                let ways = &self.exact[first as usize..(first + self.caps.ways) as usize];
                let hit = ways.iter().flatten().find(|e| e.mask_id == id && e.key == under);
                if hit.is_some() {
                    return hit.map(|entry| &**entry);
                }
            }
        }
        if self.rows_used == 0 {
            return None;
        }
        let rows = self.rows.iter().flatten();
        rows.map(|row| &**row)
            .find(|row| (0..KEY_BYTES).all(|i| key[i] & row.mask[i] == row.key[i]))
    }

    /// Counts a packet on a counter, modulo its width.
    pub(super) fn count(&mut self, counter: CounterId, bytes: usize) {
        let modulo = |value: u64, bits: u32| value & ((1 << bits) - 1);
        let cell = &mut self.counters[counter.index as usize].value;
        cell.packets = modulo(cell.packets + 1, self.caps.packet_bits);
        cell.bytes = modulo(cell.bytes + bytes as u64, self.caps.byte_bits);
    }
}
