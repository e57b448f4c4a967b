//! The operations and commands of the current step, sorted by their destination.

use std::collections::BTreeMap;

use flow::{Dumped, Op, Submission, Tag};

use crate::event::{Command, Place, ProviderId};
use crate::sets::FlowId;
use crate::walks::SLICE;

/// Whose the operations on rules are that are no megaflow's.
const NOBODY: FlowId = FlowId(u32::MAX);

/// Returns the megaflow that an operation with this tag was about.
pub(super) fn flow_of(tag: Tag) -> FlowId {
    #[allow(clippy::cast_possible_truncation, reason = "the number is in the lower half")]
    FlowId(tag.0 as u32)
}

/// What a step asks for.
#[derive(Default)]
pub(super) struct Outbox {
    /// The number of the last operation, cut to 32 bits: far fewer are in flight.
    last: u32,
    host: Vec<Submission>,
    /// Answers to upcalls.
    answers: Vec<Command>,
    adoptions: Vec<Command>,
    nic: BTreeMap<ProviderId, Vec<Submission>>,
    readings: Vec<Command>,
}

impl Outbox {
    /// Asks for an operation on a megaflow, or on a rule that is no megaflow's. Returns the tag
    /// that its completion will have.
    pub(super) fn apply(&mut self, place: Place, op: Op, of: Option<FlowId>) -> Tag {
        self.last = self.last.wrapping_add(1);
        let FlowId(number) = of.unwrap_or(NOBODY);
        let tag = Tag(u64::from(self.last) << 32 | u64::from(number));
        let ops = match place {
            Place::Host => &mut self.host,
            Place::Nic(provider) => self.nic.entry(provider).or_default(),
        };
        if ops.is_empty() {
            ops.reserve(SLICE as usize);
        }
        ops.push(Submission { tag, op });
        tag
    }

    pub(super) fn answer(&mut self, answer: Command) {
        self.answers.push(answer);
    }

    pub(super) fn adopt(&mut self, provider: ProviderId, found: Vec<Dumped>) {
        self.adoptions.push(Command::Adopt { provider, found });
    }

    pub(super) fn read(&mut self, place: Place) {
        self.readings.push(Command::ReadStats(place));
    }

    pub(super) fn dump(&mut self, provider: ProviderId) {
        self.readings.push(Command::Dump(provider));
    }

    /// Takes everything in the order in which it is to be carried out: first the operations on the
    /// host table (a megaflow is installed there first), then the packets that wait for these,
    /// then adoptions and the operations on the adopted megaflows, and last the readings.
    pub(super) fn take(&mut self) -> Vec<Command> {
        let empty = Outbox { last: self.last, ..Outbox::default() };
        let Outbox { host, answers, adoptions, nic, readings, .. } = std::mem::replace(self, empty);
        let mut commands = Vec::with_capacity(answers.len() + adoptions.len() + readings.len() + 4);
        if !host.is_empty() {
            commands.push(Command::Apply { place: Place::Host, ops: host });
        }
        commands.extend(answers);
        commands.extend(adoptions);
        let of_nic = |(provider, ops)| Command::Apply { place: Place::Nic(provider), ops };
        commands.extend(nic.into_iter().map(of_nic));
        commands.extend(readings);
        commands
    }
}
