//! The provider: one thread's owner of our filters in the kernel.

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
    ProviderError, ProviderEvent, Refusal, Stats, TableUsage, Ufid,
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

/// Tells the time in which statistics are dated.
pub type Clock = Box<dyn Fn() -> Moment + Send>;

/// What is not for everyone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcOptions {
    /// Use a chain for each recirculation id. Off, because a packet that the hardware lost in a
    /// chain reaches a capture on the representor as it then is and without its recirculation
    /// id: the host would begin again with a changed packet, and count it twice. On only where
    /// that can't be, or in tests of the chains themselves.
    pub recirculation: bool,
}

/// Megaflows as `skip_sw` flower filters on the ports of switchdev NICs.
pub struct TcProvider(Tc<KernelSocket>);

impl TcProvider {
    /// Finds the ports' interfaces, prepares their ingress, and probes what they take. Filters
    /// that are there stay. A port whose interface is on no switchdev NIC, or whose driver takes
    /// nothing, is no error: its megaflows are refused with that reason.
    pub fn open(ports: &[(PortId, DeviceSelector)], clock: Clock) -> Result<TcProvider, TcError> {
        TcProvider::open_with(ports, clock, TcOptions::default())
    }

    /// The same with options.
    pub fn open_with(
        ports: &[(PortId, DeviceSelector)],
        clock: Clock,
        options: TcOptions,
    ) -> Result<TcProvider, TcError> {
        let client = Client::new(KernelSocket::requests()?);
        let monitor = KernelSocket::monitor(&monitor::GROUPS)?;
        Tc::open(client, monitor, ports, clock, options).map(TcProvider)
    }

    /// Takes out every filter that carries our cookie, this process's or an older one's, and
    /// the qdiscs that this process made, where no one else has filters on them. For a
    /// shutdown that leaves nothing behind; merely dropping the provider leaves the filters.
    pub fn remove_all(&mut self) -> Result<(), TcError> {
        self.0.remove_all()
    }

    /// What became of each port: its interface, and the reason if it can't be used.
    #[must_use]
    pub fn ports(&self) -> Vec<PortReport> {
        self.0.ports()
    }
}

/// What the drivers of these interfaces take: asked as at a daemon's start, and nothing is left
/// behind. What a running daemon has there stays.
pub fn survey(ports: &[(PortId, DeviceSelector)]) -> Result<Vec<PortReport>, TcError> {
    let mut provider = TcProvider::open(ports, Box::new(Moment::default))?;
    let reports = provider.ports();
    provider.0.release_qdiscs()?;
    Ok(reports)
}

/// A port as `doctor` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortReport {
    /// Which.
    pub port: PortId,
    /// Its interface.
    pub device: Device,
    /// Why nothing is offloaded there.
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
        vec![TableUsage { table: "flower", holds_megaflows: true, entries, capacity: None }]
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
    /// We made the qdisc, so we take it away.
    own_qdisc: bool,
    /// Its driver answers for its filters when it is asked for statistics.
    answers: bool,
    unusable: Option<Refusal>,
    /// What others have there was listed once; since then it is heard, and read with statistics.
    listed: bool,
    /// The interface was taken away.
    gone: bool,
}

/// A filter of ours that a dump found.
#[derive(Clone, Debug)]
struct Found {
    placed: Placed,
    digest: Option<u64>,
    /// Where it was understood.
    flow: Option<(Arc<Megaflow>, Signature)>,
}

/// The provider over any transport.
struct Tc<T> {
    client: Client<T>,
    monitor: T,
    clock: Clock,
    ports: BTreeMap<PortId, PortState>,
    /// The ports that can be used.
    by_ifindex: BTreeMap<u32, PortId>,
    /// What their drivers can do, by interface.
    features: BTreeMap<u32, Arc<Features>>,
    admission: Arc<TcAdmission>,
    /// What the ports count by themselves.
    witnesses: BTreeMap<PortId, Witness>,
    table: Table,
    /// What others have on the ports' interfaces.
    foreign: BTreeMap<Location, Foreign>,
    /// Filters of ours that the last dump found, for `adopt` and for removing what was not
    /// adopted.
    found: HashMap<Ufid, Found>,
    /// Filters of ours that have to go: a removal that failed, the rest of a replace that was
    /// cut short, one whose hardware lost it, one that somebody changed.
    strays: Vec<Placed>,
    /// What filters had counted that others deleted, where the caller has not been told yet.
    last_words: Vec<(Ufid, Placed, Stats)>,
    options: TcOptions,
    /// Something happened that the caller has to look at.
    changed: bool,
    /// What others did to filters of ours and the caller has not been told yet.
    corrections: Vec<ProviderEvent>,
    /// Interfaces whose qdisc was taken away since the batch at hand began.
    qdiscs_lost: BTreeSet<u32>,
    /// The kernel or a driver refused something since an interface was last seen to change.
    refused: bool,
    /// Where others changed or deleted filters of ours since the last reading.
    touched: BTreeSet<Location>,
    /// How many filters others were heard to add or to delete.
    heard: u64,
    /// Ports that could not be made ready, and when to try again.
    unready: BTreeSet<PortId>,
    try_at: Moment,
    /// The caller knows that everything is gone.
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

    /// Notes for the caller what others did to filters of ours: one event for all of a kind.
    fn correct(&mut self, kind: Correction, what: Vec<String>) {
        let megaflows = u64::try_from(what.len()).unwrap_or(u64::MAX);
        if let Some(first) = what.into_iter().next() {
            self.corrections.push(ProviderEvent::Corrected { kind, megaflows, first });
        }
    }
}

#[cfg(test)]
mod tests;
