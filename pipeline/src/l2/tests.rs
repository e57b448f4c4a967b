//! The switch against a naive one that decides per packet, and its rules one by one.

use std::collections::BTreeMap;

use flow::packet::{Packet, extract};
use flow::reference::{Effect, Table as FlowTable, execute};
use flow::{Field, Mask, odp};

use super::*;

const AGEING: Duration = Duration::from_secs(5);

fn second(at: u64) -> Moment {
    Moment(at * 1_000_000_000)
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// An IPv4 frame (so far as a switch looks) with tags, outermost first.
fn frame(src: MacAddr, dst: MacAddr, tags: &[(u16, u16)]) -> Vec<u8> {
    let mut frame = [dst.0, src.0].concat();
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend([0x08, 0x00]);
    frame.extend([0; 46]);
    frame
}

fn key(port: u32, frame: &[u8]) -> Key {
    Key { in_port: port, ..extract(frame) }
}

/// A switch, the megaflows that it made, and a datapath that obeys them.
struct Bench {
    switch: Switch,
    flows: BTreeMap<flow::Ufid, Arc<Megaflow>>,
    upcalls: usize,
}

impl Bench {
    fn new(settings: Settings, ports: &[u32]) -> Bench {
        let mut switch = Switch::new(settings);
        switch.ports(&ports.iter().copied().map(PortId).collect::<Vec<_>>());
        Bench { switch, flows: BTreeMap::new(), upcalls: 0 }
    }

    /// Time passes; returns whether the client wanted a revalidation.
    fn tick(&mut self, now: Moment) -> bool {
        let changed = self.switch.tick(now);
        if changed {
            self.revalidate(now);
        }
        changed
    }

    fn revalidate(&mut self, now: Moment) {
        let switch = &mut self.switch;
        self.flows.retain(|_, flow| match switch.revalidate(flow, now) {
            Verdict::Keep => true,
            Verdict::Remove => false,
            Verdict::Replace(actions) => {
                *flow = Arc::new(Megaflow { actions, ..(**flow).clone() });
                true
            }
        });
    }

    /// The table rebuilt: a megaflow that overlaps another fails here.
    fn table(&self) -> FlowTable {
        let mut table = FlowTable::default();
        for flow in self.flows.values() {
            assert_eq!(table.install(flow.clone()), Ok(()), "no two megaflows overlap");
        }
        table
    }

    /// A packet comes in: where does it leave?
    fn packet(&mut self, port: u32, frame: &[u8], now: Moment) -> Vec<PortId> {
        self.tick(now);
        let key = key(port, frame);
        let actions = match self.table().lookup(&key).cloned() {
            Some(flow) => {
                self.switch.used(&flow, now);
                flow.actions.clone()
            }
            None => self.upcall(&key, frame, now),
        };
        self.tick(now);
        let effects = execute(&actions, &Packet::new(frame), &key, &mut |_| true);
        let ports = effects.into_iter().map(|effect| match effect {
            Effect::Output(port, sent) => {
                assert_eq!(sent, frame);
                port
            }
            other => panic!("a switch does not {other:?}"),
        });
        ports.collect()
    }

    fn upcall(&mut self, key: &Key, frame: &[u8], now: Moment) -> Actions {
        self.upcalls += 1;
        let upcall = Upcall { key, frame, reason: &UpcallReason::Miss };
        match self.switch.upcall(upcall, now) {
            Answer::Execute(actions) => actions,
            Answer::Install(flow) => {
                assert!(flow.matching.hits(key), "{flow:?} for {key:?}");
                assert_eq!(flow::validate(&flow.matching, &flow.actions), Ok(()));
                let text = odp::format_match(&flow.matching);
                assert_eq!(odp::parse_match(&text), Ok(flow.matching), "{text}");
                assert!(self.flows.insert(flow.ufid, flow.clone()).is_none());
                self.table();
                flow.actions.clone()
            }
        }
    }
}

/// The same switch without megaflows: everything is decided anew for each packet.
struct Naive {
    ports: Vec<u32>,
    seen: BTreeMap<(u16, MacAddr), (u32, Moment)>,
}

impl Naive {
    fn packet(&mut self, port: u32, frame: &[u8], now: Moment) -> Vec<PortId> {
        self.seen.retain(|_, (_, seen)| now.since(*seen) < AGEING);
        let (dst, src) = (frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap());
        let (dst, src) = (MacAddr(dst), MacAddr(src));
        let tagged = frame[12..14] == [0x81, 0x00] || frame[12..14] == [0x88, 0xa8];
        let vlan = u16::from_be_bytes([frame[14], frame[15]]) & 0xfff;
        let vlan = if tagged { vlan } else { 0 };
        if dst.0[..5] == [1, 0x80, 0xc2, 0, 0] && dst.0[5] < 16 || !self.ports.contains(&port) {
            return Vec::new();
        }
        if src.0[0] & 1 == 0 {
            self.seen.insert((vlan, src), (port, now));
        }
        let to = match self.seen.get(&(vlan, dst)) {
            Some((known, _)) => vec![*known],
            None => self.ports.clone(),
        };
        to.into_iter().filter(|to| *to != port).map(PortId).collect()
    }

    fn set_ports(&mut self, ports: &[u32]) {
        self.ports = ports.to_vec();
        self.seen.retain(|_, (port, _)| ports.contains(port));
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }

    /// Any frame; if `calm`, an untagged one from the address whose home the port is, mostly.
    fn frame(&mut self, port: u32, calm: bool) -> Vec<u8> {
        let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        let reserved = MacAddr([1, 0x80, 0xc2, 0, 0, 0x0e]);
        let macs = [mac(1), mac(2), mac(3), mac(4)];
        let src = if self.below(20) == 0 { group } else { self.pick(&macs) };
        let at_home = calm && self.below(40) != 0;
        let src = if at_home { mac(u8::try_from(port).unwrap()) } else { src };
        let dst = match self.below(12) {
            0 => group,
            1 => MacAddr::BROADCAST,
            2 => reserved,
            _ => self.pick(&macs),
        };
        let tci = [0, 5, 0x2005, 0xe007, 0x1005];
        let tags: Vec<_> = (0..if at_home { 0 } else { self.pick(&[0, 0, 1, 1, 2]) })
            .map(|_| (self.pick(&[0x8100, 0x88a8]), self.pick(&tci)))
            .collect();
        frame(src, dst, &tags)
    }
}

#[test]
fn megaflows_do_what_a_switch_does_packet_by_packet() {
    let (mut upcalls, mut packets) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let settings = Settings { ageing: AGEING, ..Settings::default() };
        let mut bench = Bench::new(settings, &[1, 2, 3, 4]);
        let mut naive = Naive { ports: vec![1, 2, 3, 4], seen: BTreeMap::new() };
        let mut now = Moment(1);
        for step in 0..300 {
            now = now + Duration::from_millis(rng.pick(&[0, 1, 10, 20, 200, 900]));
            match rng.below(100) {
                0 => {
                    now = now + AGEING;
                    bench.tick(now);
                }
                1 => {
                    bench.switch.flush();
                    naive.seen.clear();
                }
                2 => {
                    let ports = rng.pick(&[vec![1, 2, 3, 4], vec![1, 2, 4], vec![2, 3, 4, 7]]);
                    bench.switch.ports(&ports.iter().copied().map(PortId).collect::<Vec<_>>());
                    naive.set_ports(&ports);
                }
                _ => {}
            }
            let port = u32::try_from(rng.below(4)).unwrap() + 1;
            let frame = rng.frame(port, seed % 2 == 0);
            let wanted = naive.packet(port, &frame, now);
            let sent = bench.packet(port, &frame, now);
            assert_eq!(sent, wanted, "seed {seed}, step {step}: port {port}, {frame:02x?}");
            packets += 1;
        }
        upcalls += bench.upcalls;
    }
    // Megaflows were really used, and really went away.
    assert!(
        upcalls * 10 > packets && upcalls * 10 < packets * 8,
        "{upcalls} upcalls of {packets} packets"
    );
}

