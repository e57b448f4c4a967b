//! The state that all parts of an open card share: presence, broken rules, the final reset.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use flow::Clock;

use crate::error::Error;
use crate::register::words::dbg;
use crate::register::{CardState, Ctrl, ErrBlock, Window};
use crate::sys::{Arena, PciFunction};

/// The state that all parts of an open card share. Dropping the last reference resets the card, so
/// that the card never writes to memory that is given back.
pub(crate) struct OpenCard {
    pub(crate) ctrl: Ctrl,
    pub(crate) err: ErrBlock,
    pub(crate) debug: Window,
    pub(crate) clock: Clock,
    /// The boot epoch of this life of the card.
    epoch: u32,
    gone: AtomicBool,
    /// The first error of a card that breaks the rules, if any; once set, no part of the driver
    /// uses the card any more.
    broken: OnceLock<Error>,
    /// Dropped last, after the reset.
    _arena: Arc<Arena>,
    function: Arc<dyn PciFunction>,
}

impl OpenCard {
    /// Creates the state of a card that was found; the arena and the function live until the card
    /// is reset.
    pub(crate) fn new(
        ctrl: Ctrl,
        err: ErrBlock,
        debug: Window,
        clock: Clock,
        epoch: u32,
        arena: Arc<Arena>,
        function: Arc<dyn PciFunction>,
    ) -> OpenCard {
        let (gone, broken) = (AtomicBool::new(false), OnceLock::new());
        OpenCard { ctrl, err, debug, clock, epoch, gone, broken, _arena: arena, function }
    }

    /// Ends the use of the card by all parts of the driver, because it is to be opened anew.
    pub(crate) fn retire(&self) {
        // The error that was found first stays, if there was one.
        let _ = self.broken.set(Error::Unusable("it is opened again".into()));
    }

    /// Gives the PCI function back, so that it can be opened again by its address.
    pub(crate) fn let_go(&self) {
        self.function.let_go();
        self.bury();
    }

    /// Tells that the card has been reset since: it does not reach the memory of this life any
    /// more, and the next life is not to be disturbed.
    pub(crate) fn bury(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Fails if the card was found to be gone or to break the rules; reads no register.
    pub(crate) fn trust(&self) -> Result<(), Error> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(Error::Gone);
        }
        self.broken.get().and_then(Error::of_broken_card).map_or(Ok(()), Err)
    }

    /// Fails if the card is gone, has halted, was reset or has broken the rules.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.trust()?;
        match self.ctrl.state() {
            Ok(CardState::Halted) => Err(Error::Halted { code: self.err.code()? }),
            Ok(_) if self.ctrl.epoch()? != self.epoch => {
                let _ = self.broken.set(Error::Unusable("somebody has reset it".into()));
                self.trust()
            }
            Ok(_) => Ok(()),
            Err(error) => {
                // Never touch the card's registers again.
                self.gone.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Records an error that only a card that breaks the rules or is too slow makes. The card is
    /// not used any more, but it is still there: it loses the bus and is told to reset, so that it
    /// never writes to memory that serves something else by then. The first error is kept.
    pub(crate) fn distrust(&self, error: &Error) {
        if let Some(error) = error.of_broken_card()
            && self.broken.set(error).is_ok()
        {
            self.function.stop_dma();
            self.ctrl.start_reset();
        }
    }

    /// Returns the numbers of live exact-match slots and masked rows, as the card counts them.
    pub(crate) fn entries_used(&self) -> Result<(u32, u32), Error> {
        self.check()?;
        Ok((self.debug.read(dbg::EM_USED)?, self.debug.read(dbg::TCAM_USED)?))
    }
}

impl Drop for OpenCard {
    fn drop(&mut self) {
        if !self.gone.load(Ordering::Relaxed) {
            // A card that does not stop in order loses the bus.
            if matches!(self.ctrl.state(), Ok(CardState::Ready | CardState::Degraded)) {
                let _ = self.ctrl.quiesce(&self.clock);
            }
            if self.ctrl.reset(&self.clock).is_err() {
                self.function.stop_dma();
            }
        }
    }
}
