//! Requests to the engine thread and its answers. The control socket, the HTTP listener and the
//! demo all use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use flow::{Actions, Counters, Dumped, Generation, Megaflow, Placement, PortId, Refusals, Ufid};
use hostdp::port::LinkState;

/// Identifies a request whose answer comes later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A question or a command to the engine.
#[derive(Clone, Debug)]
pub enum Request {
    /// Asks for the state in numbers. The answer is [`Response::Status`].
    Status,
    /// Asks for all megaflows. The answer is [`Response::Flows`].
    Flows,
    /// Asks for one megaflow. The answer is [`Response::Flows`] with one element.
    Flow(Ufid),
    /// Installs a megaflow for an operator. The megaflow stays until it is removed and never
    /// expires.
    Install(Arc<Megaflow>),
    /// Changes the actions of a megaflow.
    Replace(Ufid, Actions),
    /// Removes a megaflow. The answer is [`Response::Flows`] with its final statistics.
    Remove(Ufid),
    /// Removes all megaflows.
    RemoveAll,
    /// Asks each hardware provider whether it could hold this megaflow, which may be installed or
    /// not. The answer is [`Response::Explanation`].
    Explain(Arc<Megaflow>),
    /// Asks for the learnt addresses. The answer is [`Response::Text`].
    FdbShow,
    /// Forgets the learnt addresses.
    FdbFlush,
    /// Gives the datapath a packet as if the packet had come in by that port.
    Receive(PortId, Vec<u8>),
    /// Reads what the host table (`host`) or the hardware provider of that name really holds. The
    /// answer is [`Response::Dump`].
    Dump(String),
    /// Reads all statistics now. The answer, [`Response::Done`], comes when they are in.
    Reconcile,
    /// Stops the daemon. The answer comes before the daemon ends.
    Exit,
}

/// The engine's answer to a request.
#[derive(Clone, Debug)]
pub enum Response {
    /// The request is done, and there is nothing to show.
    Done,
    /// The state in numbers.
    Status(Box<Status>),
    /// Megaflows, sorted by ufid.
    Flows(Vec<FlowView>),
    /// One explanation per hardware provider.
    Explanation(Vec<Explanation>),
    /// The megaflows that a table or device holds.
    Dump(Vec<Dumped>),
    /// Text that is shown as it is.
    Text(String),
}

/// The answer of one hardware provider about a megaflow.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The provider's name.
    pub provider: String,
    /// The plan in the provider's words; `None` if the provider can't do the megaflow.
    pub plan: Option<String>,
    /// Where the megaflow stands with the provider.
    pub standing: Standing,
}

/// Where a megaflow stands with a hardware provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The provider holds the megaflow.
    Holds,
    /// The provider does not hold the megaflow, and nothing is in the way.
    Takes,
    /// The provider can't take the megaflow now: everything that the megaflow waits for.
    Waits(Refusals),
    /// The provider can't take the megaflow: all the reasons.
    Refuses(Refusals),
}

/// Why a megaflow is not in hardware.
#[derive(Clone, Debug)]
pub struct Refused {
    /// All the reasons.
    pub why: Refusals,
    /// For how long the megaflow has been refused for the first of the reasons.
    pub lasting: Duration,
}

/// One megaflow as an operator sees it.
#[derive(Clone, Debug)]
pub struct FlowView {
    /// Identity, match and actions.
    pub flow: Arc<Megaflow>,
    /// Where the megaflow lives.
    pub placement: Placement,
    /// The hardware provider that the megaflow lives in, if any.
    pub provider: Option<String>,
    /// Why the megaflow is not in hardware.
    pub refused: Option<Refused>,
    /// The number of the megaflow's life in hardware, and its owner. The device's cookie holds
    /// both.
    pub generation: Generation,
    /// Hits in hardware, over all the megaflow's lives there.
    pub nic: Counters,
    /// Hits on the host.
    pub host: Counters,
    /// Time since the last hit; `None` if there was no hit.
    pub used: Option<Duration>,
    /// Union of the TCP flags that the host saw.
    pub tcp_flags: u16,
}

impl FlowView {
    /// The hits in hardware and on the host.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.nic + self.host
    }
}

/// A port as an operator sees it.
#[derive(Clone, Debug)]
pub struct PortView {
    /// The port's number in megaflows.
    pub id: PortId,
    /// The port's name in the configuration.
    pub name: String,
    /// The port's type in the configuration.
    pub kind: &'static str,
    /// Whether the port can carry packets now.
    pub state: LinkState,
    /// Why the port can't carry packets, or what else is wrong with it, for people.
    pub trouble: Option<String>,
    /// Packets that the host datapath received.
    pub received: Counters,
    /// Packets that the host datapath sent.
    pub sent: Counters,
}

/// The state in numbers.
#[derive(Clone, Debug)]
pub struct Status {
    /// The datapath's name.
    pub name: String,
    /// The client's name.
    pub client: &'static str,
    /// The datapath's ports, by number.
    pub ports: Vec<PortView>,
    /// Everything that is exported as a metric, including the conservation of packets.
    pub metrics: metrics::Snapshot,
    /// The masks of the host table.
    pub masks: Masks,
}

/// The masks of the host table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Masks {
    /// Masks that lookups have visited so far. A lookup that the exact-match cache answers visits
    /// no mask.
    pub visited: u64,
    /// Masks in the table now. A mask counts once for each combination of port, recirculation id
    /// and EtherType that it is used with.
    pub total: u64,
}

/// Why a request failed. A request that was refused has changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// The request makes no sense as it stands; with one line that names the flow or port and
    /// says why.
    #[error("{0}")]
    Refused(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// The engine did not answer in time.
    #[error("the engine did not answer within {0} s")]
    Timeout(u64),
}

/// The channel that the answer to a request goes to.
pub type Reply = Sender<Result<Response, RequestError>>;

/// A flag that is raised when the daemon is told to stop. Work for a client that is under way is
/// then given up.
#[derive(Clone, Default, Debug)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Raises the flag for good.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true if the daemon was told to stop.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sends requests to the engine thread. Cheap to clone; may be used from any thread.
#[derive(Clone)]
pub struct Handle {
    requests: Sender<(Request, Reply)>,
    stop: StopFlag,
}

/// The longest wait for an answer. The engine answers in microseconds unless a device hangs.
const PATIENCE: Duration = Duration::from_secs(10);

impl Handle {
    /// Makes a handle that sends to the given channel. Each caller has at most one request in the
    /// channel. The channel has to be unbounded: an unbounded channel drops its remaining
    /// requests together with its receiver, and so the callers that wait for answers are told.
    #[must_use]
    pub fn new(requests: Sender<(Request, Reply)>, stop: StopFlag) -> Handle {
        Handle { requests, stop }
    }

    /// Returns an error if the daemon is stopping, so that the caller begins nothing new. The
    /// engine then refuses every request except another exit.
    pub fn check_stopping(&self) -> Result<(), RequestError> {
        if self.stop.is_raised() { Err(RequestError::Stopping) } else { Ok(()) }
    }

    /// Sends a request and waits for the answer. Blocks: async code has to call it on a blocking
    /// thread.
    pub fn ask(&self, request: Request) -> Result<Response, RequestError> {
        let (reply, answer) = bounded(1);
        let late = RequestError::Timeout(PATIENCE.as_secs());
        self.requests.send((request, reply)).map_err(|_| RequestError::Stopping)?;
        answer
            .recv_timeout(PATIENCE)
            .map_err(|e| if e.is_timeout() { late } else { RequestError::Stopping })?
    }
}
