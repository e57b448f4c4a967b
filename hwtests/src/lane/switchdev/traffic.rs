//! Traffic between the functions, from ordinary sockets in their namespaces.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flow::Counters;
use nix::sched::{CloneFlags, setns};

use crate::check::{Failure, Outcome, WithContext};
use crate::{guest, stream};

/// How long a connection may stand still: longer than any disturbance that a test makes.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two blocks: emulation forwards some thousand packets a second, and the daemon has to
/// have its share.
const PAUSE: Duration = Duration::from_millis(8);

/// Starts something in a thread that is in a network namespace.
pub(super) fn start<T: Send + 'static>(
    namespace: &'static str,
    job: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> JoinHandle<Outcome<T>> {
    thread::spawn(move || {
        let path = format!("/run/netns/{namespace}");
        let file = File::open(&path).context(&path)?;
        setns(file, CloneFlags::CLONE_NEWNET).context(&path)?;
        job()
    })
}

fn finish<T>(thread: JoinHandle<Outcome<T>>) -> Outcome<T> {
    thread.join().map_err(|_| Failure::new("a thread of the test panicked"))?
}

/// Runs something in a network namespace and waits for its result.
pub(super) fn within<T: Send + 'static>(
    namespace: &'static str,
    job: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    finish(start(namespace, job))
}

/// What a function has sent and received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Function {
    pub(super) received: Counters,
    pub(super) sent: Counters,
}

/// Reads a function's counters, in its namespace.
pub(super) fn counters(namespace: &'static str, dev: &'static str) -> Outcome<Function> {
    let text = within(namespace, || guest::read("/proc/thread-self/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(dev)?.strip_prefix(':'));
    let line = line.ok_or_else(|| Failure::new(format!("no {dev} in {namespace}")))?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [rx_bytes, rx, _, _, _, _, _, _, tx_bytes, tx, ..] => Ok(Function {
            received: Counters { packets: rx, bytes: rx_bytes },
            sent: Counters { packets: tx, bytes: tx_bytes },
        }),
        _ => Err(Failure::new(format!("not a line of counters: {line}"))),
    }
}

/// Pings, each answered or the check fails.
pub(super) fn ping(namespace: &str, to: &str, count: u32) -> Outcome {
    guest::run_in(namespace, &format!("ping -n -q -c {count} -i 0.05 -W 2 {to}")).map(drop)
}

/// One end of a connection.
#[derive(Clone, Copy)]
pub(super) struct StreamEnd {
    pub(super) namespace: &'static str,
    /// For the server the address that it listens on, for the client the one it connects to.
    pub(super) address: &'static str,
}

/// A TCP connection that goes on until it is stopped; what arrives is compared with what was sent.
pub(super) struct Stream {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    ends: Option<[JoinHandle<Outcome<u64>>; 2]>,
}

impl Drop for Stream {
    /// After a check that failed: nothing of it disturbs the next one.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// Connects. The server sees the connection come from `seen_as`, where that is given.
    pub(super) fn start(
        client: StreamEnd,
        server: StreamEnd,
        seen_as: Option<&'static str>,
    ) -> Outcome<Stream> {
        let (listen, connect) = (address(server.address)?, address(client.address)?);
        let stop = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(AtomicU64::new(0));
        let (listening, is_listening) = mpsc::channel();
        let (progress, stopped) = (arrived.clone(), stop.clone());
        let server = start(server.namespace, move || {
            let listener = TcpListener::bind(listen).context("listening")?;
            listener.set_nonblocking(true).context("listening")?;
            // Whoever waits for it has failed otherwise already.
            let _ = listening.send(());
            let mut stream = accept(&listener, &stopped, seen_as)?;
            stream.set_read_timeout(Some(PATIENCE)).context("a stream")?;
            stream::receive(&mut stream, &progress)
        });
        if is_listening.recv_timeout(PATIENCE).is_err() {
            return Err(finish(server).err().unwrap_or_else(|| Failure::new("no server")));
        }
        let is_over = stop.clone();
        let client = start(client.namespace, move || send(connect, &is_over));
        Ok(Stream { stop, arrived, ends: Some([client, server]) })
    }

    /// Waits until the given number of further bytes has arrived.
    pub(super) fn goes_on(&self, bytes: u64) -> Outcome {
        let begin = self.arrived.load(Ordering::Relaxed);
        let what = format!("{bytes} bytes more than {begin} arrive");
        guest::wait_for(&what, PATIENCE, || {
            Ok(self.arrived.load(Ordering::Relaxed) >= begin + bytes || self.is_broken())
        })?;
        if self.is_broken() { Err(Failure::new("the connection broke")) } else { Ok(()) }
    }

    fn is_broken(&self) -> bool {
        self.ends.iter().flatten().any(JoinHandle::is_finished)
    }

    /// Ends it: everything that was sent has to arrive.
    pub(super) fn stop(mut self) -> Outcome<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let ends = self.ends.take().ok_or_else(|| Failure::new("a stream without ends"))?;
        let [sent, received] = ends.map(finish);
        let sent = sent.context("the TCP client")?;
        crate::check::equal("bytes that arrived", &received.context("the TCP server")?, &sent)?;
        Ok(sent)
    }
}

fn address(text: &str) -> Outcome<SocketAddr> {
    text.parse().context(text)
}

/// Accepts one connection, unless the test is over before there is one.
fn accept(listener: &TcpListener, stop: &AtomicBool, seen_as: Option<&str>) -> Outcome<TcpStream> {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let peer = peer.ip().to_string();
                if let Some(want) = seen_as {
                    crate::check::equal("the client's address", &peer, &want.to_owned())?;
                }
                stream.set_nonblocking(false).context("a stream")?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if stop.load(Ordering::Relaxed) {
                    return Err(Failure::new("nobody connected"));
                }
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).context("accepting"),
        }
    }
}

fn send(to: SocketAddr, stop: &AtomicBool) -> Outcome<u64> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).context("connecting")?;
    stream.set_write_timeout(Some(PATIENCE)).context("a stream")?;
    let block = stream::block();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&block).context("sending")?;
        sent += block.len() as u64;
        thread::sleep(PAUSE);
    }
    Ok(sent)
}
