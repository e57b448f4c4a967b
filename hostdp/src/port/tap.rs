//! The `tap` and `internal` ports: interfaces that exist because a process has them open.
//!
//! A `tap` port is the other end of a TAP interface: the port receives the frames that a VM or the
//! kernel sends into the interface. An `internal` port is the same, but its interface has the
//! port's name and is set up at once, so that the host itself takes part in its datapath's network.
//! Both interfaces are gone when the port is closed. The kernel hands over and takes frames whose
//! checksum is missing or that have to be cut in segments, with the kernels that can: else it
//! finishes them itself.
//!
//! The port asks its descriptor whether the interface exists, whether it is set up, and for its
//! name: the descriptor keeps its interface under another name and in another network namespace.
//! An interface that was deleted is made again. While the port has an interface, no other datapath
//! gets it (`claim.rs`).

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use flow::packet::Packet;

use super::claim::Claim;
use super::offload::{self, VnetHeader};
use super::parts::Share;
use super::pool::LONGEST;
use super::{
    Batch, Frame, LinkState, PacketPool, Port, PortError, PortKind, TxReport, renamed, sys,
};
use crate::drops::DropReason;

/// The other end of a TAP interface.
pub struct TapPort {
    name: String,
    /// The interface's name as asked for.
    interface: String,
    kind: PortKind,
    device: File,
    /// For questions about the interface, in the namespace where it was made.
    socket: OwnedFd,
    claim: Option<Arc<Claim>>,
    share: Share,
    /// One of the parts tells what the interface has lost.
    is_first: bool,
    /// Frames that the kernel had lost at the last look because nobody fetched them.
    overruns: u64,
    mtu: Option<u32>,
    state: LinkState,
    trouble: Option<String>,
    /// Where frames are received.
    slot: Packet,
}

impl TapPort {
    /// Makes a TAP interface in the calling thread's network namespace, or attaches to the
    /// persistent one of that name, as a port of the same name. Needs `CAP_NET_ADMIN`.
    pub fn open(interface: &str) -> Result<TapPort, PortError> {
        TapPort::open_as(interface, interface)
    }

    /// Like [`TapPort::open`], as a port of another name.
    pub fn open_as(name: &str, interface: &str) -> Result<TapPort, PortError> {
        TapPort::open_part(name, interface, PortKind::Tap, (Share::alone(), true))
    }

    /// Like [`TapPort::open`], as an `internal` port: the interface is set up at once.
    pub fn open_internal(name: &str) -> Result<TapPort, PortError> {
        TapPort::open_part(name, name, PortKind::Internal, (Share::alone(), true))
    }

    /// Opens a port of either kind with a queue for each of several workers. An interface that
    /// exists already must have been made for several queues then.
    pub fn open_parts(
        name: &str,
        interface: &str,
        kind: PortKind,
        workers: usize,
    ) -> Result<Vec<TapPort>, PortError> {
        let shares = Share::of(workers)
            .into_iter()
            .zip(std::iter::once(true).chain(std::iter::repeat(false)));
        shares.map(|share| TapPort::open_part(name, interface, kind, share)).collect()
    }

    fn open_part(
        name: &str,
        interface: &str,
        kind: PortKind,
        (share, is_first): (Share, bool),
    ) -> Result<TapPort, PortError> {
        if !sys::is_interface_name(interface) {
            return Err(PortError::Name(interface.into()));
        }
        let system = |what: &'static str| {
            move |source: io::Error| PortError::System { port: name.into(), what, source }
        };
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .map_err(system("/dev/net/tun"))?;
        let mut port = TapPort {
            name: name.into(),
            interface: interface.into(),
            kind,
            device,
            socket: control_socket().map_err(system("socket"))?,
            claim: None,
            share,
            is_first,
            overruns: 0,
            mtu: None,
            state: LinkState::Gone,
            trouble: None,
            slot: PacketPool::default().slot(),
        };
        port.attach()?;
        port.look();
        // What an interface that was there already has lost is nobody's.
        port.overruns();
        Ok(port)
    }

    /// Makes the interface, in the namespace where the descriptor was opened, and claims it.
    fn attach(&mut self) -> Result<(), PortError> {
        let (port, interface, socket) = (&self.name, &self.interface, self.socket.as_fd());
        let system = |what, source| PortError::System { port: port.clone(), what, source };
        let claim = || {
            let index = sys::index_of(socket, interface);
            let index = index.map_err(|error| system("can't find the interface", error))?;
            self.share.claim(port, interface, socket, index)
        };
        let has_queues = self.share.is_one_of_several();
        let is_there = sys::index_of(socket, interface).is_ok();
        // One more queue of an interface that is another datapath's would take frames from it.
        let _claimed = if has_queues && is_there { Some(claim()?) } else { None };
        if sys::tun_name(self.device.as_fd()).is_err() {
            sys::tun_attach(self.device.as_fd(), interface, has_queues).map_err(|error| {
                // The owner of a busy interface is the better answer, if the owner has a claim.
                let owner = claim().err().filter(|e| matches!(e, PortError::Claimed { .. }));
                let other_kind = error.raw_os_error() == Some(libc::EINVAL) && is_there;
                owner.unwrap_or_else(|| match has_queues {
                    true if other_kind => {
                        system("the interface was made without multi_queue", error)
                    }
                    false if other_kind => system("the interface was made with multi_queue", error),
                    _ => system("can't make the interface", error),
                })
            })?;
        }
        sys::tun_offloads(self.device.as_fd(), true)
            .map_err(|error| system("can't set its offloads", error))?;
        let claim = claim()?;
        if self.kind == PortKind::Internal {
            sys::set_up(socket, interface)
                .map_err(|error| system("can't set the interface up", error))?;
        }
        self.claim = Some(claim);
        Ok(())
    }

    fn look(&mut self) {
        let tun = self.device.as_fd();
        let Ok(name) = sys::tun_name(tun) else {
            let trouble = format!("interface {} was deleted", self.interface);
            self.claim = None;
            return self.become_state(LinkState::Gone, Some(trouble));
        };
        if self.claim.is_none() {
            // The interface belongs to another datapath: it stays gone until it can be claimed.
            return;
        }
        // The MTU is unknown while the interface is in another namespace.
        self.mtu = sys::mtu(self.socket.as_fd(), &name).ok();
        // The kernel takes frames while the interface is set up.
        if sys::is_writable(tun) {
            self.become_state(LinkState::Up, renamed(&self.interface, &name));
        } else {
            self.become_state(LinkState::Down, Some(format!("interface {name} is set down")));
        }
    }

    fn become_state(&mut self, state: LinkState, trouble: Option<String>) {
        (self.state, self.trouble) = (state, trouble);
    }

    fn failed(&mut self, error: &io::Error) -> DropReason {
        match error.raw_os_error() {
            Some(libc::EIO | libc::EBADFD) => {
                self.look();
                DropReason::PortDown
            }
            Some(libc::EAGAIN | libc::ENOBUFS) => DropReason::TxFull,
            Some(libc::EMSGSIZE) => DropReason::TxTooLong,
            _ => DropReason::TxError,
        }
    }
}

