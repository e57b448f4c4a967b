//! Captures, replayed in their own time onto one of the card's wires.

use std::io::{self, Cursor};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hostdp::port::pcap::Reader;
use vfio::{MemoryWire, Wire};

/// See `offload/captures/make.py`.
const BUNDLED: &[u8] = include_bytes!("../../captures/mixed.pcap");

/// A frame and when it comes, from the start of the replay.
pub(super) type Timed = (Duration, Vec<u8>);

/// The frames of the bundled capture and of the given ones, each from its own start.
pub(super) fn frames(captures: &[PathBuf]) -> io::Result<Vec<Timed>> {
    let mut frames = read("the bundled capture", BUNDLED.to_vec())?;
    for path in captures {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| io::Error::other(format!("{name}: {e}")))?;
        frames.extend(read(&name, bytes)?);
    }
    frames.sort_by_key(|(at, _)| *at);
    Ok(frames)
}

fn read(name: &str, bytes: Vec<u8>) -> io::Result<Vec<Timed>> {
    let wrong = |e: &dyn std::fmt::Display| io::Error::other(format!("{name}: {e}"));
    let mut reader = Reader::new(Cursor::new(bytes)).map_err(|e| wrong(&e))?;
    let mut start = None;
    let mut frames = Vec::new();
    while let Some(record) = reader.next_record().map_err(|e| wrong(&e))? {
        let start = *start.get_or_insert(record.time);
        frames.push((Duration::from_nanos(record.time.saturating_sub(start)), record.frame));
    }
    Ok(frames)
}

/// A replay that goes on.
pub(super) struct Player {
    thread: JoinHandle<io::Result<usize>>,
}

impl Player {
    /// Starts it on its end of a wire. What the card sends there is taken and thrown away.
    pub(super) fn start(mut wire: MemoryWire, frames: Vec<Timed>) -> io::Result<Player> {
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(move || {
            let start = Instant::now();
            let count = frames.len();
            for (at, frame) in frames {
                std::thread::sleep(at.saturating_sub(start.elapsed()));
                while wire.take().is_some() {}
                // Full: the card has not come round to it yet.
                while !wire.transmit(&frame)? {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            // Until the card has taken the last one the wire must stay.
            std::thread::sleep(Duration::from_millis(50));
            Ok(count)
        })?;
        Ok(Player { thread })
    }

    /// Waits for its end; returns the number of frames.
    pub(super) fn finish(self) -> io::Result<usize> {
        self.thread.join().map_err(|_| io::Error::other("the replay's thread died"))?
    }
}
