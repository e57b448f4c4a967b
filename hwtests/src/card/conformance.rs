//! The card over vfio-user passes the conformance suite: the driver at one end of a socket, the
//! endpoint and the card behind it at the other. Registers are messages, DMA memory is a file that
//! both map, interrupts are descriptors that went through the socket.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flow::testing::conformance::{Rig, conforms};
use flow::{Actions, Clock, Counters, Megaflow, PortId, Provider, odp};
use tempfile::TempDir;
use vfio::model::{Damage, MemoryWire, Wire};
use vfio::register::{BlockKind, Blocks, DebugCounters};
use vfio::sys::memory::Mapping;
use vfio::sys::{Arena, Bar, DmaSource, Interrupt, PciFunction};
use vfio::{Access, Driver, DriverConfig, FpgaProvider, ModelCard};
use vfio_bindings::bindings::vfio as bindings;
use vfio_user::Client;

use super::endpoint::PciEndpoint;
use super::slot::PciSlot;

const PORTS: [PortId; 2] = [PortId(1), PortId(2)];
const BAR0: u32 = bindings::VFIO_PCI_BAR0_REGION_INDEX;
const FRAME_BYTES: usize = 60;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The driver's end of the socket. A message that fails is one to a device that is not there.
struct Connection {
    client: Mutex<Client>,
    next_iova: AtomicU64,
}

