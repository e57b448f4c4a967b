//! What goes into the engine and what comes out: plain data, so that a run can be recorded and
//! played again.

use std::time::Duration;

use flow::{
    Completion, Dumped, Key, Op, PortId, PortLink, ProviderError, ProviderEvent, Stats, TableUsage,
    Ufid, UpcallReason,
};

/// A hardware provider, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProviderId(pub usize);

/// A place where megaflows live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// The host table.
    Host,
    /// A hardware provider.
    Nic(ProviderId),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A packet came up.
    Upcall {
        /// What to name when it is answered; `None` for a copy that an action sent up: nothing
        /// waits for its answer.
        id: Option<u64>,
        /// Its key.
        key: Box<Key>,
        /// The frame at that point.
        frame: Vec<u8>,
        /// Why it came.
        reason: UpcallReason,
    },
    /// A batch is done.
    Completed {
        /// Where.
        place: Place,
        /// One per op, in order.
        completions: Vec<Completion>,
        /// How long the batch took.
        took: Duration,
    },
    /// A statistics pass is done.
    Stats {
        /// Where.
        place: Place,
        /// All entries, or why not.
        stats: Result<Vec<(Ufid, Stats)>, ProviderError>,
        /// How full the tables are.
        tables: Vec<TableUsage>,
    },
    /// What a device held at start.
    Dumped {
        /// Which.
        provider: ProviderId,
        /// Everything with our cookie.
        found: Vec<Dumped>,
    },
    /// A provider noticed something.
    Provider {
        /// Which.
        provider: ProviderId,
        /// What.
        event: ProviderEvent,
    },
    /// The ports that exist now, with their links.
    Ports(Vec<PortLink>),
    /// Time passed.
    Tick,
}

/// What to do with a packet that came up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answered {
    /// Look it up again, and those that wait with it.
    Reinject,
    /// Do this to it; nothing is a counted drop.
    Execute(flow::Actions),
}

/// What is to be done; in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Operations on a place. One completion each comes back.
    Apply {
        /// Where.
        place: Place,
        /// What.
        ops: Vec<Op>,
    },
    /// Answer to an upcall.
    Resolve {
        /// Which.
        id: u64,
        /// How.
        answer: Answered,
    },
    /// Do this to a frame that nothing waits for.
    Execute {
        /// As if it had come in here.
        port: PortId,
        /// Its bytes.
        frame: Vec<u8>,
        /// What to do.
        actions: flow::Actions,
    },
    /// Read the statistics of a place.
    ReadStats(Place),
    /// Take entries over that a dump showed.
    Adopt {
        /// Which provider.
        provider: ProviderId,
        /// What it takes over.
        found: Vec<Dumped>,
    },
}

/// Why a megaflow was removed; also a metric's label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// No packet for the idle time.
    Idle,
    /// The client says that it is no longer right.
    Revalidated,
    /// An operator removed it.
    Operator,
    /// The host table refused it.
    HostRefused,
    /// An operator's megaflow, which overlaps it, takes its place.
    Displaced,
}

impl Cause {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Idle => "idle",
            Cause::Revalidated => "revalidated",
            Cause::Operator => "operator",
            Cause::HostRefused => "host-refused",
            Cause::Displaced => "displaced",
        }
    }
}
