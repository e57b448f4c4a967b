//! What the NIC's ports count by themselves, which nobody derives from our filters.
//!
//! A representor of a switchdev NIC counts all that its port carries, the hardware's share
//! included, and tells apart what the CPU had of it (`IFLA_OFFLOAD_XSTATS_CPU_HIT`). Where a
//! driver does not, its counters say nothing of the hardware, and there is no witness.

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

    /// Takes the next reading. Another interface, or one whose counters went back, has counted
    /// all that it shows since the last one.
    fn read(&mut self, ifindex: u32, now: LinkCounters) {
        let goes_on = ifindex == self.ifindex;
        let growth = now.since(self.last).filter(|_| goes_on).unwrap_or(now);
        self.sum = self.sum + growth;
        (self.ifindex, self.last) = (ifindex, now);
    }
}

impl<T: Transport> Tc<T> {
    /// What the ports on switchdev NICs have carried since the first call; nothing unless all of
    /// them tell the hardware's share.
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
