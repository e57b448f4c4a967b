//! The wires that the card's ports are plugged into.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use flow::Counters;

use crate::error::Error;
use crate::sys::Interrupt;

/// One wire: frames without FCS in both directions. The card's thread owns it; no call blocks.
pub trait Wire: Send {
    /// Returns the next frame that came in; `None` if there is none now. An error means that the
    /// wire is broken: the card takes its link down and does not call this again.
    fn receive(&mut self) -> io::Result<Option<&[u8]>>;

    /// Returns the frames that came in since the last call and were lost before [`Wire::receive`]
    /// could return them. The bytes count only frames of known length.
    fn lost(&mut self) -> Counters {
        Counters::default()
    }

    /// Takes a frame to send; `Ok(false)` if the wire has no room for it now (the card drops it).
    fn transmit(&mut self, frame: &[u8]) -> io::Result<bool>;

    /// Returns true if the wire carries frames. The card shows this as the port's link.
    fn is_up(&self) -> bool {
        true
    }

    /// Ends a batch of transmits: sends the frames taken since the last call, and returns those
    /// that could not be sent after all.
    fn flush(&mut self) -> io::Result<Unsent> {
        Ok(Unsent::default())
    }

    /// Returns a descriptor that is readable when frames wait. A wire without one is looked at
    /// every millisecond.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// Frames that a wire took and could not send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unsent {
    /// Frames longer than the wire's other side can take.
    pub too_long: Counters,
    /// Frames refused for any other reason.
    pub refused: Counters,
}

/// One direction of a memory wire.
struct Lane {
    frames: Mutex<VecDeque<Vec<u8>>>,
    ready: Interrupt,
    capacity: usize,
}

impl Lane {
    fn new(capacity: usize) -> Result<Arc<Lane>, Error> {
        Ok(Arc::new(Lane { frames: Mutex::default(), ready: Interrupt::new()?, capacity }))
    }

    fn push(&self, frame: Vec<u8>) -> bool {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.len() >= self.capacity {
            return false;
        }
        frames.push_back(frame);
        if frames.len() == 1 {
            self.ready.raise();
        }
        true
    }

    fn pop(&self) -> Option<Vec<u8>> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = frames.pop_front();
        if frames.is_empty() {
            self.ready.clear();
        }
        frame
    }
}

/// One end of a wire in memory; each end sends to the other.
pub struct MemoryWire {
    incoming: Arc<Lane>,
    outgoing: Arc<Lane>,
    current: Vec<u8>,
}

impl MemoryWire {
    /// Creates both ends of a wire; each direction holds up to the given number of frames.
    pub fn pair(capacity: usize) -> Result<(MemoryWire, MemoryWire), Error> {
        let (a, b) = (Lane::new(capacity)?, Lane::new(capacity)?);
        let end = |incoming: &Arc<Lane>, outgoing: &Arc<Lane>| MemoryWire {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            current: Vec::new(),
        };
        Ok((end(&a, &b), end(&b, &a)))
    }

    /// Takes the next frame that came in.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.incoming.pop()
    }

    /// Waits for a frame.
    pub fn wait(&mut self, timeout: std::time::Duration) -> Option<Vec<u8>> {
        self.take().or_else(|| {
            self.incoming.ready.wait(timeout);
            self.take()
        })
    }
}

impl Wire for MemoryWire {
    fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        match self.incoming.pop() {
            Some(frame) => {
                self.current = frame;
                Ok(Some(&self.current))
            }
            None => Ok(None),
        }
    }

    fn transmit(&mut self, frame: &[u8]) -> io::Result<bool> {
        Ok(self.outgoing.push(frame.to_vec()))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.incoming.ready.as_fd())
    }
}
