//! The operations and commands of the current step, sorted by their destination.

use std::collections::BTreeMap;

use flow::{Dumped, Op};

use crate::event::{Command, Place, ProviderId};

/// What a step asks for.
#[derive(Default)]
pub(super) struct Outbox {
    host: Vec<Op>,
    /// Answers to upcalls.
    answers: Vec<Command>,
    adoptions: Vec<Command>,
    nic: BTreeMap<ProviderId, Vec<Op>>,
    readings: Vec<Command>,
}

impl Outbox {
    pub(super) fn apply(&mut self, place: Place, op: Op) {
        match place {
            Place::Host => self.host.push(op),
            Place::Nic(provider) => self.nic.entry(provider).or_default().push(op),
        }
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

    /// Returns the operations for each hardware provider: their number.
    pub(super) fn queued(&self) -> impl Iterator<Item = (ProviderId, usize)> + '_ {
        self.nic.iter().map(|(provider, ops)| (*provider, ops.len()))
    }

    /// Takes everything in the order in which it is to be carried out: first the operations on the
    /// host table (a megaflow is installed there first), then the packets that wait for these,
    /// then adoptions and the operations on the adopted megaflows, and last the readings of
    /// statistics, which thus see all operations of the step.
    pub(super) fn take(&mut self) -> Vec<Command> {
        let Outbox { host, answers, adoptions, nic, readings } = std::mem::take(self);
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
