//! What happens to interfaces and filters without us.

use std::collections::BTreeSet;
use std::time::Duration;

use flow::{PortId, ProviderError, ProviderEvent, Ufid};

use super::qdisc;
use super::tc::Tc;
use crate::decode::Filter;
use crate::links;
use crate::netlink::consts::{
    AF_UNSPEC, RTM_DELLINK, RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWLINK, RTM_NEWTFILTER,
    RTNLGRP_LINK, RTNLGRP_TC,
};
use crate::netlink::read::Message;
use crate::netlink::{Messages, NetlinkError, TcMsg, Transport, passes};

/// What the monitor's socket listens to.
pub(super) const GROUPS: [u32; 2] = [RTNLGRP_LINK, RTNLGRP_TC];
/// How many datagrams one look takes, so that a flood does not hold the provider's thread. What
/// we do ourselves is among them: two to four for each operation.
const MOST: usize = 16 << 10;

/// What has to be looked at once all notifications are taken in.
#[derive(Default)]
struct Look {
    /// Interfaces that were gone may be back.
    appeared: bool,
    /// Something about these ports' interfaces changed: their features perhaps, or their link.
    ports: BTreeSet<PortId>,
    /// Others changed filters of theirs.
    others: bool,
}

impl<T: Transport> Tc<T> {
    pub(super) fn events(&mut self) -> Vec<ProviderEvent> {
        if self.check().is_ok() {
            self.listen();
            let due = self.ports.take_due(self.clock.now());
            if !due.is_empty() {
                self.recheck(due);
            }
        }
        self.table.tidy();
        self.found.tidy();
        let mut events = self.news.take_events(self.reading.is_some());
        if let Err(ProviderError::Gone(why)) = self.check()
            && !std::mem::replace(&mut self.told_gone, true)
        {
            events.push(ProviderEvent::Gone(why));
        }
        events
    }

