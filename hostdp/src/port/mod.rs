//! Ports: where packets come in and leave. One file per kind, one trait for all.

mod batch;
mod claim;
pub mod fpga;
pub mod memory;
mod offload;
mod parts;
pub mod pcap;
mod pool;
mod shared;
mod socket;
mod sys;
pub mod system;
pub mod tap;
mod xdp;

use std::os::fd::BorrowedFd;

use flow::Counters;
use flow::packet::Packet;

use crate::drops::DropReason;

pub use batch::{BURST, Batch, Frame, Taken};
pub use pool::PacketPool;
pub use shared::share;

/// A place where packets come in and leave. The worker's thread owns it; no call waits for packets.
///
/// With several workers each has a part of the port: its own queue of what comes in, and its own
/// way out. What concerns the device as a whole is told and done by one of the parts.
///
/// Failures are states, not errors: a port whose device is down or gone receives nothing, drops
/// the frames that it is given to send with a reason, and says so in [`Port::state`].
pub trait Port: Send {
    /// The port's name, unique in a datapath.
    fn name(&self) -> &str;

    /// The port's kind.
    fn kind(&self) -> PortKind;

    /// Adds frames that have come in to the batch, as long as the batch has room.
    fn receive(&mut self, batch: &mut Batch);

    /// Sends the frames in order; reports each as sent or dropped. What the port leaves in `frames`
    /// is memory for packets to come: it keeps only what it still needs, and copies nothing.
    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport);

    /// Returns true if the port takes frames in which work for a device is unfinished
    /// ([`Packet::unfinished`]). Other ports are given frames as they are on a wire.
    fn takes_unfinished(&self) -> bool {
        false
    }

    /// The port's state, as far as the last call could tell.
    fn state(&self) -> LinkState;

    /// Why the port is down or gone, or that its interface has another name now, for people.
    fn trouble(&self) -> Option<&str> {
        None
    }

    /// Checks the device itself and tries to bring a lost device back. Callers call this a few
    /// times a second.
    fn check(&mut self) {}

    /// A descriptor that is readable while there may be something to receive; `None` for a port
    /// that has to be polled.
    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Prepares [`Port::readable`]. Callers call this before they sleep on the descriptor, after a
    /// receive that got nothing.
    fn arm(&mut self) {}

    /// Number of packets that the device lost before they were received, since the last call.
    fn overruns(&mut self) -> u64 {
        0
    }

    /// Longest payload in bytes of a frame that the port sends; `None` if the port does not know
    /// it.
    fn mtu(&self) -> Option<u32> {
        None
    }

    /// Number of the device's queues that this part of the port receives from.
    fn queues(&self) -> usize {
        1
    }

    /// The way that the port's frames take now, for people; `None` for the usual one of its kind.
    fn way(&self) -> Option<&'static str> {
        None
    }
}

/// The kind of a port.
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

/// Whether a port works; the greater the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkState {
    /// The port works.
    Up,
    /// The port's device exists but does not pass packets now.
    Down,
    /// The port's device does not exist; it may come back.
    Gone,
}

impl LinkState {
    /// The word for the state.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LinkState::Up => "up",
            LinkState::Down => "down",
            LinkState::Gone => "gone",
        }
    }
}

/// The trouble of a port whose interface was renamed since the port got it; `None` if it was not.
fn renamed(then: &str, now: &str) -> Option<String> {
    (then != now).then(|| format!("interface {then} is called {now} now"))
}

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The system refused a step; with the step and the system's error.
    #[error("port {port}: {what}: {source}")]
    System {
        /// The port's name.
        port: String,
        /// The step that failed.
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
        /// The process that owns the interface.
        owner: InterfaceOwner,
    },
    /// The name can't be the name of a network interface.
    #[error("port {0}: the name of an interface has 1 to 15 bytes without '/', ':' or blanks")]
    Name(String),
    /// The datapath already has a port with this number or name.
    #[error("port {0}: another port has the same number or name")]
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

/// The process that owns an interface: its pid, or `None` if the kernel does not tell the pid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterfaceOwner(pub Option<u32>);

impl std::fmt::Display for InterfaceOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) if pid == std::process::id() => f.write_str("another port of this process"),
            Some(pid) => write!(f, "the datapath of process {pid}: stop that process first"),
            None => f.write_str("the datapath of a process that is not visible from here"),
        }
    }
}

/// What became of the frames given to [`Port::transmit`].
#[derive(Default, Debug)]
pub struct TxReport {
    /// Frames that were sent.
    pub sent: Counters,
    /// Frames that were not sent, with the reasons.
    pub dropped: Vec<(DropReason, Counters)>,
}

impl TxReport {
    /// Reports one frame as sent: as the packets and bytes that it is on a wire.
    pub fn sent(&mut self, what: Counters) {
        self.sent += what;
    }

    /// Reports one frame as not sent.
    pub fn drop(&mut self, reason: DropReason, what: Counters) {
        self.dropped.push((reason, what));
    }

    /// Reports all frames as not sent.
    pub fn drop_all(&mut self, reason: DropReason, frames: &[Packet]) {
        frames.iter().for_each(|frame| self.drop(reason, frame.counters()));
    }
}

/// Returns true if no frame that the packet is on a wire is longer than an interface with this MTU
/// sends. On top of the MTU a frame may have an Ethernet header and one VLAN tag, as in the kernel.
fn fits(packet: &Packet, mtu: u32) -> bool {
    let headers = if packet.bytes().get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 };
    packet.longest() <= mtu as usize + headers
}
