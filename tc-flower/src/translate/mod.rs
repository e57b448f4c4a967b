//! From a megaflow to the filter that it becomes, or to the reason why it can't become one. Pure.
//!
//! Each part takes the mask bits that it translates out of what is left; a bit that is left at
//! the end is a refusal that names its field. So no filter is ever wider than its megaflow, and
//! where a filter would be narrower (a wild EtherType beside a matched "no tag"), that is a
//! refusal too.

mod action;
mod ip;
mod mpls;
pub(crate) mod table;
mod tags;
mod transport;

use std::collections::BTreeMap;

use flow::{Field, Key, Mask, Megaflow, PortId, Reason, Refusal};

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
    /// The cookie has room for this many bits.
    pub(crate) const ALL: u16 = 0x0fff;
}

/// The interface of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortDevice {
    /// The kernel's number.
    pub ifindex: u32,
    /// Its name, for `explain`.
    pub name: String,
    /// Which switch it is a port of.
    pub switch_id: String,
}

/// Where megaflows are to go: what translation needs to know of the device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// The ports that have an interface on a switch.
    pub ports: BTreeMap<PortId, PortDevice>,
    /// True if chains can be used for recirculation ids.
    pub recirculation: bool,
}

/// The filter that a megaflow becomes on that target.
pub fn translate(flow: &Megaflow, target: &Target) -> Result<Rule, Refusal> {
    let mut keys = Keys::new(flow.matching.key(), flow.matching.mask());
    let device = keys.port(target)?;
    let chain = keys.chain(target)?;
    let (protocol, depth) = keys.translate()?;
    keys.finish()?;
    let context = Context::new(flow.matching.key(), flow.matching.mask(), depth, device);
    let actions = action::translate(&flow.actions, target, context)?;
    let ifindex = device.ifindex;
    Ok(Rule { ifindex, chain, protocol, keys: keys.out, actions, implied: keys.implied })
}

/// How many VLAN tags the match requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tags {
    /// The match does not say how many tags the packet has.
    Unknown,
    /// Exactly this number of tags.
    Exactly(u8),
    /// This number of tags or more.
    AtLeast(u8),
}

/// A match on its way to flower keys.
struct Keys<'a> {
    key: &'a Key,
    mask: &'a Mask,
    /// Bits that nobody translated yet.
    left: Mask,
    out: Vec<FlowerKey>,
    implied: u16,
}

impl<'a> Keys<'a> {
    fn new(key: &'a Key, mask: &'a Mask) -> Keys<'a> {
        Keys { key, mask, left: *mask, out: Vec::with_capacity(12), implied: 0 }
    }

    /// All of it; returns protocol and tags.
    fn translate(&mut self) -> Result<(u16, Tags), Refusal> {
        self.simple(table::ETHERNET);
        let (protocol, tags) = self.tags()?;
        if self.mask.eth_type == 0xffff {
            match self.key.eth_type {
                ETH_P_ARP | ETH_P_RARP => self.arp()?,
                table::IPV4_TYPE => self.ip(table::IPV4)?,
                table::IPV6_TYPE => self.ip(table::IPV6)?,
                mpls::UNICAST | mpls::MULTICAST => self.mpls()?,
                _ => {}
            }
        }
        Ok((protocol, tags))
    }

    fn port<'t>(&mut self, target: &'t Target) -> Result<&'t PortDevice, Refusal> {
        self.left.in_port = 0;
        let port = self.key.port();
        target.ports.get(&port).ok_or_else(|| {
            Refusal::new(Reason::Port, format!("in_port {port}"))
                .detail("the port has no interface on a switchdev NIC")
        })
    }

    fn chain(&mut self, target: &Target) -> Result<u32, Refusal> {
        self.left.recirc_id = 0;
        let chain = self.key.recirc_id;
        match chain {
            0 => Ok(0),
            _ if !target.recirculation => Err(action::no_recirculation()),
            _ if chain > TC_ACT_EXT_VAL_MASK => {
                Err(Refusal::new(Reason::Recirculation, "recirc_id")
                    .detail("a chain has at most 28 bits"))
            }
            _ => Ok(chain),
        }
    }

    /// Takes fields whose bits go to a flower key as they are, under any mask.
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

    fn arp(&mut self) -> Result<(), Refusal> {
        if self.mask.arp_op != 0 {
            self.whole(Field::ArpOp)?;
            // The kernel's dissector looks into requests and replies only, and at eight bits.
            let op = match self.key.arp_op {
                op @ (1 | 2) => op.to_be_bytes()[1],
                op => return Err(value(Field::ArpOp, format!("tc knows 1 and 2, not {op}"))),
            };
            self.out.push(FlowerKey::masked(table::ARP_OP, table::ARP_OP + 1, &[op], &[0xff]));
            self.take(Field::ArpOp);
        }
        self.simple(table::ARP);
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

    /// Refuses what is left over.
    fn finish(&mut self) -> Result<(), Refusal> {
        match self.left.fields().next() {
            None => Ok(()),
            Some(field) => Err(Refusal::new(Reason::MatchField, field.name())
                .detail("tc has no key for it in such packets")),
        }
    }
}

fn partial(field: Field, mask: u128) -> Refusal {
    Refusal::new(Reason::MatchMask, field.name())
        .detail(format!("mask {mask:#x} is partial; tc takes the whole field or nothing"))
}

fn mask(field: Field, why: impl Into<String>) -> Refusal {
    Refusal::new(Reason::MatchMask, field.name()).detail(why)
}

fn value(field: Field, why: impl Into<String>) -> Refusal {
    Refusal::new(Reason::MatchValue, field.name()).detail(why)
}

#[cfg(test)]
pub(crate) mod tests;
