//! `vlan(…)`, and the tags that `eth_type(…)`, `vlan(…)` and `encap(…)` together describe.

use super::OdpError;
use super::attr::{Part, parse_parts, print_hex};
use super::digits::push_dec;
use super::lexer::Lexer;
use crate::{Field, Key, Mask, VLAN_PRESENT};

/// EtherType of 802.2 frames in a key.
pub(super) const ETH_TYPE_NONE: u16 = 0x05ff;

/// A value and the bits of it that count.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Masked {
    pub(super) value: u16,
    pub(super) mask: u16,
}

impl Masked {
    /// Returns true if this TCI says that there is no tag.
    fn excludes_tag(self) -> bool {
        self.mask & VLAN_PRESENT != 0 && self.value & VLAN_PRESENT == 0
    }
}

/// The TCI that says "no tag". Beside the EtherType of a tag it stands for a tag that was cut off,
/// as OVS prints it.
pub(super) const UNTAGGED: Masked = Masked { value: 0, mask: 0xffff };

/// The `eth_type(…)`, `vlan(…)` and `encap(…)` of one level of a text.
#[derive(Clone, Default)]
pub(super) struct Level {
    pub(super) eth_type: Option<Masked>,
    pub(super) vlan: Option<Masked>,
    /// The place of `vlan(…)` in the text; without `vlan(…)` the place of the level.
    pub(super) place: usize,
    pub(super) encap: bool,
}

/// The fields of the outer and of the inner tag.
pub(super) const TAGS: [(Field, Field); 2] =
    [(Field::VlanTpid, Field::VlanTci), (Field::CvlanTpid, Field::CvlanTci)];

/// The parts of a TCI.
const PARTS: [Part; 3] = [
    Part::bits("vid=", Field::VlanTci, 0, 12),
    Part::bits("pcp=", Field::VlanTci, 13, 3),
    Part::bits("cfi=", Field::VlanTci, 12, 1),
];

/// Returns true if the EtherType is the TPID of a tag.
pub(super) fn is_tpid(eth_type: u16) -> bool {
    matches!(eth_type, 0x8100 | 0x88a8)
}

/// Reads the inside of `vlan(…)`. A tag is present unless `cfi=` says otherwise.
pub(super) fn parse_vlan(lexer: &mut Lexer<'_>) -> Result<Masked, OdpError> {
    if lexer.eat("tci=") {
        let value = lexer.number("vlan(tci=)", 0xffff)?;
        let mask = match lexer.eat_mask()? {
            true => lexer.number("the mask of vlan(tci=)", 0xffff)?,
            false => 0xffff,
        };
        lexer.expect(")")?;
        return Ok(Masked { value: narrow(value & mask), mask: narrow(mask) });
    }
    let mut key = Key { vlan_tci: VLAN_PRESENT, ..Key::default() };
    let mut mask = key;
    parse_parts(lexer, "vlan", &PARTS, &mut key, &mut mask)?;
    Ok(Masked { value: key.vlan_tci, mask: mask.vlan_tci })
}

/// Prints the inside of `vlan(…)`; with `whole`, VID and PCP are printed even if they are wild.
pub(super) fn print_vlan(out: &mut String, value: u16, mask: u16, whole: bool) {
    let mut comma = "";
    for (name, shift, bits) in [("vid=", 0, 0xfff), ("pcp=", 13, 7)] {
        let (value, mask) = (value >> shift & bits, mask >> shift & bits);
        if !whole && mask == 0 {
            continue;
        }
        out.push_str(comma);
        out.push_str(name);
        push_dec(out, value.into());
        if mask != bits {
            out.push_str(if mask == 0 { "/0x" } else { "/" });
            print_hex(out, mask.into());
        }
        comma = ",";
    }
    if value & VLAN_PRESENT == 0 {
        out.push_str(comma);
        out.push_str(if mask & VLAN_PRESENT == 0 { "cfi=0/0" } else { "cfi=0" });
    }
}

/// Puts the tags and the EtherType of a text's levels, outermost first, into key and mask. Where
/// the innermost level has no `vlan(…)`, `no_tag` says that there is no tag, as in OVS and the
/// kernel; otherwise the text leaves it open.
pub(super) fn put_levels<'a>(
    lexer: &Lexer<'_>,
    levels: impl Iterator<Item = &'a Level>,
    no_tag: bool,
    key: &mut Key,
    mask: &mut Mask,
) -> Result<(), OdpError> {
    // A packet without an outer tag has no inner tag.
    let mut ended = false;
    for (depth, level) in levels.enumerate() {
        let tag = TAGS.get(depth);
        if level.encap || level.vlan.is_some() {
            let Some((tpid, tci)) = tag else {
                let message = "a third VLAN tag is not supported: a key has two";
                return Err(lexer.error_at(level.place, message));
            };
            put_tag(lexer, level, (*tpid, *tci), key, mask)?;
            ended = level.vlan.is_some_and(Masked::excludes_tag);
            if level.encap {
                continue;
            }
        }
        if let Some(eth_type) = level.eth_type {
            if level.vlan.is_some() && is_tpid(eth_type.value) {
                continue;
            }
            put(key, mask, Field::EthType, eth_type);
        }
        if let (None, true, Some((_, tci))) = (level.vlan, no_tag && !ended, tag) {
            put(key, mask, *tci, UNTAGGED);
        }
    }
    Ok(())
}

/// Puts one tag into key and mask: its TCI, and the TPID from `eth_type(…)`.
fn put_tag(
    lexer: &Lexer<'_>,
    level: &Level,
    (tpid, tci): (Field, Field),
    key: &mut Key,
    mask: &mut Mask,
) -> Result<(), OdpError> {
    let Some(vlan) = level.vlan else {
        return Err(lexer.error_at(level.place, "encap(…) needs vlan(…) before it"));
    };
    put(key, mask, tci, vlan);
    match level.eth_type {
        Some(eth_type) if vlan.excludes_tag() && is_tpid(eth_type.value) => {
            put(key, mask, Field::EthType, eth_type);
            Ok(())
        }
        Some(eth_type) if level.encap || is_tpid(eth_type.value) => {
            put(key, mask, tpid, eth_type);
            Ok(())
        }
        Some(_) if vlan.value & VLAN_PRESENT != 0 => {
            let message = "vlan(…) needs eth_type(0x8100) or eth_type(0x88a8) beside it, and \
                           encap(…) around the keys behind the tag";
            Err(lexer.error_at(level.place, message))
        }
        Some(_) | None => Ok(()),
    }
}

fn put(key: &mut Key, mask: &mut Mask, field: Field, masked: Masked) {
    key.set(field, u128::from(masked.value & masked.mask));
    mask.set(field, u128::from(masked.mask));
}

/// Converts a number that was checked to fit into 16 bits.
pub(super) fn narrow(value: u128) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}
