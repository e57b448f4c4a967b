//! Changes of the ports and of their links.

use std::collections::BTreeSet;

use flow::{Moment, PortId, PortLink, Ufid};

use super::Engine;

impl Engine {
    /// Takes the ports that exist now. Megaflows that name a port without a link are revalidated
    /// at once. Whatever else the client decides anew waits for the next pass over all megaflows,
    /// so that links which flap don't cause a pass each.
    pub(super) fn ports(&mut self, ports: Vec<PortLink>, now: Moment) {
        self.client.ports(&ports);
        let before = with_link(&std::mem::replace(&mut self.ports, ports));
        let lost = &before - &with_link(&self.ports);
        if lost.is_empty() {
            return;
        }
        let names_one = |ports: BTreeSet<PortId>| !ports.is_disjoint(&lost);
        let concerned = self.flows.iter().filter(|(_, entry)| names_one(entry.flow.ports()));
        for ufid in concerned.map(|(ufid, _)| *ufid).collect::<Vec<Ufid>>() {
            self.revalidate_one(ufid, now);
        }
    }
}

fn with_link(ports: &[PortLink]) -> BTreeSet<PortId> {
    ports.iter().filter(|port| port.up).map(|port| port.id).collect()
}
