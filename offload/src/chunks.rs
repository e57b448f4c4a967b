//! A slab in chunks: it grows without moving what it has, and gives memory back.

/// Values by their places. A place is used again when its value was taken out.
pub(super) struct Chunks<T> {
    chunks: Vec<Chunk<T>>,
    /// Free places in chunks that have a value or had one.
    free: Vec<u32>,
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
        Chunks { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        let chunk = self.chunks.get((place / SIZE) as usize)?;
        chunk.places.get((place % SIZE) as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut((place / SIZE) as usize)?;
        chunk.places.get_mut((place % SIZE) as usize)?.as_mut()
    }

    /// All values with their places, in order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = (0..).zip(&self.chunks);
        let places = places.flat_map(|(chunk, held)| (chunk * SIZE..).zip(&held.places));
        places.filter_map(|(place, value)| Some((place, value.as_ref()?)))
    }

    /// Puts a value in; returns its place. There are at most 2^32 places, more than memory has
    /// room for.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if self.free.is_empty() {
            let first = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX).saturating_mul(SIZE);
            self.chunks.push(Chunk { places: Vec::new(), len: 0 });
            self.free.extend((first..first.saturating_add(SIZE)).rev());
        }
        let place = self.free.pop().unwrap_or(u32::MAX);
        if let Some(chunk) = self.chunks.get_mut((place / SIZE) as usize) {
            chunk.places.resize_with(SIZE as usize, || None);
            if let Some(slot) = chunk.places.get_mut((place % SIZE) as usize) {
                *slot = Some(value);
                chunk.len += 1;
                self.len += 1;
            }
        }
        place
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let chunk = self.chunks.get_mut((place / SIZE) as usize)?;
        let value = chunk.places.get_mut((place % SIZE) as usize)?.take()?;
        chunk.len -= 1;
        if chunk.len == 0 {
            chunk.places = Vec::new();
        }
        self.free.push(place);
        self.len -= 1;
        if self.len == 0 {
            *self = Chunks::default();
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
        let (mut fast, mut slow) = (Chunks::default(), BTreeMap::new());
        let mut state = 7_u64;
        for n in 0..30_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = (state >> 33) as u32 % 6000;
            if (10_000..20_000).contains(&n) || slow.contains_key(&place) {
                assert_eq!(fast.remove(place), slow.remove(&place));
            } else {
                let place = fast.insert(n);
                assert_eq!(slow.insert(place, n), None);
            }
            assert_eq!((fast.len(), fast.is_empty()), (slow.len(), slow.is_empty()));
            assert_eq!(fast.get(place), slow.get(&place));
            assert_eq!(fast.get_mut(place), slow.get_mut(&place));
        }
        assert!(slow.len() > 1000 && fast.chunks.len() > 8);
        assert!(fast.iter().eq(slow.iter().map(|(place, value)| (*place, value))));
        for (place, value) in slow {
            assert_eq!(fast.remove(place), Some(value));
        }
        assert!(fast.is_empty() && fast.chunks.is_empty() && fast.free.capacity() == 0);
    }

    #[test]
    fn an_empty_chunk_has_no_memory() {
        let mut chunks = Chunks::default();
        let places: Vec<u32> = (0..SIZE * 3).map(|n| chunks.insert(n)).collect();
        for place in &places[..SIZE as usize * 2] {
            assert_eq!(chunks.remove(*place), Some(*place));
        }
        let memory = |chunk: &Chunk<u32>| chunk.places.capacity() > 0;
        assert_eq!(chunks.chunks.iter().filter(|chunk| memory(chunk)).count(), 1);
        assert_eq!(chunks.get(places[SIZE as usize * 2]), Some(&(SIZE * 2)));
    }
}
