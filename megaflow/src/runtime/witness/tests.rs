//! A NIC with one rule, held against what its ports count.

use std::sync::Arc;

use flow::conservation::{Conservation, ConservationState};
use flow::{Action, Dumped, Histogram, Match, Megaflow, Moment, Stats, Ufid};
use hostdp::Datapath;
use offload::{Budget, ByRate, Event, Place, Settings};

use super::super::conservation::{Rest, conservation};
use super::super::counted::Counted;
use super::*;
use crate::runtime::operations::Operations;

const NIC: ProviderId = ProviderId(0);

fn counters(packets: u64) -> Counters {
    Counters { packets, bytes: packets * 60 }
}

/// A NIC whose only rule sends everything from port 1 to port 2; no packet comes up to the
/// host.
struct Bench {
    engine: Engine,
    ufid: Ufid,
    host: DatapathSnapshot,
    traffic: DeviceTraffic,
    witnesses: Witnesses,
    nobody: BTreeMap<PortId, Counters>,
}

impl Bench {
    /// The rule and the ports have counted since before the daemon started.
    fn new() -> Bench {
        let mut datapath = Datapath::new(hostdp::DatapathSettings::default());
        let client = Box::new(pipeline::none::NoClient);
        let mut engine = Engine::new(Settings::default(), client, Box::new(ByRate));
        let admission = flow::Provider::admission(datapath.table());
        engine.add_hardware("tc", admission, Budget::new(1_000));
        let key = flow::Key { in_port: 1, ..flow::Key::default() };
        let matching = Match::new(&key, &flow::Mask::default());
        let flow = Arc::new(Megaflow::new(matching, vec![Action::Output(PortId(2))]));
        let ufid = flow.ufid;
        let stats = Stats { counters: counters(100), ..Stats::default() };
        let found =
            Dumped { ufid, generation: flow::Generation(1), flow: Some(flow), stats, active: true };
        engine.step(Event::Dumped { provider: NIC, found: vec![found] }, Moment(1));
        let port = |id| PortTraffic {
            port: PortId(id),
            received: counters(0),
            sent: counters(0),
            to_host: counters(0),
            // The operating system sends packets there too.
            from_host: counters(7),
            receive_drops: Vec::new(),
            transmit_drops: vec![("tx-dropped", counters(0))],
            deaf: false,
            exact: false,
        };
        let traffic = BTreeMap::from([(NIC, vec![port(1), port(2)])]);
        let (host, witnesses) = (datapath.snapshot(), Witnesses::default());
        let nobody = BTreeMap::new();
        let mut bench = Bench { engine, ufid, host, traffic, witnesses, nobody };
        bench.count(5_000, 4_000, 9);
        bench
    }

    fn ports(&mut self) -> &mut Vec<PortTraffic> {
        self.traffic.get_mut(&NIC).unwrap()
    }

    /// Sets the port counters: packets received by port 1, and packets sent and dropped by
    /// port 2.
    fn count(&mut self, received: u64, sent: u64, dropped: u64) {
        let ports = self.ports();
        ports[0].received = counters(received);
        // Each port also sends the packets of the operating system.
        (ports[0].sent, ports[1].sent) = (counters(7), counters(sent + 7));
        ports[1].transmit_drops[0].1 = counters(dropped);
    }

    /// Sets the rule's counter.
    fn hit(&mut self, packets: u64) {
        let stats = Stats { counters: counters(packets), ..Stats::default() };
        let stats = Ok(vec![(self.ufid, stats)]);
        let event = Event::Stats { place: Place::Nic(NIC), stats, tables: Vec::new() };
        self.engine.step(event, Moment(2));
    }