    /// Takes in what was heard. Also called after each batch, whose own echoes would otherwise
    /// fill the socket.
    pub(super) fn listen(&mut self) {
        let mut datagram = Vec::new();
        let mut look = Look::default();
        for _ in 0..MOST {
            match self.monitor.receive(&mut datagram, Duration::ZERO) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => break,
                Err(error) if !passes(&error) => {
                    self.gone = Some(NetlinkError::Socket(error).to_string());
                    break;
                }
                // Notifications were lost, an interface's among them perhaps.
                Err(_) => {
                    self.news.changed = true;
                    self.news.heard += 1;
                    look.appeared = true;
                    look.ports.extend(self.ports.all().map(|(port, _)| port));
                    break;
                }
            }
            for message in Messages(&datagram) {
                let Ok(message) = message else { break };
                self.notice(&message, &mut look);
            }
        }
        if look.appeared {
            self.look_for_ports();
        }
        if !look.ports.is_empty() {
            self.recheck(look.ports);
        }
        if look.others {
            self.review_others();
        }
    }

    /// Takes one notification.
    fn notice(&mut self, message: &Message<'_>, look: &mut Look) {
        // A bridge tells of its ports by messages about links too (AF_BRIDGE). Such a message is
        // not about the interface: a port that leaves a bridge is not deleted.
        let of_a_link = matches!(message.kind, RTM_NEWLINK | RTM_DELLINK);
        if of_a_link && message.payload.first() != Some(&AF_UNSPEC) {
            return;
        }
        match message.kind {
            RTM_NEWLINK => {
                look.appeared |= self.ports.lacks_one();
                let device = links::parse(message.payload).ok();
                if let Some((port, is_down)) = device.and_then(|one| self.ports.change(one)) {
                    if is_down {
                        self.witnesses.was_down(port);
                    }
                    look.ports.insert(port);
                }
            }
            RTM_DELLINK => {
                if let Ok(ifindex) = links::ifindex(message.payload) {
                    self.lose(ifindex);
                }
            }
            RTM_DELQDISC if message.port != self.client.port() => {
                if let Ok(qdisc) = TcMsg::parse(message.payload) {
                    self.restore_qdisc(qdisc.ifindex);
                }
            }
            RTM_NEWTFILTER | RTM_DELTFILTER if message.port != self.client.port() => {
                if let Ok(Some(filter)) = Filter::parse(message.payload) {
                    self.notice_filter(message.kind, &filter, look);
                }
            }
            _ => {}
        }
    }

    fn notice_filter(&mut self, kind: u16, filter: &Filter<'_>, look: &mut Look) {
        let at = filter.at;
        // A port that can't be used now is followed too: it is not listed again.
        let Some((port, _)) = self.ports.on(at.ifindex) else { return };
        self.news.heard += 1;
        if let Some((ufid, _)) = self.table.at(&at) {
            self.news.changed = true;
            self.hear_of(*ufid, kind, filter);
        }
        let is_ours = filter.summary().is_ok_and(|summary| summary.cookie.is_some());
        if kind == RTM_NEWTFILTER && at.handle != 0 && !is_ours {
            self.others.insert(filter.foreign(port), self.readings);
        } else if at.handle != 0 {
            self.others.remove(&at);
        } else if kind == RTM_DELTFILTER {
            self.others.flush(&at);
            let (priorities, _) = self.table.chain(at.ifindex, at.chain);
            self.news.changed |= at.priority == 0 || priorities.is_ours(at.priority);
        }
        look.others = true;
    }

    /// Another tool changed or deleted the filter in the place of ours. Who deletes a filter by its
    /// handle makes the kernel read its counters a last time and tell everybody. For a whole chain,
    /// priority or qdisc it does not.
    fn hear_of(&mut self, ufid: Ufid, kind: u16, filter: &Filter<'_>) {
        let Some(entry) = self.table.get_mut(ufid) else { return };
        entry.touched = Some(self.readings);
        let Some(summary) = filter.summary().ok().filter(|_| kind == RTM_DELTFILTER) else {
            return;
        };
        let stats = summary.counted.stats(self.clock.now());
        let is_its_own = summary.cookie == Some(entry.placed.cookie) && {
            let content = filter.content(entry.placed.cookie.implied);
            // Its port may have gone before it.
            content.as_ref().is_some_and(|content| content.is_headless())
                || content.map(|content| content.digest()) == entry.digest
        };
        if is_its_own && stats.counters != entry.last.counters {
            entry.last_words = Some(stats);
        }
    }

    /// The interface was taken away, and all filters with it. Those of other ports that send
    /// packets there do so no more, whatever comes back under that name or number; the next
    /// reading finds them.
    fn lose(&mut self, ifindex: u32) {
        let Some(port) = self.ports.lose(ifindex) else { return };
        self.witnesses.was_down(port);
        self.table.forget(ifindex);
        self.others.forget(ifindex);
        self.snapshot();
        self.news.changed = true;
    }

    /// Somebody took a qdisc away, and our filters with it if it was the one they hung on.
    fn restore_qdisc(&mut self, ifindex: u32) {
        if self.ports.by_ifindex().contains_key(&ifindex) {
            self.news.qdiscs_lost.insert(ifindex);
            self.check_qdisc(ifindex);
        }
    }

    /// Makes a new qdisc if there is none.
    pub(super) fn check_qdisc(&mut self, ifindex: u32) {
        if matches!(qdisc::ensure(&mut self.client, ifindex), Ok(true)) {
            self.news.qdiscs_lost.insert(ifindex);
            self.own_qdisc(ifindex);
            self.news.changed = true;
        }
    }

    /// Looks whether interfaces that were gone are back, under whatever name and number.
    fn look_for_ports(&mut self) {
        let Ok(devices) = links::list_with(&mut self.client) else { return };
        self.ports.lost(&devices).into_iter().for_each(|ifindex| self.lose(ifindex));
        let back = self.ports.find_again(&devices);
        if !back.is_empty() {
            self.make_ready(&back);
            self.snapshot();
            self.news.changed = true;
        }
    }

    /// Prepares ports; one where that fails says so and is tried again later.
    fn make_ready(&mut self, ports: &[PortId]) {
        if let Err(error) = self.prepare(ports) {
            self.ports.put_off(ports, &error.to_string());
        }
    }

    /// Asks the drivers of these ports again. If one answers otherwise than before, or has
    /// refused something meanwhile, then what was refused is to be tried again.
    fn recheck(&mut self, ports: BTreeSet<PortId>) {
        let ports: Vec<PortId> = ports.into_iter().collect();
        let before = self.ports.conditions(&ports);
        for port in &ports {
            let state = self.ports.get_mut(*port);
            if let Some(state) = state.filter(|state| state.device.switch_id.is_some()) {
                state.unusable = None;
            }
        }
        self.make_ready(&ports);
        let stale = std::mem::take(&mut self.ports.stale);
        if stale || self.ports.conditions(&ports) != before {
            self.snapshot();
            self.news.changed = true;
        } else {
            self.ports.index();
        }
    }
}