impl Drop for TapPort {
    /// The next owner of a persistent interface may know nothing of offload headers.
    fn drop(&mut self) {
        if self.share.give_back() {
            // The interface may be gone.
            let _ = sys::tun_offloads(self.device.as_fd(), false);
        }
    }
}

/// Frames that an interface of this thread's network namespace lost on transmit.
fn transmit_drops(interface: &str) -> Option<u64> {
    /// Column behind the name: eight are about receiving, then bytes, packets, errors, drops.
    const DROPS: usize = 11;
    let all = std::fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    let of = |line: &str| {
        line.trim_start().strip_prefix(interface)?.strip_prefix(':').map(str::to_owned)
    };
    all.lines().find_map(of)?.split_whitespace().nth(DROPS)?.parse().ok()
}

/// Any socket answers questions about the interfaces of its namespace.
fn control_socket() -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?)
}

impl Port for TapPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> PortKind {
        self.kind
    }

    fn receive(&mut self, batch: &mut Batch) {
        if self.state == LinkState::Gone {
            return;
        }
        while batch.room() > 0 {
            let mut header = [0; offload::LENGTH];
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(self.slot.room())];
            match self.device.read_vectored(&mut parts) {
                Ok(length) => {
                    self.slot.received(length.saturating_sub(header.len()));
                    let mut packet = batch.pool().received(&mut self.slot);
                    match VnetHeader::read(header).apply(&mut packet) {
                        Ok(()) => batch.push(Frame::fresh(packet)),
                        Err(_) => batch.drop(DropReason::Malformed, packet.len()),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The kernel can't describe the frame's offloads in a header: the frame is lost.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    batch.drop(DropReason::Malformed, 0);
                    return;
                }
                Err(_) => return self.look(),
            }
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        if self.state != LinkState::Up {
            self.look();
        }
        if self.state != LinkState::Up {
            return report.drop_all(DropReason::PortDown, frames);
        }
        for frame in frames.iter() {
            // The kernel takes frames of any length, and the interface would pass on a frame that
            // is too long for it.
            let longest = self.mtu.map_or(LONGEST, |mtu| mtu as usize + LINK_HEADERS);
            if frame.longest() > longest {
                report.drop(DropReason::TxTooLong, frame.counters());
                continue;
            }
            let header = VnetHeader::of(frame).write();
            let parts = [IoSlice::new(&header), IoSlice::new(frame.bytes())];
            match self.device.write_vectored(&parts) {
                Ok(length) if length == header.len() + frame.len() => {
                    report.sent(frame.counters());
                }
                Ok(_) => report.drop(DropReason::TxError, frame.counters()),
                Err(error) => {
                    let reason = self.failed(&error);
                    report.drop(reason, frame.counters());
                }
            }
        }
    }

    fn takes_unfinished(&self) -> bool {
        true
    }

    fn state(&self) -> LinkState {
        self.state
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn check(&mut self) {
        self.look();
        match &self.claim {
            Some(claim) => claim.hang_up(),
            None => match self.attach() {
                Ok(()) => self.look(),
                Err(error) => {
                    let trouble =
                        format!("interface {} was deleted: {}", self.interface, error.reason());
                    self.become_state(LinkState::Gone, Some(trouble));
                }
            },
        }
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        // A deleted interface makes its descriptor readable for ever.
        (self.state != LinkState::Gone).then(|| self.device.as_fd())
    }

    /// The kernel counts a frame that finds the queue to this port full as dropped on transmit.
    fn overruns(&mut self) -> u64 {
        let name = sys::tun_name(self.device.as_fd()).ok().filter(|_| self.is_first);
        let Some(name) = name else { return 0 };
        let Some(now) = transmit_drops(&name) else { return 0 };
        // The counter of an interface that was made again begins anew.
        let before = std::mem::replace(&mut self.overruns, now);
        now.checked_sub(before).unwrap_or(now)
    }

    fn mtu(&self) -> Option<u32> {
        self.mtu
    }
}

/// Bytes that a frame may have on top of the MTU: an Ethernet header and two VLAN tags.
const LINK_HEADERS: usize = 14 + 8;
