//! Replays captures with their own timing onto one of the card's wires.

use std::io::{self, Read};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use flow::Clock;
use hostdp::port::pcap::{self, PcapError, PcapReader};
use vfio::{MemoryWire, Wire};

/// The bundled capture. `offload/captures/make.py` makes it.
const BUNDLED: &[u8] = include_bytes!("../../captures/mixed.pcap");

/// Largest number of bytes that the frames of one capture may have, since all frames are held in
/// memory.
const LONGEST: usize = 256 << 20;

/// A frame, and the time at which it comes, counted from the start of the replay.
pub(super) type Timed = (Duration, Vec<u8>);

/// The frames of the bundled capture and of the given captures. Times count from the start of
/// each capture.
pub(super) fn frames(captures: &[PathBuf]) -> io::Result<Vec<Timed>> {
    let mut frames = read("the bundled capture", PcapReader::new(BUNDLED))?;
    for path in captures {
        frames.extend(read(&path.display().to_string(), pcap::open(path))?);
    }
    frames.sort_by_key(|(at, _)| *at);
    Ok(frames)
}

fn read<R: Read>(name: &str, opened: Result<PcapReader<R>, PcapError>) -> io::Result<Vec<Timed>> {
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

/// A running replay.
pub(super) struct Player {
    thread: JoinHandle<io::Result<usize>>,
}

impl Player {
    /// Starts a replay on its end of a wire. Frames that the card sends there are thrown away.
    pub(super) fn start(mut wire: MemoryWire, frames: Vec<Timed>) -> io::Result<Player> {
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(move || {
            let start = Clock::start();
            let count = frames.len();
            for (at, frame) in frames {
                std::thread::sleep(at.saturating_sub(start.elapsed()));
                while wire.take().is_some() {}
                // The wire is full until the card takes frames from it.
                while !wire.transmit(&frame)? {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            // The wire must stay until the card has taken the last frame.
            std::thread::sleep(Duration::from_millis(50));
            Ok(count)
        })?;
        Ok(Player { thread })
    }

    /// Waits for the end of the replay. Returns the number of frames.
    pub(super) fn finish(self) -> io::Result<usize> {
        self.thread.join().map_err(|_| io::Error::other("the replay's thread died"))?
    }
}
