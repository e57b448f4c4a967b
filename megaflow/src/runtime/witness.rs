//! Interface counters of the kernel as witnesses of what hardware did.
//!
//! A port of a switchdev NIC counts all its packets, including the packets that hardware
//! forwarded, and has counted since long before this process started. The port's counters are
//! comparable with ours from the first moment at rest: the difference at that moment is left out
//! for ever.

use std::collections::BTreeMap;

use flow::{Counters, PortId, PortTraffic};
use hostdp::Snapshot;
use hostdp::drops::DropReason;

use super::status::Traffic;
use offload::{Engine, ProviderId};

/// For each device, the difference between its port counters and ours when the comparison began.
#[derive(Default)]
pub(super) struct Witnesses(BTreeMap<ProviderId, Alone>);

/// Packets that a device handled by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Alone {
    /// Packets that came in and did not come up to the host.
    received: i128,
    /// Packets that should have gone out and that the host did not send.
    sent: i128,
    /// Packets that should have gone out, the host's packets included, and were dropped.
    lost: i128,
}

/// What a device did by itself, according to its port counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// Packets that came in and did not come up to the host; negative if more came up than came
    /// in.
    pub(super) received: i64,
    /// Packets that went out.
    pub(super) sent: u64,
    /// Packets that should have gone out and were dropped.
    pub(super) lost: u64,
}

impl Witnesses {
    /// Starts the comparison for each device that is not compared yet. Must be called at rest.
    pub(super) fn start(
        &mut self,
        engine: &Engine,
        traffic: &Traffic,
        host: &Snapshot,
        by_hand: &BTreeMap<PortId, Counters>,
    ) {
        for (provider, ports) in traffic.iter().filter(|(_, ports)| !ports.is_empty()) {
            let hits = engine.hits(*provider);
            self.0.entry(*provider).or_insert_with(|| {
                let seen = alone(ports, host, by_hand);
                Alone {
                    received: seen.received - i128::from(hits.first.packets),
                    sent: seen.sent - i128::from(hits.promised().packets),
                    lost: seen.lost,
                }
            });
        }
    }

    /// Returns what a device did by itself, according to its port counters; `None` if the
    /// comparison has not started.
    pub(super) fn seen(
        &self,
        provider: ProviderId,
        ports: &[PortTraffic],
        host: &Snapshot,
        by_hand: &BTreeMap<PortId, Counters>,
    ) -> Option<Seen> {
        let before = self.0.get(&provider)?;
        let now = alone(ports, host, by_hand);
        let narrow = |n: i128| u64::try_from(n.max(0)).unwrap_or(u64::MAX);
        // The counters do not tell who sent a packet that was dropped on the way out. Dropped
        // packets are taken for the device's own, up to the number that the device was to send.
        let out = narrow(now.sent - before.sent);
        let lost = narrow(now.lost - before.lost).min(out);
        let received = i64::try_from(now.received - before.received).unwrap_or(i64::MAX);
        Some(Seen { received, sent: out - lost, lost })
    }
}

