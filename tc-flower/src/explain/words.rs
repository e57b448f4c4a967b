//! Names of interfaces and protocols, and addresses, in the words of the `tc` command.

use std::fmt::Write as _;

use crate::netlink::consts::{ETH_P_8021AD, ETH_P_8021Q, ETH_P_ALL};
use crate::translate::Target;

pub(super) fn name(ifindex: u32, target: &Target) -> String {
    let device = target.ports.values().find(|device| device.ifindex == ifindex);
    device.map_or_else(|| format!("if{ifindex}"), |device| device.name.clone())
}

/// Returns tc's name of a protocol.
pub(super) fn protocol(eth_type: u16) -> String {
    match eth_type {
        ETH_P_ALL => "all".into(),
        0x0800 => "ip".into(),
        0x0806 => "arp".into(),
        0x86dd => "ipv6".into(),
        0x8847 => "mpls_uc".into(),
        0x8848 => "mpls_mc".into(),
        ETH_P_8021Q => "802.1Q".into(),
        ETH_P_8021AD => "802.1ad".into(),
        other => format!("{other:#06x}"),
    }
}

pub(super) fn mac(line: &mut String, bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        let _ = write!(line, "{}{byte:02x}", if at == 0 { "" } else { ":" });
    }
}
