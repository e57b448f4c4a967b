//! A switch that learns addresses: the megaflows that its answers make, under five masks.

use flow::{Field, Key, MacAddr, Mask, VLAN_PRESENT};

use super::FlowSet;
use crate::cmd::bench::traffic::key;

/// Reserved addresses, whose packets a switch drops whatever their type.
const RESERVED: u32 = 16;
/// Hosts that send to one host.
const SENDERS: u32 = 64;
/// A tag of VLAN 0.
const TAG: (u16, u16) = (0x8100, VLAN_PRESENT);

/// This number of megaflows, and a packet for each.
pub(in crate::cmd::bench) fn set(flows: u32) -> FlowSet {
    FlowSet::of_packets((0..flows).map(packet))
}

/// A packet of which each number has another, and what the switch compares of it.
fn packet(number: u32) -> (Key, Mask) {
    let mut packet = key(0);
    if number < RESERVED {
        let [_, _, _, last] = number.to_be_bytes();
        packet.eth_dst = MacAddr([1, 0x80, 0xc2, 0, 0, last]);
        return (packet, Mask::mask_of(&[Field::EthDst]));
    }
    let (network, member) = (number % 4, number / 4);
    let (to, from) = (member / SENDERS, member / SENDERS + 1 + member % SENDERS);
    packet.eth_dst = host(network, to);
    packet.eth_src = host(network, from);
    let mut mask = Mask::mask_of(&[Field::EthDst, Field::EthSrc, Field::EthType, Field::VlanTci]);
    match network {
        0 => {}
        1 => {
            // Whoever sends to an address that was configured: each megaflow is another host's.
            packet.eth_dst = host(network, member);
            mask.eth_src = MacAddr::default();
        }
        _ => {
            (packet.vlan_tpid, packet.vlan_tci) = TAG;
            packet.vlan_tci |= if to % 2 == 0 { 100 } else { 200 };
            (mask.vlan_tpid, mask.vlan_tci) = (u16::MAX, VLAN_PRESENT | 0xfff);
            mask.cvlan_tci = u16::MAX;
            if network == 3 {
                (packet.cvlan_tpid, packet.cvlan_tci) = TAG;
                (mask.cvlan_tpid, mask.cvlan_tci) = (u16::MAX, VLAN_PRESENT);
            }
        }
    }
    (packet, mask)
}

fn host(network: u32, number: u32) -> MacAddr {
    let ([.., network], [_, a, b, c]) = (network.to_be_bytes(), number.to_be_bytes());
    MacAddr([2, 0, network, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{masks_of, visited};
    use super::*;

    #[test]
    fn five_masks_and_a_packet_for_each_megaflow() {
        let set = set(600);
        assert_eq!((masks_of(&set), visited(&set)), (5, 600));
        assert_eq!((set.flows.len(), set.traffic.len()), (600, 600));
    }
}
