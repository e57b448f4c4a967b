//! The ports of the host datapath and their links.

use std::collections::BTreeMap;

use flow::{PortId, PortLink};
use hostdp::port::LinkState;

/// The ports that exist, as the host datapath last reported them.
#[derive(Default)]
pub(super) struct KnownPorts(BTreeMap<PortId, Known>);

struct Known {
    name: String,
    up: bool,
}

impl KnownPorts {
    /// The ports of a datapath.
    pub(super) fn of(datapath: &hostdp::Datapath) -> KnownPorts {
        let mut ports = KnownPorts::default();
        for (id, port) in datapath.ports() {
            ports.came(id, port.name(), port.state());
        }
        ports
    }

    /// Records a port and its link state. Returns true if the port is new, or its link went up or
    /// down.
    pub(super) fn came(&mut self, id: PortId, name: &str, state: LinkState) -> bool {
        let up = state == LinkState::Up;
        let before = self.0.insert(id, Known { name: name.to_owned(), up });
        before.is_none_or(|before| before.up != up)
    }

    /// Removes a port. Returns true if the port was there.
    pub(super) fn went(&mut self, id: PortId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// The ports in the form that the engine takes.
    pub(super) fn links(&self) -> Vec<PortLink> {
        self.0.iter().map(|(id, known)| PortLink { id: *id, up: known.up }).collect()
    }

    /// A port's name in the configuration, or its number if the port is gone.
    pub(super) fn name(&self, id: PortId) -> String {
        self.0.get(&id).map_or_else(|| id.to_string(), |known| known.name.clone())
    }
}
