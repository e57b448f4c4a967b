//! What is counted outside the engine.

use std::collections::BTreeMap;

use flow::{Counters, Histogram, PortId};

use super::operations::Operations;
use super::witness::{DeviceTraffic, Witnesses};

/// Counters that the engine does not keep itself.
pub(super) struct Counted<'a> {
    pub(super) host: &'a hostdp::DatapathSnapshot,
    pub(super) upcall_duration: &'a Histogram,
    pub(super) engine_steps: &'a Histogram,
    pub(super) operations: &'a Operations,
    /// The counters of the devices' ports.
    pub(super) traffic: &'a DeviceTraffic,
    /// Packets that were put into the host datapath by hand. The host has counted them as
    /// received; no device's port has counted them.
    pub(super) by_hand: &'a BTreeMap<PortId, Counters>,
    /// The differences that make the counters of the kernel's interfaces comparable.
    pub(super) witnesses: &'a Witnesses,
    /// True if no counter of the host or of a device's port has moved since the last readings.
    pub(super) at_rest: bool,
}
