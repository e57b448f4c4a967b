//! Key lists to matches and keys.

use super::attr::{self, parse_mpls, parse_parts};
use super::lexer::Lexer;
use super::unsupported::{self, Unsupported};
use super::vlan::{self, ETH_TYPE_NONE, Level, Masked, narrow};
use super::{MAX_NESTING, OdpError, PortsByName};
use crate::{Attr, Field, Key, Mask, Match};

/// Reads a match: `recirc_id(0),in_port(1),eth(…),eth_type(0x0800),…`.
pub fn parse_match(text: &str) -> Result<Match, OdpError> {
    parse_match_with(text, &|_| None)
}

/// The same with names of ports.
pub fn parse_match_with(text: &str, ports: PortsByName<'_>) -> Result<Match, OdpError> {
    let mut lexer = Lexer::new(text);
    let keys = parse_keys(&mut lexer, ports, Of::Match)?;
    end(&lexer)?;
    keys.check_supported(&lexer)?;
    keys.into_match(&lexer)
}

/// Reads a key and a mask for a filter: every field that the text does not mention is wild,
/// `in_port` and the VLAN tag included.
pub fn parse_masked(text: &str, ports: PortsByName<'_>) -> Result<(Key, Mask), OdpError> {
    let mut lexer = Lexer::new(text);
    let keys = parse_keys(&mut lexer, ports, Of::Filter)?;
    end(&lexer)?;
    keys.check_supported(&lexer)?;
    Ok((keys.key, keys.mask))
}

/// Reads the key of a packet; a mask is an error. A text without `eth_type(…)` is the key of an
/// 802.2 frame. Keys that only OVS has may appear with the value zero.
pub fn parse_key(text: &str) -> Result<Key, OdpError> {
    parse_key_with(text, &|_| None)
}

/// The same with names of ports.
pub fn parse_key_with(text: &str, ports: PortsByName<'_>) -> Result<Key, OdpError> {
    let mut lexer = Lexer::without_masks(text);
    let mut keys = parse_keys(&mut lexer, ports, Of::Packet)?;
    end(&lexer)?;
    keys.check_supported(&lexer)?;
    if keys.mask.eth_type == 0 {
        keys.key.eth_type = ETH_TYPE_NONE;
    }
    Ok(keys.key)
}

fn end(lexer: &Lexer<'_>) -> Result<(), OdpError> {
    if lexer.at_end() {
        return Ok(());
    }
    Err(lexer.error(format!("expected a key, found {}", lexer.found())))
}

/// The kind of a key list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The match of a megaflow: it matches untagged packets only, unless it mentions a tag.
    Match,
    /// A filter: every field that it does not mention is wild.
    Filter,
    /// The key of a packet: all fields are exact, and there are no masks.
    Packet,
}

/// The content of a key list.
pub(super) struct KeyList {
    key: Key,
    mask: Mask,
    /// Attributes that were there, by name, with their depth and place.
    seen: Vec<(&'static str, usize, usize)>,
    levels: Vec<Level>,
    of: Of,
    /// The keys of the list that only OVS has.
    pub(super) unsupported: Vec<Unsupported>,
}

/// Reads keys up to the end, or up to a `word:` that does not belong to them.
pub(super) fn parse_keys(
    lexer: &mut Lexer<'_>,
    ports: PortsByName<'_>,
    of: Of,
) -> Result<KeyList, OdpError> {
    let mut keys = KeyList {
        key: Key::default(),
        mask: Mask::default(),
        seen: Vec::new(),
        levels: vec![Level::default()],
        of,
        unsupported: Vec::new(),
    };
    keys.parse_list(lexer, ports, 0)?;
    let no_tag = of != Of::Filter;
    vlan::put_levels(lexer, &keys.levels, no_tag, &mut keys.key, &mut keys.mask)?;
    keys.key = keys.key.masked(&keys.mask);
    keys.check(lexer)?;
    Ok(keys)
}

impl KeyList {
    /// Returns an error for the first key that OVS has and Megaflow does not.
    fn check_supported(&self, lexer: &Lexer<'_>) -> Result<(), OdpError> {
        self.unsupported.first().map_or(Ok(()), |first| Err(first.error(lexer)))
    }

