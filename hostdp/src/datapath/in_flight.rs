//! The packets that are being processed.

use flow::packet::{self, Packet, ReadyRewrite};
use flow::{Action, Attr, Counters, Key, PortId};

use crate::ledger::Origin;
use crate::port::{Frame, PacketPool};

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
    /// The frame has changed since its headers were found.
    is_changed: bool,
    pub(super) origin: Origin,
    /// The account of recirculations that the packet shares with its copies; the executor keeps it.
    pub(super) credit: usize,
    /// Number of bytes that the next output or userspace action cuts off the end.
    pub(super) cut: usize,
}

/// The packets of a burst and their copies. They stay where they are, and whoever works on some
/// of them has their numbers: a packet with its key is three cache lines.
#[derive(Default)]
pub(super) struct Flights {
    /// The packets, and behind them what is left of those of earlier bursts, which have no frame.
    places: Vec<InFlight>,
    count: usize,
}

impl Flights {
    /// Forgets all packets, each of which has come to its end.
    pub(super) fn clear(&mut self) {
        let mut packets = self.places.iter().take(self.count);
        debug_assert!(packets.all(|packet| packet.packet.memory() == 0), "a frame is left behind");
        self.count = 0;
    }

    /// Takes a packet in; returns its number.
    pub(super) fn add(&mut self, packet: InFlight) -> usize {
        let number = self.count;
        match self.places.get_mut(number) {
            Some(place) => *place = packet,
            None => self.places.push(packet),
        }
        self.count += 1;
        number
    }

    /// Takes a frame in that came in by a port; returns its number.
    #[inline]
    pub(super) fn arrive(
        &mut self,
        frame: Frame,
        port: PortId,
        origin: Origin,
        credit: usize,
    ) -> usize {
        let number = self.count;
        if number == self.places.len() {
            let none = Packet::default();
            self.places.push(InFlight::new(none, Key::default(), Origin::Counted, 0));
        }
        // What arrives is made in its place: to move three cache lines there takes longer.
        if let Some(place) = self.places.get_mut(number) {
            place.arrive(frame, port, origin, credit);
        }
        self.count += 1;
        number
    }

    /// Takes copies of packets in; returns their numbers.
    pub(super) fn copies(&mut self, of: &[usize], pool: &mut PacketPool) -> Vec<usize> {
        let copy = |number: &usize| {
            let packet = self.places.get(*number)?;
            let copy = InFlight { packet: pool.copy(&packet.packet), ..*packet };
            Some(self.add(copy))
        };
        of.iter().filter_map(copy).collect()
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut InFlight> {
        self.places.get_mut(number)
    }

    /// The packets of these numbers.
    pub(super) fn of<'a>(&'a self, numbers: &'a [usize]) -> impl Iterator<Item = &'a InFlight> {
        numbers.iter().filter_map(|number| self.places.get(*number))
    }

    /// Calls the function for each packet of these numbers, to change it.
    pub(super) fn for_each(&mut self, numbers: &[usize], mut change: impl FnMut(&mut InFlight)) {
        for number in numbers {
            if let Some(packet) = self.places.get_mut(*number) {
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
        InFlight { packet, key, is_key_old: false, is_changed: false, origin, credit, cut: 0 }
    }

    /// This is a frame now that came in by a port.
    #[inline]
    fn arrive(&mut self, frame: Frame, port: PortId, origin: Origin, credit: usize) {
        let Frame { packet, recirc_id, dp_hash, .. } = frame;
        self.packet = packet;
        self.key = Key { in_port: port.0, recirc_id: recirc_id.0, dp_hash, ..Key::default() };
        self.packet.extract_into(&mut self.key);
        (self.is_key_old, self.is_changed) = (false, false);
        (self.origin, self.credit, self.cut) = (origin, credit, 0);
    }

    /// One of the packets that an unfinished frame of this key was.
    pub(super) fn segment(packet: Packet, key: Key, origin: Origin, credit: usize) -> InFlight {
        let segment = InFlight::new(packet, key, origin, credit);
        InFlight { is_key_old: true, is_changed: true, ..segment }
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
            let is_changed = packet::rewrite(&mut self.packet, action);
            self.changed(is_changed);
        }
    }

    /// Executes a rewrite of the frame.
    pub(super) fn rewrite(&mut self, rewrite: &ReadyRewrite) {
        rewrite.execute(&mut self.packet);
        self.changed(true);
    }

    fn changed(&mut self, is_changed: bool) {
        self.is_key_old |= is_changed;
        self.is_changed |= is_changed;
    }

    /// The frame is looked up again: its key and its headers are made anew, if it has changed.
    pub(super) fn recirculated(&mut self, recirc_id: u32) {
        self.cut = 0;
        self.key.recirc_id = recirc_id;
        if std::mem::take(&mut self.is_changed) {
            let Key { in_port, dp_hash, .. } = self.key;
            self.key = Key { in_port, dp_hash, recirc_id, ..Key::default() };
            self.packet.extract_into(&mut self.key);
            self.is_key_old = false;
        }
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

    /// The frame for the packet's last output. An empty packet is left.
    pub(super) fn take_frame(&mut self, pool: &mut PacketPool) -> Packet {
        if self.cut == 0 {
            return std::mem::take(&mut self.packet);
        }
        let frame = pool.packet(self.frame());
        pool.keep(std::mem::take(&mut self.packet));
        frame
    }

    /// Length after the truncation: at least the Ethernet header stays.
    fn kept_len(&self) -> usize {
        let whole = self.packet.len();
        whole.saturating_sub(self.cut).max(ETHERNET_HEADER).min(whole)
    }
}
