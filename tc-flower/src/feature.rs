//! The features that a filter needs from a driver. Probes find out each feature, and admission
//! looks it up.

use std::collections::BTreeMap;

use flow::refusal::Said;
use flow::{
    ActionKind, Capabilities, Field, FieldSupport, PortId, Reason, Reasons, Refusal, Subject,
};

use crate::netlink::consts::ETH_P_ALL;
use crate::rule::{FlowerKey, Rule, TcAction};
use crate::translate::{table, words_to_fields};

/// One feature that a driver may support.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Feature {
    /// A filter for packets of every EtherType.
    AnyProtocol,
    /// A filter in a chain.
    Chain,
    /// A match on a tag of that TPID at that depth; depth 0 is the outermost.
    Tag(u8, u16),
    /// A match on a whole flower key.
    Key(u16),
    /// A match on a flower key under a mask.
    MaskedKey(u16),
    /// An action by its tc kind and, for kinds with several operations, its operation.
    Action(&'static str, &'static str),
    /// Pushing a tag of that TPID.
    PushTag(u16),
    /// Rewriting a whole field in that header.
    Set(u16, Field),
    /// Rewriting bits of a field in that header.
    MaskedSet(u16, Field),
}

/// Returns all features that a filter needs.
pub(crate) fn of(rule: &Rule) -> Vec<Feature> {
    let mut features = Vec::with_capacity(rule.keys.len() + 2 * rule.actions.len());
    if rule.protocol == ETH_P_ALL {
        features.push(Feature::AnyProtocol);
    }
    if rule.chain != 0 {
        features.push(Feature::Chain);
    }
    for key in &rule.keys {
        let be16 = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
        let tpid = be16(key.value());
        match key.kind {
            table::ETH_TYPE if crate::translate::is_tpid(tpid) => {
                features.push(Feature::Tag(0, tpid));
            }
            kind if kind == table::VLAN[2] && crate::translate::is_tpid(tpid) => {
                features.push(Feature::Tag(1, tpid));
            }
            kind if is_whole(key) => {
                features.push(Feature::Key(kind));
            }
            // The mask of this key selects the flags; the megaflow does not choose it.
            table::FLAGS => features.push(Feature::Key(table::FLAGS)),
            kind => features.push(Feature::MaskedKey(kind)),
        }
    }
    rule.actions.iter().for_each(|action| of_action(action, &mut features));
    features.sort_unstable();
    features.dedup();
    features
}

/// Returns true if the mask covers all bits of the field. The field of TCP flags has twelve bits.
fn is_whole(key: &FlowerKey) -> bool {
    match key.kind {
        table::TCP_FLAGS => key.mask() == [0x0f, 0xff],
        _ => key.mask().iter().all(|byte| *byte == 0xff),
    }
}

fn of_action(action: &TcAction, features: &mut Vec<Feature>) {
    let what = match action {
        TcAction::Redirect { .. } => "redirect",
        TcAction::Mirror { .. } => "mirror",
        TcAction::Drop => "drop",
        TcAction::Goto { .. } => "goto",
        TcAction::VlanPop | TcAction::MplsPop { .. } => "pop",
        TcAction::MplsPush { .. } => "push",
        TcAction::Csum(_) => "",
        TcAction::VlanPush { tpid, .. } => return features.push(Feature::PushTag(*tpid)),
        TcAction::Pedit(words) => {
            let header = words.first().map_or(0, |word| word.header as u16);
            let Some((_, mask)) = words_to_fields(words) else { return };
            return features.extend(mask.fields().map(|field| {
                let whole = mask.get(field) == field.full_mask();
                if whole { Feature::Set(header, field) } else { Feature::MaskedSet(header, field) }
            }));
        }
    };
    features.push(Feature::Action(action.kind(), what));
}

/// The features that a driver supports or refuses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Features {
    /// The result for each probed feature; `Err` has the kernel's text.
    pub(crate) known: BTreeMap<Feature, Result<(), Said>>,
    /// True if the card was full: nothing could be probed, so every filter is tried.
    pub(crate) unknown: bool,
}

impl Features {
    /// Records that a filter was taken: all of its features are supported.
    pub(crate) fn taken(&mut self, features: &[Feature]) {
        features.iter().for_each(|feature| {
            self.known.insert(*feature, Ok(()));
        });
    }

