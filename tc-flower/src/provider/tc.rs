//! The provider over any transport: its parts, and what concerns several of them.

use std::collections::{BTreeMap, BTreeSet};

use flow::{Clock, Dumped, PortId, PortTraffic, ProviderError, Refusal, Subject, Submission, Ufid};

use super::errors::is_absent;
use super::found::{Found, FoundFilters};
use super::listing::{FilterReader, FilterReading, Listed, Listing};
use super::news::KernelNews;
use super::others::Others;
use super::ports::TcPorts;
use super::qdisc;
use super::table::{FilterTable, InstalledFilter, Placed};
use super::witness::PortWitnesses;
use crate::TcError;
use crate::device::DeviceSelector;
use crate::encode::{self, Location};
use crate::links;
use crate::netlink::consts::{NLM_F_ACK, RTM_DELTFILTER};
use crate::netlink::{NetlinkError, RequestOutcome, RequestSocket, Transport};
use crate::probe::{self, Probed};
use crate::translate::{PortDevice, Target};

/// Options that are off by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcOptions {
    /// Use a chain for each recirculation id. This is off by default: a packet that misses in a
    /// chain is captured on the representor after earlier actions have changed it and without its
    /// recirculation id, so the host would start over with a changed packet and count it twice.
    /// Turn it on only where that can't happen, or to test chains.
    pub recirculation: bool,
}

/// The provider over any transport. Its parts keep their own data; what concerns several of them
/// and the kernel is done here.
pub(super) struct Tc<T> {
    pub(super) client: RequestSocket<T>,
    pub(super) monitor: T,
    /// Dates the last use in statistics.
    pub(super) clock: Clock,
    pub(super) ports: TcPorts,
    pub(super) witnesses: PortWitnesses,
    pub(super) table: FilterTable,
    /// Operations that were submitted and have no completion yet.
    pub(super) in_flight: Vec<Submission>,
    pub(super) others: Others,
    pub(super) found: FoundFilters,
    /// Filters of ours that must be removed: after a failed removal, after a replace that was cut
    /// short, because the hardware lost the filter, or because another tool changed it. Each is
    /// looked at right before, so those of an interface that was deleted do no harm.
    pub(super) strays: BTreeMap<Location, Placed>,
    /// The reading under way, and the number of readings so far.
    pub(super) reading: Option<FilterReading<T>>,
    pub(super) readings: u64,
    pub(super) news: KernelNews,
    /// Why the device is gone, if it is.
    pub(super) gone: Option<String>,
    /// True once the caller was told so by an event.
    pub(super) told_gone: bool,
}

impl<T: Transport> Tc<T> {
    pub(super) fn open(
        mut client: RequestSocket<T>,
        monitor: T,
        ports: &[(PortId, DeviceSelector)],
        clock: Clock,
        options: TcOptions,
    ) -> Result<Tc<T>, TcError> {
        let devices = links::list_with(&mut client)?;
        let mut tc = Tc {
            client,
            monitor,
            clock,
            ports: TcPorts::new(&devices, ports, options.recirculation)?,
            witnesses: PortWitnesses::default(),
            table: FilterTable::default(),
            in_flight: Vec::new(),
            others: Others::default(),
            found: FoundFilters::default(),
            strays: BTreeMap::new(),
            reading: None,
            readings: 0,
            news: KernelNews::default(),
            gone: None,
            told_gone: false,
        };
        tc.begin()?;
        Ok(tc)
    }

    /// Begins anew with new sockets, as if the provider had just been opened. An error says why the
    /// device is still gone.
    pub(super) fn reopen(&mut self) -> Result<(), TcError> {
        let (mut client, monitor) = (self.client.again()?, self.monitor.again()?);
        let devices = links::list_with(&mut client)?;
        self.ports.renew(&devices)?;
        (self.client, self.monitor) = (client, monitor);
        self.table.forget_all();
        self.found.begin();
        (self.others, self.reading) = (Others::default(), None);
        (self.in_flight, self.news) = (Vec::new(), KernelNews::default());
        self.gone = None;
        let begun = self.begin();
        self.gone = begun.as_ref().err().map(NetlinkError::to_string).or_else(|| self.gone.take());
        self.told_gone = self.gone.is_some();
        Ok(begun?)
    }

