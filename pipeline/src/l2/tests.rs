//! The switch compared with a naive one that decides per packet, and each rule by itself.

mod naive;

use flow::packet::{Packet, extract};
use flow::reference::{Effect, ReferenceTable as FlowTable, execute};
use flow::{Field, Mask, odp};

use super::*;
use naive::{Naive, RESERVED};

const AGEING: Duration = Duration::from_secs(5);

fn second(at: u64) -> Moment {
    Moment(at * 1_000_000_000)
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// The part of an IPv4 frame that a switch looks at, with tags, outermost first.
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

/// Ports that all have a link.
fn up(ports: &[u32]) -> Vec<PortLink> {
    ports.iter().map(|port| PortLink { id: PortId(*port), up: true }).collect()
}

/// A switch, the megaflows that it made, and a datapath that obeys them.
struct Bench {
    switch: Switch,
    flows: BTreeMap<flow::Ufid, Arc<Megaflow>>,
    /// What each megaflow depended on when the switch last answered for it.
    topics: BTreeMap<flow::Ufid, Topics>,
    upcalls: usize,
    /// Megaflows about which the switch was asked again, and those about which it would have been
    /// asked if each change concerned all of them.
    asked: [usize; 2],
}

impl Bench {
    fn new(settings: L2Settings, ports: &[u32]) -> Bench {
        let mut switch = Switch::new(settings);
        switch.ports(&up(ports));
        switch.changes();
        let (flows, topics) = (BTreeMap::new(), BTreeMap::new());
        Bench { switch, flows, topics, upcalls: 0, asked: [0; 2] }
    }

    /// Lets time pass; returns true if the switch says that something changed.
    fn tick(&mut self, now: Moment) -> bool {
        self.switch.tick(now);
        self.follow(now)
    }

    /// Asks again about the megaflows that depend on what has changed; returns true if anything
    /// has. After that every megaflow is as the switch would make it now: this is the comparison
    /// with the slow way, which asks about all of them.
    fn follow(&mut self, now: Moment) -> bool {
        let changes = self.switch.changes();
        if !changes.is_empty() {
            self.asked[1] += self.flows.len();
        }
        self.revalidate(now, |topics| {
            let concerns = |change: &Changed| match change {
                Changed::Topic(topic) => topics.contains(&Some(*topic)),
                Changed::Everything => true,
            };
            changes.iter().any(concerns)
        });
        let mut twin = self.switch.clone();
        for flow in self.flows.values() {
            assert_eq!(twin.revalidate(flow, now), Verdict::Keep, "{flow:?} after {changes:?}");
            assert_eq!(twin.topics(flow), self.topics[&flow.ufid], "{flow:?} after {changes:?}");
        }
        assert_eq!(twin.changes(), [], "to ask about what is right changes nothing");
        !changes.is_empty()
    }

    fn learning(&self) -> Learning {
        self.switch.learning().unwrap()
    }

    /// Asks about the megaflows whose topics are of interest.
    fn revalidate(&mut self, now: Moment, is_of_interest: impl Fn(&Topics) -> bool) {
        let Bench { switch, topics, asked, .. } = self;
        self.flows.retain(|ufid, flow| {
            let depends = topics.get_mut(ufid).unwrap();
            if !is_of_interest(depends) {
                return true;
            }
            asked[0] += 1;
            match switch.revalidate(flow, now) {
                Verdict::Keep => {}
                Verdict::Remove => return false,
                Verdict::Replace(actions) => {
                    *flow = Arc::new(Megaflow { actions, ..(**flow).clone() });
                }
            }
            *depends = switch.topics(flow);
            true
        });
    }

    /// A table of all megaflows; fails if two of them overlap.
    fn table(&self) -> FlowTable {
        let mut table = FlowTable::default();
        for flow in self.flows.values() {
            assert_eq!(table.install(flow.clone()), Ok(()), "no two megaflows overlap");
        }
        table
    }

    /// Lets a frame come in by a port; returns the ports by which it leaves.
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
                assert_eq!(odp::parse_match(&text), Ok(flow.matching.clone()), "{text}");
                assert!(self.flows.insert(flow.ufid, flow.clone()).is_none());
                self.topics.insert(flow.ufid, self.switch.topics(&flow));
                self.table();
                flow.actions.clone()
            }
        }
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

    /// A random frame; if `calm`, mostly an untagged one from the station whose home the port is.
    fn frame(&mut self, port: u32, calm: bool) -> Vec<u8> {
        let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        let macs = [mac(1), mac(2), mac(3), mac(4)];
        let src = match self.below(40) {
            0 | 1 => group,
            2 => MacAddr::default(),
            _ => self.pick(&macs),
        };
        let at_home = calm && self.below(40) != 0;
        let src = if at_home { mac(u8::try_from(port).unwrap()) } else { src };
        let dst = match self.below(12) {
            0 => group,
            1 => MacAddr::BROADCAST,
            2 => self.pick(&RESERVED).parse().unwrap(),
            _ => self.pick(&macs),
        };
        let tci = [0, 5, 0x2005, 0xe007, 0x1005];
        let tags: Vec<_> = (0..if at_home { 0 } else { self.pick(&[0, 0, 1, 1, 2]) })
            .map(|_| (self.pick(&[0x8100, 0x88a8]), self.pick(&tci)))
            .collect();
        frame(src, dst, &tags)
    }

    /// Lets something other than a packet happen: silence, a flush, ports and links that change.
    fn disturb(&mut self, bench: &mut Bench, naive: &mut Naive, now: &mut Moment) {
        match self.below(100) {
            0 => {
                *now = *now + AGEING;
                bench.tick(*now);
            }
            1 => {
                bench.switch.flush();
                naive.seen.clear();
            }
            2 => {
                let ports = self.pick(&[vec![1, 2, 3, 4], vec![1, 2, 4], vec![2, 3, 4, 7]]);
                bench.switch.ports(&up(&ports));
                naive.set_ports(&up(&ports));
            }
            3..=7 => {
                let mut ports = naive.ports.clone();
                ports.iter_mut().for_each(|port| port.up = true);
                let one = usize::try_from(self.below(3 * ports.len() as u64)).unwrap();
                if let Some(port) = ports.get_mut(one) {
                    port.up = false;
                }
                bench.switch.ports(&ports);
                naive.set_ports(&ports);
            }
            _ => {}
        }
    }
}

