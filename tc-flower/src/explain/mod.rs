//! Writes the `tc filter add …` line that does the same as a filter of ours.
//!
//! tc has no text for a few masks that netlink carries (an address mask with a hole). Such a mask
//! is written as `address/mask`, which a reader understands but tc refuses.

mod action;
mod key;
mod words;

use std::fmt::Write as _;

use self::words::{name, protocol};
use crate::rule::Rule;
use crate::translate::Target;

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
