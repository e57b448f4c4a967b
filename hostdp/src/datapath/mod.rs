//! The host datapath of one worker thread: ports in, table, actions, ports out.
//!
//! A datapath is single-threaded and has no clock: its owner passes the time in. Per burst: keys →
//! classifier → groups with the same actions → actions → a burst per port.

mod books;
mod executor;
mod in_flight;
mod ports;
mod snapshot;
#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use flow::packet;
use flow::{Action, Actions, Counters, Key, Moment, PortId};
use smallvec::SmallVec;

use crate::drops::DropReason;
use crate::ledger::{Ledger, Origin, OriginRun};
use crate::port::{BURST, Batch, Frame, PacketPool, Port, PortError, Taken};
use crate::program::Program;
use crate::table::FlowTable;
use crate::upcall::{
    PendingUpcall, QueuedUpcall, Resolution, UpcallId, UpcallLimits, Upcalls, Waiting,
};
use books::DatapathBooks;
use executor::{Executor, Exits, Recirculated};
use in_flight::ETHERNET_HEADER;
use ports::Ports;

pub use snapshot::{DatapathSnapshot, PortSnapshot};

/// The settings of a datapath, which are fixed when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatapathSettings {
    /// Seed of the hashes and of the sample action's dice. The seed should be secret if somebody
    /// else sends the packets.
    pub seed: u64,
    /// Largest number of megaflows.
    pub flow_limit: usize,
    /// Limits of the upcalls.
    pub upcalls: UpcallLimits,
    /// Recirculations in a row that a packet may make; OVS allows 8.
    pub recirc_limit: usize,
    /// Recirculations that a received packet and all its copies may make together. The kernel has a
    /// similar limit on the deferred actions of a packet, because copies multiply.
    pub deferred_limit: usize,
}

impl Default for DatapathSettings {
    fn default() -> DatapathSettings {
        DatapathSettings {
            seed: 0,
            flow_limit: 1 << 20,
            upcalls: UpcallLimits::default(),
            recirc_limit: 8,
            deferred_limit: 64,
        }
    }
}

/// The parts that packets pass through, and the packets' way between them. Each part keeps its own
/// data; what happens to a packet goes into the books here or in the part that does it.
pub struct Datapath {
    config: DatapathSettings,
    ports: Ports,
    table: FlowTable,
    upcalls: Upcalls,
    executor: Executor,
    books: DatapathBooks,
    /// The frames of the current burst; kept for its allocation.
    batch: Batch,
    /// The slots that the keys of a burst hit; kept for its allocation.
    found: Vec<Option<u32>>,
    /// The packets of a burst by what is done to them; kept for its allocation.
    groups: Vec<Group>,
}

/// Packets of a burst whose megaflows have the same actions, in the order in which they came.
struct Group {
    program: u32,
    /// The numbers of the packets.
    packets: Vec<usize>,
    what: Counters,
}

impl Datapath {
    /// A datapath without ports and megaflows.
    #[must_use]
    pub fn new(config: DatapathSettings) -> Datapath {
        Datapath {
            config,
            ports: Ports::default(),
            table: FlowTable::new(config.seed, config.flow_limit),
            upcalls: Upcalls::new(config.seed, config.upcalls),
            executor: Executor::new(config.seed, config.recirc_limit, config.deferred_limit),
            books: DatapathBooks::new(config.recirc_limit),
            batch: Batch::new(),
            found: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// The datapath's settings.
    #[must_use]
    pub fn config(&self) -> &DatapathSettings {
        &self.config
    }

    /// The flow table; it is the provider named `host`.
    pub fn table(&mut self) -> &mut FlowTable {
        &mut self.table
    }

    /// Adds a port under a number; number and name must be free.
    pub fn add_port(&mut self, id: PortId, port: Box<dyn Port>) -> Result<(), PortError> {
        self.ports.add(id, port)?;
        self.upcalls.add_port(id);
        self.books.add_port(id);
        Ok(())
    }

    /// Removes a port and returns it; `None` if no port has the number. The port's packets that
    /// wait for answers are dropped; megaflows that name the port stay.
    pub fn remove_port(&mut self, id: PortId) -> Option<Box<dyn Port>> {
        let port = self.ports.remove(id)?;
        self.books.remove_port(id);
        for pending in self.upcalls.remove_port(id) {
            self.drop_pending(pending, DropReason::PortRemoved);
        }
        Some(port)
    }

    /// The ports and their states, by number.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &dyn Port)> {
        self.ports.iter()
    }

    /// Lets the ports check their devices, and drops packets that waited too long for an answer.
    /// Callers call this a few times a second.
    pub fn check(&mut self, now: Moment) {
        self.ports.check(&mut self.books);
        for pending in self.upcalls.expire(now) {
            self.drop_pending(pending, DropReason::PendingTimeout);
        }
    }

    /// Prepares for a sleep until one of the ports is readable; true if some port has no
    /// descriptor to sleep on and has to be polled instead.
    pub fn arm(&mut self) -> bool {
        self.ports.arm()
    }

    /// Descriptors that become readable when a port has packets.
    #[must_use]
    pub fn readable(&self) -> Vec<BorrowedFd<'_>> {
        self.ports.readable()
    }

