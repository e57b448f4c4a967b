//! The state that all parts of an open card share: presence, broken rules, the final reset.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::register::words::dbg;
use crate::register::{Ctrl, Err as ErrBlock, State, Window};
use crate::sys::Arena;

/// The state that all parts of an open card share. Dropping the last reference resets the card, so
/// that the card never writes to memory that is given back.
pub(crate) struct Device {
    pub(crate) ctrl: Ctrl,
    pub(crate) err: ErrBlock,
    pub(crate) debug: Window,
    gone: AtomicBool,
    /// The broken rule, if any; once set, no part of the driver uses the card any more.
    broken: OnceLock<String>,
    /// Dropped last, after the reset.
    _arena: Arc<Arena>,
    _keep: Box<dyn Any + Send + Sync>,
}

impl Device {
    /// Creates the state of a card that was found; the arena and `keep` live until the card is
    /// reset.
    pub(crate) fn new(
        ctrl: Ctrl,
        err: ErrBlock,
        debug: Window,
        arena: Arc<Arena>,
        keep: Box<dyn Any + Send + Sync>,
    ) -> Device {
        let (gone, broken) = (AtomicBool::new(false), OnceLock::new());
        Device { ctrl, err, debug, gone, broken, _arena: arena, _keep: keep }
    }

    /// Fails if the card is gone, has halted or has broken the rules.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(Error::Gone);
        }
        if let Some(why) = self.broken.get() {
            return Err(Error::Unusable(why.clone()));
        }
        match self.ctrl.state() {
            Ok(State::Halted) => Err(Error::Halted { code: self.err.code()? }),
            Ok(_) => Ok(()),
            Err(error) => {
                // Never touch the card's registers again.
                self.gone.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Records an error that only a card that breaks the rules makes. The card is not used any
    /// more, but it is still there, so it is reset at the end.
    pub(crate) fn distrust(&self, error: &Error) {
        if let Error::Unusable(why) = error {
            // The first reason is kept; later ones are ignored.
            let _ = self.broken.set(why.clone());
        }
    }

    /// Returns the numbers of live exact-match slots and masked rows, as the card counts them.
    pub(crate) fn entries_used(&self) -> Result<(u32, u32), Error> {
        self.check()?;
        Ok((self.debug.read(dbg::EM_USED)?, self.debug.read(dbg::TCAM_USED)?))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.gone.load(Ordering::Relaxed) {
            // Errors are ignored: a card that no longer answers can't be told anything.
            if matches!(self.ctrl.state(), Ok(State::Ready | State::Degraded)) {
                let _ = self.ctrl.quiesce();
            }
            let _ = self.ctrl.reset();
        }
    }
}
