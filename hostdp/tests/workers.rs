//! Two workers on real interfaces: the kernel gives each its part of what comes in, every frame to
//! one of them and those of a flow in order.
//!
//! Needs root or a user namespace, as `interfaces.rs` does.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

#[allow(dead_code, reason = "other tests use the rest")]
mod lab;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use crossbeam_channel::unbounded;
use flow::packet::Packet;
use flow::{Action, Clock, Counters, Key, Mask, PortId};
use hostdp::port::memory::{self, MemoryPeer};
use hostdp::port::system::{SystemIo, SystemPort};
use hostdp::port::tap::TapPort;
use hostdp::port::{Batch, LinkState, Port, PortKind, TxReport};
use hostdp::worker::{self, Reply, ReplyParts, Worker, WorkerEvent};
use hostdp::{Datapath, DatapathSettings, DatapathSnapshot};
use lab::{PATIENCE, Stage, install, ip, megaflow};
use rustix::thread::{CpuSet, sched_setaffinity};

const WORKERS: usize = 2;
const FLOWS: u16 = 64;

fn pair(near: &str, port: &str) {
    ip(&format!("link add {near} type veth peer name {port}"));
    for name in [near, port] {
        ip(&format!("link set {name} addrgenmode none"));
        ip(&format!("link set {name} up"));
    }
}

