//! The card's flow table as a [`Provider`]: batches pipelined over the command ring, final
//! counters out of completions, statistics by DMA snapshot, dumps read back from the card.

mod apply;
mod complete;
mod pending;
mod read;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Admission, Completion, Counters, Cursor, Dumped, Generation, Megaflow, PortId, PortTraffic,
    Provider, ProviderError, ProviderEvent, Reason, Refusal, Stats, Subject, Submission, TableName,
    TableUsage, Ufid,
};

use crate::admission::CardAdmission;
use crate::channel::Channel;
use crate::error::Error;
use crate::key::CardKey;
use crate::register::words::port;
use crate::register::{CardCapabilities, PortWindow, RECEIVE_DROPS, Snap, TRANSMIT_DROPS};
use crate::ring::Consumer;
use crate::ring::command::{CardTable, CounterId};
use crate::ring::record::CommandStatus;
use crate::sys::Region;
use crate::table::{ActionSlots, CounterSlots, Cuckoo, EntryHandle, MaskSlots, RowSlots};
use crate::toeplitz::{Secret, Toeplitz};

use pending::Purpose;

/// The largest number of operations in flight.
const WINDOW: usize = 256;
/// Records that one ENTRY_READ may return.
pub(crate) const READBACK: u32 = 64;

/// Where snapshots go.
pub(crate) struct SnapshotBuffer {
    pub(crate) block: Snap,
    pub(crate) memory: Region,
}

/// Where an entry lives in the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Exact { slot: u32, mask_id: u8 },
    Row(u32),
}

impl Place {
    fn table(self) -> (CardTable, u32) {
        match self {
            Place::Exact { slot, .. } => (CardTable::Exact, slot),
            Place::Row(row) => (CardTable::Rows, row),
        }
    }
}

/// What the driver knows of an entry.
struct Entry {
    flow: Arc<Megaflow>,
    generation: Generation,
    key: CardKey,
    mask: CardKey,
    place: Place,
    action: u32,
    counter: CounterId,
    /// The card's counter as last seen, and the sum of its growth since the install.
    last: Counters,
    total: Counters,
    /// A command on it is in flight.
    busy: bool,
}

/// The card's flow table. Owned by one thread.
pub struct FpgaProvider {
    channel: Channel,
    events: Consumer,
    snapshot: SnapshotBuffer,
    /// Counters that the SNAP block is set to.
    snapshot_reach: u32,
    readback: Region,
    card: CardCapabilities,
    admission: Arc<CardAdmission>,
    toeplitz: Toeplitz,
    windows: Vec<(PortId, PortWindow)>,
    cuckoo: Cuckoo,
    rows: RowSlots,
    masks: MaskSlots,
    actions: ActionSlots,
    counters: CounterSlots,
    entries: Vec<Option<Entry>>,
    free: Vec<EntryHandle>,
    by_ufid: HashMap<Ufid, EntryHandle>,
    pending: VecDeque<Purpose>,
    /// Mask slots that the card is to clear.
    idle_masks: Vec<u8>,
    /// Completions that were not polled yet.
    done: Vec<Completion>,
    gone: Option<String>,
    told: bool,
}

impl FpgaProvider {
    #[allow(clippy::too_many_arguments, reason = "the driver's bring-up is the only caller")]
    pub(crate) fn new(
        channel: Channel,
        events: Consumer,
        snapshot: SnapshotBuffer,
        readback: Region,
        card: &CardCapabilities,
        admission: Arc<CardAdmission>,
        secrets: &[Secret; 2],
        windows: Vec<(PortId, PortWindow)>,
    ) -> FpgaProvider {
        FpgaProvider {
            channel,
            events,
            snapshot,
            snapshot_reach: 0,
            readback,
            admission,
            toeplitz: Toeplitz::new(secrets),
            windows,
            cuckoo: Cuckoo::new(card.buckets, card.ways),
            rows: RowSlots::new(card.rows),
            masks: MaskSlots::new(card.masks),
            actions: ActionSlots::new(card.action_slots),
            counters: CounterSlots::new(card.counters),
            card: card.clone(),
            entries: Vec::new(),
            free: Vec::new(),
            by_ufid: HashMap::new(),
            pending: VecDeque::new(),
            idle_masks: Vec::new(),
            done: Vec::new(),
            gone: None,
            told: false,
        }
    }

    fn entry(&self, handle: EntryHandle) -> Option<&Entry> {
        self.entries.get(handle as usize)?.as_ref()
    }

    fn entry_mut(&mut self, handle: EntryHandle) -> Option<&mut Entry> {
        self.entries.get_mut(handle as usize)?.as_mut()
    }

