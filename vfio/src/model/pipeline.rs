//! Packets: from wires through the tables, up to the host, and from the host to the wires.

use flow::Counters;
use flow::packet::{Packet, edit};

use super::card::CardCore;
use super::ledger::{Drop, LedgerState};
use super::registers::{rx_ring, tx_ring};
use super::wire::Unsent;
use crate::action::CardAction;
use crate::key::{L3Family, encode};
use crate::register::CardState;
use crate::ring::packet::{DESCRIPTOR_BYTES, ExceptionReason, rx, tx};
use crate::sys::DmaFault;

/// The number of frames taken from one wire or ring before the other ones get their turn.
const BATCH: usize = 32;

/// The end of a frame from a wire.
enum Fate {
    /// The last lookup hit and the action list is done.
    Nic,
    /// The frame goes to the host.
    Host(Descriptor),
}

/// The source of the frames that a wire has taken.
#[derive(Clone, Copy)]
enum Source {
    /// Megaflows of the card.
    Table,
    /// The port's transmit ring.
    Host,
}

/// The contents of the descriptor for the host.
struct Descriptor {
    reason: ExceptionReason,
    lookups: u8,
    recirc_id: u32,
    act_index: usize,
    cookie: u128,
}

impl CardCore {
    /// Serves one batch of every wire and every transmit ring; returns true if there was anything.
    pub(super) fn run_packets(&mut self, ledger: &mut LedgerState) -> bool {
        let mut busy = false;
        for port in 0..self.ports.len() {
            busy |= self.serve_wire(port, ledger);
            // The card's own frames are sent before those of the host: each source has its own
            // counter.
            self.flush(port, Source::Table, ledger);
            busy |= self.serve_host(port, ledger);
            self.flush(port, Source::Host, ledger);
        }
        for port in 0..self.ports.len() {
            self.flush(port, Source::Table, ledger);
        }
        busy
    }

    /// Lets a wire send the frames that it took, all from one source, and counts the result.
    fn flush(&mut self, number: usize, source: Source, ledger: &mut LedgerState) {
        let port = &mut self.ports[number];
        let taken = std::mem::take(&mut port.taken);
        if taken.is_zero() {
            return;
        }
        let unsent = port.wire.flush().unwrap_or_else(|_| {
            port.broken = true;
            Unsent { refused: taken, ..Unsent::default() }
        });
        let sent = taken.since(unsent.too_long + unsent.refused).unwrap_or_default();
        port.counts.tx += sent;
        match source {
            Source::Table => ledger.ports[number].tx += sent,
            Source::Host => {
                port.counts.from_host += sent;
                ledger.ports[number].from_host += sent;
            }
        }
        for (reason, what) in [(Drop::TxTooLong, unsent.too_long), (Drop::TxWire, unsent.refused)] {
            if !what.is_zero() {
                self.drop(ledger, number, reason, what);
            }
        }
    }

    fn serve_wire(&mut self, port: usize, ledger: &mut LedgerState) -> bool {
        let mut packet = std::mem::replace(&mut self.scratch, Packet::new(&[]));
        let mut count = 0;
        while count < BATCH && !self.ports[port].broken {
            match self.ports[port].wire.receive() {
                Ok(Some(frame)) => packet.reset(frame),
                Ok(None) => break,
                Err(_) => {
                    self.ports[port].broken = true;
                    break;
                }
            }
            count += 1;
            self.one_frame(port, &mut packet, ledger);
        }
        self.scratch = packet;
        let lost = self.ports[port].wire.lost();
        if !lost.is_zero() {
            ledger.ports[port].rx += lost;
            self.ports[port].counts.rx += lost;
            self.drop(ledger, port, Drop::RxWire, lost);
        }
        count > 0 || !lost.is_zero()
    }