fn settings(limit: usize) -> Settings {
    Settings { ageing: AGEING, limit }
}

#[test]
fn answers_depend_on_what_they_say() {
    let tagged = frame(mac(1), mac(2), &[(0x8100, 0x6005)]);
    let mask = mask::of(&key(1, &tagged));
    let wanted = Mask {
        vlan_tci: VLAN_PRESENT | 0xfff,
        cvlan_tci: u16::MAX,
        ..Mask::mask_of(&[
            Field::InPort,
            Field::RecircId,
            Field::EthSrc,
            Field::EthDst,
            Field::EthType,
            Field::VlanTpid,
        ])
    };
    assert_eq!(mask, wanted, "PCP is wild");
    let mut bench = Bench::new(settings(9), &[3, 1, 2]);
    assert_eq!(bench.packet(1, &tagged, second(1)), [PortId(2), PortId(3)], "unknown: ascending");
    let text = "recirc_id(0),in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),\
                eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800))";
    let flow = bench.flows.values().next().unwrap();
    assert_eq!(odp::format_match(&flow.matching), text);
}

#[test]
fn a_move_replaces_actions_and_removes_the_old_source() {
    let mut bench = Bench::new(settings(9), &[1, 2, 3]);
    bench.packet(1, &frame(mac(1), MacAddr::BROADCAST, &[]), second(1));
    assert_eq!(bench.packet(2, &frame(mac(2), mac(1), &[]), second(1)), [PortId(1)]);
    assert!(!bench.tick(second(1)));
    bench.packet(3, &frame(mac(1), MacAddr::BROADCAST, &[]), second(2));
    let upcalls = bench.upcalls;
    assert_eq!(bench.packet(2, &frame(mac(2), mac(1), &[]), second(2)), [PortId(3)]);
    assert_eq!(bench.upcalls, upcalls, "the megaflow was replaced, not removed");
    let old = |flow: &&Arc<Megaflow>| {
        flow.matching.key().eth_src == mac(1) && flow.matching.key().in_port == 1
    };
    assert!(bench.flows.values().find(old).is_none());
    assert_eq!(bench.switch.learning().moved, 1);
}

