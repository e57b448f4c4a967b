//! What all parts of an open card share: is it there, does it keep the rules, what ends it.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::register::words::dbg;
use crate::register::{Ctrl, Err as ErrBlock, State, Window};
use crate::sys::Arena;

/// What all parts of an open card share. The last one to go resets the card, so that it never
/// writes to memory that is given back.
pub(crate) struct Device {
    pub(crate) ctrl: Ctrl,
    pub(crate) err: ErrBlock,
    pub(crate) debug: Window,
    gone: AtomicBool,
    /// How the card broke the rules: no part of the driver uses it any more.
    broken: OnceLock<String>,
    /// Dropped last, after the reset.
    _arena: Arc<Arena>,
    _keep: Box<dyn Any + Send + Sync>,
}

impl Device {
    /// A card that was found; the arena and `keep` live until it is reset.
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

    /// Fails if the card is gone or no longer answers.
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
                // Never touch its registers again.
                self.gone.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Notes an error that only a card that breaks the rules makes. It is not used any more, but
    /// it is still there, so it is reset at the end.
    pub(crate) fn distrust(&self, error: &Error) {
        if let Error::Unusable(why) = error {
            // The first reason is the one that matters.
            let _ = self.broken.set(why.clone());
        }
    }

    /// Live exact-match slots and masked rows, as the card counts them.
    pub(crate) fn entries_used(&self) -> Result<(u32, u32), Error> {
        self.check()?;
        Ok((self.debug.read(dbg::EM_USED)?, self.debug.read(dbg::TCAM_USED)?))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.gone.load(Ordering::Relaxed) {
            // A card that does not answer any more can't be told anything: nothing else to do.
            if matches!(self.ctrl.state(), Ok(State::Ready | State::Degraded)) {
                let _ = self.ctrl.quiesce();
            }
            let _ = self.ctrl.reset();
        }
    }
}
