//! Every packet received is accounted for exactly once, whatever happens to it.

use flow::exception::{MissDescriptor, MissReason};
use flow::{Generation, RecircId, Userspace, VLAN_PRESENT};
use proptest::prelude::*;
use proptest::sample::select;
use std::time::Duration;

use super::*;
use crate::ledger::Ends;
use crate::port::{Frame, LinkState};
use crate::upcall::{QueuedUpcall, Resolution};

#[derive(Clone, Debug)]
enum Step {
    Burst(u32, Vec<(u8, u8, usize)>),
    Short(u32, usize),
    Unreadable(u32, usize),
    FromCard(u32, u8, u32, MissReason),
    Install(u32, u8, u8, Vec<Action>),
    RemoveFlow(usize),
    Serve(usize),
    Answer(usize, u8),
    Execute(u8),
    Link(usize, bool),
    RemovePort,
    Check(u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let one = select(vec![
        output(1),
        output(2),
        output(77),
        Action::Trunc(40),
        Action::PushVlan { tpid: 0x8100, tci: VLAN_PRESENT | 7 },
        Action::Recirc(RecircId(1)),
        Action::Recirc(RecircId(2)),
        Action::PopVlan,
        Action::Userspace(Userspace { pid: 1, userdata: vec![] }),
        Action::Userspace(Userspace { pid: crate::SPECIAL_PID, userdata: vec![] }),
        Action::Sample { probability: u32::MAX / 2, actions: [output(1)].into() },
    ]);
    prop::collection::vec(one, 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    use MissReason::{Miss, RecircLimit, ToHost};
    let packet = (0..16_u8, 0..24_u8, 0..200_usize);
    prop_oneof![
        6 => (1..4_u32, prop::collection::vec(packet, 1..40)).prop_map(|(p, b)| Step::Burst(p, b)),
        1 => (1..4_u32, 0..14_usize).prop_map(|(p, n)| Step::Short(p, n)),
        1 => (1..4_u32, 14..9000_usize).prop_map(|(p, n)| Step::Unreadable(p, n)),
        2 => (1..4_u32, any::<u8>(), 0..3_u32, select(vec![Miss, ToHost, RecircLimit]))
            .prop_map(|(p, n, id, reason)| Step::FromCard(p, n, id, reason)),
        3 => (0..3_u32, 0..16_u8, 0..24_u8, actions())
            .prop_map(|(id, kind, n, actions)| Step::Install(id, kind, n, actions)),
        1 => any::<usize>().prop_map(Step::RemoveFlow),
        2 => (1..20_usize).prop_map(Step::Serve),
        4 => (any::<usize>(), 0..5_u8).prop_map(|(n, how)| Step::Answer(n, how)),
        1 => any::<u8>().prop_map(Step::Execute),
        1 => (0..3_usize, any::<bool>()).prop_map(|(n, up)| Step::Link(n, up)),
        1 => Just(Step::RemovePort),
        1 => (0..3_u64).prop_map(Step::Check),
    ]
}

struct World {
    datapath: Datapath,
    peers: Vec<MemoryPeer>,
    open: Vec<QueuedUpcall>,
    received: Counters,
    continued: Counters,
    now: Moment,
}

impl World {
    fn new() -> World {
        // The limits are small, so that each of them is reached.
        let upcalls = UpcallLimits {
            queue: 6,
            special: 3,
            bytes_per_key: 1000,
            bytes_per_port: 8000,
            outstanding: 9,
            batch: 9,
            quota: 2,
            timeout: Duration::from_secs(2),
        };
        let config = DatapathSettings { upcalls, deferred_limit: 6, ..DatapathSettings::default() };
        let (datapath, peers) = datapath(config, 3);
        let zero = Counters::default();
        World { datapath, peers, open: vec![], received: zero, continued: zero, now: Moment(0) }
    }

    fn frames(&mut self, port: u32, frames: Vec<Frame>) {
        let mut batch = Batch::new();
        for frame in frames {
            let what = Counters::packet(frame.packet.len());
            if frame.continued {
                self.continued += what;
            } else {
                self.received += what;
            }
            batch.push(frame);
        }
        self.datapath.process(PortId(port), &mut batch, self.now);
    }

    fn install(&mut self, recirc_id: u32, frame: &[u8], actions: &[Action]) {
        let mask = Mask { eth_type: !0, ip_proto: !0, ip_ttl: !0, ..Mask::default() };
        let key = Key { in_port: 1, recirc_id, ..extract(frame) };
        let flow = testing::meaningful(&key, &mask, actions);
        let op = Op::Install { flow, generation: Generation(0) };
        self.datapath.table().apply(&[op], &mut Vec::new());
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Burst(port, frames) => {
                let frames = frames.iter().map(|(k, n, len)| testing::frame(*k, *n, *len));
                let frames = frames.map(|f| Frame::fresh(Packet::new(&f))).collect();
                self.frames(port, frames);
            }
            Step::Short(port, len) => {
                self.frames(port, vec![Frame::fresh(Packet::new(&vec![0; len]))]);
            }
            Step::Unreadable(port, len) => {
                let mut batch = Batch::new();
                batch.drop(DropReason::Malformed, len);
                self.received += Counters::packet(len);
                self.datapath.process(PortId(port), &mut batch, self.now);
            }
            Step::FromCard(port, n, id, reason) => {
                let frame = testing::frame(n % 16, n, 9);
                let (recirc_id, original_len) = (RecircId(id), frame.len() as u32);
                let miss = MissDescriptor { reason, recirc_id, dp_hash: 5, original_len };
                self.frames(port, vec![Frame::from_card(Packet::new(&frame), &miss)]);
            }
            Step::Install(id, kind, n, actions) => {
                self.install(id, &testing::frame(kind, n, 0), &actions);
            }
            Step::RemoveFlow(n) => {
                let count = self.datapath.table().len().max(1);
                let flow = self.datapath.table().flows().nth(n % count).cloned();
                if let Some(flow) = flow {
                    let op = Op::Remove { ufid: flow.ufid };
                    self.datapath.table().apply(&[op], &mut Vec::new());
                }
            }
            Step::Serve(max) => {
                let upcalls = self.datapath.next_upcalls(max);
                assert!(upcalls.len() <= max);
                self.open.extend(upcalls.into_iter().filter(|upcall| upcall.id.is_some()));
            }
            Step::Answer(n, how) => self.answer(n, how),
            Step::Execute(n) => {
                let frame = testing::frame(n % 16, n, 3);
                let actions = [output(1), Action::Recirc(RecircId(1))];
                self.datapath.execute(&frame, PortId(1), &actions.into(), self.now);
            }
            Step::Link(n, is_up) => {
                self.peers[n].set_state(if is_up { LinkState::Up } else { LinkState::Down });
            }
            Step::RemovePort => {
                if let Some(port) = self.datapath.remove_port(PortId(3)) {
                    self.datapath.add_port(PortId(3), port).unwrap();
                }
            }
            Step::Check(seconds) => {
                self.now = self.now + Duration::from_secs(seconds);
                self.datapath.check(self.now);
            }
        }
    }

    fn answer(&mut self, n: usize, how: u8) {
        if self.open.is_empty() {
            return;
        }
        let upcall = self.open.swap_remove(n % self.open.len());
        let resolution = match how {
            0 => Resolution::Drop,
            1 => Resolution::Execute([output(2)].into()),
            2 => Resolution::Execute([].into()),
            3 => {
                self.install(upcall.key.recirc_id, &upcall.frame, &[output(2)]);
                Resolution::Reinject
            }
            // The client installed no megaflow. That is its mistake, and must not cause a loop.
            _ => Resolution::Reinject,
        };
        let id = upcall.id.unwrap();
        self.datapath.resolve(id, &resolution, self.now);
        assert!(!self.datapath.resolve(id, &Resolution::Drop, self.now), "answered once");
    }

    fn is_exact(&self) -> Result<(), TestCaseError> {
        let ledger = self.datapath.ledger();
        prop_assert_eq!(ledger.fresh.received, self.received);
        prop_assert_eq!(ledger.continued.received, self.continued);
        prop_assert_eq!(ledger.fresh.accounted(), ledger.fresh.received);
        prop_assert_eq!(ledger.continued.accounted(), ledger.continued.received);
        self.ends_are_exact()
    }

    /// Every packet and every copy of one ended once, or waits.
    fn ends_are_exact(&self) -> Result<(), TestCaseError> {
        let snapshot = self.datapath.snapshot();
        let Ends { forks, userspace, sent, waiting } = snapshot.ends;
        let began = self.received + self.continued + snapshot.injected + forks.copies;
        let ended = forks.dropped + userspace + sent + snapshot.drops.total() + waiting;
        prop_assert_eq!(began.packets, ended.packets);
        prop_assert_eq!(began.bytes.saturating_add_signed(forks.rewritten), ended.bytes);
        let waited = snapshot.ledger.fresh.pending + snapshot.ledger.continued.pending;
        prop_assert!(waiting.packets >= waited.packets);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn is_exact_after_every_step(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let is_removing = steps.iter().any(|step| matches!(step, Step::RemovePort));
        for step in steps {
            world.step(step);
            world.is_exact()?;
        }
        // After all timeouts no packet waits, and the accounts still add up.
        world.step(Step::Check(10));
        world.is_exact()?;
        let ledger = world.datapath.ledger();
        prop_assert!(ledger.fresh.pending.is_zero() && ledger.continued.pending.is_zero());
        prop_assert_eq!(world.datapath.upcalls_waiting().0, 0);
        prop_assert!(world.datapath.snapshot().ends.waiting.is_zero());
        let snapshot = world.datapath.snapshot();
        let ports: Counters = snapshot.ports.iter().map(|port| port.received).sum();
        // A removed port takes its counters along.
        prop_assert!(is_removing || ports == world.received);
    }
}
