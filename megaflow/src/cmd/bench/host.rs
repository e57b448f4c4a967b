//! The host datapath: from a port that receives frames to a port that sends them.
//!
//! The cases are those in which the peers are measured: the same packets, megaflows and actions,
//! and nothing that the peers don't do. Each frame is copied from a ring into a packet, as
//! `net_pcap` does, and a sent frame is counted and forgotten, as `net_null` does. `io` is that
//! alone.

use std::sync::Arc;
use std::time::Duration;

use flow::odp::{parse_actions, parse_match};
use flow::packet::Packet;
use flow::{Actions, Blocking, Clock, Generation, Match, Megaflow, Moment, Op};
use hostdp::port::{BURST, Batch, Frame, LinkState, Port, PortKind, Taken, TxReport};
use hostdp::{Datapath, DatapathSettings};

use super::measure::{Case, Measurable, Work};
use super::sets::attack::Sender::{Attacker, Good};
use super::sets::attack::Victim::ThreeFields;
use super::sets::{FlowSet, acl, attack, peers};
use super::traffic::{IN, OUT, frame_of};

pub(super) const CASES: &[Case<Scene>] = &[
    forward("io", "frames from one port to the other, and no datapath", |_| Scene::io()),
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
    forward("acl", "10,000 megaflows that an access list gives, under 2,757 masks", |most| {
        Ok(Scene::new(acl::hits(most.min(10_000))?, "2"))
    }),
    forward("mix", "1,000,000 megaflows under 10 masks, packets by Zipf's law", |most| {
        Ok(Scene::new(peers::zipf(most.min(1_000_000), 10, MIX.min(most.saturating_mul(8)))?, "2"))
    }),
    forward("churn", "d100k_10 while 100,000 of 20,000 others a second are replaced", churn),
];

/// The megaflow of the `emc` cases: what Open vSwitch makes of the peers' OpenFlow rule.
const ONE: &str = "recirc_id(0),in_port(1),eth_type(0x0800),\
                   ipv4(dst=192.0.0.0/255.0.0.0,proto=17,frag=no),udp(dst=2000)";
/// The megaflow behind a recirculation.
const BEHIND: &str = "recirc_id(0x1),in_port(1),eth_type(0x0800),ipv4(frag=no)";

/// Bursts between two looks at the clock.
const BURSTS: usize = 8;
/// Packets of one call of the work.
pub(super) const CALL: u64 = (BURSTS * BURST) as u64;
/// The most megaflows that have packets.
const VISITED: u32 = 100_000;
/// Packets of the mix: no more than Open vSwitch has room for in memory.
const MIX: u32 = 100_000;
/// Time for each megaflow that is replaced in `churn`: 100,000 are in a second.
const EACH: Duration = Duration::from_micros(10);
/// The most that are replaced between two calls of the work.
const MOST: u32 = 64;

const fn forward(
    name: &'static str,
    what: &'static str,
    setup: fn(u32) -> Result<Scene, String>,
) -> Case<Scene> {
    Case { name, unit: "packet", what, setup }
}

/// Megaflows, what they do, and packets that hit them.
pub(super) struct Scene {
    set: FlowSet,
    actions: &'static str,
    /// The megaflow behind a recirculation; it sends the packets.
    behind: Option<&'static str>,
    /// There is no datapath at all, only ports.
    is_io: bool,
    /// Megaflows without packets: half of them are there at any time, and the oldest go for those
    /// that are gone longest.
    churn: Vec<Match>,
}

impl Scene {
    fn new(set: FlowSet, actions: &'static str) -> Scene {
        Scene { set, actions, behind: None, is_io: false, churn: Vec::new() }
    }

    fn io() -> Result<Scene, String> {
        Ok(Scene { is_io: true, ..Scene::new(peers::hits(1, 1, 1)?, "2") })
    }

    /// Returns true if another switch can't have the scene: there are only ports, or megaflows come
    /// and go as packets do.
    pub(super) fn is_ours_alone(&self) -> bool {
        self.is_io || !self.churn.is_empty()
    }