    /// Returns the match; an error if `in_port(…)` is missing or not exact.
    pub(super) fn into_match(self, lexer: &Lexer<'_>) -> Result<Match, OdpError> {
        let message = match self.mask.in_port {
            u32::MAX => return Ok(Match::new(&self.key, &self.mask)),
            0 => "in_port(…) is missing: a flow belongs to one port",
            _ => "in_port(…) has to be exact: a flow belongs to one port",
        };
        let place = self.place("in_port").unwrap_or(0);
        Err(lexer.error_at(place, message))
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.seen.iter().find(|(seen, _, _)| *seen == name).map(|(_, _, place)| *place)
    }

    fn parse_list(
        &mut self,
        lexer: &mut Lexer<'_>,
        ports: PortsByName<'_>,
        depth: usize,
    ) -> Result<(), OdpError> {
        loop {
            lexer.skip_delimiters();
            if lexer.at_end() || lexer.rest().starts_with(')') {
                return Ok(());
            }
            let start = lexer.clone();
            let name = lexer.word();
            if lexer.rest().starts_with(':') && depth == 0 {
                *lexer = start;
                return Ok(());
            }
            if name.is_empty() || !lexer.eat("(") {
                return Err(start.error(format!("expected a key, found {}", start.found())));
            }
            self.parse_attr(lexer, ports, name, depth, start.place())?;
        }
    }

    fn parse_attr(
        &mut self,
        lexer: &mut Lexer<'_>,
        ports: PortsByName<'_>,
        name: &str,
        depth: usize,
        place: usize,
    ) -> Result<(), OdpError> {
        if let Some(key) = Unsupported::key(name, place) {
            let is_packet = self.of == Of::Packet;
            self.unsupported.extend(unsupported::read_key(lexer, key, is_packet)?);
            return Ok(());
        }
        if name == "encap" {
            return self.parse_encap(lexer, ports, depth, place);
        }
        let Some(known) = KNOWN.iter().find(|known| **known == name) else {
            return Err(lexer.error_at(place, format!("there is no key '{name}'")));
        };
        let tag = matches!(name, "eth_type" | "vlan");
        if self.seen.iter().any(|(seen, at, _)| seen == known && (!tag || *at == depth)) {
            return Err(lexer.error_at(place, format!("{name}(…) appears twice")));
        }
        if depth > 0 && TOP.contains(&name) {
            return Err(lexer.error_at(place, format!("{name}(…) can't be inside encap(…)")));
        }
        self.seen.push((known, depth, place));
        let level = &mut self.levels[depth];
        let (key, mask) = (&mut self.key, &mut self.mask);
        match name {
            "eth_type" => level.eth_type = Some(parse_key_eth_type(lexer)?),
            "vlan" => {
                level.vlan = Some(vlan::parse_vlan(lexer)?);
                level.place = place;
            }
            "in_port" => {
                let (value, bits) = parse_port(lexer, ports)?;
                (key.in_port, mask.in_port) = (value & bits, bits);
            }
            "recirc_id" => {
                let (value, bits) = parse_u32(lexer, "recirc_id")?;
                if bits != u32::MAX {
                    return Err(lexer.error_at(place, "recirc_id(…) has to be exact"));
                }
                (key.recirc_id, mask.recirc_id) = (value, bits);
            }
            "dp_hash" => {
                let (value, bits) = parse_u32(lexer, "dp_hash")?;
                (key.dp_hash, mask.dp_hash) = (value & bits, bits);
            }
            "tcp_flags" => {
                let (value, bits) = parse_tcp_flags(lexer)?;
                (key.tcp_flags, mask.tcp_flags) = (value & bits, bits);
            }
            "mpls" => parse_mpls(lexer, key, mask, 3)?,
            _ => {
                let parts = attr::by_name(name).map_or(&[][..], |layout| layout.parts);
                parse_parts(lexer, name, parts, key, mask)?;
            }
        }
        Ok(())
    }

