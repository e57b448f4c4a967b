//! The provider, which owns our filters in the kernel. One thread uses it.

mod apply;
mod errors;
mod foreign;
mod listing;
mod monitor;
mod open;
mod priority;
mod qdisc;
mod read;
mod settle;
mod table;
mod witness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use flow::{
    Admission, Completion, Correction, Dumped, Megaflow, Moment, Op, PortId, PortTraffic, Provider,
    ProviderError, ProviderEvent, Refusal, Stats, TableName, TableUsage, Ufid,
};

use crate::TcError;
use crate::admission::TcAdmission;
use crate::decode::Foreign;
use crate::encode::Location;
use crate::feature::Features;
use crate::links::{Device, DeviceSelector};
use crate::rule::Signature;
use crate::wire::{Client, KernelSocket, Transport};
use table::{Placed, Table};
use witness::Witness;

/// The clock that dates the last use in statistics.
pub type Clock = Box<dyn Fn() -> Moment + Send>;

/// Options that are off by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcOptions {
    /// Use a chain for each recirculation id. This is off by default: a packet that misses in a
    /// chain is captured on the representor after earlier actions have changed it and without its
    /// recirculation id, so the host would start over with a changed packet and count it twice.
    /// Turn it on only where that can't happen, or to test chains.
    pub recirculation: bool,
}

/// Megaflows as `skip_sw` flower filters on the ports of switchdev NICs.
pub struct TcProvider(Tc<KernelSocket>);

impl TcProvider {
    /// Finds the ports' interfaces, prepares their ingress, and probes what their drivers take.
    /// Existing filters stay. A port whose interface is on no switchdev NIC, or whose driver
    /// takes no filter, is no error: its megaflows are refused with that reason.
    pub fn open(ports: &[(PortId, DeviceSelector)], clock: Clock) -> Result<TcProvider, TcError> {
        TcProvider::open_with(ports, clock, TcOptions::default())
    }

    /// Opens the provider as [`TcProvider::open`] does, with options.
    pub fn open_with(
        ports: &[(PortId, DeviceSelector)],
        clock: Clock,
        options: TcOptions,
    ) -> Result<TcProvider, TcError> {
        let client = Client::new(KernelSocket::requests()?);
        let monitor = KernelSocket::monitor(&monitor::GROUPS)?;
        Tc::open(client, monitor, ports, clock, options).map(TcProvider)
    }

    /// Removes every filter that carries our cookie, whether this process or an earlier one
    /// installed it, and the qdiscs that this process made unless other tools have filters on
    /// them. A shutdown that leaves nothing behind calls this; dropping the provider leaves the
    /// filters.
    pub fn remove_all(&mut self) -> Result<(), TcError> {
        self.0.remove_all()
    }

    /// Reports each port's interface, and the reason if the port can't be used.
    #[must_use]
    pub fn ports(&self) -> Vec<PortReport> {
        self.0.ports()
    }
}

/// Probes what the drivers of these interfaces take, as a daemon does at its start, and leaves
/// nothing behind. Filters of a running daemon stay.
pub fn survey(ports: &[(PortId, DeviceSelector)]) -> Result<Vec<PortReport>, TcError> {
    let mut provider = TcProvider::open(ports, Box::new(Moment::default))?;
    let reports = provider.ports();
    provider.0.release_qdiscs()?;
    Ok(reports)
}

/// The report on one port that `doctor` shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortReport {
    /// The port's number.
    pub port: PortId,
    /// The port's interface.
    pub device: Device,
    /// The reason why no megaflow of this port is offloaded, if the port can't be used.
    pub unusable: Option<Refusal>,
}

impl Provider for TcProvider {
    fn name(&self) -> &str {
        "tc"
    }

    fn admission(&self) -> Arc<dyn Admission> {
        self.0.admission.clone()
    }

    fn apply(&mut self, ops: &[Op], done: &mut Vec<Completion>) {
        self.0.apply(ops, done);
    }

    fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError> {
        self.0.stats(out)
    }

    fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        self.0.dump(out)
    }

    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        self.0.adopt(found)
    }

    fn tables(&self) -> Vec<TableUsage> {
        let entries = u64::try_from(self.0.table.len()).unwrap_or(u64::MAX);
        vec![TableUsage {
            table: TableName::Flower,
            holds_megaflows: true,
            entries,
            capacity: None,
        }]
    }

    fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        self.0.traffic()
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        self.0.events()
    }

    fn close(&mut self) -> Result<(), ProviderError> {
        self.remove_all().map_err(|error| ProviderError::Busy(error.to_string()))
    }
}

