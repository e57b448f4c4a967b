//! CTRL: state, commands, epoch.

use std::time::Duration;

use flow::Clock;

use super::block::Window;
use crate::error::Error;
use crate::layout::layout;

layout! {
    /// The CTRL block.
    ctrl "CTRL" {
        STATE 0x10 4;
        CMD 0x14 4;
        BOOT_EPOCH 0x18 4;
        HEARTBEAT 0x1c 4;
        SCRATCH 0x20 4;
    }
}

/// The card's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names of the text")]
pub enum CardState {
    Reset = 1,
    Init = 2,
    Ready = 3,
    Degraded = 4,
    Halted = 5,
}

impl CardState {
    /// Returns the state that a register value stands for.
    #[must_use]
    pub fn of(value: u32) -> Option<CardState> {
        [
            CardState::Reset,
            CardState::Init,
            CardState::Ready,
            CardState::Degraded,
            CardState::Halted,
        ]
        .into_iter()
        .find(|state| *state as u32 == value)
    }
}

/// The commands of the host to the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names of the text")]
pub enum CtrlCommand {
    Reset = 1,
    Quiesce = 2,
    Run = 3,
}

/// The longest time that a card takes to reset (1 s in `docs/fpga-abi.md`); RUN takes effect at
/// once.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(200);

/// The CTRL block.
pub struct Ctrl(pub Window);

impl Ctrl {
    /// Returns the current state.
    pub fn state(&self) -> Result<CardState, Error> {
        let value = self.0.read(ctrl::STATE)?;
        CardState::of(value).ok_or_else(|| Error::Unusable(format!("STATE is {value}")))
    }

    /// Returns the current epoch.
    pub fn epoch(&self) -> Result<u32, Error> {
        self.0.read(ctrl::BOOT_EPOCH)
    }

    /// Fails unless a value that was written is read back.
    pub fn check_scratch(&self) -> Result<(), Error> {
        for value in [0x5555_aaaa, 0xaaaa_5555, 0] {
            self.0.write(ctrl::SCRATCH, value);
            let back = self.0.read(ctrl::SCRATCH)?;
            if back != value {
                let why = format!("SCRATCH reads {back:#x} after writing {value:#x}");
                return Err(Error::Unusable(why));
            }
        }
        Ok(())
    }

    /// Tells the card to reset itself; does not wait.
    pub fn start_reset(&self) {
        self.0.write(ctrl::CMD, CtrlCommand::Reset as u32);
    }

    /// Resets the card; returns the new epoch.
    pub fn reset(&self, clock: &Clock) -> Result<u32, Error> {
        let before = self.epoch()?;
        self.start_reset();
        wait(clock, "reset", || Ok(self.epoch()? != before && self.state()? == CardState::Init))?;
        self.epoch()
    }

    /// Tells the card to look packets up.
    pub fn run(&self, clock: &Clock) -> Result<(), Error> {
        self.0.write(ctrl::CMD, CtrlCommand::Run as u32);
        wait(clock, "run", || Ok(self.state()? == CardState::Ready))
    }

    /// Tells the card to send every packet to the host.
    pub fn quiesce(&self, clock: &Clock) -> Result<(), Error> {
        self.0.write(ctrl::CMD, CtrlCommand::Quiesce as u32);
        wait(clock, "quiesce", || Ok(self.state()? == CardState::Init))
    }
}

fn wait(
    clock: &Clock,
    what: &'static str,
    done: impl Fn() -> Result<bool, Error>,
) -> Result<(), Error> {
    let end = clock.now() + PATIENCE;
    while !done()? {
        if clock.now() > end {
            return Err(Error::Timeout(what));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
