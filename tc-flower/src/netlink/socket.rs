//! Sends datagrams to the kernel and receives them.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

/// The requested size of the receive buffer, enough for the echoes of many batches.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The size of the buffer for one datagram. The kernel's largest datagram of a dump is 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// The other end of the exchange: the kernel, or a test's imitation of it.
pub trait Transport: Send + Sized {
    /// Opens another socket of the same kind.
    fn again(&self) -> io::Result<Self>;

    /// Sends one datagram.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;

    /// Puts the next datagram into `into`, replacing its content. The error is `TimedOut` if no
    /// datagram comes in time, `ENOBUFS` if datagrams were lost, and `InvalidData` if a datagram
    /// was cut off.
    fn receive(&mut self, into: &mut Vec<u8>, timeout: Duration) -> io::Result<()>;

    /// Returns the address with which the kernel marks messages that this socket caused.
    fn port(&self) -> u32;

    /// Returns the number of bytes that the kernel queues for this socket before it drops
    /// datagrams.
    fn queue(&self) -> usize;
}

/// A `NETLINK_ROUTE` socket.
pub struct KernelSocket {
    socket: Socket,
    port: u32,
    queue: usize,
    /// The groups whose notifications the socket receives; empty for a socket for requests.
    groups: &'static [u32],
}

impl KernelSocket {
    /// Opens a socket for requests: extended acks, no copy of the request in them, strict
    /// checking of dump requests.
    pub(crate) fn requests() -> io::Result<KernelSocket> {
        let opened = KernelSocket::open()?;
        opened.socket.set_ext_ack(true)?;
        opened.socket.set_cap_ack(true)?;
        opened.socket.set_netlink_get_strict_chk(true)?;
        Ok(opened)
    }

    /// Opens a socket that receives the notifications of these groups.
    pub(crate) fn monitor(groups: &'static [u32]) -> io::Result<KernelSocket> {
        let opened = KernelSocket { groups, ..KernelSocket::open()? };
        groups.iter().try_for_each(|group| opened.socket.add_membership(*group))?;
        Ok(opened)
    }

    fn open() -> io::Result<KernelSocket> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        // A size above the system's limit needs CAP_NET_ADMIN in the first user namespace.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        let queue = sockopt::socket_recv_buffer_size(&socket)?;
        Ok(KernelSocket { socket, port, queue, groups: &[] })
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Transport for KernelSocket {
    fn again(&self) -> io::Result<KernelSocket> {
        match self.groups {
            [] => KernelSocket::requests(),
            groups => KernelSocket::monitor(groups),
        }
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let sent = self.socket.send_to(datagram, &SocketAddr::new(0, 0), 0)?;
        if sent == datagram.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&mut self, into: &mut Vec<u8>, timeout: Duration) -> io::Result<()> {
        loop {
            self.wait(timeout)?;
            into.clear();
            into.reserve(DATAGRAM);
            let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
            let (len, from) = self.socket.recv_from(into, flags)?;
            if len > into.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            // Only datagrams from the kernel count, because processes can write to this socket
            // too.
            if from.port_number() == 0 {
                return Ok(());
            }
        }
    }

    fn port(&self) -> u32 {
        self.port
    }

    fn queue(&self) -> usize {
        self.queue
    }
}
