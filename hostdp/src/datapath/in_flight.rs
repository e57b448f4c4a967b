//! The packets that are being processed.

use flow::packet::{self, Packet, ReadyRewrite};
use flow::{Action, Attr, Counters, Key};

use crate::ledger::Origin;
use crate::port::PacketPool;

/// Length of an Ethernet header in bytes: a shorter frame is malformed.
pub(super) const ETHERNET_HEADER: usize = 14;

/// A packet between its arrival, or an answer to its upcall, and its end.
pub(super) struct InFlight {
    pub(super) packet: Packet,
    /// The key before the actions that have changed the frame since, if any ([`InFlight::key`]).
    /// Its metadata are always right.
    pub(super) key: Key,
    /// The frame has changed since the key was made.
    is_key_old: bool,
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
    pub(super) fn clear(&mut self, pool: &mut PacketPool) {
        self.0.drain(..).for_each(|packet| pool.keep(packet.packet));
    }

    /// Takes a packet in; returns its number.
    pub(super) fn add(&mut self, packet: InFlight) -> usize {
        self.0.push(packet);
        self.0.len() - 1
    }

    /// Takes copies of packets in; returns their numbers.
    pub(super) fn copies(&mut self, of: &[usize], pool: &mut PacketPool) -> Vec<usize> {
        let copy = |number: &usize| {
            let packet = self.0.get(*number)?;
            let copy = InFlight { packet: pool.copy(&packet.packet), ..*packet };
            Some(self.add(copy))
        };
        of.iter().filter_map(copy).collect()
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
    pub(super) fn end(&mut self, numbers: &[usize], pool: &mut PacketPool) {
        self.for_each(numbers, |packet| pool.keep(std::mem::take(&mut packet.packet)));
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
    /// A packet of this key; the key may be completed later.
    pub(super) fn new(packet: Packet, key: Key, origin: Origin, credit: usize) -> InFlight {
        InFlight { packet, key, is_key_old: false, origin, credit, cut: 0 }
    }

    /// One of the packets that an unfinished frame of this key was.
    pub(super) fn segment(packet: Packet, key: Key, origin: Origin, credit: usize) -> InFlight {
        InFlight { is_key_old: true, ..InFlight::new(packet, key, origin, credit) }
    }

    /// The key of the frame as it is now, with its metadata.
    pub(super) fn key(&mut self) -> &mut Key {
        if std::mem::take(&mut self.is_key_old) {
            self.packet.key_again(&mut self.key);
        }
        &mut self.key
    }

    /// Executes an action that changes the frame or a field of the key that is not in the frame.
    /// A frame is not parsed between actions, unless one needs its key.
    pub(super) fn edit(&mut self, action: &Action) {
        let is_about_key = match action {
            Action::Hash { .. } => true,
            Action::Set(fields) => fields.attr == Attr::DpHash,
            _ => false,
        };
        if is_about_key {
            self.key();
            packet::edit(&mut self.packet, &mut self.key, action);
        } else {
            self.is_key_old |= packet::rewrite(&mut self.packet, action);
        }
    }

    /// Executes a rewrite of the frame.
    pub(super) fn rewrite(&mut self, rewrite: &ReadyRewrite) {
        rewrite.execute(&mut self.packet);
        self.is_key_old = true;
    }

    /// The frame is looked up again: its key and its headers are made anew.
    pub(super) fn recirculated(&mut self, recirc_id: u32) {
        let Key { in_port, dp_hash, .. } = self.key;
        self.key = Key { in_port, dp_hash, recirc_id, ..Key::default() };
        self.packet.extract_into(&mut self.key);
        self.is_key_old = false;
        self.cut = 0;
    }

    /// The packet as it is.
    pub(super) fn whole(&self) -> Counters {
        self.packet.counters()
    }

    /// The packet as the next output or userspace action sends it.
    fn kept(&self) -> Counters {
        match self.cut {
            0 => self.whole(),
            _ => Counters::packet(self.kept_len()),
        }
    }

    /// Cuts the packet to this number of bytes, for the next output or userspace action.
    pub(super) fn truncate(&mut self, max: u32) {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        self.cut = self.packet.len().saturating_sub(max);
    }

    /// The frame as an output or userspace action sends it; ends the truncation.
    pub(super) fn frame(&mut self) -> &[u8] {
        let keep = self.kept_len();
        self.cut = 0;
        self.packet.bytes().get(..keep).unwrap_or_default()
    }

    /// The frame for the packet's last output. An empty packet is left, or the frame that the
    /// truncation cut.
    pub(super) fn take_frame(&mut self, pool: &mut PacketPool) -> Packet {
        if self.cut == 0 { std::mem::take(&mut self.packet) } else { pool.packet(self.frame()) }
    }

    /// Length after the truncation: at least the Ethernet header stays.
    fn kept_len(&self) -> usize {
        let whole = self.packet.len();
        whole.saturating_sub(self.cut).max(ETHERNET_HEADER).min(whole)
    }
}
