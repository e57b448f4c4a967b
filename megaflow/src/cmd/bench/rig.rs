//! The threads of a daemon without listeners, with the L2 client, on four ports in memory or on the
//! wires of the embedded card.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use flow::packet::Packet;
use flow::{Clock, Placement, PortId, Provider};
use hostdp::Datapath;
use hostdp::port::fpga::FpgaPort;
use hostdp::port::memory::{self, MemoryPeer};
use offload::{Budget, ByRate, Engine, Settings};
use pipeline::l2;
use vfio::{CardCapabilities, DriverConfig, Embedded, MemoryWire, Wire};

use crate::runtime::{self, Parts, Running};
use crate::status::Status;

/// The numbers of the ports.
pub(super) const PORTS: [PortId; 4] = [PortId(1), PortId(2), PortId(3), PortId(4)];
/// Frames that wait at a port, as in a NIC's queue.
const QUEUE: usize = 4096;
/// Most megaflows, and most addresses.
const MOST: usize = 4_000_000;
/// Time without a change after which the card has what it takes.
const SETTLED: Duration = Duration::from_secs(1);
/// Inserts per second that the card is given.
const INSERTS: u32 = 1_000_000;

/// The running threads, and what is at the other ends of the ports.
pub(super) struct BenchRig {
    pub(super) running: Running,
    pub(super) peers: Vec<Peer>,
    pub(super) clock: Clock,
    card: Option<Embedded>,
}

/// What is at the other end of a port.
pub(super) enum Peer {
    Memory(MemoryPeer),
    Wire(MemoryWire),
}

impl Peer {
    /// Sends a frame to the port; returns false if the port has no room for it.
    pub(super) fn send(&mut self, frame: &[u8]) -> bool {
        match self {
            Peer::Memory(peer) => peer.send(frame),
            Peer::Wire(wire) => wire.transmit(frame).unwrap_or(false),
        }
    }

    /// Returns the frames that the port has sent.
    pub(super) fn drain(&mut self) -> Vec<Packet> {
        match self {
            Peer::Memory(peer) => peer.drain(),
            Peer::Wire(wire) => {
                std::iter::from_fn(|| wire.take()).map(|frame| Packet::new(&frame)).collect()
            }
        }
    }
}

impl BenchRig {
    /// Starts the threads, with the embedded card of this number of entries unless that is 0. A
    /// megaflow without a packet for `max_idle` is removed.
    pub(super) fn start(entries: u32, max_idle: Duration) -> Result<BenchRig, String> {
        let clock = Clock::start();
        let config =
            hostdp::DatapathSettings { flow_limit: MOST, ..hostdp::DatapathSettings::default() };
        let mut datapath = Datapath::new(config);
        let settings = l2::L2Settings { max_entries: MOST, ..l2::L2Settings::default() };
        let client = Box::new(l2::Switch::new(settings));
        let settings = Settings { flow_limit: MOST, max_idle, ..Settings::default() };
        let mut engine = Engine::new(settings, client, Box::new(ByRate));
        let mut providers: Vec<Box<dyn Provider>> = Vec::new();
        let (mut card, mut peers) = (None, Vec::new());
        if entries > 0 {
            let (model, table) = plug_in(entries, &clock, &mut datapath, &mut peers)?;
            engine.add_hardware(table.name(), table.admission(), Budget::new(INSERTS));
            providers.push(table);
            card = Some(model);
        } else {
            for port in PORTS {
                let opened = memory::open(&format!("port{port}"), QUEUE);
                let (end, peer) = opened.map_err(|error| error.to_string())?;
                datapath.add_port(port, Box::new(end)).map_err(|error| error.to_string())?;
                peers.push(Peer::Memory(peer));
            }
        }
        let name = "bench".to_owned();
        let time = clock.clone();
        let (recorder, datapaths, cores) = (None, vec![datapath], Vec::new());
        let parts = Parts { name, clock: time, engine, recorder, datapaths, cores, providers };
        let running = runtime::start(parts).map_err(|error| error.to_string())?;
        Ok(BenchRig { running, peers, clock, card })
    }

