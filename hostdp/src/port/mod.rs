//! Ports: where packets come in and leave. One file per kind, one trait for all.

mod claim;
pub mod fpga;
pub mod memory;
mod offload;
pub mod pcap;
mod sys;
pub mod system;
pub mod tap;

use std::os::fd::BorrowedFd;

use flow::exception::{MissDescriptor, MissReason};
use flow::packet::Packet;
use flow::{Counters, RecircId};

use crate::drops::DropReason;

/// Packets per burst.
pub const BURST: usize = 32;

/// A place where packets come in and leave. Owned by the worker's thread; no call blocks.
///
/// Failures are states, not errors: a port whose device is down or gone receives nothing, drops
/// what it is given to send with a reason, and says so in [`Port::state`].
pub trait Port: Send {
    /// Its name, unique in a datapath.
    fn name(&self) -> &str;

    /// What it is.
    fn kind(&self) -> PortKind;

    /// Adds what has come in to the batch, as far as it has room.
    fn receive(&mut self, batch: &mut Batch);

    /// Sends the frames in order and leaves `frames` empty; reports each as sent or dropped.
    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport);

    /// Whether it works, as far as the last call could tell.
    fn state(&self) -> LinkState;

    /// Why it is down or gone, or that its interface has another name now, for people.
    fn trouble(&self) -> Option<&str> {
        None
    }

    /// Looks at the device itself and tries to bring a lost one back. Called a few times a
    /// second.
    fn check(&mut self) {}

    /// Readable while there may be something to receive; `None` for a port that has to be polled.
    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Called before a sleep on [`Port::readable`], after a receive that got nothing.
    fn arm(&mut self) {}

    /// Packets that the device lost before they were received, since the last call.
    fn overruns(&mut self) -> u64 {
        0
    }

    /// Longest payload of a frame that it sends, where it knows.
    fn mtu(&self) -> Option<u32> {
        None
    }
}

/// What a port is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "each is described in its own file")]
pub enum PortKind {
    System,
    Internal,
    Tap,
    Pcap,
    Memory,
    Fpga,
}

impl PortKind {
    /// The word for it in the configuration and in lists of ports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PortKind::System => "system",
            PortKind::Internal => "internal",
            PortKind::Tap => "tap",
            PortKind::Pcap => "pcap",
            PortKind::Memory => "memory",
            PortKind::Fpga => "fpga",
        }
    }
}

impl std::fmt::Display for PortKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a port works.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LinkState {
    /// It does.
    Up,
    /// Its device is there but does not pass packets now.
    Down,
    /// Its device is not there; it may come back.
    Gone,
}

impl LinkState {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LinkState::Up => "up",
            LinkState::Down => "down",
            LinkState::Gone => "gone",
        }
    }
}

/// What is wrong with a port whose interface has another name than when the port got it.
fn renamed(then: &str, now: &str) -> Option<String> {
    (then != now).then(|| format!("interface {then} is called {now} now"))
}

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The system refused; what was tried, and its error.
    #[error("port {port}: {what}: {source}")]
    System {
        /// The port's name.
        port: String,
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// There is no interface of that name in the port's network namespace.
    #[error("port {port}: {}", self.reason())]
    NoInterface {
        /// The port's name.
        port: String,
        /// The interface's name.
        interface: String,
    },
    /// The interface is a port of a datapath already.
    #[error("port {port}: {}", self.reason())]
    Claimed {
        /// The port's name.
        port: String,
        /// The interface's name.
        interface: String,
        /// Whose it is.
        owner: Owner,
    },
    /// The name can't be the name of a network interface.
    #[error("port {0}: a name of an interface has 1 to 15 bytes, no '/' and no blank")]
    Name(String),
    /// A datapath has a port of that number or name already.
    #[error("port {0}: number or name is taken")]
    Taken(String),
}

impl PortError {
    /// The error without the port's name.
    fn reason(&self) -> String {
        match self {
            PortError::System { what, source, .. } => format!("{what}: {source}"),
            PortError::NoInterface { interface, .. } => {
                format!("there is no interface {interface}: make it, or correct the port's device")
            }
            PortError::Claimed { interface, owner, .. } => {
                format!("interface {interface} belongs to {owner}")
            }
            PortError::Name(_) | PortError::Taken(_) => self.to_string(),
        }
    }
}

/// The process that has an interface, where the kernel names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(pub Option<u32>);

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) if pid == std::process::id() => f.write_str("another port of this process"),
            Some(pid) => write!(f, "the datapath of process {pid}: stop that one first"),
            None => f.write_str("the datapath of a process that is not visible from here"),
        }
    }
}

/// A frame that came in.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its bytes.
    pub packet: Packet,
    /// The scope of its first lookup; 0 unless a card had begun a chain.
    pub recirc_id: RecircId,
    /// As the card had computed it.
    pub dp_hash: u32,
    /// A card has counted it on a megaflow already: it is not new here.
    pub continued: bool,
}

impl Frame {
    /// A frame fresh from the wire.
    #[must_use]
    pub fn fresh(packet: Packet) -> Frame {
        Frame { packet, recirc_id: RecircId(0), dp_hash: 0, continued: false }
    }

    /// A frame that a card handed up. It is continued if it hit something in the card: it is in
    /// the middle of a chain, or an action sent it.
    #[must_use]
    pub fn from_card(packet: Packet, miss: &MissDescriptor) -> Frame {
        Frame {
            packet,
            recirc_id: miss.recirc_id,
            dp_hash: miss.dp_hash,
            continued: miss.recirc_id.0 != 0 || miss.reason != MissReason::Miss,
        }
    }
}

/// What came in at one port in one burst.
#[derive(Default, Debug)]
pub struct Batch {
    frames: Vec<Frame>,
    dropped: Vec<(DropReason, Counters)>,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Batch {
        Batch { frames: Vec::with_capacity(BURST), dropped: Vec::new() }
    }

    /// Adds a frame.
    pub fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// Counts a frame that came in but can't be processed.
    pub fn drop(&mut self, reason: DropReason, bytes: usize) {
        self.dropped.push((reason, Counters::packet(bytes)));
    }

    /// How many more frames a port should add. A large frame cut in segments may exceed it.
    #[must_use]
    pub fn room(&self) -> usize {
        BURST.saturating_sub(self.frames.len())
    }

    /// The frames so far.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Neither a frame nor a drop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.dropped.is_empty()
    }

    /// Takes everything out.
    pub fn take(
        &mut self,
    ) -> (std::vec::Drain<'_, Frame>, std::vec::Drain<'_, (DropReason, Counters)>) {
        (self.frames.drain(..), self.dropped.drain(..))
    }
}

/// What became of the frames given to [`Port::transmit`].
#[derive(Default, Debug)]
pub struct TxReport {
    /// Sent.
    pub sent: Counters,
    /// Not sent, and why.
    pub dropped: Vec<(DropReason, Counters)>,
}

impl TxReport {
    /// One frame was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += Counters::packet(bytes);
    }

    /// One frame was not sent.
    pub fn drop(&mut self, reason: DropReason, bytes: usize) {
        self.dropped.push((reason, Counters::packet(bytes)));
    }

    /// None of the frames was sent.
    pub fn drop_all(&mut self, reason: DropReason, frames: &mut Vec<Packet>) {
        frames.drain(..).for_each(|frame| self.drop(reason, frame.len()));
    }
}
