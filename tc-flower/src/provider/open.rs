//! Opens the provider: finds interfaces, makes qdiscs, lists other tools' filters, probes
//! drivers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use flow::{Field, Moment, PortId, Reason, Refusal, Subject};

use super::table::Table;
use super::{Clock, PortState, Tc, TcOptions, qdisc};
use crate::TcError;
use crate::admission::TcAdmission;
use crate::encode::Location;
use crate::feature::Features;
use crate::links::{self, Device, DeviceSelector};
use crate::probe::{self, Probed};
use crate::translate::{PortDevice, Target};
use crate::wire::{Client, Transport, WireError};

impl<T: Transport> Tc<T> {
    pub(super) fn open(
        mut client: Client<T>,
        monitor: T,
        ports: &[(PortId, DeviceSelector)],
        clock: Clock,
        options: TcOptions,
    ) -> Result<Tc<T>, TcError> {
        let devices = links::list_with(&mut client)?;
        let mut states = BTreeMap::new();
        for (port, selector) in ports {
            let device = devices.iter().find(|device| selector.selects(device));
            let device = device.ok_or_else(|| TcError::NoDevice(selector.clone()))?;
            states.insert(*port, PortState::new(selector.clone(), device.clone()));
        }
        let mut tc = Tc {
            client,
            monitor,
            clock,
            ports: states,
            by_ifindex: BTreeMap::new(),
            features: BTreeMap::new(),
            admission: Arc::new(TcAdmission::unprobed(Target::default())),
            witnesses: BTreeMap::new(),
            were_down: BTreeSet::new(),
            table: Table::default(),
            foreign: BTreeMap::new(),
            found: HashMap::new(),
            strays: Vec::new(),
            last_words: Vec::new(),
            options,
            changed: false,
            corrections: Vec::new(),
            qdiscs_lost: BTreeSet::new(),
            refused: false,
            touched: BTreeSet::new(),
            heard: 0,
            unready: BTreeSet::new(),
            try_at: Moment::default(),
            told_gone: false,
        };
        let all: Vec<PortId> = tc.ports.keys().copied().collect();
        tc.prepare(&all)?;
        tc.snapshot();
        tc.listen();
        Ok(tc)
    }

