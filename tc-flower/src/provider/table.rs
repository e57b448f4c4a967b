//! The filters that we expect in the kernel. Every reading of statistics corrects this table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use flow::{Megaflow, Stats, Ufid};

use super::priority::Priorities;
use crate::admission::TcAdmission;
use crate::cookie::Cookie;
use crate::encode::Location;
use crate::rule::Signature;

/// A filter of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Placed {
    pub(super) at: Location,
    pub(super) protocol: u16,
    pub(super) cookie: Cookie,
}

/// The filter of one megaflow.
#[derive(Clone, Debug)]
pub(super) struct InstalledFilter {
    pub(super) placed: Placed,
    /// The counters as last read, which are final if the filter is lost.
    pub(super) last: Stats,
    /// True once the driver answered for this filter. If it stops, the hardware lost the filter.
    pub(super) answered: bool,
    /// The digest of the filter's content (see `Content::digest`). A filter with another digest
    /// is not the one that we installed.
    pub(super) digest: Option<u64>,
    /// The megaflow; `None` for a filter that was found and could not be decoded.
    pub(super) flow: Option<Arc<Megaflow>>,
    /// True if the filter no longer does what its megaflow says, though it is ours and its
    /// counters are valid: the interface of a port that it sends to was deleted, or another
    /// tool's filter comes first. The filter must be replaced or removed, which keeps its
    /// counters.
    pub(super) redo: bool,
    /// The number of the last reading that has shown the filter.
    pub(super) shown: u64,
    /// The number of the reading during which, or after which, another tool was seen in the
    /// filter's place; `None` once a later reading has looked there.
    pub(super) touched: Option<u64>,
    /// The final counters, if another tool deleted the filter and they were heard.
    pub(super) last_words: Option<Stats>,
}

impl InstalledFilter {
    /// Makes the entry of a filter that no reading has shown yet.
    pub(super) fn new(
        placed: Placed,
        digest: Option<u64>,
        flow: Option<Arc<Megaflow>>,
    ) -> InstalledFilter {
        InstalledFilter {
            placed,
            digest,
            flow,
            last: Stats::default(),
            answered: false,
            redo: false,
            shown: 0,
            touched: None,
            last_words: None,
        }
    }

    /// Marks the filter if another tool's filter shadows it. Returns a description if that is new.
    pub(super) fn shade(&mut self, admission: &TcAdmission) -> Option<String> {
        let shadow = |flow: &Megaflow| admission.shadow(self.placed.at.ifindex, flow);
        let refusal = self.flow.as_deref().filter(|_| !self.redo).and_then(shadow)?;
        self.redo = true;
        Some(refusal.detail.to_string())
    }
}

/// All entries, with the priorities that they use.
#[derive(Debug, Default)]
pub(super) struct FilterTable {
    entries: HashMap<Ufid, InstalledFilter>,
    at: BTreeMap<Location, Ufid>,
    priorities: BTreeMap<(u32, u32), Priorities>,
    tops: BTreeMap<u32, u16>,
    /// The last handle that was given to a filter, or seen at one of ours. Each new filter gets a
    /// handle of its own, so that it can be asked for by name if the answer to its install is
    /// lost.
    handle: u32,
}

impl FilterTable {
    /// Raises the highest priority that may be used on the interface. The driver may take higher
    /// ones than a probe found, because existing filters were in the way; so a lower value is
    /// ignored.
    pub(super) fn raise_top(&mut self, ifindex: u32, top: u16) {
        let known = self.tops.entry(ifindex).or_default();
        *known = top.max(*known);
        let top = *known;
        let chains = self.priorities.iter_mut().filter(|((on, _), _)| *on == ifindex);
        chains.for_each(|(_, priorities)| priorities.set_top(top));
    }

    pub(super) fn priorities(&mut self, ifindex: u32, chain: u32) -> &mut Priorities {
        let top = self.tops.get(&ifindex).copied().unwrap_or(1);
        self.priorities.entry((ifindex, chain)).or_insert_with(|| Priorities::new(top))
    }

