//! Actions that change headers, on bytes and key at once.

use super::{Layers, Packet, arp, ethernet, hash, ipv4, ipv6, mpls, transport};
use crate::action::{Action, SetFields};
use crate::field::Attr;
use crate::key::Key;

/// Executes an action that changes headers; any other action has no effect. Right checksums stay
/// right. Afterwards `key` is again the key that [`extract`](super::extract) gives, except that
/// `in_port`, `recirc_id` and `dp_hash` stay as they were; [`Action::Hash`] sets `dp_hash`.
///
/// A field whose header is not in the packet is not set: neither a later fragment nor a truncated
/// header has ports. Fields that `set` can't change in OVS (`in_port`, `recirc_id`, `eth_type`,
/// tags, protocol, fragment, TCP flags) stay as they are.
///
/// The action uses the headers that [`Packet::extract`] found; the frame is not parsed again.
pub fn edit(packet: &mut Packet, key: &mut Key, action: &Action) {
    match action {
        Action::Set(fields) if fields.attr == Attr::DpHash => {
            let mask = fields.mask.dp_hash;
            key.dp_hash = key.dp_hash & !mask | fields.value.dp_hash & mask;
        }
        Action::Hash { algorithm, basis } => key.dp_hash = hash(key, *algorithm, *basis),
        action => {
            if rewrite(packet, action) {
                packet.key_again(key);
            }
        }
    }
}

/// Carries out the part of [`edit`] that changes the frame, and leaves the key to the caller.
/// Returns false if the action is none that changes a frame. It leaves `dp_hash` alone, which is in
/// no frame. Whoever executes several actions in a row needs
/// the key only behind the last of them ([`Packet::key_again`]).
pub fn rewrite(packet: &mut Packet, action: &Action) -> bool {
    match action {
        Action::Set(fields) => {
            let layers = packet.layers();
            set(packet.frame_mut(), &layers, fields);
        }
        Action::PushVlan { tpid, tci } => {
            packet.find_headers();
            ethernet::push_vlan(packet, *tpid, *tci);
        }
        Action::PopVlan => {
            packet.find_headers();
            ethernet::pop_vlan(packet);
        }
        // These two forget where the headers are, so that the next action parses the frame again:
        // the headers behind a label were not parsed before.
        Action::PushMpls { lse, eth_type } => {
            let layers = packet.layers();
            mpls::push(packet, &layers, *lse, *eth_type);
        }
        Action::PopMpls { eth_type } => {
            let layers = packet.layers();
            mpls::pop(packet, &layers, *eth_type);
        }
        Action::Hash { .. }
        | Action::Output(_)
        | Action::Userspace(_)
        | Action::Recirc(_)
        | Action::Trunc(_)
        | Action::Sample { .. } => return false,
    }
    true
}

fn set(frame: &mut [u8], layers: &Layers, fields: &SetFields) {
    match fields.attr {
        Attr::Eth => ethernet::set(frame, fields),
        Attr::Ip | Attr::Ipv4 | Attr::Ipv6 => match (layers.kind, wanted(fields)) {
            (ipv4::ETH_TYPE, 0 | 4) => ipv4::set(frame, layers, fields),
            (ipv6::ETH_TYPE, 0 | 6) => ipv6::set(frame, layers, fields),
            _ => {}
        },
        Attr::Transport => transport::set(frame, layers, fields),
        Attr::Arp if matches!(layers.kind, arp::ETH_TYPE | arp::ETH_TYPE_RARP) => {
            arp::set(frame, layers, fields);
        }
        Attr::Mpls => mpls::set(frame, layers, fields),
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
pub(super) fn wanted(fields: &SetFields) -> u8 {
    match fields.attr {
        Attr::Ipv4 => 4,
        Attr::Ipv6 => 6,
        _ => fields.protocol,
    }
}
