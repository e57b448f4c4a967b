//! Translates a megaflow to a filter, or returns the reasons why that is not possible. This
//! module has no state and does no I/O.
//!
//! Each part clears the mask bits that it translates. A bit that is left at the end becomes a
//! refusal that names its field, so no filter is wider than its megaflow. A filter that would be
//! narrower (a wild EtherType beside a matched "no tag") is refused too.

mod action;
mod ip;
mod keys;
mod mpls;
pub(crate) mod table;
mod tags;
mod target;
mod transport;

use flow::{Detail, Field, Megaflow, Reason, Reasons, Refusal, Refusals};

use crate::netlink::consts::{ETH_P_ARP, ETH_P_RARP, TC_ACT_EXT_VAL_MASK};
use crate::rule::{FlowerKey, Rule};

use action::KnownPacket;
pub(crate) use action::MAX_ACTIONS;
pub(crate) use action::set::words_to_fields;
#[cfg(test)]
pub(crate) use action::set_places;
pub(crate) use keys::implied;
use keys::{FlowerKeys, mask, value};
pub(crate) use tags::is_tpid;
pub use target::{PortDevice, Target};
pub(crate) use transport::keys_of;

/// Translates a megaflow to a filter for that target, or returns all reasons why that is not
/// possible.
pub fn translate(flow: &Megaflow, target: &Target) -> Result<Rule, Refusals> {
    let mut reasons = Reasons::default();
    let device = reasons.keep(target.device(flow.matching.port()));
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
    let (key, mask) = (&flow.matching.key(), flow.matching.mask());
    let mut keys = FlowerKeys::new(key, mask, reasons);
    keys.take(Field::InPort);
    let chain = keys.chain(target);
    let chain = keys.part(&[Field::RecircId], chain).unwrap_or_default();
    let protocol = keys.translate().unwrap_or_default();
    keys.finish();
    let FlowerKeys { out, implied, .. } = keys;
    let context = KnownPacket::new(key, mask, device);
    let actions = action::translate(&flow.actions, target, context, reasons);
    let ifindex = device.map_or(0, |device| device.ifindex);
    Rule { ifindex, chain, protocol, keys: out, actions, implied }
}

impl FlowerKeys<'_> {
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
}

#[cfg(test)]
pub(crate) mod tests;
