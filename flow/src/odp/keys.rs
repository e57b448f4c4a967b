//! Key lists to matches and keys.

use super::attr::{self, AttrLayout, LAYOUTS, parse_mpls, parse_parts};
use super::lexer::Lexer;
use super::unsupported::{self, Unsupported};
use super::vlan::{self, ETH_TYPE_NONE, Level, Masked, narrow};
use super::{MAX_NESTING, OdpError, PortsByName};
use crate::{Attr, Key, Mask, Match};

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
    /// Where each attribute of [`LAYOUTS`] was, other than those of a level.
    seen: [Option<Seen>; LAYOUTS.len()],
    outer: Level,
    /// The levels of `encap(…)`, outermost first.
    encaps: Vec<Level>,
    of: Of,
    /// The keys of the list that only OVS has.
    pub(super) unsupported: Vec<Unsupported>,
}

/// Where an attribute was.
#[derive(Clone, Copy)]
struct Seen {
    depth: usize,
    place: usize,
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
        seen: [None; LAYOUTS.len()],
        outer: Level::default(),
        encaps: Vec::new(),
        of,
        unsupported: Vec::new(),
    };
    keys.parse_list(lexer, ports, 0)?;
    let no_tag = of != Of::Filter;
    let levels = std::iter::once(&keys.outer).chain(&keys.encaps);
    vlan::put_levels(lexer, levels, no_tag, &mut keys.key, &mut keys.mask)?;
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
        let seen = self.attributes().find(|(layout, _)| layout.attr == Attr::InPort);
        Err(lexer.error_at(seen.map_or(0, |(_, seen)| seen.place), message))
    }

    /// The attributes that were there, other than those of a level.
    fn attributes(&self) -> impl Iterator<Item = (&'static AttrLayout, Seen)> {
        let seen = |(layout, seen): (&&'static _, &Option<_>)| seen.map(|seen| (*layout, seen));
        LAYOUTS.iter().zip(&self.seen).filter_map(seen)
    }

    fn level(&mut self, depth: usize) -> &mut Level {
        match depth {
            0 => &mut self.outer,
            _ => &mut self.encaps[depth - 1],
        }
    }

    fn parse_list(
        &mut self,
        lexer: &mut Lexer<'_>,
        ports: PortsByName<'_>,
        depth: usize,
    ) -> Result<(), OdpError> {
        loop {
            lexer.skip_delimiters();
            if lexer.at_end() || lexer.at(b')') {
                return Ok(());
            }
            let place = lexer.place();
            if let Some(attr) = attr::parse_open(lexer) {
                self.parse_attr(lexer, ports, attr, depth, place)?;
                continue;
            }
            let start = lexer.place();
            let name = lexer.word();
            if lexer.at(b':') && depth == 0 {
                lexer.rewind(start);
                return Ok(());
            }
            if name.is_empty() || !lexer.eat("(") {
                return Err(lexer
                    .error_at(start, format!("expected a key, found {}", lexer.found_at(start))));
            }
            if let Some(key) = Unsupported::key(name, place) {
                let is_packet = self.of == Of::Packet;
                self.unsupported.extend(unsupported::read_key(lexer, key, is_packet)?);
            } else if name == "encap" {
                self.parse_encap(lexer, ports, depth, place)?;
            } else {
                return Err(lexer.error_at(start, format!("there is no key '{name}'")));
            }
        }
    }

    fn parse_attr(
        &mut self,
        lexer: &mut Lexer<'_>,
        ports: PortsByName<'_>,
        (index, layout): (usize, &AttrLayout),
        depth: usize,
        place: usize,
    ) -> Result<(), OdpError> {
        let name = layout.name();
        let twice = match layout.attr {
            Attr::EthType => self.level(depth).eth_type.is_some(),
            Attr::Vlan => self.level(depth).vlan.is_some(),
            _ => self.seen[index].replace(Seen { depth, place }).is_some(),
        };
        if twice {
            return Err(lexer.error_at(place, format!("{name}(…) appears twice")));
        }
        if depth > 0 && is_top(layout) {
            return Err(lexer.error_at(place, format!("{name}(…) can't be inside encap(…)")));
        }
        let (key, mask) = (&mut self.key, &mut self.mask);
        match layout.attr {
            Attr::EthType => self.level(depth).eth_type = Some(parse_key_eth_type(lexer)?),
            Attr::Vlan => {
                let vlan = Some(vlan::parse_vlan(lexer)?);
                let level = self.level(depth);
                (level.vlan, level.place) = (vlan, place);
            }
            Attr::InPort => (key.in_port, mask.in_port) = parse_port(lexer, ports)?,
            Attr::RecircId => {
                (key.recirc_id, mask.recirc_id) = parse_u32(lexer, name)?;
                if mask.recirc_id != u32::MAX {
                    return Err(lexer.error_at(place, "recirc_id(…) has to be exact"));
                }
            }
            Attr::DpHash => (key.dp_hash, mask.dp_hash) = parse_u32(lexer, name)?,
            Attr::TcpFlags => (key.tcp_flags, mask.tcp_flags) = parse_tcp_flags(lexer)?,
            Attr::Mpls => parse_mpls(lexer, key, mask, 3)?,
            _ => parse_parts(lexer, name, layout.parts, key, mask)?,
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
        if self.encaps.len() > depth {
            return Err(lexer.error_at(place, "encap(…) appears twice"));
        }
        let level = self.level(depth);
        level.encap = true;
        if level.vlan.is_none() {
            level.place = place;
        }
        self.encaps.push(Level { place, ..Level::default() });
        self.parse_list(lexer, ports, depth + 1)?;
        lexer.expect(")")
    }

    /// Checks that the attributes behind the tags are in the innermost `encap(…)`, and that each
    /// has the EtherType and protocol that it needs beside it.
    fn check(&self, lexer: &Lexer<'_>) -> Result<(), OdpError> {
        let faults = self.attributes().filter_map(|(layout, seen)| {
            let fault = self.fault(layout, seen.depth)?;
            Some((seen.place, format!("{}(…) {fault}", layout.name())))
        });
        match faults.min_by_key(|(place, _)| *place) {
            Some((place, message)) => Err(lexer.error_at(place, message)),
            None => Ok(()),
        }
    }

    fn fault(&self, layout: &AttrLayout, depth: usize) -> Option<String> {
        if is_top(layout) {
            return None;
        }
        if depth != self.encaps.len() {
            return Some("belongs inside encap(…)".to_owned());
        }
        let types: &[u16] = match (layout.attr, layout.protocol) {
            (Attr::Ipv4, _) | (Attr::Transport, 1) => &[0x0800],
            (Attr::Ipv6, _) | (Attr::Transport, 58) => &[0x86dd],
            (Attr::Arp, _) => &[0x0806, 0x8035],
            (Attr::Mpls, _) => &[0x8847, 0x8848],
            _ => &[0x0800, 0x86dd],
        };
        let protocol = match layout.attr {
            Attr::Transport => Some(layout.protocol),
            Attr::TcpFlags => Some(6),
            _ => None,
        };
        let typed = self.mask.eth_type == 0xffff && types.contains(&self.key.eth_type);
        let has = |protocol| self.mask.ip_proto == 0xff && self.key.ip_proto == protocol;
        if typed && protocol.is_none_or(has) || !self.masks(layout) {
            return None;
        }
        match protocol {
            Some(protocol) if typed => Some(format!("needs proto={protocol} beside it")),
            _ => {
                let types: Vec<_> = types.iter().map(|t| format!("eth_type(0x{t:04x})")).collect();
                Some(format!("needs {} beside it", types.join(" or ")))
            }
        }
    }

    /// Returns true if a field of the attribute is not wild.
    fn masks(&self, layout: &AttrLayout) -> bool {
        match layout.attr {
            Attr::Mpls => self.mask.mpls0 | self.mask.mpls1 | self.mask.mpls2 != 0,
            Attr::TcpFlags => self.mask.tcp_flags != 0,
            _ => layout.parts.iter().any(|part| self.mask.get(part.field) != 0),
        }
    }
}

/// Returns true if the attribute is allowed in the outermost list only.
fn is_top(layout: &AttrLayout) -> bool {
    matches!(layout.attr, Attr::RecircId | Attr::DpHash | Attr::InPort | Attr::Eth)
}

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
    if lexer.at_digit() {
        return parse_u32(lexer, "in_port");
    }
    let start = lexer.place();
    let name = lexer.take(|byte| byte != b')');
    let Some(port) = ports(name) else {
        return Err(lexer.error_at(start, format!("there is no port '{}'", name.escape_default())));
    };
    lexer.expect(")")?;
    Ok((port.0, u32::MAX))
}

