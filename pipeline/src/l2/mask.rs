//! The fields and bits that the switch's answer to a packet depends on.

use flow::{Field, Key, Mask, Megaflow, VLAN_PRESENT};

use super::reserved::is_reserved;

/// The bits of a TCI that hold the VLAN ID and the tag's presence.
const VID: u16 = VLAN_PRESENT | 0xfff;

/// Returns true if every packet that the megaflow matches would match the megaflow that this client
/// makes for the same key. The megaflow may be narrower, so that it is disjoint from an operator's.
pub(super) fn is_within(flow: &Megaflow) -> bool {
    of(&flow.matching.key()).without(flow.matching.mask()).is_zero()
}

/// The mask of the megaflow for a packet with this key. Every key that hits the megaflow gives the
/// same mask, so no two megaflows of a switch overlap.
pub(super) fn of(key: &Key) -> Mask {
    // These packets are dropped and not learnt from, whatever their other fields.
    if is_reserved(key.eth_dst) {
        return Mask::mask_of(&[Field::InPort, Field::RecircId, Field::EthDst]);
    }
    let fields = [Field::InPort, Field::RecircId, Field::EthSrc, Field::EthDst, Field::EthType];
    let mut mask = Mask::mask_of(&fields);
    if key.vlan_tci & VLAN_PRESENT == 0 {
        // A mask of all TCI bits is "untagged" in flow text; an untagged frame has no inner tag.
        mask.vlan_tci = u16::MAX;
        return mask;
    }
    mask.vlan_tpid = u16::MAX;
    mask.vlan_tci = VID;
    if key.cvlan_tci & VLAN_PRESENT == 0 {
        mask.cvlan_tci = u16::MAX;
    } else {
        mask.cvlan_tpid = u16::MAX;
        mask.cvlan_tci = VLAN_PRESENT;
    }
    mask
}
