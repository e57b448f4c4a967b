//! The `fpga` port: a wire port of a card, through its exception rings.
//!
//! Packets that come up missed in the card's table or were sent by an action. Packets that go down
//! leave by the wire at once, without another lookup.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow::exception::CardPort;
use flow::packet::Packet;

use super::{Batch, Frame, LinkState, Port, PortKind, TxReport, fits};
use crate::drops::DropReason;

/// A wire port of a card.
pub struct FpgaPort {
    name: String,
    card: Box<dyn CardPort>,
    /// Why the card is gone. It may come back.
    trouble: Option<String>,
    /// The card's wire carries frames, as seen last.
    link: bool,
    plug: Option<Plug>,
    /// What the plug showed last.
    seen: PlugState,
}

/// The shared state of the interface at the end of a card's wire. The mover of frames between wire
/// and interface writes it, the `fpga` port shows it; clones share it.
#[derive(Clone, Default)]
pub struct Plug(Arc<Mutex<PlugState>>);

/// The state of an interface at the end of a wire when it was read last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlugState {
    /// Whether the interface works.
    pub state: LinkState,
    /// Why the interface does not work, or what else is wrong with it, for people.
    pub trouble: Option<String>,
    /// Longest payload in bytes of a frame that the interface sends; `None` if it is not known.
    pub mtu: Option<u32>,
}

impl Default for PlugState {
    fn default() -> PlugState {
        PlugState { state: LinkState::Up, trouble: None, mtu: None }
    }
}

impl PlugState {
    /// How a port is now.
    #[must_use]
    pub fn of(port: &dyn Port) -> PlugState {
        let trouble = port.trouble().map(str::to_owned);
        PlugState { state: port.state(), trouble, mtu: port.mtu() }
    }
}

impl Plug {
    /// Replaces the state of the interface.
    pub fn tell(&self, seen: PlugState) {
        *self.lock() = seen;
    }

    /// A panic elsewhere leaves the value whole.
    fn lock(&self) -> MutexGuard<'_, PlugState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FpgaPort {
    /// Around the rings of a card's port.
    #[must_use]
    pub fn new(name: &str, card: Box<dyn CardPort>) -> FpgaPort {
        let (trouble, plug, seen) = (None, None, PlugState::default());
        FpgaPort { name: name.into(), card, trouble, link: true, plug, seen }
    }

    /// This port on a wire whose other end is known.
    #[must_use]
    pub fn plugged(self, plug: Plug) -> FpgaPort {
        FpgaPort { plug: Some(plug), ..self }
    }

    fn gone(&mut self, error: &std::io::Error) {
        self.trouble = Some(format!("the card is gone: {error}"));
    }
}

