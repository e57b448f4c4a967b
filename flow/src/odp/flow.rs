//! Whole flows as dumps print them: ufid, keys, statistics, actions.

use super::action::parse_list;
use super::keys::{Of, parse_keys};
use super::lexer::Lexer;
use super::{OdpError, Ports};
use crate::{Actions, Match, Ufid};

/// Reads `[ufid:…,] keys [, packets:…, bytes:…, used:…, …] [, actions:…]`. The ufid is the one in
/// the text, which need not be the one that follows from the match; statistics are passed over.
pub fn parse_flow(text: &str) -> Result<(Option<Ufid>, Match, Option<Actions>), OdpError> {
    parse_flow_with(text, &|_| None)
}

/// The same with names of ports.
pub fn parse_flow_with(
    text: &str,
    ports: Ports<'_>,
) -> Result<(Option<Ufid>, Match, Option<Actions>), OdpError> {
    let mut lexer = Lexer::new(text);
    lexer.skip_delimiters();
    let ufid = parse_ufid(&mut lexer)?;
    let keys = parse_keys(&mut lexer, ports, Of::Match)?;
    let actions = parse_rest(&mut lexer, ports)?;
    Ok((ufid, keys.into_match(&lexer)?, actions))
}

fn parse_ufid(lexer: &mut Lexer<'_>) -> Result<Option<Ufid>, OdpError> {
    if !lexer.rest().starts_with("ufid:") {
        return Ok(None);
    }
    let start = lexer.clone();
    let ufid = lexer.token().parse().map_err(|error: String| start.error(error))?;
    Ok(Some(ufid))
}

/// Names of the `name:value` parts that follow the keys of a dumped line.
const STATISTICS: &[&str] =
    &["packets", "bytes", "used", "flags", "offloaded", "dp", "dp-extra-info"];

fn parse_rest(lexer: &mut Lexer<'_>, ports: Ports<'_>) -> Result<Option<Actions>, OdpError> {
    let mut actions = None;
    loop {
        lexer.skip_delimiters();
        if lexer.at_end() {
            return Ok(actions);
        }
        let start = lexer.clone();
        let name = lexer.word();
        match (name, lexer.eat(":")) {
            ("actions", true) if actions.is_none() => {
                lexer.skip_space();
                actions = Some(parse_list(lexer, ports, 0)?.into());
            }
            ("dp-extra-info", true) => {
                lexer.take(|_| true);
            }
            (name, true) if STATISTICS.contains(&name) => {
                lexer.take(|c| c != ',' && !c.is_ascii_whitespace());
            }
            _ => {
                let message = format!("expected a key or actions:, found {}", start.found());
                return Err(start.error(message));
            }
        }
    }
}
