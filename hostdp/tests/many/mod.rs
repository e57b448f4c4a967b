//! Many megaflows for the tests that measure.

use std::sync::Arc;

use flow::{Action, Key, Mask, Match, Megaflow, PortId};

pub(crate) fn count() -> u32 {
    std::env::var("COUNT").map_or(120_000, |count| count.parse().unwrap())
}

/// An exact 5-tuple with one output, under one of a number of masks.
pub(crate) fn megaflow(n: u32, masks: u32) -> Arc<Megaflow> {
    let which = n % masks;
    let key = Key {
        in_port: 1,
        eth_type: 0x0800,
        ip_proto: 17,
        ip_tos: which as u8,
        ipv4_src: 0x0a00_0000 | n >> 8,
        ipv4_dst: 0xc0a8_0000 | n & 0xffff,
        tp_src: n as u16,
        tp_dst: 80,
        ..Key::default()
    };
    let mask = Mask {
        eth_type: !0,
        ip_proto: !0,
        ip_tos: if masks > 1 { !0 } else { 0 },
        ip_ttl: if which == 0 { 0 } else { !0 << (which % 8) },
        ipv4_src: !0,
        ipv4_dst: !0,
        tp_src: !0,
        tp_dst: !0 << (which / 8),
        ..Mask::default()
    };
    Arc::new(Megaflow::new(Match::new(&key, &mask), [Action::Output(PortId(2))]))
}
