//! The filters that we expect in the kernel. Every reading of statistics corrects this table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flow::{Megaflow, PART, Stats, Ufid};

use super::ports::TcPorts;
use super::priority::{Priorities, Room};
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
    /// What [`TcPorts::shadow_changes`] was when the megaflow was last compared with other tools'
    /// filters.
    compared: u64,
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
            compared: 0,
            shown: 0,
            touched: None,
            last_words: None,
        }
    }

    /// Compares the megaflow with other tools' filters that are looked up first, unless these are
    /// still the ones that it was compared with. Marks the filter if one of them shadows it, and
    /// returns a description.
    pub(super) fn shade(&mut self, ports: &TcPorts) -> Option<String> {
        let changes = ports.shadow_changes();
        if std::mem::replace(&mut self.compared, changes) == changes {
            return None;
        }
        let refusal = ports.admission().shadow(self.placed.at.ifindex, self.flow.as_deref()?)?;
        self.redo = true;
        Some(refusal.detail.to_string())
    }
}

/// Our filters on one interface, with the priorities that they use.
#[derive(Debug, Default)]
struct InterfaceFilters {
    /// Each in a box, because half of a tree's slots are empty.
    entries: BTreeMap<Location, Box<(Ufid, InstalledFilter)>>,
    /// By chain.
    priorities: BTreeMap<u32, Priorities>,
    /// The highest priority that may be used.
    top: u16,
}

impl InterfaceFilters {
    fn remove(&mut self, at: &Location) -> Option<InstalledFilter> {
        let (_, entry) = *self.entries.remove(at)?;
        self.release(at);
        Some(entry)
    }

    /// Takes any entry out. Returns its megaflow.
    fn pop(&mut self) -> Option<Ufid> {
        let (at, one) = self.entries.pop_first()?;
        self.release(&at);
        Some(one.0)
    }

    fn release(&mut self, at: &Location) {
        let Some(priorities) = self.priorities.get_mut(&at.chain) else { return };
        priorities.release(at.priority);
        if priorities.is_empty() {
            self.priorities.remove(&at.chain);
        }
    }
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct FilterTable {
    interfaces: BTreeMap<u32, InterfaceFilters>,
    /// The place of each megaflow's filter. A megaflow whose filter is not there has none.
    places: BTreeMap<Ufid, Location>,
    /// What is known no more, with its places. It is taken out of memory in parts.
    forgotten: Vec<InterfaceFilters>,
    /// The priorities at which other tools have filters, by interface and chain.
    others: BTreeMap<(u32, u32), BTreeSet<u16>>,
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
        let known = &mut self.interfaces.entry(ifindex).or_default().top;
        *known = top.max(*known);
    }

    /// Returns the priorities of our filters on a chain, and those that new ones may get.
    pub(super) fn chain(&mut self, ifindex: u32, chain: u32) -> (&mut Priorities, Room<'_>) {
        let interface = self.interfaces.entry(ifindex).or_default();
        let room = Room { top: interface.top.max(1), others: self.others.get(&(ifindex, chain)) };
        (interface.priorities.entry(chain).or_default(), room)
    }

    /// Returns the priorities that our filters on the interface use.
    pub(super) fn used(&self, ifindex: u32) -> impl Iterator<Item = u16> {
        let chains =
            self.interfaces.get(&ifindex).into_iter().flat_map(|on| on.priorities.values());
        chains.flat_map(Priorities::used)
    }

