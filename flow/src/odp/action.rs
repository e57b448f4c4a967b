//! Action lists.

use super::keys::wide;
use super::lexer::Lexer;
use super::unsupported::{Unsupported, take_closed};
use super::vlan::narrow;
use super::{MAX_NESTING, OdpError, PortsByName, set};
use crate::{Action, Actions, HashAlgorithm, PortId, RecircId, Refusal, Userspace, VLAN_PRESENT};

/// Reads a list of actions; `drop` and nothing at all are the empty list.
pub fn parse_actions(text: &str) -> Result<Actions, OdpError> {
    parse_actions_with(text, &|_| None)
}

/// The same with names of ports.
pub fn parse_actions_with(text: &str, ports: PortsByName<'_>) -> Result<Actions, OdpError> {
    let (actions, unsupported) = parse_text(text, ports)?;
    match unsupported.first() {
        Some(first) => Err(first.error(&Lexer::new(text))),
        None => Ok(actions.into()),
    }
}

/// Reads the same texts for a plan: an action that only OVS has is left out, and gives a refusal
/// instead of an error.
pub fn plan_actions_with(
    text: &str,
    ports: PortsByName<'_>,
) -> Result<(Actions, Vec<Refusal>), OdpError> {
    let (actions, unsupported) = parse_text(text, ports)?;
    Ok((actions.into(), unsupported.into_iter().map(Unsupported::into_refusal).collect()))
}

fn parse_text(
    text: &str,
    ports: PortsByName<'_>,
) -> Result<(Vec<Action>, Vec<Unsupported>), OdpError> {
    let (mut lexer, mut unsupported) = (Lexer::new(text), Vec::new());
    let actions = parse_list(&mut lexer, ports, 0, &mut unsupported)?;
    if lexer.at_end() {
        return Ok((actions, unsupported));
    }
    Err(lexer.error(format!("expected an action, found {}", lexer.found())))
}

/// Reads actions up to the end, a closing parenthesis or `, dp-extra-info:`. Those that only OVS
/// has are noted.
pub(super) fn parse_list(
    lexer: &mut Lexer<'_>,
    ports: PortsByName<'_>,
    depth: usize,
    unsupported: &mut Vec<Unsupported>,
) -> Result<Vec<Action>, OdpError> {
    let begin = unsupported.len();
    let mut actions = Vec::new();
    let mut dropped = None;
    loop {
        lexer.skip_delimiters();
        let rest = lexer.rest();
        if rest.is_empty() || rest.starts_with(')') || rest.starts_with("dp-extra-info:") {
            return Ok(actions);
        }
        let place = lexer.place();
        if is_drop(rest) {
            lexer.word();
            dropped = Some(place);
        } else {
            actions.extend(parse_action(lexer, ports, depth, unsupported)?);
            let ends = |byte| matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n' | b')');
            if !lexer.peek().is_none_or(ends) {
                return Err(lexer.error(format!("expected ',', found {}", lexer.found())));
            }
        }
        let is_alone = actions.is_empty() && unsupported.len() == begin;
        if let (Some(place), false) = (dropped, is_alone) {
            return Err(
                lexer.error_at(place, "drop stands alone: it has no other actions beside it")
            );
        }
    }
}

fn is_drop(rest: &str) -> bool {
    let word = rest.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("drop"));
    word && rest[4..].chars().next().is_none_or(|c| ", \t\r\n)".contains(c))
}

fn parse_action(
    lexer: &mut Lexer<'_>,
    ports: PortsByName<'_>,
    depth: usize,
    unsupported: &mut Vec<Unsupported>,
) -> Result<Option<Action>, OdpError> {
    if lexer.at_digit() {
        let port = wide(lexer.number("the port", u32::MAX.into())?);
        return Ok(Some(Action::Output(PortId(port))));
    }
    let start = lexer.place();
    let name = lexer.token();
    if let Some(action) = Unsupported::action(name, start) {
        unsupported.push(action);
        return skip_action(lexer, name, ports, depth, unsupported).map(|()| None);
    }
    if name == "pop_vlan" {
        return Ok(Some(Action::PopVlan));
    }
    if !lexer.eat("(") {
        return match ports(name) {
            Some(port) => Ok(Some(Action::Output(port))),
            None => Err(lexer
                .error_at(start, format!("there is no action or port {}", lexer.found_at(start)))),
        };
    }
    if name == "set" {
        return set::parse_set(lexer, ports, unsupported);
    }
    let action = match name {
        "userspace" => parse_userspace(lexer, unsupported),
        "push_vlan" => parse_push_vlan(lexer),
        "push_mpls" => parse_push_mpls(lexer),
        "pop_mpls" => {
            lexer.expect("eth_type=")?;
            let eth_type = narrow(lexer.number("pop_mpls(eth_type=)", 0xffff)?);
            closed(lexer, Action::PopMpls { eth_type })
        }
        "recirc" => {
            let id = RecircId(wide(lexer.number("recirc", u32::MAX.into())?));
            closed(lexer, Action::Recirc(id))
        }
        "trunc" => {
            let action = Action::Trunc(wide(lexer.number("trunc", u32::MAX.into())?));
            closed(lexer, action)
        }
        "hash" => parse_hash(lexer),
        "sample" => parse_sample(lexer, ports, depth, unsupported),
        _ => Err(lexer.error_at(start, format!("there is no action {}", lexer.found_at(start)))),
    };
    action.map(Some)
}

