//! The datapath against the slow obvious one, packet for packet.

use std::collections::BTreeMap;

use flow::packet::Unfinished;
use flow::reference::{Effect, ReferenceTable, execute};
use flow::{Attr, HashAlgorithm, RecircId, SetFields, Ufid, Userspace};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::port::Frame;
use crate::upcall::Resolution;

const PORTS: u32 = 3;
const RECIRC_LIMIT: usize = 3;

fn action() -> impl Strategy<Value = Action> {
    let flat = select(vec![
        output(1),
        output(2),
        output(3),
        output(3),
        output(9),
        Action::Trunc(40),
        Action::Trunc(14),
        Action::Recirc(RecircId(1)),
        Action::Recirc(RecircId(2)),
        Action::PopVlan,
        Action::PushVlan { tpid: 0x8100, tci: 0x1007 },
        Action::PopMpls { eth_type: 0x0800 },
        Action::PushMpls { lse: 0x0001_0140, eth_type: 0x8847 },
        Action::Hash { algorithm: HashAlgorithm::L4, basis: 1 },
        Action::Userspace(Userspace { pid: 7, userdata: vec![1, 2] }),
        set_ttl(9),
        set_ttl(63),
        set_tcp_port(81),
        set_addresses(),
    ]);
    prop_oneof![
        8 => flat.clone(),
        1 => (any::<bool>(), prop::collection::vec(flat, 0..4)).prop_map(|(is_always, nested)| {
            let probability = if is_always { u32::MAX } else { 0 };
            Action::Sample { probability, actions: nested.into() }
        }),
    ]
}

fn set_ttl(ttl: u8) -> Action {
    let value = Key { ip_ttl: ttl, ..Key::default() };
    let mask = Mask { ip_ttl: 0xff, ..Mask::default() };
    Action::Set(Box::new(SetFields { attr: Attr::Ip, protocol: 4, value, mask }))
}

fn set_tcp_port(port: u16) -> Action {
    let value = Key { tp_dst: port, ..Key::default() };
    let mask = Key::mask_of(&[flow::Field::TpDst]);
    Action::Set(Box::new(SetFields { attr: Attr::Transport, protocol: 6, value, mask }))
}

fn set_addresses() -> Action {
    let value = Key { ipv4_src: 0xc0a8_0001, ipv4_dst: 0xc0a8_0002, ..Key::default() };
    let mask = Mask { ipv4_src: !0, ipv4_dst: !0, ..Mask::default() };
    Action::Set(Box::new(SetFields { attr: Attr::Ipv4, protocol: 4, value, mask }))
}

/// A megaflow around the key of some frame, in a scope, under some mask.
fn megaflow() -> impl Strategy<Value = Arc<Megaflow>> {
    let mask = (
        select(vec![0_u16, 0xffff, 0xffff]),
        select(vec![0_u16, 0xffff, 0x1000]),
        select(vec![0_u8, 0, 0xff, 1]),
        select(vec![0_u16, 0, 0xffff, 2]),
        select(vec![0_u32, 0, !0]),
        select(vec![0_u8, !0]),
    )
        .prop_map(|(eth_type, vlan_tci, ip_ttl, tp_dst, ipv4_src, ip_proto)| Mask {
            eth_type,
            ip_proto,
            vlan_tci,
            ip_ttl,
            tp_dst,
            ipv4_src,
            ..Mask::default()
        });
    let scope = (1..=PORTS, select(vec![0_u32, 0, 1, 2]));
    let actions = prop::collection::vec(action(), 0..5);
    (scope, 0..16_u8, any::<u8>(), mask, actions).prop_map(
        |((in_port, recirc_id), kind, n, mask, actions)| {
            let key = Key { in_port, recirc_id, ..extract(&testing::frame(kind, n, 20)) };
            testing::meaningful(&key, &mask, &actions)
        },
    )
}

/// The results of the slow datapath.
#[derive(Default)]
struct Slow {
    table: ReferenceTable,
    sent: BTreeMap<u32, Vec<Vec<u8>>>,
    userspace: Vec<(Key, Vec<u8>, Vec<u8>)>,
    misses: Vec<(Key, Vec<u8>)>,
    stats: BTreeMap<Ufid, Stats>,
    recirc_drops: u64,
}

