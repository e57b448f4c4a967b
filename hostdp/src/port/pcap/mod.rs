//! The `pcap` port: frames out of one capture file and into another. The files have the classic
//! format of libpcap; callers that need the times of frames use [`PcapReader`] and [`PcapWriter`].

mod format;
#[cfg(test)]
mod tests;

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flow::Clock;
use flow::packet::Packet;
use rustix::event::{EventfdFlags, eventfd};

use super::{Batch, Frame, LinkState, Port, PortError, PortKind, TxReport};
use crate::drops::DropReason;

pub use format::{PcapError, PcapReader, PcapWriter, Record};

/// A capture that is being read.
pub type Input = PcapReader<BufReader<File>>;
/// A capture that is being written.
pub type Output = PcapWriter<BufWriter<File>>;

/// Opens a capture and reads its header. Opening a pipe waits for its writer.
pub fn open(path: &Path) -> Result<Input, PcapError> {
    PcapReader::new(BufReader::new(File::open(path)?))
}

/// Creates a capture, or overwrites an existing file. In either case the file is readable by its
/// owner alone, since packets are private.
pub fn create(path: &Path) -> io::Result<Output> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(OWNER).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(OWNER))?;
    }
    PcapWriter::new(BufWriter::new(file))
}

/// To be read and written by the owner.
const OWNER: u32 = 0o600;

/// A port over capture files. It receives each frame of its input once, as fast as the worker asks,
/// and writes each frame that it sends with the clock's time.
pub struct PcapPort {
    name: String,
    input: Option<Source>,
    output: Option<Output>,
    clock: Clock,
    /// Readable until the input is at its end.
    readable: OwnedFd,
    trouble: Option<String>,
}

struct Source {
    path: PathBuf,
    reader: Input,
}

impl PcapPort {
    /// A port that receives the frames of `input`, if given, and writes the frames that it sends to
    /// `output`, if given. An existing output is overwritten. Neither file can be a pipe or a
    /// device, because the worker must not wait for others.
    pub fn open(
        name: &str,
        input: Option<&Path>,
        output: Option<&Path>,
        clock: Clock,
    ) -> Result<PcapPort, PortError> {
        let system = |what: &'static str| {
            move |source: io::Error| PortError::System { port: name.into(), what, source }
        };
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let readable = eventfd(u32::from(input.is_some()), flags);
        let readable = readable.map_err(|error| system("eventfd")(error.into()))?;
        let refused = |what, path, error| system(what)(named(path, error));
        let input = input.map(|path| {
            let reader = is_regular(path)
                .and_then(|()| open(path).map_err(io::Error::from))
                .map_err(|error| refused("can't read the input", path, error))?;
            Ok(Source { path: path.into(), reader })
        });
        let output = output.map(|path| {
            let made = match is_regular(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => create(path),
            };
            made.map_err(|error| refused("can't write the output", path, error))
        });
        let (input, output) = (input.transpose()?, output.transpose()?);
        Ok(PcapPort { name: name.into(), input, output, clock, readable, trouble: None })
    }

    /// Closes the input, which has ended or can't be read any further.
    fn end(&mut self, error: Option<&PcapError>) {
        let input = self.input.take();
        if let (Some(input), Some(error)) = (input, error) {
            self.trouble = Some(format!("{}: {error}", input.path.display()));
        }
        let _ = rustix::io::read(&self.readable, &mut [0; 8]);
    }
}

fn is_regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Adds the path of a file to an error about it.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Port for PcapPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> PortKind {
        PortKind::Pcap
    }

    fn receive(&mut self, batch: &mut Batch) {
        while batch.room() > 0 {
            let Some(input) = &mut self.input else { return };
            match input.reader.next_record() {
                Ok(Some(record)) => {
                    let packet = batch.packet(&record.frame);
                    batch.push(Frame::fresh(packet));
                }
                Ok(None) => self.end(None),
                Err(error) => self.end(Some(&error)),
            }
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        let time = self.clock.now().0;
        let mut written = Vec::new();
        for frame in frames.iter() {
            match &mut self.output {
                // Without an output the frame counts as sent, as on a cable with an open end.
                None => report.sent(frame.counters()),
                Some(output) => match output.write(time, frame.bytes()) {
                    Ok(()) => written.push(frame.counters()),
                    Err(error) => {
                        self.trouble = Some(format!("the output: {error}"));
                        report.drop(DropReason::TxError, frame.counters());
                    }
                },
            }
        }
        // A frame is sent when the file has it, and not while it waits in the buffer.
        let Some(output) = &mut self.output else { return };
        match output.flush() {
            Ok(()) => written.into_iter().for_each(|what| report.sent(what)),
            Err(error) => {
                self.trouble = Some(format!("the output: {error}"));
                let lost = written.into_iter();
                lost.for_each(|what| report.drop(DropReason::TxError, what));
            }
        }
    }

    fn state(&self) -> LinkState {
        if self.trouble.is_none() { LinkState::Up } else { LinkState::Down }
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.readable.as_fd())
    }
}
