//! What goes over a TCP connection of a test: bytes that each end knows, so that a wrong one, a
//! missing one and one too many show.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::check::{Failure, Outcome, WithContext};

/// The stream repeats after this many bytes.
const BLOCK: usize = 1 << 14;

/// What is sent again and again.
pub(crate) fn block() -> Vec<u8> {
    (0..).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).take(BLOCK).collect()
}

/// Receives to the end and compares; tells in `arrived` how many bytes have come so far.
pub(crate) fn receive(stream: &mut TcpStream, arrived: &AtomicU64) -> Outcome<u64> {
    let block = block();
    let mut buffer = vec![0; BLOCK];
    let (mut total, mut at) = (0, 0);
    loop {
        // At most to the end of a block, so that one comparison does.
        let length = stream.read(&mut buffer[at..]).context("receiving")?;
        if length == 0 {
            return Ok(total);
        }
        if buffer[at..at + length] != block[at..at + length] {
            return Err(Failure::new(format!("TCP: wrong bytes at or behind {total}")));
        }
        total += length as u64;
        at = (at + length) % BLOCK;
        arrived.store(total, Ordering::Relaxed);
    }
}
