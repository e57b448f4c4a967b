//! Translates a megaflow into an entry of the card, or says why not; pure, without the card.

use std::collections::{BTreeMap, BTreeSet};

use flow::refusal::{Unit, Words};
use flow::{
    Action, ActionKind, Admission, Attr, Capabilities, Detail, Field, FieldSupport, Match,
    Megaflow, PortId, Reason, Reasons, Refusal, Refusals, SetFields, Subject,
};

use crate::action::{self, ActionWriter, SETTABLE, Settable};
use crate::key::{self, CardKey, KEY_BYTES, L3Family, masked};
use crate::register::{CardCapabilities, CardFeatures};

/// A megaflow in the card's form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardEntry {
    /// The key under the mask.
    pub key: CardKey,
    /// The bits of the key that count.
    pub mask: CardKey,
    /// The action list.
    pub actions: Vec<u8>,
}

/// The decision function of a card: it knows the card's abilities and the datapath port of each
/// wire.
pub struct CardAdmission {
    capabilities: Capabilities,
    features: CardFeatures,
    action_bytes: usize,
    /// The datapath port of each wire port.
    ports: Vec<PortId>,
}

impl CardAdmission {
    /// Creates the admission for a card with these capabilities whose wires are these ports, in
    /// order.
    #[must_use]
    pub fn new(card: &CardCapabilities, ports: &[PortId]) -> CardAdmission {
        let mut fields: BTreeMap<Field, FieldSupport> =
            key::FIXED.iter().map(|(field, _)| (*field, FieldSupport::Masked)).collect();
        for family in [L3Family::Ipv4, L3Family::Ipv6, L3Family::Arp, L3Family::Mpls] {
            fields.extend(key::family_fields(family).map(|(f, _)| (f, FieldSupport::Masked)));
        }
        fields.insert(Field::InPort, FieldSupport::Exact);
        let settable = SETTABLE.iter().filter(|s| card.features.has(s.feature));
        let set: BTreeMap<Field, FieldSupport> =
            settable.map(|s| (s.field, FieldSupport::Masked)).collect();
        let mut actions = BTreeSet::from([ActionKind::Output]);
        if !set.is_empty() {
            actions.insert(ActionKind::Set);
        }
        for (feature, kinds) in [
            (CardFeatures::VLAN, &[ActionKind::PushVlan, ActionKind::PopVlan][..]),
            (CardFeatures::MPLS, &[ActionKind::PushMpls, ActionKind::PopMpls]),
            (CardFeatures::RECIRC, &[ActionKind::Recirc]),
        ] {
            if card.features.has(feature) {
                actions.extend(kinds);
            }
        }
        CardAdmission {
            capabilities: Capabilities {
                fields,
                actions,
                set,
                ports: ports.iter().copied().collect(),
                // Each action takes at least four bytes of the list.
                max_actions: card.action_bytes as usize / 4,
            },
            features: card.features,
            action_bytes: card.action_bytes as usize,
            ports: ports.to_vec(),
        }
    }

    /// Returns the wire port of a datapath port.
    #[must_use]
    pub fn wire(&self, port: PortId) -> Option<u16> {
        let wire = self.ports.iter().position(|p| *p == port)?;
        u16::try_from(wire).ok()
    }

    /// Returns the datapath port of a wire port.
    #[must_use]
    pub fn port(&self, wire: u16) -> Option<PortId> {
        self.ports.get(usize::from(wire)).copied()
    }

    /// Translates a megaflow. Each bit of the mask is consumed, or a refusal names its field.
    pub fn encode(&self, flow: &Megaflow) -> Result<CardEntry, Refusals> {
        let mut reasons = Reasons::default();
        reasons.keep(self.capabilities.admit(flow));
        let (key, mask) = self.encode_match(&flow.matching, &mut reasons);
        let actions = self.encode_actions(flow, &mut reasons);
        reasons.into_result(CardEntry { key, mask, actions })
    }

    /// Encodes the match. A field that the card has no place for is left out, with a refusal.
    fn encode_match(&self, matching: &Match, reasons: &mut Reasons) -> (CardKey, CardKey) {
        let (from, bits) = (&matching.key(), matching.mask());
        let exact_type = bits.eth_type == u16::MAX;
        let family = if exact_type { L3Family::of(from.eth_type) } else { L3Family::Other };
        let mut left = *bits;
        left.in_port = 0;
        let placed = key::FIXED.iter().copied().chain(key::family_fields(family));
        placed.for_each(|(field, _)| left.set(field, 0));
        // A field that the card has in no packet was already refused by the capabilities.
        let elsewhere = |field: &Field| self.capabilities.fields.contains_key(field);
        for field in left.fields().filter(elsewhere) {
            // A packet of another family has 0 in this field. A match on 0 is then always true, so
            // leaving it out widens nothing; a match on any other value can't be hit.
            let refusal = if !exact_type {
                let detail = Detail::OfField(&"{} has no place without an exact eth_type", field);
                Refusal::new(Reason::MatchMask, Field::EthType).detail(detail)
            } else if from.get(field) != 0 {
                let eth_type = u32::from(from.eth_type);
                let detail = Detail::OfHex(&"no packet of eth_type {} has it", eth_type);
                Refusal::new(Reason::MatchValue, field).detail(detail)
            } else {
                continue;
            };
            reasons.add(refusal);
        }
        let wire = self.wire_of(from.port(), Subject::InPort(from.port()));
        let wire = reasons.keep(wire).unwrap_or_default();
        let mask = key::encode(bits, family, u16::MAX);
        (masked(&key::encode(from, family, wire), &mask), mask)
    }

