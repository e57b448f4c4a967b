//! PORTS: a window per wire port.

use flow::Counters;

use super::block::Window;
use super::queue::RingRegisters;
use crate::error::Error;
use crate::layout::{Word, layout};

layout! {
    /// The PORTS block.
    ports "PORTS" {
        COUNT 0x10 4;
        FIRST 0x14 4;
        STRIDE 0x18 4;
    }
}

layout! {
    /// The window of one wire port.
    port "PORT" {
        LINK 0x00 4;
        SPEED 0x04 4;
        RX 0x10 44;
        TX 0x40 44;
        RX_PACKETS 0x80 8;
        RX_BYTES 0x88 8;
        TX_PACKETS 0x90 8;
        TX_BYTES 0x98 8;
        DROP_RX_RING_FULL 0xa0 8;
        DROP_RX_RING_FULL_BYTES 0xa8 8;
        DROP_RX_RING_OFF 0xb0 8;
        DROP_RX_RING_OFF_BYTES 0xb8 8;
        DROP_OVERSIZE 0xc0 8;
        DROP_OVERSIZE_BYTES 0xc8 8;
        DROP_HALTED 0xd0 8;
        DROP_HALTED_BYTES 0xd8 8;
        DROP_TX_WIRE 0xe0 8;
        DROP_TX_WIRE_BYTES 0xe8 8;
        DROP_TX_BAD 0xf0 8;
        DROP_TX_BAD_BYTES 0xf8 8;
        TO_HOST_PACKETS 0x100 8;
        TO_HOST_BYTES 0x108 8;
        FROM_HOST_PACKETS 0x110 8;
        FROM_HOST_BYTES 0x118 8;
        DROP_TX_TOO_LONG 0x120 8;
        DROP_TX_TOO_LONG_BYTES 0x128 8;
        DROP_RX_WIRE 0x130 8;
        DROP_RX_WIRE_BYTES 0x138 8;
    }
}

/// The PORTS block.
pub struct PortsBlock {
    block: Window,
    first: u64,
    stride: u64,
    count: u32,
}

impl PortsBlock {
    /// Reads the position of the windows.
    pub fn read(block: Window) -> Result<PortsBlock, Error> {
        let first = u64::from(block.read(ports::FIRST)?);
        let stride = u64::from(block.read(ports::STRIDE)?);
        let count = block.read(ports::COUNT)?;
        Ok(PortsBlock { block, first, stride, count })
    }

    /// Returns the number of ports.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the window of a port.
    #[must_use]
    pub fn port(&self, port: u16) -> PortWindow {
        PortWindow(self.block.at(self.first + u64::from(port) * self.stride))
    }
}

/// The drops on the way in: the word for the reason, the counter of frames, the counter of bytes.
pub const RECEIVE_DROPS: [(&str, Word, Word); 5] = [
    ("rx-wire", port::DROP_RX_WIRE, port::DROP_RX_WIRE_BYTES),
    ("rx-ring-full", port::DROP_RX_RING_FULL, port::DROP_RX_RING_FULL_BYTES),
    ("rx-ring-off", port::DROP_RX_RING_OFF, port::DROP_RX_RING_OFF_BYTES),
    ("oversize", port::DROP_OVERSIZE, port::DROP_OVERSIZE_BYTES),
    ("halted", port::DROP_HALTED, port::DROP_HALTED_BYTES),
];

/// The drops on the way out, with the same columns as [`RECEIVE_DROPS`].
pub const TRANSMIT_DROPS: [(&str, Word, Word); 3] = [
    ("tx-wire", port::DROP_TX_WIRE, port::DROP_TX_WIRE_BYTES),
    ("tx-too-long", port::DROP_TX_TOO_LONG, port::DROP_TX_TOO_LONG_BYTES),
    ("tx-bad", port::DROP_TX_BAD, port::DROP_TX_BAD_BYTES),
];

/// The window of one wire port.
#[derive(Clone)]
pub struct PortWindow(pub Window);

impl PortWindow {
    /// Returns the registers of the ring from card to host.
    #[must_use]
    pub fn rx(&self) -> RingRegisters {
        RingRegisters(self.0.at(port::RX.offset as u64))
    }

    /// Returns the registers of the ring from host to card.
    #[must_use]
    pub fn tx(&self) -> RingRegisters {
        RingRegisters(self.0.at(port::TX.offset as u64))
    }

    /// Returns true if the wire is up.
    pub fn link(&self) -> Result<bool, Error> {
        Ok(self.0.read(port::LINK)? == 1)
    }

    /// Reads a counter of frames and its counter of bytes.
    pub fn counters(&self, frames: Word, bytes: Word) -> Result<Counters, Error> {
        Ok(Counters { packets: self.0.read64(frames)?, bytes: self.0.read64(bytes)? })
    }
}
