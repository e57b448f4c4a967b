//! The `pcap` port: frames out of one capture file and into another. The files are the classic
//! format of libpcap; [`Reader`] and [`Writer`] serve whoever needs the times too.

mod format;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flow::Moment;
use flow::packet::Packet;
use rustix::event::{EventfdFlags, eventfd};

use super::{Batch, Frame, LinkState, Port, PortError, PortKind, TxReport};
use crate::drops::DropReason;

pub use format::{PcapError, Reader, Record, Writer};

/// Where a port's times come from.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// A port over capture files. It receives each frame of its input once, as fast as it is asked,
/// and writes what it sends with the clock's time.
pub struct PcapPort {
    name: String,
    input: Option<Input>,
    output: Option<Writer<BufWriter<File>>>,
    clock: Clock,
    /// Readable until the input is at its end.
    readable: OwnedFd,
    trouble: Option<String>,
}

struct Input {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
}

impl PcapPort {
    /// A port that receives what is in `input`, if any, and writes what it sends to `output`,
    /// if any: an existing file is overwritten.
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
        let input = input
            .map(|path| {
                let refused = |what, error| system(what)(named(path, error));
                let file = File::open(path).map_err(|error| refused("open the input", error))?;
                let reader = Reader::new(BufReader::new(file))
                    .map_err(|error| refused("read the input", error.into()))?;
                Ok(Input { path: path.into(), reader })
            })
            .transpose()?;
        let output = output
            .map(|path| {
                let refused = |what, error| system(what)(named(path, error));
                let file =
                    File::create(path).map_err(|error| refused("create the output", error))?;
                Writer::new(BufWriter::new(file))
                    .map_err(|error| refused("write the output", error))
            })
            .transpose()?;
        Ok(PcapPort { name: name.into(), input, output, clock, readable, trouble: None })
    }

    /// The input is at its end, or unreadable from here on.
    fn end(&mut self, error: Option<&PcapError>) {
        let input = self.input.take();
        if let (Some(input), Some(error)) = (input, error) {
            self.trouble = Some(format!("{}: {error}", input.path.display()));
        }
        let _ = rustix::io::read(&self.readable, &mut [0; 8]);
    }
}

/// The error with the file that it is about.
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
                Ok(Some(record)) => batch.push(Frame::fresh(Packet::new(&record.frame))),
                Ok(None) => self.end(None),
                Err(error) => self.end(Some(&error)),
            }
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        let time = (self.clock)().0;
        for frame in frames.drain(..) {
            match &mut self.output {
                // Nobody listens at the other end, as on a cable that ends in the air.
                None => report.sent(frame.len()),
                Some(output) => match output.write(time, frame.bytes()) {
                    Ok(()) => report.sent(frame.len()),
                    Err(error) => {
                        self.trouble = Some(format!("the output: {error}"));
                        report.drop(DropReason::TxError, frame.len());
                    }
                },
            }
        }
        if let Some(output) = &mut self.output
            && let Err(error) = output.flush()
        {
            self.trouble = Some(format!("the output: {error}"));
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
