//! The ports: their interfaces, what the drivers take there, and what is admitted because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flow::{Field, Moment, PortId, Reason, Refusal, Subject};

use super::qdisc;
use crate::TcError;
use crate::admission::TcAdmission;
use crate::decode::Foreign;
use crate::device::{DeviceSelector, NetDevice};
use crate::feature::Features;
use crate::netlink::{RequestSocket, Transport};
use crate::probe::Probed;
use crate::translate::{PortDevice, Target};

/// How long a port that could not be made ready waits for the next try.
const AGAIN: Duration = Duration::from_secs(1);

/// The report on one port that `doctor` shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortReport {
    /// The port's number.
    pub port: PortId,
    /// The port's interface.
    pub device: NetDevice,
    /// The reason why no megaflow of this port is offloaded, if the port can't be used.
    pub unusable: Option<Refusal>,
}

/// A port's interface and its state.
#[derive(Clone, Debug)]
pub(super) struct PortState {
    selector: DeviceSelector,
    pub(super) device: NetDevice,
    /// True if we made the qdisc and so remove it at the end.
    pub(super) own_qdisc: bool,
    /// True if the driver answers when it is asked for the statistics of a filter.
    pub(super) answers: bool,
    pub(super) unusable: Option<Refusal>,
    /// True once other tools' filters were listed. Since then notifications and readings of
    /// statistics keep them up to date.
    pub(super) listed: bool,
    /// True if the interface was deleted.
    pub(super) gone: bool,
}

impl PortState {
    fn new(selector: DeviceSelector, device: NetDevice) -> PortState {
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

    /// The interface may do other things than before, or it is another one.
    fn renew(&mut self, device: NetDevice) {
        let same = !self.gone && self.device.ifindex == device.ifindex;
        let (own_qdisc, listed) = (self.own_qdisc && same, self.listed && same);
        *self = PortState { own_qdisc, listed, ..PortState::new(self.selector.clone(), device) };
    }

    /// The port's kind: its switch, and its name without digits. Ports of one kind (such as the
    /// VF representors or the uplinks of one switch) have one driver that treats them alike.
    fn kind(&self) -> Option<(&str, String)> {
        let name = self.device.phys_port_name.as_deref().unwrap_or_default();
        let switch = self.device.switch_id.as_deref()?;
        Some((switch, name.chars().filter(|c| !c.is_ascii_digit()).collect()))
    }
}

/// All ports, with the snapshot of them that decides what is admitted.
pub(super) struct TcPorts {
    states: BTreeMap<PortId, PortState>,
    /// The ports that can be used, by interface.
    by_ifindex: BTreeMap<u32, PortId>,
    /// The features of the ports' drivers, by interface.
    features: BTreeMap<u32, Arc<Features>>,
    admission: Arc<TcAdmission>,
    /// How often the filters of other tools that are looked up before ours have changed.
    shadow_changes: u64,
    recirculation: bool,
    /// Ports that could not be made ready; they are tried again at `try_at`.
    unready: BTreeSet<PortId>,
    try_at: Moment,
    /// True if the kernel or a driver refused something, or an interface left its switch or came
    /// to one, since the ports were last checked.
    pub(super) stale: bool,
}

impl TcPorts {
    /// Finds the ports' interfaces among the system's.
    pub(super) fn new(
        devices: &[NetDevice],
        ports: &[(PortId, DeviceSelector)],
        recirculation: bool,
    ) -> Result<TcPorts, TcError> {
        let mut states = BTreeMap::new();
        for (port, selector) in ports {
            let device = devices.iter().find(|device| selector.selects(device));
            let device = device.ok_or_else(|| TcError::NoDevice(selector.clone()))?;
            states.insert(*port, PortState::new(selector.clone(), device.clone()));
        }
        Ok(TcPorts {
            states,
            by_ifindex: BTreeMap::new(),
            features: BTreeMap::new(),
            admission: Arc::new(TcAdmission::unprobed(Target::default())),
            shadow_changes: 0,
            recirculation,
            unready: BTreeSet::new(),
            try_at: Moment::default(),
            stale: false,
        })
    }