    /// Sets what port 1 has lost.
    fn lose(&mut self, lost: &[(&'static str, u64)]) {
        let lost = lost.iter().map(|(reason, lost)| (*reason, counters(*lost)));
        self.ports()[0].receive_drops = lost.collect();
    }

    /// Port 1 is deaf from now on, or is no longer.
    fn set_deaf(&mut self, deaf: bool) {
        self.ports()[0].deaf = deaf;
        self.witnesses.read(NIC, &self.traffic[&NIC]);
    }

    fn at_rest(&mut self) {
        self.witnesses.at_rest(&self.engine, &self.traffic, &self.host, &self.nobody);
    }

    /// The state of the packets, the losses, and why something is not checked.
    fn says(&self) -> (ConservationState, Vec<(Side, &'static str, u64)>, String) {
        let all = self.all();
        let lost = all.lost.iter().map(|((side, reason), lost)| (*side, *reason, lost.packets));
        let why = all.unwitnessed.iter().filter(|(_, what)| what.packets > 0);
        let why = why.map(|(why, _)| why.to_string()).collect();
        (all.packets().state, lost.filter(|(.., lost)| *lost > 0).collect(), why)
    }

    fn all(&self) -> Conservation {
        let counted = Counted {
            host: &self.host,
            upcall_duration: &Histogram::durations(),
            engine_steps: &Histogram::durations(),
            operations: &Operations::default(),
            traffic: &self.traffic,
            by_hand: &self.nobody,
            witnesses: &self.witnesses,
            at_rest: true,
        };
        conservation(&self.engine, &counted)
    }
}

#[test]
fn a_nic_is_held_against_what_its_ports_count_and_not_against_its_own_hits() {
    let mut bench = Bench::new();
    assert_eq!(bench.all().packets().state, ConservationState::NotChecked, "{:?}", bench.all());
    bench.at_rest();
    assert_eq!(bench.all().packets().state, ConservationState::Holds, "{:?}", bench.all());
    bench.count(5_030, 4_030, 9);
    bench.hit(130);
    let all = bench.all();
    assert_eq!(
        (all.packets().state, all.offered.packets),
        (ConservationState::Holds, 130),
        "{all:?}"
    );
    // A later moment at rest changes nothing.
    bench.at_rest();
    assert_eq!(bench.all(), all);
    // One packet that should have gone out is dropped.
    bench.count(5_040, 4_039, 10);
    bench.hit(140);
    let all = bench.all();
    let lost = all.lost.values().copied().sum::<Counters>().packets;
    assert_eq!((all.packets().state, lost), (ConservationState::Holds, 1), "{all:?}");
    // In each case one counter is wrong by one: the rule's counter, or a counter of the
    // ports.
    for (hits, received, sent, lookups, ends) in [
        (149, 5_050, 4_049, 1, 1),
        (151, 5_050, 4_049, -1, 0),
        (150, 5_049, 4_049, -1, -1),
        (150, 5_050, 4_048, 0, 1),
        (150, 5_050, 4_051, 0, -1),
    ] {
        let mut bench = Bench::new();
        bench.at_rest();
        bench.count(received, sent, 10);
        bench.hit(hits);
        let said = bench.all().packets();
        assert_eq!(said.state, ConservationState::DoesNotHold, "{:?}", bench.all());
        assert_eq!((said.lookups, said.ends), (lookups, ends), "{:?}", bench.all());
    }
}

#[test]
fn at_rest_is_when_host_and_devices_stand_still_together() {
    let (bench, mut rest) = (Bench::new(), Rest::default());
    let passed = |rest: &mut Rest| rest.passed(&bench.host, [NIC].into_iter());
    assert!(!passed(&mut rest), "the device was not read");
    for (is_still, at_rest) in [(false, false), (true, true), (false, false), (true, true)] {
        rest.traffic_read(NIC, is_still);
        assert_eq!(passed(&mut rest), at_rest);
        assert_eq!(rest.lasts(&bench.host), at_rest);
        // A pass without a new reading of the device changes nothing.
        assert!(!passed(&mut rest));
        assert_eq!(rest.lasts(&bench.host), at_rest);
    }
    let mut moved = bench.host.clone();
    moved.ends.sent = counters(1);
    assert!(!rest.lasts(&moved) && !rest.passed(&moved, std::iter::empty()));
    assert!(rest.passed(&moved, std::iter::empty()) && rest.lasts(&moved));
}

#[test]
fn what_is_missing_is_lost_as_far_as_the_interfaces_count_losses() {
    let mut bench = Bench::new();
    bench.lose(&[("representor-down", 0), ("rx-missed", 3), ("rx-dropped", 40)]);
    bench.at_rest();
    let holds = |lost: &[_]| (ConservationState::Holds, lost.to_vec(), String::new());
    // 30 packets of 40 hit; of the others each is in a counter, and one is in two.
    bench.count(5_040, 4_030, 9);
    bench.hit(130);
    bench.lose(&[("representor-down", 4), ("rx-missed", 5), ("rx-dropped", 45)]);
    let lost = [
        (Side::Nic, "representor-down", 4),
        (Side::Nic, "rx-dropped", 4),
        (Side::Nic, "rx-missed", 2),
    ];
    assert_eq!(bench.says(), holds(&lost), "{:?}", bench.all());
    assert_eq!(bench.all().unmatched.packets, 10);
    // Drops of packets that are not among the received ones explain nothing.
    bench.lose(&[("representor-down", 4), ("rx-missed", 5), ("rx-dropped", 90)]);
    assert_eq!(bench.says(), holds(&lost), "{:?}", bench.all());
    // One packet more is missing than any counter tells.
    bench.lose(&[("representor-down", 4), ("rx-missed", 5), ("rx-dropped", 43)]);
    let said = bench.all().packets();
    assert_eq!((said.state, said.lookups, said.ends), (ConservationState::DoesNotHold, 1, 1));
}

#[test]
fn what_a_deaf_port_lost_uncounted_is_lost_with_a_reason_and_is_not_checked() {
    let mut bench = Bench::new();
    bench.at_rest();
    let not_checked = |lost| {
        let why = "the representor of port 1 is or was down and counts no losses";
        (ConservationState::NotChecked, vec![(Side::Nic, "representor-down", lost)], why.to_owned())
    };
    bench.set_deaf(true);
    assert_eq!(
        bench.says(),
        (ConservationState::Holds, vec![], String::new()),
        "nothing is missing"
    );
    bench.count(5_007, 4_000, 9);
    assert_eq!(bench.says(), not_checked(7), "{:?}", bench.all());
    bench.at_rest();
    assert_eq!(bench.says(), not_checked(7));
    bench.count(5_009, 4_000, 9);
    bench.set_deaf(false);
    assert_eq!(bench.says(), not_checked(9), "it was deaf until just now");
    bench.at_rest();
    assert_eq!(bench.says(), not_checked(9));
    // It hears everything again: what is missing now has no excuse.
    bench.count(5_010, 4_000, 9);
    let said = bench.all().packets();
    assert_eq!((said.state, said.lookups, said.ends), (ConservationState::DoesNotHold, 1, 1));
    bench.hit(101);
    bench.count(5_010, 4_001, 9);
    assert_eq!(bench.says(), not_checked(9));
    // A hit too many is no excuse either.
    bench.hit(102);
    bench.set_deaf(true);
    bench.count(5_000, 4_002, 9);
    assert_eq!(bench.all().packets().state, ConservationState::DoesNotHold);
}

#[test]
fn what_the_kernel_loses_between_the_driver_and_the_port_is_the_hosts() {
    let mut bench = Bench::new();
    bench.at_rest();
    bench.count(5_005, 4_000, 9);
    bench.ports()[0].to_host = counters(5);
    bench.lose(&[("rx-dropped", 3)]);
    let lost = vec![(Side::Host, "handed-up", 2), (Side::Host, "rx-dropped", 3)];
    let why = "the NIC handed up packets that the host's ports did not receive";
    assert_eq!(
        bench.says(),
        (ConservationState::NotChecked, lost, why.to_owned()),
        "{:?}",
        bench.all()
    );
    bench.lose(&[("rx-dropped", 6)]);
    let lost = vec![(Side::Host, "rx-dropped", 5)];
    assert_eq!(bench.says(), (ConservationState::Holds, lost, String::new()), "{:?}", bench.all());
}

#[test]
fn bytes_are_checked_where_both_sides_count_the_same() {
    let mut bench = Bench::new();
    bench.at_rest();
    bench.count(5_030, 4_030, 9);
    bench.hit(130);
    assert_eq!(bench.all().bytes().state, ConservationState::Holds, "{:?}", bench.all());
    for (port, received, sent) in [(0, 4, 0), (0, 0, 4), (1, 0, 4)] {
        let before = bench.traffic.clone();
        bench.ports()[port].received.bytes += received;
        bench.ports()[port].sent.bytes += sent;
        let all = bench.all();
        assert_eq!(
            (all.packets().state, all.bytes().state),
            (ConservationState::Holds, ConservationState::NotChecked)
        );
        bench.traffic = before;
    }
    // What was lost has bytes that nobody counts.
    bench.count(5_031, 4_030, 9);
    bench.lose(&[("rx-missed", 1)]);
    let all = bench.all();
    assert_eq!(
        (all.packets().state, all.bytes().state),
        (ConservationState::Holds, ConservationState::NotChecked)
    );
}
