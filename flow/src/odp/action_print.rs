//! Action lists as OVS prints them.

use std::fmt::Write as _;

use super::action::share;
use super::set::print_set;
use super::vlan::print_vlan;
use super::{Names, print_port};
use crate::{Action, HashAlgorithm, Userspace};

/// Prints a list of actions; the empty one is `drop`.
#[must_use]
pub fn format_actions(actions: &[Action]) -> String {
    format_actions_with(actions, &|_| None)
}

/// The same with names of ports.
#[must_use]
pub fn format_actions_with(actions: &[Action], names: Names<'_>) -> String {
    let mut out = String::new();
    print_actions(&mut out, actions, names);
    out
}

/// Appends the same to a text.
pub fn print_actions(out: &mut String, actions: &[Action], names: Names<'_>) {
    if actions.is_empty() {
        out.push_str("drop");
    }
    for (index, action) in actions.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        print_action(out, action, names);
    }
}

fn print_action(out: &mut String, action: &Action, names: Names<'_>) {
    let _ = match action {
        Action::Output(port) => {
            print_port(out, *port, names);
            Ok(())
        }
        Action::Userspace(userspace) => {
            print_userspace(out, userspace);
            Ok(())
        }
        Action::Set(set) => {
            print_set(out, set);
            Ok(())
        }
        Action::PushVlan { tpid, tci } => {
            out.push_str("push_vlan(");
            if *tpid != 0x8100 {
                let _ = write!(out, "tpid=0x{tpid:04x},");
            }
            print_vlan(out, *tci, 0xffff, true);
            write!(out, ")")
        }
        Action::PopVlan => write!(out, "pop_vlan"),
        Action::PushMpls { lse, eth_type } => {
            let (label, tc, bos, ttl) = (lse >> 12, lse >> 9 & 7, lse >> 8 & 1, lse & 0xff);
            write!(
                out,
                "push_mpls(label={label},tc={tc},ttl={ttl},bos={bos},eth_type={eth_type:#x})"
            )
        }
        Action::PopMpls { eth_type } => write!(out, "pop_mpls(eth_type={eth_type:#x})"),
        Action::Recirc(id) => {
            out.push_str("recirc(");
            super::attr::print_hex(out, id.0.into());
            write!(out, ")")
        }
        Action::Hash { algorithm: HashAlgorithm::L4, basis } => write!(out, "hash(l4({basis}))"),
        Action::Hash { algorithm: HashAlgorithm::SymL4, basis } => {
            write!(out, "hash(sym_l4({basis}))")
        }
        Action::Trunc(length) => write!(out, "trunc({length})"),
        Action::Sample { probability, actions } => {
            let _ = write!(out, "sample(sample={}%,actions(", percent(*probability));
            print_actions(out, actions, names);
            write!(out, "))")
        }
    };
}

fn print_userspace(out: &mut String, userspace: &Userspace) {
    let _ = write!(out, "userspace(pid={}", userspace.pid);
    if !userspace.userdata.is_empty() {
        out.push_str(",userdata(");
        for byte in &userspace.userdata {
            let _ = write!(out, "{byte:02x}");
        }
        out.push(')');
    }
    out.push(')');
}

/// Prints a probability in percent with one decimal, as OVS does, or with the fewest decimals that
/// give the same probability back (eight at most).
fn percent(probability: u32) -> String {
    let mut digits = 1;
    loop {
        let scale = 10_u128.pow(digits);
        let all = u128::from(u32::MAX);
        let value = (u128::from(probability) * 100 * scale * 2 + all) / (all * 2);
        if digits == 12 || share(value, scale) == probability {
            let digits = digits as usize;
            return format!("{}.{:0digits$}", value / scale, value % scale);
        }
        digits += 1;
    }
}
