//! What happens to interfaces and filters without us.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flow::{PortId, ProviderEvent, Reason, Refusal, Subject, Ufid};

use super::{PortState, Tc, qdisc};
use crate::decode::Filter;
use crate::encode::Location;
use crate::feature::Features;
use crate::links;
use crate::wire::consts::{
    AF_UNSPEC, RTM_DELLINK, RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWLINK, RTM_NEWTFILTER,
    RTNLGRP_LINK, RTNLGRP_TC,
};
use crate::wire::read::Message;
use crate::wire::{Messages, TcMsg, Transport};

/// What the monitor's socket listens to.
pub(super) const GROUPS: [u32; 2] = [RTNLGRP_LINK, RTNLGRP_TC];
/// How many datagrams one look takes, so that a flood does not hold the provider's thread. What
/// we do ourselves is among them: two to four for each operation.
const MOST: usize = 16 << 10;
/// How long a port that could not be made ready waits for the next try.
const AGAIN: Duration = Duration::from_secs(1);

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
        self.listen();
        let now = (self.clock)();
        if !self.unready.is_empty() && now >= self.try_at {
            self.try_at = now + AGAIN;
            let unready = std::mem::take(&mut self.unready);
            self.recheck(unready);
        }
        let mut events = std::mem::take(&mut self.corrections);
        if std::mem::take(&mut self.changed) {
            events.push(ProviderEvent::Changed);
        }
        let gone = !self.ports.is_empty() && self.ports.values().all(|state| state.gone);
        if gone && !std::mem::replace(&mut self.told_gone, gone) {
            events.push(ProviderEvent::Gone("every port's interface is gone".into()));
        }
        self.told_gone = gone;
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
                // Notifications were lost, an interface's among them perhaps.
                Err(_) => {
                    self.changed = true;
                    self.heard += 1;
                    look.appeared = true;
                    look.ports.extend(self.ports.keys());
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
                look.appeared |= self.ports.values().any(|state| state.gone);
                look.ports.extend(self.changed_link(message.payload));
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

    /// An interface of ours is not what it was: its name, its switch, its link or what may be
    /// offloaded there.
    fn changed_link(&mut self, payload: &[u8]) -> Option<PortId> {
        let device = links::parse(payload).ok()?;
        let mut all = self.ports.iter_mut().filter(|(_, state)| !state.gone);
        let (port, state) = all.find(|(_, state)| state.device.ifindex == device.ifindex)?;
        if !(device.is_up && state.device.is_up) {
            self.were_down.insert(*port);
        }
        if state.device.switch_id != device.switch_id {
            *state = PortState::new(state.selector.clone(), device);
        } else {
            state.device = device;
        }
        Some(*port)
    }

    fn notice_filter(&mut self, kind: u16, filter: &Filter<'_>, look: &mut Look) {
        let at = filter.at;
        let Some(port) = self.by_ifindex.get(&at.ifindex).copied() else { return };
        self.heard += 1;
        if let Some(ufid) = self.table.at(&at) {
            self.changed = true;
            self.touched.insert(at);
            if kind == RTM_DELTFILTER {
                self.hear_last_words(ufid, filter);
            }
        }
        let is_ours = filter.summary().is_ok_and(|summary| summary.cookie.is_some());
        if kind == RTM_NEWTFILTER && at.handle != 0 && !is_ours {
            self.foreign.insert(at, filter.foreign(port));
        } else if at.handle != 0 {
            self.foreign.remove(&at);
        } else if kind == RTM_DELTFILTER {
            // A whole chain or priority was flushed.
            let within = |one: &Location| {
                let flushed = at.priority == 0 || one.priority == at.priority;
                (one.ifindex, one.chain) == (at.ifindex, at.chain) && flushed
            };
            self.foreign.retain(|one, _| !within(one));
            let priorities = self.table.priorities(at.ifindex, at.chain);
            self.changed |= at.priority == 0 || priorities.is_ours(at.priority);
        }
        look.others = true;
    }

    /// Who deletes a filter by its handle makes the kernel read its counters a last time and tell
    /// everybody. For a whole chain, priority or qdisc it does not.
    fn hear_last_words(&mut self, ufid: Ufid, filter: &Filter<'_>) {
        let (Some(entry), Ok(summary)) = (self.table.get(ufid), filter.summary()) else { return };
        let stats = summary.counted.stats((self.clock)());
        let is_its_own = summary.cookie == Some(entry.placed.cookie) && {
            let content = filter.content(entry.placed.cookie.implied);
            // Its port may have gone before it.
            content.as_ref().is_some_and(|content| content.is_headless())
                || content.map(|content| content.digest()) == entry.digest
        };
        if is_its_own && stats.counters != entry.last.counters {
            self.last_words.push((ufid, entry.placed, stats));
        }
    }

    /// The interface was taken away, and all filters with it. Those of other ports that send
    /// packets there do so no more, whatever comes back under that name or number.
    fn lose(&mut self, ifindex: u32) {
        let mut all = self.ports.iter_mut();
        let lost = all.find(|(_, state)| state.device.ifindex == ifindex && !state.gone);
        let Some((port, state)) = lost else { return };
        let port = *port;
        self.were_down.insert(port);
        state.gone = true;
        state.own_qdisc = false;
        self.table.forget(ifindex);
        let cut_off = self.table.entries_mut().filter(|entry| entry.outputs_to(port));
        cut_off.for_each(|entry| entry.redo = true);
        self.strays.retain(|placed| placed.at.ifindex != ifindex);
        self.foreign.retain(|at, _| at.ifindex != ifindex);
        self.features.remove(&ifindex);
        self.snapshot();
        self.changed = true;
    }

    /// Somebody took a qdisc away, and our filters with it if it was the one they hung on.
    fn restore_qdisc(&mut self, ifindex: u32) {
        if !self.by_ifindex.contains_key(&ifindex) {
            return;
        }
        self.qdiscs_lost.insert(ifindex);
        self.check_qdisc(ifindex);
    }

    /// Makes a new qdisc if there is none.
    pub(super) fn check_qdisc(&mut self, ifindex: u32) {
        if matches!(qdisc::ensure(&mut self.client, ifindex), Ok(true)) {
            self.qdiscs_lost.insert(ifindex);
            self.own_qdisc(ifindex);
            self.changed = true;
        }
    }

    /// Looks whether interfaces that were gone are back, under whatever name and number.
    fn look_for_ports(&mut self) {
        let Ok(devices) = links::list_with(&mut self.client) else { return };
        let there = |ifindex: u32| devices.iter().any(|device| device.ifindex == ifindex);
        let lost: Vec<u32> = self
            .ports
            .values()
            .filter(|state| !state.gone && !there(state.device.ifindex))
            .map(|state| state.device.ifindex)
            .collect();
        lost.into_iter().for_each(|ifindex| self.lose(ifindex));
        let mut back: Vec<PortId> = Vec::new();
        for (port, state) in self.ports.iter_mut().filter(|(_, state)| state.gone) {
            if let Some(device) = devices.iter().find(|device| state.selector.selects(device)) {
                *state = PortState::new(state.selector.clone(), device.clone());
                back.push(*port);
            }
        }
        if !back.is_empty() {
            self.make_ready(&back);
            self.snapshot();
            self.changed = true;
        }
    }

    /// Prepares ports; one where that fails says so and is tried again later.
    fn make_ready(&mut self, ports: &[PortId]) {
        let Err(error) = self.prepare(ports) else { return };
        for port in ports {
            if let Some(state) = self.ports.get_mut(port).filter(|s| s.unusable.is_none()) {
                let refusal = Refusal::new(Reason::Device, Subject::Tc).said(error.to_string());
                state.unusable = Some(refusal);
                self.unready.insert(*port);
            }
        }
    }

    /// Asks the drivers of these ports again. If one answers otherwise than before, or has
    /// refused something meanwhile, then what was refused is to be tried again.
    fn recheck(&mut self, ports: BTreeSet<PortId>) {
        let ports: Vec<PortId> = ports.into_iter().collect();
        let before = self.conditions(&ports);
        for port in &ports {
            if let Some(state) = self.ports.get_mut(port).filter(|s| s.device.switch_id.is_some()) {
                state.unusable = None;
            }
        }
        self.make_ready(&ports);
        let refused = std::mem::take(&mut self.refused);
        if refused || self.conditions(&ports) != before {
            self.snapshot();
            self.changed = true;
        } else {
            self.index();
        }
    }

    /// What is known of these ports.
    fn conditions(&self, ports: &[PortId]) -> Vec<(Option<Refusal>, Option<Arc<Features>>)> {
        let states = ports.iter().filter_map(|port| self.ports.get(port));
        let condition = |state: &PortState| {
            let features = self.features.get(&state.device.ifindex).cloned();
            (state.unusable.clone(), features)
        };
        states.map(condition).collect()
    }
}
