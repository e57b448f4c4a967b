//! The packet rings of one port, as hostdp's `fpga` port uses them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow::exception::{CardPort, MissDescriptor, MissReason};
use flow::{Moment, RecircId};

use crate::open_card::OpenCard;
use crate::register::PortWindow;
use crate::ring::packet::{DESCRIPTOR_BYTES, ExceptionReason, rx, tx};
use crate::ring::{Consumer, Producer};
use crate::sys::Interrupt;

/// The interval at which an idle port checks whether the card is still there.
const CHECK: Duration = Duration::from_millis(100);

/// The rings of a port in one life of the card.
pub(crate) struct PortRings {
    pub(crate) rx: Consumer,
    pub(crate) tx: Producer,
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) window: PortWindow,
    pub(crate) device: Arc<OpenCard>,
}

/// The place where a card that was opened again leaves a port's new rings.
pub(crate) type NextRings = Arc<Mutex<Option<PortRings>>>;

/// One wire port of a card. Its rings are new after each opening of the card: a port whose card is
/// gone takes them when they are there. What the old rings held is lost.
pub struct RingPort {
    number: u16,
    rings: PortRings,
    next: NextRings,
    /// The longest frame that both the card and a slot take.
    longest: usize,
    frame: Vec<u8>,
    checked: Moment,
}

impl RingPort {
    pub(crate) fn new(number: u16, rings: PortRings, next: NextRings, longest: usize) -> RingPort {
        let longest = longest.min(rings.rx.stride() - DESCRIPTOR_BYTES);
        let checked = rings.device.clock.now();
        RingPort { number, rings, next, longest, frame: Vec::new(), checked }
    }

    /// Fails if the card is gone; takes the new rings if it is there again.
    fn trust(&mut self) -> io::Result<()> {
        if let Err(error) = self.rings.device.trust() {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.rings = next.ok_or(error)?;
        }
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        self.trust()?;
        Ok(self.rings.device.check()?)
    }

    fn push(&mut self, record: &[u8], frame: &[u8]) -> io::Result<bool> {
        self.trust()?;
        let is_queued = self.rings.tx.push(&[record, frame]);
        Ok(is_queued.inspect_err(|error| self.rings.device.distrust(error))?)
    }

    fn descriptor(record: &[u8; DESCRIPTOR_BYTES]) -> MissDescriptor {
        let reason = match rx::REASON.get8(record) {
            n if n == ExceptionReason::ToHost as u8 => MissReason::ToHost,
            n if n == ExceptionReason::RecircLimit as u8 => MissReason::RecircLimit,
            // A card that is not looking packets up hands them over as misses.
            _ => MissReason::Miss,
        };
        MissDescriptor {
            reason,
            recirc_id: RecircId(rx::RECIRC_ID.get32(record)),
            dp_hash: 0,
            original_len: rx::ORIGINAL.get32(record),
        }
    }
}

impl CardPort for RingPort {
    fn receive(
        &mut self,
        max: usize,
        sink: &mut dyn FnMut(MissDescriptor, &[u8]),
    ) -> io::Result<usize> {
        self.trust()?;
        let rings = &mut self.rings;
        let waiting = rings.rx.waiting().inspect_err(|error| rings.device.distrust(error))?;
        let waiting = usize::from(waiting).min(max);
        for _ in 0..waiting {
            let mut record = [0; DESCRIPTOR_BYTES];
            rings.rx.peek(0, 0, &mut record);
            // Only a broken card writes a length that exceeds the slot; the packet is cut to the
            // slot.
            let room = rings.rx.stride() - DESCRIPTOR_BYTES;
            let length = (rx::LENGTH.get32(&record) as usize).min(room);
            self.frame.resize(length, 0);
            rings.rx.peek(0, DESCRIPTOR_BYTES, &mut self.frame);
            rings.rx.advance(1);
            sink(RingPort::descriptor(&record), &self.frame);
        }
        if waiting > 0 {
            rings.rx.give_back(false);
            return Ok(waiting);
        }
        let now = rings.device.clock.now();
        if now.since(self.checked) > CHECK {
            self.checked = now;
            rings.device.check()?;
        }
        Ok(waiting)
    }

    fn transmit(&mut self, frame: &[u8]) -> io::Result<bool> {
        // A frame that can't be sent at all is not taken; the caller counts it as dropped.
        if !(14..=self.longest).contains(&frame.len()) {
            return Ok(false);
        }
        let mut record = [0; DESCRIPTOR_BYTES];
        tx::LENGTH.put(&mut record, frame.len() as u64);
        tx::OUT_PORT.put(&mut record, u64::from(self.number));
        if self.push(&record, frame)? {
            return Ok(true);
        }
        self.rings.tx.ring();
        self.push(&record, frame)
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn kick(&mut self) -> io::Result<()> {
        self.rings.tx.ring();
        Ok(())
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.rings.interrupt.as_ref().map(AsFd::as_fd)
    }

    fn arm(&mut self) -> io::Result<()> {
        self.trust()?;
        if let Some(interrupt) = &self.rings.interrupt {
            interrupt.clear();
        }
        self.rings.rx.give_back(true);
        self.rings.rx.arm();
        self.check()
    }

    fn link(&mut self) -> io::Result<bool> {
        self.check()?;
        Ok(self.rings.window.link()?)
    }
}

impl Drop for PortRings {
    fn drop(&mut self) {
        if self.device.check().is_ok() {
            self.rx.disable();
            self.tx.disable();
        }
    }
}
