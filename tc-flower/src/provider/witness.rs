//! Counters of the NIC's ports, which do not depend on our filters.
//!
//! A representor of a switchdev NIC counts all packets of its port, those that the hardware
//! forwarded included, and shows the CPU's share separately (`IFLA_OFFLOAD_XSTATS_CPU_HIT`). If a
//! driver does not show the CPU's share, its counters say nothing about the hardware, and the
//! port has no witness.
//!
//! The counters of lost packets are taken for upper bounds: whether a lost packet is among the
//! received ones as well, and whether a packet counts as dropped that a packet socket has a copy
//! of, differs from driver to driver.

use std::collections::{BTreeMap, BTreeSet};

use flow::{Counters, PortId, PortTraffic};

use super::ports::TcPorts;
use crate::links::{LinkCounters, RECEIVE_DROPS, TRANSMIT_DROPS};

/// The reason of the packets that an interface counted as lost while it was set down.
const REPRESENTOR_DOWN: &str = "representor-down";

/// A port's counters since they were first read, over all interfaces that it has had.
#[derive(Clone, Debug)]
struct Witness {
    ifindex: u32,
    last: LinkCounters,
    sum: LinkCounters,
    /// Received packets that were lost while the interface was down; they are not in `sum`.
    while_down: u64,
}

impl Witness {
    fn new(ifindex: u32, now: LinkCounters) -> Witness {
        Witness { ifindex, last: now, sum: LinkCounters::default(), while_down: 0 }
    }

    /// Takes the next reading. If the port has another interface now, or if a counter went back,
    /// the whole reading was counted since the last one. `was_down` is true if the interface was
    /// down at some time since then.
    fn read(&mut self, ifindex: u32, now: LinkCounters, was_down: bool) {
        let goes_on = ifindex == self.ifindex;
        let mut growth = now.since(self.last).filter(|_| goes_on).unwrap_or(now);
        if was_down {
            let lost = std::mem::take(&mut growth.receive_drops).into_iter();
            self.while_down = lost.fold(self.while_down, u64::saturating_add);
        }
        self.sum = self.sum + growth;
        (self.ifindex, self.last) = (ifindex, now);
    }

    fn receive_drops(&self) -> Vec<(&'static str, Counters)> {
        let counted = RECEIVE_DROPS.into_iter().zip(self.sum.receive_drops);
        let counted = counted.map(|((reason, _), lost)| (reason, packets(lost)));
        std::iter::once((REPRESENTOR_DOWN, packets(self.while_down))).chain(counted).collect()
    }

    fn transmit_drops(&self) -> Vec<(&'static str, Counters)> {
        let counted = TRANSMIT_DROPS.into_iter().zip(self.sum.transmit_drops);
        counted.map(|((reason, _), lost)| (reason, packets(lost))).collect()
    }
}

/// Interfaces count no bytes of lost packets.
fn packets(packets: u64) -> Counters {
    Counters { packets, bytes: 0 }
}

/// The ports' own counters.
#[derive(Debug, Default)]
pub(super) struct PortWitnesses {
    ports: BTreeMap<PortId, Witness>,
    /// The ports whose interfaces were set down since their counters were last read.
    were_down: BTreeSet<PortId>,
}

impl PortWitnesses {
    /// Notes that a port's interface was down.
    pub(super) fn was_down(&mut self, port: PortId) {
        self.were_down.insert(port);
    }

    /// Returns the traffic of the ports on switchdev NICs since the first call, or an empty list
    /// if the driver of any such port does not show the CPU's share.
    pub(super) fn traffic(
        &mut self,
        ports: &TcPorts,
        counted: &BTreeMap<u32, LinkCounters>,
    ) -> Vec<PortTraffic> {
        let mut was_down = std::mem::take(&mut self.were_down);
        for (port, state) in ports.all().filter(|(_, state)| state.device.switch_id.is_some()) {
            let ifindex = state.device.ifindex;
            if state.gone || !state.device.is_up {
                was_down.insert(port);
            }
            if state.gone {
                continue;
            }
            let Some(now) = counted.get(&ifindex).copied() else { return Vec::new() };
            let witness = self.ports.entry(port);
            let witness = witness.or_insert_with(|| Witness::new(ifindex, now));
            witness.read(ifindex, now, was_down.contains(&port));
        }
        let ports = self.ports.iter().map(|(port, witness)| {
            let LinkCounters { received, sent, to_cpu, from_cpu, .. } = witness.sum;
            PortTraffic {
                port: *port,
                received,
                sent,
                to_host: to_cpu,
                from_host: from_cpu,
                receive_drops: witness.receive_drops(),
                transmit_drops: witness.transmit_drops(),
                deaf: was_down.contains(port),
                exact: false,
            }
        });
        ports.collect()
    }
}