/// A UDP frame of a flow, with its number in the flow.
fn frame(flow: u16, number: u16) -> Packet {
    let mut bytes =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17];
    bytes.extend([0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
    bytes.extend((1000 + flow).to_be_bytes());
    bytes.extend([0, 80, 0, 12, 0, 0]);
    bytes.extend(number.to_be_bytes());
    bytes.extend([0; 18]);
    Packet::new(&bytes)
}

/// The flow of a frame, by its source port, and its number there.
fn of(bytes: &[u8]) -> (u16, u16) {
    let at = |n: usize| u16::from_be_bytes([bytes[n], bytes[n + 1]]);
    (at(34), at(42))
}

/// The cores of the workers: on one core each, the kernel keeps the order of what they send.
fn cores() -> Vec<usize> {
    let count = std::thread::available_parallelism().unwrap().get();
    if count >= WORKERS { (0..WORKERS).collect() } else { vec![0] }
}

fn start(one: Vec<Box<dyn Port>>, other: Vec<Box<dyn Port>>) -> Worker {
    let parts = one.into_iter().zip(other);
    let datapaths = parts.map(|(one, other)| {
        let mut datapath = Datapath::new(DatapathSettings::default());
        datapath.add_port(PortId(1), one).unwrap();
        datapath.add_port(PortId(2), other).unwrap();
        for (from, to) in [(1, 2), (2, 1)] {
            let out = [Action::Output(PortId(to))];
            install(&mut datapath, &megaflow(from, Key::default(), Mask::default(), &out));
        }
        datapath
    });
    worker::spawn(datapaths.collect(), &Clock::start(), &cores()).unwrap()
}

fn boxed(parts: Vec<impl Port + 'static>) -> Vec<Box<dyn Port>> {
    parts.into_iter().map(|part| Box::new(part) as Box<dyn Port>).collect()
}

fn snapshot(worker: &Worker) -> Box<DatapathSnapshot> {
    let (reply, answer) = unbounded();
    worker.handle().snapshot(Reply::to(reply)).unwrap();
    answer.recv_timeout(PATIENCE).unwrap()
}

/// What was told of all megaflows since the last time.
fn news(worker: &Worker) -> Counters {
    let (told, parts) = unbounded();
    let reply = ReplyParts::with(move |part, is_last| told.send((part, is_last)).unwrap());
    worker.handle().stats(reply).unwrap();
    let mut all = Counters::default();
    loop {
        let (part, is_last) = parts.recv_timeout(PATIENCE).unwrap();
        all += part.iter().map(|(_, stats)| stats.counters).sum();
        if is_last {
            return all;
        }
    }
}

/// Waits for that many ports to come to a state; others may come before.
fn wait_for(worker: &Worker, wanted: LinkState, ports: usize) {
    let mut seen = 0;
    while seen < ports {
        match worker.events().recv_timeout(PATIENCE).unwrap() {
            WorkerEvent::Port { state, .. } => seen += usize::from(state == wanted),
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until all parts of the first port are up.
fn until_up(worker: &Worker) {
    let clock = Clock::start();
    while snapshot(worker).ports[0].state != LinkState::Up {
        assert!(clock.elapsed() < PATIENCE, "{:?}", snapshot(worker).ports[0]);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends frames of all flows from one end to the other, and checks that each comes once and those
/// of a flow in order.
fn pass(near: &mut SystemPort, far: &mut SystemPort, rounds: u16) -> u64 {
    let mut next: BTreeMap<u16, u16> = BTreeMap::new();
    for round in 0..rounds {
        let mut frames: Vec<Packet> = (0..FLOWS).map(|flow| frame(flow, round)).collect();
        let mut report = TxReport::default();
        near.transmit(&mut frames, &mut report);
        assert_eq!(report.sent.packets, u64::from(FLOWS), "{:?}", report.dropped);
        let (clock, mut missing) = (Clock::start(), i32::from(FLOWS));
        while missing > 0 {
            assert!(clock.elapsed() < PATIENCE, "{missing} of round {round} are missing");
            let mut batch = Batch::new();
            far.receive(&mut batch);
            for frame in batch.frames() {
                let (flow, number) = of(frame.packet.bytes());
                let next = next.entry(flow).or_default();
                assert_eq!(number, std::mem::replace(next, number + 1), "flow {flow}");
                missing -= 1;
            }
        }
    }
    assert_eq!(next.len(), usize::from(FLOWS));
    u64::from(FLOWS) * u64::from(rounds)
}

#[test]
fn the_parts_of_a_system_port_share_its_frames() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|_| {
        // The thread that sends stays on a core, as the workers do.
        let mut core = CpuSet::new();
        core.set(0);
        sched_setaffinity(None, &core).unwrap();
        pair("a0", "a1");
        pair("b0", "b1");
        let open =
            |name| boxed(SystemPort::open_parts(name, name, SystemIo::Packet, WORKERS).unwrap());
        let worker = start(open("a1"), open("b1"));
        wait_for(&worker, LinkState::Up, 2);
        let claimed = SystemPort::open("a1").map(drop).unwrap_err().to_string();
        assert!(claimed.contains("another port of this process"), "{claimed}");
        let (mut near, mut far) =
            (SystemPort::open("a0").unwrap(), SystemPort::open("b0").unwrap());
        let mut sent = pass(&mut near, &mut far, 50);
        sent += pass(&mut far, &mut near, 50);
        assert_eq!(news(&worker).packets, sent);
        // What the system itself sends there did not come in.
        ip("addr add 10.9.0.9/24 dev a1");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev a1");
        let system = UdpSocket::bind("10.9.0.9:0").unwrap();
        for _ in 0..10 {
            assert_eq!(system.send_to(&[1; 20], "10.9.0.2:80").unwrap(), 20);
        }
        sent += pass(&mut near, &mut far, 1);
        assert_eq!(news(&worker).packets, sent - 2 * 50 * u64::from(FLOWS));
        // The next interface of the name is shared again.
        drop(near);
        ip("link del a0");
        wait_for(&worker, LinkState::Gone, 1);
        pair("a0", "a1");
        until_up(&worker);
        // A frame of before the port came back is nobody's.
        let (mut near, before) = (SystemPort::open("a0").unwrap(), snapshot(&worker));
        let again = pass(&mut near, &mut far, 20);
        assert_eq!(news(&worker).packets, again);
        let last = snapshot(&worker);
        assert_eq!(last.ports[0].received.packets, before.ports[0].received.packets + again);
        assert!(last.ledger.is_exact(), "{:?}", last.ledger);
        let parts = worker.stop().unwrap();
        let received = |part: &Datapath| part.ledger().fresh.received.packets;
        assert!(parts.iter().all(|part| received(part) > 0), "one worker has got everything");
        assert_eq!(parts.iter().map(received).sum::<u64>(), sent + again);
    });
}

#[test]
fn with_several_workers_a_port_has_no_af_xdp_and_says_so() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|_| {
        pair("v0", "v1");
        let parts = SystemPort::open_parts("v0", "v0", SystemIo::Xdp, WORKERS).unwrap();
        for mut part in parts {
            // The carrier comes a moment after the ends are set up.
            let clock = Clock::start();
            while part.state() != LinkState::Up {
                assert!(clock.elapsed() < PATIENCE);
                part.check();
            }
            assert_eq!(part.way(), None);
            assert!(part.trouble().unwrap().contains("several workers"), "{:?}", part.trouble());
        }
    });
}

#[test]
fn the_parts_of_a_tap_port_are_its_queues() {
    let Some(stage) = Stage::new() else { return };
    stage.run(|_| {
        let taps = TapPort::open_parts("br9", "br9", PortKind::Internal, WORKERS).unwrap();
        ip("addr add 10.9.0.1/24 dev br9");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev br9");
        let far = (0..WORKERS).map(|_| memory::open("far", 4096).unwrap());
        let (far, peers): (Vec<_>, Vec<MemoryPeer>) = far.unzip();
        let worker = start(boxed(taps), boxed(far));
        wait_for(&worker, LinkState::Up, 2);
        let sockets: Vec<UdpSocket> =
            (0..FLOWS).map(|_| UdpSocket::bind("10.9.0.1:0").unwrap()).collect();
        let mut next: BTreeMap<(u16, usize), u16> = BTreeMap::new();
        for round in 0..20_u16 {
            for socket in &sockets {
                socket.send_to(&round.to_be_bytes(), "10.9.0.2:80").unwrap();
            }
            let (clock, mut missing) = (Clock::start(), i32::from(FLOWS));
            while missing > 0 {
                assert!(clock.elapsed() < PATIENCE, "{missing} of round {round} are missing");
                for (queue, peer) in peers.iter().enumerate() {
                    let got = peer.drain();
                    for bytes in got.iter().map(Packet::bytes).filter(|bytes| is_udp(bytes)) {
                        let (flow, number) = of(bytes);
                        let next = next.entry((flow, queue)).or_default();
                        assert_eq!(number, std::mem::replace(next, number + 1), "flow {flow}");
                        missing -= 1;
                    }
                }
            }
        }
        assert_eq!(next.len(), usize::from(FLOWS), "each flow has one queue");
        assert!((0..WORKERS).all(|queue| next.keys().any(|(_, of)| *of == queue)));
        // Each part sends.
        for peer in &peers {
            assert!(peer.send(frame(1, 1).bytes()));
        }
        let clock = Clock::start();
        while snapshot(&worker).ports[0].sent.packets < WORKERS as u64 {
            assert!(clock.elapsed() < PATIENCE, "{:?}", snapshot(&worker).ports[0]);
        }
        assert!(snapshot(&worker).ledger.is_exact());
        // An interface that was deleted is made again, with all its queues.
        ip("link del br9");
        wait_for(&worker, LinkState::Gone, 1);
        until_up(&worker);
    });
}

fn is_udp(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[8, 0]) && bytes.get(23) == Some(&17)
}