/// Skips the arguments of an action that only OVS has; the actions of lists inside it are read.
fn skip_action(
    lexer: &mut Lexer<'_>,
    name: &str,
    ports: PortsByName<'_>,
    depth: usize,
    unsupported: &mut Vec<Unsupported>,
) -> Result<(), OdpError> {
    if matches!(name, "ct_clear" | "pop_eth") || name == "ct" && !lexer.at(b'(') {
        return Ok(());
    }
    lexer.expect("(")?;
    let mut list = |lexer: &mut Lexer<'_>, before: &str| {
        lexer.expect(before)?;
        nest(lexer, name, depth)?;
        parse_list(lexer, ports, depth + 1, unsupported)?;
        lexer.expect(")")
    };
    match name {
        "clone" => return list(lexer, ""),
        "check_pkt_len" => {
            lexer.expect("size=")?;
            lexer.number("check_pkt_len(size=)", u16::MAX.into())?;
            list(lexer, ",gt(")?;
            list(lexer, ",le(")?;
        }
        "dec_ttl" => list(lexer, "le_1(")?,
        "meter" | "lb_output" | "tnl_pop" => {
            lexer.number(name, u32::MAX.into())?;
        }
        _ => return take_closed(lexer, name).map(drop),
    }
    lexer.expect(")")
}

/// Refuses lists that are nested too deep.
fn nest(lexer: &Lexer<'_>, name: &str, depth: usize) -> Result<(), OdpError> {
    if depth + 1 < MAX_NESTING {
        return Ok(());
    }
    Err(lexer.error(format!("{name}(…) is nested more than {MAX_NESTING} deep")))
}

fn closed(lexer: &mut Lexer<'_>, action: Action) -> Result<Action, OdpError> {
    lexer.expect(")")?;
    Ok(action)
}

/// Longest userdata: what fits into a netlink attribute beside the rest of the action.
pub(crate) const MAX_USERDATA: usize = 65_512;

/// Reads `pid=N[,userdata(hex)])`. The cookies of OVS's own userspace (`sFlow(…)` and so on) and
/// its two options have no place in our action: noted, not lost.
fn parse_userspace(
    lexer: &mut Lexer<'_>,
    unsupported: &mut Vec<Unsupported>,
) -> Result<Action, OdpError> {
    lexer.expect("pid=")?;
    let pid = wide(lexer.number("userspace(pid=)", u32::MAX.into())?);
    let mut userdata = Vec::new();
    if lexer.eat(",userdata(") {
        let start = lexer.place();
        let text = lexer.take(|byte| byte != b')');
        let digits: Vec<_> = text.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16)).collect();
        for pair in digits.chunks(2) {
            let [Some(high), Some(low)] = pair else {
                let message = "userdata(…) has to be hexadecimal, two digits a byte";
                return Err(lexer.error_at(start, message));
            };
            userdata.push(u8::try_from(high << 4 | low).unwrap_or(u8::MAX));
        }
        if userdata.len() > MAX_USERDATA {
            let message =
                format!("userdata has {} bytes, more than {MAX_USERDATA}", userdata.len());
            return Err(lexer.error_at(start, message));
        }
        lexer.expect(")")?;
    }
    while lexer.eat(",") {
        let start = lexer.place();
        let name = lexer.word();
        let Some(part) = Unsupported::part_of_userspace(name, start) else {
            let message = format!("userspace(…) has no part {}", lexer.found_at(start));
            return Err(lexer.error_at(start, message));
        };
        unsupported.push(part);
        match name {
            "actions" => {}
            "tunnel_out_port" => {
                lexer.expect("=")?;
                lexer.number("userspace(tunnel_out_port=)", u32::MAX.into())?;
            }
            _ => {
                lexer.expect("(")?;
                take_closed(lexer, name)?;
            }
        }
    }
    closed(lexer, Action::Userspace(Userspace { pid, userdata }))
}

