//! The conservation of packets, put together from what the engine, the host and devices count.

use std::collections::BTreeSet;

use flow::conservation::{Conservation, Side, Unchecked};
use flow::{Counters, PortTraffic};
use hostdp::drops::{DropReason, Drops};
use hostdp::{DatapathSnapshot, Ends, Ledger};

use super::counted::Counted;
use offload::{Engine, ProviderId};

/// Finds out whether the host and the devices are at rest: whether any of their counters has
/// moved.
#[derive(Default)]
pub(super) struct Rest {
    at_last_pass: Reading,
    /// Devices whose port counters had moved at their last reading.
    moving: BTreeSet<ProviderId>,
    /// Devices that were read since the host's counters last moved, or since the last comparison.
    read: BTreeSet<ProviderId>,
    /// The result of the last comparison: true if no counter of the host or of a device had
    /// moved.
    was_still: bool,
}

impl Rest {
    /// Records a reading of a device's ports. `is_still` is true if no port counter has moved
    /// since the previous reading.
    pub(super) fn traffic_read(&mut self, provider: ProviderId, is_still: bool) {
        if is_still {
            self.moving.remove(&provider);
        } else {
            self.moving.insert(provider);
        }
        self.read.insert(provider);
    }

    /// Records a statistics pass over the host; `devices` are the devices that answer. Returns
    /// true if every device was read meanwhile, and no counter of the host or of a device has
    /// moved. A device that is gone is not waited for.
    pub(super) fn passed(
        &mut self,
        host: &DatapathSnapshot,
        devices: impl Iterator<Item = ProviderId>,
    ) -> bool {
        let devices: BTreeSet<ProviderId> = devices.collect();
        self.moving.retain(|id| devices.contains(id));
        let now = Reading::from(host);
        let has_moved = now != std::mem::replace(&mut self.at_last_pass, now);
        let is_compared = devices.is_subset(&self.read);
        if has_moved || is_compared {
            self.read.clear();
            self.was_still = !has_moved && self.moving.is_empty();
        }
        is_compared && self.was_still
    }

    /// Returns true if the last comparison found everything at rest and no counter has moved
    /// since.
    pub(super) fn lasts(&self, host: &DatapathSnapshot) -> bool {
        self.was_still && self.moving.is_empty() && self.at_last_pass == Reading::from(host)
    }
}

/// Everything that the host has counted. If two readings are equal, nothing moved between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Reading {
    ledger: Ledger,
    ends: Ends,
    drops: Drops,
    injected: Counters,
}

impl From<&DatapathSnapshot> for Reading {
    fn from(host: &DatapathSnapshot) -> Reading {
        let DatapathSnapshot { ledger, ends, drops, injected, .. } = *host;
        Reading { ledger, ends, drops, injected }
    }
}

/// Adds up where packets came in and where they ended. For a device with exact port counters,
/// these counters are used. For any other device, the kernel's interface counters are used as
/// soon as they are comparable; until then only the hits of the device's megaflows are known.
pub(super) fn conservation(engine: &Engine, counted: &Counted<'_>) -> Conservation {
    let host = counted.host;
    let mut all = of_host(engine.first_pass_host(), host);
    all.at_rest = counted.at_rest;
    for provider in engine.devices().map(|device| device.id) {
        let hits = engine.hits(provider);
        all.nic += hits.first;
        all.forks += hits.forks;
        all.recirculated += hits.recirculated;
        all.went_on += hits.all.since(hits.first).unwrap_or_default();
        let ports = counted.traffic.get(&provider).map_or(&[][..], Vec::as_slice);
        if ports.iter().any(|port| port.exact) {
            ports.iter().for_each(|port| device_port(&mut all, port, counted));
            continue;
        }
        let around = (counted.host, counted.by_hand);
        if !counted.witnesses.enter(&mut all, (provider, &hits), ports, around) {
            all.offered += hits.first;
            all.sent_nic += hits.promised();
            all.doubt(Unchecked::NoPortCounters, hits.all);
        }
    }
    all.went_on += host.ledger.continued.received;
    all
}

/// The conservation of the host datapath alone.
fn of_host(first_hits: Counters, host: &DatapathSnapshot) -> Conservation {
    let DatapathSnapshot { ledger, ends, drops, injected, .. } = host;
    let fresh = &ledger.fresh;
    let overruns = drops.get(DropReason::RxOverrun);
    let mut all = Conservation {
        offered: fresh.received + overruns + *injected,
        host: first_hits + fresh.executed + *injected,
        unmatched: fresh.drops_before_hit.total() + overruns + fresh.pending,
        forks: ends.forks,
        sent_host: ends.sent,
        userspace: ends.userspace,
        in_flight: ends.waiting,
        ..Conservation::default()
    };
    for (reason, what) in drops.iter() {
        all.lose(Side::Host, reason.name(), what);
    }
    all
}

/// Replaces what the host has counted at a port by what the device's port has counted itself.
fn device_port(all: &mut Conservation, device: &PortTraffic, counted: &Counted<'_>) {
    let port = counted.host.ports.iter().find(|port| port.id == device.port);
    let (received, sent) = port.map_or_else(Default::default, |port| (port.received, port.sent));
    let by_hand = counted.by_hand.get(&device.port).copied().unwrap_or_default();
    let instead = |sum: Counters, of: Counters| sum.since(of).unwrap_or_default();
    all.offered = instead(all.offered, received) + device.received + by_hand;
    all.sent_host = instead(all.sent_host, sent) + device.from_host;
    all.sent_nic += device.sent_alone();
    for (reason, what) in &device.receive_drops {
        all.unmatched += *what;
        all.lose(Side::Nic, reason, *what);
    }
    for (reason, what) in &device.transmit_drops {
        all.lose(Side::Nic, reason, *what);
    }
}
