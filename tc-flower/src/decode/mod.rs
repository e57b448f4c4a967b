//! Decodes a filter that the kernel shows back to its megaflow.
//!
//! A filter is read strictly: if it has an attribute that we would not have written, it does not
//! count as ours. The decoded megaflow is translated again and compared with the filter, and its
//! ufid is compared with the cookie.

mod action;
mod content;
mod key;
mod stats;

use crate::cookie::Cookie;
use crate::encode::Location;
use crate::netlink::consts::{
    TC_H_INGRESS_FILTERS, TC_H_INGRESS_MAJOR, TCA_ACT_USED_HW_STATS, TCA_CHAIN,
    TCA_CLS_FLAGS_IN_HW, TCA_FLOWER_ACT, TCA_FLOWER_FLAGS, TCA_KIND, TCA_OPTIONS,
};
use crate::netlink::{Malformed, NlAttrs, TcMsg, read};

pub(crate) use content::{Content, Foreign};
pub(crate) use stats::FilterCounters;

/// The parts of a filter message that every filter has, ours or not.
#[derive(Clone, Debug)]
pub(crate) struct Filter<'a> {
    pub(crate) at: Location,
    pub(crate) protocol: u16,
    /// `TCA_KIND` with its final zero.
    kind: &'a [u8],
    options: Option<NlAttrs<'a>>,
}

/// The state of a flower filter apart from its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    /// `None` if the filter is not ours.
    pub(crate) cookie: Option<Cookie>,
    /// True if the kernel says that the filter is in hardware.
    pub(crate) in_hw: bool,
    /// True if the driver answered when it was asked for statistics of this filter.
    pub(crate) answered: bool,
    pub(crate) counted: FilterCounters,
}

impl<'a> Filter<'a> {
    /// Reads the payload of a filter message; `None` for a filter that is not on ingress.
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Option<Filter<'a>>, Malformed> {
        let message = TcMsg::parse(payload)?;
        if !matches!(message.parent, TC_H_INGRESS_FILTERS | TC_H_INGRESS_MAJOR) {
            return Ok(None);
        }
        let mut filter = Filter {
            at: Location {
                ifindex: message.ifindex,
                chain: 0,
                priority: message.priority,
                handle: message.handle,
            },
            protocol: message.protocol,
            kind: b"",
            options: None,
        };
        for attr in message.attrs {
            let attr = attr?;
            match attr.kind {
                TCA_KIND => filter.kind = attr.payload,
                TCA_CHAIN => filter.at.chain = attr.u32()?,
                TCA_OPTIONS => filter.options = Some(attr.nested()),
                _ => {}
            }
        }
        Ok(Some(filter))
    }

    fn is_flower(&self) -> bool {
        self.kind == b"flower\0"
    }

    /// Returns the classifier: `flower`, `u32`, `matchall`, …
    pub(crate) fn kind(&self) -> String {
        read::text(self.kind)
    }

    /// Reads cookie, hardware state and statistics.
    pub(crate) fn summary(&self) -> Result<Summary, Malformed> {
        let mut summary = Summary::default();
        let Some(options) = self.options.clone().filter(|_| self.is_flower()) else {
            return Ok(summary);
        };
        for attr in options {
            let attr = attr?;
            match attr.kind {
                TCA_FLOWER_FLAGS => {
                    let flags = attr.u32()?;
                    summary.in_hw = flags & TCA_CLS_FLAGS_IN_HW != 0;
                }
                TCA_FLOWER_ACT => {
                    for (order, action) in attr.nested().enumerate() {
                        let action = action?.nested();
                        if order == 0 {
                            summary.cookie = action::cookie(action.clone())?;
                        }
                        summary.answered |= action.clone().find(TCA_ACT_USED_HW_STATS)?.is_some();
                        summary.counted = summary.counted.most(stats::of_action(action)?);
                    }
                }
                _ => {}
            }
        }
        Ok(summary)
    }
}

#[cfg(test)]
mod tests;
