//! What an answer depends on.

use flow::{Field, Key, Mask, Megaflow, VLAN_PRESENT};

use super::reserved::is_reserved;

/// VLAN ID and presence.
const VID: u16 = VLAN_PRESENT | 0xfff;

/// Does the megaflow let through only what one of this client's does? It may be narrower, where it
/// has to stand beside an operator's.
pub(super) fn is_within(flow: &Megaflow) -> bool {
    of(flow.matching.key()).without(flow.matching.mask()).is_zero()
}

/// The mask of the megaflow for a packet with this key. It is a function of what it lets
/// through, so that no two megaflows of a switch overlap: any key that hits gives the same mask.
pub(super) fn of(key: &Key) -> Mask {
    // Dropped whatever else is in them, and not learnt from.
    if is_reserved(key.eth_dst) {
        return Mask::mask_of(&[Field::InPort, Field::RecircId, Field::EthDst]);
    }
    let fields = [Field::InPort, Field::RecircId, Field::EthSrc, Field::EthDst, Field::EthType];
    let mut mask = Mask::mask_of(&fields);
    if key.vlan_tci & VLAN_PRESENT == 0 {
        // As flow text says "untagged"; there is no inner tag without an outer one.
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
