//! Ports that come and go, and their links.

use std::collections::BTreeSet;

use flow::{Moment, PortId, PortLink, Ufid};

use super::Engine;

impl Engine {
    /// The ports are these now. Megaflows that name a port which forwards no longer are asked
    /// about at once; whatever else the client changes its mind about waits for the next pass
    /// over all, so that links which flap don't make a pass each.
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
