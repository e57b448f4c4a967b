//! Attributes that are lists of `name=value/mask`: one description of their parts serves for
//! reading and for printing.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::OdpError;
use super::digits::{push_dec, push_hex, push_ipv4, push_mac};
use super::lexer::{Keyword, Lexer};
use crate::{Attr, Field, Key, MacAddr, Mask};

/// The form of a value in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Decimal with a hexadecimal mask.
    Dec,
    /// Hexadecimal, zero without 0x.
    Hex,
    /// Ethernet address.
    Mac,
    /// IPv4 address.
    Ip4,
    /// IPv6 address.
    Ip6,
    /// `no`, `first`, `later`.
    Frag,
}

/// One `name=` inside an attribute: bits of a field.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// The name with its `=`.
    name: Keyword,
    pub(super) field: Field,
    pub(super) form: Form,
    /// Lowest bit of the field.
    pub(super) shift: u32,
    /// Number of bits.
    pub(super) bits: u32,
}

impl Part {
    const fn new(name: &'static str, field: Field, form: Form, bits: u32) -> Part {
        Part { name: Keyword::new(name), field, form, shift: 0, bits }
    }

    pub(super) const fn bits(name: &'static str, field: Field, shift: u32, bits: u32) -> Part {
        Part { shift, ..Part::new(name, field, Form::Dec, bits) }
    }

    /// All ones in the part's width.
    pub(super) fn full(&self) -> u128 {
        u128::MAX >> (128 - self.bits)
    }

    /// The part's bits of a key or mask.
    pub(super) fn get(&self, key: &Key) -> u128 {
        // Most masks have no bits.
        match key.get(self.field) {
            0 => 0,
            whole => whole >> self.shift & self.full(),
        }
    }

    /// Sets the part's value and mask in a key and a mask. An exact ICMP type or code becomes exact
    /// in the whole field.
    fn put(&self, key: &mut Key, mask: &mut Mask, value: u128, bits: u128) {
        if self.bits == self.field.bits() {
            key.set(self.field, value & bits);
            return mask.set(self.field, bits);
        }
        let place = self.full() << self.shift;
        let whole = bits == self.full() && self.bits == 8 && self.field.bits() == 16;
        let bits = if whole { self.field.full_mask() } else { bits << self.shift };
        key.set(self.field, key.get(self.field) & !place | (value << self.shift & bits));
        mask.set(self.field, mask.get(self.field) & !place | bits);
    }
}

/// An attribute: its name in the text, and its parts if it is a list of parts.
pub(super) struct AttrLayout {
    /// The name with its `(`.
    name: Keyword,
    pub(super) attr: Attr,
    /// [`crate::SetFields::protocol`] for it.
    pub(super) protocol: u8,
    pub(super) parts: &'static [Part],
}

impl AttrLayout {
    const fn new(
        name: &'static str,
        attr: Attr,
        protocol: u8,
        parts: &'static [Part],
    ) -> AttrLayout {
        AttrLayout { name: Keyword::new(name), attr, protocol, parts }
    }

    /// An attribute whose text has a form of its own.
    const fn single(name: &'static str, attr: Attr) -> AttrLayout {
        AttrLayout::new(name, attr, 0, &[])
    }

    /// The name with its `(`.
    pub(super) fn open(&self) -> &'static str {
        self.name.text()
    }

    /// The name.
    pub(super) fn name(&self) -> &'static str {
        self.open().trim_end_matches('(')
    }
}

/// Reads the name of an attribute and its `(`; returns the attribute with its place in the table.
pub(super) fn parse_open(lexer: &mut Lexer<'_>) -> Option<(usize, &'static AttrLayout)> {
    let index = lexer.name(LAYOUTS.iter().map(|layout| &layout.name))?;
    Some((index, LAYOUTS[index]))
}

