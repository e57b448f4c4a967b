//! What others do in the imitation, each with the notifications that the kernel sends.

use super::filter::{Change, Stored};
use super::link::{Link, show_link, show_link_of};
use super::{FakeKernel, FakeState, message};
use crate::encode::Location;
use crate::netlink::Writer;
use crate::netlink::consts::*;

/// Family of what a bridge tells of its ports.
const AF_BRIDGE: u8 = 7;
/// Somebody's netlink port.
const SOMEBODY: u32 = 77;

impl FakeState {
    pub(super) fn carry_out(&mut self, change: Change) {
        let (kind, at, stored) = match change {
            Change::Add(at, stored) => {
                self.filters.insert(at, stored.clone());
                (RTM_NEWTFILTER, at, stored)
            }
            Change::Remove(at) => {
                let stored = self.filters.remove(&at).expect("there is such a filter");
                (RTM_DELTFILTER, at, stored)
            }
        };
        self.notify(message(kind, 0, 0, SOMEBODY, |w| stored.show(w, at)));
    }

    /// Counts one more install; deletes a qdisc right before it when that install's turn has come.
    pub(super) fn count_down(&mut self) {
        let Some((installs, ifindex)) = self.cut.front_mut() else { return };
        if *installs > 0 {
            *installs -= 1;
            return;
        }
        let ifindex = *ifindex;
        self.cut.pop_front();
        self.qdiscs.remove(&ifindex);
        self.filters.retain(|at, _| at.ifindex != ifindex);
        self.notify(message(RTM_DELQDISC, 0, 0, SOMEBODY, |w| {
            w.tcmsg(ifindex, TC_H_INGRESS_MAJOR, TC_H_CLSACT, 0);
        }));
    }
}

impl FakeKernel {
    pub(crate) fn change(&self, change: Change) {
        self.lock().carry_out(change);
    }

    /// Somebody deletes a filter.
    pub(crate) fn steal(&self, at: Location) {
        self.change(Change::Remove(at));
    }

    /// Somebody replaces a filter in its place.
    pub(crate) fn alter(&self, at: Location, change: impl FnOnce(&mut Stored)) {
        let mut stored = self.lock().filters[&at].clone();
        change(&mut stored);
        self.change(Change::Add(at, stored));
    }

    /// Somebody turns `hw-tc-offload` on or off.
    pub(crate) fn set_offload(&self, ifindex: u32, on: bool) {
        let mut state = self.lock();
        if on {
            state.offload_off.remove(&ifindex);
        } else {
            state.offload_off.insert(ifindex);
        }
        let link = state.links.iter().find(|link| link.0 == ifindex).cloned().unwrap();
        let is_up = !state.down.contains(&ifindex);
        state.notify(message(RTM_NEWLINK, 0, 0, 0, |w| show_link(w, &link, is_up)));
    }

    /// Somebody sets an interface up or down.
    pub(crate) fn set_up(&self, ifindex: u32, is_up: bool) {
        let mut state = self.lock();
        if is_up {
            state.down.remove(&ifindex);
        } else {
            state.down.insert(ifindex);
        }
        let link = state.links.iter().find(|link| link.0 == ifindex).cloned().unwrap();
        state.notify(message(RTM_NEWLINK, 0, 0, 0, |w| show_link(w, &link, is_up)));
    }

    /// An interface is deleted, and made again under another number.
    pub(crate) fn recreate(&self, ifindex: u32, again: u32) {
        let mut state = self.lock();
        state.filters.retain(|at, _| at.ifindex != ifindex);
        state.filters.values_mut().for_each(|stored| stored.cut_off(ifindex));
        state.qdiscs.remove(&ifindex);
        let at = state.links.iter().position(|link| link.0 == ifindex).unwrap();
        let mut link = state.links.remove(at);
        state.notify(message(RTM_DELLINK, 0, 0, 0, |w| show_link(w, &link, true)));
        link.0 = again;
        state.notify(message(RTM_NEWLINK, 0, 0, 0, |w| show_link(w, &link, true)));
        state.links.push(link);
    }

    /// All sockets that are open now stop to work.
    pub(crate) fn break_sockets(&self) {
        let mut state = self.lock();
        let open: Vec<u32> = state.queues.keys().copied().collect();
        state.broken.extend(open);
    }

    /// All interfaces are deleted. Returns them.
    pub(crate) fn unload(&self) -> Vec<Link> {
        let mut state = self.lock();
        state.filters.clear();
        state.qdiscs.clear();
        let links = std::mem::take(&mut state.links);
        for link in &links {
            state.notify(message(RTM_DELLINK, 0, 0, 0, |w| show_link(w, link, true)));
        }
        links
    }

    /// An interface belongs to that switch from now on, or to none.
    pub(crate) fn set_switch(&self, ifindex: u32, switch: Option<Vec<u8>>) {
        let mut state = self.lock();
        let link = state.links.iter_mut().find(|link| link.0 == ifindex).unwrap();
        link.2 = switch;
        let link = link.clone();
        state.notify(message(RTM_NEWLINK, 0, 0, 0, |w| show_link(w, &link, true)));
    }

    /// An interface changes its state in a bridge, and leaves the bridge.
    pub(crate) fn bridge_port(&self, ifindex: u32) {
        let mut state = self.lock();
        let link = state.links.iter().find(|link| link.0 == ifindex).unwrap();
        let port: Link = (ifindex, link.1.clone(), None, None);
        for kind in [RTM_NEWLINK, RTM_DELLINK] {
            let body = |w: &mut Writer| show_link_of(w, AF_BRIDGE, &port, true);
            state.notify(message(kind, 0, 0, 0, body));
        }
    }
}
