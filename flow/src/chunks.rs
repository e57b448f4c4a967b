//! Values by their places, in chunks: it grows without moving what it has, and gives memory back.

/// Values at places that the caller chooses.
pub struct Chunks<T> {
    chunks: Vec<Chunk<T>>,
    len: usize,
}

/// Some places; without memory while all of them are free.
struct Chunk<T> {
    places: Vec<Option<T>>,
    len: u32,
}

/// Places in a chunk.
const SIZE: u32 = 256;

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at a place.
    #[must_use]
    pub fn get(&self, place: u32) -> Option<&T> {
        let chunk = self.chunks.get((place / SIZE) as usize)?;
        chunk.places.get((place % SIZE) as usize)?.as_ref()
    }

    /// The value at a place, to be changed.
    pub fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut((place / SIZE) as usize)?;
        chunk.places.get_mut((place % SIZE) as usize)?.as_mut()
    }

    /// All values with their places, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = (0..).zip(&self.chunks);
        let places = places.flat_map(|(chunk, held)| (chunk * SIZE..).zip(&held.places));
        places.filter_map(|(place, value)| Some((place, value.as_ref()?)))
    }

    /// Puts a value at a place; returns the one that was there.
    pub fn put(&mut self, place: u32, value: T) -> Option<T> {
        let number = (place / SIZE) as usize;
        let count = self.chunks.len().max(number + 1);
        self.chunks.resize_with(count, || Chunk { places: Vec::new(), len: 0 });
        let chunk = self.chunks.get_mut(number)?;
        let within = (place % SIZE) as usize;
        if chunk.places.len() <= within {
            // Of fresh memory a step touches what it needs: each page has to be made by the kernel.
            // The first chunk grows, because many slabs have a few values only.
            if number > 0 {
                chunk.places.reserve_exact(SIZE as usize - chunk.places.len());
            }
            chunk.places.resize_with(within + 1, || None);
        }
        let before = chunk.places.get_mut(within)?.replace(value);
        if before.is_none() {
            chunk.len += 1;
            self.len += 1;
        }
        before
    }

    /// Takes a value out.
    pub fn remove(&mut self, place: u32) -> Option<T> {
        let chunk = self.chunks.get_mut((place / SIZE) as usize)?;
        let value = chunk.places.get_mut((place % SIZE) as usize)?.take()?;
        chunk.len -= 1;
        if chunk.len == 0 {
            chunk.places = Vec::new();
        }
        self.len -= 1;
        Some(value)
    }
}

/// Values at places that are used again when their value was taken out.
pub struct Slab<T> {
    values: Chunks<T>,
    /// Free places below `end`.
    free: Vec<u32>,
    /// The number of places that had a value since there was none.
    end: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { values: Chunks::default(), free: Vec::new(), end: 0 }
    }
}

impl<T> Slab<T> {
    /// The values by their places.
    #[must_use]
    pub fn values(&self) -> &Chunks<T> {
        &self.values
    }

    /// The value at a place, to be changed.
    pub fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.values.get_mut(place)
    }

    /// All values are at places below this one.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The place that the next value will be put at.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.end)
    }

    /// Puts a value in; returns its place. There are at most 2^32 places, more than memory has
    /// room for.
    pub fn insert(&mut self, value: T) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.end = self.end.saturating_add(1);
            self.end - 1
        });
        self.values.put(place, value);
        place
    }

    /// Takes a value out.
    pub fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.values.remove(place)?;
        self.free.push(place);
        if self.values.is_empty() {
            *self = Slab::default();
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Up, down and up again, against a map: every value is at its place.
    #[test]
    fn it_holds_what_a_map_holds() {
        let (mut fast, mut slow) = (Slab::default(), BTreeMap::new());
        let mut state = 7_u64;
        for n in 0..30_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = (state >> 33) as u32 % 6000;
            if (10_000..20_000).contains(&n) || slow.contains_key(&place) {
                assert_eq!(fast.remove(place), slow.remove(&place));
            } else {
                let next = fast.next();
                let place = fast.insert(n);
                assert_eq!(place, next);
                assert_eq!(slow.insert(place, n), None);
            }
            let values = fast.values();
            assert_eq!((values.len(), values.is_empty()), (slow.len(), slow.is_empty()));
            assert_eq!(values.get(place), slow.get(&place));
            assert!(slow.keys().all(|place| *place < fast.end()));
            assert_eq!(fast.get_mut(place), slow.get_mut(&place));
        }
        assert!(slow.len() > 1000 && fast.values.chunks.len() > 8);
        assert!(fast.values.iter().eq(slow.iter().map(|(place, value)| (*place, value))));
        for (place, value) in slow {
            assert_eq!(fast.remove(place), Some(value));
        }
        assert!(
            fast.values.is_empty() && fast.values.chunks.is_empty() && fast.free.capacity() == 0
        );
    }

    #[test]
    fn an_empty_chunk_has_no_memory() {
        let mut chunks = Chunks::default();
        for place in 0..SIZE * 3 {
            assert_eq!(chunks.put(place, place), None);
        }
        for place in 0..SIZE * 2 {
            assert_eq!(chunks.remove(place), Some(place));
        }
        let memory = |chunk: &Chunk<u32>| chunk.places.capacity() > 0;
        assert_eq!(chunks.chunks.iter().filter(|chunk| memory(chunk)).count(), 1);
        assert_eq!(chunks.put(SIZE * 2, 7), Some(SIZE * 2));
        assert_eq!(chunks.get(SIZE * 2), Some(&7));
    }
}
