//! An embedded card with memory wires, flows from text, and frames.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test helpers")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Blocking, Clock, Completion, Generation, Megaflow, Op, PortId, ProviderError, Stats, Ufid,
};
use vfio::model::{MemoryWire, Wire};
use vfio::{CardCapabilities, DriverConfig, Embedded, FpgaProvider, RingPort};

/// Wire i is datapath port 10 + i.
pub(crate) const FIRST_PORT: u32 = 10;

/// A card, its driver's parts, and the far ends of its wires.
pub(crate) struct Rig {
    pub(crate) card: Embedded,
    pub(crate) provider: FpgaProvider,
    pub(crate) ports: Vec<RingPort>,
    pub(crate) wires: Vec<MemoryWire>,
}

impl Rig {
    pub(crate) fn new(wires: usize) -> Rig {
        Rig::with(wires, CardCapabilities::default(), |_| {})
    }

    pub(crate) fn with(
        wires: usize,
        capabilities: CardCapabilities,
        change: impl FnOnce(&mut DriverConfig),
    ) -> Rig {
        let ids: Vec<PortId> = (FIRST_PORT..).take(wires).map(PortId).collect();
        let pairs: Vec<_> = ids.iter().map(|_| MemoryWire::pair(4096).unwrap()).collect();
        let mut config = DriverConfig::new(&ids, Clock::start());
        change(&mut config);
        let (near, far): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let near = near.into_iter().map(|wire| Box::new(wire) as Box<dyn Wire>).collect();
        let mut card = Embedded::start(capabilities, near, &config).unwrap();
        // The text lets a card complete its commands in any order.
        card.card.shuffle_completions(wires as u64);
        let provider = card.driver.take_provider().unwrap();
        let ports = ids.iter().map(|id| card.driver.take_port(*id).unwrap()).collect();
        Rig { card, provider, ports, wires: far }
    }

    pub(crate) fn apply(&mut self, ops: &[Op]) -> Vec<Result<Stats, ProviderError>> {
        let mut done: Vec<Completion> = Vec::new();
        self.provider.apply(ops, &mut done);
        assert_eq!(done.len(), ops.len());
        for (op, completion) in ops.iter().zip(&done) {
            assert_eq!((op.ufid(), op.kind()), (completion.ufid, completion.kind));
        }
        done.into_iter().map(|completion| completion.result).collect()
    }

    pub(crate) fn install(&mut self, text: &str) -> Arc<Megaflow> {
        let flow = flow(text);
        let op = Op::Install { flow: flow.clone(), generation: Generation(1) };
        self.apply(&[op])[0].as_ref().unwrap_or_else(|e| panic!("{text}: {e}"));
        flow
    }

    pub(crate) fn remove(&mut self, ufid: Ufid) -> Result<Stats, ProviderError> {
        self.apply(&[Op::Remove { ufid }]).remove(0)
    }

    /// Sends a frame into a wire of the card.
    pub(crate) fn send(&mut self, wire: usize, frame: &[u8]) {
        assert!(self.wires[wire].transmit(frame).unwrap());
    }

    pub(crate) fn receive(&mut self, wire: usize) -> Vec<u8> {
        self.wires[wire].wait(Duration::from_secs(2)).expect("a frame should come out")
    }

    /// Waits until the card has seen that many frames on all wires together.
    pub(crate) fn settle(&self, frames: u64) {
        let start = Clock::start();
        loop {
            let ports = self.card.ledger().ports();
            if ports.iter().map(|port| port.rx.packets).sum::<u64>() >= frames {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "the card saw {ports:?}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// A statistics pass.
    pub(crate) fn pass(&mut self) -> HashMap<Ufid, Stats> {
        let mut all = Vec::new();
        self.provider.all_stats(&mut all).unwrap();
        all.into_iter().collect()
    }

    pub(crate) fn stats(&mut self, ufid: Ufid) -> Stats {
        self.pass()[&ufid]
    }
}

/// `MATCH actions:ACTIONS` in ODP text.
pub(crate) fn flow(text: &str) -> Arc<Megaflow> {
    let (_, matching, actions) = flow::odp::parse_flow(text).unwrap_or_else(|e| panic!("{e:?}"));
    Arc::new(Megaflow::new(matching, actions.unwrap()))
}

/// Ethernet, destination and source ending in the two numbers.
pub(crate) fn ethernet(dst: u8, src: u8, eth_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src];
    frame.extend(eth_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// IPv4 with a right header checksum.
pub(crate) fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap();
    let mut header = vec![0x45, 0, 0, 0, 0, 1, 0, 0, ttl, protocol, 0, 0];
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header.extend(src);
    header.extend(dst);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

/// UDP without a checksum.
pub(crate) fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    out.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    out
}

pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// A whole UDP frame.
pub(crate) fn udp_frame(dst: u8, src: u8, port: u16, size: usize) -> Vec<u8> {
    let payload = udp(1000, port, &vec![0x5a; size]);
    ethernet(dst, src, 0x800, &ipv4([10, 0, 0, src], [10, 0, 0, dst], 17, 64, &payload))
}
