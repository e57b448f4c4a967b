//! Probes what kernel and driver take: filters that no packet hits are installed and removed at
//! once, one at a time, so that one free slot in the card is enough.

mod cases;

use std::collections::BTreeSet;

use flow::{Detail, Generation, Megaflow, PortId, Reason, Refusal, Subject, odp};

use crate::cookie::Cookie;
use crate::decode::Filter;
use crate::encode::{self, Location};
use crate::feature::{self, Features};
use crate::netlink::consts::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, RTM_DELTFILTER, RTM_NEWTFILTER,
};
use crate::netlink::{Nack, NetlinkError, RequestOutcome, RequestSocket, Transport};
use crate::rule::Rule;
use crate::translate::{PortDevice, Target, translate};

/// Highest priorities to try, because drivers and older firmware take fewer than tc's 65,535. The
/// first is below the priorities that the kernel assigns by itself.
const TOPS: [u16; 5] = [0xbfff, 4095, 255, 16, 1];
/// The handle of a probe's filter. With a fixed handle the removal need not wait for the kernel's
/// choice.
const HANDLE: u32 = 0x4d46;

/// The result of a probe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probed {
    pub(crate) features: Features,
    /// The highest priority that the driver takes.
    pub(crate) top: u16,
    /// True if the driver answers when it is asked for statistics. If it later gives no answer
    /// for a filter, the hardware has lost that filter.
    pub(crate) answers: bool,
    /// The reason why nothing can be offloaded on the interface, if that is so.
    pub(crate) unusable: Option<Refusal>,
}

/// Probes the driver of the port's interface. `output` is another port of the switch; priorities
/// in `avoid` are in use. `alike` holds the features of a port of the same kind and driver: with
/// it only the plainest filters are tried.
pub(crate) fn probe<T: Transport>(
    client: &mut RequestSocket<T>,
    target: &Target,
    port: PortId,
    output: PortId,
    avoid: &BTreeSet<u16>,
    alike: Option<&Features>,
) -> Result<Probed, NetlinkError> {
    let mut probed = Probed::default();
    let filters = filters(target, port, output);
    let mut refusal = None;
    // The first filters are the plainest.
    let free = |top: u16| (1..=top).rev().find(|priority| !avoid.contains(priority));
    for top in TOPS.into_iter().filter_map(free) {
        let tries: Vec<_> = filters.iter().take(2).map(|filter| (filter, top)).collect();
        for answer in ask(client, &tries)? {
            match answer {
                Answer::Taken { answers } => (probed.top, probed.answers) = (top, answers),
                Answer::Refused(nack) if nack.errno == libc::ENOSPC => {
                    probed.features.unknown = true;
                    probed.top = top;
                }
                Answer::Refused(nack) => refusal = refusal.or(Some(nack)),
            }
        }
        if probed.top != 0 {
            break;
        }
    }
    if probed.top == 0 {
        let why = refusal.map_or(Detail::Words(&"every priority is taken"), |nack| {
            Detail::Said(nack.to_string().into())
        });
        probed.unusable = Some(Refusal::new(Reason::Device, Subject::Tc).detail(why));
        return Ok(probed);
    }
    if probed.features.unknown {
        return Ok(probed);
    }
    if let Some(alike) = alike {
        probed.features = alike.clone();
        return Ok(probed);
    }
    let below: Vec<u16> = (1..=probed.top).rev().filter(|p| !avoid.contains(p)).collect();
    let priorities = below.iter().cycle();
    let tries: Vec<_> = filters.iter().zip(priorities.copied()).collect();
    for (filter, answer) in filters.iter().zip(ask(client, &tries)?) {
        let features = feature::of(&filter.rule);
        match answer {
            Answer::Taken { .. } => probed.features.taken(&features),
            Answer::Refused(nack) => probed.features.refused(&features, &nack.to_string().into()),
        }
    }
    Ok(probed)
}

