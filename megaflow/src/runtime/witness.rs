//! Interface counters of the kernel as witnesses of what hardware did.
//!
//! A port of a switchdev NIC counts all its packets, including the packets that hardware
//! forwarded, and has counted since long before this process started. The port's counters are
//! comparable with ours from the first moment at rest: the difference at that moment is left out
//! for ever.
//!
//! What is missing is lost, as far as the interfaces count losses. Their counts are upper bounds:
//! they explain what is missing, and they never make a packet missing.

use std::collections::{BTreeMap, BTreeSet};

use flow::conservation::{Conservation, Hits, Side, Unchecked};
use flow::{Counters, PortId, PortTraffic};
use hostdp::DatapathSnapshot;
use hostdp::drops::DropReason;

use offload::{Engine, ProviderId};

/// The reason of packets that are missing at a representor that was down.
const REPRESENTOR_DOWN: &str = "representor-down";
/// The reason of packets that were lost between the NIC's driver and the host's port.
const HANDED_UP: &str = "handed-up";

/// The port counters of each device.
pub(super) type DeviceTraffic = BTreeMap<ProviderId, Vec<PortTraffic>>;

/// For each device, the comparison of its port counters with ours.
#[derive(Default)]
pub(super) struct Witnesses(BTreeMap<ProviderId, Witness>);

/// The comparison of a device's port counters with ours.
#[derive(Default)]
struct Witness {
    /// The gaps when the comparison began; `None` before.
    before: Option<Gaps>,
    /// Ports that were deaf since the last moment at rest.
    deaf: BTreeSet<PortId>,
    /// Ports that were deaf before a moment at rest at which packets were missing that no counter
    /// of losses explains.
    blamed: BTreeSet<PortId>,
    /// The number of these packets.
    blamed_for: i128,
}

/// Packets and bytes that one side has counted, less those that the other side has.
#[derive(Clone, Copy, Default)]
struct Gap {
    packets: i128,
    bytes: i128,
}

impl Gap {
    fn new(more: Counters, less: Counters) -> Gap {
        let gap = |more: u64, less: u64| i128::from(more) - i128::from(less);
        Gap { packets: gap(more.packets, less.packets), bytes: gap(more.bytes, less.bytes) }
    }
}

impl std::ops::AddAssign for Gap {
    fn add_assign(&mut self, other: Gap) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl std::ops::SubAssign for Gap {
    fn sub_assign(&mut self, other: Gap) {
        self.packets -= other.packets;
        self.bytes -= other.bytes;
    }
}

/// What a device's ports have counted and we have not. All numbers are sums over time.
#[derive(Clone, Default)]
struct Gaps {
    /// Received packets that neither hit in hardware nor came up to the kernel.
    missing: Gap,
    /// Packets that came up to the kernel and did not come out of the host's ports.
    handed_up: Gap,
    /// Packets that should have left by the ports and did not.
    unsent: Gap,
    receive_drops: Drops,
    transmit_drops: Drops,
}

impl Gaps {
    fn new(
        ports: &[PortTraffic],
        hits: &Hits,
        host: &DatapathSnapshot,
        by_hand: &BTreeMap<PortId, Counters>,
    ) -> Gaps {
        let none = Counters::default();
        let (missing, unsent) = (Gap::new(none, hits.first), Gap::new(hits.promised(), none));
        let mut gaps = Gaps { missing, unsent, ..Gaps::default() };
        for device in ports {
            let port = host.ports.iter().find(|port| port.id == device.port);
            let came_up = port
                .map_or(none, |port| port.received + port.receive_drops.get(DropReason::RxOverrun));
            let by_hand = by_hand.get(&device.port).copied().unwrap_or_default();
            gaps.missing += Gap::new(device.received, device.to_host);
            gaps.handed_up += Gap::new(device.to_host + by_hand, came_up);
            gaps.unsent += Gap::new(device.from_host, device.sent);
            gaps.receive_drops.add(&device.receive_drops);
            gaps.transmit_drops.add(&device.transmit_drops);
        }
        gaps
    }

    fn since(mut self, before: &Gaps) -> Gaps {
        self.missing -= before.missing;
        self.handed_up -= before.handed_up;
        self.unsent -= before.unsent;
        self.receive_drops.subtract(&before.receive_drops);
        self.transmit_drops.subtract(&before.transmit_drops);
        // If more came out of the host's ports than the driver handed up, the NIC received less
        // than that.
        self.missing.packets += self.handed_up.packets.min(0);
        self.handed_up.packets = self.handed_up.packets.max(0);
        self
    }

