//! The `fpga` port: a wire port of a card, through its exception rings.
//!
//! What comes up missed in the card's table or was sent by an action; what goes down leaves by
//! the wire at once, without another lookup.

use std::os::fd::BorrowedFd;

use flow::exception::CardPort;
use flow::packet::Packet;

use super::{Batch, Frame, LinkState, Port, PortKind, TxReport};
use crate::drops::DropReason;

/// A wire port of a card.
pub struct FpgaPort {
    name: String,
    card: Box<dyn CardPort>,
    /// Why the card is gone. It does not come back to this port: its driver makes a new one.
    trouble: Option<String>,
    overruns: u64,
    /// The card's wire carries frames, as seen last.
    link: bool,
}

impl FpgaPort {
    /// Around the rings of a card's port.
    #[must_use]
    pub fn new(name: &str, card: Box<dyn CardPort>) -> FpgaPort {
        FpgaPort { name: name.into(), card, trouble: None, overruns: 0, link: true }
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
            batch.push(Frame::from_card(Packet::new(bytes), &miss));
        });
        if let Err(error) = received {
            self.gone(&error);
        }
    }

    fn transmit(&mut self, frames: &mut Vec<Packet>, report: &mut TxReport) {
        for frame in frames.drain(..) {
            if self.state() != LinkState::Up {
                report.drop(DropReason::PortDown, frame.len());
                continue;
            }
            match self.card.transmit(frame.bytes()) {
                Ok(true) => report.sent(frame.len()),
                Ok(false) => report.drop(DropReason::TxFull, frame.len()),
                Err(error) => {
                    self.gone(&error);
                    report.drop(DropReason::PortDown, frame.len());
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
        match (&self.trouble, self.link) {
            (Some(_), _) => LinkState::Gone,
            (None, true) => LinkState::Up,
            (None, false) => LinkState::Down,
        }
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref().or((!self.link).then_some("the card's wire has no link"))
    }

    fn check(&mut self) {
        if self.trouble.is_some() {
            return;
        }
        match self.card.link() {
            Ok(link) => self.link = link,
            Err(error) => self.gone(&error),
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

    fn overruns(&mut self) -> u64 {
        let all = self.card.overruns();
        all.saturating_sub(std::mem::replace(&mut self.overruns, all))
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
        overruns: u64,
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

        fn overruns(&mut self) -> u64 {
            self.0.lock().unwrap().overruns
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
    fn a_full_ring_and_a_lost_card_are_counted() {
        let card = Card::default();
        let mut port = FpgaPort::new("p0", Box::new(card.clone()));
        let mut report = TxReport::default();
        let frames = || vec![Packet::new(&[0; 60]); 3];
        port.transmit(&mut frames(), &mut report);
        assert_eq!((report.sent.packets, card.0.lock().unwrap().kicks), (2, 1));
        card.0.lock().unwrap().overruns = 5;
        assert_eq!((port.overruns(), port.overruns()), (5, 0));
        card.0.lock().unwrap().is_gone = true;
        port.transmit(&mut frames(), &mut report);
        port.receive(&mut Batch::new());
        port.arm();
        assert_eq!(port.state(), LinkState::Gone);
        assert!(port.trouble().unwrap().starts_with("the card is gone"));
        let reasons: Vec<_> = report.dropped.iter().map(|(reason, _)| reason.name()).collect();
        assert_eq!(reasons, ["tx-full", "port-down", "port-down", "port-down"]);
    }
}
