//! Frames and megaflows to measure with.

use std::sync::Arc;

use flow::{Action, Key, Mask, Match, Megaflow, PortId};

/// The port that receives the traffic, and the port that sends it.
pub(super) const IN: PortId = PortId(1);
pub(super) const OUT: PortId = PortId(2);

const SRC: u32 = 0x0a01_0203;
const DST: u32 = 0x0a04_0506;

/// A UDP frame of 60 bytes to UDP port `to`.
pub(super) fn frame(to: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(SRC.to_be_bytes());
    frame.extend(DST.to_be_bytes());
    frame.extend([0x30, 0x39]);
    frame.extend(to.to_be_bytes());
    frame.extend([0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}

/// The megaflow that matches `frame(to)`, under mask number `mask` of 1,024. The masks differ in
/// the prefix lengths of the two addresses; the UDP port keeps the megaflows disjoint.
pub(super) fn megaflow(to: u16, mask: u16) -> Arc<Megaflow> {
    let prefix = |length: u16| u32::MAX << (31 - u32::from(length % 32));
    let mask = Mask {
        eth_type: u16::MAX,
        ip_proto: u8::MAX,
        ip_frag: u8::MAX,
        tp_dst: u16::MAX,
        ipv4_src: prefix(mask),
        ipv4_dst: prefix(mask / 32),
        ..Mask::default()
    };
    let actions = [Action::Output(OUT)];
    Arc::new(Megaflow::new(Match::new(&key(to), &mask), actions))
}

/// The key of `frame(to)`.
pub(super) fn key(to: u16) -> Key {
    let mut key = flow::packet::extract(&frame(to));
    key.in_port = IN.0;
    key
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn masks_differ_and_each_frame_hits_its_own_megaflow() {
        let flows: Vec<_> = (0..1024).map(|number| megaflow(number, number)).collect();
        let masks: BTreeSet<_> = flows.iter().map(|flow| *flow.matching.mask().words()).collect();
        assert_eq!(masks.len(), 1024);
        for number in [0, 1, 31, 32, 1023] {
            let key = key(number);
            assert_eq!((key.tp_dst, key.ip_proto, key.eth_type), (number, 17, 0x800));
            let hits: Vec<_> = flows.iter().filter(|flow| flow.matching.hits(&key)).collect();
            assert_eq!(hits.len(), 1);
            assert_eq!(hits[0].matching.key().tp_dst, number);
        }
    }
}
