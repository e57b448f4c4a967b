//! Writes the requests that install, remove, get and dump filters.

use crate::cookie::Cookie;
use crate::netlink::Writer;
use crate::netlink::consts::*;
use crate::netlink::read::filter_info;
use crate::rule::{PeditWord, Rule, TcAction};

/// The place of a filter, by which a request names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Location {
    pub(crate) ifindex: u32,
    pub(crate) chain: u32,
    pub(crate) priority: u16,
    /// The filter's number in its priority; never 0 for a filter that exists.
    pub(crate) handle: u32,
}

impl Location {
    /// The place that comes before those of all filters on the interface.
    pub(crate) fn first_on(ifindex: u32) -> Location {
        Location { ifindex, chain: 0, priority: 0, handle: 0 }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "chain {} pref {} handle {:#x}", self.chain, self.priority, self.handle)
    }
}

/// Writes the body of a request that adds a `skip_sw` filter.
pub(crate) fn install(w: &mut Writer, rule: &Rule, priority: u16, handle: u32, cookie: Cookie) {
    w.tcmsg(rule.ifindex, handle, TC_H_INGRESS_FILTERS, filter_info(priority, rule.protocol));
    w.text(TCA_KIND, "flower");
    w.u32(TCA_CHAIN, rule.chain);
    let options = w.nest(TCA_OPTIONS);
    for key in &rule.keys {
        w.bytes(key.kind, key.value());
        if key.mask_kind != 0 {
            w.bytes(key.mask_kind, key.mask());
        }
    }
    let list = w.nest(TCA_FLOWER_ACT);
    for (order, action) in (1u16..).zip(&rule.actions) {
        encode_action(w, order, action, (order == 1).then_some(cookie));
    }
    w.end(list);
    w.u32(TCA_FLOWER_FLAGS, TCA_CLS_FLAGS_SKIP_SW);
    w.end(options);
}

/// Writes the body of a request that deletes a filter.
pub(crate) fn remove(w: &mut Writer, at: &Location, protocol: u16) {
    let info = filter_info(at.priority, protocol);
    w.tcmsg(at.ifindex, at.handle, TC_H_INGRESS_FILTERS, info);
    // With the kind in the request, the kernel need not take its big lock.
    w.text(TCA_KIND, "flower");
    w.u32(TCA_CHAIN, at.chain);
}

/// Writes the body of a request for one filter.
pub(crate) fn get(w: &mut Writer, at: &Location, protocol: u16, kind: &str) {
    let info = filter_info(at.priority, protocol);
    w.tcmsg(at.ifindex, at.handle, TC_H_INGRESS_FILTERS, info);
    w.text(TCA_KIND, kind);
    w.u32(TCA_CHAIN, at.chain);
}

/// Writes the body of a request that dumps all filters of an interface under `parent`.
pub(crate) fn dump(w: &mut Writer, ifindex: u32, parent: u32) {
    w.tcmsg(ifindex, 0, parent, 0);
}

/// Writes the body of a request for the qdisc that holds the filters of ingress and egress.
pub(crate) fn clsact(w: &mut Writer, ifindex: u32) {
    w.tcmsg(ifindex, TC_H_INGRESS_MAJOR, TC_H_CLSACT, 0);
    w.text(TCA_KIND, "clsact");
}

fn encode_action(w: &mut Writer, order: u16, action: &TcAction, cookie: Option<Cookie>) {
    let nest = w.nest(order);
    w.text(TCA_ACT_KIND, action.kind());
    let options = w.nest(TCA_ACT_OPTIONS);
    encode_options(w, action);
    w.end(options);
    if let Some(cookie) = cookie {
        w.bytes(TCA_ACT_COOKIE, &cookie.to_bytes());
    }
    // `struct nla_bitfield32` has a value and the bits of it that count.
    let flags = w.attr(TCA_ACT_FLAGS);
    w.raw(&TCA_ACT_FLAGS_NO_PERCPU_STATS.to_ne_bytes());
    w.raw(&TCA_ACT_FLAGS_NO_PERCPU_STATS.to_ne_bytes());
    w.end(flags);
    w.end(nest);
}