impl Slow {
    fn process(&mut self, packet: &Packet, key: &Key, depth: usize) {
        let Some(flow) = self.table.lookup(key).cloned() else {
            self.misses.push((*key, packet.bytes().to_vec()));
            return;
        };
        let stats = self.stats.entry(flow.ufid).or_default();
        stats.counters += Counters::packet(packet.len());
        stats.tcp_flags |= key.tcp_flags;
        stats.used = Some(Moment(1));
        for effect in execute(&flow.actions, packet, key, &mut |_| unreachable!("0 or always")) {
            match effect {
                Effect::Output(port, frame) => self.sent.entry(port.0).or_default().push(frame),
                Effect::Userspace(action, key, frame) => {
                    self.userspace.push((key, action.userdata, frame));
                }
                Effect::Recirc(..) if depth >= RECIRC_LIMIT => self.recirc_drops += 1,
                Effect::Recirc(_, key, packet) => self.process(&packet, &key, depth + 1),
            }
        }
    }
}

type Traffic = Vec<(u32, u8, u8)>;

struct Worlds {
    slow: Slow,
    fast: Datapath,
    peers: Vec<MemoryPeer>,
}

fn worlds(flows: &[Arc<Megaflow>]) -> Worlds {
    let config = DatapathSettings {
        recirc_limit: RECIRC_LIMIT,
        deferred_limit: usize::MAX,
        ..DatapathSettings::default()
    };
    let (mut fast, peers) = datapath(config, PORTS);
    let mut slow = Slow::default();
    for flow in flows {
        if slow.table.install(flow.clone()).is_ok() {
            install(&mut fast, flow);
            slow.stats.insert(flow.ufid, Stats::default());
        }
    }
    Worlds { slow, fast, peers }
}

impl Worlds {
    fn slow_packet(&mut self, port: u32, frame: &[u8]) {
        let key = Key { in_port: port, ..extract(frame) };
        self.slow.process(&Packet::new(frame), &key, 0);
    }

    /// Removes the megaflow in both, or installs it in both if it is in neither.
    fn toggle(&mut self, flow: &Arc<Megaflow>) -> Result<(), TestCaseError> {
        let ufid = flow.ufid;
        if self.slow.table.remove(ufid) {
            let last = apply(&mut self.fast, Op::Remove { ufid });
            prop_assert_eq!(Some(last), self.slow.stats.remove(&ufid));
        } else if self.slow.table.install(flow.clone()).is_ok() {
            install(&mut self.fast, flow);
            self.slow.stats.insert(ufid, Stats::default());
        }
        Ok(())
    }

    fn compare_stats(&mut self) -> Result<(), TestCaseError> {
        let mut stats = Vec::new();
        self.fast.table().all_stats(&mut stats).unwrap();
        let stats: BTreeMap<Ufid, Stats> = stats.into_iter().collect();
        prop_assert_eq!(&stats, &self.slow.stats);
        let snapshot = self.fast.snapshot();
        let limit = snapshot.drops.get(DropReason::RecircLimit).packets;
        prop_assert_eq!(limit, self.slow.recirc_drops);
        let lost = self.slow.sent.get(&9).map_or(0, Vec::len) as u64;
        prop_assert_eq!(snapshot.drops.get(DropReason::NoSuchPort).packets, lost);
        prop_assert!(snapshot.ledger.is_exact(), "{:?}", snapshot.ledger);
        Ok(())
    }
}

