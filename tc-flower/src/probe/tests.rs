use std::collections::BTreeSet;

use super::*;
use crate::feature::Feature;
use crate::translate::table;

fn target() -> Target {
    let device = |ifindex: u32| PortDevice {
        ifindex,
        name: format!("rep{ifindex}"),
        switch_id: "00".into(),
    };
    let ports = [(PortId(1), device(1)), (PortId(2), device(2))].into();
    Target { ports, recirculation: true }
}

#[test]
fn every_case_is_a_filter_of_its_own() {
    let filters = filters(&target(), PortId(1), PortId(2));
    assert_eq!(filters.len(), cases::CASES.len() + cases::CHAIN_CASES.len());
    let ufids: BTreeSet<u64> = filters.iter().map(|f| f.cookie.prefix).collect();
    assert_eq!(ufids.len(), filters.len());
}

#[test]
fn no_packet_of_a_station_hits_a_probe() {
    for (number, filter) in filters(&target(), PortId(1), PortId(2)).iter().enumerate() {
        let source = filter.rule.keys.iter().find(|key| key.kind == 6).unwrap();
        assert_eq!(source.value[0] & source.mask[0] & 1, 1, "case {number}");
    }
}

/// A feature that is not probed is never admitted, so all features that translation can write
/// must be probed.
#[test]
fn every_key_whole_and_masked_every_action_and_every_set_field_is_probed() {
    let known = everything().known;
    for simple in table::simples() {
        let (whole, masked) = (Feature::Key(simple.kind), Feature::MaskedKey(simple.kind));
        assert!(known.contains_key(&whole), "{whole:?} of {:?}", simple.field);
        let partial = simple.kind != table::ARP_OP;
        assert!(!partial || known.contains_key(&masked), "{masked:?} of {:?}", simple.field);
    }
    let tags = [(0, 0x8100), (0, 0x88a8), (1, 0x8100), (1, 0x88a8)];
    let keys = [table::ETH_TYPE, table::IP_PROTO, table::FLAGS]
        .into_iter()
        .chain(table::VLAN)
        .chain(table::CVLAN)
        .chain([table::MPLS_TTL, table::MPLS_BOS, table::MPLS_TC, table::MPLS_LABEL]);
    let actions = [
        ("mirred", "redirect"),
        ("mirred", "mirror"),
        ("gact", "drop"),
        ("gact", "goto"),
        ("vlan", "pop"),
        ("mpls", "push"),
        ("mpls", "pop"),
        ("csum", ""),
    ];
    let wanted = tags
        .map(|(depth, tpid)| Feature::Tag(depth, tpid))
        .into_iter()
        .chain(keys.map(Feature::Key))
        .chain(actions.map(|(kind, what)| Feature::Action(kind, what)))
        .chain([0x8100, 0x88a8].map(Feature::PushTag))
        .chain([Feature::AnyProtocol, Feature::Chain]);
    for feature in wanted {
        assert!(known.contains_key(&feature), "{feature:?}");
    }
    for place in crate::translate::set_places() {
        let (header, field) = (place.header as u16, place.field);
        for feature in [Feature::Set(header, field), Feature::MaskedSet(header, field)] {
            assert!(known.contains_key(&feature), "{feature:?}");
        }
    }
}