fn encode_options(w: &mut Writer, action: &TcAction) {
    let control = action.control();
    match action {
        TcAction::Redirect { ifindex } => {
            parms(w, TCA_MIRRED_PARMS, control, &[TCA_EGRESS_REDIR, *ifindex]);
        }
        TcAction::Mirror { ifindex } => {
            parms(w, TCA_MIRRED_PARMS, control, &[TCA_EGRESS_MIRROR, *ifindex]);
        }
        TcAction::Drop | TcAction::Goto { .. } => parms(w, TCA_GACT_PARMS, control, &[]),
        TcAction::VlanPop => parms(w, TCA_VLAN_PARMS, control, &[TCA_VLAN_ACT_POP]),
        TcAction::VlanPush { tpid, vid, pcp } => {
            parms(w, TCA_VLAN_PARMS, control, &[TCA_VLAN_ACT_PUSH]);
            w.u16(TCA_VLAN_PUSH_VLAN_ID, *vid);
            w.be16(TCA_VLAN_PUSH_VLAN_PROTOCOL, *tpid);
            w.u8(TCA_VLAN_PUSH_VLAN_PRIORITY, *pcp);
        }
        TcAction::MplsPop { protocol } => {
            parms(w, TCA_MPLS_PARMS, control, &[TCA_MPLS_ACT_POP]);
            w.be16(TCA_MPLS_PROTO, *protocol);
        }
        TcAction::MplsPush { lse, protocol } => {
            parms(w, TCA_MPLS_PARMS, control, &[TCA_MPLS_ACT_PUSH]);
            w.be16(TCA_MPLS_PROTO, *protocol);
            w.u32(TCA_MPLS_LABEL, lse >> 12);
            let [.., high, ttl] = lse.to_be_bytes();
            w.u8(TCA_MPLS_TC, high >> 1 & 7);
            w.u8(TCA_MPLS_TTL, ttl);
            w.u8(TCA_MPLS_BOS, high & 1);
        }
        TcAction::Pedit(words) => pedit(w, control, words),
        TcAction::Csum(flags) => parms(w, TCA_CSUM_PARMS, control, &[*flags]),
    }
}

/// Writes `tc_gen` (index, capabilities, control, two reference counts) and the action's own
/// words.
fn parms(w: &mut Writer, kind: u16, control: u32, more: &[u32]) {
    let start = w.attr(kind);
    tc_gen(w, control);
    more.iter().for_each(|word| w.raw(&word.to_ne_bytes()));
    w.end(start);
}

fn tc_gen(w: &mut Writer, control: u32) {
    [0, 0, control, 0, 0].iter().for_each(|word: &u32| w.raw(&word.to_ne_bytes()));
}

fn pedit(w: &mut Writer, control: u32, words: &[PeditWord]) {
    let start = w.attr(TCA_PEDIT_PARMS_EX);
    tc_gen(w, control);
    // Translation refuses more words than a byte can count.
    w.raw(&[u8::try_from(words.len()).unwrap_or(u8::MAX), 0, 0, 0]);
    for word in words {
        // The kernel's mask has the bits that are kept. Mask and value are in network byte order.
        let kept = word.mask.map(|byte| !byte);
        w.raw(&kept);
        w.raw(&word.value);
        w.raw(&word.offset.to_ne_bytes());
        w.raw(&[0; 12]);
    }
    w.end(start);
    let headers = w.nest(TCA_PEDIT_KEYS_EX);
    for word in words {
        let key = w.nest(TCA_PEDIT_KEY_EX);
        w.u16(TCA_PEDIT_KEY_EX_HTYPE, word.header as u16);
        w.u16(TCA_PEDIT_KEY_EX_CMD, TCA_PEDIT_KEY_EX_CMD_SET);
        w.end(key);
    }
    w.end(headers);
}

#[cfg(test)]
mod tests;
