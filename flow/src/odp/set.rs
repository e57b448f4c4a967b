//! `set(…)`, read and printed.

use std::fmt::Write as _;

use super::attr::{self, AttrLayout, LSES, parse_mpls, parse_parts, print_mpls, print_parts};
use super::keys::{parse_eth_type, parse_port, parse_tcp_flags, parse_u32};
use super::lexer::Lexer;
use super::single::{print_eth_type, print_mask, print_tcp_flags, print_u32};
use super::unsupported::{Unsupported, take_closed};
use super::vlan::{Masked, parse_vlan, print_vlan};
use super::{OdpError, PortsByName};
use crate::{Action, Attr, Key, Mask, SetFields};

/// Reads `attr(…))`, the `set(` being read already. One that only OVS has is noted.
pub(super) fn parse_set(
    lexer: &mut Lexer<'_>,
    ports: PortsByName<'_>,
    unsupported: &mut Vec<Unsupported>,
) -> Result<Option<Action>, OdpError> {
    let start = lexer.place();
    let Some((_, layout)) = attr::parse_open(lexer) else {
        let name = lexer.word();
        if name.is_empty() || !lexer.eat("(") {
            return Err(lexer.error_at(
                start,
                format!("expected a key in set(…), found {}", lexer.found_at(start)),
            ));
        }
        let Some(key) = Unsupported::set(name, start) else {
            return Err(lexer.error_at(start, format!("there is no key '{name}'")));
        };
        take_closed(lexer, name)?;
        lexer.expect(")")?;
        unsupported.push(key);
        return Ok(None);
    };
    let name = layout.name();
    let (mut value, mut mask) = (Key::default(), Mask::default());
    match layout.attr {
        Attr::RecircId => (value.recirc_id, mask.recirc_id) = parse_u32(lexer, name)?,
        Attr::DpHash => (value.dp_hash, mask.dp_hash) = parse_u32(lexer, name)?,
        Attr::InPort => (value.in_port, mask.in_port) = parse_port(lexer, ports)?,
        Attr::TcpFlags => (value.tcp_flags, mask.tcp_flags) = parse_tcp_flags(lexer)?,
        Attr::Vlan => {
            Masked { value: value.vlan_tci, mask: mask.vlan_tci } = parse_vlan(lexer)?;
        }
        Attr::EthType => {
            Masked { value: value.eth_type, mask: mask.eth_type } = parse_eth_type(lexer)?;
        }
        Attr::Mpls => parse_mpls(lexer, &mut value, &mut mask, 1)?,
        _ => parse_parts(lexer, name, layout.parts, &mut value, &mut mask)?,
    }
    lexer.expect(")")?;
    if mask.is_zero() {
        return Err(lexer.error_at(start, format!("set({name}()) sets nothing")));
    }
    let value = value.masked(&mask);
    let AttrLayout { attr, protocol, .. } = *layout;
    Ok(Some(Action::Set(Box::new(SetFields { attr, protocol, value, mask }))))
}

/// Prints the whole action.
pub(super) fn print_set(out: &mut String, set: &SetFields) {
    out.push_str("set(");
    let (value, mask) = (&set.value, &set.mask);
    match set.attr {
        Attr::RecircId => print_u32(out, "recirc_id", value.recirc_id, mask.recirc_id),
        Attr::DpHash => print_u32(out, "dp_hash", value.dp_hash, mask.dp_hash),
        Attr::InPort => {
            let _ = write!(out, "in_port({}", value.in_port);
            print_mask(out, mask.in_port);
        }
        Attr::EthType => print_eth_type(out, value.eth_type, mask.eth_type),
        Attr::TcpFlags => print_tcp_flags(out, value.tcp_flags, mask.tcp_flags),
        Attr::Vlan => print_tci(out, value.vlan_tci, mask.vlan_tci),
        Attr::Cvlan => print_tci(out, value.cvlan_tci, mask.cvlan_tci),
        Attr::Mpls => {
            out.push_str("mpls(");
            print_mpls(out, value, &Mask { mpls1: 0, mpls2: 0, ..*mask });
            debug_assert!(mask.get(LSES[0][0].field) != 0);
            out.push(')');
        }
        Attr::Eth | Attr::Ip | Attr::Ipv4 | Attr::Ipv6 | Attr::Transport | Attr::Arp => {
            if let Some(layout) = layout_of(set) {
                out.push_str(layout.open());
                print_parts(out, layout.parts, value, Some(mask));
                out.push(')');
            }
        }
    }
    out.push(')');
}

/// The layout of a set's attribute, chosen by protocol where several layouts share one attribute.
fn layout_of(set: &SetFields) -> Option<&'static AttrLayout> {
    attr::LAYOUTS.iter().copied().find(|layout| match set.attr {
        Attr::Ip => {
            layout.protocol == set.protocol && matches!(layout.attr, Attr::Ipv4 | Attr::Ipv6)
        }
        Attr::Transport => layout.attr == Attr::Transport && layout.protocol == set.protocol,
        attr => layout.attr == attr,
    })
}

/// Prints a TCI as OVS does: a whole one with both parts, a masked one without its wild parts.
fn print_tci(out: &mut String, value: u16, mask: u16) {
    out.push_str("vlan(");
    print_vlan(out, value, mask, mask == 0xffff);
    out.push(')');
}