/// A port's interface and its state.
#[derive(Clone, Debug)]
struct PortState {
    selector: DeviceSelector,
    device: Device,
    /// True if we made the qdisc and so remove it at the end.
    own_qdisc: bool,
    /// True if the driver answers when it is asked for the statistics of a filter.
    answers: bool,
    unusable: Option<Refusal>,
    /// True once other tools' filters were listed. Since then notifications and readings of
    /// statistics keep them up to date.
    listed: bool,
    /// True if the interface was deleted.
    gone: bool,
}

/// A filter of ours that a dump found.
#[derive(Clone, Debug)]
struct Found {
    placed: Placed,
    digest: Option<u64>,
    /// The megaflow, if the filter could be decoded.
    flow: Option<(Arc<Megaflow>, Signature)>,
}

/// The provider over any transport.
struct Tc<T> {
    client: Client<T>,
    monitor: T,
    clock: Clock,
    ports: BTreeMap<PortId, PortState>,
    /// The ports that can be used, by interface.
    by_ifindex: BTreeMap<u32, PortId>,
    /// The features of the ports' drivers, by interface.
    features: BTreeMap<u32, Arc<Features>>,
    admission: Arc<TcAdmission>,
    /// The ports' own counters.
    witnesses: BTreeMap<PortId, Witness>,
    /// The ports whose interfaces were set down since their counters were last read.
    were_down: BTreeSet<PortId>,
    table: Table,
    /// Other tools' filters on the ports' interfaces.
    foreign: BTreeMap<Location, Foreign>,
    /// Filters with our cookie that the last dump found: `adopt` takes them from here, and those
    /// that are not adopted are removed.
    found: HashMap<Ufid, Found>,
    /// Filters of ours that must be removed: after a failed removal, after a replace that was cut
    /// short, because the hardware lost the filter, or because another tool changed it.
    strays: Vec<Placed>,
    /// The final counters of filters that other tools deleted, until the caller has read them.
    last_words: Vec<(Ufid, Placed, Stats)>,
    options: TcOptions,
    /// True if something happened that the caller must look at.
    changed: bool,
    /// Changes that other tools made to filters of ours and that the caller has not been told
    /// yet.
    corrections: Vec<ProviderEvent>,
    /// Interfaces whose qdisc was deleted since the current batch began.
    qdiscs_lost: BTreeSet<u32>,
    /// True if the kernel or a driver refused something since an interface was last seen to
    /// change.
    refused: bool,
    /// The places where other tools changed or deleted filters of ours since the last reading.
    touched: BTreeSet<Location>,
    /// The number of notifications that other tools added or deleted filters.
    heard: u64,
    /// Ports that could not be made ready; they are tried again at `try_at`.
    unready: BTreeSet<PortId>,
    try_at: Moment,
    /// True once the caller was told that all filters are gone.
    told_gone: bool,
}

impl<T: Transport> Tc<T> {
    fn ports(&self) -> Vec<PortReport> {
        self.ports
            .iter()
            .map(|(port, state)| PortReport {
                port: *port,
                device: state.device.clone(),
                unusable: state.unusable.clone(),
            })
            .collect()
    }

    /// The interfaces that may hold filters of ours.
    fn interfaces(&self) -> Vec<u32> {
        let usable = self.ports.values().filter(|state| state.unusable.is_none() && !state.gone);
        usable.map(|state| state.device.ifindex).collect()
    }

    fn device_name(&self, ifindex: u32) -> &str {
        let state = self.ports.values().find(|state| state.device.ifindex == ifindex);
        state.map_or("?", |state| &state.device.name)
    }

    /// Notes for the caller what other tools did to filters of ours, in one event for all
    /// filters.
    fn correct(&mut self, kind: Correction, what: Vec<String>) {
        let megaflows = u64::try_from(what.len()).unwrap_or(u64::MAX);
        if let Some(first) = what.into_iter().next() {
            self.corrections.push(ProviderEvent::Corrected { kind, megaflows, first });
        }
    }
}

#[cfg(test)]
mod tests;