/// Returns the features of a driver that takes everything that translation can write.
pub(crate) fn everything() -> Features {
    let device = |ifindex| PortDevice { ifindex, name: String::new(), switch_id: String::new() };
    let ports = [(PortId(1), device(1)), (PortId(2), device(2))].into();
    let target = Target { ports, recirculation: true };
    let mut features = Features { unknown: true, ..Features::default() };
    for filter in filters(&target, PortId(1), PortId(2)) {
        features.taken(&feature::of(&filter.rule));
    }
    features
}

/// A filter to try.
struct Filtered {
    rule: Rule,
    cookie: Cookie,
}

/// Makes the filters of all cases for one port.
fn filters(target: &Target, port: PortId, output: PortId) -> Vec<Filtered> {
    let cases = cases::CASES.iter().chain(cases::CHAIN_CASES.iter());
    let made = (0u16..).zip(cases).filter_map(|(number, (keys, actions))| {
        let flow = megaflow(number, keys, actions, port, output)?;
        let rule = translate(&flow, target).ok()?;
        Some(Filtered { cookie: Cookie::new(flow.ufid, Generation(0), rule.implied), rule })
    });
    made.collect()
}

/// Makes the megaflow of one case.
fn megaflow(
    number: u16,
    keys: &str,
    actions: &str,
    port: PortId,
    output: PortId,
) -> Option<Megaflow> {
    let [high, low] = number.to_be_bytes();
    let address = format!("03:00:4d:{high:02x}:{low:02x}:42");
    let eth = if keys.starts_with("eth(") { "" } else { "eth(src=@)," };
    let text = format!("in_port({port}),{eth}{keys}").replace('@', &address);
    let matching = odp::parse_match(&text).ok()?;
    let actions = match actions {
        "" => [].into(),
        actions => odp::parse_actions(&actions.replace('#', &output.to_string())).ok()?,
    };
    Some(Megaflow::new(matching, actions))
}

enum Answer {
    Taken { answers: bool },
    Refused(Nack),
}

/// Installs each filter and removes it before the next one.
fn ask<T: Transport>(
    client: &mut RequestSocket<T>,
    tries: &[(&Filtered, u16)],
) -> Result<Vec<Answer>, NetlinkError> {
    let mut batch = client.batch();
    for (filter, priority) in tries {
        let flags = NLM_F_ACK | NLM_F_ECHO | NLM_F_CREATE | NLM_F_EXCL;
        batch.add(RTM_NEWTFILTER, flags, |w| {
            encode::install(w, &filter.rule, *priority, HANDLE, filter.cookie);
        })?;
        let Rule { ifindex, chain, protocol, .. } = filter.rule;
        let at = Location { ifindex, chain, priority: *priority, handle: HANDLE };
        batch.add(RTM_DELTFILTER, NLM_F_ACK, |w| encode::remove(w, &at, protocol))?;
    }
    let mut shown = vec![None; batch.len()];
    let outcomes = client.transact(&batch, &mut |index, message| {
        let filter = Filter::parse(message.payload).ok().flatten();
        shown[index] = filter.and_then(|filter| filter.summary().ok());
    })?;
    let answers = outcomes.chunks(2).zip(shown.chunks(2)).map(|(outcomes, shown)| {
        let not = |text: &str| Answer::Refused(Nack { errno: libc::EOPNOTSUPP, text: text.into() });
        match (&outcomes[0], &shown[0]) {
            (RequestOutcome::Done, Some(shown)) if shown.in_hw => {
                Answer::Taken { answers: shown.answered }
            }
            (RequestOutcome::Done, Some(_)) => {
                not("the kernel does not say that it is in hardware")
            }
            (RequestOutcome::Done, None) | (RequestOutcome::Unknown, _) => {
                not("the kernel gave no answer")
            }
            (RequestOutcome::Refused(nack), _) => Answer::Refused(nack.clone()),
        }
    });
    Ok(answers.collect())
}

#[cfg(test)]
mod tests;