/// Returns the difference between what ports have counted and what the host received and sent.
fn alone(ports: &[PortTraffic], host: &Snapshot, by_hand: &BTreeMap<PortId, Counters>) -> Alone {
    let mut sum = Alone::default();
    for device in ports {
        let lost: Counters = device.transmit_drops.iter().map(|(_, what)| *what).sum();
        let lost = i128::from(lost.packets);
        let given = i128::from(device.from_host.packets);
        sum.received += i128::from(device.received.packets);
        sum.sent += i128::from(device.sent.packets) + lost - given;
        sum.lost += lost;
        if let Some(port) = host.ports.iter().find(|port| port.id == device.port) {
            let overruns = port.receive_drops.get(DropReason::RxOverrun);
            let came_up = i128::from((port.received + overruns).packets);
            let by_hand = by_hand.get(&port.id).map_or(0, |by_hand| by_hand.packets);
            sum.received -= came_up - i128::from(by_hand);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flow::conservation::{Conservation, State};
    use flow::{Action, Dumped, Match, Megaflow, Moment, Stats, Ufid};
    use hostdp::Datapath;
    use metrics::Histogram;

    use crate::runtime::operations::Operations;

    use super::super::conservation::{Rest, conservation};
    use super::super::status::Counted;
    use super::*;
    use offload::{Budget, ByRate, Event, Place, Settings};

    const NIC: ProviderId = ProviderId(0);

    fn counters(packets: u64) -> Counters {
        Counters { packets, bytes: packets * 60 }
    }

    /// A NIC whose only rule sends everything from port 1 to port 2; no packet comes up to the
    /// host.
    struct Bench {
        engine: Engine,
        ufid: Ufid,
        host: Snapshot,
        traffic: Traffic,
        witnesses: Witnesses,
        nobody: BTreeMap<PortId, Counters>,
    }

    impl Bench {
        /// The rule and the ports have counted since before the daemon started.
        fn new() -> Bench {
            let mut datapath = Datapath::new(hostdp::Config::default());
            let client = Box::new(pipeline::none::NoClient);
            let mut engine = Engine::new(Settings::default(), client, Box::new(ByRate));
            let admission = flow::Provider::admission(datapath.table());
            engine.add_hardware("tc", admission, Budget::new(1_000));
            let key = flow::Key { in_port: 1, ..flow::Key::default() };
            let matching = Match::new(&key, &flow::Mask::default());
            let flow = Arc::new(Megaflow::new(matching, vec![Action::Output(PortId(2))]));
            let ufid = flow.ufid;
            let stats = Stats { counters: counters(100), ..Stats::default() };
            let found = Dumped {
                ufid,
                generation: flow::Generation(1),
                flow: Some(flow),
                stats,
                active: true,
            };
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
                exact: false,
            };
            let traffic = BTreeMap::from([(NIC, vec![port(1), port(2)])]);
            let (host, witnesses) = (datapath.snapshot(), Witnesses::default());
            let nobody = BTreeMap::new();
            let mut bench = Bench { engine, ufid, host, traffic, witnesses, nobody };
            bench.count(5_000, 4_000, 9);
            bench
        }

        /// Sets the port counters: packets received by port 1, and packets sent and dropped by
        /// port 2.
        fn count(&mut self, received: u64, sent: u64, dropped: u64) {
            let ports = self.traffic.get_mut(&NIC).unwrap();
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

        fn start(&mut self) {
            self.witnesses.start(&self.engine, &self.traffic, &self.host, &self.nobody);
        }

        fn all(&self) -> Conservation {
            let counted = Counted {
                host: &self.host,
                upcall_duration: &Histogram::durations(),
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
        assert_eq!(bench.all().packets().state, State::NotChecked, "{:?}", bench.all());
        bench.start();
        assert_eq!(bench.all().packets().state, State::Holds, "{:?}", bench.all());
        bench.count(5_030, 4_030, 9);
        bench.hit(130);
        let all = bench.all();
        assert_eq!((all.packets().state, all.offered.packets), (State::Holds, 130), "{all:?}");
        assert_eq!(all.bytes().state, State::NotChecked, "no interface counts whole frames");
        // A later moment at rest changes nothing.
        bench.start();
        assert_eq!(bench.all(), all);
        // One packet that should have gone out is dropped.
        bench.count(5_040, 4_039, 10);
        bench.hit(140);
        let all = bench.all();
        let lost = all.lost.values().copied().sum::<Counters>().packets;
        assert_eq!((all.packets().state, lost), (State::Holds, 1), "{all:?}");
        // In each case one counter is wrong by one: the rule's counter, or a counter of the
        // ports.
        for (hits, received, sent, lookups, ends) in [
            (149, 5_050, 4_049, 1, 0),
            (151, 5_050, 4_049, -1, 0),
            (150, 5_049, 4_049, -1, -1),
            (150, 5_050, 4_048, 0, 1),
            (150, 5_050, 4_050, 0, -1),
        ] {
            let mut bench = Bench::new();
            bench.start();
            bench.count(received, sent, 10);
            bench.hit(hits);
            let said = bench.all().packets();
            assert_eq!(said.state, State::DoesNotHold, "{:?}", bench.all());
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
}
