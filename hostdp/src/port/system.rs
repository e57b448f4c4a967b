//! The `system` port: a network interface of the kernel through a raw packet socket, or through
//! AF_XDP.
//!
//! The packet socket sees the frames that the interface receives, never those that it sends. The
//! port puts VLAN tags back that the kernel has stripped. Frames whose checksum is missing or that
//! have to be cut in segments stay so in the datapath, and the port sends such frames, so that bulk
//! traffic between interfaces of the kernel moves in frames of up to 64 KiB. The kernel's own stack
//! sees the same packets, so an interface that is a port should have no addresses of its own.
//!
//! The socket belongs to the network namespace of the thread that opened it and stays there,
//! whichever thread uses it. While the interface is down, the port is down. When the interface is
//! deleted or leaves the namespace, the kernel unbinds the socket: then the port is gone, and takes
//! the next interface of the same name. An interface that gets another name stays the port's. While
//! the port has an interface, no other datapath gets it (`claim.rs`).
//!
//! With AF_XDP (`xdp/`) the packet socket receives nothing, but it still is what holds on to the
//! interface. Where AF_XDP does not work the port says why, and uses the packet socket until the
//! interface is made again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use flow::Clock;
use flow::packet::Packet;

use super::claim::Claim;
use super::offload::{self, VnetHeader};
use super::parts::Share;
use super::socket::{discard_waiting, open_socket};
use super::sys::{self, FrameBuffers};
use super::xdp::{self, NoXdp, XdpSockets};
use super::{BURST, Batch, Frame, LinkState, Port, PortError, PortKind, TxReport, fits, renamed};
use crate::drops::DropReason;

/// An interface of the kernel.
pub struct SystemPort {
    name: String,
    /// The interface's name as asked for.
    interface: String,
    socket: OwnedFd,
    attached: Option<Attached>,
    mtu: Option<u32>,
    state: LinkState,
    trouble: Option<String>,
    messages: FrameBuffers,
    io: SystemIo,
    way: Way,
    /// The interface was down since the way was chosen: AF_XDP may work when it is up again.
    was_down: bool,
    /// Frames that were lost with sockets that are closed.
    lost: u64,
    share: Share,
}

/// How a system port gets frames from the kernel and hands them over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SystemIo {
    /// By a packet socket.
    #[default]
    Packet,
    /// By AF_XDP where that works and leaves frames whole, else by a packet socket.
    Xdp,
    /// Like `Xdp`, but in the generic mode, even where VLAN tags and large frames of local senders
    /// get lost in it. For tests and measurements.
    XdpGeneric,
}

/// The way that frames take now.
enum Way {
    /// The packet socket: as wanted, or because AF_XDP does not work, with the reason.
    Packet(Option<String>),
    /// None: the interface has not been up yet, and AF_XDP and parts of a port need it up; or the
    /// interface is in use by somebody else, with the reason and the time since.
    Waiting(Option<(String, Clock)>),
    Xdp(XdpSockets),
}

/// The interface that the port has.
struct Attached {
    /// Its name when the port got it.
    name: String,
    claim: Arc<Claim>,
}

/// How long a port waits for an interface that somebody else uses by XDP.
const BUSY: Duration = Duration::from_secs(3);

/// Checks whether system ports can use AF_XDP on this host. An error is the reason why not; the
/// flag in it is true if only those of veth interfaces can't.
pub fn probe_xdp() -> Result<(), (String, bool)> {
    xdp::probe()
}

impl SystemPort {
    /// Opens an interface in the calling thread's network namespace, as a port of the same name.
    /// Needs `CAP_NET_RAW` in that namespace.
    pub fn open(interface: &str) -> Result<SystemPort, PortError> {
        SystemPort::open_as(interface, interface)
    }

    /// Like [`SystemPort::open`], as a port of another name.
    pub fn open_as(name: &str, interface: &str) -> Result<SystemPort, PortError> {
        SystemPort::open_with(name, interface, SystemIo::Packet)
    }

    /// Like [`SystemPort::open_as`], with a way for the frames. AF_XDP also needs `CAP_NET_ADMIN`,
    /// `CAP_BPF` and, for 16 MiB of locked memory for each queue, `CAP_IPC_LOCK`; if it does not
    /// work the port opens all the same, and tells the reason in [`Port::trouble`].
    pub fn open_with(name: &str, interface: &str, io: SystemIo) -> Result<SystemPort, PortError> {
        SystemPort::open_part(name, interface, io, Share::alone())
    }