    /// Makes all ports ready.
    fn begin(&mut self) -> Result<(), NetlinkError> {
        let all: Vec<PortId> = self.ports.all().map(|(port, _)| port).collect();
        self.prepare(&all)?;
        self.snapshot();
        self.listen();
        Ok(())
    }

    /// Returns an error if the device is gone: a socket does not work any more, or no port has an
    /// interface. It stays gone until it is opened again.
    pub(super) fn check(&mut self) -> Result<(), ProviderError> {
        if self.gone.is_none() {
            let broken = self.client.broken().map(|why| format!("netlink socket: {why}"));
            let gone = || "every port's interface is gone".to_owned();
            self.gone = broken.or_else(|| self.ports.are_gone().then(gone));
        }
        self.gone.clone().map_or(Ok(()), |why| Err(ProviderError::Gone(why)))
    }

    /// Makes these ports' interfaces ready and finds out what they can do.
    ///
    /// The first time, an interface is listed whole in this one call: when the provider is opened
    /// or opened again, and when the interface appears, which has no filter of this process then.
    /// The probe that follows needs priorities at which there are no filters, and nothing else
    /// tells which these are.
    pub(super) fn prepare(&mut self, ports: &[PortId]) -> Result<(), NetlinkError> {
        for port in ports {
            let Some(state) = self.ports.get_mut(*port) else { continue };
            if state.device.switch_id.is_none() || state.gone {
                continue;
            }
            match qdisc::ensure(&mut self.client, state.device.ifindex) {
                Ok(new) => state.own_qdisc |= new,
                Err(NetlinkError::Refused(nack)) => {
                    let refusal = Refusal::new(flow::Reason::Device, Subject::Qdisc);
                    state.unusable = Some(refusal.said(nack.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        self.ports.index();
        let target = self.ports.target();
        let there = ports.iter().filter_map(|port| Some((*port, target.ports.get(port)?.ifindex)));
        let there: Vec<(PortId, u32)> = there.collect();
        // Filters with our cookie at the start are left from a process that was killed. If no
        // other tool has filters on that interface, that process also made the qdisc.
        let mut strangers: Vec<Location> = Vec::new();
        for (port, ifindex) in &there {
            let state = self.ports.get_mut(*port).filter(|state| !state.listed);
            let Some(state) = state else { continue };
            state.listed = true;
            let listing = self.list(*ifindex)?;
            listing.ours.keys().for_each(|at| self.table.avoid_handle(at.handle));
            strangers.extend(listing.ours.into_keys());
            self.others.forget(*ifindex);
            let others = listing.others.into_values();
            others.for_each(|foreign| self.others.insert(foreign, self.readings));
        }
        for (port, ifindex) in there {
            let alone = self.others.on(ifindex).next().is_none();
            if !strangers.is_empty() && alone && qdisc::is_egress_empty(&mut self.client, ifindex)?
            {
                self.own_qdisc(ifindex);
            }
            let probed = self.probe(&target, port, ifindex, &strangers)?;
            self.table.raise_top(ifindex, probed.top);
            self.ports.learn(port, probed);
        }
        self.review_others();
        Ok(())
    }

    /// Probes what the driver takes, at priorities that are not in use.
    fn probe(
        &mut self,
        target: &Target,
        port: PortId,
        ifindex: u32,
        strangers: &[Location],
    ) -> Result<Probed, NetlinkError> {
        let Some(device) = target.ports.get(&port) else { return Ok(Probed::default()) };
        let strangers = strangers.iter().filter(|at| at.ifindex == ifindex);
        let foreign = self.others.on(ifindex).map(|other| &other.at).chain(strangers);
        let taken = self.table.used(ifindex).chain(foreign.map(|at| at.priority));
        let avoid: BTreeSet<u16> = taken.collect();
        let alike = self.ports.known_features(port);
        let on_switch = |other: &PortDevice| other.switch_id == device.switch_id;
        let output = target.ports.iter().find(|(id, d)| **id != port && on_switch(d));
        let output = output.map_or(port, |(id, _)| *id);
        probe::probe(&mut self.client, target, port, output, &avoid, alike.as_deref())
    }

    /// Records that we made the qdisc of that interface.
    pub(super) fn own_qdisc(&mut self, ifindex: u32) {
        if let Some((_, state)) = self.ports.on(ifindex) {
            state.own_qdisc = true;
        }
    }

    /// Makes a new admission snapshot from what is known now.
    pub(super) fn snapshot(&mut self) {
        let shadows = self.others.shadows(&mut self.table);
        self.ports.snapshot(shadows);
    }

    /// Updates the priorities to avoid and the megaflows that can't be in hardware from other
    /// tools' current filters. A reading of statistics finds the shadowed megaflows that are
    /// installed and leaves them out, so that the caller installs them again and gets the refusal.
    pub(super) fn review_others(&mut self) {
        self.table.set_others(self.others.priorities());
        let shadows = self.others.shadows(&mut self.table);
        if !self.ports.admission().has_shadows(&shadows) {
            self.ports.snapshot(shadows);
            self.news.changed = true;
        }
    }

    /// Lists an interface.
    fn list(&mut self, ifindex: u32) -> Result<Listing, NetlinkError> {
        let ours = self.table.from(Location::first_on(ifindex));
        let ours = ours.map(|(_, entry)| entry.placed);
        FilterReader::new(&self.ports, false).list(&mut self.client, ifindex, ours)
    }

    /// Asks for these filters. Returns for each the filter if it is still there.
    pub(super) fn are_there(
        &mut self,
        all: &[Placed],
    ) -> Result<Vec<Option<Listed>>, NetlinkError> {
        FilterReader::new(&self.ports, true).are_there(&mut self.client, all)
    }

    pub(super) fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let mut taken = Vec::new();
        for dumped in found {
            let same = |found: &Found| found.placed.cookie.generation == dumped.generation;
            if !self.found.get(dumped.ufid).is_some_and(same) {
                continue;
            }
            let Some(found) = self.found.remove(dumped.ufid) else { continue };
            let (flow, signature) = found.flow.unzip();
            let mut entry = InstalledFilter::new(found.placed, found.digest, flow);
            entry.last = dumped.stats;
            // The reading that has shown it may list its interface again, and shows it once.
            entry.shown = found.shown;
            self.table.adopt(dumped.ufid, entry, signature.as_ref());
            taken.push(dumped.ufid);
        }
        taken
    }

    pub(super) fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        let counted: BTreeMap<_, _> = links::counters(&mut self.client)
            .map_err(|error| ProviderError::Busy(error.to_string()))?;
        // An interface that was set down or up before it was counted is known as such now.
        self.listen();
        Ok(self.witnesses.traffic(&self.ports, &counted))
    }

    pub(super) fn remove_all(&mut self) -> Result<(), TcError> {
        self.strays.clear();
        self.found.begin();
        for ifindex in self.ports.interfaces() {
            let ours = self.list(ifindex)?.ours;
            self.remove_placed(ours.values().map(|listed| listed.placed))?;
            self.table.forget(ifindex);
        }
        self.ports.release_qdiscs(&mut self.client)
    }

    /// Removes filters. A filter that no longer exists is no error.
    fn remove_placed(&mut self, placed: impl Iterator<Item = Placed>) -> Result<(), TcError> {
        let mut batch = self.client.batch();
        for filter in placed {
            batch.add(RTM_DELTFILTER, NLM_F_ACK, |w| {
                encode::remove(w, &filter.at, filter.protocol);
            })?;
        }
        for outcome in self.client.transact(&batch, &mut |_, _| {})? {
            match outcome {
                RequestOutcome::Done => {}
                RequestOutcome::Refused(nack) if is_absent(&nack) => {}
                RequestOutcome::Refused(nack) => return Err(TcError::Kernel(nack.to_string())),
                RequestOutcome::Unknown => return Err(TcError::Kernel("no answer".into())),
            }
        }
        Ok(())
    }
}