    /// Returns the wire port of a datapath port, which is this subject of a refusal.
    fn wire_of(&self, port: PortId, subject: Subject) -> Result<u16, Refusal> {
        self.wire(port).ok_or_else(|| Refusal::new(Reason::Port, subject))
    }

    fn encode_actions(&self, flow: &Megaflow, reasons: &mut Reasons) -> Vec<u8> {
        let mut writer = ActionWriter::default();
        let mut known = Known::of(&flow.matching);
        let last = flow.actions.len().saturating_sub(1);
        for (index, action) in flow.actions.iter().enumerate() {
            match action {
                Action::Output(port) => {
                    let wire = reasons.keep(self.wire_of(*port, Subject::Output(*port)));
                    writer.output(wire.unwrap_or_default());
                }
                Action::Set(set) => {
                    reasons.keep(known.admit(set));
                    encode_set(set, &mut writer);
                }
                Action::PushVlan { tpid, tci } => writer.push_vlan(*tpid, *tci),
                Action::PopVlan => writer.pop_vlan(),
                Action::PushMpls { lse, eth_type } => {
                    known = Known::default();
                    writer.push_mpls(*lse, *eth_type);
                }
                Action::PopMpls { eth_type } => {
                    known = Known::default();
                    writer.pop_mpls(*eth_type);
                }
                Action::Recirc(id) if index == last && id.0 != 0 => writer.recirc(id.0),
                Action::Recirc(_) => {
                    let words = &"the card recirculates only at the end, to an id other than 0";
                    reasons.add(Refusal::new(Reason::ActionList, action.kind()).detail(words));
                }
                Action::Userspace(_)
                | Action::Hash { .. }
                | Action::Trunc(_)
                | Action::Sample { .. } => {
                    reasons.add(Refusal::new(Reason::Action, action.kind()));
                }
            }
        }
        let bytes = writer.finish();
        if bytes.len() > self.action_bytes {
            let detail = Detail::too_many(Unit::Bytes, bytes.len(), self.action_bytes);
            reasons.add(Refusal::new(Reason::ActionList, Subject::ActionBytes).detail(detail));
        }
        bytes
    }

    /// Decodes an entry read from the card; `None` if this driver would not have written the
    /// entry.
    #[must_use]
    pub fn decode(&self, entry: &CardEntry) -> Option<Megaflow> {
        let bits = key::decode(&entry.mask, L3Family::Other);
        let eth_type = key::decode(&entry.key, L3Family::Other).eth_type;
        let exact = bits.eth_type == u16::MAX;
        let family = if exact { L3Family::of(eth_type) } else { L3Family::Other };
        let mut match_key = key::decode(&entry.key, family);
        let wire = key::key::IN_PORT.get_be(&entry.key);
        match_key.in_port = self.port(u16::try_from(wire).ok()?)?.0;
        let matching = Match::new(&match_key, &key::decode(&entry.mask, family));
        let list = action::decode(&entry.actions)?;
        let actions = action::to_flow(&list, &matching.key(), |wire| self.port(wire))?;
        let flow = Megaflow::new(matching, actions);
        // An entry is ours only if the megaflow encodes to the same bytes.
        (self.encode(&flow).ok()? == *entry).then_some(flow)
    }
}

/// The facts known about the packet's headers while its actions run. The card's SET_FIELD applies
/// to whatever header it finds, so `set(ipv4(…))` needs to know that it will find IPv4.
#[derive(Clone, Copy, Default)]
struct Known {
    eth_type: Option<u16>,
    protocol: Option<u8>,
}

impl Known {
    fn of(matching: &Match) -> Known {
        let (key, mask) = (&matching.key(), matching.mask());
        Known {
            eth_type: (mask.eth_type == u16::MAX).then_some(key.eth_type),
            protocol: (mask.ip_proto == u8::MAX).then_some(key.ip_proto),
        }
    }