    /// The megaflows that arriving packets hit.
    pub(super) fn flows(&self) -> &[Match] {
        &self.set.flows
    }

    /// Their actions, which send by port 2 or recirculate.
    pub(super) fn actions(&self) -> &str {
        self.actions
    }

    /// The megaflow behind a recirculation.
    pub(super) fn behind(&self) -> Result<Option<Match>, String> {
        self.behind.map(parse_match).transpose().map_err(|error| error.to_string())
    }

    /// The frames of the packets, over and over again, so many that each burst is full.
    pub(super) fn frames(&self) -> Vec<Vec<u8>> {
        let traffic = &self.set.traffic;
        let count = traffic.len().next_multiple_of(BURST).max(2 * BURST);
        traffic.iter().cycle().take(count).map(frame_of).collect()
    }
}

impl Measurable for Scene {
    fn work(self) -> Result<Work, String> {
        if self.is_io { Ok(io(self.frames())) } else { forward_all(self) }
    }
}

fn one(flows: u32) -> Result<Scene, String> {
    let flow = parse_match(ONE).map_err(|error| error.to_string())?;
    let FlowSet { traffic, .. } = peers::hits(flows, 1, flows)?;
    Ok(Scene::new(FlowSet { flows: vec![flow], traffic, hits: true }, "2"))
}

fn peer(flows: u32, masks: u32, most: u32) -> Result<Scene, String> {
    Ok(Scene::new(peers::hits(flows.min(most), masks, VISITED)?, "2"))
}

fn acts(actions: &'static str) -> Result<Scene, String> {
    Ok(Scene::new(peers::hits(1, 1, 1)?, actions))
}

fn recirculate(flows: u32, masks: u32) -> Result<Scene, String> {
    let set = peers::hits(flows, masks, flows)?;
    Ok(Scene { behind: Some(BEHIND), ..Scene::new(set, "recirc(1)") })
}

fn churn(most: u32) -> Result<Scene, String> {
    let (there, others) = (VISITED.min(most), VISITED.min(most) / 5 * 2);
    let mut set = peers::hits(there + others, 10, there)?;
    let churn = set.flows.split_off(there as usize);
    Ok(Scene { churn, ..Scene::new(set, "2") })
}

fn attacked(masks: u32, sender: attack::Sender, most: u32) -> Result<Scene, String> {
    let set = attack::set(masks.min(most), most.min(1000), ThreeFields, sender)?;
    Ok(Scene::new(set, "2"))
}

/// The datapath of the case `emc1`.
pub(super) fn emc1() -> Result<Datapath, String> {
    datapath_of(one(1)?).map(|(datapath, _)| datapath)
}

fn forward_all(mut scene: Scene) -> Result<Work, String> {
    let churn = std::mem::take(&mut scene.churn);
    let (mut datapath, mut time) = datapath_of(scene)?;
    let mut churn = (!churn.is_empty()).then(|| Churn::begin(&mut datapath, churn)).transpose()?;
    Ok(Box::new(move |_| {
        let mut packets = 0;
        for _ in 0..BURSTS {
            time += 1000;
            packets += datapath.poll(Moment(time));
        }
        if let Some(churn) = &mut churn {
            churn.go_on(&mut datapath)?;
        }
        Ok(packets as u64)
    }))
}

/// Megaflows that come and go at a rate.
struct Churn {
    ring: Vec<Arc<Megaflow>>,
    clock: Clock,
    last: Moment,
    /// The one to go next, and how many went.
    next: usize,
}

impl Churn {
    fn begin(datapath: &mut Datapath, flows: Vec<Match>) -> Result<Churn, String> {
        let actions: Actions = parse_actions("2").map_err(|error| error.to_string())?;
        let ring = flows.into_iter().map(|flow| Arc::new(Megaflow::new(flow, actions.clone())));
        let (clock, last) = (Clock::start(), Moment::default());
        let churn = Churn { ring: ring.collect(), clock, last, next: 0 };
        let half = churn.ring.iter().take(churn.ring.len() / 2);
        half.into_iter().try_for_each(|flow| apply(datapath, [installed(flow)]))?;
        Ok(churn)
    }

