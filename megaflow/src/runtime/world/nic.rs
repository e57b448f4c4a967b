//! The devices that a world can have in the place of a NIC.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flow::exception::CardPort;
use flow::{
    Admission, Clock, Completion, Counters, Cursor, Dumped, Moment, PortId, Provider,
    ProviderError, ProviderEvent, Stats, Submission, TableUsage, Ufid,
};
use hostdp::port::memory::{self, MemoryPeer};
use hostdp::{Datapath, DatapathSettings, Resolution};
use tc_flower::fake::nic::FakeNic;
use vfio::{CardCapabilities, DriverConfig, Embedded, MemoryWire, RingPort, Wire};

pub(super) const PORTS: u32 = 4;
/// Longer than any step of a card takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A device with ports 1 to [`PORTS`].
pub(super) trait Nic {
    /// Takes a packet in by port 1. Returns true if it missed, so that the host is to have it.
    fn receive(&mut self, frame: &[u8], now: Moment) -> bool;

    /// The hits of all megaflows that were ever in the device, by its own count.
    fn hits(&mut self) -> Counters;

    /// The number of megaflows in the device, by its own count.
    fn megaflows(&mut self) -> usize;

    /// The packets that the device sent since the last call.
    fn sent(&mut self) -> usize;

    /// Does something that its provider has to cope with.
    fn disturb(&mut self, _what: u64) {}
}

/// Makes a device with room for that many megaflows, and its provider.
pub(super) type MakeNic = fn(usize, Clock) -> (Box<dyn Nic>, Box<dyn Provider>);

/// A datapath with ports in memory.
pub(super) fn datapath(flow_limit: usize) -> (Datapath, Vec<MemoryPeer>) {
    let mut datapath =
        Datapath::new(DatapathSettings { flow_limit, ..DatapathSettings::default() });
    let peers = (1..=PORTS).map(|number| {
        let (port, peer) = memory::open(&format!("port{number}"), 1 << 16).unwrap();
        datapath.add_port(PortId(number), Box::new(port)).unwrap();
        peer
    });
    let peers = peers.collect();
    (datapath, peers)
}

/// A switch in software with its own table.
pub(super) fn switch(capacity: usize, _clock: Clock) -> (Box<dyn Nic>, Box<dyn Provider>) {
    let (datapath, peers) = datapath(capacity);
    let table = Table(Arc::new(Mutex::new(datapath)));
    (Box::new(Switch { table: table.clone(), peers }), Box::new(table))
}

struct Switch {
    table: Table,
    peers: Vec<MemoryPeer>,
}

impl Nic for Switch {
    fn receive(&mut self, frame: &[u8], now: Moment) -> bool {
        let mut datapath = self.table.lock();
        assert!(datapath.receive(PortId(1), frame, now));
        let missed = datapath.next_upcalls(1).pop();
        if let Some(id) = missed.as_ref().and_then(|upcall| upcall.id) {
            datapath.resolve(id, &Resolution::Drop, now);
        }
        missed.is_some()
    }
    fn hits(&mut self) -> Counters {
        self.table.lock().ledger().fresh.hits_first_pass
    }
    fn megaflows(&mut self) -> usize {
        self.table.lock().table().len()
    }
    fn sent(&mut self) -> usize {
        self.peers.iter().map(|peer| peer.drain().len()).sum()
    }
}

/// The table of the switch, which the provider's thread has too.
#[derive(Clone)]
struct Table(Arc<Mutex<Datapath>>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, Datapath> {
        self.0.lock().unwrap()
    }
}

impl Provider for Table {
    fn name(&self) -> &str {
        "switch"
    }
    fn admission(&self) -> Arc<dyn Admission> {
        self.lock().table().admission()
    }
    fn window(&self) -> usize {
        self.lock().table().window()
    }
    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        self.lock().table().submit(waiting);
    }
    fn poll(&mut self, wait: Duration, done: &mut Vec<Completion>) {
        self.lock().table().poll(wait, done);
    }
    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.lock().table().stats(from, out)
    }
    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.lock().table().dump(from, out)
    }
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        self.lock().table().adopt(found)
    }
    fn tables(&self) -> Vec<TableUsage> {
        self.lock().table().tables()
    }
    fn events(&mut self) -> Vec<ProviderEvent> {
        Vec::new()
    }
}

