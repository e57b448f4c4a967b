//! The command channel: records into the ring, completions out of it, and what to do when none
//! come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::error::Error;
use crate::ring::command::Command;
use crate::ring::record::{Completion, RECORD_BYTES, Status};
use crate::ring::{Consumer, Producer};
use crate::sys::Interrupt;

/// Wait for an interrupt before the card is looked at again.
const SLICE: Duration = Duration::from_millis(20);
/// Wait where there are no interrupts.
const POLL: Duration = Duration::from_micros(50);

/// One command queue with its completion queue.
pub(crate) struct Channel {
    commands: Producer,
    completions: Consumer,
    interrupt: Option<Interrupt>,
    pub(crate) device: Arc<Device>,
    epoch: u32,
    /// Number of the next command and of the next completion: they come in order.
    sequence: u32,
    completed: u32,
    depth: u32,
    /// How long a command may take.
    patience: Duration,
    /// Completions of an earlier epoch that the card may still write: no more than its ring holds.
    stale: u16,
}

impl Channel {
    pub(crate) fn new(
        commands: Producer,
        completions: Consumer,
        interrupt: Option<Interrupt>,
        device: Arc<Device>,
        epoch: u32,
        depth: u32,
        patience: Duration,
    ) -> Channel {
        let stale = completions.entries();
        let (sequence, completed) = (0, 0);
        Channel {
            commands,
            completions,
            interrupt,
            device,
            epoch,
            sequence,
            completed,
            depth,
            patience,
            stale,
        }
    }

    /// Commands without a completion.
    pub(crate) fn in_flight(&self) -> u32 {
        self.sequence.wrapping_sub(self.completed)
    }

    /// Queues a command; false if a completion has to be taken first.
    pub(crate) fn push(&mut self, command: &mut Command) -> Result<bool, Error> {
        if self.in_flight() >= self.depth {
            return Ok(false);
        }
        command.seal(self.sequence, self.epoch);
        let is_queued = self.commands.push(&[&command.bytes])?;
        self.sequence = self.sequence.wrapping_add(u32::from(is_queued));
        Ok(is_queued)
    }

    /// The next completion, if it is there; each belongs to the oldest command in flight.
    pub(crate) fn poll(&mut self) -> Result<Option<Completion>, Error> {
        while self.in_flight() > 0 && self.completions.waiting()? > 0 {
            let mut record = [0; RECORD_BYTES];
            self.completions.peek(0, 0, &mut record);
            self.completions.advance(1);
            self.completions.give_back(false);
            let completion = Completion::of(&record);
            if completion.epoch != self.epoch & 0xffff {
                self.stale = self.stale.checked_sub(1).ok_or_else(|| {
                    Error::Unusable("the card keeps sending completions of another epoch".into())
                })?;
                continue;
            }
            if completion.sequence != self.completed {
                let why =
                    format!("completion {} came; expected {}", completion.sequence, self.completed);
                return Err(Error::Unusable(why));
            }
            self.completed = self.completed.wrapping_add(1);
            return Ok(Some(completion));
        }
        Ok(None)
    }

    /// The completion of the oldest command in flight: tells the card what is queued, and waits.
    pub(crate) fn wait(&mut self) -> Result<Completion, Error> {
        self.commands.ring();
        let start = Instant::now();
        loop {
            // Looked at before the completions: a thread that was stopped meanwhile finds them.
            let is_late = start.elapsed() > self.patience;
            if let Some(completion) = self.poll()? {
                return Ok(completion);
            }
            if is_late {
                self.device.check()?;
                return Err(Error::Timeout("complete a command"));
            }
            match &self.interrupt {
                Some(interrupt) => {
                    self.completions.arm();
                    if self.completions.waiting()? == 0 && !interrupt.wait(SLICE) {
                        self.device.check()?;
                    }
                }
                None => std::thread::sleep(POLL),
            }
        }
    }

    /// Tells the card of what is queued without waiting.
    pub(crate) fn ring(&mut self) {
        self.commands.ring();
    }

    /// Executes one command alone, whatever its status; nothing else may be in flight.
    pub(crate) fn execute(&mut self, mut command: Command) -> Result<Completion, Error> {
        debug_assert_eq!(self.in_flight(), 0);
        if self.push(&mut command)? {
            return self.wait();
        }
        Err(Error::Unusable("the card has completed its commands and keeps their ring full".into()))
    }

    /// The same for one that has to succeed.
    pub(crate) fn call(&mut self, command: Command) -> Result<Completion, Error> {
        let completion = self.execute(command)?;
        match completion.status {
            Ok(Status::Ok) => Ok(completion),
            status => Err(Error::Unusable(format!("the card answers {status:?}"))),
        }
    }
}
