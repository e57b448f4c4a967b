//! Keys and actions that OVS has and we do not: they are named, never overlooked.

use super::OdpError;
use super::lexer::Lexer;

const KEYS: &[&str] = &[
    "skb_priority",
    "skb_mark",
    "ct_state",
    "ct_zone",
    "ct_mark",
    "ct_label",
    "ct_tuple4",
    "ct_tuple6",
    "tunnel",
    "nd",
    "nd_ext",
    "nsh",
    "packet_type",
];

const ACTIONS: &[&str] = &[
    "ct",
    "ct_clear",
    "meter",
    "clone",
    "check_pkt_len",
    "tnl_push",
    "tnl_pop",
    "push_eth",
    "pop_eth",
    "push_nsh",
    "pop_nsh",
    "dec_ttl",
    "add_mpls",
    "psample",
    "lb_output",
];

/// Is that the name of an action that OVS has and we do not?
pub(super) fn is_action(name: &str) -> bool {
    ACTIONS.contains(&name)
}

/// Is that the name of a key that OVS has and we do not?
pub(super) fn is_key(name: &str) -> bool {
    KEYS.contains(&name)
}

/// Reads over the inside of such a key, up to its closing parenthesis, if it says nothing: all
/// masks are zero, or, where `zero_value` allows it, the value is.
pub(super) fn skip_key(
    lexer: &mut Lexer<'_>,
    name: &str,
    place: usize,
    zero_value: bool,
) -> Result<(), OdpError> {
    let mut inside = lexer.clone();
    let text = take_nested(&mut inside);
    if !inside.eat(")") {
        return Err(lexer.error(format!("{name}( is not closed")));
    }
    let ethernet = name == "packet_type" && matches!(text, "ns=0,id=0" | "ns=0,id=0x0");
    let says_nothing = !text.contains(['(', '{'])
        && text.split(',').all(|part| match part.split_once('/') {
            Some((_, mask)) => is_zero(mask),
            None => {
                zero_value && is_zero(part.split_once('=').map_or(part, |(_, value)| value))
                    || part.is_empty() && name != "tunnel"
            }
        });
    if ethernet || says_nothing {
        *lexer = inside;
        return Ok(());
    }
    Err(lexer.error_at(place, format!("{name} is not supported: no key of a packet has it")))
}

/// Zero in any of the forms that masks have.
fn is_zero(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    !digits.is_empty() && digits.chars().all(|c| matches!(c, '0' | ':' | '.'))
}

/// Everything up to the parenthesis that closes what is open, which is left unread.
fn take_nested<'a>(lexer: &mut Lexer<'a>) -> &'a str {
    let depth = std::cell::Cell::new(0_usize);
    lexer.take(|c| {
        match c {
            '(' => depth.set(depth.get() + 1),
            ')' if depth.get() == 0 => return false,
            ')' => depth.set(depth.get() - 1),
            _ => {}
        }
        true
    })
}