#[test]
fn megaflows_do_what_a_switch_does_packet_by_packet() {
    let (mut upcalls, mut packets, mut evicted, mut asked) = (0, 0, 0, [0; 2]);
    for seed in 0..90 {
        let mut rng = Rng(seed);
        // In a third of the runs the table is too small for the stations.
        let limit = if seed % 3 == 0 { 4 } else { 100 };
        let mut bench = Bench::new(settings(limit), &[1, 2, 3, 4]);
        let (ports, seen) = (up(&[1, 2, 3, 4]), BTreeMap::new());
        let mut naive = Naive { ports, limit, seen, evicted: 0 };
        let mut now = Moment(1);
        for step in 0..300 {
            now = now + Duration::from_millis(rng.pick(&[0, 1, 10, 20, 200, 900]));
            rng.disturb(&mut bench, &mut naive, &mut now);
            let port = u32::try_from(rng.below(4)).unwrap() + 1;
            let frame = rng.frame(port, seed % 2 == 0);
            let wanted = naive.packet(port, &frame, now);
            let sent = bench.packet(port, &frame, now);
            assert_eq!(sent, wanted, "seed {seed}, step {step}: port {port}, {frame:02x?}");
            packets += 1;
        }
        let learning = bench.learning();
        assert_eq!(learning.addresses, naive.seen.len() as u64, "seed {seed}");
        assert_eq!(learning.evicted.values().sum::<u64>(), naive.evicted as u64, "seed {seed}");
        upcalls += bench.upcalls;
        asked = [asked[0] + bench.asked[0], asked[1] + bench.asked[1]];
        evicted += naive.evicted;
    }
    // The run means something: some packets hit megaflows, and some megaflows were removed.
    assert!(
        upcalls * 10 > packets && upcalls * 10 < packets * 8,
        "{upcalls} upcalls of {packets} packets"
    );
    assert!(evicted > 1000, "{evicted} addresses were evicted");
    assert!(asked[0] * 2 < asked[1], "{asked:?}: most megaflows are not asked about");
}

