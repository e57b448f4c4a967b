//! The card's action lists: their bytes and their meaning.

use flow::action::SetFields;
use flow::{Action, Attr, Field, Key, PortId, RecircId};

use crate::int::to_u32;
use crate::register::CardFeatures;

/// The numbers of the card's operations.
pub(crate) mod op {
    pub(crate) const OUTPUT: u8 = 1;
    pub(crate) const SET_FIELD: u8 = 2;
    pub(crate) const PUSH_VLAN: u8 = 3;
    pub(crate) const POP_VLAN: u8 = 4;
    pub(crate) const PUSH_MPLS: u8 = 5;
    pub(crate) const POP_MPLS: u8 = 6;
    pub(crate) const RECIRC: u8 = 7;
    pub(crate) const TO_HOST: u8 = 8;
}

/// A field that SET_FIELD can write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settable {
    /// The field's number in SET_FIELD.
    pub(crate) id: u16,
    /// The field of the key.
    pub(crate) field: Field,
    /// The length in bytes of the value, and of the mask.
    pub(crate) width: usize,
    /// The feature that the card must have.
    pub(crate) feature: CardFeatures,
}

macro_rules! settable {
    ($($id:literal $field:ident $width:literal $feature:ident;)*) => {
        /// All fields that SET_FIELD can write, in the order in which they are written.
        pub(crate) const SETTABLE: &[Settable] = &[$(Settable {
            id: $id, field: Field::$field, width: $width, feature: CardFeatures::$feature,
        },)*];
    };
}

settable! {
    1 EthDst 8 SET_ETH;
    2 EthSrc 8 SET_ETH;
    4 Ipv4Src 4 SET_IP;
    5 Ipv4Dst 4 SET_IP;
    6 IpTos 4 SET_IP;
    7 IpTtl 4 SET_IP;
    8 Ipv6Src 16 SET_IP;
    9 Ipv6Dst 16 SET_IP;
    10 Ipv6Label 4 SET_IP;
    11 TpSrc 4 SET_L4;
    12 TpDst 4 SET_L4;
    13 Mpls0 4 MPLS;
    14 ArpOp 4 SET_ARP;
    15 ArpSip 4 SET_ARP;
    16 ArpTip 4 SET_ARP;
    17 ArpSha 8 SET_ARP;
    18 ArpTha 8 SET_ARP;
}

/// One action of a card's list, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CardAction {
    /// Send the packet out of a wire port.
    Output(u16),
    /// Change headers. A `Set` of ports has protocol 0, which stands for the packet's protocol.
    Edit(Action),
    /// Look the packet up again.
    Recirc(u32),
    /// Send the packet to the host.
    ToHost,
}

/// Writes action lists.
#[derive(Default)]
pub(crate) struct ActionWriter {
    bytes: Vec<u8>,
}

impl ActionWriter {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn action(&mut self, op: u8, arg: u16, body: &[u8]) {
        debug_assert!(body.len().is_multiple_of(4));
        let length = to_u32(4 + body.len()).to_le_bytes()[0];
        self.bytes.extend([op, length]);
        self.bytes.extend(arg.to_be_bytes());
        self.bytes.extend(body);
    }

    pub(crate) fn output(&mut self, port: u16) {
        self.action(op::OUTPUT, port, &[]);
    }

    /// Appends a SET_FIELD of the masked bits of one field.
    pub(crate) fn set(&mut self, settable: &Settable, value: u128, mask: u128) {
        let mut body = [0; 32];
        let width = settable.width;
        body[..width].copy_from_slice(&value.to_be_bytes()[16 - width..]);
        body[width..2 * width].copy_from_slice(&mask.to_be_bytes()[16 - width..]);
        self.action(op::SET_FIELD, settable.id, &body[..2 * width]);
    }

    pub(crate) fn push_vlan(&mut self, tpid: u16, tci: u16) {
        let [high, low] = tpid.to_be_bytes();
        self.action(op::PUSH_VLAN, tci & !flow::VLAN_PRESENT, &[high, low, 0, 0]);
    }

    pub(crate) fn pop_vlan(&mut self) {
        self.action(op::POP_VLAN, 0, &[]);
    }

