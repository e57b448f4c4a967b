//! Action lists.

use super::keys::wide;
use super::lexer::Lexer;
use super::vlan::narrow;
use super::{MAX_NESTING, OdpError, Ports, set, unsupported};
use crate::{Action, Actions, HashAlgorithm, PortId, RecircId, Userspace, VLAN_PRESENT};

/// Reads a list of actions; `drop` and nothing at all are the empty list.
pub fn parse_actions(text: &str) -> Result<Actions, OdpError> {
    parse_actions_with(text, &|_| None)
}

/// The same with names of ports.
pub fn parse_actions_with(text: &str, ports: Ports<'_>) -> Result<Actions, OdpError> {
    let mut lexer = Lexer::new(text);
    let actions = parse_list(&mut lexer, ports, 0)?;
    if lexer.at_end() {
        return Ok(actions.into());
    }
    Err(lexer.error(format!("expected an action, found {}", lexer.found())))
}

/// Reads actions up to the end, a closing parenthesis or `, dp-extra-info:`.
pub(super) fn parse_list(
    lexer: &mut Lexer<'_>,
    ports: Ports<'_>,
    depth: usize,
) -> Result<Vec<Action>, OdpError> {
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
            actions.push(parse_action(lexer, ports, depth)?);
            if !lexer.rest().starts_with([',', ' ', '\t', '\r', '\n', ')']) && !lexer.at_end() {
                return Err(lexer.error(format!("expected ',', found {}", lexer.found())));
            }
        }
        if let (Some(place), false) = (dropped, actions.is_empty()) {
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

fn parse_action(lexer: &mut Lexer<'_>, ports: Ports<'_>, depth: usize) -> Result<Action, OdpError> {
    if lexer.rest().starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Action::Output(PortId(wide(lexer.number("the port", u32::MAX.into())?))));
    }
    let start = lexer.clone();
    let name = lexer.token();
    match name {
        "pop_vlan" => return Ok(Action::PopVlan),
        "ct_clear" | "pop_eth" => return Err(not_supported(&start, name)),
        _ => {}
    }
    if !lexer.eat("(") {
        return match ports(name) {
            Some(port) => Ok(Action::Output(port)),
            None => Err(start.error(format!("there is no action or port {}", start.found()))),
        };
    }
    match name {
        "userspace" => parse_userspace(lexer),
        "set" => set::parse_set(lexer, ports),
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
        "sample" => parse_sample(lexer, ports, depth),
        name if unsupported::is_action(name) => Err(not_supported(&start, name)),
        _ => Err(start.error(format!("there is no action {}", start.found()))),
    }
}

fn not_supported(start: &Lexer<'_>, name: &str) -> OdpError {
    start.error(format!("action {name} is not supported"))
}

fn closed(lexer: &mut Lexer<'_>, action: Action) -> Result<Action, OdpError> {
    lexer.expect(")")?;
    Ok(action)
}

/// Longest userdata: what fits into a netlink attribute beside the rest of the action.
pub(crate) const MAX_USERDATA: usize = 65_512;

/// Reads `pid=N[,userdata(hex)])`. The cookies of OVS's own userspace (`sFlow(…)` and so on) and
/// its two options have no place in our action: named, not lost.
fn parse_userspace(lexer: &mut Lexer<'_>) -> Result<Action, OdpError> {
    lexer.expect("pid=")?;
    let pid = wide(lexer.number("userspace(pid=)", u32::MAX.into())?);
    let mut userdata = Vec::new();
    if lexer.eat(",userdata(") {
        let start = lexer.clone();
        let text = lexer.take(|c| c != ')');
        let digits: Vec<_> = text.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16)).collect();
        for pair in digits.chunks(2) {
            let [Some(high), Some(low)] = pair else {
                let message = "userdata(…) has to be hexadecimal, two digits a byte";
                return Err(start.error(message));
            };
            userdata.push(u8::try_from(high << 4 | low).unwrap_or(u8::MAX));
        }
        if userdata.len() > MAX_USERDATA {
            let message =
                format!("userdata has {} bytes, more than {MAX_USERDATA}", userdata.len());
            return Err(start.error(message));
        }
        lexer.expect(")")?;
    }
    if lexer.eat(")") {
        return Ok(Action::Userspace(Userspace { pid, userdata }));
    }
    lexer.expect(",")?;
    let start = lexer.clone();
    match lexer.word() {
        "" => Err(start.error(format!("expected ')', found {}", start.found()))),
        name => Err(start.error(format!("userspace({name}) is not supported: only userdata is"))),
    }
}

