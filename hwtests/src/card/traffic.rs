//! Traffic between hosts from ordinary sockets and programs. It runs while commands go on.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow::Clock;

use super::hosts::{Hosts, address};
use crate::check::{Failure, Outcome, WithContext};
use crate::stream;

const TCP_PORT: u16 = 5001;
/// How long a connection may stand still: longer than any disturbance that a test makes.
const PATIENCE: Duration = Duration::from_secs(8);

/// Traffic that runs.
pub(super) struct TrafficRun {
    /// Answers or bytes so far.
    progress: Arc<AtomicU64>,
    ends: Vec<Receiver<Outcome<u64>>>,
    streams: Streams,
}

/// Both ends of a connection, for who wants it to end.
type Streams = Arc<Mutex<Vec<TcpStream>>>;

impl TrafficRun {
    /// Answers (ping) or bytes (TCP) that have arrived so far.
    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Breaks connections off; what they say of that is theirs.
    pub(super) fn stop(self) {
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Fails only where it is broken already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = self.finish();
    }

    /// Waits for the end: how many answers or bytes arrived, of how many sent.
    pub(super) fn finish(self) -> Outcome<(u64, u64)> {
        let ends = self.ends.into_iter().map(|end| end.recv().context("a host's thread")?);
        match ends.collect::<Outcome<Vec<u64>>>()?[..] {
            [sent, arrived] => Ok((sent, arrived)),
            [sent] => Ok((sent, self.progress.load(Ordering::Relaxed))),
            _ => Err(Failure::new("traffic without ends")),
        }
    }
}

/// Sends the given number of pings at the given interval and waits a second for each reply.
pub(super) fn ping(
    hosts: &Hosts,
    from: u8,
    to: u8,
    count: u32,
    distance: Duration,
) -> Outcome<TrafficRun> {
    let progress = Arc::new(AtomicU64::new(0));
    let answers = progress.clone();
    let (to, seconds) = (address(to), distance.as_secs_f64());
    let end = hosts.namespace(from)?.start(move || {
        let mut ping = std::process::Command::new("ping")
            .args(["-n", "-W", "1", "-c", &count.to_string(), "-i", &seconds.to_string()])
            .arg(to.to_string())
            .stdout(std::process::Stdio::piped())
            // What does not arrive is counted; nobody asks why it was not sent.
            .stderr(std::process::Stdio::null())
            .spawn()
            .context("starting ping")?;
        if let Some(output) = ping.stdout.take() {
            for line in std::io::BufRead::lines(std::io::BufReader::new(output)) {
                if line.context("ping")?.contains("bytes from") {
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        // Its status says only what was counted.
        ping.wait().context("ping")?;
        Ok(u64::from(count))
    })?;
    Ok(TrafficRun { progress, ends: vec![end], streams: Streams::default() })
}

/// One TCP connection that sends for that long; what arrives is compared with what was sent.
pub(super) fn tcp(hosts: &Hosts, from: u8, to: u8, time: Duration) -> Outcome<TrafficRun> {
    let progress = Arc::new(AtomicU64::new(0));
    let server = SocketAddr::new(address(to).into(), TCP_PORT);
    let (listening, is_listening) = mpsc::channel();
    let streams = Streams::default();
    let (accepted, connected) = (streams.clone(), streams.clone());
    let arrived = progress.clone();
    let receiver = hosts.namespace(to)?.start(move || {
        let listener = TcpListener::bind(server).context("listening")?;
        listening.send(()).context("telling that it listens")?;
        let (mut stream, _) = listener.accept().context("accepting")?;
        stream.set_read_timeout(Some(PATIENCE)).context("a time limit")?;
        keep(&stream, &accepted)?;
        stream::receive(&mut stream, &arrived)
    })?;
    if is_listening.recv_timeout(PATIENCE).is_err() {
        receiver.recv().context("the server's thread")??;
    }
    let sender = hosts.namespace(from)?.start(move || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE).context("connecting")?;
        stream.set_write_timeout(Some(PATIENCE)).context("a time limit")?;
        keep(&stream, &connected)?;
        let block = stream::block();
        let (mut sent, begin) = (0, Clock::start());
        while begin.elapsed() < time {
            stream.write_all(&block).context("sending")?;
            sent += block.len() as u64;
        }
        stream.shutdown(Shutdown::Write).context("closing")?;
        Ok(sent)
    })?;
    Ok(TrafficRun { progress, ends: vec![sender, receiver], streams })
}

fn keep(stream: &TcpStream, streams: &Streams) -> Outcome {
    let copy = stream.try_clone().context("a connection's descriptor")?;
    streams.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
    Ok(())
}
