//! Test data that several modules share: keys, masks and frames with few values, which collide.

use std::sync::Arc;

use flow::{Action, Field, Key, Mask, Match, Megaflow};
use proptest::prelude::*;
use proptest::sample::select;

/// A megaflow that means something: of the fields and actions those that make sense together.
pub(crate) fn meaningful(key: &Key, mask: &Mask, actions: &[Action]) -> Arc<Megaflow> {
    let mut matching = Match::new(key, &Mask::default());
    // Some fields need a field that comes behind them in the packet.
    for field in Field::ALL.iter().chain(Field::ALL) {
        let mut wider = *matching.mask();
        wider.set(*field, mask.get(*field));
        let wider = Match::new(key, &wider);
        if flow::validate(&wider, &[]).is_ok() {
            matching = wider;
        }
    }
    let mut kept = Vec::new();
    for action in actions {
        kept.push(action.clone());
        if flow::validate(&matching, &kept).is_err() {
            kept.pop();
        }
    }
    Arc::new(Megaflow::new(matching, kept))
}

/// Keys over few values in few fields, so that random flows are hit.
pub(crate) fn key() -> impl Strategy<Value = Key> {
    (
        (0..2_u32, 0..2_u32, select(vec![0x800_u16, 0x86dd, 0x806])),
        (0..4_u32, 0..4_u32, 0..3_u16, 0..3_u16),
        (0..2_u8, select(vec![6_u8, 17]), select(vec![0_u128, 1, 1 << 100])),
    )
        .prop_map(
            |((in_port, recirc_id, eth_type), (src, dst, tp_src, tp_dst), (tos, proto, six))| Key {
                in_port,
                recirc_id,
                eth_type,
                ipv4_src: src << 30 | src,
                ipv4_dst: dst,
                tp_src,
                tp_dst,
                ip_tos: tos,
                ip_proto: proto,
                ipv6_dst: six,
                ..Key::default()
            },
        )
}

/// Masks over the same fields, partial ones included.
pub(crate) fn mask() -> impl Strategy<Value = Mask> {
    (
        select(vec![0_u16, 0xffff, 0xffff, 0xff00]),
        (select(vec![0_u32, !0, 0xc000_0000, 1]), select(vec![0_u32, !0, 3, 2])),
        (select(vec![0_u16, !0, 1]), select(vec![0_u16, !0, 2])),
        (select(vec![0_u8, !0, 1]), select(vec![0_u8, !0]), select(vec![0_u128, !0, !0 << 64])),
    )
        .prop_map(|(eth_type, (src, dst), (tp_src, tp_dst), (tos, proto, six))| Mask {
            eth_type,
            ipv4_src: src,
            ipv4_dst: dst,
            tp_src,
            tp_dst,
            ip_tos: tos,
            ip_proto: proto,
            ipv6_dst: six,
            ..Mask::default()
        })
}

/// A frame of one of a few conversations: `kind` picks the protocol, `n` the addresses.
pub(crate) fn frame(kind: u8, n: u8, payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, n % 3, 2, 0, 0, 0, 1, n % 2];
    if kind & 8 != 0 {
        frame.extend([0x81, 0x00, 0x20, 5 + n % 2]);
    }
    match kind % 4 {
        0 => {
            frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1 + n % 2]);
            frame.extend([2, 0, 0, 0, 1, n, 10, 0, 0, n, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        }
        1 => {
            frame.extend([0x88, 0x47, 0, 1, 0x40 | (n & 1), 64]);
            ipv4(&mut frame, 17, n, payload);
        }
        2 => {
            frame.extend([0x08, 0x00]);
            ipv4(&mut frame, 6, n, payload);
        }
        _ => {
            frame.extend([0x08, 0x00]);
            ipv4(&mut frame, 17, n, payload);
        }
    }
    frame
}

/// Adds an IPv4 header with TCP or UDP; their checksums are left 0, since no test checks them.
fn ipv4(frame: &mut Vec<u8>, protocol: u8, n: u8, payload: usize) {
    let header = if protocol == 6 { 20 } else { 8 };
    let length = u16::try_from(20 + header + payload).unwrap().to_be_bytes();
    frame.extend([0x45, 0, length[0], length[1], 0, 1, 0, 0, 60 + n % 4, protocol, 0, 0]);
    frame.extend([10, 0, 0, n % 4, 10, 0, 1, n / 4 % 4]);
    frame.extend([0x10, n % 2, 0, 80 + n % 3]);
    if protocol == 6 {
        frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10 | (n & 2), 1, 0, 0, 0, 0, 0]);
    } else {
        let length = u16::try_from(8 + payload).unwrap().to_be_bytes();
        frame.extend([length[0], length[1], 0, 0]);
    }
    frame.extend(std::iter::repeat_n(n, payload));
}
