//! Sends requests in batches of up to 64 messages in one datagram, matches every answer to its
//! request by sequence number, and keeps the extended-ack text.
//!
//! The kernel carries out all requests of a datagram inside `send`: when it returns, the answers
//! are queued. So nothing is under way while the next datagram is written, and the next one is
//! sent only once the answers are read, which keeps the receive queue from running over.

use std::io;
use std::time::Duration;

use super::consts::{
    NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN,
    NLMSGERR_ATTR_MSG,
};
use super::read::{Malformed, Message, Messages, NlAttrs, u32_at};
use super::socket::Transport;
use super::write::{HEADER, Writer};

/// The largest number of requests in one datagram.
pub(crate) const BATCH: usize = 64;
/// The bytes of the receive queue that one answer with an echo may take, with the kernel's
/// overhead.
const ANSWER: usize = 12 << 10;
/// The longest wait for the next answer from the kernel.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest number of times one dump is run if it is interrupted.
const DUMPS: usize = 5;

/// The kernel's refusal of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Nack {
    /// Positive errno.
    pub(crate) errno: i32,
    /// Extended-ack text; empty if the kernel had none.
    pub(crate) text: String,
}

impl std::fmt::Display for Nack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        if self.text.is_empty() {
            write!(f, "{error}")
        } else {
            write!(f, "{} ({error})", self.text)
        }
    }
}

/// The outcome of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RequestOutcome {
    /// The kernel acknowledged the request.
    Done,
    /// The kernel refused the request.
    Refused(Nack),
    /// The answer was lost or did not come in time: the caller must ask for the current state.
    Unknown,
}

/// The error of an exchange that failed as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused the request.
    #[error("{0}")]
    Refused(Nack),
    /// The table changed each time while it was dumped.
    #[error("the dump was interrupted {DUMPS} times by changes")]
    Interrupted,
    /// The answer was malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A request is longer than netlink's length fields allow.
    #[error("the request is too long for netlink")]
    TooLong,
}

/// Requests that are written but not sent yet.
#[derive(Debug)]
pub(crate) struct RequestBatch {
    writer: Writer,
    first: u32,
    /// The offset of the end of each request.
    ends: Vec<usize>,
}

impl RequestBatch {
    /// Adds one request, whose body `body` writes; returns its index. A request that is too long
    /// is left out and returns an error.
    pub(crate) fn add(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) -> Result<usize, NetlinkError> {
        let index = self.ends.len();
        let begin = self.writer.len();
        let seq = self.first.wrapping_add(u32::try_from(index).map_err(|_| NetlinkError::TooLong)?);
        let start = self.writer.message(kind, flags, seq);
        body(&mut self.writer);
        self.writer.end_message(start);
        if self.writer.is_too_long() {
            self.writer.truncate(begin);
            return Err(NetlinkError::TooLong);
        }
        self.ends.push(self.writer.len());
        Ok(index)
    }

    /// Returns the number of requests.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn chunk(&self, from: usize, to: usize) -> &[u8] {
        let begin = if from == 0 { 0 } else { self.ends[from - 1] };
        &self.writer.as_bytes()[begin..self.ends[to - 1]]
    }
}

/// A dump whose answer is read datagram by datagram. The kernel makes the next datagram when one
/// is received, so what a datagram shows was there at some time since the one before was read.
pub(crate) struct DumpProgress {
    seq: u32,
    /// False if the kernel says that the table changed meanwhile, or if a datagram was lost.
    is_whole: bool,
    failed: Option<Malformed>,
}

/// One socket and the numbering of its requests.
pub(crate) struct RequestSocket<T> {
    transport: T,
    next: u32,
    datagram: Vec<u8>,
    /// Why the socket can't be used any more.
    broken: Option<String>,
}

impl<T: Transport> RequestSocket<T> {
    /// A client on that socket.
    pub(crate) fn new(transport: T) -> RequestSocket<T> {
        RequestSocket { transport, next: 1, datagram: Vec::new(), broken: None }
    }

    #[cfg(test)]
    pub(crate) fn into_transport(self) -> T {
        self.transport
    }