    /// Returns the state that the daemon would show.
    pub(super) fn status(&self) -> Result<Box<Status>, String> {
        self.running.handle.status().map_err(|error| error.to_string())
    }

    /// Waits until the card takes no more; returns the number of megaflows that it took.
    pub(super) fn settled(&self) -> Result<u64, String> {
        let offloaded = || {
            let status = self.status()?;
            Ok::<_, String>(status.metrics.flows.get(&Placement::Nic).copied().unwrap_or_default())
        };
        let mut found = offloaded()?;
        loop {
            std::thread::sleep(SETTLED);
            let now = offloaded()?;
            if now == found {
                return Ok(now);
            }
            found = now;
        }
    }

    /// Stops the threads, and the card last.
    pub(super) fn stop(self) -> Result<(), String> {
        self.running.handle.exit().map_err(|error| error.to_string())?;
        self.running.join().map_err(|error| error.to_string())?;
        drop(self.card);
        Ok(())
    }
}

/// Starts the embedded card, with a wire in memory at each port.
fn plug_in(
    entries: u32,
    clock: &Clock,
    datapath: &mut Datapath,
    peers: &mut Vec<Peer>,
) -> Result<(Embedded, Box<dyn Provider>), String> {
    let mut wires: Vec<Box<dyn Wire>> = Vec::new();
    for _ in PORTS {
        let (end, peer) = MemoryWire::pair(QUEUE).map_err(|error| error.to_string())?;
        wires.push(Box::new(end));
        peers.push(Peer::Wire(peer));
    }
    let config = DriverConfig { packet_log2: 12, ..DriverConfig::new(&PORTS, clock.clone()) };
    let capabilities = CardCapabilities::with_room(entries);
    let mut card =
        Embedded::start(capabilities, wires, &config).map_err(|error| error.to_string())?;
    for port in PORTS {
        let rings = card.driver.take_port(port).ok_or("the card lacks a port")?;
        let port_of_card = Box::new(FpgaPort::new(&format!("wire{port}"), Box::new(rings)));
        datapath.add_port(port, port_of_card).map_err(|error| error.to_string())?;
    }
    let table = card.driver.take_provider().ok_or("the card has no table")?;
    Ok((card, Box::new(table)))
}

/// A frame between two addresses, each of a port and a number.
pub(super) fn frame([from, to]: [(usize, u64); 2]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    for (port, number) in [to, from] {
        let [.., a, b, c, d] = number.to_be_bytes();
        frame.extend([2, u8::try_from(port).unwrap_or(u8::MAX), a, b, c, d]);
    }
    frame.extend([0x88, 0xb5]);
    frame.resize(60, 0);
    frame
}

/// Nanoseconds that the threads of this process have run, by their names.
pub(super) struct ThreadTimes(BTreeMap<String, u64>);

impl ThreadTimes {
    pub(super) fn now() -> Result<ThreadTimes, String> {
        let mut all = BTreeMap::new();
        let fault = |error: std::io::Error| format!("/proc/self/task: {error}");
        for entry in fs::read_dir("/proc/self/task").map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            // A thread that ends meanwhile has no files any more.
            let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
            let Ok(times) = fs::read_to_string(path.join("schedstat")) else { continue };
            let time = times.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            *all.entry(name.trim().to_owned()).or_default() += time.unwrap_or_default();
        }
        Ok(ThreadTimes(all))
    }

    /// Nanoseconds that the threads of this name have run since then. Some may have ended
    /// meanwhile, as those of a test beside this one.
    pub(super) fn since(&self, before: &ThreadTimes, name: &str) -> u64 {
        let of = |times: &ThreadTimes| times.0.get(name).copied().unwrap_or_default();
        of(self).saturating_sub(of(before))
    }
}