    /// Replaces as many as are due. Those that fell due while nothing was measured are left out.
    fn go_on(&mut self, datapath: &mut Datapath) -> Result<(), String> {
        let now = self.clock.now();
        let due = now.since(self.last).as_nanos() / EACH.as_nanos();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        self.last = if due > MOST { now } else { self.last + EACH * due };
        for _ in 0..due.min(MOST) {
            let at = |number: usize| self.ring.get(number % self.ring.len()).ok_or("no megaflow");
            let (old, new) = (at(self.next)?, at(self.next + self.ring.len() / 2)?);
            apply(datapath, [Op::Remove { ufid: old.ufid }, installed(new)])?;
            self.next += 1;
        }
        Ok(())
    }
}

/// The datapath with these megaflows and this traffic, each packet of which has come out, and the
/// time by then.
fn datapath_of(scene: Scene) -> Result<(Datapath, u64), String> {
    let parsed = |text| parse_actions(text).map_err(|error| error.to_string());
    let (output, actions): (Actions, Actions) = (parsed("2")?, parsed(scene.actions)?);
    let settings = DatapathSettings { flow_limit: 1 << 21, ..DatapathSettings::default() };
    let mut datapath = Datapath::new(settings);
    let (frames, behind) = (scene.frames(), scene.behind()?);
    let round = frames.len() as u64;
    for (id, name, frames) in [(IN, "in", frames), (OUT, "out", Vec::new())] {
        let port = ReplayPort { name, frames, next: 0 };
        datapath.add_port(id, Box::new(port)).map_err(|error| error.to_string())?;
    }
    for flow in scene.set.flows {
        install(&mut datapath, flow, actions.clone())?;
    }
    if let Some(flow) = behind {
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
    Ok((datapath, round))
}

pub(super) fn install(
    datapath: &mut Datapath,
    flow: Match,
    actions: Actions,
) -> Result<(), String> {
    apply(datapath, [installed(&Arc::new(Megaflow::new(flow, actions)))])
}

fn installed(flow: &Arc<Megaflow>) -> Op {
    Op::Install { flow: flow.clone(), generation: Generation(1) }
}

fn apply<const N: usize>(datapath: &mut Datapath, ops: [Op; N]) -> Result<(), String> {
    let mut done = Vec::new();
    datapath.table().apply(&ops, &mut done);
    done.into_iter().try_for_each(|done| done.result.map(drop).map_err(|error| error.to_string()))
}

/// What receiving and sending cost by themselves.
fn io(frames: Vec<Vec<u8>>) -> Work {
    let mut from = ReplayPort { name: "in", frames, next: 0 };
    let mut to = ReplayPort { name: "out", frames: Vec::new(), next: 0 };
    let (mut batch, mut queue, mut report) = (Batch::new(), Vec::new(), TxReport::default());
    Box::new(move |_| {
        for _ in 0..BURSTS {
            from.receive(&mut batch);
            let Taken { frames, pool, .. } = batch.take();
            queue.extend(frames.map(|frame| frame.packet));
            to.transmit(&mut queue, &mut report);
            pool.keep_all(&mut queue);
        }
        Ok(std::mem::take(&mut report.sent).packets)
    })
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
            let mut work = (case.setup)(300).unwrap().work().unwrap();
            for _ in 0..10 {
                let packets = work(&mut Aside::default());
                assert_eq!(packets, Ok((BURSTS * BURST) as u64), "{}", case.name);
            }
        }
    }

    #[test]
    fn a_packet_that_does_not_come_out_is_an_error() {
        let set = peers::hits(10, 1, 10).unwrap();
        let error = Scene::new(set, "7").work().err();
        assert!(error.is_some_and(|why| why.starts_with("64 packets came in, and")));
    }
}