impl Connection {
    fn ask<T>(&self, f: impl FnOnce(&mut Client) -> T) -> T {
        f(&mut self.client.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the card that many interrupts, by their descriptors.
    fn interrupts(&self, count: u32) -> Vec<Interrupt> {
        let all: Vec<Interrupt> = (0..count).map(|_| Interrupt::new().unwrap()).collect();
        let fds: Vec<RawFd> = all.iter().map(|one| one.as_fd().as_raw_fd()).collect();
        let flags = bindings::VFIO_IRQ_SET_DATA_EVENTFD | bindings::VFIO_IRQ_SET_ACTION_TRIGGER;
        let index = bindings::VFIO_PCI_MSIX_IRQ_INDEX;
        self.ask(|client| client.set_irqs(index, flags, 0, count, &fds)).unwrap();
        all
    }
}

impl Bar for Connection {
    fn size(&self) -> u64 {
        self.ask(|client| client.region(BAR0).unwrap().size)
    }

    fn read32(&self, offset: u64) -> u32 {
        let mut bytes = [0xff; 4];
        let _ = self.ask(|client| client.region_read(BAR0, offset, &mut bytes));
        u32::from_le_bytes(bytes)
    }

    fn write32(&self, offset: u64, value: u32) {
        let _ = self.ask(|client| client.region_write(BAR0, offset, &value.to_le_bytes()));
    }
}

impl PciFunction for Connection {
    fn stop_dma(&self) {
        let _ = self.ask(|client| client.dma_unmap(0, u64::MAX));
    }

    fn let_go(&self) {
        let _ = self.ask(|client| client.shutdown());
    }
}

/// Memory of the driver, shared with the card.
struct SharedMemory(Arc<Connection>);

/// Takes the memory from the card when dropped.
struct Unmap(Arc<Connection>, u64, u64);

impl Drop for Unmap {
    fn drop(&mut self) {
        let _ = self.0.ask(|client| client.dma_unmap(self.1, self.2));
    }
}

impl DmaSource for SharedMemory {
    fn arena(&self, bytes: usize) -> Result<Arc<Arena>, vfio::Error> {
        let size = bytes.next_multiple_of(4096);
        let file = tempfile::tempfile().unwrap();
        file.set_len(size as u64).unwrap();
        let file: OwnedFd = file.into();
        let iova = self.0.next_iova.fetch_add(size as u64, Ordering::Relaxed);
        self.0.ask(|c| c.dma_map(0, iova, size as u64, file.as_raw_fd())).unwrap();
        let mapping = Mapping::of_file(file.as_fd(), 0, size, true).unwrap();
        let unmap = Unmap(self.0.clone(), iova, size as u64);
        Ok(Arc::new(Arena::new(mapping, iova, Box::new(unmap))))
    }
}

/// The parts of the process that has the driver.
struct OpenCard {
    provider: FpgaProvider,
    _driver: Driver,
}

impl OpenCard {
    fn new(path: &Path, vectors: u32) -> OpenCard {
        let client = Mutex::new(Client::new(path).unwrap());
        let function = Arc::new(Connection { client, next_iova: AtomicU64::new(0x1000_0000) });
        let interrupts = function.interrupts(vectors);
        let (bar, dma) = (function.clone(), Arc::new(SharedMemory(function.clone())));
        let access = Access { bar, dma, interrupts, function };
        let mut driver = Driver::open(access, &DriverConfig::new(&PORTS, Clock::start())).unwrap();
        OpenCard { provider: driver.take_provider().unwrap(), _driver: driver }
    }
}

struct OverVfioUser {
    /// `None` while no process has the card.
    open: Option<OpenCard>,
    slot: Arc<PciSlot>,
    card: ModelCard,
    /// The far ends of the card's wires.
    wires: Vec<MemoryWire>,
    folder: TempDir,
}

fn wires() -> (Vec<Box<dyn Wire>>, Vec<MemoryWire>) {
    let pairs = PORTS.iter().map(|_| MemoryWire::pair(4096).unwrap());
    pairs.map(|(near, far)| (Box::new(near) as Box<dyn Wire>, far)).unzip()
}

impl OverVfioUser {
    fn new() -> OverVfioUser {
        let folder = tempfile::tempdir().unwrap();
        let (near, wires) = wires();
        let (slot, card) = PciSlot::new(near).unwrap();
        let path = folder.path().join("device");
        PciEndpoint::new(slot.clone(), card.vector_count()).serve(&path).unwrap();
        let open = Some(OpenCard::new(&path, card.vector_count()));
        // The text lets a card complete its commands in any order.
        card.shuffle_completions(2);
        OverVfioUser { open, slot, card, wires, folder }
    }

    /// Packets of all lives of the megaflow, by the card's own count.
    fn counted(&self, flow: &Megaflow) -> u64 {
        let flows = self.card.ledger().flows();
        let lives = flows.iter().filter(|((ufid, _), _)| *ufid == flow.ufid.0);
        lives.map(|(_, counters)| counters.packets).sum()
    }
}

impl Rig for OverVfioUser {
    fn provider(&mut self) -> &mut dyn Provider {
        &mut self.open.as_mut().unwrap().provider
    }

    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>> {
        let dst = format!("eth(dst=02:00:00:00:{:02x}:{:02x})", n >> 8, n & 0xff);
        let matching = odp::parse_match(&format!("in_port(1),{dst}")).unwrap();
        Some(Arc::new(Megaflow::new(matching, odp::parse_actions("2").unwrap())))
    }

    fn other_actions(&self, _flow: &Megaflow) -> Actions {
        [].into()
    }

    fn refused_actions(&self) -> Option<Actions> {
        Some(odp::parse_actions("99").unwrap())
    }

    fn hit(&mut self, flow: &Megaflow, packets: u64) -> Option<Counters> {
        let before = self.counted(flow);
        let mut frame = [0; FRAME_BYTES];
        frame[..6].copy_from_slice(&flow.matching.key().eth_dst.0);
        for _ in 0..packets {
            assert!(self.wires[0].transmit(&frame).unwrap());
        }
        let start = Clock::start();
        while self.counted(flow) < before + packets {
            assert!(start.elapsed() < PATIENCE, "the card does not count");
            std::thread::yield_now();
        }
        // What came out is of no interest, and the wire is not to be full.
        while self.wires[1].take().is_some() {}
        Some(Counters { packets, bytes: FRAME_BYTES as u64 * packets })
    }

    fn lose(&mut self, flow: &Megaflow) -> bool {
        self.card.damage(flow.ufid.0, Damage::Lost);
        true
    }

    /// The next process finds an empty card: opening it resets it.
    fn restart(&mut self) -> bool {
        self.open = None;
        let path = self.folder.path().join("device");
        self.open = Some(OpenCard::new(&path, self.card.vector_count()));
        true
    }

    fn take_away(&mut self) -> bool {
        self.card.pull_out();
        true
    }

    fn give_back(&mut self) -> bool {
        let (near, far) = wires();
        (self.card, self.wires) = (self.slot.insert(near).unwrap(), far);
        true
    }

    fn left_behind(&mut self) -> Option<u64> {
        // On the card's side of the socket.
        let slot: Arc<dyn Bar> = self.slot.clone();
        let debug = Blocks::walk(&slot).unwrap().need(BlockKind::Dbg).unwrap();
        let debug = DebugCounters::read(&debug).unwrap();
        Some(u64::from(debug.em_used + debug.rows_used + debug.masks_used))
    }
}

#[test]
fn the_card_over_vfio_user_conforms() {
    let all = conforms(OverVfioUser::new);
    println!("{all}");
    assert_eq!((all.broken().count(), all.not_made().count()), (0, 0), "{all}");
}
