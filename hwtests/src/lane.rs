//! A lane: a list of checks on one kind of hardware, run inside the virtual machine.

pub(crate) mod fpga;
pub(crate) mod netdevsim;
pub(crate) mod simulator;
pub(crate) mod switchdev;
pub(crate) mod tc_flower;

use std::time::Duration;

use crate::check::Checks;

/// A program that a lane needs in the guest besides this one.
pub(crate) struct Binary {
    pub(crate) name: &'static str,
    /// The cargo package that makes it.
    pub(crate) package: &'static str,
}

/// The machine that has the card served over vfio-user.
pub(crate) const CARD_MACHINE: &str = "card";

/// One lane.
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Lanes with the same machine share a boot.
    pub(crate) machine: &'static str,
    pub(crate) needs: &'static [Binary],
    /// What it may take at most.
    pub(crate) limit: Duration,
    /// Shown after a failed check.
    pub(crate) evidence: fn() -> String,
    pub(crate) run: fn(&mut Checks),
}
