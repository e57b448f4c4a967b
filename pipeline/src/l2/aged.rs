//! Addresses in the order in which they were last seen.

use std::collections::{BTreeMap, BTreeSet};

use flow::{MacAddr, Moment};

/// VLAN and address.
pub(super) type Address = (u16, MacAddr);

/// Addresses with something known of each; the one that was not seen for longest is found at
/// once. Every operation costs the logarithm of how many there are.
#[derive(Debug)]
pub(super) struct Aged<T> {
    known: BTreeMap<Address, (Moment, T)>,
    /// The keys of `known` by their moments.
    order: BTreeSet<(Moment, Address)>,
}

impl<T> Default for Aged<T> {
    fn default() -> Aged<T> {
        Aged { known: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<T: Copy> Aged<T> {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn get(&self, address: Address) -> Option<(Moment, T)> {
        self.known.get(&address).copied()
    }

    /// Puts an address in, or what is known of it anew.
    pub(super) fn put(&mut self, address: Address, seen: Moment, what: T) {
        if let Some((before, _)) = self.known.insert(address, (seen, what)) {
            self.order.remove(&(before, address));
        }
        self.order.insert((seen, address));
    }

    pub(super) fn take(&mut self, address: Address) -> Option<(Moment, T)> {
        let (seen, what) = self.known.remove(&address)?;
        self.order.remove(&(seen, address));
        Some((seen, what))
    }

    /// The one that was not seen for longest.
    pub(super) fn oldest(&self) -> Option<(Moment, Address)> {
        self.order.first().copied()
    }

    /// All, longest unseen first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Moment, Address, T)> + '_ {
        let with_what = |(seen, address): &(Moment, Address)| {
            self.known.get(address).map(|(_, what)| (*seen, *address, *what))
        };
        self.order.iter().filter_map(with_what)
    }
}
