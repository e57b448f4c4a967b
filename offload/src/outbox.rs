//! The operations and commands of the current step, sorted by their destination.

use std::collections::BTreeMap;

use flow::{Dumped, Op, Submission, Tag};

use crate::event::{Command, Place, ProviderId};

/// What a step asks for.
#[derive(Default)]
pub(super) struct Outbox {
    /// The number of the last operation.
    last: u64,
    host: Vec<Submission>,
    /// Answers to upcalls.
    answers: Vec<Command>,
    adoptions: Vec<Command>,
    nic: BTreeMap<ProviderId, Vec<Submission>>,
    readings: Vec<Command>,
}

impl Outbox {
    /// Asks for an operation. Returns the tag that its completion will have.
    pub(super) fn apply(&mut self, place: Place, op: Op) -> Tag {
        self.last += 1;
        let tag = Tag(self.last);
        let submission = Submission { tag, op };
        match place {
            Place::Host => self.host.push(submission),
            Place::Nic(provider) => self.nic.entry(provider).or_default().push(submission),
        }
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
        let mut commands = Vec::new();
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