    /// Like [`SystemPort::open_with`], as a part for each of several workers. The kernel gives each
    /// frame to one of the parts, those of a conversation to the same one. With more than one part
    /// there is no AF_XDP.
    pub fn open_parts(
        name: &str,
        interface: &str,
        io: SystemIo,
        workers: usize,
    ) -> Result<Vec<SystemPort>, PortError> {
        let shares = Share::of(workers).into_iter();
        shares.map(|share| SystemPort::open_part(name, interface, io, share)).collect()
    }

    fn open_part(
        name: &str,
        interface: &str,
        io: SystemIo,
        share: Share,
    ) -> Result<SystemPort, PortError> {
        if !sys::is_interface_name(interface) {
            return Err(PortError::Name(interface.into()));
        }
        let mut port = SystemPort {
            name: name.into(),
            interface: interface.into(),
            socket: open_socket(name)?,
            attached: None,
            mtu: None,
            state: LinkState::Gone,
            trouble: None,
            messages: FrameBuffers::new(),
            io,
            way: Way::Packet(None),
            was_down: false,
            lost: 0,
            share,
        };
        port.attach()?;
        port.look();
        Ok(port)
    }

    /// Claims the interface of the port's name and binds the socket to it.
    fn attach(&mut self) -> Result<(), PortError> {
        let socket = self.socket.as_fd();
        let (port, interface) = (&self.name, &self.interface);
        let system = |what: &'static str| {
            move |source: io::Error| PortError::System { port: port.clone(), what, source }
        };
        let found = sys::index_of(socket, interface)
            .and_then(|index| Ok((index, sys::name_of(socket, index)?)));
        let (index, name) = found.map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => {
                PortError::NoInterface { port: port.clone(), interface: interface.clone() }
            }
            _ => system("can't find the interface")(error),
        })?;
        let claim = self.share.claim(port, interface, socket, index)?;
        // Promiscuous mode comes before the bind, so that no frame is lost to the interface's
        // address filter in between.
        sys::set_promiscuous(socket, index).map_err(system("promiscuous mode"))?;
        let by_packets = self.io == SystemIo::Packet && !self.share.is_one_of_several();
        sys::bind_interface(socket, index, by_packets).map_err(system("bind"))?;
        self.attached = Some(Attached { name, claim });
        self.way = if by_packets { Way::Packet(None) } else { Way::Waiting(None) };
        Ok(())
    }

    /// Chooses the way of the frames of an interface that is up.
    fn choose_way(&mut self, index: i32, name: &str, mtu: u32) {
        let socket = self.socket.as_fd();
        if self.share.is_one_of_several() {
            if matches!(self.way, Way::Waiting(_)) {
                self.way = self.join(index);
            }
            return;
        }
        match &self.way {
            Way::Packet(refused) if refused.is_none() || !self.was_down => return,
            Way::Xdp(xdp) if xdp::fits(mtu) && xdp.are_whole(socket, name) => return,
            // Frames of the new length would get lost, or their tags: what follows says why.
            Way::Packet(_) | Way::Xdp(_) | Way::Waiting(_) => {}
        }
        self.was_down = false;
        self.close_xdp();
        let (socket, generic) = (self.socket.as_fd(), self.io == SystemIo::XdpGeneric);
        let refused = match XdpSockets::open(socket, (index, name), mtu, generic) {
            Ok(sockets) => match sys::bind_interface(socket, index, false) {
                Ok(()) => return self.way = Way::Xdp(sockets),
                Err(error) => format!("bind: {error}"),
            },
            Err(error) if error.is_busy() && self.waits(&error) => return,
            Err(error) => error.to_string(),
        };
        let trouble = match sys::bind_interface(self.socket.as_fd(), index, true) {
            Ok(()) => format!("no AF_XDP: {refused}; AF_PACKET instead"),
            Err(error) => format!("no AF_XDP: {refused}; and no AF_PACKET: bind: {error}"),
        };
        self.way = Way::Packet(Some(trouble));
    }

    /// Has the socket take its part of the frames.
    fn join(&self, index: i32) -> Way {
        let no_xdp = "no AF_XDP: [datapath] has several workers; AF_PACKET instead";
        match self.share.join(self.socket.as_fd(), index) {
            Ok(()) => Way::Packet((self.io != SystemIo::Packet).then(|| no_xdp.to_owned())),
            Err(error) => {
                let trouble = format!("can't share {} among workers: {error}", self.interface);
                Way::Waiting(Some((trouble, Clock::start())))
            }
        }
    }

    /// Opens another socket where that of a part has had its interface: it can't have the next one.
    fn renew(&mut self) -> Result<(), PortError> {
        let is_joined = self.share.is_one_of_several() && matches!(self.way, Way::Packet(_));
        if !is_joined || self.attached.is_some() {
            return Ok(());
        }
        let name = &self.name;
        let opened =
            sys::in_namespace_of(self.socket.as_fd(), || Ok::<_, io::Error>(open_socket(name)));
        let what = "network namespace";
        let system = |source| PortError::System { port: name.clone(), what, source };
        let socket = opened.map_err(system)??;
        self.lost += sys::packet_drops(self.socket.as_fd()).map_or(0, u64::from);
        self.lost += discard_waiting(self.socket.as_fd());
        self.socket = socket;
        self.way = Way::Waiting(None);
        Ok(())
    }

    /// Waits for an interface that is in use; false if that has taken long enough.
    fn waits(&mut self, error: &NoXdp) -> bool {
        match &self.way {
            Way::Waiting(Some((_, since))) => return since.elapsed() < BUSY,
            // The packet socket does well meanwhile.
            Way::Packet(_) => return false,
            Way::Waiting(None) | Way::Xdp(_) => {}
        }
        let trouble = format!("interface {} waits for AF_XDP: {error}", self.interface);
        self.way = Way::Waiting(Some((trouble, Clock::start())));
        true
    }

    /// Closes the sockets of AF_XDP, if there are any. What they hold is lost, and counted.
    fn close_xdp(&mut self) {
        if let Way::Xdp(sockets) = &mut self.way {
            self.lost += sockets.end();
            self.way = Way::Waiting(None);
        }
    }

    /// Asks the kernel for the state of the interface that the socket is bound to.
    fn look(&mut self) {
        let socket = self.socket.as_fd();
        let looked = sys::bound_interface(socket).and_then(|index| {
            let index = index.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
            let name = sys::name_of(socket, index)?;
            Ok((sys::flags(socket, &name)?, sys::mtu(socket, &name)?, index, name))
        });
        if let (Ok((flags, mtu, index, name)), Some(_)) = (&looked, &self.attached) {
            if flags & libc::IFF_UP != 0 {
                self.choose_way(*index, name, *mtu);
            } else {
                self.was_down = true;
            }
        }
        let (Ok((flags, mtu, _, name)), Some(attached)) = (looked, &self.attached) else {
            let trouble = format!("there is no interface {} any more", self.interface);
            // The interface's number is free: another datapath may get the next interface with it.
            self.attached = None;
            self.close_xdp();
            return self.become_state(LinkState::Gone, Some(trouble));
        };
        self.mtu = Some(mtu);
        let wanted = libc::IFF_UP | libc::IFF_RUNNING;
        let (state, trouble) = match flags & wanted {
            both if both == wanted => match &self.way {
                Way::Waiting(busy) => {
                    (LinkState::Down, busy.as_ref().map(|(trouble, _)| trouble.clone()))
                }
                Way::Packet(no_xdp) => {
                    (LinkState::Up, renamed(&attached.name, &name).or_else(|| no_xdp.clone()))
                }
                Way::Xdp(_) => (LinkState::Up, renamed(&attached.name, &name)),
            },
            one if one == libc::IFF_UP => {
                (LinkState::Down, Some(format!("interface {name} has no carrier")))
            }
            _ => (LinkState::Down, Some(format!("interface {name} is set down"))),
        };
        self.become_state(state, trouble);
    }

    fn become_state(&mut self, state: LinkState, trouble: Option<String>) {
        (self.state, self.trouble) = (state, trouble);
    }

    /// The drop reason of a frame that the socket refused with an error.
    fn failed(&mut self, error: &io::Error) -> DropReason {
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => DropReason::TxTooLong,
            Some(libc::EAGAIN | libc::ENOBUFS) => DropReason::TxFull,
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                self.look();
                DropReason::PortDown
            }
            _ => DropReason::TxError,
        }
    }
}

