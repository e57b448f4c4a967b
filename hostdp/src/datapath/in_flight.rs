//! A packet that is being processed.

use flow::packet::Packet;
use flow::{Counters, Key};

use crate::ledger::Origin;

/// Length of an Ethernet header in bytes: a shorter frame is malformed.
pub(super) const ETHERNET_HEADER: usize = 14;

/// A packet between its arrival, or an answer to its upcall, and its end.
#[derive(Clone)]
pub(super) struct InFlight {
    pub(super) packet: Packet,
    pub(super) key: Key,
    pub(super) origin: Origin,
    /// The account of recirculations that the packet shares with its copies; the executor keeps it.
    pub(super) credit: usize,
    /// Number of bytes that the next output or userspace action cuts off the end.
    pub(super) cut: usize,
}

impl InFlight {
    /// The packet as it is.
    pub(super) fn whole(&self) -> Counters {
        Counters::packet(self.packet.len())
    }

    /// The packet as the next output or userspace action sends it.
    pub(super) fn kept(&self) -> Counters {
        Counters::packet(self.kept_len())
    }

    /// Cuts the packet to this number of bytes, for the next output or userspace action.
    pub(super) fn truncate(&mut self, max: u32) {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        self.cut = self.packet.len().saturating_sub(max);
    }

    /// A copy of the frame for an output or userspace action; ends the truncation.
    pub(super) fn frame(&mut self) -> Packet {
        if self.cut == 0 {
            return self.packet.clone();
        }
        let keep = self.kept_len();
        self.cut = 0;
        Packet::new(self.packet.bytes().get(..keep).unwrap_or_default())
    }

    /// The frame for the packet's last output.
    pub(super) fn into_frame(mut self) -> Packet {
        if self.cut == 0 { self.packet } else { self.frame() }
    }

    /// Length after the truncation: at least the Ethernet header stays.
    fn kept_len(&self) -> usize {
        let whole = self.packet.len();
        whole.saturating_sub(self.cut).max(ETHERNET_HEADER).min(whole)
    }
}
