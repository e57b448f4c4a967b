//! The state of a daemon in numbers, as operators see it.

use std::collections::BTreeMap;

use flow::{Counters, PortId};
use hostdp::port::LinkState;

/// A port as an operator sees it.
#[derive(Clone, Debug)]
pub struct PortView {
    /// The port's number in megaflows.
    pub id: PortId,
    /// The port's name in the configuration.
    pub name: String,
    /// The port's type in the configuration.
    pub kind: &'static str,
    /// Whether the port can carry packets now.
    pub state: LinkState,
    /// Why the port can't carry packets, or what else is wrong with it, for people.
    pub trouble: Option<String>,
    /// The way that the port's frames take; `None` for the usual one of its type.
    pub way: Option<&'static str>,
    /// For each worker, in their order, the number of the port's queues that it receives from.
    pub queues: Vec<usize>,
    /// Packets that the host datapath received.
    pub received: Counters,
    /// Packets that the host datapath sent.
    pub sent: Counters,
}

/// The state in numbers.
#[derive(Clone, Debug)]
pub struct Status {
    /// The datapath's name.
    pub name: String,
    /// The client's name.
    pub client: &'static str,
    /// The cores of the workers, in their order; empty if they are on no core of their own.
    pub cores: Vec<usize>,
    /// The datapath's ports, by number.
    pub ports: Vec<PortView>,
    /// Why a device does not answer, by its provider's name. Those that answer are not in it.
    pub gone: BTreeMap<String, String>,
    /// Everything that is exported as a metric, including the conservation of packets.
    pub metrics: metrics::Snapshot,
    /// The masks of the host table.
    pub masks: Masks,
}

impl Status {
    /// Returns why the daemon is not ready, in one line: a port that can't carry packets, or a
    /// device that does not answer. `None` if it is ready.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        let port = self.ports.iter().find(|port| port.state != LinkState::Up).map(|port| {
            let why = port.trouble.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            format!("port {} is {}{why}", port.name, port.state.name())
        });
        let gone = |(name, why): (&String, &String)| {
            format!("the device of provider {name} is gone, and the host forwards: {why}")
        };
        port.or_else(|| self.gone.iter().next().map(gone))
    }
}

/// The masks of the host table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Masks {
    /// Places that lookups have visited so far: tables, and nodes of trees. They do not visit mask
    /// after mask.
    pub visited: u64,
    /// Masks in the table now. A mask counts once for each combination of port, recirculation id
    /// and EtherType that it is used with.
    pub total: u64,
}