    /// Opens another client of the same kind.
    pub(crate) fn again(&self) -> io::Result<RequestSocket<T>> {
        self.transport.again().map(RequestSocket::new)
    }

    /// Returns the address with which the kernel marks messages that this client caused.
    pub(crate) fn port(&self) -> u32 {
        self.transport.port()
    }

    /// Returns why the socket can't be used any more, if it can't.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Notes that the socket failed.
    fn failed(&mut self, error: io::Error) -> NetlinkError {
        if !passes(&error) {
            self.broken = Some(error.to_string());
        }
        error.into()
    }

    /// An empty batch.
    pub(crate) fn batch(&self) -> RequestBatch {
        RequestBatch { writer: Writer::default(), first: self.next, ends: Vec::new() }
    }

    /// Sends a batch and returns the outcome of each request, in their order. Each request must
    /// ask for an ack. `echo` gets each message that the kernel echoes, with the index of its
    /// request.
    pub(crate) fn transact(
        &mut self,
        batch: &RequestBatch,
        echo: &mut dyn FnMut(usize, Message<'_>),
    ) -> Result<Vec<RequestOutcome>, NetlinkError> {
        let mut outcomes = vec![RequestOutcome::Unknown; batch.len()];
        let size = (self.transport.queue() / ANSWER).clamp(1, BATCH);
        self.next = batch.first.wrapping_add(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        let mut from = 0;
        while from < batch.len() {
            let to = (from + size).min(batch.len());
            let sent = self.transport.send(batch.chunk(from, to));
            sent.map_err(|error| self.failed(error))?;
            self.collect(batch.first, from..to, &mut outcomes, echo)?;
            from = to;
        }
        Ok(outcomes)
    }

    /// Collects the answers to the requests of one datagram. If an answer is lost, the outcome of
    /// its request stays unknown; only a broken socket is an error.
    fn collect(
        &mut self,
        first: u32,
        sent: std::ops::Range<usize>,
        outcomes: &mut [RequestOutcome],
        echo: &mut dyn FnMut(usize, Message<'_>),
    ) -> Result<(), NetlinkError> {
        let (mut missing, mut wait) = (sent.len(), TIMEOUT);
        while missing > 0 {
            match self.transport.receive(&mut self.datagram, wait) {
                Ok(()) => {}
                // What was not lost is queued already.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    wait = Duration::ZERO;
                    continue;
                }
                Err(error) if is_loss(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(error)),
            }
            for message in Messages(&self.datagram) {
                // A malformed message answers no request, so the outcome stays unknown.
                let Ok(message) = message else { break };
                let index = message.seq.wrapping_sub(first) as usize;
                if message.port != self.transport.port() || !sent.contains(&index) {
                    continue;
                }
                if message.kind != NLMSG_ERROR {
                    echo(index, message);
                    continue;
                }
                if outcomes[index] == RequestOutcome::Unknown {
                    missing -= 1;
                    outcomes[index] = match answer(&message) {
                        Ok(None) => RequestOutcome::Done,
                        Ok(Some(nack)) => RequestOutcome::Refused(nack),
                        Err(Malformed(_)) => RequestOutcome::Unknown,
                    };
                }
            }
        }
        Ok(())
    }

    /// Sends one request without echo and waits for its ack.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) -> Result<(), NetlinkError> {
        let mut batch = self.batch();
        batch.add(kind, flags, body)?;
        match self.transact(&batch, &mut |_, _| {})?.pop() {
            Some(RequestOutcome::Done) => Ok(()),
            Some(RequestOutcome::Refused(nack)) => Err(NetlinkError::Refused(nack)),
            Some(RequestOutcome::Unknown) | None => {
                Err(io::Error::from(io::ErrorKind::TimedOut).into())
            }
        }
    }

    /// Runs one dump. `begin` makes the initial state at the start, and again whenever the kernel
    /// says that the table changed meanwhile; the state before is then discarded.
    pub(crate) fn dump<S>(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl Fn(&mut Writer),
        begin: impl Fn() -> S,
        mut each: impl FnMut(&mut S, Message<'_>) -> Result<(), Malformed>,
    ) -> Result<S, NetlinkError> {
        for _ in 0..DUMPS {
            let mut dump = self.begin_dump(kind, flags, &body)?;
            let mut state = begin();
            let is_whole = loop {
                let ended = self.read_dump(&mut dump, &mut |message| each(&mut state, message))?;
                if let Some(is_whole) = ended {
                    break is_whole;
                }
            };
            if is_whole {
                return Ok(state);
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Begins a dump. Until it has ended, nothing else may be asked of this client.
    pub(crate) fn begin_dump(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) -> Result<DumpProgress, NetlinkError> {
        let mut batch = self.batch();
        batch.add(kind, flags, body)?;
        self.next = self.next.wrapping_add(1);
        let sent = self.transport.send(batch.as_slice());
        sent.map_err(|error| self.failed(error))?;
        Ok(DumpProgress { seq: batch.first, is_whole: true, failed: None })
    }

    /// Reads the next datagram of a dump. When the dump has ended, returns whether it was whole:
    /// it is not if the table changed meanwhile or if a part was lost.
    pub(crate) fn read_dump(
        &mut self,
        dump: &mut DumpProgress,
        each: &mut dyn FnMut(Message<'_>) -> Result<(), Malformed>,
    ) -> Result<Option<bool>, NetlinkError> {
        match self.transport.receive(&mut self.datagram, TIMEOUT) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                dump.is_whole = false;
                return Ok(None);
            }
            Err(error) => return Err(self.failed(error)),
        }
        for message in Messages(&self.datagram) {
            let message = message?;
            if message.seq != dump.seq || message.port != self.transport.port() {
                continue;
            }
            dump.is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR => {
                    return match (answer(&message)?, dump.failed.take()) {
                        (Some(nack), _) => Err(NetlinkError::Refused(nack)),
                        (None, Some(error)) => Err(NetlinkError::Malformed(error)),
                        (None, None) => Ok(Some(dump.is_whole)),
                    };
                }
                NLMSG_OVERRUN => dump.is_whole = false,
                // An error is kept until the end, so that the rest of the dump is not taken for
                // the answer to the next request.
                _ => dump.failed = dump.failed.take().or(each(message).err()),
            }
        }
        Ok(None)
    }
}

impl RequestBatch {
    fn as_slice(&self) -> &[u8] {
        self.writer.as_bytes()
    }
}

/// Returns true if the socket still works after this error of sending or receiving.
pub(crate) fn passes(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock, io::ErrorKind::OutOfMemory];
    is_loss(error) || kinds.contains(&error.kind())
}

/// Returns true if the error means that answers were lost but the socket still works.
fn is_loss(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
        || matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::InvalidData)
}

/// Returns the refusal in an error or done message; `None` for success.
fn answer(message: &Message<'_>) -> Result<Option<Nack>, Malformed> {
    let errno = match message.payload {
        // A done message without a result is a success.
        [] if message.kind == NLMSG_DONE => 0,
        payload => i32::from_ne_bytes(u32_at(payload, 0)?.to_ne_bytes()),
    };
    if errno >= 0 {
        return Ok(None);
    }
    let text = if message.flags & NLM_F_ACK_TLVS == 0 { None } else { extended(message)? };
    Ok(Some(Nack { errno: errno.saturating_neg(), text: text.unwrap_or_default() }))
}

/// Returns the text among the extended-ack attributes.
fn extended(message: &Message<'_>) -> Result<Option<String>, Malformed> {
    // The attributes follow the errno and the copy of the request, which is only its header if
    // the payload is left out. A done message has no copy of the request.
    let mut at = 4;
    if message.kind == NLMSG_ERROR {
        let request = u32_at(message.payload, 4)?;
        let copied = if message.flags & NLM_F_CAPPED != 0 { HEADER } else { request as usize };
        at += copied.max(HEADER).next_multiple_of(4);
    }
    let attrs = message.payload.get(at..).ok_or(Malformed("an extended ack is cut short"))?;
    Ok(NlAttrs(attrs).find(NLMSGERR_ATTR_MSG)?.map(|attr| attr.text()))
}