    /// True if both sides have counted the same bytes, so that each side confirms the other one.
    fn agree_in_bytes(&self) -> bool {
        self.missing.bytes + self.handed_up.bytes == 0 && self.unsent.bytes == 0
    }
}

/// Counts of lost packets by reason, the most telling ones first.
#[derive(Clone, Default)]
struct Drops(Vec<(&'static str, i128)>);

impl Drops {
    fn add(&mut self, counts: &[(&'static str, Counters)]) {
        for (reason, what) in counts {
            let lost = i128::from(what.packets);
            match self.0.iter_mut().find(|(known, _)| known == reason) {
                Some((_, sum)) => *sum += lost,
                None => self.0.push((reason, lost)),
            }
        }
    }

    fn subtract(&mut self, before: &Drops) {
        for (reason, sum) in &mut self.0 {
            let before = before.0.iter().find(|(known, _)| known == reason);
            *sum -= before.map_or(0, |(_, before)| *before);
        }
    }

    fn total(&self) -> i128 {
        self.0.iter().map(|(_, lost)| lost).sum()
    }

    /// Takes the counts that explain missing packets, up to the number of these packets.
    fn take(&mut self, missing: i128) -> Drops {
        let mut rest = missing.max(0);
        let mut take = |lost: &mut i128| {
            let taken = rest.min(*lost);
            rest -= taken;
            *lost -= taken;
            taken
        };
        Drops(self.0.iter_mut().map(|(reason, lost)| (*reason, take(lost))).collect())
    }

    /// Enters the packets as lost.
    fn lose(&self, all: &mut Conservation, side: Side) {
        self.0.iter().for_each(|(reason, lost)| all.lose(side, reason, packets(*lost)));
    }
}

/// The interfaces count no bytes of lost packets.
fn packets(number: i128) -> Counters {
    Counters { packets: u64::try_from(number.max(0)).unwrap_or(u64::MAX), bytes: 0 }
}

impl Witnesses {
    /// Takes note of a reading of a device's ports.
    pub(super) fn read(&mut self, provider: ProviderId, ports: &[PortTraffic]) {
        self.0.entry(provider).or_default().deaf.extend(deaf(ports));
    }

    /// Starts the comparison for each device that is not compared yet, and blames what is missing
    /// now on ports that were deaf. Must be called at rest.
    pub(super) fn at_rest(
        &mut self,
        engine: &Engine,
        traffic: &DeviceTraffic,
        host: &DatapathSnapshot,
        by_hand: &BTreeMap<PortId, Counters>,
    ) {
        for (provider, ports) in traffic.iter().filter(|(_, ports)| !ports.is_empty()) {
            let now = Gaps::new(ports, &engine.hits(*provider), host, by_hand);
            let witness = self.0.entry(*provider).or_default();
            match &witness.before {
                Some(before) => witness.blame(now.since(before)),
                None => witness.before = Some(now),
            }
            witness.deaf = deaf(ports).collect();
        }
    }

    /// Enters what a device did by itself according to its port counters. Returns false if the
    /// comparison has not started.
    pub(super) fn enter(
        &self,
        all: &mut Conservation,
        (provider, hits): (ProviderId, &Hits),
        ports: &[PortTraffic],
        (host, by_hand): (&DatapathSnapshot, &BTreeMap<PortId, Counters>),
    ) -> bool {
        let witness = self.0.get(&provider);
        let Some((witness, before)) = witness.and_then(|w| Some((w, w.before.as_ref()?))) else {
            return false;
        };
        let mut gaps = Gaps::new(ports, hits, host, by_hand).since(before);
        if !gaps.agree_in_bytes() {
            let bytes = Counters { packets: 0, bytes: hits.all.bytes.max(1) };
            all.doubt(Unchecked::InterfaceBytes, bytes);
        }
        witness.received(all, hits, &mut gaps);
        sent(all, hits, &mut gaps);
        true
    }
}

fn deaf(ports: &[PortTraffic]) -> impl Iterator<Item = PortId> {
    ports.iter().filter(|port| port.deaf).map(|port| port.port)
}

impl Witness {
    fn blame(&mut self, mut now: Gaps) {
        if self.deaf.is_empty() {
            return;
        }
        let missing = now.missing.packets - now.receive_drops.take(now.missing.packets).total();
        if missing > self.blamed_for {
            self.blamed.extend(&self.deaf);
        }
        self.blamed_for = missing.max(0);
    }

    /// Enters what came in and what of it was lost.
    fn received(&self, all: &mut Conservation, hits: &Hits, gaps: &mut Gaps) {
        let (missing, handed_up) = (gaps.missing.packets, gaps.handed_up.packets);
        all.offered += packets(i128::from(hits.first.packets) + missing + handed_up);
        all.offered.bytes += hits.first.bytes;
        let in_nic = gaps.receive_drops.take(missing);
        in_nic.lose(all, Side::Nic);
        let unexplained = missing - in_nic.total();
        let deaf =
            if self.deaf.is_empty() { self.blamed_for.min(unexplained) } else { unexplained };
        if deaf > 0 {
            let ports = self.blamed.union(&self.deaf).copied().collect();
            all.lose(Side::Nic, REPRESENTOR_DOWN, packets(deaf));
            all.doubt(Unchecked::RepresentorDown(ports), packets(deaf));
        }
        let mut on_host = gaps.receive_drops.take(handed_up);
        on_host.0.retain(|(_, lost)| *lost > 0);
        on_host.lose(all, Side::Host);
        let vanished = handed_up - on_host.total();
        if vanished > 0 {
            all.lose(Side::Host, HANDED_UP, packets(vanished));
            all.doubt(Unchecked::HandedUp, packets(vanished));
        }
        all.unmatched += packets(in_nic.total() + deaf.max(0) + handed_up);
    }
}

/// Enters what left by the ports, and what was lost on the way there. The counters do not tell who
/// sent a lost packet: lost packets are taken for the device's own, up to the number that the
/// device was to send.
fn sent(all: &mut Conservation, hits: &Hits, gaps: &mut Gaps) {
    let (promised, unsent) = (hits.promised(), gaps.unsent.packets);
    let lost = unsent.max(0).min(gaps.transmit_drops.total());
    let out = (i128::from(promised.packets) - unsent + lost).max(0);
    let lost = gaps.transmit_drops.take(unsent.min(out));
    lost.lose(all, Side::Nic);
    all.sent_nic += packets(out - lost.total());
    all.sent_nic.bytes += promised.bytes;
}

#[cfg(test)]
mod tests;
