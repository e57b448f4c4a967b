//! Checks of a match: a field may be matched only together with the header that has the field.

use super::Faults;
use crate::field::{Attr, Field};
use crate::key::{Key, Mask};
use crate::matching::Match;
use crate::{VLAN_PRESENT, odp};

pub(super) fn check(matching: &Match, faults: &mut Faults) {
    let (key, mask) = (&matching.key(), matching.mask());
    if key.in_port >= super::MAX_PORTS {
        faults.add("in_port", super::no_port());
    }
    check_tag(key.vlan_tpid, mask.vlan_tpid, key.vlan_tci, mask.vlan_tci, "vlan", faults);
    check_tag(key.cvlan_tpid, mask.cvlan_tpid, key.cvlan_tci, mask.cvlan_tci, "cvlan", faults);
    let untagged = mask.vlan_tci & VLAN_PRESENT != 0 && key.vlan_tci & VLAN_PRESENT == 0;
    if key.cvlan_tci & VLAN_PRESENT != 0 && key.vlan_tci & VLAN_PRESENT == 0 {
        faults.add("cvlan_tci", "an inner tag needs an outer tag in the match");
    } else if untagged && (mask.cvlan_tci != 0 || mask.cvlan_tpid != 0) {
        faults.add("cvlan_tci", "a packet without an outer tag has no inner tag");
    }
    if let Err(why) = check_behind_tags(key, mask) {
        faults.add("eth_type", why);
    }
    if !matches!(mask.ip_frag, 0 | 0xff) || key.ip_frag > 2 {
        faults.add("ip_frag", "expected an exact match on no, first or later");
    }
    for field in mask.fields() {
        if let Err(why) = check_header(field, key, mask) {
            faults.add(field.name(), why);
        }
    }
}

/// A key has a TPID as its EtherType if the packet's next tag is cut off, or is behind two others.
/// A match on a TPID that leaves the presence of tags open would hit packets of both kinds.
fn check_behind_tags(key: &Key, mask: &Mask) -> Result<(), String> {
    if mask.eth_type != 0xffff || !matches!(key.eth_type, 0x8100 | 0x88a8) {
        return Ok(());
    }
    let open = |mask: u16| mask & VLAN_PRESENT == 0;
    let untagged = !open(mask.vlan_tci) && key.vlan_tci & VLAN_PRESENT == 0;
    if !untagged && (open(mask.vlan_tci) || open(mask.cvlan_tci)) {
        return Err(format!(
            "{:#06x} is the EtherType of a tag, but the match leaves open whether there is a tag",
            key.eth_type
        ));
    }
    Ok(())
}

fn check_tag(tpid: u16, tpid_mask: u16, tci: u16, tci_mask: u16, name: &str, faults: &mut Faults) {
    if tci_mask != 0 && tci_mask & VLAN_PRESENT == 0 {
        let why = "a match on a tag's bits has to match on its presence (0x1000) too";
        faults.add(format!("{name}_tci"), why);
    } else if tci & VLAN_PRESENT == 0 && tci != 0 {
        faults.add(format!("{name}_tci"), "no packet has VLAN bits without a tag");
    }
    if tpid_mask != 0 && tci & VLAN_PRESENT == 0 {
        let why = "a match on a tag's TPID has to match on its presence (TCI bit 0x1000) too";
        faults.add(format!("{name}_tpid"), why);
    } else if tpid_mask == 0xffff && !matches!(tpid, 0x8100 | 0x88a8) {
        let why = format!("TPID {tpid:#06x} is neither 0x8100 nor 0x88a8");
        faults.add(format!("{name}_tpid"), why);
    }
}

/// Checks that the match is exact on the EtherType and protocol of the header that has the field.
fn check_header(field: Field, key: &Key, mask: &Mask) -> Result<(), String> {
    let types: &[u16] = match field.attr() {
        Attr::Mpls => &[0x8847, 0x8848],
        Attr::Arp => &[0x0806, 0x8035],
        Attr::Ipv4 => &[0x0800],
        Attr::Ipv6 => &[0x86dd],
        Attr::Ip | Attr::Transport | Attr::TcpFlags => &[0x0800, 0x86dd],
        Attr::RecircId
        | Attr::DpHash
        | Attr::InPort
        | Attr::Eth
        | Attr::Vlan
        | Attr::Cvlan
        | Attr::EthType => return Ok(()),
    };
    if mask.eth_type != 0xffff || !types.contains(&key.eth_type) {
        let types: Vec<_> = types.iter().map(|eth_type| format!("{eth_type:#06x}")).collect();
        return Err(format!("needs an exact match on eth_type {}", types.join(" or ")));
    }
    let protocols: &[u8] = match (field.attr(), key.eth_type) {
        (Attr::TcpFlags, _) => &[6],
        (Attr::Transport, 0x0800) => &[6, 17, 132, 1],
        (Attr::Transport, _) => &[6, 17, 132, 58],
        _ => return Ok(()),
    };
    if mask.ip_proto != 0xff || !protocols.contains(&key.ip_proto) {
        let protocols: Vec<_> = protocols.iter().map(u8::to_string).collect();
        return Err(format!("needs an exact match on ip_proto {}", protocols.join(" or ")));
    }
    if mask.ip_frag == 0xff && key.ip_frag == odp::LATER {
        return Err("a later fragment has no transport header".to_owned());
    }
    if matches!(key.ip_proto, 1 | 58) && key.get(field) > 0xff {
        return Err("an ICMP type or code has eight bits".to_owned());
    }
    Ok(())
}
