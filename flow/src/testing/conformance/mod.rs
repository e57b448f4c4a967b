//! The conformance suite: every sentence of the contract of a [`Provider`] as a check.
//!
//! A provider passes if [`conforms`] says so about a [`Rig`] with it. The bench keeps a slow and
//! obvious twin of the device and compares everything that the provider says with it: each
//! completion, each entry of each part of a reading. A check is only a way to use the provider.
//!
//! Each check, and the sentences of the contract that are in it:
//! - *operations have exactly one end each*: `poll` delivers exactly one completion for each
//!   operation, under its tag, and waits only if something is in flight
//! - *submit takes what there is room for*: at most `window` operations are in flight; they are
//!   taken from the front of the queue, and the rest stays
//! - *order for one ufid*: its operations take effect, and are completed, in their order
//! - *exists and not found*: what these errors mean; an operation that failed stops no other, and
//!   leaves the table as it was
//! - *refusals are those of the admission*: what it admits is taken, what it refuses is refused
//! - *a full table*: `Full`, until something is removed
//! - *final counters*: statistics are absolute since the install; an end has every hit
//! - *readings in parts*: of about 256, by cursor, what rests is there once, operations in between
//! - *readings and operations in flight*: a part tells of no completion that is not delivered yet
//! - *a reading that is given up*: a caller may begin anew at any time
//! - *dump and adopt*: ufid, generation and megaflow; what could be adopted; `tables`
//! - *what the device has lost*: readings are of the device and not of a memory
//! - *counters of ports*: `traffic`
//! - *anything in any order*: all of these at once
//! - *a device that goes and comes back*: `Gone` for each operation and reading, told once; what
//!   `reopen` says; the start after it
//! - *a process that dies, and the next one*: what a dropped provider left is adopted as if this
//!   process had installed it
//! - *close leaves nothing*: nothing of ours
//!
//! Not here: one thread owns a provider, and any may use its admission (the types say so); what
//! may take how long (no check reads a clock, but for waits without end: a device that is slow or
//! silent is its provider's to test); make-before-break (packets would have to flow meanwhile).

mod bench;
mod device;
mod operations;
mod random;
mod readings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::action::Actions;
use crate::megaflow::Megaflow;
use crate::provider::Provider;
use crate::stats::Counters;

use bench::Bench;

/// The number of megaflows that a rig's device has room for, at least: enough for three parts of a
/// reading.
pub const MANY: usize = 600;

/// A provider with its device, and hands on the device. The device has nothing of ours at first.
pub trait Rig {
    /// The provider.
    fn provider(&mut self) -> &mut dyn Provider;

    /// The `n`-th megaflow that the provider admits, with an output or a drop as actions. No two of
    /// them overlap. There are at least [`MANY`]; `None` behind the last one. A device of known
    /// capacity is filled with them if there are enough.
    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>>;

    /// Other actions for that megaflow, which the provider admits too.
    fn other_actions(&self, flow: &Megaflow) -> Actions;

    /// Actions which the provider refuses for every megaflow; `None` if it refuses none.
    fn refused_actions(&self) -> Option<Actions>;

    /// Sends that many packets that hit the megaflow in the device, and returns after the device
    /// has counted them. Returns what the device counted; `None` if this rig can't send.
    fn hit(&mut self, flow: &Megaflow, packets: u64) -> Option<Counters>;

    /// Takes a megaflow out of the device behind the provider's back. Returns false if this rig
    /// can't.
    fn lose(&mut self, _flow: &Megaflow) -> bool {
        false
    }

    /// Lets the provider die without its end on purpose, and makes another one on the same device.
    /// Returns false if this rig can't.
    fn restart(&mut self) -> bool {
        false
    }

    /// Takes the device away from the provider, by surprise. Returns false if this rig can't.
    fn take_away(&mut self) -> bool {
        false
    }

    /// Gives the device back, in whatever state. Returns false if this rig can't.
    fn give_back(&mut self) -> bool {
        false
    }

    /// The number of things of ours in the device as somebody else sees them, after the provider
    /// was closed; `None` if nobody else can look.
    fn left_behind(&mut self) -> Option<u64> {
        None
    }
}

/// Why a check did not pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The provider breaks the contract: the sentence that is broken, and how.
    Broken(String),
    /// The check can't be made on this rig, and why.
    NotHere(String),
}

/// One check: it begins on a device with nothing of ours, and uses the rig up.
pub type Check = fn(&mut dyn Rig) -> Result<(), Finding>;

/// All checks, by name.
pub const CHECKS: &[(&str, Check)] = &[
    ("operations have exactly one end each", |rig| operations::ends(&mut Bench::new(rig))),
    ("submit takes what there is room for", |rig| operations::window(&mut Bench::new(rig))),
    ("order for one ufid", |rig| operations::order(&mut Bench::new(rig))),
    ("exists and not found", |rig| operations::errors(&mut Bench::new(rig))),
    ("refusals are those of the admission", |rig| operations::refusals(&mut Bench::new(rig))),
    ("a full table", |rig| operations::full(&mut Bench::new(rig))),
    ("final counters", |rig| readings::counters(&mut Bench::new(rig))),
    ("readings in parts", |rig| readings::parts(&mut Bench::new(rig))),
    ("readings and operations in flight", |rig| readings::undelivered(&mut Bench::new(rig))),
    ("a reading that is given up", |rig| readings::given_up(&mut Bench::new(rig))),
    ("dump and adopt", |rig| readings::adopt(&mut Bench::new(rig))),
    ("what the device has lost", |rig| readings::lost(&mut Bench::new(rig))),
    ("counters of ports", |rig| readings::traffic(&mut Bench::new(rig))),
    ("anything in any order", |rig| random::anything(&mut Bench::new(rig), 1)),
    ("a device that goes and comes back", |rig| device::gone(&mut Bench::new(rig))),
    ("a process that dies, and the next one", |rig| device::restarted(&mut Bench::new(rig))),
    ("close leaves nothing", |rig| device::close(&mut Bench::new(rig))),
];

/// What the suite found about a provider; shown, it is a line for each check.
#[derive(Clone, Debug, Default)]
pub struct Conformance(pub Vec<(&'static str, Result<(), Finding>)>);

impl Conformance {
    /// The names of the checks that found the contract broken; a provider conforms without any.
    pub fn broken(&self) -> impl Iterator<Item = &'static str> {
        let is_broken = |result: &Result<(), Finding>| matches!(result, Err(Finding::Broken(_)));
        self.0.iter().filter(move |(_, result)| is_broken(result)).map(|(name, _)| *name)
    }

    /// The names of the checks that could not be made.
    pub fn not_made(&self) -> impl Iterator<Item = &'static str> {
        let is_open = |result: &Result<(), Finding>| matches!(result, Err(Finding::NotHere(_)));
        self.0.iter().filter(move |(_, result)| is_open(result)).map(|(name, _)| *name)
    }
}

impl fmt::Display for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, result)| match result {
            Ok(()) => writeln!(f, "passed    {name}"),
            Err(Finding::NotHere(why)) => writeln!(f, "not here  {name}: {why}"),
            Err(Finding::Broken(how)) => writeln!(f, "BROKEN    {name}: {how}"),
        })
    }
}

/// Makes all checks, each with a new rig.
pub fn conforms<R: Rig>(mut rig: impl FnMut() -> R) -> Conformance {
    let made = CHECKS.iter().map(|(name, check)| (*name, check(&mut rig())));
    Conformance(made.collect())
}
