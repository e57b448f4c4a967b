//! Translates a megaflow to a filter, or returns the reasons why that is not possible. This
//! module has no state and does no I/O.
//!
//! Each part clears the mask bits that it translates. A bit that is left at the end becomes a
//! refusal that names its field, so no filter is wider than its megaflow. A filter that would be
//! narrower (a wild EtherType beside a matched "no tag") is refused too.

mod action;
mod ip;
mod mpls;
pub(crate) mod table;
mod tags;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;

use flow::{
    Detail, Field, Key, Mask, Megaflow, PortId, Reason, Reasons, Refusal, Refusals, Subject,
    VLAN_PRESENT,
};

use crate::rule::{FlowerKey, Rule};
use crate::wire::consts::{ETH_P_ARP, ETH_P_RARP, TC_ACT_EXT_VAL_MASK};
use table::Simple;

use action::Context;
pub(crate) use action::MAX_ACTIONS;
pub(crate) use action::set::words_to_fields;
#[cfg(test)]
pub(crate) use action::set_places;
pub(crate) use tags::is_tpid;
pub(crate) use transport::keys_of;

/// Fields that the mask covers and the filter implies: bits of [`Rule::implied`].
pub(crate) mod implied {
    pub(crate) const VLAN_VID: u16 = 1 << 0;
    pub(crate) const VLAN_PCP: u16 = 1 << 1;
    pub(crate) const VLAN_TPID: u16 = 1 << 2;
    pub(crate) const CVLAN_PRESENT: u16 = 1 << 3;
    pub(crate) const CVLAN_VID: u16 = 1 << 4;
    pub(crate) const CVLAN_PCP: u16 = 1 << 5;
    pub(crate) const CVLAN_TPID: u16 = 1 << 6;
    pub(crate) const MPLS1: u16 = 1 << 7;
    pub(crate) const MPLS2: u16 = 1 << 8;
    /// The bits for which the cookie has room.
    pub(crate) const ALL: u16 = 0x0fff;
}

/// The interface of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortDevice {
    /// The kernel's number.
    pub ifindex: u32,
    /// The interface's name, for `explain`.
    pub name: String,
    /// The switch that the interface is a port of.
    pub switch_id: String,
}

/// The part of the device's configuration that translation needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// The ports that have an interface on a switch.
    pub ports: BTreeMap<PortId, PortDevice>,
    /// True if chains can be used for recirculation ids.
    pub recirculation: bool,
}

impl Target {
    /// Returns the interface of the port by which packets come in.
    pub(crate) fn device(&self, port: PortId) -> Result<&PortDevice, Refusal> {
        self.ports.get(&port).ok_or_else(|| {
            Refusal::new(Reason::Port, Subject::InPort(port))
                .detail(&"the port has no interface on a switchdev NIC")
        })
    }
}

/// Translates a megaflow to a filter for that target, or returns all reasons why that is not
/// possible.
pub fn translate(flow: &Megaflow, target: &Target) -> Result<Rule, Refusals> {
    let mut reasons = Reasons::default();
    let device = reasons.keep(target.device(flow.matching.key().port()));
    let rule = translate_from(device, flow, target, &mut reasons);
    reasons.into_result(rule)
}

/// Translates a megaflow to a filter on an interface; `device` is `None` if the port was refused
/// already. If `reasons` has a refusal, the filter holds only the parts that could be translated
/// and must not be installed.
pub(crate) fn translate_from(
    device: Option<&PortDevice>,
    flow: &Megaflow,
    target: &Target,
    reasons: &mut Reasons,
) -> Rule {
    let (key, mask) = (flow.matching.key(), flow.matching.mask());
    let mut keys = Keys::new(key, mask, reasons);
    keys.take(Field::InPort);
    let chain = keys.chain(target);
    let chain = keys.part(&[Field::RecircId], chain).unwrap_or_default();
    let protocol = keys.translate().unwrap_or_default();
    keys.finish();
    let Keys { out, implied, .. } = keys;
    let context = Context::new(key, mask, device);
    let actions = action::translate(&flow.actions, target, context, reasons);
    let ifindex = device.map_or(0, |device| device.ifindex);
    Rule { ifindex, chain, protocol, keys: out, actions, implied }
}

/// The number of VLAN tags that the match requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tags {
    /// The match does not say how many tags the packet has.
    Unknown,
    /// Exactly this number of tags.
    Exactly(u8),
    /// This number of tags or more.
    AtLeast(u8),
}

impl Tags {
    fn of(key: &Key, mask: &Mask) -> Tags {
        let present =
            |tci: u16, mask: u16| (mask & VLAN_PRESENT != 0).then_some(tci & VLAN_PRESENT != 0);
        let outer = present(key.vlan_tci, mask.vlan_tci);
        match (outer, present(key.cvlan_tci, mask.cvlan_tci)) {
            (None, _) => Tags::Unknown,
            (Some(false), _) => Tags::Exactly(0),
            (Some(true), None) => Tags::AtLeast(1),
            (Some(true), Some(false)) => Tags::Exactly(1),
            // A matched EtherType stands behind exactly two tags, because tc has no key for a
            // third tag.
            (Some(true), Some(true)) if mask.eth_type != 0 => Tags::Exactly(2),
            (Some(true), Some(true)) => Tags::AtLeast(2),
        }
    }
}