    fn parse_encap(
        &mut self,
        lexer: &mut Lexer<'_>,
        ports: PortsByName<'_>,
        depth: usize,
        place: usize,
    ) -> Result<(), OdpError> {
        if depth + 1 >= MAX_NESTING {
            let message = format!("encap(…) is nested more than {MAX_NESTING} deep");
            return Err(lexer.error_at(place, message));
        }
        if self.levels.len() > depth + 1 {
            return Err(lexer.error_at(place, "encap(…) appears twice"));
        }
        let level = &mut self.levels[depth];
        level.encap = true;
        if level.vlan.is_none() {
            level.place = place;
        }
        self.levels.push(Level { place, ..Level::default() });
        self.parse_list(lexer, ports, depth + 1)?;
        lexer.expect(")")
    }

    /// Checks that the attributes behind the tags are in the innermost `encap(…)`, and that each
    /// has the EtherType and protocol that it needs beside it.
    fn check(&self, lexer: &Lexer<'_>) -> Result<(), OdpError> {
        for (name, depth, place) in &self.seen {
            if TOP.contains(name) || matches!(*name, "eth_type" | "vlan") {
                continue;
            }
            if *depth + 1 != self.levels.len() {
                return Err(lexer.error_at(*place, format!("{name}(…) belongs inside encap(…)")));
            }
            let attr = attr::by_name(name);
            let masked = match *name {
                "mpls" => self.has(&[Field::Mpls0, Field::Mpls1, Field::Mpls2]),
                "tcp_flags" => self.mask.tcp_flags != 0,
                _ => attr.is_some_and(|l| l.parts.iter().any(|p| self.has(&[p.field]))),
            };
            if !masked {
                continue;
            }
            self.check_place(name).map_err(|needs| {
                lexer.error_at(*place, format!("{name}(…) needs {needs} beside it"))
            })?;
        }
        Ok(())
    }

    fn has(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.mask.get(*field) != 0)
    }

    fn check_place(&self, name: &str) -> Result<(), String> {
        let eth_type = (self.mask.eth_type == 0xffff).then_some(self.key.eth_type);
        let types: &[u16] = match name {
            "ipv4" | "icmp" => &[0x0800],
            "ipv6" | "icmpv6" => &[0x86dd],
            "arp" => &[0x0806, 0x8035],
            "mpls" => &[0x8847, 0x8848],
            _ => &[0x0800, 0x86dd],
        };
        if !eth_type.is_some_and(|eth_type| types.contains(&eth_type)) {
            let list: Vec<_> = types.iter().map(|t| format!("eth_type(0x{t:04x})")).collect();
            return Err(list.join(" or "));
        }
        let protocol = match attr::by_name(name) {
            Some(layout) if layout.attr == Attr::Transport => layout.protocol,
            None if name == "tcp_flags" => 6,
            _ => return Ok(()),
        };
        if self.mask.ip_proto == 0xff && self.key.ip_proto == protocol {
            return Ok(());
        }
        Err(format!("proto={protocol}"))
    }
}

/// Attributes that are allowed in the outermost list only.
const TOP: &[&str] = &["recirc_id", "dp_hash", "in_port", "eth"];

const KNOWN: &[&str] = &[
    "recirc_id",
    "dp_hash",
    "in_port",
    "eth",
    "vlan",
    "eth_type",
    "mpls",
    "ipv4",
    "ipv6",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmpv6",
    "tcp_flags",
    "arp",
];

/// Reads `value/mask)`.
pub(super) fn parse_u32(lexer: &mut Lexer<'_>, name: &str) -> Result<(u32, u32), OdpError> {
    let value = lexer.number(name, u32::MAX.into())?;
    let mask = match lexer.eat_mask()? {
        true => lexer.number(format_args!("the mask of {name}"), u32::MAX.into())?,
        false => u32::MAX.into(),
    };
    lexer.expect(")")?;
    Ok((wide(value), wide(mask)))
}

