//! The `system` port: a network interface of the kernel through a raw packet socket.
//!
//! The socket sees what the interface receives (never what it sends), whole: VLAN tags that the
//! kernel strips come back, missing checksums are completed, large frames are cut in segments.
//! The kernel's own stack sees the same packets; an interface that is a port should have no
//! addresses of its own.
//!
//! The socket belongs to the network namespace of the thread that opened it and stays there,
//! whichever thread uses it. When the interface goes down the port is down and recovers with it;
//! when it is deleted the port is gone and takes the next interface of the same name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use flow::packet::Packet;

use super::offload::Header;
use super::sys::{self, Messages};
use super::{BURST, Batch, Frame, LinkState, Port, PortError, PortKind, TxReport};
use crate::drops::DropReason;

/// An interface of the kernel.
pub struct SystemPort {
    name: String,
    /// The interface's name.
    device: String,
    socket: OwnedFd,
    index: i32,
    mtu: Option<u32>,
    state: LinkState,
    trouble: Option<String>,
    messages: Messages,
}

/// Room in the kernel for bursts that come while the worker is busy.
const SOCKET_BUFFER: i32 = 8 << 20;

impl SystemPort {
    /// Opens the interface of that name in the calling thread's network namespace. Needs
    /// `CAP_NET_RAW` there.
    pub fn open(name: &str) -> Result<SystemPort, PortError> {
        if !sys::is_interface_name(name) {
            return Err(PortError::Name(name.into()));
        }
        let system = |what: &'static str| {
            move |source: io::Error| PortError::System { port: name.into(), what, source }
        };
        let socket = sys::packet_socket().map_err(system("packet socket"))?;
        let options = [
            (libc::PACKET_VNET_HDR, "offload headers"),
            (libc::PACKET_AUXDATA, "auxiliary data"),
            (libc::PACKET_IGNORE_OUTGOING, "ignoring what is sent"),
        ];
        for (option, what) in options {
            let set = sys::set_int(socket.as_fd(), libc::SOL_PACKET, option, 1);
            set.map_err(system(what))?;
        }
        for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            // Without the privilege the system's default has to do.
            let _ = sys::set_int(socket.as_fd(), libc::SOL_SOCKET, option, SOCKET_BUFFER);
        }
        let mut port = SystemPort {
            name: name.into(),
            device: name.into(),
            socket,
            index: 0,
            mtu: None,
            state: LinkState::Gone,
            trouble: None,
            messages: Messages::new(),
        };
        let index = sys::index_of(port.socket.as_fd(), name).map_err(system("interface"))?;
        port.attach(index).map_err(system("bind"))?;
        port.look();
        Ok(port)
    }

    /// The same port under a name of its own, where that is not the interface's.
    #[must_use]
    pub fn named(self, name: &str) -> SystemPort {
        SystemPort { name: name.into(), ..self }
    }

    /// Binds the socket to the interface of that number.
    fn attach(&mut self, index: i32) -> io::Result<()> {
        // First, so that nothing comes in between that the filter of addresses takes out.
        sys::set_promiscuous(self.socket.as_fd(), index)?;
        sys::bind_interface(self.socket.as_fd(), index)?;
        self.index = index;
        Ok(())
    }

    /// Asks the kernel how the interface is.
    fn look(&mut self) {
        let socket = self.socket.as_fd();
        let looked = sys::name_of(socket, self.index)
            .and_then(|name| Ok((sys::flags(socket, &name)?, sys::mtu(socket, &name)?)));
        match looked {
            Ok((flags, mtu)) => {
                self.mtu = Some(mtu);
                let wanted = libc::IFF_UP | libc::IFF_RUNNING;
                let (state, trouble) = match flags & wanted {
                    both if both == wanted => (LinkState::Up, None),
                    one if one == libc::IFF_UP => (LinkState::Down, Some("no carrier")),
                    _ => (LinkState::Down, Some("the interface is set down")),
                };
                self.become_state(state, trouble);
            }
            Err(error) => {
                let text = format!("the interface is gone: {error}");
                self.become_state(LinkState::Gone, Some(&text));
            }
        }
    }

    fn become_state(&mut self, state: LinkState, trouble: Option<&str>) {
        self.state = state;
        if self.trouble.as_deref() != trouble {
            self.trouble = trouble.map(str::to_owned);
        }
    }

    /// What an error of the socket means for the frame that it was given.
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
        match self.messages.receive(self.socket.as_fd(), batch.room()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                // A frame whose offloads the kernel can't describe in a header; it is lost.
                return batch.drop(DropReason::Malformed, 0);
            }
            // The interface went down; reading the error has cleared it.
            Err(_) => return self.look(),
        }
        for message in self.messages.iter() {
            let header = Header::read(message.header).filter(|_| !message.is_cut);
            let finished = header.and_then(|header| {
                let sink = |packet: Packet| batch.push(Frame::fresh(packet));
                header.finish(message.frame, message.vlan, sink).ok()
            });
            if finished.is_none() {
                batch.drop(DropReason::Malformed, message.frame.len());
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
        let mut rest = &frames[..];
        while !rest.is_empty() {
            match sys::send(self.socket.as_fd(), &rest[..rest.len().min(BURST)]) {
                Ok(count) if count > 0 => {
                    let (sent, unsent) = rest.split_at(count.min(rest.len()));
                    sent.iter().for_each(|frame| report.sent(frame.len()));
                    rest = unsent;
                }
                Ok(_) => {
                    rest.iter().for_each(|frame| report.drop(DropReason::TxError, frame.len()));
                    rest = &[];
                }
                Err(error) => {
                    let reason = self.failed(&error);
                    let count = if reason == DropReason::PortDown { rest.len() } else { 1 };
                    let (lost, others) = rest.split_at(count);
                    lost.iter().for_each(|frame| report.drop(reason, frame.len()));
                    rest = others;
                }
            }
        }
        frames.clear();
    }

    fn state(&self) -> LinkState {
        self.state
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn check(&mut self) {
        self.look();
        if self.state != LinkState::Gone {
            return;
        }
        // Another interface of the name: the same socket, so that it stays in its namespace.
        if let Ok(index) = sys::index_of(self.socket.as_fd(), &self.device)
            && self.attach(index).is_ok()
        {
            self.look();
        }
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn overruns(&mut self) -> u64 {
        sys::packet_drops(self.socket.as_fd()).map_or(0, u64::from)
    }

    fn mtu(&self) -> Option<u32> {
        self.mtu
    }
}