    /// Gives back a priority that was taken for a filter in this place.
    pub(super) fn release(&mut self, at: &Location) {
        if let Some(interface) = self.interfaces.get_mut(&at.ifindex) {
            interface.release(at);
        }
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

    /// Sets the priorities at which other tools have filters, by interface and chain. New filters
    /// of ours avoid them.
    pub(super) fn set_others(&mut self, used: BTreeMap<(u32, u32), BTreeSet<u16>>) {
        self.others = used;
    }

    pub(super) fn get(&self, ufid: Ufid) -> Option<&InstalledFilter> {
        let (owner, entry) = self.at(self.places.get(&ufid)?)?;
        (*owner == ufid).then_some(entry)
    }

    pub(super) fn get_mut(&mut self, ufid: Ufid) -> Option<&mut InstalledFilter> {
        let at = self.places.get(&ufid)?;
        let (owner, entry) = &mut **self.interfaces.get_mut(&at.ifindex)?.entries.get_mut(at)?;
        (*owner == ufid).then_some(entry)
    }

    /// Returns the filter in this place, and its megaflow.
    pub(super) fn at(&self, at: &Location) -> Option<&(Ufid, InstalledFilter)> {
        self.interfaces.get(&at.ifindex)?.entries.get(at).map(Box::as_ref)
    }

    pub(super) fn len(&self) -> usize {
        self.interfaces.values().map(|interface| interface.entries.len()).sum()
    }

    /// Adds a filter whose priority is already held, in place of the megaflow's earlier entry.
    pub(super) fn insert(&mut self, ufid: Ufid, entry: InstalledFilter) {
        self.remove(ufid);
        let at = entry.placed.at;
        let interface = self.interfaces.entry(at.ifindex).or_default();
        if let Some(other) = interface.entries.insert(at, Box::new((ufid, entry))) {
            interface.release(&at);
            self.places.remove(&other.0);
        }
        self.places.insert(ufid, at);
    }

    /// Adds a filter that a dump found.
    pub(super) fn adopt(
        &mut self,
        ufid: Ufid,
        entry: InstalledFilter,
        signature: Option<&Signature>,
    ) {
        let at = entry.placed.at;
        // A filter that could not be decoded holds its priority under its protocol and no mask.
        let protocol = entry.placed.protocol;
        let odd = || Signature { protocol, masks: Vec::new() };
        let (priorities, _) = self.chain(at.ifindex, at.chain);
        priorities.hold(&signature.cloned().unwrap_or_else(odd), at.priority);
        self.avoid_handle(at.handle);
        self.insert(ufid, entry);
    }

    /// Takes a megaflow out and gives its priority back.
    pub(super) fn remove(&mut self, ufid: Ufid) -> Option<InstalledFilter> {
        let at = self.get(ufid)?.placed.at;
        self.places.remove(&ufid);
        self.interfaces.get_mut(&at.ifindex)?.remove(&at)
    }

    /// Drops everything that is known of an interface: at once for everybody who asks, and from
    /// memory in parts.
    pub(super) fn forget(&mut self, ifindex: u32) {
        self.forgotten.extend(self.interfaces.remove(&ifindex));
    }

    /// Does so for all interfaces.
    pub(super) fn forget_all(&mut self) {
        self.forgotten.extend(std::mem::take(&mut self.interfaces).into_values());
    }

    /// Takes a part of what is known no more out of memory.
    pub(super) fn tidy(&mut self) {
        for _ in 0..PART {
            let Some(interface) = self.forgotten.last_mut() else { return };
            match interface.pop() {
                Some(ufid) if self.get(ufid).is_none() => drop(self.places.remove(&ufid)),
                Some(_) => {}
                None => drop(self.forgotten.pop()),
            }
        }
    }

    /// The number of filters that are known no more and still in memory.
    #[cfg(test)]
    pub(super) fn leftovers(&self) -> usize {
        self.forgotten.iter().map(|interface| interface.entries.len()).sum()
    }

    /// Returns our filters from that place on that are on its interface, in the order of places.
    pub(super) fn from(&self, from: Location) -> impl Iterator<Item = &(Ufid, InstalledFilter)> {
        let interface = self.interfaces.get(&from.ifindex).into_iter();
        interface.flat_map(move |interface| interface.entries.range(from..)).map(|(_, one)| &**one)
    }
}