/// Reads `name=value,…)` of numbers, each at most once, in any order.
fn parse_numbers<const N: usize>(
    lexer: &mut Lexer<'_>,
    action: &str,
    names: [(&str, u128); N],
) -> Result<[Option<u128>; N], OdpError> {
    let mut values = [None; N];
    while !lexer.eat(")") {
        let start = lexer.clone();
        let name = lexer.word();
        let index = names.iter().position(|(known, _)| *known == name);
        let Some(index) = index.filter(|_| lexer.eat("=")) else {
            let names = names.map(|(name, _)| format!("{name}=")).join(" ");
            let message = format!("expected {names} in {action}(…), found {}", start.found());
            return Err(start.error(message));
        };
        if values[index].is_some() {
            return Err(start.error(format!("{action}({name}=) appears twice")));
        }
        values[index] = Some(lexer.number(&format!("{action}({name}=)"), names[index].1)?);
        super::attr::end_of_part(lexer)?;
    }
    Ok(values)
}

fn parse_push_vlan(lexer: &mut Lexer<'_>) -> Result<Action, OdpError> {
    let names = [("tpid", 0xffff), ("vid", 0xfff), ("pcp", 7), ("cfi", 1)];
    let start = lexer.clone();
    let [tpid, vid, pcp, cfi] = parse_numbers(lexer, "push_vlan", names)?;
    let Some(vid) = vid else {
        return Err(start.error("push_vlan(…) needs vid="));
    };
    let present = if cfi == Some(0) { 0 } else { VLAN_PRESENT };
    let tci = narrow(vid | pcp.unwrap_or(0) << 13) | present;
    Ok(Action::PushVlan { tpid: narrow(tpid.unwrap_or(0x8100)), tci })
}

fn parse_push_mpls(lexer: &mut Lexer<'_>) -> Result<Action, OdpError> {
    let names = [("label", 0xf_ffff), ("tc", 7), ("ttl", 0xff), ("bos", 1), ("eth_type", 0xffff)];
    let start = lexer.clone();
    match parse_numbers(lexer, "push_mpls", names)? {
        [Some(label), Some(tc), Some(ttl), Some(bos), Some(eth_type)] => {
            let lse = wide(label << 12 | tc << 9 | bos << 8 | ttl);
            Ok(Action::PushMpls { lse, eth_type: narrow(eth_type) })
        }
        _ => Err(start.error("push_mpls(…) needs label=, tc=, ttl=, bos= and eth_type=")),
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

fn parse_sample(lexer: &mut Lexer<'_>, ports: Ports<'_>, depth: usize) -> Result<Action, OdpError> {
    if depth + 1 >= MAX_NESTING {
        return Err(lexer.error(format!("sample(…) is nested more than {MAX_NESTING} deep")));
    }
    lexer.expect("sample=")?;
    let start = lexer.clone();
    let text = lexer.take(|c| c.is_ascii_digit() || c == '.');
    let Some(probability) = parse_percent(text) else {
        let message = format!("expected 0 to 100 % for sample=, found {}", start.found());
        return Err(start.error(message));
    };
    lexer.expect("%,actions(")?;
    let actions = parse_list(lexer, ports, depth + 1)?.into();
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
