//! The card's flow table as a [`Provider`]: operations pipelined over the command ring, final
//! counters out of completions, statistics by DMA snapshot, dumps read back from the card.

mod apply;
mod complete;
mod entries;
mod jobs;
mod pending;
mod read;
mod reading;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Admission, Completion, Counters, Cursor, Dumped, PortId, PortTraffic, Provider, ProviderError,
    ProviderEvent, Reason, Refusal, Stats, Subject, Submission, TableName, TableUsage, Ufid,
};

use crate::admission::CardAdmission;
use crate::channel::{COMPLETE, Channel};
use crate::error::Error;
use crate::register::words::port;
use crate::register::{CardCapabilities, PortWindow, RECEIVE_DROPS, Snap, TRANSMIT_DROPS};
use crate::ring::Consumer;
use crate::ring::command::CardCommand;
use crate::ring::record::{CardCompletion, CommandStatus};
use crate::sys::Region;
use crate::table::{ActionSlots, CounterSlots, Cuckoo, MaskSlots, RowSlots};
use crate::toeplitz::{Secret, Toeplitz};

use entries::Entries;
use jobs::Jobs;
use pending::Purpose;
use reading::CardReading;

/// The largest number of operations in flight.
const WINDOW: usize = 256;
/// The number of commands that an operation usually takes at most: for its actions, its mask, a
/// move, and its entry.
const USUAL_COMMANDS: usize = 4;
/// Records that one ENTRY_READ may return.
pub(crate) const READBACK: u32 = 64;

/// Where snapshots go.
pub(crate) struct SnapshotBuffer {
    pub(crate) block: Snap,
    pub(crate) memory: Region,
    /// The number of counters that the block is set to, from the first one on.
    pub(crate) reach: u32,
}

/// What a provider gets from the bring-up of a card.
pub(crate) struct CardParts {
    pub(crate) channel: Channel<Purpose>,
    pub(crate) events: Consumer,
    pub(crate) snapshot: SnapshotBuffer,
    pub(crate) readback: Region,
    pub(crate) secrets: [Secret; 2],
    pub(crate) windows: Vec<(PortId, PortWindow)>,
}

/// Opens a card again.
pub(crate) type Reopen = Box<dyn FnMut() -> Result<CardParts, Error> + Send>;

/// The card's flow table. Owned by one thread.
pub struct FpgaProvider {
    channel: Channel<Purpose>,
    events: Consumer,
    snapshot: SnapshotBuffer,
    readback: Region,
    card: CardCapabilities,
    admission: Arc<CardAdmission>,
    toeplitz: Toeplitz,
    windows: Vec<(PortId, PortWindow)>,
    reopen: Reopen,
    cuckoo: Cuckoo,
    rows: RowSlots,
    masks: MaskSlots,
    actions: ActionSlots,
    counters: CounterSlots,
    entries: Entries,
    jobs: Jobs,
    /// Mask slots that the card is to clear.
    idle_masks: Vec<u8>,
    /// The number of entries so far.
    serial: u64,
    /// The number of snapshots in flight, at most 1.
    snapshots: usize,
    /// The completion of the command that is waited for.
    called: Option<CardCompletion>,
    /// The time at which the job that waits for the card has to be done.
    limit: Duration,
    reading: CardReading,
    gone: Option<String>,
    told: bool,
}

impl FpgaProvider {
    pub(crate) fn new(
        parts: CardParts,
        card: &CardCapabilities,
        admission: Arc<CardAdmission>,
        reopen: Reopen,
    ) -> FpgaProvider {
        FpgaProvider {
            channel: parts.channel,
            events: parts.events,
            snapshot: parts.snapshot,
            readback: parts.readback,
            admission,
            toeplitz: Toeplitz::new(&parts.secrets),
            windows: parts.windows,
            reopen,
            cuckoo: Cuckoo::new(card.buckets, card.ways),
            rows: RowSlots::new(card.rows),
            masks: MaskSlots::new(card.masks),
            actions: ActionSlots::new(card.action_slots),
            counters: CounterSlots::new(card.counters),
            card: card.clone(),
            entries: Entries::default(),
            jobs: Jobs::default(),
            idle_masks: Vec::new(),
            serial: 0,
            snapshots: 0,
            called: None,
            limit: Duration::ZERO,
            reading: CardReading::default(),
            gone: None,
            told: false,
        }
    }

