//! The match and actions of a filter. Our own filters are decoded strictly; of other tools'
//! filters only the match is decoded, as far as it is understood.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use flow::{Key, Mask, Match, Megaflow, PortId};

use super::{Filter, action, key};
use crate::cookie::Cookie;
use crate::encode::Location;
use crate::netlink::consts::{
    TCA_BPF_FLAGS_GEN, TCA_CLS_FLAGS_IN_HW, TCA_CLS_FLAGS_NOT_IN_HW, TCA_CLS_FLAGS_SKIP_SW,
    TCA_FLOWER_ACT, TCA_FLOWER_FLAGS, TCA_FLOWER_IN_HW_COUNT, TCA_MATCHALL_FLAGS, TCA_U32_FLAGS,
};
use crate::rule::{Rule, TcAction};
use crate::translate::{Target, translate};

/// Key, mask and actions of a filter that has only attributes that we write. The port is left
/// out, because the interface is part of the filter's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pub(crate) key: Key,
    pub(crate) mask: Mask,
    pub(crate) actions: Vec<TcAction>,
}

impl Content {
    /// Returns a hash that is equal for two filters with the same match and actions.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.key, &self.mask, &self.actions).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns true if the filter sends packets to an interface that was deleted. The kernel shows
    /// such a redirect as one to interface 0, and never attaches it to an interface again.
    pub(crate) fn is_headless(&self) -> bool {
        self.actions.iter().any(|action| {
            matches!(action, TcAction::Redirect { ifindex: 0 } | TcAction::Mirror { ifindex: 0 })
        })
    }
}

/// A filter that is not ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Foreign {
    pub(crate) at: Location,
    pub(crate) protocol: u16,
    pub(crate) kind: String,
    /// True if the kernel says that the filter is in hardware. A filter in software only takes no
    /// packet from a filter of ours in hardware, because the hardware handles the packet before
    /// tc sees it.
    pub(crate) in_hw: bool,
    /// A match that covers every packet that the filter matches, and perhaps more: keys that are
    /// not understood are taken as wild.
    pub(crate) matching: Match,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} filter {} protocol {:#06x}", self.kind, self.at, self.protocol)
    }
}

impl Filter<'_> {
    /// Returns the filter's content. `implied` comes from its cookie. Returns `None` if the
    /// filter has an attribute that we do not write.
    pub(crate) fn content(&self, implied: u16) -> Option<Content> {
        let mut keys = key::FilterKeys::new(PortId(0), self.at.chain, self.protocol, implied);
        let mut actions = Vec::new();
        for attr in self.options.clone().filter(|_| self.is_flower())? {
            let attr = attr.ok()?;
            match attr.kind {
                TCA_FLOWER_ACT => actions = action::list(attr.nested())?,
                TCA_FLOWER_FLAGS => {
                    let known = TCA_CLS_FLAGS_IN_HW | TCA_CLS_FLAGS_NOT_IN_HW;
                    if attr.u32().ok()? & !known != TCA_CLS_FLAGS_SKIP_SW {
                        return None;
                    }
                }
                TCA_FLOWER_IN_HW_COUNT => {}
                _ => keys.attribute(attr)?,
            }
        }
        let (key, mask) = keys.finish()?;
        Some(Content { key, mask, actions })
    }

    /// Returns the megaflow and the filter that it translates to; `None` if that is not exactly
    /// the filter that was read.
    pub(crate) fn megaflow(
        &self,
        cookie: &Cookie,
        ports: &BTreeMap<u32, PortId>,
        target: &Target,
    ) -> Option<(Megaflow, Rule)> {
        let port = ports.get(&self.at.ifindex)?;
        let Content { mut key, mask, actions } = self.content(cookie.implied)?;
        key.in_port = port.0;
        let flow_actions = action::megaflow_actions(&actions, ports)?;
        let flow = Megaflow::new(Match::new(&key, &mask), flow_actions);
        let again = translate(&flow, target).ok()?;
        let same = again.actions == actions && again.protocol == self.protocol;
        (same && cookie.is_of(flow.ufid)).then_some((flow, again))
    }

    /// Reads the filter as another tool's, on the interface of that port.
    pub(crate) fn foreign(&self, port: PortId) -> Foreign {
        let keys = || key::FilterKeys::new(port, self.at.chain, self.protocol, 0);
        let mut named = keys();
        for attr in self.options.clone().filter(|_| self.is_flower()).into_iter().flatten() {
            // A key that is left out makes the match wider.
            let _ = attr.map(|attr| named.attribute(attr));
        }
        let wild = Key { in_port: port.0, recirc_id: self.at.chain, ..Key::default() };
        let understood = named.finish().or_else(|| keys().finish());
        let (key, mask) = understood.unwrap_or((wild, Mask::default()));
        Foreign {
            at: self.at,
            protocol: self.protocol,
            kind: self.kind(),
            in_hw: self.in_hw(),
            matching: Match::new(&key, &mask),
        }
    }

    /// Returns true if the classifier's flags say that the filter is in hardware.
    fn in_hw(&self) -> bool {
        let flags = match self.kind {
            b"flower\0" => TCA_FLOWER_FLAGS,
            b"matchall\0" => TCA_MATCHALL_FLAGS,
            b"u32\0" => TCA_U32_FLAGS,
            b"bpf\0" => TCA_BPF_FLAGS_GEN,
            _ => return false,
        };
        let attr = self.options.clone().and_then(|options| options.find(flags).ok().flatten());
        attr.and_then(|attr| attr.u32().ok()).is_some_and(|flags| flags & TCA_CLS_FLAGS_IN_HW != 0)
    }
}