/// A switchdev NIC on an imitation of the kernel.
pub(super) fn tc(capacity: usize, clock: Clock) -> (Box<dyn Nic>, Box<dyn Provider>) {
    let nic = FakeNic::new(PORTS, capacity, clock);
    let provider = nic.provider();
    (Box::new(Tc { nic, sent: 0 }), Box::new(provider))
}

struct Tc {
    nic: FakeNic,
    sent: usize,
}

impl Nic for Tc {
    fn receive(&mut self, frame: &[u8], _now: Moment) -> bool {
        let out = self.nic.receive(PortId(1), frame);
        self.sent += out.as_ref().map_or(0, Vec::len);
        out.is_none()
    }
    fn hits(&mut self) -> Counters {
        self.nic.hits()
    }
    fn megaflows(&mut self) -> usize {
        self.nic.filters()
    }
    fn sent(&mut self) -> usize {
        std::mem::take(&mut self.sent)
    }
    fn disturb(&mut self, what: u64) {
        match what % 2 {
            0 => self.nic.lose_an_answer(),
            _ => self.nic.interrupt_a_list(),
        }
    }
}

/// The FPGA card's model in this process.
pub(super) fn card(capacity: usize, clock: Clock) -> (Box<dyn Nic>, Box<dyn Provider>) {
    let ids: Vec<PortId> = (1..=PORTS).map(PortId).collect();
    let pairs = ids.iter().map(|_| MemoryWire::pair(1 << 12).unwrap());
    let (near, far): (Vec<_>, Vec<_>) = pairs.unzip();
    let near = near.into_iter().map(|wire| Box::new(wire) as Box<dyn Wire>).collect();
    let buckets = u32::try_from(capacity).unwrap().div_ceil(4).next_power_of_two();
    let capabilities = CardCapabilities { buckets, rows: 4, ..CardCapabilities::default() };
    let mut card = Embedded::start(capabilities, near, &DriverConfig::new(&ids, clock)).unwrap();
    card.card.shuffle_completions(1 + capacity as u64);
    let provider = card.driver.take_provider().unwrap();
    let misses = card.driver.take_port(PortId(1)).unwrap();
    (Box::new(Card { card, misses, wires: far, taken: 0, sent: 0 }), Box::new(provider))
}

struct Card {
    card: Embedded,
    /// The ring of the port by which all packets come in.
    misses: RingPort,
    wires: Vec<MemoryWire>,
    /// Packets that came in, and that went out as far as they were looked at.
    taken: u64,
    sent: u64,
}

/// Waits until the card, which has a thread of its own, has come that far.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = Clock::start();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "the card hangs");
        std::thread::yield_now();
    }
}

impl Nic for Card {
    fn receive(&mut self, frame: &[u8], _now: Moment) -> bool {
        let ledger = self.card.ledger();
        let before = ledger.ports()[0].host.packets;
        assert!(self.wires[0].transmit(frame).unwrap());
        self.taken += 1;
        wait_until(|| ledger.ports()[0].rx.packets == self.taken);
        let missed = ledger.ports()[0].host.packets > before;
        if missed {
            wait_until(|| self.misses.receive(1, &mut |_, _| {}).unwrap() == 1);
        }
        missed
    }
    fn hits(&mut self) -> Counters {
        self.card.ledger().flows().values().copied().sum()
    }
    fn megaflows(&mut self) -> usize {
        let debug = self.card.driver.debug().unwrap();
        (debug.em_used + debug.rows_used) as usize
    }
    fn sent(&mut self) -> usize {
        let all = self.card.ledger().ports().iter().map(|port| port.tx.packets).sum::<u64>();
        let mut out = 0;
        wait_until(|| {
            let frames = self.wires.iter_mut().map(|wire| std::iter::from_fn(|| wire.take()));
            out += frames.map(Iterator::count).sum::<usize>();
            self.sent + out as u64 >= all
        });
        self.sent += out as u64;
        out
    }
}
