//! Reads filters: all on an interface's ingress, or some by name.
//!
//! The kernel's dump steps through the priorities by their index in the list. If a priority is
//! added or deleted meanwhile, by another tool or by us, the dump lists a priority twice or leaves
//! one out with all its filters, and the kernel does not mark that dump as interrupted. So a known
//! filter that is not listed is asked for by name before it counts as gone, and filters are kept
//! by place, so that a filter listed twice counts once.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use flow::{Dumped, Megaflow, PortId, Stats, Ufid};

use super::errors::is_absent;
use super::ports::TcPorts;
use super::table::{InstalledFilter, Placed};
use crate::decode::{Filter, Foreign, Summary};
use crate::encode::{self, Location};
use crate::netlink::consts::{
    NLM_F_ACK, NLM_F_DUMP, RTM_GETTFILTER, RTM_NEWTFILTER, TC_H_INGRESS_FILTERS,
};
use crate::netlink::read::Message;
use crate::netlink::{
    DumpProgress, Malformed, NetlinkError, RequestOutcome, RequestSocket, Transport,
};
use crate::rule::Signature;
use crate::translate::Target;

/// A filter with our cookie.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) placed: Placed,
    pub(super) summary: Summary,
    /// The digest of the filter's content; `None` if the filter has an attribute that we do not
    /// write.
    pub(super) digest: Option<u64>,
    /// True if the filter sends packets to an interface that was deleted.
    pub(super) headless: bool,
    /// The megaflow that the filter stands for; decoded only on request.
    pub(super) flow: Option<(Arc<Megaflow>, Signature)>,
}

/// The state of a filter that has the place and the cookie of an entry.
pub(super) enum FilterHealth {
    /// The filter does what its megaflow says.
    Alive,
    /// The filter's counters are valid, but it must be replaced or removed.
    CutOff,
    /// The filter is no longer in hardware, or the driver no longer answers for it.
    Dead,
    /// Another tool changed what the filter does.
    Altered,
}

impl Listed {
    /// Determines whether the filter still does what we installed.
    pub(super) fn judge(&self, entry: &mut InstalledFilter) -> FilterHealth {
        let same = self.digest == entry.digest;
        // The interface that the filter sends to was deleted.
        entry.redo |= !same && self.headless;
        if !same && !self.headless {
            FilterHealth::Altered
        } else if !self.summary.in_hw || !self.summary.answered && entry.answered {
            FilterHealth::Dead
        } else if entry.redo {
            FilterHealth::CutOff
        } else {
            FilterHealth::Alive
        }
    }

    pub(super) fn dumped(self, ufid: Ufid, stats: Stats, active: bool) -> Dumped {
        let (generation, flow) = (self.placed.cookie.generation, self.flow.map(|(flow, _)| flow));
        Dumped { ufid, generation, flow, stats, active }
    }
}

/// All filters on one interface, by place.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) ours: BTreeMap<Location, Listed>,
    pub(super) others: BTreeMap<Location, Foreign>,
}

impl Listing {
    fn take(&mut self, one: One) {
        match one {
            One::Ours(listed) => drop(self.ours.insert(listed.placed.at, *listed)),
            One::Other(foreign) => drop(self.others.insert(foreign.at, *foreign)),
        }
    }
}

/// One filter that was read.
pub(super) enum One {
    Ours(Box<Listed>),
    Other(Box<Foreign>),
}

/// What is known about the ports, which reading filters needs.
pub(super) struct FilterReader<'a> {
    ports: &'a BTreeMap<u32, PortId>,
    /// The target, if megaflows are to be decoded too.
    target: Option<&'a Target>,
}