    /// Returns the priorities that our filters on the interface use.
    pub(super) fn used(&self, ifindex: u32) -> impl Iterator<Item = u16> {
        let chains = self.priorities.range((ifindex, 0)..=(ifindex, u32::MAX));
        chains.flat_map(|(_, priorities)| priorities.used())
    }

    /// Returns a handle for a new filter.
    pub(super) fn new_handle(&mut self) -> u32 {
        self.handle = self.handle.checked_add(1).unwrap_or(1);
        self.handle
    }

    /// Notes a handle that a filter of an earlier process has.
    pub(super) fn avoid_handle(&mut self, handle: u32) {
        self.handle = self.handle.max(handle);
    }

    /// Sets the priorities at which other tools have filters, by interface and chain.
    pub(super) fn set_others(&mut self, mut used: BTreeMap<(u32, u32), BTreeSet<u16>>) {
        for (place, priorities) in &mut self.priorities {
            priorities.set_others(used.remove(place).unwrap_or_default());
        }
        for ((ifindex, chain), others) in used {
            self.priorities(ifindex, chain).set_others(others);
        }
    }

    pub(super) fn get(&self, ufid: Ufid) -> Option<&InstalledFilter> {
        self.entries.get(&ufid)
    }

    pub(super) fn get_mut(&mut self, ufid: Ufid) -> Option<&mut InstalledFilter> {
        self.entries.get_mut(&ufid)
    }

    /// Returns the megaflow whose filter is in this place.
    pub(super) fn at(&self, at: &Location) -> Option<Ufid> {
        self.at.get(at).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a filter whose priority is already held. The megaflow's earlier entry is replaced.
    pub(super) fn insert(&mut self, ufid: Ufid, entry: InstalledFilter) {
        self.at.insert(entry.placed.at, ufid);
        if let Some(old) = self.entries.insert(ufid, entry) {
            self.at.remove(&old.placed.at);
        }
    }

    /// Adds a filter that a dump found.
    pub(super) fn adopt(
        &mut self,
        ufid: Ufid,
        entry: InstalledFilter,
        signature: Option<&Signature>,
    ) {
        let at = entry.placed.at;
        let priorities = self.priorities(at.ifindex, at.chain);
        // A filter that could not be decoded holds its priority under its protocol and no mask.
        let protocol = entry.placed.protocol;
        let odd = || Signature { protocol, masks: Vec::new() };
        priorities.hold(&signature.cloned().unwrap_or_else(odd), at.priority);
        self.avoid_handle(at.handle);
        self.insert(ufid, entry);
    }

    /// Takes a megaflow out and gives its priority back.
    pub(super) fn remove(&mut self, ufid: Ufid) -> Option<InstalledFilter> {
        let entry = self.entries.remove(&ufid)?;
        let at = entry.placed.at;
        self.at.remove(&at);
        self.priorities(at.ifindex, at.chain).release(at.priority);
        Some(entry)
    }

    /// Drops everything that is known of an interface that was deleted.
    pub(super) fn forget(&mut self, ifindex: u32) {
        self.clear(ifindex);
        self.priorities.retain(|(on, _), _| *on != ifindex);
        self.tops.remove(&ifindex);
    }

    /// Removes the entries on that interface.
    pub(super) fn clear(&mut self, ifindex: u32) {
        let all: Vec<Ufid> = self.from(Location::first_on(ifindex)).map(|(_, ufid)| ufid).collect();
        for ufid in all {
            self.remove(ufid);
        }
    }

    /// Returns our filters from that place on that are on its interface, in the order of places.
    pub(super) fn from(&self, from: Location) -> impl Iterator<Item = (Location, Ufid)> {
        let rest = self.at.range(from..).map(|(at, ufid)| (*at, *ufid));
        rest.take_while(move |(at, _)| at.ifindex == from.ifindex)
    }

    /// Marks the filters of megaflows that another tool's filter shadows. Returns a description
    /// of each.
    pub(super) fn shade(&mut self, admission: &TcAdmission) -> Vec<String> {
        self.entries.values_mut().filter_map(|entry| entry.shade(admission)).collect()
    }
}