    /// The card does not answer as a card does: it is not used any more.
    fn fail(&mut self, error: &Error) -> ProviderError {
        self.channel.device.distrust(error);
        let why = self.gone.get_or_insert_with(|| error.to_string()).clone();
        let gone = ProviderError::Gone(why);
        self.jobs.end_all(&gone);
        gone
    }

    /// Begins a job that waits for the card, which has a limited time from now on.
    fn begin(&mut self) -> Result<(), ProviderError> {
        self.alive()?;
        self.channel.time.look();
        self.limit = self.channel.time.job(0);
        Ok(())
    }

    /// Works on what is in flight, without waiting.
    fn work(&mut self) {
        if self.gone.is_none()
            && let Err(error) = self.advance()
        {
            self.fail(&error);
        }
    }

    fn advance(&mut self) -> Result<(), Error> {
        let time = self.channel.time.look();
        self.harvest()?;
        self.channel.ring()?;
        self.clear_masks()?;
        self.begin_jobs()?;
        self.channel.ring()?;
        self.channel.check(time)?;
        if self.jobs.is_late(time) { self.channel.late(COMPLETE) } else { Ok(()) }
    }

    /// Waits until something is so, and handles the completions that come meanwhile.
    fn wait_until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<(), Error> {
        loop {
            let time = self.channel.time.look();
            self.harvest()?;
            if is_so(self) {
                return Ok(());
            }
            self.channel.ring()?;
            self.channel.check(time)?;
            if self.limit <= time {
                return self.channel.late(COMPLETE);
            }
            self.channel.nap(Duration::MAX)?;
        }
    }

    /// Executes a command and waits for its completion, of any status.
    fn execute(&mut self, command: CardCommand) -> Result<CardCompletion, Error> {
        self.limit = self.channel.time.extended(self.limit);
        self.channel.send(command, Purpose::Call)?;
        self.wait_until(|provider| provider.called.is_some())?;
        self.called.take().ok_or(Error::Timeout(COMPLETE))
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
            all.push(one(window)?);
            if self.limit <= self.channel.time.look() {
                self.channel.late("tell its ports' counters")?;
            }
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
        self.channel.time.look();
        let room = WINDOW.saturating_sub(self.jobs.len()).min(waiting.len());
        for submission in waiting.drain(..room) {
            let due = self.channel.time.job((self.jobs.open() + 1) * USUAL_COMMANDS);
            self.jobs.take(submission, due);
        }
        self.work();
        if let Err(gone) = self.alive() {
            self.jobs.end_all(&gone);
        }
    }

    fn poll(&mut self, wait: Duration, done: &mut Vec<Completion>) {
        self.work();
        let (start, mut left) = (self.channel.time.now(), wait);
        while !self.jobs.has_done() && self.jobs.open() > 0 && !left.is_zero() {
            match self.channel.nap(left) {
                // The clock of a test may stand still.
                Ok(slept) => left -= slept,
                Err(error) => drop(self.fail(&error)),
            }
            self.work();
            left = left.min(wait.saturating_sub(self.channel.time.now().since(start)));
        }
        self.jobs.deliver(done);
    }

    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.begin()?;
        self.stats_part(from, out).map_err(|error| self.fail(&error))
    }

    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.begin()?;
        self.dump_part(from, out).map_err(|error| self.fail(&error))
    }

    /// Opening a card resets it, so all that a dump can find is what this process installed.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let ours = |dumped: &&Dumped| {
            let entry = self.entries.of(dumped.ufid);
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

    /// The tables of the card are empty then.
    fn reopen(&mut self) -> Result<(), ProviderError> {
        let gone = |error: Error| ProviderError::Gone(error.to_string());
        let parts = (self.reopen)().map_err(gone)?;
        let mut jobs = std::mem::take(&mut self.jobs);
        jobs.end_all(&ProviderError::Gone("the card is opened again".into()));
        let reopen = std::mem::replace(&mut self.reopen, Box::new(|| Err(Error::Gone)));
        *self = FpgaProvider::new(parts, &self.card, self.admission.clone(), reopen);
        self.jobs = jobs;
        Ok(())
    }

    fn close(&mut self) -> Result<(), ProviderError> {
        self.begin()?;
        self.flush().map_err(|error| self.fail(&error))
    }
}