impl Port for FpgaPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> PortKind {
        PortKind::Fpga
    }

    fn receive(&mut self, batch: &mut Batch) {
        let max = batch.room();
        if self.trouble.is_some() || max == 0 {
            return;
        }
        let received = self.card.receive(max, &mut |miss, bytes| {
            let packet = batch.packet(bytes);
            batch.push(Frame::from_card(packet, &miss));
        });
        if let Err(error) = received {
            self.gone(&error);
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        for frame in frames.iter() {
            if self.state() != LinkState::Up {
                report.drop(DropReason::PortDown, frame.counters());
                continue;
            }
            let fits = self.seen.mtu.is_none_or(|mtu| fits(frame, mtu));
            if frame.len() > self.card.longest() || !fits {
                report.drop(DropReason::TxTooLong, frame.counters());
                continue;
            }
            match self.card.transmit(frame.bytes()) {
                Ok(true) => report.sent(frame.counters()),
                Ok(false) => report.drop(DropReason::TxFull, frame.counters()),
                Err(error) => {
                    self.gone(&error);
                    report.drop(DropReason::PortDown, frame.counters());
                }
            }
        }
        if self.trouble.is_none()
            && let Err(error) = self.card.kick()
        {
            self.gone(&error);
        }
    }

    fn state(&self) -> LinkState {
        match (&self.trouble, self.seen.state, self.link) {
            (Some(_), _, _) => LinkState::Gone,
            (None, LinkState::Up, false) => LinkState::Down,
            (None, state, _) => state,
        }
    }

    fn trouble(&self) -> Option<&str> {
        let known = self.trouble.as_deref().or(self.seen.trouble.as_deref());
        known.or((!self.link).then_some("the card's wire has no link"))
    }

    fn check(&mut self) {
        match self.card.link() {
            Ok(link) => (self.link, self.trouble) = (link, None),
            Err(error) => self.gone(&error),
        }
        if let Some(plug) = &self.plug {
            self.seen = plug.lock().clone();
        }
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        if self.trouble.is_none() { self.card.readable() } else { None }
    }

    fn arm(&mut self) {
        if self.trouble.is_none()
            && let Err(error) = self.card.arm()
        {
            self.gone(&error);
        }
    }

    fn mtu(&self) -> Option<u32> {
        self.seen.mtu
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::{Arc, Mutex};

    use flow::RecircId;
    use flow::exception::{MissDescriptor, MissReason};

    use super::*;

    #[derive(Default)]
    struct State {
        inbound: VecDeque<(MissDescriptor, Vec<u8>)>,
        sent: Vec<Vec<u8>>,
        kicks: usize,
        is_gone: bool,
        is_unplugged: bool,
    }

    #[derive(Clone, Default)]
    struct Card(Arc<Mutex<State>>);

    impl Card {
        fn alive(&self) -> io::Result<std::sync::MutexGuard<'_, State>> {
            let state = self.0.lock().unwrap();
            if state.is_gone { Err(io::ErrorKind::NotConnected.into()) } else { Ok(state) }
        }
    }

    impl CardPort for Card {
        fn receive(
            &mut self,
            max: usize,
            sink: &mut dyn FnMut(MissDescriptor, &[u8]),
        ) -> io::Result<usize> {
            let mut state = self.alive()?;
            let count = max.min(state.inbound.len());
            state.inbound.drain(..count).for_each(|(miss, bytes)| sink(miss, &bytes));
            Ok(count)
        }

        fn transmit(&mut self, frame: &[u8]) -> io::Result<bool> {
            let mut state = self.alive()?;
            let has_room = state.sent.len() < 2;
            if has_room {
                state.sent.push(frame.to_vec());
            }
            Ok(has_room)
        }

        fn longest(&self) -> usize {
            9_000
        }

        fn kick(&mut self) -> io::Result<()> {
            self.alive()?.kicks += 1;
            Ok(())
        }

        fn readable(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn arm(&mut self) -> io::Result<()> {
            self.alive().map(drop)
        }

        fn link(&mut self) -> io::Result<bool> {
            Ok(!self.alive()?.is_unplugged)
        }
    }

    fn miss(recirc_id: u32, reason: MissReason) -> MissDescriptor {
        MissDescriptor { reason, recirc_id: RecircId(recirc_id), dp_hash: 7, original_len: 60 }
    }

    #[test]
    fn the_miss_descriptor_scopes_the_lookup() {
        let card = Card::default();
        for (id, reason) in
            [(0, MissReason::Miss), (0, MissReason::ToHost), (3, MissReason::RecircLimit)]
        {
            card.0.lock().unwrap().inbound.push_back((miss(id, reason), vec![0; 60]));
        }
        let mut port = FpgaPort::new("p0", Box::new(card));
        let mut batch = Batch::new();
        port.receive(&mut batch);
        let seen: Vec<_> =
            batch.frames().iter().map(|f| (f.recirc_id.0, f.dp_hash, f.continued)).collect();
        assert_eq!(seen, [(0, 7, false), (0, 7, true), (3, 7, true)]);
    }

    #[test]
    fn a_wire_without_a_link_takes_nothing_until_it_is_back() {
        let card = Card::default();
        let mut port = FpgaPort::new("p0", Box::new(card.clone()));
        for (is_unplugged, sent) in [(true, 0), (false, 1)] {
            card.0.lock().unwrap().is_unplugged = is_unplugged;
            port.check();
            assert_eq!(port.state() == LinkState::Up, !is_unplugged);
            assert_eq!(port.trouble(), is_unplugged.then_some("the card's wire has no link"));
            let mut report = TxReport::default();
            port.transmit(&mut vec![Packet::new(&[0; 60])], &mut report);
            assert_eq!(report.sent.packets, sent);
        }
    }

    #[test]
    fn the_interface_at_the_wires_end_is_shown_as_its_own_port_would_show_it() {
        let card = Card::default();
        let plug = Plug::default();
        let mut port = FpgaPort::new("p0", Box::new(card.clone())).plugged(plug.clone());
        let lost = Some("there is no interface v0 any more".to_owned());
        let seen = |state, trouble| PlugState { state, trouble, mtu: Some(1500) };
        for (state, trouble) in [(LinkState::Gone, lost), (LinkState::Up, None)] {
            plug.tell(seen(state, trouble.clone()));
            card.0.lock().unwrap().is_unplugged = state != LinkState::Up;
            port.check();
            assert_eq!((port.state(), port.trouble()), (state, trouble.as_deref()));
        }
        assert_eq!(port.mtu(), Some(1500));
        let mut report = TxReport::default();
        let tagged = [&[0; 12][..], &[0x81, 0x00]].concat();
        for (head, length, drops) in
            [(&[0; 14][..], 1514, 0), (&[0; 14], 1515, 1), (&tagged, 1518, 1), (&tagged, 1519, 2)]
        {
            let mut frame = vec![0; length];
            frame[..14].copy_from_slice(head);
            port.transmit(&mut vec![Packet::new(&frame)], &mut report);
            assert_eq!(report.dropped.len(), drops, "{length}");
        }
        plug.tell(PlugState::default());
        port.check();
        port.transmit(&mut vec![Packet::new(&[0; 9_001])], &mut report);
        assert!(report.dropped.iter().all(|(reason, _)| *reason == DropReason::TxTooLong));
        assert_eq!((report.dropped.len(), report.sent.packets), (3, 2));
    }

    #[test]
    fn a_full_ring_and_a_lost_card_are_counted() {
        let card = Card::default();
        let mut port = FpgaPort::new("p0", Box::new(card.clone()));
        let mut report = TxReport::default();
        let frames = || vec![Packet::new(&[0; 60]); 3];
        port.transmit(&mut frames(), &mut report);
        assert_eq!((report.sent.packets, card.0.lock().unwrap().kicks), (2, 1));
        card.0.lock().unwrap().is_gone = true;
        port.transmit(&mut frames(), &mut report);
        port.receive(&mut Batch::new());
        port.arm();
        assert_eq!(port.state(), LinkState::Gone);
        assert!(port.trouble().unwrap().starts_with("the card is gone"));
        let reasons: Vec<_> = report.dropped.iter().map(|(reason, _)| reason.name()).collect();
        assert_eq!(reasons, ["tx-full", "port-down", "port-down", "port-down"]);
        port.check();
        assert_eq!(port.state(), LinkState::Gone);
        // The card is opened again.
        *card.0.lock().unwrap() = State::default();
        port.check();
        assert_eq!((port.state(), port.trouble()), (LinkState::Up, None));
        let mut report = TxReport::default();
        port.transmit(&mut vec![Packet::new(&[0; 60])], &mut report);
        assert_eq!(report.sent.packets, 1);
    }
}