    fn admit(&self, set: &SetFields) -> Result<(), Refusal> {
        let refuse = |subject: Subject, words: Words| {
            Err(Refusal::new(Reason::SetField, subject).detail(words))
        };
        let first = set.mask.fields().next();
        let first = first.map_or(Subject::Action(ActionKind::Set), Subject::Field);
        let is = |types: &[u16]| self.eth_type.is_some_and(|t| types.contains(&t));
        match set.attr {
            Attr::Eth | Attr::Mpls => {}
            Attr::Ipv4 if is(&[0x0800]) => {}
            Attr::Ipv6 if is(&[0x86dd]) => {}
            Attr::Ip if set.protocol == 4 && is(&[0x0800]) => {}
            Attr::Ip if set.protocol == 6 && is(&[0x86dd]) => {}
            Attr::Ip if set.protocol == 0 && is(&[0x0800, 0x86dd]) => {}
            Attr::Arp if is(&[0x0806, 0x8035]) => {}
            Attr::Transport if !matches!(set.protocol, 6 | 17 | 132) => {
                return refuse(first, &"the card rewrites ports of TCP, UDP and SCTP only");
            }
            Attr::Transport if self.protocol == Some(set.protocol) && is(&[0x0800, 0x86dd]) => {}
            Attr::Transport => {
                return refuse(first, &"needs a match on the exact eth_type and ip_proto, no MPLS");
            }
            Attr::Ip | Attr::Ipv4 | Attr::Ipv6 | Attr::Arp => {
                return refuse(first, &"needs a match on the exact eth_type, and no MPLS action");
            }
            Attr::RecircId
            | Attr::DpHash
            | Attr::InPort
            | Attr::Vlan
            | Attr::Cvlan
            | Attr::EthType
            | Attr::TcpFlags => return refuse(first, &"the card can't rewrite it"),
        }
        // A set names one header. If its mask had a field of another header, the host would ignore
        // the field and the card would set it.
        let foreign = |field: &Field| {
            let ip = matches!(set.attr, Attr::Ip | Attr::Ipv4 | Attr::Ipv6);
            !(field.attr() == set.attr || ip && field.attr() == Attr::Ip)
        };
        match set.mask.fields().find(foreign) {
            Some(field) => refuse(field.into(), &"it is not part of the header that is set"),
            None => Ok(()),
        }
    }
}

fn encode_set(set: &SetFields, writer: &mut ActionWriter) {
    let of = |settable: &&Settable| set.mask.get(settable.field) != 0;
    for settable in SETTABLE.iter().filter(of) {
        let field = settable.field;
        writer.set(settable, set.value.get(field), set.mask.get(field));
    }
}

impl Admission for CardAdmission {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        self.encode(flow).map(drop)
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        let entry = self.encode(flow)?;
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let list = if entry.actions.is_empty() { "drop".into() } else { hex(&entry.actions) };
        let bits: u32 = entry.mask.iter().map(|byte| byte.count_ones()).sum();
        Ok(format!(
            "ENTRY_WRITE key {} mask {} ({bits} of {} bits) actions {list}",
            hex(&entry.key),
            hex(&entry.mask),
            KEY_BYTES * 8,
        ))
    }
}

impl std::fmt::Debug for CardAdmission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CardAdmission(features {:#x}, ports {:?})", self.features.0, self.ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::odp;

    fn why(card: &CardCapabilities, matching: &str, actions: &str) -> Vec<String> {
        let matching = odp::parse_match(matching).unwrap();
        let flow = Megaflow::new(matching, odp::parse_actions(actions).unwrap());
        let admission = CardAdmission::new(card, &[PortId(1), PortId(2)]);
        let refusals = admission.admit(&flow).expect_err("refused");
        assert_eq!(admission.explain(&flow).expect_err("refused"), refusals);
        refusals.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_is_a_reason_and_each_is_said_once() {
        let whole = CardCapabilities::default();
        let tcp = "in_port(7),dp_hash(1),eth_type(0x0800),ipv4(proto=6,frag=no)";
        assert_eq!(
            why(&whole, tcp, "trunc(99),set(udp(src=5)),recirc(1),9,trunc(98),1"),
            [
                "match-field dp_hash",
                "port in_port 7: the port is not on this device",
                "action trunc",
                "port output 9: the port is not on this device",
                "set-field tp_src: needs a match on the exact eth_type and ip_proto, no MPLS",
                "action-list recirc: the card recirculates only at the end, to an id other than 0",
            ]
        );
        let bare = CardCapabilities { features: CardFeatures(0), ..whole };
        assert_eq!(
            why(&bare, "in_port(1),eth_type(0x0806)", "pop_vlan,set(ipv4(ttl=1)),recirc(1)"),
            [
                "action pop_vlan",
                "action set",
                "action recirc",
                "set-field ip_ttl: needs a match on the exact eth_type, and no MPLS action",
            ]
        );
    }
}
