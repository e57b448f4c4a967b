//! The `memory` port: queues in the process, for tests, benchmarks and the embedded card.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow::packet::Packet;
use rustix::event::{EventfdFlags, eventfd};

use super::{Batch, Frame, LinkState, Port, PortError, PortKind, TxReport};
use crate::drops::DropReason;

/// The datapath's end.
pub struct MemoryPort {
    name: String,
    shared: Arc<Shared>,
}

/// The other end of the queues: the port receives the frames that the peer sends, and the peer
/// those that the port sends. Clones share the queues.
#[derive(Clone)]
pub struct MemoryPeer {
    shared: Arc<Shared>,
}

struct Shared {
    queues: Mutex<Queues>,
    /// Readable while frames wait to be received by the port.
    wake: OwnedFd,
    /// Most frames in either queue.
    limit: usize,
}

struct Queues {
    inbound: VecDeque<Frame>,
    outbound: VecDeque<Packet>,
    state: LinkState,
}

/// A port and its peer, with room for `limit` frames in each direction.
pub fn open(name: &str, limit: usize) -> Result<(MemoryPort, MemoryPeer), PortError> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| {
        PortError::System { port: name.into(), what: "eventfd", source: error.into() }
    })?;
    let queues =
        Queues { inbound: VecDeque::new(), outbound: VecDeque::new(), state: LinkState::Up };
    let shared = Arc::new(Shared { queues: Mutex::new(queues), wake, limit });
    Ok((MemoryPort { name: name.into(), shared: shared.clone() }, MemoryPeer { shared }))
}

impl Shared {
    /// Locks the queues. A panic elsewhere leaves them usable, because each change is a single push
    /// or pop.
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryPeer {
    /// Hands a frame to the port; false if the queue is full or the port is not up.
    pub fn send(&self, frame: &[u8]) -> bool {
        self.send_frame(Frame::fresh(Packet::new(frame)))
    }

    /// Hands a frame with a card's metadata to the port, like [`MemoryPeer::send`].
    pub fn send_frame(&self, frame: Frame) -> bool {
        let mut queues = self.shared.lock();
        if queues.inbound.len() >= self.shared.limit || queues.state != LinkState::Up {
            return false;
        }
        queues.inbound.push_back(frame);
        if queues.inbound.len() == 1 {
            // It can only fail by overflow, and then it is readable anyway.
            let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
        }
        true
    }

    /// The next frame that the port sent.
    #[must_use]
    pub fn receive(&self) -> Option<Packet> {
        self.shared.lock().outbound.pop_front()
    }

    /// All frames that the port sent.
    #[must_use]
    pub fn drain(&self) -> Vec<Packet> {
        self.shared.lock().outbound.drain(..).collect()
    }

    /// Takes the link down or up, as a cable would.
    pub fn set_state(&self, state: LinkState) {
        self.shared.lock().state = state;
    }
}

impl Port for MemoryPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> PortKind {
        PortKind::Memory
    }

    fn receive(&mut self, batch: &mut Batch) {
        let mut queues = self.shared.lock();
        if queues.state != LinkState::Up {
            return;
        }
        let count = batch.room().min(queues.inbound.len());
        queues.inbound.drain(..count).for_each(|frame| batch.push(frame));
        if queues.inbound.is_empty() && count > 0 {
            // The lock is held, so that the descriptor is never clear while a frame waits.
            let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        let mut queues = self.shared.lock();
        if queues.state != LinkState::Up {
            return report.drop_all(DropReason::PortDown, frames);
        }
        for frame in frames.drain(..) {
            if queues.outbound.len() < self.shared.limit {
                report.sent(frame.counters());
                queues.outbound.push_back(frame);
            } else {
                report.drop(DropReason::TxFull, frame.counters());
            }
        }
    }

    fn state(&self) -> LinkState {
        self.shared.lock().state
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.wake.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_down_are_counted() {
        let (mut port, peer) = open("m0", 2).unwrap();
        assert!(peer.send(&[1; 60]) && peer.send(&[2; 60]) && !peer.send(&[3; 60]));
        let mut batch = Batch::new();
        port.receive(&mut batch);
        let first: Vec<u8> = batch.frames().iter().map(|f| f.packet.bytes()[0]).collect();
        assert_eq!(first, [1, 2]);

        let mut report = TxReport::default();
        let mut frames = vec![Packet::new(&[0; 60]), Packet::new(&[1; 70]), Packet::new(&[2; 80])];
        port.transmit(&mut frames, &mut report);
        assert_eq!((report.sent.packets, report.sent.bytes, frames.len()), (2, 130, 0));
        peer.set_state(LinkState::Down);
        port.transmit(&mut vec![Packet::new(&[0; 90])], &mut report);
        let why: Vec<_> = report.dropped.iter().map(|(r, c)| (*r, c.bytes)).collect();
        assert_eq!(why, [(DropReason::TxFull, 80), (DropReason::PortDown, 90)]);
        assert_eq!((port.state(), peer.drain().len()), (LinkState::Down, 2));
    }
}
