//! The command channel: puts command records into the ring, takes completions out in any order,
//! and notices a completion that does not come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::job_time::JobTime;
use crate::open_card::OpenCard;
use crate::ring::command::CardCommand;
use crate::ring::record::{CardCompletion, RECORD_BYTES};
use crate::ring::{Consumer, Producer};
use crate::sys::Interrupt;

/// The time to wait for an interrupt before the card is looked at again.
const SLICE: Duration = Duration::from_millis(20);
/// The time to sleep between looks where there are no interrupts.
const POLL: Duration = Duration::from_micros(50);

/// What a card did not do in time.
pub(crate) const COMPLETE: &str = "complete a command";

/// A command without a completion.
struct Slot<P> {
    sequence: u32,
    purpose: P,
    /// The time at which the command has to be done.
    due: Duration,
}

/// One command queue with its completion queue. Every command has a purpose, which comes back with
/// its completion.
pub(crate) struct Channel<P> {
    commands: Producer,
    completions: Consumer,
    interrupt: Option<Interrupt>,
    pub(crate) device: Arc<OpenCard>,
    epoch: u32,
    /// The number of the next command.
    sequence: u32,
    /// The number of the oldest command in flight, or of the next one if there is none.
    oldest: u32,
    /// The commands in flight, each in the slot of its number modulo the depth, a power of two.
    slots: Vec<Option<Slot<P>>>,
    in_flight: usize,
    /// Commands that wait for room in the ring.
    backlog: VecDeque<(CardCommand, P)>,
    pub(crate) time: JobTime,
    /// The number of completions of an earlier epoch that the card may still write: at most a full
    /// ring.
    stale: u16,
}

impl<P> Channel<P> {
    pub(crate) fn new(
        commands: Producer,
        completions: Consumer,
        interrupt: Option<Interrupt>,
        device: Arc<OpenCard>,
        epoch: u32,
        time: JobTime,
    ) -> Channel<P> {
        let stale = completions.entries();
        Channel {
            slots: (0..stale).map(|_| None).collect(),
            commands,
            completions,
            interrupt,
            device,
            epoch,
            sequence: 0,
            oldest: 0,
            in_flight: 0,
            backlog: VecDeque::new(),
            time,
            stale,
        }
    }

    fn at(&self, sequence: u32) -> usize {
        sequence as usize & (self.slots.len() - 1)
    }

    /// Returns the number of commands without a completion.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the number that a command gets which is sent next.
    pub(crate) fn end(&self) -> u32 {
        self.sequence.wrapping_add(crate::int::to_u32(self.backlog.len()))
    }

    /// Returns true if every command before the one of this number has a completion.
    pub(crate) fn is_done_before(&self, number: u32) -> bool {
        // Numbers wrap; far fewer than half of them are in flight.
        number.wrapping_sub(self.oldest).cast_signed() <= 0
    }

    /// Returns true if no command waits for room in the ring.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Queues a command behind all others.
    pub(crate) fn send(&mut self, mut command: CardCommand, purpose: P) -> Result<(), Error> {
        if self.backlog.is_empty()
            && let Some(slot) = self.push(&mut command)?
        {
            self.fill(slot, purpose);
            return Ok(());
        }
        self.backlog.push_back((command, purpose));
        Ok(())
    }

    /// Moves waiting commands into the ring as far as there is room, and tells the card of them.
    pub(crate) fn ring(&mut self) -> Result<(), Error> {
        while let Some((mut command, purpose)) = self.backlog.pop_front() {
            match self.push(&mut command)? {
                Some(slot) => self.fill(slot, purpose),
                None => {
                    self.backlog.push_front((command, purpose));
                    break;
                }
            }
        }
        self.commands.ring();
        Ok(())
    }

    /// Writes a command into the ring; returns its slot, or `None` if there is no room.
    fn push(&mut self, command: &mut CardCommand) -> Result<Option<usize>, Error> {
        let slot = self.at(self.sequence);
        if self.slots[slot].is_some() {
            return Ok(None);
        }
        command.seal(self.sequence, self.epoch);
        Ok(self.commands.push(&[&command.bytes])?.then_some(slot))
    }

    fn fill(&mut self, slot: usize, purpose: P) {
        let due = self.time.command(self.in_flight);
        self.slots[slot] = Some(Slot { sequence: self.sequence, purpose, due });
        self.sequence = self.sequence.wrapping_add(1);
        self.in_flight += 1;
    }

    /// Returns a completion that has come, with the purpose of its command.
    pub(crate) fn take(&mut self) -> Result<Option<(P, CardCompletion)>, Error> {
        while self.completions.waiting()? > 0 {
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
            let sequence = completion.sequence;
            let at = self.at(sequence);
            let found = self.slots[at].take_if(|slot| slot.sequence == sequence);
            let Some(slot) = found else {
                let why = format!("completion {sequence} came; no such command is in flight");
                return Err(Error::Unusable(why));
            };
            self.in_flight -= 1;
            while self.oldest != self.sequence && self.slots[self.at(self.oldest)].is_none() {
                self.oldest = self.oldest.wrapping_add(1);
            }
            return Ok(Some((slot.purpose, completion)));
        }
        Ok(None)
    }

    /// Fails if the oldest command in flight should have been done at this time, which was read
    /// before the completions.
    pub(crate) fn check(&self, time: Duration) -> Result<(), Error> {
        match &self.slots[self.at(self.oldest)] {
            Some(slot) if slot.due <= time => self.late(COMPLETE),
            _ => Ok(()),
        }
    }

    /// Returns the error of a card that is too slow.
    pub(crate) fn late(&self, what: &'static str) -> Result<(), Error> {
        self.device.check()?;
        Err(Error::Timeout(what))
    }

    /// Sleeps until the card may have completed a command, at most for a short while and for
    /// `most`; returns the time that it meant to sleep.
    pub(crate) fn nap(&self, most: Duration) -> Result<Duration, Error> {
        let Some(interrupt) = &self.interrupt else {
            std::thread::sleep(POLL.min(most));
            return Ok(POLL.min(most));
        };
        self.completions.arm();
        if self.completions.waiting()? == 0 && !interrupt.wait(SLICE.min(most)) {
            self.device.check()?;
        }
        Ok(SLICE.min(most))
    }
}
