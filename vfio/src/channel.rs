//! The command channel: records into the ring, completions out of it, and what to do when none
//! come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::Device;
use crate::error::Error;
use crate::ring::command::Command;
use crate::ring::record::{Completion, RECORD_BYTES, Status};
use crate::ring::{Consumer, Producer};
use crate::sys::Interrupt;

/// The text's time for a command.
const PATIENCE: Duration = Duration::from_secs(2);
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
}

impl Channel {
    pub(crate) fn new(
        commands: Producer,
        completions: Consumer,
        interrupt: Option<Interrupt>,
        device: Arc<Device>,
        epoch: u32,
        depth: u32,
    ) -> Channel {
        let (sequence, completed) = (0, 0);
        Channel { commands, completions, interrupt, device, epoch, sequence, completed, depth }
    }

    /// Commands without a completion.
    pub(crate) fn in_flight(&self) -> u32 {
        self.sequence.wrapping_sub(self.completed)
    }

    /// Is there room for that many more commands?
    pub(crate) fn fits(&mut self, count: usize) -> bool {
        let room = self.depth - self.in_flight();
        count <= room as usize && count <= usize::from(self.commands.room())
    }

    /// Queues a command; the caller has made sure that it fits.
    pub(crate) fn push(&mut self, mut command: Command) {
        command.seal(self.sequence, self.epoch);
        let taken = self.commands.push(&[&command.bytes]);
        debug_assert!(taken, "the caller asked for room");
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// The next completion, if it is there; each belongs to the oldest command in flight.
    pub(crate) fn poll(&mut self) -> Result<Option<Completion>, Error> {
        while self.in_flight() > 0 && self.completions.waiting() > 0 {
            let mut record = [0; RECORD_BYTES];
            self.completions.peek(0, 0, &mut record);
            self.completions.advance(1);
            self.completions.give_back(false);
            let completion = Completion::of(&record);
            if completion.epoch != self.epoch & 0xffff {
                continue;
            }
            if completion.sequence != self.completed {
                let why =
                    format!("completion {} where {} was due", completion.sequence, self.completed);
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
            if let Some(completion) = self.poll()? {
                return Ok(completion);
            }
            match &self.interrupt {
                Some(interrupt) => {
                    self.completions.arm();
                    if self.completions.waiting() == 0 && !interrupt.wait(SLICE) {
                        self.device.check()?;
                    }
                }
                None => std::thread::sleep(POLL),
            }
            if start.elapsed() > PATIENCE && self.completions.waiting() == 0 {
                self.device.check()?;
                return Err(Error::Timeout("complete a command"));
            }
        }
    }

    /// Tells the card of what is queued without waiting.
    pub(crate) fn ring(&mut self) {
        self.commands.ring();
    }

    /// Executes one command alone, whatever its status; nothing else may be in flight.
    pub(crate) fn execute(&mut self, command: Command) -> Result<Completion, Error> {
        debug_assert_eq!(self.in_flight(), 0);
        self.push(command);
        self.wait()
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
