//! Counters of the NIC's ports, which do not depend on our filters.
//!
//! A representor of a switchdev NIC counts all packets of its port, those that the hardware
//! forwarded included, and shows the CPU's share separately (`IFLA_OFFLOAD_XSTATS_CPU_HIT`). If a
//! driver does not show the CPU's share, its counters say nothing about the hardware, and the
//! port has no witness.

use flow::{Counters, PortTraffic, ProviderError};

use super::Tc;
use crate::links::{self, LinkCounters};
use crate::wire::Transport;

/// A port's counters since they were first read, over all interfaces that it has had.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    ifindex: u32,
    last: LinkCounters,
    sum: LinkCounters,
}

impl Witness {
    fn new(ifindex: u32, now: LinkCounters) -> Witness {
        Witness { ifindex, last: now, sum: LinkCounters::default() }
    }

    /// Takes the next reading. If the port has another interface now, or if a counter went back,
    /// the whole reading was counted since the last one.
    fn read(&mut self, ifindex: u32, now: LinkCounters) {
        let goes_on = ifindex == self.ifindex;
        let growth = now.since(self.last).filter(|_| goes_on).unwrap_or(now);
        self.sum = self.sum + growth;
        (self.ifindex, self.last) = (ifindex, now);
    }
}

impl<T: Transport> Tc<T> {
    /// Returns the traffic of the ports on switchdev NICs since the first call, or an empty list
    /// if the driver of any such port does not show the CPU's share.
    pub(super) fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        let busy = |error: crate::wire::WireError| ProviderError::Busy(error.to_string());
        let counted = links::counters(&mut self.client).map_err(busy)?;
        for (port, state) in &self.ports {
            let ifindex = state.device.ifindex;
            if state.device.switch_id.is_none() || state.gone {
                continue;
            }
            let Some(now) = counted.get(&ifindex).copied() else { return Ok(Vec::new()) };
            let witness = self.witnesses.entry(*port);
            witness.or_insert_with(|| Witness::new(ifindex, now)).read(ifindex, now);
        }
        let ports = self.witnesses.iter().map(|(port, witness)| {
            let LinkCounters { received, sent, unsent, to_cpu, from_cpu } = witness.sum;
            PortTraffic {
                port: *port,
                received,
                sent,
                to_host: to_cpu,
                from_host: from_cpu,
                receive_drops: Vec::new(),
                transmit_drops: vec![("tx-dropped", Counters { packets: unsent, bytes: 0 })],
                exact: false,
            }
        });
        Ok(ports.collect())
    }
}
