//! An attack by masks ("tuple space explosion"): each packet makes a megaflow with a mask of its
//! own, beside the megaflows of those who have to do with neither the attacker nor the victim.
//!
//! The victim's access list allows one value in each of some fields. A packet that has another
//! value in all of them is dropped by a megaflow that compares each field up to the first bit that
//! differs. A packet for each combination of such bits makes as many masks as there are packets.

use flow::{Field, Key, Mask, Match};

use super::draw::Draw;
use super::rules::AccessList;
use super::{FlowSet, peers};
use crate::cmd::bench::traffic::key;

/// The fields that the victim's access list compares.
#[derive(Clone, Copy)]
pub(in crate::cmd::bench) enum Victim {
    /// The source address and both ports, of packets to the victim.
    ThreeFields,
    /// The victim's address too: the list is that of its neighbours as well.
    FourFields,
}

/// Whose packets are looked up.
#[derive(Clone, Copy)]
pub(in crate::cmd::bench) enum Sender {
    /// The flows to elsewhere.
    Good,
    /// The attacker: packets that hit the attack's megaflows.
    Attacker,
    /// The attacker: packets that hit nothing yet.
    AttackerAnew,
}

/// Number of packets that hit nothing yet.
const NEW: usize = 1000;

/// The megaflows of an attack with this number of masks, and then so many flows to elsewhere.
pub(in crate::cmd::bench) fn set(
    masks: u32,
    good: u32,
    victim: Victim,
    sender: Sender,
) -> Result<FlowSet, String> {
    let mut draw = Draw::new(7);
    let mut combinations: Vec<u32> = (0..victim.combinations()).collect();
    draw.shuffle(&mut combinations);
    let (attack, new) = match combinations.split_at_checked(masks as usize) {
        Some((attack, new)) if !new.is_empty() => (attack, new),
        _ => return Err(format!("{masks} masks are too many for this access list")),
    };
    let list = victim.list();
    let attack: Vec<Key> = attack.iter().map(|number| victim.packet(*number, &mut draw)).collect();
    let mut flows: Vec<Match> = attack.iter().map(|packet| list.search(packet)).collect();
    flows.extend((0..good).map(|member| peers::megaflow(0, member)));
    let mut traffic = match sender {
        Sender::Good => (0..good).map(|member| peers::packet(0, member)).collect(),
        Sender::Attacker => attack,
        Sender::AttackerAnew => {
            let new = new.iter().cycle().take(NEW);
            new.map(|number| victim.packet(*number, &mut draw)).collect()
        }
    };
    draw.shuffle(&mut traffic);
    Ok(FlowSet { flows, traffic, hits: !matches!(sender, Sender::AttackerAnew) })
}

/// A packet that has the allowed value in each field.
fn allowed() -> Key {
    Key { ipv4_src: 0x0a01_0203, ipv4_dst: 0x0a00_0005, tp_src: 12345, tp_dst: 80, ..key(0) }
}

impl Victim {
    /// The fields that the rules compare, one each, and in how many of their lowest bits the first
    /// one may be that differs.
    fn fields(self) -> &'static [(Field, u32)] {
        // The neighbours are in the victim's half of all addresses, elsewhere is in the other.
        let all =
            &[(Field::Ipv4Src, 32), (Field::TpSrc, 16), (Field::TpDst, 16), (Field::Ipv4Dst, 31)];
        match self {
            Victim::ThreeFields => &all[..3],
            Victim::FourFields => all,
        }
    }

    fn list(self) -> AccessList {
        let mut always = Mask::mask_of(&[Field::IpProto]);
        if matches!(self, Victim::ThreeFields) {
            always.ipv4_dst = u32::MAX;
        }
        let rule = |(field, _): &(Field, u32)| {
            Match::new(&allowed(), &always.union(&Mask::mask_of(&[*field])))
        };
        AccessList(self.fields().iter().map(rule).collect())
    }

    /// Number of packets that differ from all rules, each in other bits first.
    fn combinations(self) -> u32 {
        self.fields().iter().map(|(_, bits)| bits).product()
    }

    /// The packet of a combination; what is behind the first bits that differ is random.
    fn packet(self, mut number: u32, draw: &mut Draw) -> Key {
        let mut packet = allowed();
        for (field, bits) in self.fields() {
            let bit = number % bits;
            number /= bits;
            packet.set(*field, packet.get(*field) ^ 1 << bit);
            draw.blur(&mut packet, *field, bit);
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::tests::{masks_of, visited};
    use super::*;

    #[test]
    fn each_packet_of_the_attacker_makes_a_mask() {
        for victim in [Victim::ThreeFields, Victim::FourFields] {
            let made = |sender| set(200, 50, victim, sender).unwrap();
            let good = made(Sender::Good);
            assert_eq!((masks_of(&good), visited(&good)), (201, 50));
            let attack = made(Sender::Attacker);
            assert_eq!((masks_of(&attack), visited(&attack)), (201, 200));
            assert!(attack.flows == good.flows && attack.traffic.len() == 200);
            let new = made(Sender::AttackerAnew);
            assert_eq!((masks_of(&new), new.traffic.len()), (201, NEW));
        }
    }

    #[test]
    fn the_access_list_bounds_the_masks() {
        let made = |masks| set(masks, 0, Victim::ThreeFields, Sender::Attacker);
        let flows = made(8191).unwrap().flows;
        let masks: HashSet<_> = flows.iter().map(|flow| *flow.mask()).collect();
        assert_eq!(masks.len(), 8191);
        assert!(made(8192).is_err_and(|why| why.contains("too many")));
    }
}
