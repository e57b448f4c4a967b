//! The provider on the imitation of the kernel.

use std::sync::atomic::{AtomicU64, Ordering};

use flow::{
    Correction, Counters, Field, Generation, ManualTime, Megaflow, Moment, Op, Owner, Reason,
    Subject, odp,
};

use super::*;
use crate::encode::Location;
use crate::fake::{Change, FakeKernel, Socket, Stored};
use crate::netlink::consts::*;

mod conformance;
mod hands;
mod life;
mod opening;
mod parts;
mod reopen;
mod witness;

type FakeTc = Tc<Socket>;

fn open_with(kernel: &FakeKernel, options: TcOptions) -> FakeTc {
    let ports = [
        (PortId(1), by_port("pf0vf0")),
        (PortId(2), by_port("pf0vf1")),
        (PortId(3), DeviceSelector::Name("eth0".into())),
    ];
    let (client, monitor) = sockets_of(kernel);
    let time = ManualTime::default();
    time.pass(Duration::from_secs(60));
    Tc::open(client, monitor, &ports, time.clock(), options).unwrap()
}

fn sockets_of(kernel: &FakeKernel) -> (RequestSocket<Socket>, Socket) {
    static PORT: AtomicU64 = AtomicU64::new(100);
    let port = u32::try_from(PORT.fetch_add(2, Ordering::Relaxed)).unwrap();
    (RequestSocket::new(kernel.socket(port)), kernel.monitor(port + 1))
}

fn open(kernel: &FakeKernel) -> FakeTc {
    let mut tc = open_with(kernel, TcOptions::default());
    tc.events();
    tc
}

fn by_port(name: &str) -> DeviceSelector {
    DeviceSelector::Port { switch_id: "abcd".into(), phys_port_name: name.into() }
}

fn flow(text: &str, actions: &str) -> Arc<Megaflow> {
    let matching = odp::parse_match(text).unwrap();
    let actions = match actions {
        "drop" => [].into(),
        actions => odp::parse_actions(actions).unwrap(),
    };
    Arc::new(Megaflow::new(matching, actions))
}

/// Makes a megaflow from port 1 to station `n`.
fn station(n: u8, actions: &str) -> Arc<Megaflow> {
    flow(&format!("in_port(1),eth(dst=02:00:00:00:00:{n:02x}),eth_type(0x0800)"), actions)
}

fn install(flow: &Arc<Megaflow>, generation: u32) -> Op {
    Op::Install { flow: Arc::clone(flow), generation: Generation(generation) }
}

fn replace(flow: &Arc<Megaflow>, generation: u32) -> Op {
    Op::Replace { flow: Arc::clone(flow), generation: Generation(generation) }
}

fn remove(flow: &Arc<Megaflow>) -> Op {
    Op::Remove { ufid: flow.ufid }
}

fn apply(tc: &mut FakeTc, ops: &[Op]) -> Vec<Result<Stats, ProviderError>> {
    let mut done = Vec::new();
    tc.in_flight.extend(Submission::number(ops.iter().cloned()));
    while !tc.in_flight.is_empty() {
        let before = done.len();
        apply::apply(tc, &mut done);
        assert!((1..=64).contains(&(done.len() - before)), "a piece in each call");
    }
    let asked = ops.iter().map(|op| (op.ufid(), op.kind()));
    assert!(asked.eq(done.iter().map(|one| (one.ufid, one.kind))));
    done.into_iter().map(|one| one.result).collect()
}

/// Reads everything.
fn read(tc: &mut FakeTc, is_dump: bool) -> Vec<Dumped> {
    let mut out = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(from) = next {
        let (shown, rest) = reading::read(tc, from, is_dump).unwrap();
        out.extend(shown);
        next = rest;
    }
    out
}

fn stats(tc: &mut FakeTc) -> Vec<(Ufid, Stats)> {
    read(tc, false).into_iter().map(|one| (one.ufid, one.stats)).collect()
}

fn dump(tc: &mut FakeTc) -> Vec<Dumped> {
    read(tc, true)
}

fn only(kernel: &FakeKernel) -> Location {
    let all = kernel.locations();
    assert_eq!(all.len(), 1);
    all[0]
}

fn counters(packets: u64, bytes: u64) -> Counters {
    Counters { packets, bytes }
}

/// At a priority that is looked up before all of ours.
const FIRST: u16 = 5;

fn at(priority: u16) -> Location {
    Location { ifindex: 11, chain: 0, priority, handle: 0x99 }
}

/// Somebody's filter, which no hardware knows.
fn somebodys() -> Stored {
    Stored { protocol: 0x0800, ..Stored::default() }
}

/// Somebody's flower filter in hardware that takes every untagged packet of that EtherType.
fn in_hardware(protocol: u16) -> Stored {
    let keys = vec![(8, protocol.to_be_bytes().to_vec())];
    Stored { flower: true, in_hw: true, protocol, keys, ..Stored::default() }
}

fn install_all(tc: &mut FakeTc, flows: &[Arc<Megaflow>]) {
    let ops: Vec<Op> = flows.iter().map(|flow| install(flow, 1)).collect();
    assert!(apply(tc, &ops).iter().all(Result::is_ok));
}

fn ufids(out: &[(Ufid, Stats)]) -> Vec<Ufid> {
    let mut ufids: Vec<Ufid> = out.iter().map(|(ufid, _)| *ufid).collect();
    ufids.sort();
    ufids
}

fn of(flows: &[Arc<Megaflow>]) -> Vec<Ufid> {
    let mut ufids: Vec<Ufid> = flows.iter().map(|flow| flow.ufid).collect();
    ufids.sort();
    ufids
}
