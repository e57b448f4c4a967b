//! The engine's input and output: plain data, so that a run can be recorded and replayed.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use flow::{
    Admission, Completion, Dumped, Key, PortId, PortLink, ProviderError, ProviderEvent, Stats,
    Submission, TableUsage, Ufid, UpcallReason,
};

use crate::request::{Request, RequestError, Response, Token};

/// A hardware provider, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ProviderId(pub usize);

/// A place where megaflows live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Place {
    /// The host table.
    Host,
    /// A hardware provider.
    Nic(ProviderId),
}

/// A packet for the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpcallPacket {
    /// The upcall's number, which the answer names; `None` for a copy that an action sent up,
    /// which needs no answer.
    pub id: Option<u64>,
    /// The packet's key.
    pub key: Box<Key>,
    /// The packet's frame at the time of the upcall.
    #[serde(with = "flow::serial::hex")]
    pub frame: Vec<u8>,
    /// The reason of the upcall.
    pub reason: UpcallReason,
}

/// An event that the engine takes in.
#[derive(Clone, Serialize, Deserialize)]
pub enum Event {
    /// Packets missed the host table, or an action sent copies of them up. They are answered in
    /// order.
    Upcalls(Vec<UpcallPacket>),
    /// A place has completed operations.
    Completed {
        /// The place that carried them out.
        place: Place,
        /// The completions, in the place's order. Their statistics are a device's last readings;
        /// the host's are what it has counted and not told before.
        completions: Vec<Completion>,
    },
    /// A part of the statistics of a place; others follow.
    StatsPart {
        /// The place that is being read.
        place: Place,
        /// The statistics of some entries, as in [`Event::Stats`].
        stats: Vec<(Ufid, Stats)>,
    },
    /// The reading of a place's statistics is done.
    Stats {
        /// The place that was read.
        place: Place,
        /// The statistics of the last entries, or why they could not be read. A device's parts
        /// have every entry, with the reading of its counters. The host's have those only that were
        /// hit since they were told last, with what was counted since; one entry may be in several
        /// parts, which add up.
        stats: Result<Vec<(Ufid, Stats)>, ProviderError>,
        /// How full the place's tables are.
        tables: Vec<TableUsage>,
    },
    /// A provider's device was opened, at start or after it was gone. The engine asks for what the
    /// device holds.
    Opened {
        /// The provider that opened its device.
        provider: ProviderId,
        /// The function that decides from now on.
        #[serde(with = "as_capabilities")]
        admission: Arc<dyn Admission>,
    },
    /// A part of the entries that a device held when it was opened; others follow.
    DumpedPart {
        /// The provider that is being dumped.
        provider: ProviderId,
        /// Some entries that carry our cookie.
        found: Vec<Dumped>,
    },
    /// The last of the entries that a device held when it was opened.
    Dumped {
        /// The provider that was dumped.
        provider: ProviderId,
        /// The last entries that carry our cookie.
        found: Vec<Dumped>,
    },
    /// A provider reported something by itself.
    Provider {
        /// The provider that reported.
        provider: ProviderId,
        /// The reported event.
        event: ProviderEvent,
    },
    /// A device's abilities changed, or a reason for its refusals is gone.
    Admission {
        /// The provider that decides anew.
        provider: ProviderId,
        /// The function that decides from now on.
        #[serde(with = "as_capabilities")]
        admission: Arc<dyn Admission>,
    },
    /// The ports that exist now, with their links.
    Ports(Vec<PortLink>),
    /// An operator asks something or wants something.
    Request {
        /// The number under which the answer comes, at once or when the request is carried out.
        token: Token,
        /// The request.
        request: Request,
    },
    /// Time passed.
    Tick,
    /// Nothing happened: the engine goes on with what it has begun (see
    /// [`Engine::has_more`](crate::Engine::has_more)).
    Advance,
}

/// An admission is written as what it knows, and read back as the function that decides by that
/// alone. Who replays events puts the answers in its place that were recorded.
mod as_capabilities {
    use std::sync::Arc;

    use flow::{Admission, Capabilities};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        admission: &Arc<dyn Admission>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        admission.capabilities().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<dyn Admission>, D::Error> {
        Ok(Arc::new(Capabilities::deserialize(from)?))
    }
}

/// The answer to an upcall.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Answered {
    /// The packet, and the packets that wait with it, are looked up again.
    Reinject,
    /// The packet gets these actions; an empty list is a counted drop.
    Execute(flow::Actions),
}

/// A command of the engine. Commands are carried out in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Command {
    /// Apply operations to a place. One completion comes back for each.
    Apply {
        /// The place of the operations.
        place: Place,
        /// The operations, in order.
        ops: Vec<Submission>,
    },
    /// Answer an upcall.
    Resolve {
        /// The upcall's number.
        id: u64,
        /// The answer.
        answer: Answered,
    },
    /// Execute actions on a frame that does not wait in an upcall.
    Execute {
        /// The port that counts as the frame's input port.
        port: PortId,
        /// The frame's bytes.
        #[serde(serialize_with = "flow::serial::hex::serialize")]
        frame: Vec<u8>,
        /// The actions.
        actions: flow::Actions,
    },
    /// Read the statistics of a place.
    ReadStats(Place),
    /// Read what a provider's device holds.
    Dump(ProviderId),
    /// Adopt entries that a dump showed.
    Adopt {
        /// The provider that adopts.
        provider: ProviderId,
        /// The entries to adopt.
        found: Vec<Dumped>,
    },
}

/// The result of a step.
#[derive(Default, Debug, Clone)]
pub struct Commands {
    /// Commands, to be carried out in this order.
    pub commands: Vec<Command>,
    /// Answers to requests.
    pub replies: Vec<(Token, Result<Response, RequestError>)>,
}

/// The cause of a megaflow's removal; also a metric's label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// The megaflow had no packet for the idle time.
    Idle,
    /// The client says that the megaflow is no longer right.
    Revalidated,
    /// An operator removed the megaflow.
    Operator,
    /// The host table refused the megaflow.
    HostRefused,
    /// An operator's megaflow that overlaps this one takes its place.
    Displaced,
}

impl Cause {
    /// Returns the cause's name.
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
