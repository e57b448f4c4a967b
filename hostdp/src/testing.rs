//! What the tests of several modules share: small worlds in which random keys collide.

use std::sync::Arc;

use flow::{Key, Mask, Match, Megaflow};
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn flow_matching(key: &Key, mask: &Mask) -> Arc<Megaflow> {
    Arc::new(Megaflow::new(Match::new(key, mask), []))
}

/// Keys over few values in few fields, so that random flows are hit.
pub(crate) fn key() -> impl Strategy<Value = Key> {
    (
        (0..2_u32, 0..2_u32, select(vec![0x800_u16, 0x86dd, 0x806])),
        (0..4_u32, 0..4_u32, 0..3_u16, 0..3_u16),
        (0..2_u8, select(vec![0_u128, 1, 1 << 100])),
    )
        .prop_map(|((in_port, recirc_id, eth_type), (src, dst, tp_src, tp_dst), (tos, six))| Key {
            in_port,
            recirc_id,
            eth_type,
            ipv4_src: src << 30 | src,
            ipv4_dst: dst,
            tp_src,
            tp_dst,
            ip_tos: tos,
            ipv6_dst: six,
            ..Key::default()
        })
}

/// Masks over the same fields, partial ones included.
pub(crate) fn mask() -> impl Strategy<Value = Mask> {
    (
        select(vec![0_u16, 0xffff, 0xffff, 0xff00]),
        (select(vec![0_u32, !0, 0xc000_0000, 1]), select(vec![0_u32, !0, 3, 2])),
        (select(vec![0_u16, !0, 1]), select(vec![0_u16, !0, 2])),
        (select(vec![0_u8, !0, 1]), select(vec![0_u128, !0, !0 << 64])),
    )
        .prop_map(|(eth_type, (src, dst), (tp_src, tp_dst), (tos, six))| Mask {
            eth_type,
            ipv4_src: src,
            ipv4_dst: dst,
            tp_src,
            tp_dst,
            ip_tos: tos,
            ipv6_dst: six,
            ..Mask::default()
        })
}
