//! Actions that change headers, on bytes and key at once.

use super::{Packet, arp, ethernet, extract, hash, ipv4, ipv6, mpls, parse, transport};
use crate::action::{Action, SetFields};
use crate::field::Attr;
use crate::key::Key;

/// Executes a header-changing action; any other has no effect. Checksums that were right stay
/// right, and `key` is again what [`extract`] gives (with `in_port`, `recirc_id` and `dp_hash` as
/// they were; [`Action::Hash`] sets `dp_hash`).
///
/// A field whose header is not in the packet is not set: a later fragment has no ports, a
/// truncated header has none either. Fields that `set` can't reach in OVS (`in_port`,
/// `recirc_id`, `eth_type`, tags, protocol, fragment, TCP flags) stay as they are.
pub fn edit(packet: &mut Packet, key: &mut Key, action: &Action) {
    match action {
        Action::Set(fields) => set(packet, key, fields),
        Action::PushVlan { tpid, tci } => {
            ethernet::push_vlan(packet, *tpid, *tci);
            refresh(packet, key);
        }
        Action::PopVlan => {
            ethernet::pop_vlan(packet);
            refresh(packet, key);
        }
        Action::PushMpls { lse, eth_type } => {
            let layers = super::layers(packet.bytes());
            mpls::push(packet, &layers, *lse, *eth_type);
            refresh(packet, key);
        }
        Action::PopMpls { eth_type } => {
            let layers = super::layers(packet.bytes());
            mpls::pop(packet, &layers, *eth_type);
            refresh(packet, key);
        }
        Action::Hash { algorithm, basis } => key.dp_hash = hash(key, *algorithm, *basis),
        Action::Output(_)
        | Action::Userspace(_)
        | Action::Recirc(_)
        | Action::Trunc(_)
        | Action::Sample { .. } => {}
    }
}

/// The key from the bytes again, the metadata kept.
fn refresh(packet: &Packet, key: &mut Key) {
    *key = with_metadata(extract(packet.bytes()), key);
}

fn with_metadata(fresh: Key, of: &Key) -> Key {
    Key { in_port: of.in_port, recirc_id: of.recirc_id, dp_hash: of.dp_hash, ..fresh }
}

fn set(packet: &mut Packet, key: &mut Key, fields: &SetFields) {
    if fields.attr == Attr::DpHash {
        let mask = fields.mask.dp_hash;
        key.dp_hash = key.dp_hash & !mask | fields.value.dp_hash & mask;
        return;
    }
    let (fresh, layers) = parse(packet.bytes());
    *key = with_metadata(fresh, key);
    let frame = packet.bytes_mut();
    match fields.attr {
        Attr::Eth => ethernet::set(frame, key, fields),
        Attr::Ip | Attr::Ipv4 | Attr::Ipv6 => match (key.eth_type, wanted(fields)) {
            (ipv4::ETH_TYPE, 0 | 4) => ipv4::set(frame, key, &layers, fields),
            (ipv6::ETH_TYPE, 0 | 6) => ipv6::set(frame, key, &layers, fields),
            _ => {}
        },
        Attr::Transport => transport::set(frame, key, &layers, fields),
        Attr::Arp if matches!(key.eth_type, arp::ETH_TYPE | arp::ETH_TYPE_RARP) => {
            arp::set(frame, &layers, fields);
            refresh(packet, key);
        }
        Attr::Mpls => {
            mpls::set(frame, &layers, fields);
            refresh(packet, key);
        }
        Attr::RecircId
        | Attr::DpHash
        | Attr::InPort
        | Attr::Vlan
        | Attr::Cvlan
        | Attr::EthType
        | Attr::TcpFlags
        | Attr::Arp => {}
    }
}

/// The IP version that the attribute names: 4, 6, or 0 for either.
fn wanted(fields: &SetFields) -> u8 {
    match fields.attr {
        Attr::Ipv4 => 4,
        Attr::Ipv6 => 6,
        _ => fields.protocol,
    }
}