    fn one_frame(&mut self, port: usize, packet: &mut Packet, ledger: &mut LedgerState) {
        let received = packet.len();
        ledger.ports[port].rx += Counters::packet(received);
        self.ports[port].counts.rx += Counters::packet(received);
        let fate = match self.state() {
            CardState::Ready | CardState::Degraded => {
                if received > self.tables.caps.max_frame as usize {
                    return self.drop(ledger, port, Drop::Oversize, Counters::packet(received));
                }
                self.look_up(port, packet, ledger)
            }
            CardState::Init => Fate::Host(Descriptor {
                reason: ExceptionReason::Quiesced,
                lookups: 0,
                recirc_id: 0,
                act_index: 0,
                cookie: 0,
            }),
            CardState::Reset | CardState::Halted => {
                return self.drop(ledger, port, Drop::Halted, Counters::packet(received));
            }
        };
        match fate {
            Fate::Nic => ledger.ports[port].nic += Counters::packet(received),
            Fate::Host(descriptor) => {
                match self.hand_up(port, packet.bytes(), received, &descriptor) {
                    Ok(()) => {
                        ledger.ports[port].host += Counters::packet(received);
                        self.ports[port].counts.to_host += Counters::packet(received);
                        ledger.ports[port].host_modified += Counters::packet(packet.len());
                    }
                    Err(reason) => self.drop(ledger, port, reason, Counters::packet(received)),
                }
            }
        }
    }

    pub(super) fn drop(
        &mut self,
        ledger: &mut LedgerState,
        port: usize,
        reason: Drop,
        what: Counters,
    ) {
        ledger.drop(port, reason, what);
        self.ports[port].counts.drops[reason as usize] += what;
    }

    /// Looks a packet up until it is done with.
    fn look_up(&mut self, port: usize, packet: &mut Packet, ledger: &mut LedgerState) -> Fate {
        let mut recirc_id = 0;
        let mut lookups = 0;
        let mut cookie = 0;
        let up = |reason, lookups, recirc_id, act_index, cookie| {
            Fate::Host(Descriptor { reason, lookups, recirc_id, act_index, cookie })
        };
        loop {
            if u32::from(lookups) == self.tables.caps.recirc_limit {
                return up(ExceptionReason::RecircLimit, lookups, recirc_id, 0, cookie);
            }
            lookups += 1;
            self.counts.lookups += 1;
            let mut key = packet.extract();
            key.recirc_id = recirc_id;
            let wire_port = crate::int::low16(port as u64);
            let card_key = encode(&key, L3Family::of(key.eth_type), wire_port);
            let Some(entry) = self.tables.lookup(&card_key) else {
                self.counts.misses += 1;
                return up(ExceptionReason::Miss, lookups, recirc_id, 0, cookie);
            };
            self.counts.hits += 1;
            cookie = entry.cookie;
            let (counter, action) = (entry.counter, entry.action);
            ledger.hit(entry.cookie, entry.generation, packet.len());
            if !self.fault_drops_count() {
                self.tables.count(counter, packet.len());
            }
            let list = match self.tables.action(action) {
                Ok(Some(slot)) => slot.list.clone(),
                _ => return Fate::Nic,
            };
            let mut next = None;
            for (index, action) in list.iter().enumerate() {
                match action {
                    CardAction::Output(out) => {
                        self.transmit(usize::from(*out), packet.bytes(), ledger);
                    }
                    CardAction::Edit(action) => edit_with_protocol(packet, &mut key, action),
                    CardAction::Recirc(id) => next = Some(*id),
                    CardAction::ToHost => {
                        return up(ExceptionReason::ToHost, lookups, recirc_id, index + 1, cookie);
                    }
                }
            }
            match next {
                Some(id) => recirc_id = id,
                None => return Fate::Nic,
            }
        }
    }

    /// Gives a frame to a wire. It counts as sent when the wire is flushed.
    fn transmit(&mut self, number: usize, frame: &[u8], ledger: &mut LedgerState) {
        let port = &mut self.ports[number];
        let what = Counters::packet(frame.len());
        if !port.broken {
            match port.wire.transmit(frame) {
                Ok(true) => return port.taken += what,
                Ok(false) => {}
                Err(_) => port.broken = true,
            }
        }
        self.drop(ledger, number, Drop::TxWire, what);
    }