impl<'a> FilterReader<'a> {
    pub(super) fn new(ports: &'a TcPorts, decodes: bool) -> FilterReader<'a> {
        let target = decodes.then(|| ports.admission().target());
        FilterReader { ports: ports.by_ifindex(), target }
    }

    /// Reads a message; `None` if it shows no filter on the ingress of one of our ports.
    pub(super) fn read(&self, message: &Message<'_>) -> Result<Option<One>, Malformed> {
        if message.kind != RTM_NEWTFILTER {
            return Ok(None);
        }
        let Some(filter) = Filter::parse(message.payload)? else { return Ok(None) };
        let Some(port) = self.ports.get(&filter.at.ifindex) else { return Ok(None) };
        let summary = filter.summary()?;
        let Some(cookie) = summary.cookie else {
            // The kernel lists a priority itself before its filters, with handle 0.
            let is_filter = filter.at.handle != 0;
            return Ok(is_filter.then(|| One::Other(Box::new(filter.foreign(*port)))));
        };
        let content = filter.content(cookie.implied);
        let flow = self.target.and_then(|target| filter.megaflow(&cookie, self.ports, target));
        Ok(Some(One::Ours(Box::new(Listed {
            placed: Placed { at: filter.at, protocol: filter.protocol, cookie },
            summary,
            digest: content.as_ref().map(|content| content.digest()),
            headless: content.is_some_and(|content| content.is_headless()),
            flow: flow.map(|(flow, rule)| (Arc::new(flow), rule.signature())),
        }))))
    }

    /// Lists an interface. Those of our filters that are known there are asked for by name if the
    /// dump leaves them out.
    pub(super) fn list<T: Transport>(
        &self,
        client: &mut RequestSocket<T>,
        ifindex: u32,
        ours: impl Iterator<Item = Placed>,
    ) -> Result<Listing, NetlinkError> {
        let mut listing = client.dump(
            RTM_GETTFILTER,
            NLM_F_DUMP,
            |w| encode::dump(w, ifindex, TC_H_INGRESS_FILTERS),
            Listing::default,
            |listing, message| {
                if let Some(one) = self.read(&message)? {
                    listing.take(one);
                }
                Ok(())
            },
        )?;
        let left_out = ours.filter(|placed| !listing.ours.contains_key(&placed.at)).map(name_of);
        let left_out: Vec<Name> = left_out.collect();
        let found = self.ask(client, &left_out)?;
        found.into_iter().flatten().for_each(|one| listing.take(one));
        Ok(listing)
    }

    /// Asks for these filters. Returns for each the filter if it is still there with the same
    /// place, protocol and cookie, and `None` otherwise.
    pub(super) fn are_there<T: Transport>(
        &self,
        client: &mut RequestSocket<T>,
        all: &[Placed],
    ) -> Result<Vec<Option<Listed>>, NetlinkError> {
        let names: Vec<Name> = all.iter().copied().map(name_of).collect();
        let found = self.ask(client, &names)?;
        let same = all.iter().zip(found).map(|(placed, one)| match one {
            Some(One::Ours(listed)) if listed.placed == *placed => Some(*listed),
            _ => None,
        });
        Ok(same.collect())
    }

    /// Asks for filters by name, with several requests in one datagram.
    pub(super) fn ask<T: Transport>(
        &self,
        client: &mut RequestSocket<T>,
        names: &[Name],
    ) -> Result<Vec<Option<One>>, NetlinkError> {
        let mut batch = client.batch();
        for (at, protocol, kind) in names {
            batch.add(RTM_GETTFILTER, NLM_F_ACK, |w| encode::get(w, at, *protocol, kind))?;
        }
        let mut found: Vec<Result<Option<One>, Malformed>> =
            names.iter().map(|_| Ok(None)).collect();
        let outcomes = client.transact(&batch, &mut |index, message| {
            found[index] = self.read(&message);
        })?;
        let answers = outcomes.into_iter().zip(found).map(|(outcome, found)| match outcome {
            RequestOutcome::Done => Ok(found?),
            RequestOutcome::Refused(nack) if is_absent(&nack) => Ok(None),
            RequestOutcome::Refused(nack) => Err(NetlinkError::Refused(nack)),
            RequestOutcome::Unknown => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        });
        answers.collect()
    }
}

/// A reading under way.
pub(super) struct FilterReading<T> {
    /// Readings are numbered from 1 on.
    pub(super) number: u64,
    pub(super) is_dump: bool,
    pub(super) ifindex: u32,
    pub(super) stage: Stage<T>,
}

/// What the next part of a reading does.
pub(super) enum Stage<T> {
    /// It takes the next datagram of the kernel's list.
    List { client: RequestSocket<T>, dump: DumpProgress, listings: usize, heard: u64 },
    /// It asks for those of our filters from this place on that were not listed.
    Ours(Location),
    /// It asks for those of other tools' filters.
    Others(Location),
}

/// The name of a filter in a request: place, protocol, classifier.
pub(super) type Name = (Location, u16, String);

pub(super) fn name_of(placed: Placed) -> Name {
    (placed.at, placed.protocol, "flower".to_owned())
}