/// All attributes, the usual ones first.
pub(super) static LAYOUTS: [&AttrLayout; 16] = [
    &AttrLayout::single("recirc_id(", Attr::RecircId),
    &AttrLayout::single("in_port(", Attr::InPort),
    &AttrLayout::single("dp_hash(", Attr::DpHash),
    &ETH,
    &AttrLayout::single("eth_type(", Attr::EthType),
    &IPV4,
    &IPV6,
    &TCP,
    &UDP,
    &SCTP,
    &ICMP,
    &ICMPV6,
    &AttrLayout::single("tcp_flags(", Attr::TcpFlags),
    &ARP,
    &AttrLayout::single("vlan(", Attr::Vlan),
    &AttrLayout::single("mpls(", Attr::Mpls),
];

pub(super) static ETH: AttrLayout = AttrLayout::new(
    "eth(",
    Attr::Eth,
    0,
    &[
        Part::new("src=", Field::EthSrc, Form::Mac, 48),
        Part::new("dst=", Field::EthDst, Form::Mac, 48),
    ],
);

pub(super) static IPV4: AttrLayout = AttrLayout::new(
    "ipv4(",
    Attr::Ipv4,
    4,
    &[
        Part::new("src=", Field::Ipv4Src, Form::Ip4, 32),
        Part::new("dst=", Field::Ipv4Dst, Form::Ip4, 32),
        Part::new("proto=", Field::IpProto, Form::Dec, 8),
        Part::new("tos=", Field::IpTos, Form::Hex, 8),
        Part::new("ttl=", Field::IpTtl, Form::Dec, 8),
        Part::new("frag=", Field::IpFrag, Form::Frag, 8),
    ],
);

pub(super) static IPV6: AttrLayout = AttrLayout::new(
    "ipv6(",
    Attr::Ipv6,
    6,
    &[
        Part::new("src=", Field::Ipv6Src, Form::Ip6, 128),
        Part::new("dst=", Field::Ipv6Dst, Form::Ip6, 128),
        Part::new("label=", Field::Ipv6Label, Form::Hex, 20),
        Part::new("proto=", Field::IpProto, Form::Dec, 8),
        Part::new("tclass=", Field::IpTos, Form::Hex, 8),
        Part::new("hlimit=", Field::IpTtl, Form::Dec, 8),
        Part::new("frag=", Field::IpFrag, Form::Frag, 8),
    ],
);

pub(super) static TCP: AttrLayout = AttrLayout::new("tcp(", Attr::Transport, 6, PORTS);
pub(super) static UDP: AttrLayout = AttrLayout::new("udp(", Attr::Transport, 17, PORTS);
pub(super) static SCTP: AttrLayout = AttrLayout::new("sctp(", Attr::Transport, 132, PORTS);
pub(super) static ICMP: AttrLayout = AttrLayout::new("icmp(", Attr::Transport, 1, TYPE_AND_CODE);
pub(super) static ICMPV6: AttrLayout =
    AttrLayout::new("icmpv6(", Attr::Transport, 58, TYPE_AND_CODE);

pub(super) static ARP: AttrLayout = AttrLayout::new(
    "arp(",
    Attr::Arp,
    0,
    &[
        Part::new("sip=", Field::ArpSip, Form::Ip4, 32),
        Part::new("tip=", Field::ArpTip, Form::Ip4, 32),
        Part::new("op=", Field::ArpOp, Form::Dec, 16),
        Part::new("sha=", Field::ArpSha, Form::Mac, 48),
        Part::new("tha=", Field::ArpTha, Form::Mac, 48),
    ],
);

const PORTS: &[Part] = &[
    Part::new("src=", Field::TpSrc, Form::Dec, 16),
    Part::new("dst=", Field::TpDst, Form::Dec, 16),
];

const TYPE_AND_CODE: &[Part] = &[
    Part::new("type=", Field::TpSrc, Form::Dec, 8),
    Part::new("code=", Field::TpDst, Form::Dec, 8),
];

/// The three entries of `mpls(…)`.
pub(super) const LSES: [[Part; 4]; 3] = [lse(Field::Mpls0), lse(Field::Mpls1), lse(Field::Mpls2)];

const fn lse(field: Field) -> [Part; 4] {
    [
        Part::bits("label=", field, 12, 20),
        Part::bits("tc=", field, 9, 3),
        Part::bits("ttl=", field, 0, 8),
        Part::bits("bos=", field, 8, 1),
    ]
}

