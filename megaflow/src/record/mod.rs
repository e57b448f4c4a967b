//! Recordings: all that happened to the engine and what it did, line by line in a file, and the
//! run over it that proves that the same events give the same commands.
//!
//! A recording is JSON, one object a line: a header with the setup, then each step of the engine,
//! and at last the reason why the recording ends. A step names the moment and the event, then what
//! the providers' admissions answered meanwhile (they are asked, so their answers are an input),
//! then the commands and replies that came out.

mod format;
mod recorder;
mod rerun;
mod setup;
#[cfg(test)]
mod tests;

pub use recorder::{RecordFile, Recorder, recorded};
pub use rerun::{Difference, Rerun, rerun};
pub use setup::{ClientSetup, ProviderSetup, Setup};
