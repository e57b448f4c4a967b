//! The contract of those who answer upcalls.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::Actions;
use crate::id::PortId;
use crate::key::Key;
use crate::megaflow::Megaflow;
use crate::stats::Moment;

/// Why a packet came up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum UpcallReason {
    /// No megaflow matched.
    Miss,
    /// A `userspace` action with these bytes sent the packet up.
    Action(#[serde(with = "crate::serial::hex")] Vec<u8>),
}

/// A packet that came up.
#[derive(Clone, Copy, Debug)]
pub struct Upcall<'a> {
    /// The key that the lookup used.
    pub key: &'a Key,
    /// The frame as it was at the lookup or at the action.
    pub frame: &'a [u8],
    /// Why the packet came up.
    pub reason: &'a UpcallReason,
}

/// A client's answer to an upcall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Install the megaflow, then look the packet, and those that wait with it, up again: each of
    /// them is counted on the megaflow once, as every other packet. The megaflow must match the
    /// upcall's key.
    Install(Arc<Megaflow>),
    /// Only execute these actions on the packet. An empty list drops the packet, which is counted
    /// as dropped by the client.
    Execute(Actions),
}

/// A client's verdict on an existing megaflow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The megaflow is still right.
    Keep,
    /// The match is still right; the actions have to be these.
    Replace(Actions),
    /// The megaflow is no longer right.
    Remove,
}

/// A port, as a client sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PortLink {
    /// The port's number.
    pub id: PortId,
    /// True if the port has a link. A port without a link neither receives nor sends.
    pub up: bool,
}

/// Something that a client's answers depend on, such as the place of an address. The number means
/// something to the client alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Topic(pub u64);

/// The topics that the answer for one megaflow depends on: a constant number, so that an index of
/// megaflows by topic costs a constant number of look-ups for each.
pub type Topics = [Option<Topic>; 4];

/// Something that changed in what a client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// What the answers that depend on this topic say.
    Topic(Topic),
    /// What any answer says: the client can't name what has changed.
    Everything,
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

/// A client answers upcalls. One thread owns it; it is a function of the calls' arguments and does
/// no I/O.
pub trait Client: Send {
    /// The client's name in the configuration.
    fn name(&self) -> &'static str;

    /// Tells the client the ports that exist now, with their links. It is called before the first
    /// upcall and at each change. The client forgets what it learnt behind a port that is gone or
    /// has no link.
    fn ports(&mut self, ports: &[PortLink]);

    /// Answers an upcall.
    fn upcall(&mut self, upcall: Upcall<'_>, now: Moment) -> Answer;

    /// Lets time pass.
    fn tick(&mut self, _now: Moment) {}

    /// Returns the topics that the answer for this megaflow depends on, as long as none of them
    /// changes. The caller asks when it has the megaflow from an answer, and after each verdict.
    fn topics(&self, _flow: &Megaflow) -> Topics {
        [None; 4]
    }

    /// Returns what changed since the last call, whichever call changed it. The caller then asks
    /// about each megaflow that depends on a topic that changed, and need not ask about others.
    fn changes(&mut self) -> Vec<Changed>;

    /// Compares the megaflow with the one that this client would install now.
    fn revalidate(&mut self, flow: &Megaflow, now: Moment) -> Verdict;

    /// Tells the client that the megaflow was hit, in hardware or on the host, at the moment `at`,
    /// so that what was learnt from its packets does not age.
    fn used(&mut self, flow: &Megaflow, at: Moment);

    /// The learnt addresses as `fdb/show` prints them; empty for a client without any.
    fn show(&self, now: Moment) -> String;

    /// Counts of what was learnt; `None` for a client that learns nothing.
    fn learning(&self) -> Option<Learning> {
        None
    }

    /// Forgets what was learnt.
    fn flush(&mut self);
}
