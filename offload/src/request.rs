//! Requests of operators to the engine, and its answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flow::{Actions, Counters, Generation, Megaflow, Placement, Refusals, Ufid};
use serde::{Deserialize, Serialize};

/// Identifies a request whose answer comes later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Token(pub u64);

/// A question or a command to the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Asks for a page of megaflows, in no particular order. The answer is [`Response::Page`].
    Flows {
        /// Where the page begins: 0, or where an earlier page says.
        from: u32,
        /// The largest number of megaflows in the page; 256 if this is larger.
        most: u32,
    },
    /// Asks for one megaflow. The answer is [`Response::Flows`] with one element.
    Flow(Ufid),
    /// Installs a megaflow for an operator. The megaflow stays until it is removed and never
    /// expires.
    Install(Arc<Megaflow>),
    /// Installs many megaflows as [`Request::Install`] does one; a few hundred at most, as all are
    /// begun in one step. The answer is [`Response::Installed`].
    InstallAll(Vec<Arc<Megaflow>>),
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
    /// Reads all statistics now. The answer, [`Response::Done`], comes when they are in.
    Reconcile,
    /// Closes the engine: it removes all megaflows and takes none from then on. There is no answer;
    /// [`Engine::is_empty`](crate::Engine::is_empty) tells when all are gone.
    Close,
}

/// The engine's answer to a request.
#[derive(Clone, Debug, Serialize)]
pub enum Response {
    /// The request is done, and there is nothing to show.
    Done,
    /// Megaflows.
    Flows(Vec<FlowView>),
    /// A page of megaflows.
    Page(FlowPage),
    /// The request to install many megaflows is done.
    Installed {
        /// The places of the megaflows that could not be installed, each with its error. All
        /// others are installed.
        failed: Vec<(usize, RequestError)>,
    },
    /// One explanation per hardware provider.
    Explanation(Vec<Explanation>),
    /// Text that is shown as it is.
    Text(String),
}

/// A page of megaflows, which may be empty. It costs the same wherever it begins and however many
/// megaflows there are.
#[derive(Clone, Debug, Serialize)]
pub struct FlowPage {
    /// The megaflows, each with the place where a page begins that shows what comes after it.
    pub flows: Vec<(u32, FlowView)>,
    /// Where the next page begins; `None` if this is the last one. All pages together show every
    /// megaflow that lives all the time, and none twice.
    pub next: Option<u32>,
    /// The number of megaflows by placement, those of all pages.
    pub placed: BTreeMap<Placement, u64>,
}

/// The answer of one hardware provider about a megaflow.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The provider's name.
    pub provider: String,
    /// The plan in the provider's words; `None` if the provider can't do the megaflow.
    pub plan: Option<String>,
    /// Where the megaflow stands with the provider.
    pub standing: Standing,
}

/// Where a megaflow stands with a hardware provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// All the reasons.
    pub why: Refusals,
    /// For how long the megaflow has been refused for the first of the reasons.
    pub lasting: Duration,
}

/// One megaflow as an operator sees it.
#[derive(Clone, Debug, Serialize)]
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

/// Why a request failed. A request that was refused has changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
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

impl RequestError {
    pub(crate) fn is_changing(ufid: Ufid) -> RequestError {
        RequestError::Refused(format!("{ufid} is being changed by another request; try again"))
    }

    pub(crate) fn is_going(ufid: Ufid) -> RequestError {
        RequestError::Refused(format!("{ufid} is being removed; try again when it is gone"))
    }

    pub(crate) fn no_such_flow(ufid: Ufid) -> RequestError {
        RequestError::Refused(format!("{ufid}: no such flow"))
    }
}
