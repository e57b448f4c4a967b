//! What the control surface asks the engine thread, and what it answers: the socket, the HTTP
//! listener and the demo all speak this.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use flow::{Actions, Counters, Dumped, Generation, Megaflow, Placement, PortId, Refusals, Ufid};
use hostdp::port::LinkState;

/// Names a request whose answer comes later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A question or a command.
#[derive(Clone, Debug)]
pub enum Request {
    /// The state in numbers: [`Response::Status`].
    Status,
    /// All megaflows: [`Response::Flows`].
    Flows,
    /// One megaflow: [`Response::Flows`] of one element.
    Flow(Ufid),
    /// Installs a megaflow that an operator wants: stays until removed, is never aged out.
    Install(Arc<Megaflow>),
    /// Changes the actions of a megaflow.
    Replace(Ufid, Actions),
    /// Removes a megaflow: [`Response::Flows`] with its final statistics.
    Remove(Ufid),
    /// Removes all megaflows.
    RemoveAll,
    /// Could hardware hold this megaflow, installed or not? [`Response::Explanation`].
    Explain(Arc<Megaflow>),
    /// The learnt addresses: [`Response::Text`].
    FdbShow,
    /// Forgets the learnt addresses.
    FdbFlush,
    /// A packet, as if it had come in by that port.
    Receive(PortId, Vec<u8>),
    /// What the host table (`host`) or a hardware provider, by its name, really holds, read from
    /// it: [`Response::Dump`].
    Dump(String),
    /// Reads all statistics now, then answers: [`Response::Done`] when they are in.
    Reconcile,
    /// Stops the daemon; answered before it does.
    Exit,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Response {
    /// Done; nothing to show.
    Done,
    /// The state in numbers.
    Status(Box<Status>),
    /// Megaflows, sorted by ufid.
    Flows(Vec<FlowView>),
    /// One explanation per hardware provider.
    Explanation(Vec<Explanation>),
    /// What a table or device holds.
    Dump(Vec<Dumped>),
    /// Text as it is to be shown.
    Text(String),
}

/// What one hardware provider says of a megaflow.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The provider's name.
    pub provider: String,
    /// The plan in the provider's words; `None` if it can't do it.
    pub plan: Option<String>,
    /// Where the megaflow stands with it.
    pub standing: Standing,
}

/// Where a megaflow stands with a hardware provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is in there.
    Holds,
    /// It is not in there, and nothing is in its way.
    Takes,
    /// It can't go in there now: all that it waits for.
    Waits(Refusals),
    /// It can't go in there: all the reasons.
    Refuses(Refusals),
}

/// Why a megaflow is not in hardware.
#[derive(Clone, Debug)]
pub struct Refused {
    /// All the reasons.
    pub why: Refusals,
    /// For how long it has been refused for the first of them.
    pub lasting: Duration,
}

/// One megaflow as an operator sees it.
#[derive(Clone, Debug)]
pub struct FlowView {
    /// Identity, match and actions.
    pub flow: Arc<Megaflow>,
    /// Where it lives.
    pub placement: Placement,
    /// In which hardware provider, if in any.
    pub provider: Option<String>,
    /// Why it is not in hardware.
    pub refused: Option<Refused>,
    /// Which life in hardware it is, and whose; in the device's cookie.
    pub generation: Generation,
    /// Hits in hardware, over all its lives there.
    pub nic: Counters,
    /// Hits on the host.
    pub host: Counters,
    /// Time since the last hit; `None` if there was none.
    pub used: Option<Duration>,
    /// Union of the TCP flags that the host saw.
    pub tcp_flags: u16,
}

impl FlowView {
    /// All hits.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.nic + self.host
    }
}

/// A port as an operator sees it.
#[derive(Clone, Debug)]
pub struct PortView {
    /// Our number.
    pub id: PortId,
    /// Its name in the configuration.
    pub name: String,
    /// Its type in the configuration.
    pub kind: &'static str,
    /// Can it carry packets now?
    pub state: LinkState,
    /// Why not, or what else is wrong with it, for people.
    pub trouble: Option<String>,
    /// Received by the host datapath.
    pub received: Counters,
    /// Sent by the host datapath.
    pub sent: Counters,
}

/// The state in numbers.
#[derive(Clone, Debug)]
pub struct Status {
    /// The datapath's name.
    pub name: String,
    /// The client's name.
    pub client: &'static str,
    /// Its ports, by number.
    pub ports: Vec<PortView>,
    /// Everything that is exported as a metric, the conservation of packets included.
    pub metrics: metrics::Snapshot,
    /// The masks of the host table.
    pub masks: Masks,
}

/// The masks of the host table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Masks {
    /// Masks that lookups have visited so far; those that the exact-match cache answered visit
    /// none.
    pub visited: u64,
    /// Masks now, one per port, recirculation id and EtherType that it is used with.
    pub total: u64,
}

/// Why a request was not carried out; nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// It makes no sense as it stands: one line that names the flow or port and why.
    #[error("{0}")]
    Refused(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// The engine did not answer in time.
    #[error("the engine did not answer within {0} s")]
    Timeout(u64),
}

/// Where an answer goes.
pub type Reply = Sender<Result<Response, RequestError>>;

/// Raised when the daemon is told to stop: whoever is at work for a client gives up.
#[derive(Clone, Default, Debug)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// From now on.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Is it being stopped?
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The way to the engine thread. Cheap to clone; may be used from any thread.
#[derive(Clone)]
pub struct Handle {
    requests: Sender<(Request, Reply)>,
    stop: StopFlag,
}

/// Longest wait for an answer: the engine answers in microseconds unless a device hangs.
const PATIENCE: Duration = Duration::from_secs(10);

impl Handle {
    /// A handle that sends to the given channel. Each caller has one request in it at most. The
    /// channel has to be unbounded: such a one drops what is still in it with its receiver, and
    /// so tells whoever waits.
    #[must_use]
    pub fn new(requests: Sender<(Request, Reply)>, stop: StopFlag) -> Handle {
        Handle { requests, stop }
    }

    /// Nothing is to be begun any more. Every request but for another exit is refused already.
    pub fn check_stopping(&self) -> Result<(), RequestError> {
        if self.stop.is_raised() { Err(RequestError::Stopping) } else { Ok(()) }
    }

    /// Asks and waits for the answer. Blocks: from async code call it on a blocking thread.
    pub fn ask(&self, request: Request) -> Result<Response, RequestError> {
        let (reply, answer) = bounded(1);
        let late = RequestError::Timeout(PATIENCE.as_secs());
        self.requests.send((request, reply)).map_err(|_| RequestError::Stopping)?;
        answer
            .recv_timeout(PATIENCE)
            .map_err(|e| if e.is_timeout() { late } else { RequestError::Stopping })?
    }
}