    /// Processes one burst from every port; returns the number of packets.
    pub fn poll(&mut self, now: Moment) -> usize {
        let mut batch = std::mem::take(&mut self.batch);
        let mut count = 0;
        let mut next = self.ports.first();
        while let Some(id) = next {
            self.ports.receive(id, &mut batch);
            count += batch.frames().len();
            if !batch.is_empty() {
                self.process(id, &mut batch, now);
            }
            next = self.ports.after(id);
        }
        self.batch = batch;
        count
    }

    /// Forwards the frames that a port received, and sends the resulting frames. Empties the batch.
    pub fn process(&mut self, port: PortId, batch: &mut Batch, now: Moment) {
        let Taken { frames, dropped, pool } = batch.take();
        self.executor.begin_burst();
        for (reason, what) in dropped {
            self.books.received(port, Origin::Fresh, what);
            self.books.dropped(port, reason, Origin::Fresh, what);
        }
        let mut packets = self.executor.numbers();
        let mut received = OriginRun::new();
        for frame in frames {
            let origin = if frame.continued { Origin::Continued } else { Origin::Fresh };
            let what = frame.packet.counters();
            if let Some(run) = received.add(origin, what) {
                self.books.received(port, run.origin, run.sum);
            }
            if what.bytes < ETHERNET_HEADER as u64 {
                self.books.dropped(port, DropReason::Malformed, origin, what);
                pool.keep(frame.packet);
                continue;
            }
            packets.push(self.executor.arrive(frame, port, origin));
        }
        self.books.received(port, received.origin, received.sum);
        self.look_up(packets, 0, now, pool);
        self.execute_all(now, pool);
        self.ports.flush(&mut self.books, pool);
    }

    /// Processes a frame as if the port had received it; returns false if no such port exists.
    pub fn receive(&mut self, port: PortId, frame: &[u8], now: Moment) -> bool {
        if !self.ports.has(port) {
            return false;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let packet = batch.packet(frame);
        batch.push(Frame::fresh(packet));
        self.process(port, &mut batch, now);
        self.batch = batch;
        true
    }

    /// Carries out actions on a frame that the caller gives, as if it had come in by `in_port`. The
    /// frame was not received: the ledger leaves it out, [`DatapathSnapshot::injected`] counts it.
    pub fn execute(&mut self, frame: &[u8], in_port: PortId, actions: &Actions, now: Moment) {
        let what = Counters::packet(frame.len());
        self.books.injected(what);
        if frame.len() < ETHERNET_HEADER {
            return self.books.dropped(in_port, DropReason::Malformed, Origin::Counted, what);
        }
        let key = Key { in_port: in_port.0, ..packet::extract(frame) };
        if !self.can_execute(&key, actions) {
            return self.books.dropped(in_port, DropReason::Client, Origin::Counted, what);
        }
        self.with_pool(|datapath, pool| {
            datapath.executor.begin_burst();
            let packet = datapath.executor.start(pool.packet(frame), key, Origin::Counted);
            let program = Arc::new(Program::new(actions.clone()));
            datapath.executor.push(program, vec![packet], what, 0);
            datapath.execute_all(now, pool);
            datapath.ports.flush(&mut datapath.books, pool);
        });
    }

    /// Calls the function with the memory of packets.
    fn with_pool(&mut self, call: impl FnOnce(&mut Datapath, &mut PacketPool)) {
        let mut batch = std::mem::take(&mut self.batch);
        call(self, batch.take().pool);
        self.batch = batch;
    }

    /// At most `max` upcalls for the client: queues in turn, each in order.
    pub fn next_upcalls(&mut self, max: usize) -> Vec<QueuedUpcall> {
        self.upcalls.next(max)
    }

    /// Number of upcalls that were handed out and not answered yet, and of those in the queues.
    #[must_use]
    pub fn upcalls_waiting(&self) -> (usize, usize) {
        (self.upcalls.outstanding(), self.upcalls.queued())
    }

    /// Answers an upcall, so that its packets go on. Returns false if no packet waits any more.
    pub fn resolve(&mut self, id: UpcallId, resolution: &Resolution, now: Moment) -> bool {
        let Some(pending) = self.upcalls.take(id) else { return false };
        self.with_pool(|datapath, pool| {
            match resolution {
                Resolution::Reinject => datapath.reinject(pending, now, pool),
                Resolution::Execute(actions) if datapath.can_execute(&pending.key, actions) => {
                    datapath.execute_pending(pending, actions, now, pool);
                }
                Resolution::Execute(_) | Resolution::Drop => {
                    datapath.drop_pending(pending, DropReason::Client);
                }
            }
            datapath.ports.flush(&mut datapath.books, pool);
        });
        true
    }

    /// What became of all packets received so far; exact whenever no call is under way.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.books.ledger
    }

