//! The provider, which owns our filters in the kernel. One thread uses it.

mod apply;
mod errors;
mod found;
mod listing;
mod monitor;
mod news;
mod others;
mod ports;
mod priority;
mod qdisc;
mod reading;
mod runs;
mod settle;
mod table;
mod tc;
mod witness;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Admission, Clock, Completion, Cursor, Dumped, PortId, PortTraffic, Provider, ProviderError,
    ProviderEvent, Stats, Submission, TableName, TableUsage, Ufid,
};

pub use ports::PortReport;
pub use tc::TcOptions;

use crate::TcError;
use crate::device::DeviceSelector;
use crate::netlink::{KernelSocket, RequestSocket, Transport};
use tc::Tc;

/// The largest number of operations in flight.
const WINDOW: usize = 256;

/// Megaflows as `skip_sw` flower filters on the ports of switchdev NICs.
pub struct TcProvider<T = KernelSocket>(Tc<T>);

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
        let client = RequestSocket::new(KernelSocket::requests()?);
        let monitor = KernelSocket::monitor(&monitor::GROUPS)?;
        TcProvider::over(client, monitor, ports, clock, options)
    }
}

impl<T: Transport> TcProvider<T> {
    /// Opens the provider over sockets for requests and for notifications.
    pub(crate) fn over(
        client: RequestSocket<T>,
        monitor: T,
        ports: &[(PortId, DeviceSelector)],
        clock: Clock,
        options: TcOptions,
    ) -> Result<TcProvider<T>, TcError> {
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
        self.0.ports.reports()
    }
}

/// Probes what the drivers of these interfaces take, as a daemon does at its start, and leaves
/// nothing behind. Filters of a running daemon stay.
pub fn survey(ports: &[(PortId, DeviceSelector)]) -> Result<Vec<PortReport>, TcError> {
    let mut provider = TcProvider::open(ports, Clock::start())?;
    let reports = provider.ports();
    let tc = &mut provider.0;
    tc.ports.release_qdiscs(&mut tc.client)?;
    Ok(reports)
}

impl<T: Transport> Provider for TcProvider<T> {
    fn name(&self) -> &str {
        "tc"
    }

    fn admission(&self) -> Arc<dyn Admission> {
        self.0.ports.admission().clone()
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        let room = WINDOW.saturating_sub(self.0.in_flight.len());
        self.0.in_flight.extend(waiting.drain(..room.min(waiting.len())));
    }

    fn poll(&mut self, _wait: Duration, done: &mut Vec<Completion>) {
        apply::apply(&mut self.0, done);
    }

    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.0.check()?;
        let read = reading::read(&mut self.0, from, false);
        let (shown, next) = self.0.check().and(read)?;
        out.extend(shown.into_iter().map(|one| (one.ufid, one.stats)));
        Ok(next)
    }

    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        self.0.check()?;
        let read = reading::read(&mut self.0, from, true);
        let (shown, next) = self.0.check().and(read)?;
        out.extend(shown);
        Ok(next)
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

    fn reopen(&mut self) -> Result<(), ProviderError> {
        self.0.reopen().map_err(|error| ProviderError::Gone(error.to_string()))
    }

    fn close(&mut self) -> Result<(), ProviderError> {
        if self.0.check().is_err() {
            // The sockets may be broken, and the filters still there.
            let _ = self.reopen();
        }
        self.remove_all().map_err(|error| ProviderError::Busy(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
