//! The command channel: puts command records into the ring, takes completions out, and handles a
//! completion that does not come.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::job_time::JobTime;
use crate::open_card::OpenCard;
use crate::ring::command::CardCommand;
use crate::ring::record::{CardCompletion, CommandStatus, RECORD_BYTES};
use crate::ring::{Consumer, Producer};
use crate::sys::Interrupt;

/// The time to wait for an interrupt before the card is looked at again.
const SLICE: Duration = Duration::from_millis(20);
/// The time to sleep between looks where there are no interrupts.
const POLL: Duration = Duration::from_micros(50);

/// What a card did not do in time.
const COMPLETE: &str = "complete a command";

/// One command queue with its completion queue.
pub(crate) struct Channel {
    commands: Producer,
    completions: Consumer,
    interrupt: Option<Interrupt>,
    pub(crate) device: Arc<OpenCard>,
    epoch: u32,
    /// The numbers of the next command and of the next completion; completions come in order.
    sequence: u32,
    completed: u32,
    depth: u32,
    pub(crate) budget: JobTime,
    /// The number of completions of an earlier epoch that the card may still write: at most a full
    /// ring.
    stale: u16,
}

impl Channel {
    pub(crate) fn new(
        commands: Producer,
        completions: Consumer,
        interrupt: Option<Interrupt>,
        device: Arc<OpenCard>,
        epoch: u32,
        depth: u32,
        budget: JobTime,
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
            budget,
            stale,
        }
    }

    /// Returns the number of commands without a completion.
    pub(crate) fn in_flight(&self) -> u32 {
        self.sequence.wrapping_sub(self.completed)
    }

    /// Queues a command; returns false if a completion has to be taken first.
    pub(crate) fn push(&mut self, command: &mut CardCommand) -> Result<bool, Error> {
        if self.in_flight() >= self.depth {
            return Ok(false);
        }
        command.seal(self.sequence, self.epoch);
        let is_queued = self.commands.push(&[&command.bytes])?;
        if is_queued {
            self.sequence = self.sequence.wrapping_add(1);
            self.budget.extend();
        }
        Ok(is_queued)
    }

    /// Returns the next completion, if one has come; it belongs to the oldest command in flight.
    pub(crate) fn poll(&mut self) -> Result<Option<CardCompletion>, Error> {
        while self.in_flight() > 0 && self.completions.waiting()? > 0 {
            let mut record = [0; RECORD_BYTES];
            self.completions.peek(0, 0, &mut record);
            self.completions.advance(1);
            self.completions.give_back(false);
            let completion = CardCompletion::of(&record);
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

    /// Tells the card what is queued and waits for the completion of the oldest command in flight.
    pub(crate) fn wait(&mut self) -> Result<CardCompletion, Error> {
        let start = self.budget.now();
        self.commands.ring();
        loop {
            // The clock is read before the completions: a thread that was stopped in between still
            // finds a completion that came in time.
            let is_late = self.budget.is_over(start);
            if let Some(completion) = self.poll()? {
                self.budget.spend(start, COMPLETE)?;
                return Ok(completion);
            }
            if is_late {
                self.device.check()?;
                return Err(Error::Timeout(COMPLETE));
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

    /// Tells the card what is queued; does not wait.
    pub(crate) fn ring(&mut self) {
        self.commands.ring();
    }

    /// Executes one command alone and accepts any status; nothing else may be in flight.
    pub(crate) fn execute(&mut self, mut command: CardCommand) -> Result<CardCompletion, Error> {
        debug_assert_eq!(self.in_flight(), 0);
        if self.push(&mut command)? {
            return self.wait();
        }
        Err(Error::Unusable("the card has completed its commands and keeps their ring full".into()))
    }

    /// Executes one command alone, and fails if its status is not success.
    pub(crate) fn call(&mut self, command: CardCommand) -> Result<CardCompletion, Error> {
        let completion = self.execute(command)?;
        match completion.status {
            Ok(CommandStatus::Ok) => Ok(completion),
            status => Err(Error::Unusable(format!("the card answers {status:?}"))),
        }
    }
}