/// Reads the inside of `eth_type(…)` in a key. A number below 0x600 is the length of an 802.2
/// frame, which has no EtherType: OVS writes `0/0xffff` for those.
fn parse_key_eth_type(lexer: &mut Lexer<'_>) -> Result<Masked, OdpError> {
    let start = lexer.place();
    let masked = parse_eth_type(lexer)?;
    if masked.mask == 0xffff && masked.value < ETH_TYPE_NONE {
        return Err(lexer.error_at(
            start,
            format!(
                "eth_type {:#06x} is a length: EtherTypes begin at 0x0600, and 802.2 frames are \
             eth_type(0/0xffff)",
                masked.value
            ),
        ));
    }
    Ok(masked)
}

/// Reads the inside of `eth_type(…)`; `0/0xffff` is an 802.2 frame.
pub(super) fn parse_eth_type(lexer: &mut Lexer<'_>) -> Result<Masked, OdpError> {
    let value = narrow(lexer.number("eth_type", 0xffff)?);
    let before = lexer.place();
    let explicit = lexer.eat("/");
    let mask = match explicit {
        true => narrow(lexer.number("the mask of eth_type", 0xffff)?),
        false => 0xffff,
    };
    lexer.expect(")")?;
    let none = explicit && mask == 0xffff && value == 0;
    if explicit && !none {
        lexer.allow_mask(before)?;
    }
    Ok(Masked { value: if none { ETH_TYPE_NONE } else { value & mask }, mask })
}

/// The names of the flags, lowest bit first.
pub(super) const TCP_FLAGS: [&str; 12] =
    ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"];

/// Reads `+syn-ack)`, `syn|ack)`, `0x12)` or `0x12/0x3f)`: value and mask.
pub(super) fn parse_tcp_flags(lexer: &mut Lexer<'_>) -> Result<(u16, u16), OdpError> {
    let (mut value, mut mask) = (0, 0);
    if lexer.at_digit() {
        value = narrow(lexer.number("tcp_flags", 0xfff)?);
        mask = match lexer.eat_mask()? {
            true => narrow(lexer.number("the mask of tcp_flags", 0xfff)?),
            false => 0xfff,
        };
    } else if lexer.at(b'+') || lexer.at(b'-') {
        lexer.allow_mask(lexer.place())?;
        while !lexer.at(b')') {
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
    let start = lexer.place();
    let name = lexer.take(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'[' | b']'));
    let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) else {
        return Err(
            lexer.error_at(start, format!("there is no TCP flag {}", lexer.found_at(start)))
        );
    };
    if seen & 1 << bit != 0 {
        return Err(lexer.error_at(start, format!("the TCP flag {name} appears twice")));
    }
    Ok(1 << bit)
}

/// Converts a number that was checked to fit into 32 bits.
pub(super) fn wide(value: u128) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
