//! The filters that we expect in the kernel. Every reading of the device corrects this table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use flow::{Action, Megaflow, PortId, Stats, Ufid};

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
pub(super) struct Entry {
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
}

impl Entry {
    /// Returns true if the megaflow sends packets to that port.
    fn outputs_to(&self, port: PortId) -> bool {
        let actions = self.flow.iter().flat_map(|flow| flow.actions.iter());
        actions.into_iter().any(|action| *action == Action::Output(port))
    }
}

/// All entries, with the priorities that they use.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Ufid, Entry>,
    at: HashMap<Location, Ufid>,
    priorities: BTreeMap<(u32, u32), Priorities>,
    tops: BTreeMap<u32, u16>,
}

impl Table {
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

    /// Sets the priorities at which other tools have filters, by interface and chain.
    pub(super) fn set_others(&mut self, mut used: BTreeMap<(u32, u32), BTreeSet<u16>>) {
        for (place, priorities) in &mut self.priorities {
            priorities.set_others(used.remove(place).unwrap_or_default());
        }
        for ((ifindex, chain), others) in used {
            self.priorities(ifindex, chain).set_others(others);
        }
    }

    pub(super) fn get(&self, ufid: Ufid) -> Option<&Entry> {
        self.entries.get(&ufid)
    }

    pub(super) fn get_mut(&mut self, ufid: Ufid) -> Option<&mut Entry> {
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
    pub(super) fn insert(&mut self, ufid: Ufid, entry: Entry) {
        self.at.insert(entry.placed.at, ufid);
        if let Some(old) = self.entries.insert(ufid, entry) {
            self.at.remove(&old.placed.at);
        }
    }

    /// Adds a filter that a dump found.
    pub(super) fn adopt(&mut self, ufid: Ufid, entry: Entry, signature: Option<&Signature>) {
        let at = entry.placed.at;
        let priorities = self.priorities(at.ifindex, at.chain);
        // A filter that could not be decoded holds its priority under its protocol and no mask.
        let protocol = entry.placed.protocol;
        let odd = || Signature { protocol, masks: Vec::new() };
        priorities.hold(&signature.cloned().unwrap_or_else(odd), at.priority);
        self.insert(ufid, entry);
    }

    /// Takes a megaflow out and gives its priority back.
    pub(super) fn remove(&mut self, ufid: Ufid) -> Option<Entry> {
        let entry = self.entries.remove(&ufid)?;
        let at = entry.placed.at;
        self.at.remove(&at);
        self.priorities(at.ifindex, at.chain).release(at.priority);
        Some(entry)
    }

    /// Drops everything that is known of an interface that was deleted.
    pub(super) fn forget(&mut self, ifindex: u32) {
        self.retain_on(ifindex, |_| false);
        self.priorities.retain(|(on, _), _| *on != ifindex);
        self.tops.remove(&ifindex);
    }

    /// Removes the entries on that interface for which `keep` returns false.
    pub(super) fn retain_on(&mut self, ifindex: u32, keep: impl Fn(&Ufid) -> bool) {
        let all = self.on(ifindex).map(|(ufid, _)| ufid);
        let gone: Vec<Ufid> = all.filter(|ufid| !keep(ufid)).collect();
        for ufid in gone {
            self.remove(ufid);
        }
    }

    /// Returns the megaflows that have a filter on that interface.
    pub(super) fn on(&self, ifindex: u32) -> impl Iterator<Item = (Ufid, &Entry)> {
        let all = self.entries.iter().map(|(ufid, entry)| (*ufid, entry));
        all.filter(move |(_, entry)| entry.placed.at.ifindex == ifindex)
    }

    /// Notes what a reading of the device said of a filter.
    pub(super) fn believe(&mut self, ufid: Ufid, last: Stats, answered: bool) {
        if let Some(entry) = self.entries.get_mut(&ufid) {
            entry.last = last;
            entry.answered |= answered;
        }
    }

    /// Marks the filters that send packets to a port whose interface was deleted.
    pub(super) fn cut_off(&mut self, port: PortId) {
        let cut_off = self.entries.values_mut().filter(|entry| entry.outputs_to(port));
        cut_off.for_each(|entry| entry.redo = true);
    }

    /// Marks the filters of megaflows that another tool's filter shadows. Returns a description
    /// of each.
    pub(super) fn shade(&mut self, admission: &TcAdmission) -> Vec<String> {
        let mut shaded = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| !entry.redo) {
            let shadow = |flow: &Megaflow| admission.shadow(entry.placed.at.ifindex, flow);
            if let Some(refusal) = entry.flow.as_deref().and_then(shadow) {
                entry.redo = true;
                shaded.push(refusal.detail.to_string());
            }
        }
        shaded
    }
}
