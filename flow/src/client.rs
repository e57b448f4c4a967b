//! The contract of those who answer upcalls.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::Actions;
use crate::id::PortId;
use crate::key::Key;
use crate::megaflow::Megaflow;
use crate::stats::Moment;

/// Why a packet came up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpcallReason {
    /// No megaflow matched.
    Miss,
    /// An `userspace` action sent it; its bytes.
    Action(Vec<u8>),
}

/// A packet that came up.
#[derive(Clone, Copy, Debug)]
pub struct Upcall<'a> {
    /// Its key, as the lookup saw it.
    pub key: &'a Key,
    /// The frame, as it was at that point.
    pub frame: &'a [u8],
    /// Why.
    pub reason: &'a UpcallReason,
}

/// What to do about an upcall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Install the megaflow, then let the packet (and those that wait with it) look up again:
    /// they are counted on it once, as every other packet. It must match the upcall's key.
    Install(Arc<Megaflow>),
    /// Only do this to the packet; empty drops it (counted as dropped by the client).
    Execute(Actions),
}

/// What a client says of an existing megaflow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Still right.
    Keep,
    /// The match is right, the actions are now these.
    Replace(Actions),
    /// No longer right.
    Remove,
}

/// A port, as a client sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PortLink {
    /// Which.
    pub id: PortId,
    /// Has it a link? One without neither receives nor sends.
    pub up: bool,
}

/// What a client learnt from source addresses, in numbers. All but `addresses` and `capacity`
/// only grow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Learning {
    /// Addresses that are known now.
    pub addresses: u64,
    /// Addresses that can be known at once.
    pub capacity: u64,
    /// Addresses that were new when they were learnt.
    pub learned: u64,
    /// Addresses that turned up behind another port.
    pub moved: u64,
    /// Addresses that were not seen for the ageing time.
    pub expired: u64,
    /// Addresses that a full table gave up for newcomers, by the port they were behind.
    pub evicted: BTreeMap<PortId, u64>,
}

/// Who answers upcalls: pure in its arguments, no I/O. One thread owns it.
pub trait Client: Send {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// The ports that exist now, with their links; called before the first upcall and at each
    /// change. What was learnt behind a port that is gone or has no link is forgotten.
    fn ports(&mut self, ports: &[PortLink]);

    /// Answers an upcall.
    fn upcall(&mut self, upcall: Upcall<'_>, now: Moment) -> Answer;

    /// Lets time pass. True if something changed since the last call that may make existing
    /// megaflows wrong: the caller then revalidates all of them.
    fn tick(&mut self, now: Moment) -> bool;

    /// Is the megaflow still what this client would install?
    fn revalidate(&mut self, flow: &Megaflow, now: Moment) -> Verdict;

    /// The megaflow was hit, in hardware or on the host: what was learnt from it is alive.
    fn used(&mut self, flow: &Megaflow, at: Moment);

    /// The learnt addresses as `fdb/show` prints them; empty for a client without any.
    fn show(&self, now: Moment) -> String;

    /// What was learnt, in numbers; `None` for a client that learns nothing.
    fn learning(&self) -> Option<Learning> {
        None
    }

    /// Forgets what was learnt.
    fn flush(&mut self);
}
