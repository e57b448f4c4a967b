//! The exception path of a card: packets that the card's table did not finish go up to the host,
//! and packets from the host go down to the wire. The card's driver implements the path and
//! hostdp's `fpga` port uses it; neither of the two knows the other.

use std::io;
use std::os::fd::BorrowedFd;

use crate::id::RecircId;

/// Why the card handed a packet up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MissReason {
    /// No entry matched in the scope of `recirc_id`.
    Miss,
    /// An action of the entry sent it to the host.
    ToHost,
    /// The card's limit of recirculations was reached: the host goes on from `recirc_id`.
    RecircLimit,
}

/// What the card says about a packet that it hands up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissDescriptor {
    /// Why the card handed the packet up.
    pub reason: MissReason,
    /// The scope in which the host looks the packet up: 0 unless the card had begun a chain.
    pub recirc_id: RecircId,
    /// The `dp_hash` that the card computed; 0 if it computed none.
    pub dp_hash: u32,
    /// Length in bytes of the frame as it came off the wire. Rewrites in the card may have changed
    /// the length since.
    pub original_len: u32,
}

/// The rings of one wire port of a card.
pub trait CardPort: Send {
    /// Takes at most `max` packets off the receive ring, each with the card's rewrites so far;
    /// returns their number. An error means that the card is gone.
    fn receive(
        &mut self,
        max: usize,
        sink: &mut dyn FnMut(MissDescriptor, &[u8]),
    ) -> io::Result<usize>;

    /// Puts a frame on the transmit ring, which leads straight to the wire. Returns `Ok(false)` if
    /// the ring is full; then the frame was not taken.
    fn transmit(&mut self, frame: &[u8]) -> io::Result<bool>;

    /// Length in bytes, without FCS, of the longest frame that the port sends.
    fn longest(&self) -> usize;

    /// Rings the doorbell for the frames put on the transmit ring since the last call.
    fn kick(&mut self) -> io::Result<()>;

    /// The descriptor that becomes readable when the receive ring has packets; `None` if interrupts
    /// are off.
    fn readable(&self) -> Option<BorrowedFd<'_>>;

    /// Clears the descriptor and arms the next interrupt. Packets that came meanwhile make the
    /// descriptor readable again at once.
    fn arm(&mut self) -> io::Result<()>;

    /// Returns true if the wire is up. The call is slow: callers ask a few times a second. An error
    /// means that the card is gone.
    fn link(&mut self) -> io::Result<bool>;
}
