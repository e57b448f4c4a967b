//! The state of a daemon in numbers, as operators see it.

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
    /// The datapath's ports, by number.
    pub ports: Vec<PortView>,
    /// Everything that is exported as a metric, including the conservation of packets.
    pub metrics: metrics::Snapshot,
    /// The masks of the host table.
    pub masks: Masks,
}

/// The masks of the host table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Masks {
    /// Masks that lookups have visited so far. A lookup that the exact-match cache answers visits
    /// no mask.
    pub visited: u64,
    /// Masks in the table now. A mask counts once for each combination of port, recirculation id
    /// and EtherType that it is used with.
    pub total: u64,
}
