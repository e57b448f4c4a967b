//! Opening: interfaces, qdiscs, what others have there, probing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use flow::{PortId, Reason, Refusal};

use super::qdisc::Survey;
use super::table::Table;
use super::{Clock, PortState, Tc, TcOptions, qdisc};
use crate::TcError;
use crate::admission::TcAdmission;
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
            admission: Arc::new(TcAdmission::unprobed(Target::default())),
            table: Table::default(),
            found: HashMap::new(),
            strays: Vec::new(),
            last_words: Vec::new(),
            options,
            changed: false,
            told_gone: false,
        };
        let all: Vec<PortId> = tc.ports.keys().copied().collect();
        tc.prepare(&all)?;
        tc.listen();
        Ok(tc)
    }

    /// Makes these ports' interfaces ready and finds out what they can do.
    pub(super) fn prepare(&mut self, ports: &[PortId]) -> Result<(), WireError> {
        for port in ports {
            let Some(state) = self.ports.get_mut(port) else { continue };
            if state.device.switch_id.is_none() {
                continue;
            }
            match qdisc::ensure(&mut self.client, state.device.ifindex) {
                Ok(new) => state.own_qdisc |= new,
                Err(WireError::Refused(nack)) => {
                    let refusal = Refusal::new(Reason::Device, "clsact");
                    state.unusable = Some(refusal.detail(nack.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        let target = self.target();
        let there = ports.iter().filter_map(|port| Some((*port, target.ports.get(port)?.ifindex)));
        let there: Vec<(PortId, u32)> = there.collect();
        let mut surveys = Vec::new();
        for (_, ifindex) in &there {
            surveys.push(qdisc::survey(&mut self.client, *ifindex)?);
        }
        // Filters of ours at the start are those of a process that was killed: what has no
        // others' filters then is a qdisc that it made.
        let killed = surveys.iter().any(|survey| !survey.ours.is_empty());
        let mut features = self.admission.features().clone();
        let mut kinds: BTreeMap<_, Features> = BTreeMap::new();
        for ((port, ifindex), survey) in there.into_iter().zip(surveys) {
            if killed
                && survey.others.is_empty()
                && qdisc::is_egress_empty(&mut self.client, ifindex)?
            {
                self.own_qdisc(ifindex);
            }
            let kind = self.kind_of(port);
            let probed = self.probe(&target, port, &survey, kinds.get(&kind))?;
            if probed.unusable.is_none() && !probed.features.unknown {
                kinds.insert(kind, probed.features.clone());
            }
            self.table.set_top(ifindex, probed.top);
            features.insert(ifindex, Arc::new(probed.features));
            if let Some(state) = self.ports.get_mut(&port) {
                state.answers = probed.answers;
                state.unusable = probed.unusable;
            }
        }
        self.snapshot(features);
        Ok(())
    }

    /// Ports of one kind (representors of VFs, uplinks) of one switch have one driver that treats
    /// them alike: switch, and the port's name without its numbers.
    fn kind_of(&self, port: PortId) -> Option<(String, String)> {
        let Device { switch_id, phys_port_name, .. } = self.ports.get(&port)?.device.clone();
        let name = phys_port_name.unwrap_or_default();
        Some((switch_id?, name.chars().filter(|c| !c.is_ascii_digit()).collect()))
    }

    /// What the driver takes, asked where nobody else is.
    fn probe(
        &mut self,
        target: &Target,
        port: PortId,
        survey: &Survey,
        alike: Option<&Features>,
    ) -> Result<Probed, WireError> {
        let Some(device) = target.ports.get(&port) else { return Ok(Probed::default()) };
        for (chain, priority) in &survey.others {
            self.table.priorities(device.ifindex, *chain).avoid(*priority);
        }
        let ours = survey.ours.iter().map(|(placed, _)| placed.at.priority);
        let avoid: BTreeSet<u16> =
            survey.others.iter().map(|(_, priority)| *priority).chain(ours).collect();
        let on_switch = |other: &PortDevice| other.switch_id == device.switch_id;
        let output = target.ports.iter().find(|(id, d)| **id != port && on_switch(d));
        let output = output.map_or(port, |(id, _)| *id);
        probe::probe(&mut self.client, target, port, output, &avoid, alike)
    }

    /// The ports that could hold filters, as translation wants them.
    fn target(&self) -> Target {
        let usable = self.ports.iter().filter(|(_, s)| s.unusable.is_none() && !s.gone);
        let ports = usable.filter_map(|(port, state)| {
            let Device { ifindex, name, switch_id, .. } = state.device.clone();
            Some((*port, PortDevice { ifindex, name, switch_id: switch_id? }))
        });
        Target { ports: ports.collect(), recirculation: self.options.recirculation }
    }

    /// Fixes what is known now for those who decide.
    pub(super) fn snapshot(&mut self, features: BTreeMap<u32, Arc<Features>>) {
        let target = self.target();
        self.by_ifindex = target.ports.iter().map(|(port, d)| (d.ifindex, *port)).collect();
        let there = |ifindex: &u32| self.by_ifindex.contains_key(ifindex);
        let features = features.into_iter().filter(|(ifindex, _)| there(ifindex)).collect();
        let unusable = self.ports.iter().filter_map(|(port, state)| {
            let gone = || Refusal::new(Reason::Port, "in_port").detail("its interface is gone");
            let why = state.unusable.clone().or_else(|| state.gone.then(gone))?;
            Some((*port, why))
        });
        self.admission = Arc::new(TcAdmission::new(target, features, unusable.collect()));
    }

    /// We made the qdisc of that interface.
    pub(super) fn own_qdisc(&mut self, ifindex: u32) {
        let state = self.ports.values_mut().find(|state| state.device.ifindex == ifindex);
        if let Some(state) = state {
            state.own_qdisc = true;
        }
    }

    /// Does the driver of that interface answer for its filters?
    pub(super) fn answers(&self, ifindex: u32) -> bool {
        self.ports.values().any(|state| state.device.ifindex == ifindex && state.answers)
    }
}

impl PortState {
    pub(super) fn new(selector: DeviceSelector, device: Device) -> PortState {
        let unusable = device.switch_id.is_none().then(|| {
            Refusal::new(Reason::Port, "in_port")
                .detail(format!("{} is no port of a switchdev NIC", device.name))
        });
        PortState { selector, device, own_qdisc: false, answers: false, unusable, gone: false }
    }
}