    /// Counts a step of the owner's that was not forwarding, with its time. The datapath has no
    /// clock.
    pub fn stepped(&mut self, took: Duration) {
        self.books.steps.observe_duration(took);
    }

    /// All counters as they are now.
    #[must_use]
    pub fn snapshot(&self) -> DatapathSnapshot {
        let ports = self.ports.iter().map(|(id, port)| {
            let book = self.books.port(id);
            PortSnapshot {
                id,
                name: port.name().into(),
                kind: port.kind(),
                state: port.state(),
                trouble: port.trouble().map(str::to_owned),
                way: port.way(),
                queues: vec![port.queues()],
                mtu: port.mtu(),
                received: book.received,
                continued: book.continued,
                sent: book.sent,
                receive_drops: book.receive_drops,
                transmit_drops: book.transmit_drops,
                queue: self.upcalls.port(id),
            }
        });
        DatapathSnapshot {
            ledger: self.books.ledger,
            ends: self.books.ends,
            drops: self.books.drops,
            explicit_drops: self.books.explicit_drops,
            injected: self.books.injected,
            lookups_at_depth: self.books.lookups_at_depth.clone(),
            steps: self.books.steps.clone(),
            lookups: self.table.lookups(),
            flows: self.table.len(),
            masks: self.table.masks(),
            upcalls_outstanding: self.upcalls.outstanding(),
            special_queue: self.upcalls.special(),
            ports: ports.collect(),
        }
    }

    /// Looks packets up that have `depth` recirculations behind them. The packets that hit go to
    /// the executor, grouped by actions: packets of one megaflow stay in order.
    fn look_up(&mut self, packets: Vec<usize>, depth: usize, now: Moment, pool: &mut PacketPool) {
        self.books.looked_up(depth, packets.len());
        let mut found = std::mem::take(&mut self.found);
        {
            let of = self.executor.flights.of(&packets);
            let keys: SmallVec<[&Key; BURST]> = of.map(|packet| &packet.key).collect();
            self.table.lookup(&keys, &mut found);
        }
        let mut groups = std::mem::take(&mut self.groups);
        let (mut rest, mut ledger) = (&packets[..], OriginRun::new());
        for run in found.chunk_by(|one, next| one == next) {
            let (alike, behind) = rest.split_at(run.len());
            rest = behind;
            match run.first().copied().flatten() {
                Some(slot) => self.hit(alike, slot, &mut groups, &mut ledger, now),
                None => alike.iter().for_each(|number| self.miss(*number, depth, now, pool)),
            }
        }
        self.books.hit(ledger.origin, ledger.sum);
        self.found = found;
        self.executor.keep(packets);
        self.execute_groups(&mut groups, depth, pool);
        self.groups = groups;
    }

    /// Counts packets on the megaflow in a slot, and adds them to those that have the same actions.
    /// Of those that are hits of the ledger, the last ones are left to the caller.
    #[inline]
    fn hit(
        &mut self,
        numbers: &[usize],
        slot: u32,
        groups: &mut Vec<Group>,
        ledger: &mut OriginRun,
        now: Moment,
    ) {
        let Datapath { executor, books, table, .. } = self;
        let (mut what, mut tcp_flags) = (Counters::default(), 0);
        executor.flights.for_each(numbers, |packet| {
            let whole = packet.whole();
            let origin = std::mem::replace(&mut packet.origin, Origin::Counted);
            if let Some(run) = ledger.add(origin, whole) {
                books.hit(run.origin, run.sum);
            }
            what.gather(whole);
            tcp_flags |= packet.key.tcp_flags;
        });
        let Some(program) = table.hit(slot, what, tcp_flags, now) else { return };
        // The search starts at the end, because the packets of a flow come in a row.
        match groups.iter_mut().rev().find(|group| group.program == program) {
            Some(group) => {
                group.packets.extend_from_slice(numbers);
                group.what.gather(what);
            }
            None => {
                let mut packets = executor.numbers();
                packets.extend_from_slice(numbers);
                groups.push(Group { program, packets, what });
            }
        }
    }

