//! Checks of a `set` action against the headers that the packet is known to have.

use super::layers::{KnownHeaders, UNKNOWN, is_mpls};
use crate::action::SetFields;
use crate::field::{Attr, Field};
use crate::odp;

pub(super) fn check(layers: &KnownHeaders, set: &SetFields, wrong: &mut Vec<String>) {
    check_bits(set, wrong);
    let types: &[u16] = match set.attr {
        Attr::Eth | Attr::DpHash => return,
        Attr::Mpls => {
            if set.mask.mpls1 != 0 || set.mask.mpls2 != 0 {
                wrong.push("only the outermost label can be set".to_owned());
            }
            return wrong.extend(header_missing(layers, &[0x8847, 0x8848]));
        }
        Attr::Arp => return wrong.extend(header_missing(layers, &[0x0806, 0x8035])),
        Attr::Ipv4 | Attr::Ipv6 | Attr::Ip => return check_ip(layers, set, wrong),
        Attr::Transport => match set.protocol {
            1 => &[0x0800],
            58 => &[0x86dd],
            6 | 17 | 132 => &[0x0800, 0x86dd],
            other => return wrong.push(format!("protocol {other} has no fields that can be set")),
        },
        Attr::RecircId
        | Attr::InPort
        | Attr::Vlan
        | Attr::Cvlan
        | Attr::EthType
        | Attr::TcpFlags => return wrong.push("this can't be set".to_owned()),
    };
    wrong.extend(header_missing(layers, types));
    // A packet that is known to be of another EtherType has no protocol.
    if layers.eth_type.is_some_and(|known| !types.contains(&known)) {
        return;
    }
    if layers.protocol != Some(set.protocol) {
        wrong.push(format!("needs an exact match on ip_proto {}", set.protocol));
    }
    if layers.fragment == Some(odp::LATER) {
        wrong.push("a later fragment has no transport header".to_owned());
    }
}

/// Checks that the mask is not empty and inside the attribute, and that the value is inside the
/// mask.
fn check_bits(set: &SetFields, wrong: &mut Vec<String>) {
    if set.mask.is_zero() {
        wrong.push("nothing is set".to_owned());
    }
    if !set.value.without(&set.mask).is_zero() {
        wrong.push("the value has bits outside its mask".to_owned());
    }
    for field in set.mask.fields() {
        let shared = field.attr() == Attr::Ip && matches!(set.attr, Attr::Ipv4 | Attr::Ipv6);
        if field.attr() != set.attr && !shared {
            wrong.push(format!("{} belongs to another attribute", field.name()));
        }
        if set.mask.get(field) & !field.full_mask() != 0 {
            let (name, bits) = (field.name(), field.bits());
            wrong.push(format!("the mask is too wide: {name} has {bits} bits"));
        }
    }
}

/// What is wrong if the packet is not known to have a header of one of these EtherTypes.
fn header_missing(layers: &KnownHeaders, types: &[u16]) -> Option<String> {
    match layers.eth_type {
        Some(known) if types.contains(&known) => None,
        Some(known) if is_mpls(known) => Some("a label is in front of this header".to_owned()),
        Some(known) => Some(format!("a packet of EtherType {known:#06x} has no such header")),
        None => Some(UNKNOWN.to_owned()),
    }
}

/// Checks that protocol and fragment, which a whole attribute contains, stay as they are.
fn check_ip(layers: &KnownHeaders, set: &SetFields, wrong: &mut Vec<String>) {
    wrong.extend(header_missing(layers, if set.protocol == 4 { &[0x0800] } else { &[0x86dd] }));
    let addresses: &[Field] = match set.protocol {
        4 => &[Field::Ipv4Src, Field::Ipv4Dst],
        _ => &[Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label],
    };
    let shared = [Field::IpProto, Field::IpTos, Field::IpTtl, Field::IpFrag];
    let mut fields = shared.iter().chain(addresses);
    let whole = fields.all(|field| set.mask.get(*field) == field.full_mask());
    for (field, known) in [(Field::IpProto, layers.protocol), (Field::IpFrag, layers.fragment)] {
        let same = whole && known.map(u128::from) == Some(set.value.get(field));
        if set.mask.get(field) != 0 && !same {
            wrong.push(format!("{} can't be changed", field.name()));
        }
    }
}