fn settings(max_entries: usize) -> L2Settings {
    L2Settings { ageing: AGEING, max_entries }
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
    assert_eq!(bench.learning().moved, 1);
}

#[test]
fn hits_keep_an_address_and_silence_ages_it() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let broadcast = frame(mac(1), MacAddr::BROADCAST, &[]);
    for at in 0..20 {
        bench.packet(1, &broadcast, second(at));
    }
    assert_eq!(bench.upcalls, 1, "one upcall, then hits");
    assert_eq!(bench.learning().addresses, 1);
    assert!(!bench.tick(second(23)));
    assert!(bench.tick(second(24)), "5 s after the last hit");
    assert_eq!(bench.learning().addresses, 0);
    assert!(bench.flows.is_empty(), "its megaflow went, so that the next packet is learnt from");
    bench.packet(1, &broadcast, second(25));
    assert_eq!(bench.learning().learned, 2);
}

#[test]
fn a_flood_of_sources_hurts_its_own_port_alone() {
    let flooder = |n: u16| MacAddr([2, 0xff, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    let mut bench = Bench::new(settings(100), &[1, 2, 3]);
    let broadcast = |src: MacAddr| frame(src, MacAddr::BROADCAST, &[]);
    for station in 1..=30 {
        bench.packet(2, &broadcast(mac(station)), second(1));
    }
    for n in 0..300 {
        let key = key(1, &broadcast(flooder(n)));
        bench.switch.learn(&key, second(2));
    }
    // A victim that was never heard before.
    bench.packet(3, &broadcast(mac(99)), second(2));
    for (station, port) in [(1, 2), (30, 2), (99, 3)] {
        let sent = bench.packet(1, &frame(flooder(299), mac(station), &[]), second(2));
        assert_eq!(sent, [PortId(port)], "station {station} is still known");
    }
    let learning = bench.learning();
    assert_eq!((learning.addresses, learning.capacity), (100, 100));
    assert_eq!(learning.evicted, BTreeMap::from([(PortId(1), 231)]));
    assert_eq!(learning.learned, 331);
    let listed = bench.switch.show(second(2));
    assert!(!listed.contains("02:ff:00:00:00:00"), "the flood's own oldest went");
    assert!(listed.contains(&flooder(299).to_string()));
}

#[test]
fn where_no_port_has_more_the_newcomers_own_gives_up() {
    let mut bench = Bench::new(settings(4), &[1, 2]);
    for (port, station) in [(1, 1), (1, 2), (2, 3), (2, 4), (1, 5)] {
        bench.packet(port, &frame(mac(station), MacAddr::BROADCAST, &[]), second(station.into()));
    }
    assert_eq!(bench.learning().evicted, BTreeMap::from([(PortId(1), 1)]));
    assert_eq!(bench.packet(2, &frame(mac(3), mac(1), &[]), second(5)), [PortId(1)], "flooded");
    assert_eq!(bench.switch.table.find((0, mac(1))), None, "the oldest of port 1");
    assert_eq!(bench.switch.table.find((0, mac(3))), Some(PortId(2)));
}

#[test]
fn a_port_without_a_link_loses_its_addresses() {
    let mut bench = Bench::new(settings(9), &[1, 2, 3]);
    bench.packet(1, &frame(mac(1), MacAddr::BROADCAST, &[]), second(1));
    let to_it = frame(mac(2), mac(1), &[]);
    assert_eq!(bench.packet(2, &to_it, second(1)), [PortId(1)]);
    let mut ports = up(&[1, 2, 3]);
    ports[0].up = false;
    bench.switch.ports(&ports);
    assert_eq!(bench.switch.table.find((0, mac(1))), None);
    // The station may be elsewhere by now.
    assert_eq!(bench.packet(2, &to_it, second(1)), [PortId(1), PortId(3)]);
    // A frame from before the loss comes late: it is forwarded, and its source is not learnt.
    let late = frame(mac(1), mac(2), &[]);
    assert_eq!(bench.packet(1, &late, second(1)), [PortId(2)]);
    assert_eq!(bench.switch.table.find((0, mac(1))), None);
    bench.switch.ports(&up(&[1, 2, 3]));
    bench.packet(1, &late, second(2));
    assert_eq!(bench.packet(2, &to_it, second(2)), [PortId(1)], "learnt again");
    bench.switch.ports(&up(&[2, 3]));
    assert_eq!(bench.packet(2, &to_it, second(2)), [PortId(3)], "a port that went");
}

#[test]
fn no_source_no_lesson() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    for src in [MacAddr::default(), MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(bench.packet(1, &frame(src, mac(9), &[]), second(1)), [PortId(2)], "{src}");
    }
    for dst in RESERVED {
        let to_neighbour = frame(mac(1), dst.parse().unwrap(), &[]);
        assert_eq!(bench.packet(1, &to_neighbour, second(1)), [], "{dst}");
    }
    assert_eq!(bench.learning().learned, 0);
    // Addresses next to the reserved ones are ordinary groups or stations.
    for dst in ["01:80:c2:00:00:10", "00:e0:2b:00:00:05", "01:00:0c:cc:cc:c8", "01:00:0c:cc:cc:ce"]
    {
        let sent = bench.packet(1, &frame(mac(1), dst.parse().unwrap(), &[]), second(1));
        assert_eq!(sent, [PortId(2)], "{dst}");
    }
}

#[test]
fn a_restart_learns_from_the_megaflows_that_it_finds() {
    let mut bench = Bench::new(settings(9), &[1, 2, 3]);
    bench.packet(1, &frame(mac(1), MacAddr::BROADCAST, &[]), second(1));
    bench.packet(2, &frame(mac(2), mac(1), &[]), second(1));
    let before = bench.flows.clone();
    bench.switch = Switch::new(settings(9));
    bench.switch.ports(&up(&[1, 2, 3]));
    bench.revalidate(second(2), |_| true);
    bench.tick(second(2));
    assert_eq!(bench.flows, before, "nothing is interrupted");
    assert_eq!(bench.learning().addresses, 2);
    assert_eq!(bench.packet(3, &frame(mac(3), mac(2), &[]), second(3)), [PortId(2)]);
}

#[test]
fn foreign_megaflows_go() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let foreign = "recirc_id(0),in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.1)";
    let flow = Megaflow::new(odp::parse_match(foreign).unwrap(), [Action::Output(PortId(2))]);
    assert_eq!(bench.switch.revalidate(&flow, second(1)), Verdict::Remove);
    bench.switch.used(&flow, second(1));
    assert_eq!(bench.learning().learned, 0);
}