/// Number of cases of each kind, each of dozens of packets: the nightly form has more.
fn cases() -> u32 {
    std::env::var("MEGAFLOW_CASES").map_or(2_000, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Packets that come one at a time give the same frames on each port in the same order, the
    /// same upcalls with the same keys, and the same statistics.
    #[test]
    fn each_packet_goes_where_the_reference_sends_it(
        flows in prop::collection::vec(megaflow(), 0..14),
        traffic in prop::collection::vec((1..=PORTS, 0..16_u8, any::<u8>()), 1..40),
    ) {
        let mut worlds = worlds(&flows);
        for (port, kind, n) in Traffic::from(traffic) {
            let frame = testing::frame(kind, n, 20);
            worlds.slow_packet(port, &frame);
            prop_assert!(worlds.fast.receive(PortId(port), &frame, Moment(1)));
            for (n, peer) in (1..).zip(&worlds.peers) {
                let want = worlds.slow.sent.remove(&n).unwrap_or_default();
                prop_assert_eq!(sent(peer), want, "port {}", n);
            }
            let mut misses: Vec<(Key, Vec<u8>)> = Vec::new();
            // Copies of one key share an upcall.
            for (key, frame) in worlds.slow.misses.drain(..) {
                if misses.iter().all(|(other, _)| *other != key) {
                    misses.push((key, frame));
                }
            }
            let (mut missed, mut actions) = (Vec::new(), Vec::new());
            for upcall in worlds.fast.next_upcalls(usize::MAX) {
                match (upcall.id, upcall.reason) {
                    (Some(id), flow::UpcallReason::Miss) => {
                        missed.push((upcall.key, upcall.frame));
                        prop_assert!(worlds.fast.resolve(id, &Resolution::Drop, Moment(1)));
                    }
                    (None, flow::UpcallReason::Action(data)) => {
                        actions.push((upcall.key, data, upcall.frame));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(missed, misses);
            prop_assert_eq!(actions, std::mem::take(&mut worlds.slow.userspace));
        }
        worlds.compare_stats()?;
    }

    /// Packets that come in bursts give the same, except for the order between megaflows. So does
    /// an unfinished frame: what becomes of it is what becomes of the packets that it is on a wire,
    /// one after the other. Megaflows come and go between the bursts.
    #[test]
    fn a_burst_sends_what_its_packets_send(
        flows in prop::collection::vec(megaflow(), 0..14),
        bursts in prop::collection::vec(burst(), 1..5),
    ) {
        let mut worlds = worlds(&flows);
        for Burst { port, traffic, changed } in bursts {
            let mut batch = Batch::new();
            for (kind, n, size) in traffic {
                let mut packet = Packet::new(&testing::frame(kind, n, 20));
                if let Some(size) = size {
                    packet.set_unfinished(Unfinished::of(packet.bytes(), size));
                }
                for index in 0..packet.segments() {
                    let mut whole = Packet::default();
                    packet.segment(index, &mut whole);
                    worlds.slow_packet(port, whole.bytes());
                }
                batch.push(Frame::fresh(packet));
            }
            worlds.fast.process(PortId(port), &mut batch, Moment(1));
            prop_assert!(batch.is_empty());
            for (n, peer) in (1..).zip(&worlds.peers) {
                let mut want = worlds.slow.sent.remove(&n).unwrap_or_default();
                let mut got = sent(peer);
                got.sort();
                want.sort();
                prop_assert_eq!(got, want, "port {}", n);
            }
            for flow in changed.into_iter().filter_map(|index| flows.get(index)) {
                worlds.toggle(flow)?;
            }
        }
        worlds.compare_stats()?;
    }
}

/// What comes in at a port, and which megaflows are removed, or installed again, behind it.
#[derive(Clone, Debug)]
struct Burst {
    port: u32,
    /// Kind and conversation of each frame, and the size of its segments if it is unfinished: 0 for
    /// a frame that lacks only its checksum.
    traffic: Vec<(u8, u8, Option<u16>)>,
    changed: Vec<usize>,
}

fn burst() -> impl Strategy<Value = Burst> {
    let size = select(vec![None, None, Some(0), Some(5), Some(8), Some(19), Some(40)]);
    let traffic = prop::collection::vec((0..16_u8, any::<u8>(), size), 1..40);
    let changed = prop::collection::vec(0..14_usize, 0..6);
    (1..=PORTS, traffic, changed).prop_map(|(port, traffic, changed)| Burst {
        port,
        traffic,
        changed,
    })
}

#[test]
fn a_flow_keeps_its_order_in_a_burst() {
    let (mut datapath, peers) = datapath(DatapathSettings::default(), 2);
    let mut batch = Batch::new();
    for n in 0..32_u8 {
        let mut frame = testing::frame(3, n % 2, 20);
        frame.push(n);
        install_once(&mut datapath, &frame);
        batch.push(Frame::fresh(Packet::new(&frame)));
    }
    datapath.process(PortId(1), &mut batch, Moment(1));
    let order: Vec<u8> = sent(&peers[1]).iter().map(|frame| *frame.last().unwrap()).collect();
    let (even, odd): (Vec<u8>, Vec<u8>) = order.iter().partition(|n| *n % 2 == 0);
    assert!(even.is_sorted() && odd.is_sorted() && order.len() == 32, "{order:?}");
}

fn install_once(datapath: &mut Datapath, frame: &[u8]) {
    let flow = only(1, frame, &[output(2)]);
    if datapath.table().get(flow.ufid).is_none() {
        install(datapath, &flow);
    }
}
