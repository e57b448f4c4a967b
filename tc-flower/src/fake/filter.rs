//! A filter as the imitation of the kernel stores it and shows it.

use flow::{Clock, Moment};

use crate::encode::Location;
use crate::netlink::consts::*;
use crate::netlink::read::filter_info;
use crate::netlink::{NlAttrs, TcMsg, Writer};
use crate::translate::is_tpid;

const ETH_TYPE: u16 = 8;
const VLAN_TYPE: u16 = 25;
const CVLAN_TYPE: u16 = 79;
const IP_TOS: u16 = 73;

#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) flower: bool,
    pub(crate) chain: u32,
    pub(crate) protocol: u16,
    pub(crate) keys: Vec<(u16, Vec<u8>)>,
    /// The attributes of each action.
    pub(crate) actions: Vec<Vec<(u16, Vec<u8>)>>,
    pub(crate) in_hw: bool,
    /// True if the hardware lost the filter: the driver no longer answers for it.
    pub(crate) lost: bool,
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
    pub(crate) last_use: Option<Use>,
}

/// When a filter was used last, and the clock that tells how long ago that is.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(super) clock: Clock,
    pub(super) at: Moment,
}

impl Stored {
    /// Makes a filter from the body of a request.
    pub(crate) fn parse(tc: &TcMsg<'_>) -> Stored {
        let mut stored = Stored { protocol: tc.protocol, in_hw: true, ..Stored::default() };
        for (kind, payload) in pairs(tc.attrs.clone()) {
            match kind {
                TCA_KIND => stored.flower = payload == b"flower\0",
                TCA_CHAIN => stored.chain = u32::from_ne_bytes(payload.try_into().unwrap()),
                TCA_OPTIONS => stored.options(&payload),
                other => panic!("attribute {other}"),
            }
        }
        stored
    }

    fn options(&mut self, options: &[u8]) {
        for (kind, payload) in pairs(NlAttrs(options)) {
            match kind {
                TCA_FLOWER_ACT => {
                    let list = pairs(NlAttrs(&payload));
                    self.actions = list.iter().map(|(_, action)| pairs(NlAttrs(action))).collect();
                }
                TCA_FLOWER_FLAGS => assert_eq!(payload, TCA_CLS_FLAGS_SKIP_SW.to_ne_bytes()),
                _ => self.keys.push((kind, payload)),
            }
        }
    }

    /// The bytes of the cookie, if the filter has one.
    pub(super) fn cookie(&self) -> Option<Vec<u8>> {
        let cookie = self.actions.first()?.iter().find(|attr| attr.0 == TCA_ACT_COOKIE);
        cookie.map(|attr| attr.1.clone())
    }

    /// Cuts off the actions that send packets to an interface that was deleted.
    pub(crate) fn cut_off(&mut self, ifindex: u32) {
        let mirred = (TCA_ACT_KIND, b"mirred\0".to_vec());
        for action in self.actions.iter_mut().filter(|action| action.contains(&mirred)) {
            let options = action.iter_mut().filter(|attr| attr.0 == TCA_ACT_OPTIONS);
            for (_, options) in options {
                // The options are one attribute, whose `struct tc_mirred` ends with the
                // interface.
                let at = options.len() - 4;
                if options[at..] == ifindex.to_ne_bytes() {
                    options[at..].fill(0);
                }
            }
        }
    }

    pub(crate) fn has_action(&self, kind: &str) -> bool {
        let name = format!("{kind}\0").into_bytes();
        self.actions.iter().any(|action| action.contains(&(TCA_ACT_KIND, name.clone())))
    }

    /// Writes the body of a message that shows the filter.
    pub(crate) fn show(&self, w: &mut Writer, at: Location) {
        self.show_with(w, at, false);
    }