#[test]
fn only_misses_are_switched() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let frame = frame(mac(1), mac(2), &[]);
    let reason = UpcallReason::Action(vec![1]);
    let upcall = Upcall { key: &key(1, &frame), frame: &frame, reason: &reason };
    assert_eq!(bench.switch.upcall(upcall, second(1)), Answer::Execute([].into()));
    assert!(bench.packet(9, &frame, second(1)).is_empty(), "a port that is not there");
    assert_eq!(bench.learning().learned, 0);
}

#[test]
fn counters_read_late_do_not_move_or_revive() {
    let mut bench = Bench::new(settings(9), &[1, 2]);
    let broadcast = frame(mac(1), MacAddr::BROADCAST, &[]);
    bench.packet(1, &broadcast, second(1));
    let old = bench.flows.values().next().unwrap().clone();
    bench.packet(2, &broadcast, second(2));
    bench.switch.used(&old, second(3));
    assert_eq!(bench.learning().moved, 1);
    let moved = bench.flows.values().next().unwrap().clone();
    bench.tick(second(4));
    bench.switch.flush();
    bench.switch.used(&moved, second(3));
    assert_eq!(bench.learning().addresses, 0, "it was hit before the flush");
    bench.switch.used(&moved, second(5));
    assert_eq!(bench.learning().addresses, 1);
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