/// Reads `name=value,…)` of numbers, each at most once, in any order.
fn parse_numbers<const N: usize>(
    lexer: &mut Lexer<'_>,
    action: &str,
    names: [(&str, u128); N],
) -> Result<[Option<u128>; N], OdpError> {
    let mut values = [None; N];
    while !lexer.eat(")") {
        let start = lexer.place();
        let name = lexer.word();
        let index = names.iter().position(|(known, _)| *known == name);
        let Some(index) = index.filter(|_| lexer.eat("=")) else {
            let names = names.map(|(name, _)| format!("{name}=")).join(" ");
            let message =
                format!("expected {names} in {action}(…), found {}", lexer.found_at(start));
            return Err(lexer.error_at(start, message));
        };
        if values[index].is_some() {
            return Err(lexer.error_at(start, format!("{action}({name}=) appears twice")));
        }
        values[index] = Some(lexer.number(format!("{action}({name}=)"), names[index].1)?);
        super::attr::end_of_part(lexer)?;
    }
    Ok(values)
}

fn parse_push_vlan(lexer: &mut Lexer<'_>) -> Result<Action, OdpError> {
    let names = [("tpid", 0xffff), ("vid", 0xfff), ("pcp", 7), ("cfi", 1)];
    let start = lexer.place();
    let [tpid, vid, pcp, cfi] = parse_numbers(lexer, "push_vlan", names)?;
    let Some(vid) = vid else {
        return Err(lexer.error_at(start, "push_vlan(…) needs vid="));
    };
    let present = if cfi == Some(0) { 0 } else { VLAN_PRESENT };
    let tci = narrow(vid | pcp.unwrap_or(0) << 13) | present;
    Ok(Action::PushVlan { tpid: narrow(tpid.unwrap_or(0x8100)), tci })
}

fn parse_push_mpls(lexer: &mut Lexer<'_>) -> Result<Action, OdpError> {
    let names = [("label", 0xf_ffff), ("tc", 7), ("ttl", 0xff), ("bos", 1), ("eth_type", 0xffff)];
    let start = lexer.place();
    match parse_numbers(lexer, "push_mpls", names)? {
        [Some(label), Some(tc), Some(ttl), Some(bos), Some(eth_type)] => {
            let lse = wide(label << 12 | tc << 9 | bos << 8 | ttl);
            Ok(Action::PushMpls { lse, eth_type: narrow(eth_type) })
        }
        _ => Err(lexer.error_at(start, "push_mpls(…) needs label=, tc=, ttl=, bos= and eth_type=")),
    }
}

fn parse_hash(lexer: &mut Lexer<'_>) -> Result<Action, OdpError> {
    let algorithm = if lexer.eat("l4(") {
        HashAlgorithm::L4
    } else if lexer.eat("sym_l4(") {
        HashAlgorithm::SymL4
    } else {
        let message = format!("expected l4( or sym_l4( in hash(…), found {}", lexer.found());
        return Err(lexer.error(message));
    };
    let basis = wide(lexer.number("the basis of hash", u32::MAX.into())?);
    lexer.expect(")")?;
    closed(lexer, Action::Hash { algorithm, basis })
}

fn parse_sample(
    lexer: &mut Lexer<'_>,
    ports: PortsByName<'_>,
    depth: usize,
    unsupported: &mut Vec<Unsupported>,
) -> Result<Action, OdpError> {
    nest(lexer, "sample", depth)?;
    lexer.expect("sample=")?;
    let start = lexer.place();
    let text = lexer.take(|byte| byte.is_ascii_digit() || byte == b'.');
    let Some(probability) = parse_percent(text) else {
        let message = format!("expected 0 to 100 % for sample=, found {}", lexer.found_at(start));
        return Err(lexer.error_at(start, message));
    };
    lexer.expect("%,actions(")?;
    let actions = parse_list(lexer, ports, depth + 1, unsupported)?.into();
    lexer.expect("))")?;
    Ok(Action::Sample { probability, actions })
}

/// Converts a percentage of at most 12 decimals to the nearest share of 2³²−1. `None` if the text
/// is not a number from 0 to 100.
fn parse_percent(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || whole.len() > 3 || decimals.len() > 12 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let part = if decimals.is_empty() { 0 } else { decimals.parse::<u128>().ok()? };
    let value = whole.parse::<u128>().ok()? * scale + part;
    (value <= 100 * scale).then(|| share(value, scale))
}

/// `value` / `scale` percent as a share of 2³²−1.
pub(super) fn share(value: u128, scale: u128) -> u32 {
    let whole = 100 * scale;
    wide((value * u128::from(u32::MAX) * 2 + whole) / (whole * 2))
}
