//! Writes the `tc filter add …` line that does the same as a filter of ours.
//!
//! tc has no text for a few masks that netlink carries (an address mask with a hole). Such a mask
//! is written as `address/mask`, which a reader understands but tc refuses.

mod action;
mod key;

use std::fmt::Write as _;

use crate::rule::Rule;
use crate::translate::Target;
use crate::wire::consts::{ETH_P_8021AD, ETH_P_8021Q, ETH_P_ALL};

/// Returns the line; tc chooses the priority.
pub(crate) fn line(rule: &Rule, target: &Target) -> String {
    let mut line = format!("tc filter add dev {} ingress", name(rule.ifindex, target));
    if rule.chain != 0 {
        let _ = write!(line, " chain {}", rule.chain);
    }
    let _ = write!(line, " protocol {} flower skip_sw", protocol(rule.protocol));
    key::print(&mut line, rule);
    rule.actions.iter().for_each(|action| action::print(&mut line, action, target));
    line
}

fn name(ifindex: u32, target: &Target) -> String {
    let device = target.ports.values().find(|device| device.ifindex == ifindex);
    device.map_or_else(|| format!("if{ifindex}"), |device| device.name.clone())
}

/// Returns tc's name of a protocol.
fn protocol(eth_type: u16) -> String {
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