    /// Puts a packet on the receive ring of the port that it came in by.
    fn hand_up(
        &mut self,
        port: usize,
        frame: &[u8],
        received: usize,
        descriptor: &Descriptor,
    ) -> Result<(), Drop> {
        let number = rx_ring(port);
        if !self.ring(number) {
            return Err(Drop::RxRingOff);
        }
        let free = self.rings[number].free(&self.registers);
        if self.believe(number, free) == 0 {
            return Err(Drop::RxRingFull);
        }
        if frame.len() + DESCRIPTOR_BYTES > self.rings[number].stride as usize {
            return Err(Drop::Oversize);
        }
        let mut out = [0; DESCRIPTOR_BYTES];
        rx::LENGTH.put(&mut out, frame.len() as u64);
        rx::ORIGINAL.put(&mut out, received as u64);
        rx::IN_PORT.put(&mut out, port as u64);
        rx::REASON.put(&mut out, descriptor.reason as u64);
        rx::LOOKUPS.put(&mut out, u64::from(descriptor.lookups));
        rx::RECIRC_ID.put(&mut out, u64::from(descriptor.recirc_id));
        rx::ACT_INDEX.put(&mut out, descriptor.act_index as u64);
        rx::BOOT_EPOCH.put(&mut out, u64::from(self.epoch));
        rx::TS.put(&mut out, u64::from(self.now()));
        rx::COOKIE.put_be(&mut out, descriptor.cookie);
        let ring = &mut self.rings[number];
        let written = ring
            .write(&*self.memory, 0, &out)
            .and_then(|()| ring.write(&*self.memory, DESCRIPTOR_BYTES as u64, frame));
        match written {
            Ok(()) => {
                ring.advance();
                Ok(())
            }
            Err(DmaFault) => {
                self.halt(number, 2);
                Err(Drop::Halted)
            }
        }
    }

    /// Passes the frames of a port's transmit ring to its wire unchanged.
    fn serve_host(&mut self, port: usize, ledger: &mut LedgerState) -> bool {
        let number = tx_ring(port);
        if self.state() == CardState::Halted || !self.ring(number) {
            return false;
        }
        let waiting = self.rings[number].waiting(&self.registers);
        let waiting = usize::from(self.believe(number, waiting)).min(BATCH);
        for _ in 0..waiting {
            if let Err(DmaFault) = self.one_host_frame(port, number, ledger) {
                self.halt(number, 1);
                return true;
            }
            self.rings[number].advance();
        }
        waiting > 0
    }

    fn one_host_frame(
        &mut self,
        port: usize,
        number: usize,
        ledger: &mut LedgerState,
    ) -> Result<(), DmaFault> {
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        self.rings[number].read(&*self.memory, 0, &mut descriptor)?;
        let length = tx::LENGTH.get32(&descriptor) as usize;
        let room = (self.rings[number].stride as usize).saturating_sub(DESCRIPTOR_BYTES);
        let longest = room.min(self.tables.caps.max_frame as usize);
        let to = tx::OUT_PORT.get(&descriptor);
        if !(14..=longest).contains(&length) || to != port as u64 {
            self.drop(ledger, port, Drop::TxBad, Counters::packet(length));
            return Ok(());
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(length, 0);
        let read = self.rings[number].read(&*self.memory, DESCRIPTOR_BYTES as u64, &mut frame);
        if read.is_ok() {
            self.transmit(port, &frame, ledger);
        }
        self.frame = frame;
        read
    }
}

/// Executes an action of the card. A set of L4 ports applies to TCP, UDP and SCTP, whichever
/// the packet has.
fn edit_with_protocol(packet: &mut Packet, key: &mut flow::Key, action: &flow::Action) {
    if let flow::Action::Set(set) = action
        && set.attr == flow::Attr::Transport
    {
        let protocol = packet.layers().protocol;
        if matches!(protocol, 6 | 17 | 132) {
            let set = flow::SetFields { protocol, ..**set };
            edit(packet, key, &flow::Action::Set(Box::new(set)));
        }
        return;
    }
    edit(packet, key, action);
}
