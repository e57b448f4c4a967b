//! The packets that are being processed.

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

/// The packets of a burst and their copies. They stay where they are, and whoever works on some
/// of them has their numbers: a packet with its key is five cache lines.
#[derive(Default)]
pub(super) struct Flights(Vec<InFlight>);

impl Flights {
    /// Forgets all packets.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes a packet in; returns its number.
    pub(super) fn add(&mut self, packet: InFlight) -> usize {
        self.0.push(packet);
        self.0.len() - 1
    }

    /// Takes a copy of a packet in; returns its number.
    pub(super) fn copy(&mut self, number: usize) -> Option<usize> {
        let copy = self.0.get(number)?.clone();
        Some(self.add(copy))
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut InFlight> {
        self.0.get_mut(number)
    }

    /// The packets of these numbers.
    pub(super) fn of<'a>(&'a self, numbers: &'a [usize]) -> impl Iterator<Item = &'a InFlight> {
        numbers.iter().filter_map(|number| self.0.get(*number))
    }

    /// Calls the function for each packet of these numbers, to change it.
    pub(super) fn for_each(&mut self, numbers: &[usize], mut change: impl FnMut(&mut InFlight)) {
        for number in numbers {
            if let Some(packet) = self.0.get_mut(*number) {
                change(packet);
            }
        }
    }

    /// The packets of these numbers have come to their end: their frames go.
    pub(super) fn end(&mut self, numbers: &[usize]) {
        self.for_each(numbers, |packet| packet.packet = Packet::default());
    }

    /// The packets as they are.
    pub(super) fn whole(&self, numbers: &[usize]) -> Counters {
        self.of(numbers).map(InFlight::whole).sum()
    }

    /// The packets as the next output or userspace action sends them.
    pub(super) fn kept(&self, numbers: &[usize]) -> Counters {
        self.of(numbers).map(InFlight::kept).sum()
    }
}

impl InFlight {
    /// The packet as it is.
    pub(super) fn whole(&self) -> Counters {
        Counters::packet(self.packet.len())
    }

    /// The packet as the next output or userspace action sends it.
    fn kept(&self) -> Counters {
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

    /// The frame for the packet's last output. An empty packet is left.
    pub(super) fn take_frame(&mut self) -> Packet {
        if self.cut == 0 { std::mem::take(&mut self.packet) } else { self.frame() }
    }

    /// Length after the truncation: at least the Ethernet header stays.
    fn kept_len(&self) -> usize {
        let whole = self.packet.len();
        whole.saturating_sub(self.cut).max(ETHERNET_HEADER).min(whole)
    }
}
