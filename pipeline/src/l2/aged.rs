//! Addresses in the order in which they were last seen.

use std::collections::{BTreeMap, BTreeSet};

use flow::{MacAddr, Moment};

/// VLAN and address.
pub(super) type Address = (u16, MacAddr);

/// A map from addresses to values that finds the address that was not seen for longest at once.
/// Every operation costs the logarithm of the number of addresses.
#[derive(Clone, Debug)]
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

    /// Inserts an address, or replaces its moment and value.
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

    /// The address that was not seen for longest, with the moment when it was seen last.
    pub(super) fn oldest(&self) -> Option<(Moment, Address)> {
        self.order.first().copied()
    }

    /// All addresses with their moments and values, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Moment, Address, T)> + '_ {
        let with_what = |(seen, address): &(Moment, Address)| {
            self.known.get(address).map(|(_, what)| (*seen, *address, *what))
        };
        self.order.iter().filter_map(with_what)
    }
}