    /// Records that a filter was refused: its features count as refused, except those of another
    /// filter that is taken.
    pub(crate) fn refused(&mut self, features: &[Feature], text: &Said) {
        for feature in features {
            self.known.entry(*feature).or_insert_with(|| Err(text.clone()));
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.unknown || self.known.get(&feature).is_some_and(Result::is_ok)
    }

    /// Adds a refusal for each feature of the filter that the driver does not support.
    pub(crate) fn admit(&self, rule: &Rule, reasons: &mut Reasons) {
        if self.unknown {
            return;
        }
        for feature in of(rule) {
            match self.known.get(&feature) {
                Some(Ok(())) => {}
                Some(Err(text)) => reasons.add(refusal(feature).said(text.clone())),
                None => reasons.add(refusal(feature).detail(&"the driver was not asked for it")),
            }
        }
    }
}

fn refusal(feature: Feature) -> Refusal {
    let (reason, subject) = match feature {
        Feature::AnyProtocol => (Reason::MatchMask, Field::EthType.into()),
        Feature::Chain => (Reason::Recirculation, Field::RecircId.into()),
        Feature::Tag(0, _) => (Reason::MatchField, Field::VlanTpid.into()),
        Feature::Tag(..) => (Reason::MatchField, Field::CvlanTpid.into()),
        Feature::Key(kind) => (Reason::MatchField, key(kind)),
        Feature::MaskedKey(kind) => (Reason::MatchMask, key(kind)),
        Feature::Action(kind, what) => (Reason::Action, action(kind, what)),
        Feature::PushTag(_) => (Reason::Action, ActionKind::PushVlan.into()),
        Feature::Set(_, field) | Feature::MaskedSet(_, field) => (Reason::SetField, field.into()),
    };
    Refusal::new(reason, subject)
}

fn key(kind: u16) -> Subject {
    field_of(kind).map_or(Subject::Filter, Subject::Field)
}

fn action(kind: &str, what: &str) -> Subject {
    Subject::Action(match (kind, what) {
        ("mirred", _) => ActionKind::Output,
        ("gact", "goto") => ActionKind::Recirc,
        ("gact", _) => return Subject::Drop,
        ("vlan", _) => ActionKind::PopVlan,
        ("mpls", "push") => ActionKind::PushMpls,
        ("mpls", _) => ActionKind::PopMpls,
        _ => ActionKind::Set,
    })
}

/// The field that a key belongs to.
fn field_of(kind: u16) -> Option<Field> {
    let simple = table::simples().find(|simple| simple.kind == kind);
    simple.map(|simple| simple.field).or(match kind {
        table::ETH_TYPE => Some(Field::EthType),
        table::IP_PROTO => Some(Field::IpProto),
        table::FLAGS => Some(Field::IpFrag),
        kind if kind == table::VLAN[2] || kind == table::CVLAN[2] => Some(Field::EthType),
        kind if table::VLAN.contains(&kind) => Some(Field::VlanTci),
        kind if table::CVLAN.contains(&kind) => Some(Field::CvlanTci),
        table::MPLS_TTL | table::MPLS_BOS | table::MPLS_TC | table::MPLS_LABEL => {
            Some(Field::Mpls0)
        }
        _ => None,
    })
}

/// Returns the capabilities that several drivers have in common, in the flow crate's form.
/// `doctor` shows them; admission checks each feature. A field is included if one of its keys is
/// supported.
pub(crate) fn capabilities(
    drivers: &[&Features],
    ports: impl IntoIterator<Item = PortId>,
    recirculation: bool,
    max_actions: usize,
) -> Capabilities {
    let mut all = Capabilities { max_actions, ..Capabilities::default() };
    all.ports = ports.into_iter().collect();
    if drivers.is_empty() {
        return all;
    }
    let every = |feature| drivers.iter().all(|driver| driver.has(feature));
    let known = drivers[0].known.keys().copied().filter(|feature| every(*feature));
    all.fields.insert(Field::InPort, FieldSupport::Exact);
    all.fields.insert(Field::RecircId, FieldSupport::Exact);
    for feature in known {
        let exact = FieldSupport::Exact;
        match feature {
            Feature::Tag(0, _) => drop(all.fields.insert(Field::VlanTpid, exact)),
            Feature::Tag(..) => drop(all.fields.insert(Field::CvlanTpid, exact)),
            Feature::Key(kind) => {
                if let Some(field) = field_of(kind) {
                    let parts = matches!(field, Field::VlanTci | Field::CvlanTci | Field::Mpls0);
                    let support = if parts { FieldSupport::Masked } else { exact };
                    let have = all.fields.entry(field).or_insert(support);
                    *have = (*have).max(support);
                }
            }
            Feature::MaskedKey(kind) => {
                if let Some(field) = field_of(kind) {
                    all.fields.insert(field, FieldSupport::Masked);
                }
            }
            Feature::Set(_, field) => {
                all.actions.insert(ActionKind::Set);
                all.set.entry(field).or_insert(exact);
            }
            Feature::MaskedSet(_, field) => drop(all.set.insert(field, FieldSupport::Masked)),
            Feature::PushTag(_) => drop(all.actions.insert(ActionKind::PushVlan)),
            Feature::Action("mirred", "redirect") => drop(all.actions.insert(ActionKind::Output)),
            Feature::Action("gact", "goto") if recirculation => {
                all.actions.insert(ActionKind::Recirc);
            }
            Feature::Action("vlan", "pop") => drop(all.actions.insert(ActionKind::PopVlan)),
            Feature::Action("mpls", "push") => drop(all.actions.insert(ActionKind::PushMpls)),
            Feature::Action("mpls", "pop") => drop(all.actions.insert(ActionKind::PopMpls)),
            Feature::Action(..) | Feature::AnyProtocol | Feature::Chain => {}
        }
    }
    all
}
