//! What happens to interfaces and filters without us.

use std::time::Duration;

use flow::{PortId, ProviderEvent, Ufid};

use super::{PortState, Tc, qdisc};
use crate::decode::Filter;
use crate::links;
use crate::wire::consts::{
    RTM_DELLINK, RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWLINK, RTM_NEWTFILTER, RTNLGRP_LINK,
    RTNLGRP_TC,
};
use crate::wire::read::Message;
use crate::wire::{Messages, TcMsg, Transport};

/// What the monitor's socket listens to.
pub(super) const GROUPS: [u32; 2] = [RTNLGRP_LINK, RTNLGRP_TC];
/// How many datagrams one look takes, so that a flood does not hold the provider's thread. What
/// we do ourselves is among them: two to four for each operation.
const MOST: usize = 16 << 10;

impl<T: Transport> Tc<T> {
    pub(super) fn events(&mut self) -> Vec<ProviderEvent> {
        self.listen();
        let mut events = Vec::new();
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
        let mut appeared = false;
        for _ in 0..MOST {
            match self.monitor.receive(&mut datagram, Duration::ZERO) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => break,
                // Notifications were lost, an interface's among them perhaps.
                Err(_) => {
                    self.changed = true;
                    appeared = true;
                    break;
                }
            }
            for message in Messages(&datagram) {
                let Ok(message) = message else { break };
                appeared |= self.notice(&message);
            }
        }
        if appeared {
            self.look_for_ports();
        }
    }

    /// Takes one notification; true if a port that was gone may be back.
    fn notice(&mut self, message: &Message<'_>) -> bool {
        match message.kind {
            RTM_NEWLINK => return self.ports.values().any(|state| state.gone),
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
                    self.notice_filter(message.kind, &filter);
                }
            }
            _ => {}
        }
        false
    }

    fn notice_filter(&mut self, kind: u16, filter: &Filter<'_>) {
        let at = filter.at;
        if !self.by_ifindex.contains_key(&at.ifindex) {
            return;
        }
        if let Some(ufid) = self.table.at(&at) {
            self.changed = true;
            if kind == RTM_DELTFILTER {
                self.hear_last_words(ufid, filter);
            }
            return;
        }
        let priorities = self.table.priorities(at.ifindex, at.chain);
        if kind == RTM_NEWTFILTER {
            priorities.avoid(at.priority);
        } else if at.priority == 0 || at.handle == 0 && priorities.is_ours(at.priority) {
            // A whole chain or priority was flushed.
            self.changed = true;
        }
    }

    /// Who deletes a filter by its handle makes the kernel read its counters a last time and tell
    /// everybody. For a whole chain, priority or qdisc it does not.
    fn hear_last_words(&mut self, ufid: Ufid, filter: &Filter<'_>) {
        let (Some(entry), Ok(summary)) = (self.table.get(ufid), filter.summary()) else { return };
        let stats = summary.counted.stats((self.clock)());
        let is_its_own = summary.cookie == Some(entry.placed.cookie);
        if is_its_own && stats.counters != entry.last.counters {
            self.last_words.push((ufid, stats));
        }
    }

    /// The interface was taken away, and all filters with it.
    fn lose(&mut self, ifindex: u32) {
        let state = self.ports.values_mut().find(|state| state.device.ifindex == ifindex);
        let Some(state) = state.filter(|state| !state.gone) else { return };
        state.gone = true;
        state.own_qdisc = false;
        self.table.retain_on(ifindex, |_| false);
        self.strays.retain(|placed| placed.at.ifindex != ifindex);
        let features = self.admission.features().clone();
        self.snapshot(features);
        self.changed = true;
    }

    /// Somebody took a qdisc away, and our filters with it if it was the one they hung on.
    fn restore_qdisc(&mut self, ifindex: u32) {
        if !self.by_ifindex.contains_key(&ifindex) {
            return;
        }
        if matches!(qdisc::ensure(&mut self.client, ifindex), Ok(true)) {
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
            self.changed = true;
            // A failure leaves the port as it is: not probed, so nothing is admitted there.
            let _ = self.prepare(&back);
        }
    }
}