    /// A number for a new entry.
    fn new_handle(&mut self) -> EntryHandle {
        self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            crate::int::to_u32(self.entries.len() - 1)
        })
    }

    /// The card does not answer as a card does: it is not used any more.
    fn fail(&mut self, error: &Error) -> ProviderError {
        self.channel.device.distrust(error);
        let why = self.gone.get_or_insert_with(|| error.to_string());
        ProviderError::Gone(why.clone())
    }

    /// Begins a job, which has a limited time from now on.
    fn begin(&mut self) -> Result<(), ProviderError> {
        self.channel.budget.begin();
        self.alive()
    }

    fn alive(&self) -> Result<(), ProviderError> {
        match &self.gone {
            Some(why) => Err(ProviderError::Gone(why.clone())),
            None => Ok(()),
        }
    }

    /// Growth of a counter of the card since it was last seen, modulo its width.
    fn growth(&self, last: Counters, now: Counters) -> Counters {
        let part = |last: u64, now: u64, bits: u32| now.wrapping_sub(last) & ((1 << bits) - 1);
        Counters {
            packets: part(last.packets, now.packets, self.card.packet_bits),
            bytes: part(last.bytes, now.bytes, self.card.byte_bits),
        }
    }

    fn read_traffic(&mut self) -> Result<Vec<PortTraffic>, Error> {
        let drops = |window: &PortWindow, table: &[(&'static str, _, _)]| {
            let one = |(name, frames, bytes): &(&'static str, _, _)| {
                Ok((*name, window.counters(*frames, *bytes)?))
            };
            table.iter().map(one).collect::<Result<Vec<_>, Error>>()
        };
        self.channel.device.check()?;
        let one = |(port, window): &(PortId, PortWindow)| -> Result<PortTraffic, Error> {
            Ok(PortTraffic {
                port: *port,
                received: window.counters(port::RX_PACKETS, port::RX_BYTES)?,
                sent: window.counters(port::TX_PACKETS, port::TX_BYTES)?,
                to_host: window.counters(port::TO_HOST_PACKETS, port::TO_HOST_BYTES)?,
                from_host: window.counters(port::FROM_HOST_PACKETS, port::FROM_HOST_BYTES)?,
                receive_drops: drops(window, &RECEIVE_DROPS)?,
                transmit_drops: drops(window, &TRANSMIT_DROPS)?,
                deaf: false,
                exact: true,
            })
        };
        let mut all = Vec::with_capacity(self.windows.len());
        for window in &self.windows {
            let start = self.channel.budget.now();
            all.push(one(window)?);
            self.channel.budget.spend(start, "tell its ports' counters")?;
        }
        Ok(all)
    }
}

/// What a status of the card means to the caller.
fn error_of(status: Result<CommandStatus, u8>) -> ProviderError {
    let device = |text: String| {
        ProviderError::Unsupported(Refusal::new(Reason::Device, Subject::Card).said(text))
    };
    match status {
        Ok(CommandStatus::Exists) => ProviderError::Exists,
        Ok(CommandStatus::NoEntry) => ProviderError::NotFound,
        Ok(CommandStatus::NoSpace) => full(TableName::ExactMatch),
        Ok(CommandStatus::Busy | CommandStatus::Epoch | CommandStatus::Dma) => {
            ProviderError::Busy(format!("the card answers {status:?}"))
        }
        Ok(status) => device(format!("the card answers {status:?}")),
        Err(number) => device(format!("the card answers status {number}")),
    }
}

fn full(table: TableName) -> ProviderError {
    ProviderError::Full(Refusal::new(Reason::TableFull, table))
}

impl Provider for FpgaProvider {
    fn name(&self) -> &str {
        "fpga"
    }

    fn admission(&self) -> Arc<dyn Admission> {
        self.admission.clone()
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        let room = WINDOW.saturating_sub(self.done.len());
        let taken: Vec<Submission> = waiting.drain(..room.min(waiting.len())).collect();
        self.apply_batch(&taken);
    }

    fn poll(&mut self, _wait: Duration, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }

    fn stats(
        &mut self,
        _from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.begin()?;
        let seen = self.take_snapshot()?;
        let entries = seen.into_iter().filter_map(|handle| self.entry(handle));
        out.extend(entries.map(|entry| {
            let stats = Stats { counters: entry.total, used: None, tcp_flags: 0 };
            (entry.flow.ufid, stats)
        }));
        // After the reading, which so has all that a lost entry had counted. Where the card fails
        // only now, what was read counts all the same, and the next call tells of the failure.
        self.follow_losses();
        Ok(None)
    }

    fn dump(
        &mut self,
        _from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.dump_card(out).map(|()| None)
    }

    /// Opening a card resets it, so all that a dump can find is what this process installed.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let ours = |dumped: &&Dumped| {
            let entry = self.by_ufid.get(&dumped.ufid).and_then(|handle| self.entry(*handle));
            entry.is_some_and(|entry| entry.generation == dumped.generation)
        };
        found.iter().filter(ours).map(|dumped| dumped.ufid).collect()
    }

    fn tables(&self) -> Vec<TableUsage> {
        let usage = |table, entries: u32, capacity: u32| TableUsage {
            table,
            holds_megaflows: [TableName::ExactMatch, TableName::MaskedRows].contains(&table),
            entries: u64::from(entries),
            capacity: Some(u64::from(capacity)),
        };
        vec![
            usage(TableName::ExactMatch, self.cuckoo.used(), self.cuckoo.capacity()),
            usage(TableName::MaskedRows, self.rows.used(), self.rows.capacity()),
            usage(TableName::Masks, self.masks.used(), self.masks.capacity()),
            usage(TableName::Actions, self.actions.used(), self.actions.capacity()),
            usage(TableName::Counters, self.counters.used(), self.counters.capacity()),
        ]
    }

    fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        self.begin()?;
        self.read_traffic().map_err(|error| self.fail(&error))
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        if self.gone.is_none() {
            if let Err(error) = self.channel.device.check() {
                self.fail(&error);
            }
            // Errors show in STATE, snapshots in completions: events are hints to look.
            match self.events.waiting() {
                Ok(waiting) => self.events.advance(waiting),
                Err(error) => drop(self.fail(&error)),
            }
            if self.gone.is_none() {
                self.events.give_back(true);
            }
        }
        match &self.gone {
            Some(why) if !self.told => {
                self.told = true;
                vec![ProviderEvent::Gone(why.clone())]
            }
            _ => Vec::new(),
        }
    }
}
