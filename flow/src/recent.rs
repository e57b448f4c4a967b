//! Values that many megaflows have, in one place in memory.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

/// The values that a thread has made last, by the lowest bits of their hashes. Of a million
/// megaflows few differ in their masks and actions: those that are made one after the other share
/// the memory of theirs.
pub(crate) struct Recent<T>([Option<T>; PLACES]);

const PLACES: usize = 1 << 8;

impl<T: Clone> Recent<T> {
    pub(crate) const NONE: Recent<T> = Recent([const { None }; PLACES]);

    /// Returns the last value that is the same as `of`, unless another one took its place since
    /// then: then it is made.
    pub(crate) fn share<K: Hash + ?Sized>(
        &mut self,
        of: &K,
        is_same: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> T {
        let hash = FixedState::default().hash_one(of);
        #[allow(clippy::cast_possible_truncation, reason = "only the lowest bits are used")]
        let place = &mut self.0[hash as usize % PLACES];
        match place {
            Some(same) if is_same(same) => same.clone(),
            _ => place.insert(make()).clone(),
        }
    }
}