    pub(crate) fn push_mpls(&mut self, lse: u32, eth_type: u16) {
        self.action(op::PUSH_MPLS, eth_type, &lse.to_be_bytes());
    }

    pub(crate) fn pop_mpls(&mut self, eth_type: u16) {
        self.action(op::POP_MPLS, eth_type, &[]);
    }

    pub(crate) fn recirc(&mut self, id: u32) {
        self.action(op::RECIRC, 0, &id.to_be_bytes());
    }
}

/// Decodes a list; `None` if it is malformed. Adjacent sets of one header become one edit.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<CardAction>> {
    let mut out: Vec<CardAction> = Vec::new();
    while !bytes.is_empty() {
        let [op, length, a, b, ..] = *bytes else { return None };
        let length = usize::from(length);
        if length < 4 || !length.is_multiple_of(4) || length > bytes.len() {
            return None;
        }
        let (action, rest) = bytes.split_at(length);
        if matches!(out.last(), Some(CardAction::Recirc(_) | CardAction::ToHost)) {
            return None; // must have been the last
        }
        decode_one(op, u16::from_be_bytes([a, b]), &action[4..], &mut out)?;
        bytes = rest;
    }
    Some(out)
}

fn decode_one(op: u8, arg: u16, body: &[u8], out: &mut Vec<CardAction>) -> Option<()> {
    let word = |body: &[u8]| Some(u32::from_be_bytes(body.try_into().ok()?));
    let action = match (op, body.len()) {
        (op::OUTPUT, 0) => CardAction::Output(arg),
        (op::SET_FIELD, _) => return decode_set(arg, body, out),
        (op::PUSH_VLAN, 4) => CardAction::Edit(Action::PushVlan {
            tpid: u16::from_be_bytes([body[0], body[1]]),
            tci: arg | flow::VLAN_PRESENT,
        }),
        (op::POP_VLAN, 0) => CardAction::Edit(Action::PopVlan),
        (op::PUSH_MPLS, 4) => {
            CardAction::Edit(Action::PushMpls { lse: word(body)?, eth_type: arg })
        }
        (op::POP_MPLS, 0) => CardAction::Edit(Action::PopMpls { eth_type: arg }),
        (op::RECIRC, 4) => match word(body)? {
            0 => return None,
            id => CardAction::Recirc(id),
        },
        (op::TO_HOST, 0) => CardAction::ToHost,
        _ => return None,
    };
    out.push(action);
    Some(())
}

fn decode_set(id: u16, body: &[u8], out: &mut Vec<CardAction>) -> Option<()> {
    let settable = SETTABLE.iter().find(|settable| settable.id == id)?;
    if body.len() != 2 * settable.width {
        return None;
    }
    let integer = |bytes: &[u8]| bytes.iter().fold(0, |v: u128, b| v << 8 | u128::from(*b));
    let (value, mask) = body.split_at(settable.width);
    let (value, mask) = (integer(value), integer(mask));
    let field = settable.field;
    if mask & !field.full_mask() != 0 || value & !mask != 0 {
        return None;
    }
    let attr = field.attr();
    if let Some(CardAction::Edit(Action::Set(last))) = out.last_mut()
        && same_header(last.attr, attr)
        && last.mask.get(field) == 0
    {
        last.value.set(field, value);
        last.mask.set(field, mask);
        if last.attr == Attr::Ip {
            last.attr = attr;
        }
        return Some(());
    }
    let mut set = SetFields { attr, protocol: 0, value: Key::default(), mask: Key::default() };
    set.value.set(field, value);
    set.mask.set(field, mask);
    out.push(CardAction::Edit(Action::Set(Box::new(set))));
    Some(())
}

/// Returns true if both fields can be in one `set`.
fn same_header(a: Attr, b: Attr) -> bool {
    let with = |ip: Attr| matches!((a, b), (Attr::Ip, y) | (y, Attr::Ip) if y == ip);
    a == b || with(Attr::Ipv4) || with(Attr::Ipv6)
}