/// Reads `name=value/mask,…)`, the opening parenthesis being read already.
pub(super) fn parse_parts(
    lexer: &mut Lexer<'_>,
    attr: &str,
    parts: &[Part],
    key: &mut Key,
    mask: &mut Mask,
) -> Result<(), OdpError> {
    let mut seen = 0_u32;
    while !lexer.eat(")") {
        let start = lexer.place();
        let (index, part) = parse_name(lexer, attr, parts)?;
        if seen & 1 << index != 0 {
            return Err(
                lexer.error_at(start, format!("{attr}({}) appears twice", part.name.text()))
            );
        }
        seen |= 1 << index;
        parse_value(lexer, attr, part, key, mask)?;
        end_of_part(lexer)?;
    }
    Ok(())
}

/// Reads the entries of `mpls(…)`. A name that the entry already has begins the next entry.
pub(super) fn parse_mpls(
    lexer: &mut Lexer<'_>,
    key: &mut Key,
    mask: &mut Mask,
    most: usize,
) -> Result<(), OdpError> {
    let (mut seen, mut entry) = (0_u32, 0);
    while !lexer.eat(")") {
        let start = lexer.place();
        let (index, _) = parse_name(lexer, "mpls", &LSES[0])?;
        if seen & 1 << index != 0 {
            (seen, entry) = (0, entry + 1);
        }
        let Some(parts) = LSES.get(entry).filter(|_| entry < most) else {
            return Err(lexer.error_at(start, format!("mpls(…) has more than {most} label(s)")));
        };
        seen |= 1 << index;
        parse_value(lexer, "mpls", &parts[index], key, mask)?;
        end_of_part(lexer)?;
    }
    Ok(())
}

/// Reads the comma behind a part; a closing parenthesis is left for the caller.
#[inline]
pub(super) fn end_of_part(lexer: &mut Lexer<'_>) -> Result<(), OdpError> {
    if lexer.at(b')') || lexer.eat(",") {
        return Ok(());
    }
    Err(lexer.error(format!("expected ',' or ')', found {}", lexer.found())))
}

fn parse_name<'p>(
    lexer: &mut Lexer<'_>,
    attr: &str,
    parts: &'p [Part],
) -> Result<(usize, &'p Part), OdpError> {
    if let Some(index) = lexer.name(parts.iter().map(|part| &part.name)) {
        return Ok((index, &parts[index]));
    }
    let names: Vec<_> = parts.iter().map(|part| part.name.text()).collect();
    let message = format!("expected {} in {attr}(…), found {}", names.join(" "), lexer.found());
    Err(lexer.error(message))
}

fn parse_value(
    lexer: &mut Lexer<'_>,
    attr: &str,
    part: &Part,
    key: &mut Key,
    mask: &mut Mask,
) -> Result<(), OdpError> {
    let value = parse_form(lexer, attr, part, "")?;
    let bits = if lexer.eat_mask()? { parse_mask(lexer, attr, part)? } else { part.full() };
    part.put(key, mask, value, bits);
    Ok(())
}

/// Reads a mask, which has the form of a value; the mask of an IP address can also be a prefix
/// length.
fn parse_mask(lexer: &mut Lexer<'_>, attr: &str, part: &Part) -> Result<u128, OdpError> {
    const OF: &str = "the mask of ";
    if part.form == Form::Frag {
        return lexer.number(format_args!("{OF}{attr}({})", part.name.text()), part.full());
    }
    if matches!(part.form, Form::Ip4 | Form::Ip6) {
        let start = lexer.place();
        let digits = lexer.take(|byte| byte.is_ascii_digit());
        let address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if !lexer.peek().is_some_and(address)
            && let Some(length) = digits.parse().ok().filter(|length| *length <= part.bits)
        {
            return Ok(part.full() & !part.full().checked_shr(length).unwrap_or(0));
        }
        lexer.rewind(start);
    }
    parse_form(lexer, attr, part, OF)
}

