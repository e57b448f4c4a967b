//! The contract of a place where megaflows can live.

mod blocking;
mod error;
mod event;
mod operation;
mod reading;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::capability::Admission;
use crate::id::Ufid;
use crate::stats::Stats;
use crate::table::TableUsage;
use crate::traffic::PortTraffic;

pub use blocking::Blocking;
pub use error::ProviderError;
pub use event::{Correction, ProviderEvent};
pub use operation::{Completion, Op, OpKind, Submission, Tag};
pub use reading::{Cursor, Dumped};

/// The largest number of entries in one part of a reading.
pub const PART: usize = 256;

/// A place where megaflows can live: the host table, tc, the FPGA card.
///
/// # Ownership
/// A provider is owned by one thread, which calls its methods; it never calls back. Only what
/// [`Provider::admission`] returns may be used by other threads.
///
/// # Operations
/// [`Provider::submit`] takes operations, and [`Provider::poll`] delivers exactly one completion
/// for each operation that was taken, under its tag. In between the operation is *in flight*.
/// - Operations on one ufid take effect, and are completed, in the order in which they were taken.
///   Operations on different ufids may be completed in any order.
/// - At most [`Provider::window`] operations are in flight. A provider that is full leaves the rest
///   to the caller.
/// - An operation that failed does not stop the others. What each error means to the caller stands
///   with [`ProviderError`].
///
/// # Readings
/// [`Provider::stats`] and [`Provider::dump`] read the device in parts of at most about [`PART`]
/// entries: the first call begins a reading with the default cursor, and each part tells where the
/// next one begins; `None` ends the reading. A caller that begins anew gives the reading before up.
/// Operations may be submitted and polled between the parts.
/// - A megaflow with an operation in flight may be missing in the parts. One that was in the device
///   all the time from the first part to the last one, and had no operation in flight, is in
///   exactly one of them, unless the device has lost it.
/// - A part never tells of an operation whose completion was not delivered before.
///
/// # Time
/// `submit` and `events` don't wait for the device. `poll` waits for at most the time that it is
/// given, if nothing is completed sooner. A part of a reading, `adopt`, `traffic`, `reopen` and
/// `close` wait for the device, but not for ever: a device that does not answer in the time that it
/// should is gone. No call takes longer because there are more megaflows, except for `reopen`,
/// which may look over all that the device holds, and `close`, which removes it.
///
/// # A device that is gone
/// From the moment on that a provider finds its device gone, every operation in flight and every
/// operation that is submitted ends with [`ProviderError::Gone`], readings return that error, and
/// [`Provider::events`] has told of it once. [`Provider::reopen`] makes another attempt. After its
/// success the provider is as it was at its start: nothing is in flight, and what the device holds
/// is to be read and adopted.
pub trait Provider: Send {
    /// The provider's name in metrics, CLI and logs (`tc`, `fpga`, `host`).
    fn name(&self) -> &str;

    /// A snapshot of the function that decides about megaflows. Any thread may use it.
    fn admission(&self) -> Arc<dyn Admission>;

    /// The largest number of operations in flight, at least 1.
    fn window(&self) -> usize;

    /// Takes operations from the front of the queue, as many as there is room for.
    fn submit(&mut self, waiting: &mut VecDeque<Submission>);

    /// Works on what is in flight and pushes the completions that there are. If there is none, it
    /// waits for one, at most for `wait`, unless nothing is in flight.
    fn poll(&mut self, wait: Duration, done: &mut Vec<Completion>);

    /// Reads the statistics of the megaflows in a part of the device, absolute since their install.
    /// A megaflow of ours that is in no part is not in the device (see [Readings](#readings)).
    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError>;

    /// Reads what a part of the device holds that carries our cookie, from the device and not from
    /// memory.
    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError>;

    /// Adopts megaflows that the last dump returned, as if this process had installed them; returns
    /// the ufids of those that it could adopt.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid>;

    /// How full the tables are.
    fn tables(&self) -> Vec<TableUsage>;

    /// Reads the counters of the device's ports; empty for a device that has none.
    fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        Ok(Vec::new())
    }

    /// The events since the last call; never blocks.
    fn events(&mut self) -> Vec<ProviderEvent>;

    /// Tries to use a device again that is gone. An error says why it is still gone, and changes
    /// nothing.
    fn reopen(&mut self) -> Result<(), ProviderError> {
        Err(ProviderError::Gone("this device can't be opened again".to_owned()))
    }

    /// Ends the provider on purpose: removes our megaflows and everything that was made to hold
    /// them, so that the device has nothing of ours. A provider that is merely dropped, as when its
    /// process dies, may leave the device forwarding.
    fn close(&mut self) -> Result<(), ProviderError> {
        Ok(())
    }
}