/// A match on its way to flower keys.
struct Keys<'a> {
    key: &'a Key,
    mask: &'a Mask,
    /// Mask bits that are neither translated nor refused yet.
    left: Mask,
    out: Vec<FlowerKey>,
    implied: u16,
    reasons: &'a mut Reasons,
}

impl<'a> Keys<'a> {
    fn new(key: &'a Key, mask: &'a Mask, reasons: &'a mut Reasons) -> Keys<'a> {
        Keys { key, mask, left: *mask, out: Vec::with_capacity(12), implied: 0, reasons }
    }

    /// Translates all fields except the port and the recirculation id; returns the protocol.
    fn translate(&mut self) -> Option<u16> {
        self.simple(table::ETHERNET);
        let protocol = self.tags();
        if self.mask.eth_type == 0xffff {
            match self.key.eth_type {
                ETH_P_ARP | ETH_P_RARP => self.arp(),
                table::IPV4_TYPE => self.ip(table::IPV4),
                table::IPV6_TYPE => self.ip(table::IPV6),
                mpls::UNICAST | mpls::MULTICAST => self.mpls(),
                _ => {}
            }
        }
        protocol
    }

    /// Returns the result of translating these fields. A refusal is kept in `reasons`, and the
    /// fields are marked as done, so that they are not refused again as left over.
    fn part<T>(&mut self, fields: &[Field], result: Result<T, Refusal>) -> Option<T> {
        if result.is_err() {
            fields.iter().for_each(|field| self.take(*field));
        }
        self.reasons.keep(result)
    }

    fn chain(&mut self, target: &Target) -> Result<u32, Refusal> {
        self.left.recirc_id = 0;
        let chain = self.key.recirc_id;
        match chain {
            0 => Ok(0),
            _ if !target.recirculation => Err(action::no_recirculation()),
            _ if chain > TC_ACT_EXT_VAL_MASK => {
                Err(Refusal::new(Reason::Recirculation, Field::RecircId)
                    .detail(&"a chain has at most 28 bits"))
            }
            _ => Ok(chain),
        }
    }

    /// Translates fields whose bits go to a flower key unchanged, under any mask.
    fn simple(&mut self, fields: &[Simple]) {
        for simple in fields {
            let mask = self.left.get(simple.field);
            if mask == 0 {
                continue;
            }
            let value = self.key.get(simple.field).to_be_bytes();
            let bits = mask.to_be_bytes();
            let from = 16 - simple.len;
            self.out.push(FlowerKey::masked(
                simple.kind,
                simple.mask_kind,
                &value[from..],
                &bits[from..],
            ));
            self.take(simple.field);
        }
    }

    fn arp(&mut self) {
        let op = self.arp_op();
        self.part(&[Field::ArpOp], op);
        self.simple(table::ARP);
    }

    fn arp_op(&mut self) -> Result<(), Refusal> {
        if self.mask.arp_op == 0 {
            return self.arp_of_any_operation();
        }
        self.whole(Field::ArpOp)?;
        // The kernel's dissector reads requests and replies only, and eight bits of the
        // operation.
        let op = match self.key.arp_op {
            op @ (1 | 2) => op.to_be_bytes()[1],
            op => {
                let detail = Detail::OfNumber(&"tc knows 1 and 2, not {}", u32::from(op));
                return Err(value(Field::ArpOp, detail));
            }
        };
        self.out.push(FlowerKey::masked(table::ARP_OP, table::ARP_OP + 1, &[op], &[0xff]));
        self.take(Field::ArpOp);
        Ok(())
    }

    /// Refuses a match on addresses that are all zero if the operation is not matched. The
    /// dissector shows zeros for operations that it does not read, all of RARP's included, so tc
    /// would match their packets too.
    fn arp_of_any_operation(&self) -> Result<(), Refusal> {
        let mut matched = table::ARP.iter().filter(|arp| self.mask.get(arp.field) != 0).peekable();
        if matched.peek().is_some() && matched.all(|arp| self.key.get(arp.field) == 0) {
            let why = &"match op=1 or op=2 too: tc takes every other operation for one with zeros";
            return Err(mask(Field::ArpOp, why));
        }
        Ok(())
    }

    /// Refuses a field that is matched in part.
    fn whole(&self, field: Field) -> Result<(), Refusal> {
        let mask = self.mask.get(field);
        if mask == 0 || mask == field.full_mask() {
            return Ok(());
        }
        Err(partial(field, mask))
    }

    /// Marks a field as translated.
    fn take(&mut self, field: Field) {
        self.left.set(field, 0);
    }

    /// Refuses the fields that are left over.
    fn finish(&mut self) {
        for field in self.left.fields() {
            let refusal = Refusal::new(Reason::MatchField, field);
            self.reasons.add(refusal.detail(&"tc has no key for it in such packets"));
        }
    }
}

fn partial(field: Field, mask: u128) -> Refusal {
    Refusal::new(Reason::MatchMask, field).detail(Detail::PartialMask(Arc::new(mask)))
}

fn mask(field: Field, why: impl Into<Detail>) -> Refusal {
    Refusal::new(Reason::MatchMask, field).detail(why)
}

fn value(field: Field, why: impl Into<Detail>) -> Refusal {
    Refusal::new(Reason::MatchValue, field).detail(why)
}

#[cfg(test)]
pub(crate) mod tests;
