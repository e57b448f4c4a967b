//! The host datapath: from a port that receives frames to a port that sends them.
//!
//! The cases are those in which the peers are measured: the same packets, megaflows and actions,
//! and nothing that the peers don't do. Each frame is copied from a ring into a packet, as
//! `net_pcap` does, and a sent frame is counted and forgotten, as `net_null` does. `io` is that
//! alone.

use std::sync::Arc;

use flow::odp::{parse_actions, parse_match};
use flow::packet::Packet;
use flow::{Actions, Blocking, Generation, Match, Megaflow, Moment, Op};
use hostdp::port::{BURST, Batch, Frame, LinkState, Port, PortKind, Taken, TxReport};
use hostdp::{Datapath, DatapathSettings};

use super::measure::{Case, Work};
use super::sets::attack::Sender::{Attacker, Good};
use super::sets::attack::Victim::ThreeFields;
use super::sets::{FlowSet, attack, peers};
use super::traffic::{IN, OUT, frame_of};

pub(super) const CASES: &[Case] = &[
    forward("io", "frames from one port to the other, and no datapath", |_| io()),
    forward("emc1", "1 flow, 1 megaflow", |_| one(1)),
    forward("emc1k", "1,000 flows, 1 megaflow", |_| one(1000)),
    forward("emc10k", "10,000 flows, 1 megaflow", |_| one(10_000)),
    forward("d10k_1", "10,000 megaflows under 1 mask", |most| peer(10_000, 1, most)),
    forward("d10k_10", "10,000 megaflows under 10 masks", |most| peer(10_000, 10, most)),
    forward("d10k_30", "10,000 megaflows under 30 masks", |most| peer(10_000, 30, most)),
    forward("d100k_1", "100,000 megaflows under 1 mask", |most| peer(100_000, 1, most)),
    forward("d100k_10", "100,000 megaflows under 10 masks", |most| peer(100_000, 10, most)),
    forward("d100k_30", "100,000 megaflows under 30 masks", |most| peer(100_000, 30, most)),
    forward("d1m_1", "1,000,000 megaflows under 1 mask, 100,000 of them hit", |most| {
        peer(1_000_000, 1, most)
    }),
    forward("d1m_10", "1,000,000 megaflows under 10 masks, 100,000 of them hit", |most| {
        peer(1_000_000, 10, most)
    }),
    forward("a_out", "1 megaflow: output", |_| acts("2")),
    forward("a_vlan", "1 megaflow: push a tag, output", |_| acts("push_vlan(vid=100,pcp=0),2")),
    forward("a_eth", "1 megaflow: rewrite both MAC addresses, output", |_| {
        acts("set(eth(src=02:00:00:00:00:09,dst=02:00:00:00:00:0a)),2")
    }),
    forward("a_ttl", "1 megaflow: rewrite the TTL, output", |_| acts("set(ipv4(ttl=63)),2")),
    forward("a_nat", "1 megaflow: rewrite IPv4 addresses and UDP ports, output", |_| {
        acts("set(ipv4(src=10.1.1.1,dst=10.2.2.2)),set(udp(src=7,dst=8)),2")
    }),
    forward("a_all", "1 megaflow: push a tag, rewrite MACs, IPv4, TTL and ports, output", |_| {
        acts(
            "push_vlan(vid=100,pcp=0),set(eth(src=02:00:00:00:00:09,dst=02:00:00:00:00:0a)),\
             set(ipv4(src=10.1.1.1,dst=10.2.2.2,ttl=63)),set(udp(src=7,dst=8)),2",
        )
    }),
    forward("r_recirc", "1 megaflow that recirculates, 1 that outputs", |_| recirculate(1, 1)),
    forward(
        "r_rec100k",
        "100,000 megaflows under 10 masks that recirculate, 1 that outputs",
        |most| recirculate(100_000.min(most), 10),
    ),
    forward("tse_1", "1,000 flows beside an attack with 1 mask", |most| attacked(1, Good, most)),
    forward("tse_1000", "1,000 flows beside an attack with 1,000 masks", |most| {
        attacked(1000, Good, most)
    }),
    forward("tse_8000", "1,000 flows beside an attack with 8,000 masks", |most| {
        attacked(8000, Good, most)
    }),
    forward("tse_8000_own", "packets of an attack with 8,000 masks", |most| {
        attacked(8000, Attacker, most)
    }),
];

/// The megaflow of the `emc` cases: what Open vSwitch makes of the peers' OpenFlow rule.
const ONE: &str = "recirc_id(0),in_port(1),eth_type(0x0800),\
                   ipv4(dst=192.0.0.0/255.0.0.0,proto=17,frag=no),udp(dst=2000)";
/// The megaflow behind a recirculation.
const BEHIND: &str = "recirc_id(0x1),in_port(1),eth_type(0x0800),ipv4(frag=no)";

/// Bursts between two looks at the clock.
const BURSTS: usize = 8;
/// The most megaflows that have packets.
const VISITED: u32 = 100_000;

const fn forward(
    name: &'static str,
    what: &'static str,
    setup: fn(u32) -> Result<Work, String>,
) -> Case {
    Case { name, unit: "packet", what, setup }
}

fn one(flows: u32) -> Result<Work, String> {
    let flow = parse_match(ONE).map_err(|error| error.to_string())?;
    let FlowSet { traffic, .. } = peers::hits(flows, 1, flows)?;
    work(FlowSet { flows: vec![flow], traffic, hits: true }, "2", None)
}

