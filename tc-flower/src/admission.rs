//! Decides from the results of the probes whether a megaflow can become a filter.

use std::collections::BTreeMap;
use std::sync::Arc;

use flow::refusal::Said;
use flow::{
    Admission, Capabilities, Megaflow, PortId, Reason, Reasons, Refusal, Refusals, Subject,
};

use crate::decode::Foreign;
use crate::explain;
use crate::feature::{self, Features};
use crate::probe;
use crate::rule::Rule;
use crate::translate::{MAX_ACTIONS, PortDevice, Target, translate_from};

/// A snapshot of ports and drivers.
#[derive(Clone, Debug)]
pub struct TcAdmission {
    target: Target,
    /// The drivers' features, by interface.
    features: BTreeMap<u32, Arc<Features>>,
    /// Ports whose interface can't be used, with the reason.
    unusable: BTreeMap<PortId, Refusal>,
    /// Other tools' filters in hardware that are looked up before ours, by interface.
    shadows: BTreeMap<u32, Vec<Shadow>>,
    capabilities: Capabilities,
}

/// Another tool's filter that takes packets first.
#[derive(Clone, Debug)]
struct Shadow {
    filter: Foreign,
    /// The detail of each refusal for it.
    said: Said,
}

impl TcAdmission {
    pub(crate) fn new(
        target: Target,
        features: BTreeMap<u32, Arc<Features>>,
        unusable: BTreeMap<PortId, Refusal>,
        shadows: BTreeMap<u32, Vec<Foreign>>,
    ) -> TcAdmission {
        let drivers: Vec<&Features> = features.values().map(Arc::as_ref).collect();
        let ports = target.ports.keys().copied();
        let recirculation = target.recirculation;
        let capabilities = feature::capabilities(&drivers, ports, recirculation, MAX_ACTIONS);
        let shadow = |filter: Foreign| {
            let port = target.ports.values().find(|device| device.ifindex == filter.at.ifindex);
            let name = port.map_or("?", |device| &device.name);
            let said =
                format!("on {name} the {filter}, which is not ours, takes its packets first");
            Shadow { filter, said: said.into() }
        };
        let shadows = shadows
            .into_iter()
            .map(|(ifindex, filters)| (ifindex, filters.into_iter().map(shadow).collect()))
            .collect();
        TcAdmission { target, features, unusable, shadows, capabilities }
    }

    /// Makes an admission that takes everything that translation can write, on these ports.
    /// `explain` without a device and tests use it.
    #[must_use]
    pub fn unprobed(target: Target) -> TcAdmission {
        let all = Arc::new(probe::everything());
        let interfaces = target.ports.values().map(|device| (device.ifindex, Arc::clone(&all)));
        let features = interfaces.collect();
        TcAdmission::new(target, features, BTreeMap::new(), BTreeMap::new())
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Returns true if these are the filters of other tools that the snapshot was made with.
    pub(crate) fn has_shadows(&self, shadows: &BTreeMap<u32, Vec<Foreign>>) -> bool {
        let ours = self.shadows.values().flatten().map(|shadow| &shadow.filter);
        ours.eq(shadows.values().flatten())
    }

    /// Returns a refusal if another tool's filter on that interface takes packets of the megaflow
    /// first.
    pub(crate) fn shadow(&self, ifindex: u32, flow: &Megaflow) -> Option<Refusal> {
        let takes = |shadow: &&Shadow| shadow.filter.matching.overlaps(&flow.matching);
        let shadow = self.shadows.get(&ifindex)?.iter().find(takes)?;
        Some(Refusal::new(Reason::Shadowed, Subject::OtherFilter).said(shadow.said.clone()))
    }

    fn plan(&self, flow: &Megaflow) -> Result<Rule, Refusals> {
        let mut reasons = Reasons::default();
        let device = reasons.keep(self.device(flow.matching.port()));
        let rule = translate_from(device, flow, &self.target, &mut reasons);
        if let Some(features) = self.features.get(&rule.ifindex) {
            features.admit(&rule, &mut reasons);
        }
        reasons.extend(self.shadow(rule.ifindex, flow));
        reasons.into_result(rule)
    }

    /// Returns the interface of the port by which packets come in, or a refusal if it can hold no
    /// filters.
    fn device(&self, port: PortId) -> Result<&PortDevice, Refusal> {
        let refuse = |reason| Refusal::new(reason, Subject::InPort(port));
        if let Some(refusal) = self.unusable.get(&port) {
            return Err(refuse(refusal.reason).detail(refusal.detail.clone()));
        }
        let device = self.target.device(port)?;
        let is_probed = self.features.contains_key(&device.ifindex);
        if is_probed { Ok(device) } else { Err(refuse(Reason::Port)) }
    }
}

impl Admission for TcAdmission {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        self.plan(flow).map(drop)
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        self.plan(flow).map(|rule| explain::line(&rule, &self.target))
    }
}