    /// Makes these ports' interfaces ready and finds out what they can do.
    pub(super) fn prepare(&mut self, ports: &[PortId]) -> Result<(), WireError> {
        for port in ports {
            let Some(state) = self.ports.get_mut(port) else { continue };
            if state.device.switch_id.is_none() || state.gone {
                continue;
            }
            match qdisc::ensure(&mut self.client, state.device.ifindex) {
                Ok(new) => state.own_qdisc |= new,
                Err(WireError::Refused(nack)) => {
                    let refusal = Refusal::new(Reason::Device, Subject::Qdisc);
                    state.unusable = Some(refusal.said(nack.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        let target = self.target();
        self.index();
        let there = ports.iter().filter_map(|port| Some((*port, target.ports.get(port)?.ifindex)));
        let there: Vec<(PortId, u32)> = there.collect();
        // Filters with our cookie at the start are left from a process that was killed. If no
        // other tool has filters on that interface, that process also made the qdisc.
        let mut strangers: Vec<Location> = Vec::new();
        for (port, ifindex) in &there {
            let state = self.ports.get_mut(port).filter(|state| !state.listed);
            let Some(state) = state else { continue };
            state.listed = true;
            let listing = self.list(*ifindex, false)?;
            strangers.extend(listing.ours.into_keys());
            self.know_others(*ifindex, listing.others);
        }
        for (port, ifindex) in there {
            let alone = !self.foreign.keys().any(|at| at.ifindex == ifindex);
            if !strangers.is_empty() && alone && qdisc::is_egress_empty(&mut self.client, ifindex)?
            {
                self.own_qdisc(ifindex);
            }
            let known = self.table.on(ifindex).map(|(_, entry)| &entry.placed.at);
            let taken = known.chain(self.foreign.keys()).chain(&strangers);
            let taken = taken.filter(|at| at.ifindex == ifindex).map(|at| at.priority);
            let avoid: BTreeSet<u16> = taken.collect();
            let probed = self.probe(&target, port, &avoid)?;
            self.table.raise_top(ifindex, probed.top);
            self.learn(ifindex, &probed);
            if let Some(state) = self.ports.get_mut(&port) {
                state.answers = probed.answers;
                state.unusable = probed.unusable;
            }
        }
        self.review_others();
        Ok(())
    }

    /// Stores the result of a probe. If the card was full and nothing could be probed, features
    /// that are already known stay.
    fn learn(&mut self, ifindex: u32, probed: &Probed) {
        if probed.unusable.is_some() {
            self.features.remove(&ifindex);
        } else if !probed.features.unknown || !self.features.contains_key(&ifindex) {
            self.features.insert(ifindex, Arc::new(probed.features.clone()));
        }
    }

    /// Returns the kind of a port: its switch, and its name without digits. Ports of one kind
    /// (such as the VF representors or the uplinks of one switch) have one driver that treats
    /// them alike.
    fn kind_of(&self, port: PortId) -> Option<(String, String)> {
        let Device { switch_id, phys_port_name, .. } = self.ports.get(&port)?.device.clone();
        let name = phys_port_name.unwrap_or_default();
        Some((switch_id?, name.chars().filter(|c| !c.is_ascii_digit()).collect()))
    }

    /// Returns the features already known for a port of the same kind.
    fn known_features(&self, port: PortId) -> Option<Arc<Features>> {
        let kind = self.kind_of(port);
        let alike = self.ports.iter().filter(|(other, _)| self.kind_of(**other) == kind);
        let known = alike.filter_map(|(_, state)| self.features.get(&state.device.ifindex));
        known.into_iter().find(|features| !features.unknown).cloned()
    }

    /// Probes what the driver takes, at priorities that are not in use.
    fn probe(
        &mut self,
        target: &Target,
        port: PortId,
        avoid: &BTreeSet<u16>,
    ) -> Result<Probed, WireError> {
        let Some(device) = target.ports.get(&port) else { return Ok(Probed::default()) };
        let alike = self.known_features(port);
        let on_switch = |other: &PortDevice| other.switch_id == device.switch_id;
        let output = target.ports.iter().find(|(id, d)| **id != port && on_switch(d));
        let output = output.map_or(port, |(id, _)| *id);
        probe::probe(&mut self.client, target, port, output, avoid, alike.as_deref())
    }

    /// Returns the ports that can hold filters, in the form that translation needs.
    fn target(&self) -> Target {
        let usable = self.ports.iter().filter(|(_, s)| s.unusable.is_none() && !s.gone);
        let ports = usable.filter_map(|(port, state)| {
            let Device { ifindex, name, switch_id, .. } = state.device.clone();
            Some((*port, PortDevice { ifindex, name, switch_id: switch_id? }))
        });
        Target { ports: ports.collect(), recirculation: self.options.recirculation }
    }

    /// Updates `by_ifindex` to the interfaces that can be used now.
    pub(super) fn index(&mut self) {
        let ports = self.target().ports;
        self.by_ifindex = ports.iter().map(|(port, device)| (device.ifindex, *port)).collect();
    }

    /// Makes a new admission snapshot from what is known now. Megaflows that were refused before
    /// are then tried again.
    pub(super) fn snapshot(&mut self) {
        let target = self.target();
        self.index();
        let there = |ifindex: &u32| self.by_ifindex.contains_key(ifindex);
        self.features.retain(|ifindex, _| there(ifindex));
        let unusable = self.ports.iter().filter_map(|(port, state)| {
            let gone = || {
                Refusal::new(Reason::Port, Field::InPort).detail(&"the port's interface is gone")
            };
            let why = state.unusable.clone().or_else(|| state.gone.then(gone))?;
            Some((*port, why))
        });
        let unusable = unusable.collect();
        let shadows = self.shadows();
        let admission = TcAdmission::new(target, self.features.clone(), unusable, shadows);
        self.admission = Arc::new(admission);
    }

    /// Records that we made the qdisc of that interface.
    pub(super) fn own_qdisc(&mut self, ifindex: u32) {
        let state = self.ports.values_mut().find(|state| state.device.ifindex == ifindex);
        if let Some(state) = state {
            state.own_qdisc = true;
        }
    }

    /// Returns true if the interface's driver answers for its filters.
    pub(super) fn answers(&self, ifindex: u32) -> bool {
        self.ports.values().any(|state| state.device.ifindex == ifindex && state.answers)
    }
}

impl PortState {
    pub(super) fn new(selector: DeviceSelector, device: Device) -> PortState {
        let unusable = device.switch_id.is_none().then(|| {
            Refusal::new(Reason::Port, Field::InPort)
                .said(format!("{} is not a port of a switchdev NIC", device.name))
        });
        PortState {
            selector,
            device,
            own_qdisc: false,
            answers: false,
            unusable,
            listed: false,
            gone: false,
        }
    }
}
