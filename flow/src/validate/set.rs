//! Checks of a `set` action against the headers that the packet is known to have.

use super::layers::{Layers, UNKNOWN, is_mpls};
use crate::action::SetFields;
use crate::field::{Attr, Field};
use crate::odp;

pub(super) fn check(layers: &Layers, set: &SetFields) -> Result<(), String> {
    check_bits(set)?;
    let types: &[u16] = match set.attr {
        Attr::Eth | Attr::DpHash => return Ok(()),
        Attr::Mpls if set.mask.mpls1 != 0 || set.mask.mpls2 != 0 => {
            return Err("only the outermost label can be set".to_owned());
        }
        Attr::Mpls => return check_type(layers, &[0x8847, 0x8848]),
        Attr::Arp => return check_type(layers, &[0x0806, 0x8035]),
        Attr::Ipv4 | Attr::Ipv6 | Attr::Ip => return check_ip(layers, set),
        Attr::Transport => match set.protocol {
            1 => &[0x0800],
            58 => &[0x86dd],
            6 | 17 | 132 => &[0x0800, 0x86dd],
            other => return Err(format!("protocol {other} has no fields that can be set")),
        },
        Attr::RecircId
        | Attr::InPort
        | Attr::Vlan
        | Attr::Cvlan
        | Attr::EthType
        | Attr::TcpFlags => return Err("this can't be set".to_owned()),
    };
    check_type(layers, types)?;
    if layers.protocol != Some(set.protocol) {
        return Err(format!("needs an exact match on ip_proto {}", set.protocol));
    }
    if layers.fragment == Some(odp::LATER) {
        return Err("a later fragment has no transport header".to_owned());
    }
    Ok(())
}

/// Checks that the mask is not empty and inside the attribute, and that the value is inside the
/// mask.
fn check_bits(set: &SetFields) -> Result<(), String> {
    if set.mask.is_zero() {
        return Err("nothing is set".to_owned());
    }
    if !set.value.without(&set.mask).is_zero() {
        return Err("the value has bits outside its mask".to_owned());
    }
    for field in set.mask.fields() {
        let shared = field.attr() == Attr::Ip && matches!(set.attr, Attr::Ipv4 | Attr::Ipv6);
        if field.attr() != set.attr && !shared {
            return Err(format!("{} belongs to another attribute", field.name()));
        }
        if set.mask.get(field) & !field.full_mask() != 0 {
            let (name, bits) = (field.name(), field.bits());
            return Err(format!("the mask is too wide: {name} has {bits} bits"));
        }
    }
    Ok(())
}

fn check_type(layers: &Layers, types: &[u16]) -> Result<(), String> {
    match layers.eth_type {
        Some(known) if types.contains(&known) => Ok(()),
        Some(known) if is_mpls(known) => Err("a label is in front of this header".to_owned()),
        Some(known) => Err(format!("a packet of EtherType {known:#06x} has no such header")),
        None => Err(UNKNOWN.to_owned()),
    }
}

/// Checks that protocol and fragment, which a whole attribute contains, stay as they are.
fn check_ip(layers: &Layers, set: &SetFields) -> Result<(), String> {
    check_type(layers, if set.protocol == 4 { &[0x0800] } else { &[0x86dd] })?;
    let addresses: &[Field] = match set.protocol {
        4 => &[Field::Ipv4Src, Field::Ipv4Dst],
        _ => &[Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label],
    };
    let shared = [Field::IpProto, Field::IpTos, Field::IpTtl, Field::IpFrag];
    let mut fields = shared.iter().chain(addresses);
    let whole = fields.all(|field| set.mask.get(*field) == field.full_mask());
    let same = |field, known: Option<u8>| match set.mask.get(field) {
        0 => Ok(()),
        _ if whole && known.map(u128::from) == Some(set.value.get(field)) => Ok(()),
        _ => Err(format!("{} can't be changed", field.name())),
    };
    same(Field::IpProto, layers.protocol)?;
    same(Field::IpFrag, layers.fragment)
}
