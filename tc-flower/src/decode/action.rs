//! Reads tc actions as the kernel shows them, and turns them back into the megaflow's actions.

use std::collections::BTreeMap;

use flow::{Action, Attr as OdpAttr, PortId, RecircId, SetFields, VLAN_PRESENT};

use crate::cookie::Cookie;
use crate::netlink::consts::*;
use crate::netlink::read::{array, u16_at, u32_at};
use crate::netlink::{Malformed, NlAttrs};
use crate::rule::{Header, PeditWord, TcAction};
use crate::translate::words_to_fields;

/// Returns the cookie among the attributes of an action, if it is one of ours.
pub(super) fn cookie(action: NlAttrs<'_>) -> Result<Option<Cookie>, Malformed> {
    let cookie = action.find(TCA_ACT_COOKIE)?;
    Ok(cookie.and_then(|cookie| Cookie::from_bytes(cookie.payload)))
}

/// Returns all actions of a filter; `None` if the filter has an action that we never write.
pub(super) fn list(actions: NlAttrs<'_>) -> Option<Vec<TcAction>> {
    actions
        .map(|attr| {
            let attrs = attr.ok()?.nested();
            let kind = attrs.clone().find(TCA_ACT_KIND).ok()??.text();
            let options = attrs.find(TCA_ACT_OPTIONS).ok()??.nested();
            one(&kind, options)
        })
        .collect()
}

fn one(kind: &str, options: NlAttrs<'_>) -> Option<TcAction> {
    let action = match kind {
        "gact" => gact(&options)?,
        "mirred" => mirred(&options)?,
        "vlan" => vlan(&options)?,
        "mpls" => mpls(&options)?,
        "pedit" => return pedit(&options),
        "csum" => TcAction::Csum(word(&options, TCA_CSUM_PARMS, 20)?),
        _ => return None,
    };
    let parms = match kind {
        "csum" => TCA_CSUM_PARMS,
        // All other actions have the same number for this attribute.
        _ => TCA_GACT_PARMS,
    };
    (word(&options, parms, 8)? == action.control()).then_some(action)
}

/// Reads a 32-bit word of a structure.
fn word(options: &NlAttrs<'_>, kind: u16, at: usize) -> Option<u32> {
    u32_at(options.clone().find(kind).ok()??.payload, at).ok()
}

fn gact(options: &NlAttrs<'_>) -> Option<TcAction> {
    match word(options, TCA_GACT_PARMS, 8)? {
        TC_ACT_SHOT => Some(TcAction::Drop),
        control if control & !TC_ACT_EXT_VAL_MASK == TC_ACT_GOTO_CHAIN => {
            Some(TcAction::Goto { chain: control & TC_ACT_EXT_VAL_MASK })
        }
        _ => None,
    }
}

fn mirred(options: &NlAttrs<'_>) -> Option<TcAction> {
    let ifindex = word(options, TCA_MIRRED_PARMS, 24)?;
    match word(options, TCA_MIRRED_PARMS, 20)? {
        TCA_EGRESS_REDIR => Some(TcAction::Redirect { ifindex }),
        TCA_EGRESS_MIRROR => Some(TcAction::Mirror { ifindex }),
        _ => None,
    }
}

fn vlan(options: &NlAttrs<'_>) -> Option<TcAction> {
    match word(options, TCA_VLAN_PARMS, 20)? {
        TCA_VLAN_ACT_POP => Some(TcAction::VlanPop),
        TCA_VLAN_ACT_PUSH => {
            let find = |kind| options.clone().find(kind).ok()?;
            let pcp = find(TCA_VLAN_PUSH_VLAN_PRIORITY).map_or(Some(0), |attr| attr.u8().ok())?;
            Some(TcAction::VlanPush {
                tpid: find(TCA_VLAN_PUSH_VLAN_PROTOCOL)?.be16().ok()?,
                vid: find(TCA_VLAN_PUSH_VLAN_ID)?.u16().ok()?,
                pcp,
            })
        }
        _ => None,
    }
}

