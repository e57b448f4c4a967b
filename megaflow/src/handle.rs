//! The way to the engine's thread. The control socket, the HTTP listener and the demo all use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use flow::{Dumped, PortId};
use offload::{FlowPage, FlowView, Request, RequestError, Response};

use crate::status::Status;

/// The channel that the answer to a question goes to.
pub type ReplySender<T> = Sender<Result<T, RequestError>>;

/// A question to the engine's thread.
pub enum Ask {
    /// A request that the engine itself answers.
    Engine(Request, ReplySender<Response>),
    /// The state in numbers.
    Status(ReplySender<Box<Status>>),
    /// What the host table (`host`) or the hardware provider of that name really holds.
    /// The answer comes in parts; `true` comes with the last one.
    Dump(String, ReplySender<(Vec<Dumped>, bool)>),
    /// Gives the datapath a packet as if the packet had come in by that port.
    Receive(PortId, Vec<u8>, ReplySender<()>),
    /// Stops the daemon. The answer comes before the daemon ends.
    Exit(ReplySender<()>),
}

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

/// Sends questions to the engine's thread. Cheap to clone; may be used from any thread. Each method
/// blocks until the answer is there: async code has to call it on a blocking thread.
#[derive(Clone)]
pub struct Handle {
    questions: Sender<Ask>,
    stop: StopFlag,
}

/// A question that is being answered.
pub struct Pending<T>(Receiver<Result<T, RequestError>>);

impl<T> Pending<T> {
    /// Waits for the answer.
    pub fn wait(self) -> Result<T, RequestError> {
        self.next()
    }

    /// Waits for the next part of the answer.
    fn next(&self) -> Result<T, RequestError> {
        let late = RequestError::Timeout(PATIENCE.as_secs());
        self.0
            .recv_timeout(PATIENCE)
            .map_err(|e| if e.is_timeout() { late } else { RequestError::Stopping })?
    }
}

/// The longest wait for an answer. The engine answers in microseconds unless a device hangs.
const PATIENCE: Duration = Duration::from_secs(10);

impl Handle {
    /// Makes a handle that sends to the given channel. Each caller has at most one question in the
    /// channel. The channel has to be unbounded: an unbounded channel drops its remaining
    /// questions together with its receiver, and so the callers that wait for answers are told.
    #[must_use]
    pub fn new(questions: Sender<Ask>, stop: StopFlag) -> Handle {
        Handle { questions, stop }
    }

    /// Returns an error if the daemon is stopping, so that the caller begins nothing new. The
    /// engine then refuses every request except another exit.
    pub fn check_stopping(&self) -> Result<(), RequestError> {
        if self.stop.is_raised() { Err(RequestError::Stopping) } else { Ok(()) }
    }

    /// Sends a request to the engine and waits for the answer.
    pub fn request(&self, request: Request) -> Result<Response, RequestError> {
        self.ask(|reply| Ask::Engine(request, reply))
    }

    /// Returns the page of megaflows that begins there: at most `most`, and at most as many as the
    /// engine shows in one page.
    pub fn page(&self, from: u32, most: u32) -> Result<FlowPage, RequestError> {
        match self.request(Request::Flows { from, most })? {
            Response::Page(page) => Ok(page),
            _ => Err(RequestError::Refused("the answer is no page of flows".to_owned())),
        }
    }

    /// Shows all megaflows to `take`, in no particular order. The engine is asked for one page
    /// after the other, so that other work goes on in between.
    pub fn for_each_flow(&self, mut take: impl FnMut(FlowView)) -> Result<(), RequestError> {
        let mut from = Some(0);
        while let Some(start) = from {
            let page = self.page(start, u32::MAX)?;
            page.flows.into_iter().for_each(|(_, view)| take(view));
            from = page.next;
        }
        Ok(())
    }

    /// Returns all megaflows, by ufid.
    pub fn flows(&self) -> Result<Vec<FlowView>, RequestError> {
        let mut all = Vec::new();
        self.for_each_flow(|view| all.push(view))?;
        all.sort_unstable_by_key(|view| view.flow.ufid);
        Ok(all)
    }

    /// Returns the state in numbers.
    pub fn status(&self) -> Result<Box<Status>, RequestError> {
        self.ask(Ask::Status)
    }

    /// Reads what the host table (`host`) or the hardware provider of that name really holds.
    pub fn dump(&self, place: &str) -> Result<Vec<Dumped>, RequestError> {
        let (reply, parts) = unbounded();
        let question = Ask::Dump(place.to_owned(), reply);
        self.questions.send(question).map_err(|_| RequestError::Stopping)?;
        let parts = Pending(parts);
        let mut all = Vec::new();
        loop {
            let (part, is_last) = parts.next()?;
            all.extend(part);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Gives the datapath a packet as if the packet had come in by that port.
    pub fn receive(&self, port: PortId, frame: Vec<u8>) -> Result<(), RequestError> {
        self.ask(|reply| Ask::Receive(port, frame, reply))
    }

    /// Stops the daemon, and returns when all its megaflows are out of the devices.
    pub fn exit(&self) -> Result<(), RequestError> {
        self.ask(Ask::Exit)
    }

    /// Sends a request to the engine, and returns while it is carried out.
    pub fn begin(&self, request: Request) -> Result<Pending<Response>, RequestError> {
        self.put(|reply| Ask::Engine(request, reply))
    }

    fn ask<T>(&self, question: impl FnOnce(ReplySender<T>) -> Ask) -> Result<T, RequestError> {
        self.put(question)?.wait()
    }

    fn put<T>(
        &self,
        question: impl FnOnce(ReplySender<T>) -> Ask,
    ) -> Result<Pending<T>, RequestError> {
        let (reply, answer) = bounded(1);
        self.questions.send(question(reply)).map_err(|_| RequestError::Stopping)?;
        Ok(Pending(answer))
    }
}
