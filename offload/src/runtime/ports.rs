//! What the host datapath tells of its ports.

use std::collections::BTreeMap;

use flow::{PortId, PortLink};
use hostdp::port::LinkState;

/// The ports that exist, as told last.
#[derive(Default)]
pub(super) struct Ports(BTreeMap<PortId, Known>);

struct Known {
    name: String,
    up: bool,
}

impl Ports {
    /// Those of a datapath.
    pub(super) fn of(datapath: &hostdp::Datapath) -> Ports {
        let mut ports = Ports::default();
        for (id, port) in datapath.ports() {
            ports.came(id, port.name(), port.state());
        }
        ports
    }

    /// A port came, or its link changed; true if that is news.
    pub(super) fn came(&mut self, id: PortId, name: &str, state: LinkState) -> bool {
        let up = state == LinkState::Up;
        let before = self.0.insert(id, Known { name: name.to_owned(), up });
        before.is_none_or(|before| before.up != up)
    }

    /// A port went; true if it was there.
    pub(super) fn went(&mut self, id: PortId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// As the engine wants them.
    pub(super) fn links(&self) -> Vec<PortLink> {
        self.0.iter().map(|(id, known)| PortLink { id: *id, up: known.up }).collect()
    }

    /// A port's name in the configuration, or its number where it is gone.
    pub(super) fn name(&self, id: PortId) -> String {
        self.0.get(&id).map_or_else(|| id.to_string(), |known| known.name.clone())
    }
}
