//! The exception path of a card: packets that its table did not finish, and packets from the
//! host into the wire. The card's driver implements it, hostdp's `fpga` port uses it; neither
//! knows the other.

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

/// What comes with a packet from the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissDescriptor {
    /// Why.
    pub reason: MissReason,
    /// The scope in which the host looks it up: 0 unless the card had begun the chain.
    pub recirc_id: RecircId,
    /// `dp_hash` as the card had computed it; 0 if it had not.
    pub dp_hash: u32,
    /// Bytes of the frame as it came off the wire; the packet at hand may be changed since.
    pub original_len: u32,
}

/// The rings of one wire port of a card.
pub trait CardPort: Send {
    /// Takes at most `max` packets off the receive ring, each as modified so far; returns how
    /// many. An error means that the card is gone.
    fn receive(
        &mut self,
        max: usize,
        sink: &mut dyn FnMut(MissDescriptor, &[u8]),
    ) -> io::Result<usize>;

    /// Puts a frame on the transmit ring, straight to the wire. `Ok(false)`: the ring is full
    /// and the frame was not taken.
    fn transmit(&mut self, frame: &[u8]) -> io::Result<bool>;

    /// Longest frame that it sends, bytes without FCS.
    fn longest(&self) -> usize;

    /// Rings the doorbell for what was put on the transmit ring since the last call.
    fn kick(&mut self) -> io::Result<()>;

    /// Becomes readable when the receive ring has packets, if interrupts are on.
    fn readable(&self) -> Option<BorrowedFd<'_>>;

    /// Clears `readable` and arms the next interrupt; packets that came meanwhile make it
    /// readable again at once.
    fn arm(&mut self) -> io::Result<()>;

    /// Is the wire up? Slow: to be asked a few times a second. An error means that the card is
    /// gone.
    fn link(&mut self) -> io::Result<bool>;

    /// Packets that the card dropped because the receive ring was full, absolute.
    fn overruns(&mut self) -> u64;
}
