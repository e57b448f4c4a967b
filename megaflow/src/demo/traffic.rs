//! Real traffic from ordinary kernel sockets; each function runs in a host's namespace.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use flow::Clock;
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::Namespace;

const PATIENCE: Duration = Duration::from_secs(5);
const TCP_PORT: u16 = 5001;
const UDP_PORT: u16 = 5002;

/// Pings until `answers` answers have arrived. The kernel does ARP or ND first by itself.
pub(super) fn ping(from: &Namespace, to: IpAddr, answers: u16) -> io::Result<u16> {
    from.run(move || {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.connect(&SocketAddr::new(to, 0).into())?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let clock = Clock::start();
        let mut sequence = 0;
        while sequence < answers {
            if clock.elapsed() > PATIENCE {
                let text = format!("{to} answered {sequence} of {answers} pings");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            // The neighbour may not be resolved yet: a lost request is sent again.
            let sent = socket.send(&echo_request(to, sequence));
            if sent.is_ok() && answered(&mut socket, to, sequence)? {
                sequence += 1;
            }
        }
        Ok(answers)
    })
}

const ID: u16 = 0x4d46;

fn echo_request(to: IpAddr, sequence: u16) -> Vec<u8> {
    let mut message = vec![if to.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    message.extend(ID.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend([0x55; 48]);
    if to.is_ipv4() {
        // The kernel fills in the checksum of ICMPv6 only.
        let words = message.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// Reads until the answer comes, and returns true; returns false if nothing more arrives.
fn answered(socket: &mut Socket, to: IpAddr, sequence: u16) -> io::Result<bool> {
    let mut buffer = [0; 2048];
    loop {
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        // A raw IPv4 socket shows the IP header, an IPv6 one does not.
        let header = if to.is_ipv4() { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
        let reply = if to.is_ipv4() { 0 } else { 129 };
        let message = buffer.get(header..length).unwrap_or_default();
        let id = message.get(4..6) == Some(&ID.to_be_bytes()[..]);
        let right = message.get(6..8) == Some(&sequence.to_be_bytes()[..]);
        if message.first() == Some(&reply) && id && right {
            return Ok(true);
        }
    }
}

/// Sends over one connection for the given time and checks that all bytes arrive as they were
/// sent. Returns the number of bytes.
pub(super) fn tcp(
    client: &Namespace,
    server: &Namespace,
    to: IpAddr,
    time: Duration,
) -> io::Result<u64> {
    let (listening, is_listening) = mpsc::channel();
    let received = server.start(move || -> io::Result<u64> {
        let listener = TcpListener::bind(SocketAddr::new(to, TCP_PORT))?;
        listening.send(()).map_err(io::Error::other)?;
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0_u64;
        loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Ok(total);
            }
            check_pattern(&buffer[..length], total)?;
            total += length as u64;
        }
    })?;
    if is_listening.recv_timeout(PATIENCE).is_err() {
        received.recv().map_err(io::Error::other)??;
    }
    let sent = client.run(move || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, TCP_PORT), PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let block: Vec<u8> = (0..1 << 16).map(pattern).collect();
        let clock = Clock::start();
        let mut total = 0_u64;
        while clock.elapsed() < time {
            stream.write_all(&block)?;
            total += block.len() as u64;
        }
        io::Result::Ok(total)
    })?;
    let received = received.recv().map_err(io::Error::other)??;
    if sent == received {
        Ok(sent)
    } else {
        Err(io::Error::other(format!("TCP: {sent} bytes sent, {received} received")))
    }
}

/// The byte at a position of the stream; blocks of 65,536 repeat.
fn pattern(position: u32) -> u8 {
    (position.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]
}

fn check_pattern(bytes: &[u8], position: u64) -> io::Result<()> {
    for (index, byte) in (position..).zip(bytes) {
        if *byte != pattern(u32::try_from(index & 0xffff).unwrap_or_default()) {
            return Err(io::Error::other(format!("TCP: byte {index} is not what was sent")));
        }
    }
    Ok(())
}

/// Sends datagrams and waits for the echo of each one; a lost datagram is sent again. Returns the
/// number of echoes.
pub(super) fn udp(
    client: &Namespace,
    server: &Namespace,
    to: IpAddr,
    datagrams: u32,
) -> io::Result<u32> {
    let (bound, is_bound) = mpsc::channel();
    let echoed = server.start(move || -> io::Result<()> {
        let socket = UdpSocket::bind(SocketAddr::new(to, UDP_PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        bound.send(()).map_err(io::Error::other)?;
        let mut buffer = [0; 2048];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            socket.send_to(&buffer[..length], peer)?;
        }
    })?;
    if is_bound.recv_timeout(PATIENCE).is_err() {
        echoed.recv().map_err(io::Error::other)??;
    }
    let count = client.run(move || {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(to, UDP_PORT))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut buffer = [0; 2048];
        let clock = Clock::start();
        let mut back = 0;
        while back < datagrams && clock.elapsed() < PATIENCE {
            let size = usize::try_from(64 + back % 1300).unwrap_or(64);
            socket.send(&vec![back.to_le_bytes()[0]; size])?;
            match socket.recv(&mut buffer) {
                Ok(length) if length == size => back += 1,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        // An empty datagram ends the echo. Three are sent in case one is lost.
        for _ in 0..3 {
            socket.send(&[])?;
        }
        Ok(back)
    })?;
    echoed.recv().map_err(io::Error::other)??;
    Ok(count)
}
