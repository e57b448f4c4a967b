//! A port without queues, for several workers: the first one receives, all of them send.
//!
//! A lock is taken by whoever receives or sends a burst. Only the first worker checks the device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow::packet::Packet;
use rustix::event::{EventfdFlags, eventfd};

use super::{Batch, LinkState, Port, PortError, PortKind, TxReport};

/// One worker's part of the port.
struct SharedPort {
    port: Arc<Mutex<Box<dyn Port>>>,
    is_first: bool,
    name: String,
    kind: PortKind,
    takes_unfinished: bool,
    /// The port's state and trouble when this part looked at it last.
    state: LinkState,
    trouble: Option<String>,
    /// A copy of the port's descriptor as it was before the last sleep; `None` if there is none.
    /// Those who only send have one that is never readable.
    readable: Option<OwnedFd>,
}

/// Makes parts of a port for that many workers. The port itself is the part of a single one.
pub fn share(port: Box<dyn Port>, workers: usize) -> Result<Vec<Box<dyn Port>>, PortError> {
    if workers == 1 {
        return Ok(vec![port]);
    }
    let (name, kind) = (port.name().to_owned(), port.kind());
    let (takes_unfinished, state) = (port.takes_unfinished(), port.state());
    let trouble = port.trouble().map(str::to_owned);
    let port = Arc::new(Mutex::new(port));
    let part = |worker| {
        let readable = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let readable = readable.map_err(|error| PortError::System {
            port: name.clone(),
            what: "eventfd",
            source: error.into(),
        })?;
        Ok(Box::new(SharedPort {
            port: port.clone(),
            is_first: worker == 0,
            name: name.clone(),
            kind,
            takes_unfinished,
            state,
            trouble: trouble.clone(),
            readable: Some(readable),
        }) as Box<dyn Port>)
    };
    (0..workers).map(part).collect()
}

impl SharedPort {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Port>> {
        // A worker that dies ends the datapath.
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port for SharedPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> PortKind {
        self.kind
    }

    fn receive(&mut self, batch: &mut Batch) {
        if self.is_first {
            let mut port = self.lock();
            port.receive(batch);
            let state = port.state();
            drop(port);
            self.state = state;
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        let mut port = self.lock();
        port.transmit(frames, report);
        let state = port.state();
        drop(port);
        self.state = state;
    }

    fn takes_unfinished(&self) -> bool {
        self.takes_unfinished
    }

    fn state(&self) -> LinkState {
        self.state
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn check(&mut self) {
        let mut port = self.lock();
        if self.is_first {
            port.check();
        }
        let (state, trouble) = (port.state(), port.trouble().map(str::to_owned));
        drop(port);
        (self.state, self.trouble) = (state, trouble);
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.readable.as_ref().map(AsFd::as_fd)
    }

    fn arm(&mut self) {
        if self.is_first {
            let mut port = self.lock();
            port.arm();
            // Without a copy the port is polled.
            let readable = port.readable().and_then(|fd| fd.try_clone_to_owned().ok());
            drop(port);
            self.readable = readable;
        }
    }

    fn overruns(&mut self) -> u64 {
        if self.is_first { self.lock().overruns() } else { 0 }
    }

    fn mtu(&self) -> Option<u32> {
        self.lock().mtu()
    }

    fn queues(&self) -> usize {
        if self.is_first { self.lock().queues() } else { 0 }
    }

    fn way(&self) -> Option<&'static str> {
        self.lock().way()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory;

    #[test]
    fn one_worker_receives_and_all_of_them_send() {
        let (port, peer) = memory::open("m", 8).unwrap();
        let mut parts = share(Box::new(port), 3).unwrap();
        assert!(peer.send(&[1; 60]) && peer.send(&[2; 60]));
        let received = |part: &mut Box<dyn Port>| {
            let mut batch = Batch::new();
            part.receive(&mut batch);
            batch.frames().len()
        };
        assert_eq!((received(&mut parts[1]), received(&mut parts[0])), (0, 2));
        for part in &mut parts {
            let mut report = TxReport::default();
            part.transmit(&mut vec![Packet::new(&[0; 60])], &mut report);
            part.arm();
            assert_eq!((report.sent.packets, part.readable().is_some()), (1, true));
        }
        assert_eq!(peer.drain().len(), 3);
        peer.set_state(LinkState::Down);
        parts.iter_mut().for_each(|part| part.check());
        assert!(parts.iter().all(|part| part.state() == LinkState::Down));
    }
}
