//! Captures, replayed in their own time onto one of the card's wires.

use std::io::{self, Read};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hostdp::port::pcap::{self, PcapError, Reader};
use vfio::{MemoryWire, Wire};

/// See `offload/captures/make.py`.
const BUNDLED: &[u8] = include_bytes!("../../captures/mixed.pcap");

/// Most bytes of frames that one capture may have: all of it is held in memory.
const LONGEST: usize = 256 << 20;

/// A frame and when it comes, from the start of the replay.
pub(super) type Timed = (Duration, Vec<u8>);

/// The frames of the bundled capture and of the given ones, each from its own start.
pub(super) fn frames(captures: &[PathBuf]) -> io::Result<Vec<Timed>> {
    let mut frames = read("the bundled capture", Reader::new(BUNDLED))?;
    for path in captures {
        frames.extend(read(&path.display().to_string(), pcap::open(path))?);
    }
    frames.sort_by_key(|(at, _)| *at);
    Ok(frames)
}

fn read<R: Read>(name: &str, opened: Result<Reader<R>, PcapError>) -> io::Result<Vec<Timed>> {
    let wrong = |e: &dyn std::fmt::Display| io::Error::other(format!("{name}: {e}"));
    let mut start = None;
    let mut frames = Vec::new();
    let mut bytes = 0;
    for record in opened.map_err(|e| wrong(&e))? {
        let record = record.map_err(|e| wrong(&e))?;
        bytes += record.frame.len() + size_of::<Timed>();
        if bytes > LONGEST {
            let most = LONGEST >> 20;
            return Err(wrong(&format!(
                "more than {most} MiB of packets; replay a part of it (editcap -r IN OUT 1-100000)"
            )));
        }
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