/// Converts a list back into the megaflow's actions: wire ports become datapath ports, and the
/// protocol and IP version, which the card takes from the packet, come from the match.
pub(crate) fn to_flow(
    list: &[CardAction],
    key: &Key,
    port: impl Fn(u16) -> Option<PortId>,
) -> Option<Vec<Action>> {
    list.iter()
        .map(|action| {
            Some(match action {
                CardAction::Output(out) => Action::Output(port(*out)?),
                CardAction::Edit(Action::Set(set)) => {
                    let mut set = set.clone();
                    match set.attr {
                        Attr::Ip if key.eth_type == 0x0800 => set.attr = Attr::Ipv4,
                        Attr::Ip if key.eth_type == 0x86dd => set.attr = Attr::Ipv6,
                        Attr::Transport => set.protocol = key.ip_proto,
                        _ => {}
                    }
                    match set.attr {
                        Attr::Ipv4 => set.protocol = 4,
                        Attr::Ipv6 => set.protocol = 6,
                        _ => {}
                    }
                    Action::Set(set)
                }
                CardAction::Edit(action) => action.clone(),
                CardAction::Recirc(id) => Action::Recirc(RecircId(*id)),
                CardAction::ToHost => return None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back() {
        let mut writer = ActionWriter::default();
        let by = |field| SETTABLE.iter().find(|s| s.field == field).unwrap();
        writer.set(by(Field::IpTtl), 63, 0xff);
        writer.set(by(Field::Ipv4Src), 0x0a00_0000, 0xffff_0000);
        writer.push_vlan(0x8100, 0x1005);
        writer.output(3);
        writer.recirc(7);
        let bytes = writer.finish();
        let list = decode(&bytes).unwrap();
        assert_eq!(list.len(), 4);
        let CardAction::Edit(Action::Set(set)) = &list[0] else { panic!("{list:?}") };
        assert_eq!((set.value.ip_ttl, set.value.ipv4_src), (63, 0x0a00_0000));
        assert_eq!((set.mask.ip_ttl, set.mask.ipv4_src), (0xff, 0xffff_0000));
        assert_eq!(set.attr, Attr::Ipv4);
        assert_eq!(list[2..], [CardAction::Output(3), CardAction::Recirc(7)]);
    }

    #[test]
    fn numbers_are_those_of_the_text() {
        let text = include_str!("../../docs/fpga-abi.md");
        let section = text.split("## 7. Actions").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<Vec<String>> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| "))
            .map(|line| line.split('|').map(|cell| cell.trim().replace('_', "")).collect())
            .filter(|row: &Vec<String>| row[0].parse::<u16>().is_ok())
            .collect();
        let (ops, fields) = rows.split_at(8);
        let names = [
            (op::OUTPUT, "OUTPUT"),
            (op::SET_FIELD, "SETFIELD"),
            (op::PUSH_VLAN, "PUSHVLAN"),
            (op::POP_VLAN, "POPVLAN"),
            (op::PUSH_MPLS, "PUSHMPLS"),
            (op::POP_MPLS, "POPMPLS"),
            (op::RECIRC, "RECIRC"),
            (op::TO_HOST, "TOHOST"),
        ];
        for ((number, name), row) in names.iter().zip(ops) {
            assert_eq!((number.to_string().as_str(), *name), (row[0].as_str(), row[1].as_str()));
        }
        assert_eq!(fields.len(), SETTABLE.len());
        for (settable, row) in SETTABLE.iter().zip(fields) {
            let name = format!("{:?}", settable.field).to_uppercase();
            let code = (settable.id.to_string(), name, settable.width.to_string());
            assert_eq!(code, (row[0].clone(), row[1].clone(), row[2].clone()));
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        let bad: [&[u8]; 9] = [
            &[1],
            &[1, 0, 0, 0],
            &[1, 8, 0, 0],
            &[9, 4, 0, 0],
            &[1, 8, 0, 0, 0, 0, 0, 0],
            &[7, 8, 0, 0, 0, 0, 0, 0],              // recirc(0)
            &[7, 8, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0],  // something behind it
            &[2, 12, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0], // value outside the mask
            &[2, 12, 0, 7, 0, 0, 0, 0, 0, 0, 1, 0], // mask wider than the field
        ];
        for bytes in bad {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
        assert_eq!(decode(&[]), Some(vec![]));
    }
}