    /// Gives groups of packets to the executor, the first one to be executed first.
    fn execute_groups(&mut self, groups: &mut Vec<Group>, depth: usize, pool: &mut PacketPool) {
        // The executor begins with what it got last.
        for Group { program, packets, what } in groups.drain(..).rev() {
            match self.table.program(program) {
                Some(program) if !program.actions().is_empty() => {
                    self.executor.push(program.clone(), packets, what, depth);
                }
                _ => {
                    self.books.dropped_by_megaflow(what);
                    self.executor.end(packets, pool);
                }
            }
        }
    }

    fn miss(&mut self, number: usize, depth: usize, now: Moment, pool: &mut PacketPool) {
        let Some(packet) = self.executor.flights.get_mut(number) else { return };
        let (key, origin, what) = (packet.key, packet.origin, packet.whole());
        let waiting = Waiting { packet: std::mem::take(&mut packet.packet), origin, depth };
        match self.upcalls.miss(&key, &waiting, now) {
            Err(reason) => self.books.dropped(key.port(), reason, origin, what),
            Ok(()) => self.books.waits(origin, what),
        }
        pool.keep(waiting.packet);
    }

    /// Executes what the executor has, and looks up what the actions recirculate.
    fn execute_all(&mut self, now: Moment, pool: &mut PacketPool) {
        loop {
            let Datapath { ports, upcalls, books, .. } = self;
            let mut exits = Exits { ports, upcalls, books, pool };
            match self.executor.run(&mut exits, now) {
                Some(Recirculated { packets, depth }) => self.look_up(packets, depth, now, pool),
                None => return,
            }
        }
    }

    /// Returns true if the actions can be executed. An empty list, and a list that the host table
    /// would refuse, are drops.
    fn can_execute(&self, key: &Key, actions: &[Action]) -> bool {
        !actions.is_empty() && self.table.can_execute(key, actions)
    }

    fn reinject(&mut self, pending: PendingUpcall, now: Moment, pool: &mut PacketPool) {
        // These packets were counted as missed. As in OVS, each packet is counted once.
        let slot = self.table.lookup_again(&pending.key);
        for waiting in pending.packets {
            self.executor.begin_burst();
            let what = waiting.packet.counters();
            self.books.waits_no_longer(waiting.origin, what);
            if let Some(slot) = slot {
                let packet = self.executor.start(waiting.packet, pending.key, waiting.origin);
                let mut groups = std::mem::take(&mut self.groups);
                let mut first = OriginRun::new();
                self.hit(&[packet], slot, &mut groups, &mut first, now);
                self.books.hit(first.origin, first.sum);
                self.execute_groups(&mut groups, waiting.depth, pool);
                self.groups = groups;
                self.execute_all(now, pool);
            } else {
                let (reason, port) = (DropReason::ClientMismatch, pending.key.port());
                self.books.dropped(port, reason, waiting.origin, what);
            }
        }
    }

    fn execute_pending(
        &mut self,
        pending: PendingUpcall,
        actions: &Actions,
        now: Moment,
        pool: &mut PacketPool,
    ) {
        let program = Arc::new(Program::new(actions.clone()));
        for waiting in pending.packets {
            self.executor.begin_burst();
            let what = waiting.packet.counters();
            self.books.waits_no_longer(waiting.origin, what);
            self.books.executed(waiting.origin, what);
            let packet = self.executor.start(waiting.packet, pending.key, Origin::Counted);
            self.executor.push(program.clone(), vec![packet], what, waiting.depth);
            self.execute_all(now, pool);
        }
    }

    /// Drops the packets of an upcall.
    fn drop_pending(&mut self, pending: PendingUpcall, reason: DropReason) {
        for waiting in pending.packets {
            let what = waiting.packet.counters();
            self.books.waits_no_longer(waiting.origin, what);
            self.books.dropped(pending.port, reason, waiting.origin, what);
        }
    }
}