/// Reads a value, or the mask `of` it.
fn parse_form(lexer: &mut Lexer<'_>, attr: &str, part: &Part, of: &str) -> Result<u128, OdpError> {
    let start = lexer.place();
    let value = match part.form {
        Form::Dec | Form::Hex => lexer.short_number(part.full()),
        Form::Mac => lexer.mac().map(u128::from),
        Form::Ip4 => lexer.ipv4().map(u128::from),
        Form::Ip6 => lexer.token_of(b":.").parse().map(Ipv6Addr::to_bits).ok(),
        Form::Frag => match lexer.word() {
            "no" => Some(0),
            "first" => Some(1),
            "later" => Some(2),
            _ => None,
        },
    };
    if let Some(value) = value {
        return Ok(value);
    }
    let what = format_args!("{of}{attr}({})", part.name.text());
    let form = match part.form {
        Form::Dec | Form::Hex => return lexer.number(what, part.full()),
        Form::Mac => "an Ethernet address",
        Form::Ip4 => "an IPv4 address",
        Form::Ip6 => "an IPv6 address",
        Form::Frag => "no, first or later",
    };
    let found = lexer.found_at(start);
    Err(lexer.error_at(start, format!("expected {form} for {what}, found {found}")))
}

/// Prints the parts that are not wild. Without a mask it prints all parts as exact.
pub(super) fn print_parts(out: &mut String, parts: &[Part], key: &Key, mask: Option<&Mask>) {
    let mut first = true;
    for part in parts {
        let bits = mask.map_or(part.full(), |mask| part.get(mask));
        if bits == 0 {
            continue;
        }
        if !first {
            out.push(',');
        }
        first = false;
        out.push_str(part.name.text());
        print_form(out, part.form, part.get(key));
        if bits != part.full() {
            out.push('/');
            let form = match part.form {
                Form::Dec | Form::Frag => Form::Hex,
                form => form,
            };
            print_form(out, form, bits);
        }
    }
}

/// Prints the content of `mpls(…)` up to the last entry that is not wild. If a part of these
/// entries is not exact, every part is printed with its mask, as OVS does.
pub(super) fn print_mpls(out: &mut String, key: &Key, mask: &Mask) {
    let used = LSES.iter().rposition(|parts| mask.get(parts[0].field) != 0).map_or(0, |at| at + 1);
    let exact = LSES[..used].iter().all(|p| mask.get(p[0].field) == p[0].field.full_mask());
    for (index, part) in LSES[..used].iter().flatten().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let _ = write!(out, "{}{}", part.name.text(), part.get(key));
        let hex = if matches!(part.name.text(), "tc=" | "bos=") { "" } else { "0x" };
        if !exact {
            let _ = write!(out, "/{hex}{:x}", part.get(mask));
        }
    }
}

/// C's `%#x`: zero has no 0x.
pub(super) fn print_hex(out: &mut String, value: u64) {
    out.push_str(if value == 0 { "" } else { "0x" });
    push_hex(out, value, 1);
}

#[allow(clippy::cast_possible_truncation, reason = "a part is as wide as its form")]
fn print_form(out: &mut String, form: Form, value: u128) {
    match form {
        Form::Dec => push_dec(out, value as u64),
        Form::Hex => print_hex(out, value as u64),
        Form::Mac => {
            let [_, _, mac @ ..] = (value as u64).to_be_bytes();
            push_mac(out, MacAddr(mac));
        }
        Form::Ip4 => push_ipv4(out, Ipv4Addr::from_bits(value as u32)),
        // inet_ntop's older form for ::a.b.c.d, which Rust prints as plain IPv6.
        Form::Ip6 if (0x1_0000..=u128::from(u32::MAX)).contains(&value) => {
            out.push_str("::");
            push_ipv4(out, Ipv4Addr::from_bits(value as u32));
        }
        Form::Ip6 => {
            // Writing to a String can't fail.
            let _ = write!(out, "{}", Ipv6Addr::from_bits(value));
        }
        Form::Frag => match value {
            0 => out.push_str("no"),
            1 => out.push_str("first"),
            2 => out.push_str("later"),
            other => push_dec(out, other as u64),
        },
    }
}
