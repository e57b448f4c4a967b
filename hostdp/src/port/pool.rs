//! The memory of packets, used again and again.

use flow::packet::{HEADROOM, Packet};

/// Packets that nobody uses, kept for their memory, so that a packet of the usual size that is
/// received and sent, or copied, costs no allocation. The last one that was kept is the first one
/// used: the caches may still hold it.
#[derive(Default, Debug)]
pub struct PacketPool(Vec<Packet>);

/// Most packets that are kept: all that a few bursts and their copies take at a time.
const MOST: usize = 512;
/// Memory of each packet that is kept, in bytes: enough for a frame of full size. Larger ones are
/// rare, and would lie idle.
const MEMORY: usize = 2048;

impl PacketPool {
    /// A packet with these bytes.
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

    /// An empty packet with room for so many bytes. A large frame takes none of the kept ones.
    fn with_room(&mut self, bytes: usize) -> Packet {
        let memory = HEADROOM + bytes;
        let kept = if memory <= MEMORY { self.0.pop() } else { None };
        kept.unwrap_or_else(|| Packet::with_memory(memory.max(MEMORY)))
    }

    /// Takes a packet that nobody uses any more.
    pub fn keep(&mut self, packet: Packet) {
        if self.0.len() < MOST && packet.memory() == MEMORY {
            self.0.push(packet);
        }
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
        assert_eq!((large.len(), pool.0.len()), (9000, 1), "a large one takes no kept one");
        for other in [large, Packet::new(&[0; 60]), Packet::default()] {
            pool.keep(other);
        }
        assert_eq!(pool.0.len(), 1, "nor is it kept, nor one with less memory");
        let many: Vec<Packet> = (0..2 * MOST).map(|_| pool.packet(&[0; 1518])).collect();
        many.into_iter().for_each(|packet| pool.keep(packet));
        assert_eq!(pool.0.len(), MOST);
    }
}
