//! The packet rings of one port, as hostdp's `fpga` port uses them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
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

/// The rings of one wire port.
pub struct RingPort {
    number: u16,
    rx: Consumer,
    tx: Producer,
    interrupt: Option<Interrupt>,
    window: PortWindow,
    device: Arc<OpenCard>,
    /// The longest frame that both the card and a slot take.
    longest: usize,
    frame: Vec<u8>,
    checked: Moment,
}

impl RingPort {
    pub(crate) fn new(
        number: u16,
        rx: Consumer,
        tx: Producer,
        interrupt: Option<Interrupt>,
        window: PortWindow,
        device: Arc<OpenCard>,
        longest: usize,
    ) -> RingPort {
        let longest = longest.min(rx.stride() - DESCRIPTOR_BYTES);
        let checked = device.clock.now();
        RingPort { number, rx, tx, interrupt, window, device, longest, frame: Vec::new(), checked }
    }

    pub(crate) fn window(&self) -> PortWindow {
        self.window.clone()
    }

    fn push(&mut self, record: &[u8], frame: &[u8]) -> io::Result<bool> {
        self.device.trust()?;
        let is_queued = self.tx.push(&[record, frame]);
        Ok(is_queued.inspect_err(|error| self.device.distrust(error))?)
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
        self.device.trust()?;
        let waiting = self.rx.waiting().inspect_err(|error| self.device.distrust(error))?;
        let waiting = usize::from(waiting).min(max);
        for _ in 0..waiting {
            let mut record = [0; DESCRIPTOR_BYTES];
            self.rx.peek(0, 0, &mut record);
            // Only a broken card writes a length that exceeds the slot; the packet is cut to the
            // slot.
            let room = self.rx.stride() - DESCRIPTOR_BYTES;
            let length = (rx::LENGTH.get32(&record) as usize).min(room);
            self.frame.resize(length, 0);
            self.rx.peek(0, DESCRIPTOR_BYTES, &mut self.frame);
            self.rx.advance(1);
            sink(RingPort::descriptor(&record), &self.frame);
        }
        if waiting > 0 {
            self.rx.give_back(false);
            return Ok(waiting);
        }
        let now = self.device.clock.now();
        if now.since(self.checked) > CHECK {
            self.checked = now;
            self.device.check()?;
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
        self.tx.ring();
        self.push(&record, frame)
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn kick(&mut self) -> io::Result<()> {
        self.tx.ring();
        Ok(())
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.interrupt.as_ref().map(AsFd::as_fd)
    }

    fn arm(&mut self) -> io::Result<()> {
        if let Some(interrupt) = &self.interrupt {
            interrupt.clear();
        }
        self.rx.give_back(true);
        self.rx.arm();
        self.device.check()?;
        Ok(())
    }

    fn link(&mut self) -> io::Result<bool> {
        self.device.check()?;
        Ok(self.window.link()?)
    }
}

impl Drop for RingPort {
    fn drop(&mut self) {
        if self.device.check().is_ok() {
            self.rx.disable();
            self.tx.disable();
        }
    }
}
