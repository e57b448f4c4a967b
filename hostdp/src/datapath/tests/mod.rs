mod ledger;
mod limits;
mod reference;
mod upcalls;

use std::sync::Arc;

use flow::packet::Packet;
use flow::packet::extract;
use flow::{Action, Blocking, Generation, Key, Mask, Match, Megaflow, Op, Stats};

use super::*;
use crate::port::memory::{self, MemoryPeer};
use crate::testing;

/// A datapath with memory ports 1 to `count`, and their peers.
fn datapath(config: DatapathSettings, count: u32) -> (Datapath, Vec<MemoryPeer>) {
    let mut datapath = Datapath::new(config);
    let peers = (1..=count).map(|n| {
        let (port, peer) = memory::open(&format!("m{n}"), 1 << 16).unwrap();
        datapath.add_port(PortId(n), Box::new(port)).unwrap();
        peer
    });
    let peers = peers.collect();
    (datapath, peers)
}

fn install(datapath: &mut Datapath, flow: &Arc<Megaflow>) {
    apply(datapath, Op::Install { flow: flow.clone(), generation: Generation(1) });
}

/// Applies an operation; returns the statistics that it ends with.
fn apply(datapath: &mut Datapath, op: Op) -> Stats {
    let mut done = Vec::new();
    datapath.table().apply(&[op], &mut done);
    done.remove(0).result.unwrap()
}

/// All packets of a port and scope.
fn everything(port: u32, recirc_id: u32, actions: &[Action]) -> Arc<Megaflow> {
    let key = Key { in_port: port, recirc_id, ..Key::default() };
    Arc::new(Megaflow::new(Match::new(&key, &Mask::default()), actions))
}

/// Exactly the packets with the frame's key.
fn only(port: u32, frame: &[u8], actions: &[Action]) -> Arc<Megaflow> {
    let mask = Key::mask_of(flow::Field::ALL);
    let key = Key { in_port: port, ..extract(frame) };
    testing::meaningful(&key, &mask, actions)
}

fn output(port: u32) -> Action {
    Action::Output(PortId(port))
}

fn sent(peer: &MemoryPeer) -> Vec<Vec<u8>> {
    peer.drain().iter().map(|packet| packet.bytes().to_vec()).collect()
}
