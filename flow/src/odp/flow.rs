//! Whole flows as dumps print them: ufid, keys, statistics, actions.

use super::action::parse_list;
use super::keys::{Of, parse_keys};
use super::lexer::{Keyword, Lexer};
use super::unsupported::Unsupported;
use super::{OdpError, PortsByName};
use crate::{Actions, Match, Refusal, Ufid};

/// Reads `[ufid:…,] keys [, packets:…, bytes:…, used:…, …] [, actions:…]`. The ufid is the one in
/// the text, which need not be the one that follows from the match; statistics are passed over.
pub fn parse_flow(text: &str) -> Result<(Option<Ufid>, Match, Option<Actions>), OdpError> {
    parse_flow_with(text, &|_| None)
}

/// The same with names of ports.
pub fn parse_flow_with(
    text: &str,
    ports: PortsByName<'_>,
) -> Result<(Option<Ufid>, Match, Option<Actions>), OdpError> {
    let (ufid, matching, actions, unsupported) = parse_text(text, ports)?;
    match unsupported.first() {
        Some(first) => Err(first.error(&Lexer::new(text))),
        None => Ok((ufid, matching, actions)),
    }
}

/// A flow that was read from a text for a plan. Keys and actions that only OVS has are left out, so
/// the flow is not to be installed if there are any.
#[derive(Clone, Debug)]
pub struct PlanText {
    /// The ufid in the text, which need not be the one that follows from the match.
    pub ufid: Option<Ufid>,
    /// The match, without keys that only OVS has.
    pub matching: Match,
    /// The actions, without those that only OVS has; `None` if the text has no `actions:`.
    pub actions: Option<Actions>,
    /// A refusal for each key and action that was left out.
    pub unsupported: Vec<Refusal>,
}

/// Reads the same texts as [`parse_flow_with`] for a plan.
pub fn plan_flow_with(text: &str, ports: PortsByName<'_>) -> Result<PlanText, OdpError> {
    let (ufid, matching, actions, unsupported) = parse_text(text, ports)?;
    let unsupported = unsupported.into_iter().map(Unsupported::into_refusal).collect();
    Ok(PlanText { ufid, matching, actions, unsupported })
}

type Parsed = (Option<Ufid>, Match, Option<Actions>, Vec<Unsupported>);

fn parse_text(text: &str, ports: PortsByName<'_>) -> Result<Parsed, OdpError> {
    let mut lexer = Lexer::new(text);
    lexer.skip_delimiters();
    let ufid = parse_ufid(&mut lexer)?;
    let mut keys = parse_keys(&mut lexer, ports, Of::Match)?;
    let mut unsupported = std::mem::take(&mut keys.unsupported);
    let actions = parse_rest(&mut lexer, ports, &mut unsupported)?;
    Ok((ufid, keys.into_match(&lexer)?, actions, unsupported))
}

fn parse_ufid(lexer: &mut Lexer<'_>) -> Result<Option<Ufid>, OdpError> {
    if !lexer.rest().starts_with("ufid:") {
        return Ok(None);
    }
    let start = lexer.place();
    let ufid = lexer.token().parse().map_err(|error: String| lexer.error_at(start, error))?;
    Ok(Some(ufid))
}

/// What can follow the keys of a dumped line: actions, words up to the end, and statistics.
const REST: [Keyword; 8] = [
    Keyword::new("actions:"),
    Keyword::new("dp-extra-info:"),
    Keyword::new("packets:"),
    Keyword::new("bytes:"),
    Keyword::new("used:"),
    Keyword::new("flags:"),
    Keyword::new("offloaded:"),
    Keyword::new("dp:"),
];

fn parse_rest(
    lexer: &mut Lexer<'_>,
    ports: PortsByName<'_>,
    unsupported: &mut Vec<Unsupported>,
) -> Result<Option<Actions>, OdpError> {
    let mut actions = None;
    loop {
        lexer.skip_delimiters();
        if lexer.at_end() {
            return Ok(actions);
        }
        let start = lexer.place();
        match lexer.name(REST.iter()) {
            Some(0) if actions.is_none() => {
                lexer.skip_space();
                actions = Some(parse_list(lexer, ports, 0, unsupported)?.into());
            }
            Some(1) => {
                lexer.take(|_| true);
            }
            Some(2..) => {
                lexer.take(|byte| byte != b',' && !byte.is_ascii_whitespace());
            }
            _ => {
                let message =
                    format!("expected a key or actions:, found {}", lexer.found_at(start));
                return Err(lexer.error_at(start, message));
            }
        }
    }
}
