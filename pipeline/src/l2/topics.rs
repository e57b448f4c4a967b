//! What the switch's answers depend on, as topics.
//!
//! The kind is in the top bits of a topic's number: the number of an address is at most 60 bits
//! long, so that two subjects never have the same number.

use flow::{PortId, Topic};

use super::aged::Address;

/// The ports that a flood goes to.
pub(super) const FLOODS: Topic = Topic(2 << 60);

/// Where an address is.
pub(super) fn place_of((vlan, mac): Address) -> Topic {
    let mac = mac.0.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte));
    Topic(u64::from(vlan & 0xfff) << 48 | mac)
}

/// Whether a port has a link.
pub(super) fn link_of(port: PortId) -> Topic {
    Topic(1 << 60 | u64::from(port.0))
}