fn peer(flows: u32, masks: u32, most: u32) -> Result<Work, String> {
    work(peers::hits(flows.min(most), masks, VISITED)?, "2", None)
}

fn acts(actions: &str) -> Result<Work, String> {
    work(peers::hits(1, 1, 1)?, actions, None)
}

fn recirculate(flows: u32, masks: u32) -> Result<Work, String> {
    work(peers::hits(flows, masks, flows)?, "recirc(0x1)", Some(BEHIND))
}

fn attacked(masks: u32, sender: attack::Sender, most: u32) -> Result<Work, String> {
    work(attack::set(masks.min(most), most.min(1000), ThreeFields, sender)?, "2", None)
}

/// The frames of packets, over and over again, so many that each burst is full.
fn ring(set: &FlowSet) -> Vec<Vec<u8>> {
    let count = set.traffic.len().next_multiple_of(BURST).max(2 * BURST);
    set.traffic.iter().cycle().take(count).map(frame_of).collect()
}

/// The datapath with these megaflows and this traffic. Every packet has to come out.
fn work(set: FlowSet, actions: &str, behind: Option<&str>) -> Result<Work, String> {
    let output: Actions = parse_actions("2").map_err(|error| error.to_string())?;
    let actions: Actions = parse_actions(actions).map_err(|error| error.to_string())?;
    let settings = DatapathSettings { flow_limit: 1 << 21, ..DatapathSettings::default() };
    let mut datapath = Datapath::new(settings);
    let frames = ring(&set);
    let round = frames.len() as u64;
    for (id, name, frames) in [(IN, "in", frames), (OUT, "out", Vec::new())] {
        let port = ReplayPort { name, frames, next: 0 };
        datapath.add_port(id, Box::new(port)).map_err(|error| error.to_string())?;
    }
    for flow in set.flows {
        install(&mut datapath, flow, actions.clone())?;
    }
    if let Some(behind) = behind {
        let flow = parse_match(behind).map_err(|error| error.to_string())?;
        install(&mut datapath, flow, output)?;
    }
    let mut polled = 0;
    while polled < round {
        polled += datapath.poll(Moment(polled)) as u64;
    }
    let sent = datapath.snapshot().ports.iter().find(|port| port.id == OUT).map(|port| port.sent);
    if sent.is_none_or(|sent| sent.packets != polled) {
        return Err(format!("{polled} packets came in, and {sent:?} went out"));
    }
    let mut time = round;
    Ok(Box::new(move |_| {
        let mut packets = 0;
        for _ in 0..BURSTS {
            time += 1000;
            packets += datapath.poll(Moment(time));
        }
        Ok(packets as u64)
    }))
}

pub(super) fn install(
    datapath: &mut Datapath,
    flow: Match,
    actions: Actions,
) -> Result<(), String> {
    let flow = Arc::new(Megaflow::new(flow, actions));
    let mut done = Vec::new();
    datapath.table().apply(&[Op::Install { flow, generation: Generation(1) }], &mut done);
    done.into_iter().try_for_each(|done| done.result.map(drop).map_err(|error| error.to_string()))
}

/// What receiving and sending cost by themselves.
fn io() -> Result<Work, String> {
    let frames = ring(&peers::hits(1, 1, 1)?);
    let mut from = ReplayPort { name: "in", frames, next: 0 };
    let mut to = ReplayPort { name: "out", frames: Vec::new(), next: 0 };
    let (mut batch, mut queue, mut report) = (Batch::new(), Vec::new(), TxReport::default());
    Ok(Box::new(move |_| {
        for _ in 0..BURSTS {
            from.receive(&mut batch);
            let Taken { frames, pool, .. } = batch.take();
            queue.extend(frames.map(|frame| frame.packet));
            to.transmit(&mut queue, &mut report);
            queue.drain(..).for_each(|packet| pool.keep(packet));
        }
        Ok(std::mem::take(&mut report.sent).packets)
    }))
}

/// Receives its frames over and over again; counts and forgets what it sends.
struct ReplayPort {
    name: &'static str,
    frames: Vec<Vec<u8>>,
    next: usize,
}

impl Port for ReplayPort {
    fn name(&self) -> &str {
        self.name
    }

    fn kind(&self) -> PortKind {
        PortKind::Memory
    }

    fn receive(&mut self, batch: &mut Batch) {
        while batch.room() > 0 {
            let Some(frame) = self.frames.get(self.next) else { return };
            let packet = batch.packet(frame);
            batch.push(Frame::fresh(packet));
            self.next = if self.next + 1 < self.frames.len() { self.next + 1 } else { 0 };
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        frames.iter().for_each(|frame| report.sent(frame.counters()));
    }

    fn state(&self) -> LinkState {
        LinkState::Up
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Aside;
    use super::*;

    #[test]
    fn every_case_forwards_all_its_packets() {
        for case in CASES {
            let mut work = (case.setup)(300).unwrap();
            for _ in 0..10 {
                let packets = work(&mut Aside::default());
                assert_eq!(packets, Ok((BURSTS * BURST) as u64), "{}", case.name);
            }
        }
    }

    #[test]
    fn a_packet_that_does_not_come_out_is_an_error() {
        let set = peers::hits(10, 1, 10).unwrap();
        let error = work(set, "7", None).err();
        assert!(error.is_some_and(|why| why.starts_with("64 packets came in, and")));
    }
}
