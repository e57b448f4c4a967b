use std::sync::Arc;

use super::*;
use crate::{ActionKind, Field, PortId, RecircId, TableName, TableUsage};

/// A megaflow that is not in hardware holds its reasons, and there may be a million of them.
const _: () = assert!(size_of::<Refusal>() <= 32 && size_of::<Refusals>() <= 40);

fn text(subject: impl Into<Subject>, detail: impl Into<Detail>) -> String {
    Refusal::new(Reason::Device, subject).detail(detail).to_string()
}

#[test]
fn each_kind_of_subject_and_detail_has_its_text() {
    let bare = Refusal::new(Reason::MatchField, Field::DpHash);
    assert_eq!(bare.to_string(), "match-field dp_hash");
    assert_eq!(text(ActionKind::PopVlan, &"not so"), "device pop_vlan: not so");
    let detail = Detail::OfField(&"match frag=no beside {}", Field::TpSrc);
    assert_eq!(
        text(Subject::InPort(PortId(3)), detail),
        "device in_port 3: match frag=no beside tp_src"
    );
    let detail = Detail::OfHex(&"tpid {} is no tag", 0x0800);
    assert_eq!(text(Subject::Output(PortId(4)), detail), "device output 4: tpid 0x0800 is no tag");
    let detail = Detail::of_number(&"not {}", usize::MAX);
    assert_eq!(text(Subject::Drop, detail), "device drop: not 4294967295");
    let detail = Detail::too_many(Unit::Actions, 7, 5);
    let many = text(Subject::ActionCount, detail);
    assert_eq!(many, "device number of actions: 7 actions, at most 5");
    let detail = Detail::PartialMask(Arc::new(u128::MAX << 64));
    assert_eq!(
        text(Field::Ipv6Src, detail),
        "device ipv6_src: mask 0xffffffffffffffff0000000000000000 is partial; the device takes the \
         whole field or nothing"
    );
    let waits = text(Subject::Chain, Detail::Waiting(RecircId(7)));
    assert_eq!(waits, "device chain: waiting: no megaflow with recirc_id 0x7 is in hardware yet");
    let said = Refusal::new(Reason::Device, Subject::Card).said("no such thing");
    assert_eq!(said.to_string(), "device card: no such thing");
    let both = Refusals::new(bare, vec![said]);
    assert_eq!(both.to_string(), "match-field dp_hash; device card: no such thing");
    assert_eq!(both.iter().count(), 2);
}

#[test]
fn a_full_table_has_its_numbers() {
    let usage = |table, capacity| TableUsage { table, holds_megaflows: true, entries: 3, capacity };
    let tables = vec![usage(TableName::Masks, Some(4)), usage(TableName::Flower, None)];
    let full = |why| Detail::Full(Arc::new(Full { why, tables: tables.clone() }));
    let in_use = "in use: masks 3 of 4, flower 3 (its capacity is not known)";
    assert_eq!(text(TableName::Masks, full(Detail::None)), format!("device masks: {in_use}"));
    let said = full(Detail::from(&"no room"));
    assert_eq!(text(TableName::Masks, said), format!("device masks: no room; {in_use}"));
}

#[test]
fn a_reason_is_kept_once_and_with_the_most_that_is_known() {
    let bare = Refusal::new(Reason::SetField, Field::TpSrc);
    let known = bare.clone().detail(&"of TCP only");
    let other = bare.clone().detail(&"no fragments");
    for said in [[&bare, &known, &other], [&known, &bare, &other]] {
        let mut reasons = Reasons::default();
        reasons.extend(said.into_iter().cloned());
        let kept = reasons.into_refusals().unwrap();
        assert_eq!(kept, Refusals::new(known.clone(), vec![other.clone()]));
    }
}

#[test]
fn codes_are_unique_and_each_has_its_sentences() {
    let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        assert!(reason.sentence().ends_with('.') && reason.fix().ends_with('.'), "{reason}");
    }
}