#[test]
fn hits_keep_an_address_and_silence_ages_it() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let broadcast = frame(mac(1), MacAddr::BROADCAST, &[]);
    for at in 0..20 {
        bench.packet(1, &broadcast, second(at));
    }
    assert_eq!(bench.upcalls, 1, "one upcall, then hits");
    assert_eq!(bench.switch.learning().addresses, 1);
    assert!(!bench.tick(second(23)));
    assert!(bench.tick(second(24)), "5 s after the last hit");
    assert_eq!(bench.switch.learning().addresses, 0);
    assert!(bench.flows.is_empty(), "its megaflow went, so that the next packet is learnt from");
    bench.packet(1, &broadcast, second(25));
    assert_eq!(bench.switch.learning().learnt, 2);
}

#[test]
fn a_full_table_counts_what_it_does_not_learn() {
    let mut bench = Bench::new(settings(2), &[1, 2]);
    for source in 1..=4 {
        bench.packet(1, &frame(mac(source), MacAddr::BROADCAST, &[]), second(1));
    }
    let learning = bench.switch.learning();
    assert_eq!((learning.addresses, learning.learnt), (2, 2));
    assert!(learning.overflows >= 2);
    let to_unlearnt = frame(mac(9), mac(4), &[]);
    assert_eq!(bench.packet(2, &to_unlearnt, second(1)), [PortId(1)], "flooded");
}

#[test]
fn a_restart_learns_from_the_megaflows_that_it_finds() {
    let mut bench = Bench::new(settings(9), &[1, 2, 3]);
    bench.packet(1, &frame(mac(1), MacAddr::BROADCAST, &[]), second(1));
    bench.packet(2, &frame(mac(2), mac(1), &[]), second(1));
    let before = bench.flows.clone();
    let ports = bench.switch.ports.clone();
    bench.switch = Switch::new(settings(9));
    bench.switch.ports(&ports);
    bench.revalidate(second(2));
    bench.tick(second(2));
    assert_eq!(bench.flows, before, "nothing is interrupted");
    assert_eq!(bench.switch.learning().addresses, 2);
    assert_eq!(bench.packet(3, &frame(mac(3), mac(2), &[]), second(3)), [PortId(2)]);
}

#[test]
fn foreign_megaflows_go() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let foreign = "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.1)";
    let flow = Megaflow::new(odp::parse_match(foreign).unwrap(), [Action::Output(PortId(2))]);
    assert_eq!(bench.switch.revalidate(&flow, second(1)), Verdict::Remove);
    bench.switch.used(&flow, second(1));
    assert_eq!(bench.switch.learning().learnt, 0);
}

#[test]
fn only_misses_are_switched() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let frame = frame(mac(1), mac(2), &[]);
    let reason = UpcallReason::Action(vec![1]);
    let upcall = Upcall { key: &key(1, &frame), frame: &frame, reason: &reason };
    assert_eq!(bench.switch.upcall(upcall, second(1)), Answer::Execute([].into()));
    assert!(bench.packet(9, &frame, second(1)).is_empty(), "a port that is not there");
    assert_eq!(bench.switch.learning().learnt, 0);
}

#[test]
fn counters_read_late_do_not_move_or_revive() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let broadcast = frame(mac(1), MacAddr::BROADCAST, &[]);
    bench.packet(1, &broadcast, second(1));
    let old = bench.flows.values().next().unwrap().clone();
    bench.packet(2, &broadcast, second(2));
    bench.switch.used(&old, second(3));
    assert_eq!(bench.switch.learning().moved, 1);
    let moved = bench.flows.values().next().unwrap().clone();
    bench.tick(second(4));
    bench.switch.flush();
    bench.switch.used(&moved, second(3));
    assert_eq!(bench.switch.learning().addresses, 0, "it was hit before the flush");
    bench.switch.used(&moved, second(5));
    assert_eq!(bench.switch.learning().addresses, 1);
}

#[test]
fn show_prints_as_fdb_show() {
    let mut bench = Bench::new(settings(9), &[1, 22]);
    bench.packet(22, &frame(mac(0xab), MacAddr::BROADCAST, &[(0x8100, 0x2005)]), second(1));
    bench.packet(1, &frame(mac(1), MacAddr::BROADCAST, &[]), second(3));
    let text = " port  VLAN  MAC                Age\n\
                \x20  22     5  02:00:00:00:00:ab    3\n\
                \x20   1     0  02:00:00:00:00:01    1\n";
    assert_eq!(bench.switch.show(second(4)), text);
    bench.switch.flush();
    assert_eq!(bench.switch.show(second(4)), " port  VLAN  MAC                Age\n");
    assert!(bench.tick(second(4)), "a flush makes megaflows wrong");
    assert!(bench.flows.is_empty());
}