/// Reads `number)` or `name)`.
pub(super) fn parse_port(
    lexer: &mut Lexer<'_>,
    ports: PortsByName<'_>,
) -> Result<(u32, u32), OdpError> {
    if lexer.rest().starts_with(|c: char| c.is_ascii_digit()) {
        return parse_u32(lexer, "in_port");
    }
    let start = lexer.clone();
    let name = lexer.take(|c| c != ')');
    let Some(port) = ports(name) else {
        return Err(start.error(format!("there is no port '{}'", name.escape_default())));
    };
    lexer.expect(")")?;
    Ok((port.0, u32::MAX))
}

/// Reads the inside of `eth_type(…)` in a key. A number below 0x600 is the length of an 802.2
/// frame, which has no EtherType: OVS writes `0/0xffff` for those.
fn parse_key_eth_type(lexer: &mut Lexer<'_>) -> Result<Masked, OdpError> {
    let start = lexer.clone();
    let masked = parse_eth_type(lexer)?;
    if masked.mask == 0xffff && masked.value < ETH_TYPE_NONE {
        return Err(start.error(format!(
            "eth_type {:#06x} is a length: EtherTypes begin at 0x0600, and 802.2 frames are \
             eth_type(0/0xffff)",
            masked.value
        )));
    }
    Ok(masked)
}

/// Reads the inside of `eth_type(…)`; `0/0xffff` is an 802.2 frame.
pub(super) fn parse_eth_type(lexer: &mut Lexer<'_>) -> Result<Masked, OdpError> {
    let value = narrow(lexer.number("eth_type", 0xffff)?);
    let before = lexer.clone();
    let explicit = lexer.eat("/");
    let mask = match explicit {
        true => narrow(lexer.number("the mask of eth_type", 0xffff)?),
        false => 0xffff,
    };
    lexer.expect(")")?;
    let none = explicit && mask == 0xffff && value == 0;
    if explicit && !none {
        before.allow_mask()?;
    }
    Ok(Masked { value: if none { ETH_TYPE_NONE } else { value & mask }, mask })
}

/// The names of the flags, lowest bit first.
pub(super) const TCP_FLAGS: [&str; 12] =
    ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"];

/// Reads `+syn-ack)`, `syn|ack)`, `0x12)` or `0x12/0x3f)`: value and mask.
pub(super) fn parse_tcp_flags(lexer: &mut Lexer<'_>) -> Result<(u16, u16), OdpError> {
    let (mut value, mut mask) = (0, 0);
    if lexer.rest().starts_with(|c: char| c.is_ascii_digit()) {
        value = narrow(lexer.number("tcp_flags", 0xfff)?);
        mask = match lexer.eat_mask()? {
            true => narrow(lexer.number("the mask of tcp_flags", 0xfff)?),
            false => 0xfff,
        };
    } else if lexer.rest().starts_with(['+', '-']) {
        lexer.allow_mask()?;
        while !lexer.rest().starts_with(')') {
            let set = lexer.eat("+");
            if !set {
                lexer.expect("-")?;
            }
            let bit = parse_flag(lexer, mask)?;
            mask |= bit;
            value |= if set { bit } else { 0 };
        }
    } else {
        mask = 0xfff;
        loop {
            value |= parse_flag(lexer, value)?;
            if !lexer.eat("|") {
                break;
            }
        }
    }
    lexer.expect(")")?;
    Ok((value, mask))
}

fn parse_flag(lexer: &mut Lexer<'_>, seen: u16) -> Result<u16, OdpError> {
    let start = lexer.clone();
    let name = lexer.take(|c| c.is_ascii_alphanumeric() || matches!(c, '[' | ']'));
    let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) else {
        return Err(start.error(format!("there is no TCP flag {}", start.found())));
    };
    if seen & 1 << bit != 0 {
        return Err(start.error(format!("the TCP flag {name} appears twice")));
    }
    Ok(1 << bit)
}

/// Converts a number that was checked to fit into 32 bits.
pub(super) fn wide(value: u128) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
