//! Flow text: the ODP form of OVS, parsed and printed.
//!
//! The printed text is that of `ovs-appctl dpctl/dump-flows`, and parsing it gives the value that
//! was printed. Conventions where OVS's own text leaves something open:
//!
//! - **VLAN.** An exact `eth_type` with no `vlan(…)` beside it matches untagged packets only
//!   (`vlan_tci` exact 0; inside `encap(…)` the same for the inner tag), as the kernel and OVS
//!   read it. With a wild or partly masked `eth_type` and no `vlan(…)` the tag is wild. An exact
//!   `eth_type` under a wild tag is `eth_type(0x0800),vlan(cfi=0/0)`. With `encap(…)` the
//!   `eth_type(…)` beside `vlan(…)` is the tag's TPID. `vlan(tci=V/M)` is read too.
//! - **No tag.** In an untagged packet `vlan_tpid`, `cvlan_tpid` and `cvlan_tci` are always zero;
//!   a match on these zeros is printed without them.
//! - **Masks.** A value without `/mask` is exact; a field that is not mentioned is wild, in a
//!   match as in a masked `set`. Bits of a value outside its mask are ignored.
//! - **802.2.** `eth_type(0/0xffff)` is `eth_type` 0x05ff, as OVS prints and reads it.
//! - **ICMP.** Type and code are eight bits in the text; exact ones are exact in all 16 bits of
//!   `tp_src` and `tp_dst`.
//! - **`in_port`** has to be present and exact; a missing `recirc_id` is 0.
//! - **`sample`.** OVS prints one decimal of the percentage; more decimals follow where one would
//!   be another probability.
//! - **`drop`** is the empty list, so no other action can be in a list with it.
//! - `set(ipv4(…))` has [`crate::Attr::Ipv4`] and protocol 4, `set(ipv6(…))` [`crate::Attr::Ipv6`]
//!   and 6, whichever of their fields are set.
//!
//! Keys that OVS has and we do not (`skb_mark`, `ct_state`, `tunnel`, …) are errors unless their
//! mask is zero, as `dump-flows -m` prints them; so are such actions (`ct`, `meter`, …). Where a
//! plan is asked for ([`plan_flow_with`]) they are reasons. `packet_type(ns=0,id=0)` is what every
//! packet is.

mod action;
mod action_print;
mod attr;
mod digits;
mod flow;
mod keys;
mod lexer;
mod print;
mod set;
mod single;
mod unsupported;
mod vlan;

#[cfg(test)]
mod tests;

pub(crate) use action::MAX_USERDATA;
pub use action::{parse_actions, parse_actions_with, plan_actions_with};
pub use action_print::{format_actions, format_actions_with, print_actions};
pub use digits::push_dec;
pub use flow::{PlanText, parse_flow, parse_flow_with, plan_flow_with};
pub use keys::{parse_key, parse_key_with, parse_masked, parse_match, parse_match_with};
pub use print::{format_key, format_match, format_match_with, print_match};

use crate::PortId;

/// `ip_frag` of a later fragment.
pub(crate) const LATER: u8 = 2;

/// Finds the number of a port by its name.
pub type PortsByName<'a> = &'a dyn Fn(&str) -> Option<PortId>;

/// Finds the name of a port by its number; a port without a name is printed as its number.
pub type Names<'a> = &'a dyn Fn(PortId) -> Option<&'a str>;

/// Prints a port as `names` has it.
fn print_port(out: &mut String, port: PortId, names: Names<'_>) {
    match names(port) {
        Some(name) => out.push_str(name),
        None => push_dec(out, port.0.into()),
    }
}

/// Deepest nesting of lists and attributes in a text.
pub const MAX_NESTING: usize = 32;

/// Why a text can't be read as a flow, in one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct OdpError {
    /// The place of the error, in bytes from the start of the text; the first byte is 1.
    pub column: usize,
    /// The error at this place, and what was expected.
    pub message: String,
}