fn mpls(options: &NlAttrs<'_>) -> Option<TcAction> {
    let find = |kind| options.clone().find(kind).ok()?;
    let protocol = find(TCA_MPLS_PROTO)?.be16().ok()?;
    match word(options, TCA_MPLS_PARMS, 20)? {
        TCA_MPLS_ACT_POP => Some(TcAction::MplsPop { protocol }),
        TCA_MPLS_ACT_PUSH => {
            let byte = |kind| Some(u32::from(find(kind)?.u8().ok()?));
            let label = find(TCA_MPLS_LABEL)?.u32().ok()?;
            let (tc, bos) = (byte(TCA_MPLS_TC)?, byte(TCA_MPLS_BOS)?);
            if label > 0xf_ffff || tc > 7 || bos > 1 {
                return None;
            }
            let lse = label << 12 | tc << 9 | bos << 8 | byte(TCA_MPLS_TTL)?;
            Some(TcAction::MplsPush { lse, protocol })
        }
        _ => None,
    }
}

fn pedit(options: &NlAttrs<'_>) -> Option<TcAction> {
    let parms = options.clone().find(TCA_PEDIT_PARMS_EX).ok()??.payload;
    let headers = options.clone().find(TCA_PEDIT_KEYS_EX).ok()??;
    let count = usize::from(*parms.get(20)?);
    if u32_at(parms, 8).ok()? != TC_ACT_PIPE {
        return None;
    }
    let headers: Option<Vec<Header>> = headers.nested().map(|key| header(key.ok()?)).collect();
    let headers = headers.filter(|headers| headers.len() == count)?;
    let words = headers.into_iter().enumerate().map(|(index, header)| {
        // A pedit key has the kept bits, the new bits, the offset, and three words that we leave
        // zero.
        let key: [u8; 24] = array(parms, 24 + 24 * index).ok()?;
        if key[12..] != [0; 12] {
            return None;
        }
        let kept: [u8; 4] = array(&key, 0).ok()?;
        Some(PeditWord {
            header,
            offset: u32_at(&key, 8).ok()?,
            value: array(&key, 4).ok()?,
            mask: kept.map(|byte| !byte),
        })
    });
    words.collect::<Option<Vec<_>>>().map(TcAction::Pedit)
}

fn header(key: crate::netlink::read::NlAttr<'_>) -> Option<Header> {
    let number = |kind| u16_at(key.nested().find(kind).ok()??.payload, 0).ok();
    if number(TCA_PEDIT_KEY_EX_CMD)? != TCA_PEDIT_KEY_EX_CMD_SET {
        return None;
    }
    Header::from_number(number(TCA_PEDIT_KEY_EX_HTYPE)?)
}

/// Returns the actions of the megaflow. `csum` actions are left out, because they follow from the
/// others; translating the megaflow again shows whether they were right.
pub(super) fn megaflow_actions(
    actions: &[TcAction],
    ports: &BTreeMap<u32, PortId>,
) -> Option<Vec<Action>> {
    let back = |action: &TcAction| {
        Some(Some(match action {
            TcAction::Drop | TcAction::Csum(_) => return Some(None),
            TcAction::Redirect { ifindex } | TcAction::Mirror { ifindex } => {
                Action::Output(*ports.get(ifindex)?)
            }
            TcAction::Goto { chain } => Action::Recirc(RecircId(*chain)),
            TcAction::VlanPush { tpid, vid, pcp } => {
                Action::PushVlan { tpid: *tpid, tci: VLAN_PRESENT | *vid | u16::from(*pcp) << 13 }
            }
            TcAction::VlanPop => Action::PopVlan,
            TcAction::MplsPush { lse, protocol } => {
                Action::PushMpls { lse: *lse, eth_type: *protocol }
            }
            TcAction::MplsPop { protocol } => Action::PopMpls { eth_type: *protocol },
            TcAction::Pedit(words) => set(words)?,
        }))
    };
    let actions: Option<Vec<Option<Action>>> = actions.iter().map(back).collect();
    Some(actions?.into_iter().flatten().collect())
}

fn set(words: &[PeditWord]) -> Option<Action> {
    let (attr, protocol) = match words.first()?.header {
        Header::Ethernet => (OdpAttr::Eth, 0),
        Header::Ipv4 => (OdpAttr::Ipv4, 4),
        Header::Ipv6 => (OdpAttr::Ipv6, 6),
        Header::Tcp => (OdpAttr::Transport, 6),
        Header::Udp => (OdpAttr::Transport, 17),
    };
    let (value, mask) = words_to_fields(words)?;
    Some(Action::Set(Box::new(SetFields { attr, protocol, value, mask })))
}