    pub(crate) fn show_with(&self, w: &mut Writer, at: Location, distort: bool) {
        let info = filter_info(at.priority, self.protocol);
        w.tcmsg(at.ifindex, at.handle, TC_H_INGRESS_FILTERS, info);
        w.text(TCA_KIND, if self.flower { "flower" } else { "u32" });
        w.u32(TCA_CHAIN, at.chain);
        let options = w.nest(TCA_OPTIONS);
        let hardware = if self.in_hw { TCA_CLS_FLAGS_IN_HW } else { TCA_CLS_FLAGS_NOT_IN_HW };
        if !self.flower {
            w.u32(TCA_U32_FLAGS, hardware);
            w.end(options);
            return;
        }
        for (kind, payload) in &self.shown_keys() {
            match *kind {
                IP_TOS if distort => w.u8(IP_TOS, 0xfc),
                kind => w.bytes(kind, payload),
            }
        }
        w.u32(TCA_FLOWER_FLAGS, TCA_CLS_FLAGS_SKIP_SW | hardware);
        w.u32(TCA_FLOWER_IN_HW_COUNT, u32::from(self.in_hw));
        let list = w.nest(TCA_FLOWER_ACT);
        for (order, action) in (1..).zip(&self.actions) {
            let nest = w.nest(order);
            self.show_action(w, action);
            w.end(nest);
        }
        w.end(list);
        w.end(options);
    }

    /// Returns the keys as the kernel shows them: `ETH_TYPE` has the innermost EtherType.
    fn shown_keys(&self) -> Vec<(u16, Vec<u8>)> {
        let find = |kind| self.keys.iter().find(|key| key.0 == kind).map(|key| key.1.clone());
        let tag = |kind| find(kind).filter(|v| is_tpid(u16::from_be_bytes([v[0], v[1]]))).is_some();
        let innermost = match (tag(ETH_TYPE), tag(VLAN_TYPE)) {
            (false, _) => find(ETH_TYPE),
            (true, false) => find(VLAN_TYPE),
            (true, true) => find(CVLAN_TYPE),
        };
        let mut keys = self.keys.clone();
        keys.retain(|key| key.0 != ETH_TYPE);
        keys.extend(innermost.map(|eth_type| (ETH_TYPE, eth_type)));
        // The kernel shows the keys in its own order, not in that of the request.
        keys.sort();
        keys
    }

    fn show_action(&self, w: &mut Writer, action: &[(u16, Vec<u8>)]) {
        for (kind, payload) in action {
            if *kind != TCA_ACT_OPTIONS {
                w.bytes(*kind, payload);
                continue;
            }
            let options = w.nest(TCA_ACT_OPTIONS);
            w.raw(payload);
            // `struct tcf_t`: installed 5 s ago, used 2 s ago if nothing else is known.
            let since = |last: &Use| last.clock.now().since(last.at).as_millis() / 10;
            let idle = self.last_use.as_ref().map_or(200, since);
            let idle = u64::try_from(idle).unwrap_or(u64::MAX);
            let kind = action.iter().find(|attr| attr.0 == TCA_ACT_KIND);
            let csum = kind.is_some_and(|attr| attr.1 == b"csum\0");
            let times = w.attr(if csum { TCA_CSUM_TM } else { TCA_GACT_TM });
            [500u64, idle, 0, 500].iter().for_each(|ticks| w.raw(&ticks.to_ne_bytes()));
            w.end(times);
            w.end(options);
        }
        let stats = w.nest(TCA_ACT_STATS);
        for record in [TCA_STATS_BASIC, TCA_STATS_BASIC_HW] {
            let basic = w.attr(record);
            w.raw(&self.bytes.to_ne_bytes());
            w.raw(&self.packets.to_ne_bytes());
            w.raw(&[0; 4]);
            w.end(basic);
        }
        w.end(stats);
        if !self.lost && self.in_hw {
            w.bytes(TCA_ACT_USED_HW_STATS, &[2, 0, 0, 0, 3, 0, 0, 0]);
        }
    }
}

/// A change of the list of filters.
pub(crate) enum Change {
    Add(Location, Stored),
    Remove(Location),
}

/// Returns the attributes of a nest as pairs of kind and payload.
fn pairs(attrs: NlAttrs<'_>) -> Vec<(u16, Vec<u8>)> {
    attrs.map(|attr| attr.map(|attr| (attr.kind, attr.payload.to_vec())).unwrap()).collect()
}
