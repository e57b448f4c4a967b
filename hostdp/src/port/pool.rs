//! The memory of packets, used again and again.

use flow::packet::{HEADROOM, Packet};

/// Packets that nobody uses, kept for their memory, so that a packet that is received and sent, or
/// copied, costs no allocation. The last one that was kept is the first one used: the caches may
/// still hold it.
#[derive(Default, Debug)]
pub struct PacketPool {
    usual: Vec<Packet>,
    large: Vec<Packet>,
}

/// Most packets that are kept: all that a few bursts and their copies take at a time.
const MOST: usize = 512;
/// Memory of each of them in bytes: enough for a frame of full size.
const MEMORY: usize = 2048;
/// Most packets with memory for any frame that are kept: two bursts.
const MOST_LARGE: usize = 64;
/// Longest frame that the kernel hands over: 64 KiB, and an Ethernet header with room for tags.
pub(super) const LONGEST: usize = (1 << 16) + 64;
const LARGE: usize = HEADROOM + LONGEST;

impl PacketPool {
    /// A packet with these bytes.
    #[inline]
    #[must_use]
    pub fn packet(&mut self, frame: &[u8]) -> Packet {
        let mut packet = self.with_room(frame.len());
        packet.reset(frame);
        packet
    }

    /// A copy of a packet.
    #[must_use]
    pub fn copy(&mut self, packet: &Packet) -> Packet {
        let mut copy = self.with_room(packet.len());
        copy.copy_from(packet);
        copy
    }

    /// An empty packet with room for so many bytes. A long one that was not kept has no more than
    /// that: there may be many copies of it.
    #[inline]
    fn with_room(&mut self, bytes: usize) -> Packet {
        let (kept, memory) = match HEADROOM + bytes {
            0..=MEMORY => (self.usual.pop(), MEMORY),
            more @ ..=LARGE => (self.large.pop(), more),
            more => (None, more),
        };
        kept.unwrap_or_else(|| Packet::with_memory(memory))
    }

    /// An empty packet with room for the longest frame.
    pub(super) fn slot(&mut self) -> Packet {
        self.with_room(LONGEST)
    }

    /// The packet that was received in a slot. A short frame is copied; a long one takes the slot's
    /// memory along, and the slot gets other memory.
    pub(super) fn received(&mut self, slot: &mut Packet) -> Packet {
        if HEADROOM + slot.len() <= MEMORY {
            return self.copy(slot);
        }
        let next = self.slot();
        std::mem::replace(slot, next)
    }

    /// Takes a packet that nobody uses any more.
    #[inline]
    pub fn keep(&mut self, packet: Packet) {
        if packet.memory() == MEMORY && self.usual.len() < MOST {
            return self.usual.push(packet);
        }
        self.keep_large(packet);
    }

    #[inline(never)]
    fn keep_large(&mut self, packet: Packet) {
        if packet.memory() == LARGE && self.large.len() < MOST_LARGE {
            self.large.push(packet);
        }
    }

    /// Takes the packets out that nobody uses any more.
    pub fn keep_all(&mut self, packets: &mut Vec<Packet>) {
        packets.drain(..).for_each(|packet| self.keep(packet));
    }

    /// Calls the function with each frame that the packet is on a wire.
    pub fn finish(&mut self, mut packet: Packet, mut sink: impl FnMut(Packet)) {
        let count = packet.segments();
        if count == 1 {
            packet.complete();
            return sink(packet);
        }
        for index in 0..count {
            let mut segment = self.with_room(packet.longest());
            packet.segment(index, &mut segment);
            sink(segment);
        }
        self.keep(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_bounded() {
        let mut pool = PacketPool::default();
        let first = pool.packet(&[1; 60]);
        let place = first.bytes().as_ptr();
        pool.keep(first);
        let second = pool.packet(&[2; 60]);
        assert_eq!((second.bytes().as_ptr(), second.bytes()), (place, &[2; 60][..]));
        let copy = pool.copy(&second);
        assert_eq!(copy, second);
        pool.keep(copy);
        let large = pool.packet(&[3; 9000]);
        assert_eq!((large.len(), large.memory()), (9000, HEADROOM + 9000), "and no more");
        assert_eq!(pool.usual.len(), 1, "a large one takes other memory");
        pool.keep(large);
        let slot = pool.slot();
        pool.keep(slot);
        for other in [Packet::new(&[0; 60]), Packet::new(&[0; LONGEST + 1]), Packet::default()] {
            pool.keep(other);
        }
        assert_eq!((pool.usual.len(), pool.large.len()), (1, 1), "one of another size is not kept");
        assert_eq!(pool.packet(&[0; LONGEST + 1]).len(), LONGEST + 1);
        for (length, most) in [(1518, MOST), (LONGEST, MOST_LARGE)] {
            let many: Vec<Packet> = (0..2 * most).map(|_| pool.packet(&vec![0; length])).collect();
            many.into_iter().for_each(|packet| pool.keep(packet));
        }
        assert_eq!((pool.usual.len(), pool.large.len()), (MOST, MOST_LARGE));
    }

    #[test]
    fn a_long_frame_is_received_without_a_copy() {
        let mut pool = PacketPool::default();
        let mut slot = pool.slot();
        for (length, is_same) in [(60, false), (9000, true)] {
            slot.room()[..length].fill(7);
            slot.received(length);
            let place = slot.bytes().as_ptr();
            let packet = pool.received(&mut slot);
            assert_eq!(packet.bytes(), vec![7; length]);
            assert_eq!(packet.bytes().as_ptr() == place, is_same);
            assert!(slot.room().len() >= LONGEST);
        }
    }
}