    pub(super) fn reports(&self) -> Vec<PortReport> {
        let report = |(port, state): (&PortId, &PortState)| PortReport {
            port: *port,
            device: state.device.clone(),
            unusable: state.unusable.clone(),
        };
        self.states.iter().map(report).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (PortId, &PortState)> {
        self.states.iter().map(|(port, state)| (*port, state))
    }

    pub(super) fn get_mut(&mut self, port: PortId) -> Option<&mut PortState> {
        self.states.get_mut(&port)
    }

    /// Returns the port whose interface this is now.
    pub(super) fn on(&mut self, ifindex: u32) -> Option<(PortId, &mut PortState)> {
        let here = |state: &PortState| !state.gone && state.device.ifindex == ifindex;
        let found = self.states.iter_mut().find(|(_, state)| here(state));
        found.map(|(port, state)| (*port, state))
    }

    /// The interfaces that may hold filters of ours.
    pub(super) fn interfaces(&self) -> BTreeSet<u32> {
        self.usable().map(|(_, state)| state.device.ifindex).collect()
    }

    /// Returns the next one of these interfaces.
    pub(super) fn next_interface(&self, after: u32) -> Option<u32> {
        let all = self.usable().map(|(_, state)| state.device.ifindex);
        all.filter(|ifindex| *ifindex > after).min()
    }

    /// The ports that can be used, by interface.
    pub(super) fn by_ifindex(&self) -> &BTreeMap<u32, PortId> {
        &self.by_ifindex
    }

    pub(super) fn name(&self, ifindex: u32) -> &str {
        let state = self.states.values().find(|state| state.device.ifindex == ifindex);
        state.map_or("?", |state| &state.device.name)
    }

    pub(super) fn admission(&self) -> &Arc<TcAdmission> {
        &self.admission
    }

    pub(super) fn shadow_changes(&self) -> u64 {
        self.shadow_changes
    }

    fn usable(&self) -> impl Iterator<Item = (&PortId, &PortState)> {
        self.states.iter().filter(|(_, state)| state.unusable.is_none() && !state.gone)
    }

    /// Returns the ports that can hold filters, in the form that translation needs.
    pub(super) fn target(&self) -> Target {
        let ports = self.usable().filter_map(|(port, state)| {
            let NetDevice { ifindex, name, switch_id, .. } = state.device.clone();
            Some((*port, PortDevice { ifindex, name, switch_id: switch_id? }))
        });
        Target { ports: ports.collect(), recirculation: self.recirculation }
    }

    /// Updates `by_ifindex` to the interfaces that can be used now.
    pub(super) fn index(&mut self) {
        let ports = self.usable().map(|(port, state)| (state.device.ifindex, *port));
        self.by_ifindex = ports.collect();
    }

    /// Makes a new admission snapshot from what is known now. Megaflows that were refused before
    /// are then tried again.
    pub(super) fn snapshot(&mut self, shadows: BTreeMap<u32, Vec<Foreign>>) {
        self.index();
        self.shadow_changes += u64::from(!self.admission.has_shadows(&shadows));
        self.features.retain(|ifindex, _| self.by_ifindex.contains_key(ifindex));
        let unusable = self.states.iter().filter_map(|(port, state)| {
            let gone = || {
                Refusal::new(Reason::Port, Field::InPort).detail(&"the port's interface is gone")
            };
            let why = state.unusable.clone().or_else(|| state.gone.then(gone))?;
            Some((*port, why))
        });
        let (unusable, features) = (unusable.collect(), self.features.clone());
        let admission = TcAdmission::new(self.target(), features, unusable, shadows);
        self.admission = Arc::new(admission);
    }

    /// Stores the result of a probe. If the card was full and nothing could be probed, features
    /// that are already known stay.
    pub(super) fn learn(&mut self, port: PortId, probed: Probed) {
        let Some(state) = self.states.get_mut(&port) else { return };
        let ifindex = state.device.ifindex;
        if probed.unusable.is_some() {
            self.features.remove(&ifindex);
        } else if !probed.features.unknown || !self.features.contains_key(&ifindex) {
            self.features.insert(ifindex, Arc::new(probed.features));
        }
        (state.answers, state.unusable) = (probed.answers, probed.unusable);
    }

    /// Returns the features already known for a port of the same kind.
    pub(super) fn known_features(&self, port: PortId) -> Option<Arc<Features>> {
        let kind = self.states.get(&port)?.kind();
        let alike = self.states.values().filter(|state| state.kind() == kind);
        let mut known = alike.filter_map(|state| self.features.get(&state.device.ifindex));
        known.find(|features| !features.unknown).cloned()
    }

    /// What is known of these ports.
    pub(super) fn conditions(
        &self,
        ports: &[PortId],
    ) -> Vec<(Option<Refusal>, Option<Arc<Features>>)> {
        let states = ports.iter().filter_map(|port| self.states.get(port));
        let condition = |state: &PortState| {
            let features = self.features.get(&state.device.ifindex).cloned();
            (state.unusable.clone(), features)
        };
        states.map(condition).collect()
    }

    /// An interface of ours is not what it was: its name, its switch, its link or what may be
    /// offloaded there. Returns its port, and true if the interface was down before or is now.
    pub(super) fn change(&mut self, device: NetDevice) -> Option<(PortId, bool)> {
        let (port, state) = self.on(device.ifindex)?;
        let is_down = !(device.is_up && state.device.is_up);
        if state.device.switch_id != device.switch_id {
            state.renew(device);
            self.stale = true;
        } else {
            state.device = device;
        }
        Some((port, is_down))
    }

    /// The interface was deleted. Returns its port.
    pub(super) fn lose(&mut self, ifindex: u32) -> Option<PortId> {
        let (port, state) = self.on(ifindex)?;
        (state.gone, state.own_qdisc) = (true, false);
        self.features.remove(&ifindex);
        Some(port)
    }

    /// Returns true if the interface of a port is gone.
    pub(super) fn lacks_one(&self) -> bool {
        self.states.values().any(|state| state.gone)
    }

    /// Returns the interfaces of ports that are not among these.
    pub(super) fn lost(&self, devices: &[NetDevice]) -> Vec<u32> {
        let there = |ifindex: u32| devices.iter().any(|device| device.ifindex == ifindex);
        let known = self.states.values().filter(|state| !state.gone);
        known.map(|state| state.device.ifindex).filter(|ifindex| !there(*ifindex)).collect()
    }

    /// Takes interfaces that are back, under whatever name and number. Returns their ports.
    pub(super) fn find_again(&mut self, devices: &[NetDevice]) -> Vec<PortId> {
        let mut back = Vec::new();
        for (port, state) in self.states.iter_mut().filter(|(_, state)| state.gone) {
            if let Some(device) = devices.iter().find(|device| state.selector.selects(device)) {
                state.renew(device.clone());
                back.push(*port);
            }
        }
        back
    }

    /// Notes why these ports can't be used now. They are tried again later.
    pub(super) fn put_off(&mut self, ports: &[PortId], why: &str) {
        for port in ports {
            if let Some(state) = self.states.get_mut(port).filter(|s| s.unusable.is_none()) {
                let refusal = Refusal::new(Reason::Device, Subject::Tc).said(why.to_owned());
                state.unusable = Some(refusal);
                self.unready.insert(*port);
            }
        }
    }

    /// Takes the ports that are to be tried again now.
    pub(super) fn take_due(&mut self, now: Moment) -> BTreeSet<PortId> {
        if self.unready.is_empty() || now < self.try_at {
            return BTreeSet::new();
        }
        self.try_at = now + AGAIN;
        std::mem::take(&mut self.unready)
    }

    /// Returns true if every port's interface is gone.
    pub(super) fn are_gone(&self) -> bool {
        !self.states.is_empty() && self.states.values().all(|state| state.gone)
    }

    /// Forgets what is known of the ports, as at the start, and finds their interfaces among the
    /// system's. At least one must be there.
    pub(super) fn renew(&mut self, devices: &[NetDevice]) -> Result<(), TcError> {
        let find = |state: &PortState| {
            // A port follows its interface, whatever the interface's name is by now.
            let same = |device: &&NetDevice| !state.gone && device.ifindex == state.device.ifindex;
            let named = || devices.iter().find(|device| state.selector.selects(device));
            devices.iter().find(same).or_else(named)
        };
        let none = self.states.values().all(|state| find(state).is_none());
        if let Some(state) = self.states.values().next().filter(|_| none) {
            return Err(TcError::NoDevice(state.selector.clone()));
        }
        for state in self.states.values_mut() {
            match find(state) {
                Some(device) => state.renew(device.clone()),
                None => state.gone = true,
            }
            state.listed = false;
        }
        self.features.clear();
        self.unready.clear();
        Ok(())
    }

    /// Removes the qdiscs that we made and that hold no filters.
    pub(super) fn release_qdiscs<T: Transport>(
        &mut self,
        client: &mut RequestSocket<T>,
    ) -> Result<(), TcError> {
        for state in self.states.values_mut().filter(|state| !state.gone) {
            if std::mem::take(&mut state.own_qdisc) {
                qdisc::remove(client, state.device.ifindex)?;
            }
        }
        Ok(())
    }
}