impl Port for SystemPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> PortKind {
        PortKind::System
    }

    fn receive(&mut self, batch: &mut Batch) {
        if let Way::Xdp(sockets) = &mut self.way {
            return sockets.receive(batch);
        }
        let count = match self.messages.receive(self.socket.as_fd(), batch.room()) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                // The kernel can't describe the frame's offloads in a header: the frame is lost.
                return batch.drop(DropReason::Malformed, 0);
            }
            // The interface went down; the failed read has cleared the socket's error.
            Err(_) => return self.look(),
        };
        for number in 0..count {
            let Some(message) = self.messages.take(number, batch.pool()) else { return };
            let mut packet = message.packet;
            let header = VnetHeader::read(message.header);
            if message.is_cut || header.apply(&mut packet).is_err() {
                batch.drop(DropReason::Malformed, packet.len());
                batch.pool().keep(packet);
                continue;
            }
            if let Some((tpid, tci)) = message.vlan {
                let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
                packet.insert(12, [a, b, c, d]);
            }
            batch.push(Frame::fresh(packet));
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        // Only a check tries again whether an interface is free for AF_XDP: that takes long.
        let is_busy = matches!(self.way, Way::Waiting(Some(_)));
        if self.state != LinkState::Up && !is_busy {
            self.look();
        }
        if self.state != LinkState::Up {
            return report.drop_all(DropReason::PortDown, frames);
        }
        if let Way::Xdp(sockets) = &mut self.way {
            let sent = sockets.transmit(frames, self.mtu.unwrap_or(0), report);
            if sent.is_err() {
                self.close_xdp();
                self.look();
            }
            return;
        }
        // The kernel does not check the length of segments that are still to be cut. The MTU is
        // that of the last look.
        let mtu = self.mtu.unwrap_or(u32::MAX);
        frames.retain(|frame| {
            let is_sent = frame.segments() == 1 || fits(frame, mtu);
            if !is_sent {
                report.drop(DropReason::TxTooLong, frame.counters());
            }
            is_sent
        });
        let mut rest = &frames[..];
        let mut has_failed = false;
        while !rest.is_empty() {
            let mut headers = [[0; offload::LENGTH]; BURST];
            for (header, frame) in headers.iter_mut().zip(rest) {
                *header = VnetHeader::of(frame).write();
            }
            match sys::send(self.socket.as_fd(), rest, &headers) {
                Ok(count) if count > 0 => {
                    let (sent, unsent) = rest.split_at(count.min(rest.len()));
                    sent.iter().for_each(|frame| report.sent(frame.counters()));
                    rest = unsent;
                }
                Ok(_) => {
                    rest.iter()
                        .for_each(|frame| report.drop(DropReason::TxError, frame.counters()));
                    rest = &[];
                }
                Err(error) => {
                    let reason = self.failed(&error);
                    let is_old = reason == DropReason::PortDown && self.state == LinkState::Up;
                    if is_old && !std::mem::replace(&mut has_failed, true) {
                        // The interface went down and up again since the last call: the error is
                        // an old one.
                        continue;
                    }
                    let count = if reason == DropReason::PortDown { rest.len() } else { 1 };
                    let (lost, others) = rest.split_at(count);
                    lost.iter().for_each(|frame| report.drop(reason, frame.counters()));
                    rest = others;
                }
            }
        }
    }

    fn takes_unfinished(&self) -> bool {
        // A port that waits for AF_XDP may have it by the time it sends.
        matches!(self.way, Way::Packet(_))
    }

    fn state(&self) -> LinkState {
        self.state
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn check(&mut self) {
        self.look();
        match &self.attached {
            Some(attached) => attached.claim.hang_up(),
            // The next interface of the name is in the same namespace as the socket.
            None => match self.renew().and_then(|()| self.attach()) {
                Ok(()) => self.look(),
                Err(PortError::NoInterface { .. }) => {}
                Err(error) => self.become_state(LinkState::Gone, Some(error.reason())),
            },
        }
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Xdp(sockets) => Some(sockets.readable()),
            Way::Packet(_) | Way::Waiting(_) => Some(self.socket.as_fd()),
        }
    }

    fn arm(&mut self) {
        if let Way::Xdp(sockets) = &mut self.way {
            sockets.flush();
        }
    }

    fn overruns(&mut self) -> u64 {
        let lost = match &mut self.way {
            Way::Xdp(sockets) => sockets.overruns(),
            Way::Packet(_) | Way::Waiting(_) => {
                sys::packet_drops(self.socket.as_fd()).map_or(0, u64::from)
            }
        };
        lost + std::mem::take(&mut self.lost)
    }

    fn queues(&self) -> usize {
        match &self.way {
            Way::Xdp(sockets) => sockets.queues(),
            Way::Packet(_) | Way::Waiting(_) => 1,
        }
    }

    fn way(&self) -> Option<&'static str> {
        match &self.way {
            Way::Xdp(sockets) => Some(sockets.mode()),
            Way::Packet(_) | Way::Waiting(_) => None,
        }
    }

    fn mtu(&self) -> Option<u32> {
        self.mtu
    }
}
