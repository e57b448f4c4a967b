//! The three sets of books: what the functions sent, what the daemon says, what tc says.

use std::time::Duration;

use flow::Counters;
use megaflow::control::view::{Count, Flow};
use serde_json::Value;

use super::rig::{FUNCTIONS, REPRESENTORS};
use super::traffic;
use crate::check::{Failure, Outcome, WithContext};
use crate::daemon::Daemon;
use crate::guest;

/// A statistics pass comes every half second; the machine is slow.
const SETTLE: Duration = Duration::from_secs(8);

/// What the functions sent up to a moment before a daemon.
#[derive(Clone, Copy)]
pub(super) struct Baseline {
    before: Counters,
}

/// What both functions have sent.
pub(super) fn sent() -> Outcome<Counters> {
    let mut sum = Counters::default();
    for (namespace, dev) in FUNCTIONS {
        sum += traffic::counters(namespace, dev)?.sent;
    }
    Ok(sum)
}

/// What the host has seen of it.
pub(super) fn came_up() -> Outcome<u64> {
    REPRESENTORS.iter().map(|dev| guest::came_up(dev)).sum()
}

impl Baseline {
    /// From now on.
    pub(super) fn open() -> Outcome<Baseline> {
        Ok(Baseline { before: sent()? })
    }

    /// What the functions have sent since.
    pub(super) fn offered(&self) -> Outcome<Counters> {
        sent()?.since(self.before).ok_or_else(|| Failure::new("the functions' counters went back"))
    }

    /// Waits until the daemon accounts for every packet and byte that the functions sent, in
    /// silence. Of removed megaflows too: the sums of the conservation line have them.
    pub(super) fn balance(&self, daemon: &Daemon) -> Outcome {
        let mut offered = Counters::default();
        let result = guest::wait_for("the sum of all hits is what was sent", SETTLE, || {
            offered = self.offered()?;
            Ok(self.accounted(daemon)? == offered && self.offered()? == offered)
        });
        result.map_err(|failure| match daemon.state() {
            Ok(state) => {
                let balance = state.conservation;
                Failure::new(format!("{failure}: sent {offered:?}, accounted for {balance:?}"))
            }
            Err(other) => other,
        })
    }

    /// Hits in the NIC and on the host, and what hit nothing.
    pub(super) fn accounted(&self, daemon: &Daemon) -> Outcome<Counters> {
        let balance = daemon.state()?.conservation;
        Ok(count(balance.nic) + count(balance.host) + count(balance.unmatched))
    }
}

pub(super) fn count(from: Count) -> Counters {
    Counters { packets: from.packets, bytes: from.bytes }
}

/// Hits of all megaflows together, in the NIC and on the host.
pub(super) fn hits(flows: &[Flow]) -> (Counters, Counters) {
    let nic = flows.iter().map(|flow| count(flow.nic)).sum();
    (nic, flows.iter().map(|flow| count(flow.host)).sum())
}

/// A filter as tc shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TcFilter {
    pub(super) dev: &'static str,
    pub(super) priority: u64,
    pub(super) handle: u64,
    pub(super) protocol: String,
    pub(super) in_hw: bool,
    /// As hex, of its first action.
    pub(super) cookie: String,
    /// "Sent hardware": packets and bytes.
    pub(super) hardware: Counters,
}

impl TcFilter {
    /// Returns true if the rule is that megaflow's: its cookie has the first half of the ufid.
    pub(super) fn is_of(&self, flow: &Flow) -> bool {
        let digits: String = flow.ufid.chars().filter(char::is_ascii_hexdigit).collect();
        // "ufid:" has two hex digits of its own.
        let half = digits.strip_prefix("fd").and_then(|digits| digits.get(..16));
        half.is_some_and(|half| self.cookie.ends_with(half))
    }

    /// Without counters: which filter it is.
    pub(super) fn identity(&self) -> TcFilter {
        TcFilter { hardware: Counters::default(), ..self.clone() }
    }

    /// Takes it out as an operator would.
    pub(super) fn delete(&self) -> Outcome {
        let TcFilter { dev, priority, handle, protocol, .. } = self;
        guest::run(&format!(
            "tc filter del dev {dev} ingress protocol {protocol} pref {priority} handle {handle} \
             flower"
        ))
        .map(drop)
    }
}

/// All filters on the representors with an action, ours and others'.
pub(super) fn filters() -> Outcome<Vec<TcFilter>> {
    let mut all = Vec::new();
    for dev in REPRESENTORS {
        let text = guest::run(&format!("tc -j -s filter show dev {dev} ingress"))?;
        let list: Value = serde_json::from_str(&text).context(&text)?;
        let list = list.as_array().cloned().unwrap_or_default();
        all.extend(list.iter().filter_map(|filter| read(dev, filter)));
    }
    Ok(all)
}

fn read(dev: &'static str, filter: &Value) -> Option<TcFilter> {
    let options = &filter["options"];
    let action = options["actions"].as_array()?.first()?;
    let number = |name: &str| action["stats"][name].as_u64().unwrap_or(0);
    Some(TcFilter {
        dev,
        priority: filter["pref"].as_u64()?,
        handle: options["handle"].as_u64()?,
        protocol: filter["protocol"].as_str()?.to_owned(),
        in_hw: options["in_hw"].as_bool().unwrap_or(false),
        cookie: action["cookie"].as_str().unwrap_or_default().to_owned(),
        hardware: Counters { packets: number("hw_packets"), bytes: number("hw_bytes") },
    })
}

/// Waits until no megaflow is outside the NIC, and each has one filter that is in hardware. Both
/// are asked until they agree: a rule that was lost a moment ago is one that is believed in the
/// NIC until the next statistics, and has no filter while it is put right.
pub(super) fn all_in_hardware(daemon: &Daemon, limit: Duration) -> Outcome {
    let mut outside = String::new();
    let what = "every megaflow is in the NIC, and its filter in hardware";
    let result = guest::wait_for(what, limit, || {
        let flows = daemon.flows()?;
        let filters = filters()?;
        let in_hw = |flow: &Flow| -> Vec<bool> {
            let of = filters.iter().filter(|filter| filter.is_of(flow));
            of.map(|filter| filter.in_hw).collect()
        };
        let is_outside = |flow: &&Flow| flow.placement != "nic" || in_hw(flow) != [true];
        let describe = |flow: &Flow| {
            let Flow { placement, matching, refusals, .. } = flow;
            format!("{placement} {matching} {refusals:?}, in_hw {:?}\n", in_hw(flow))
        };
        outside = flows.iter().filter(is_outside).map(describe).collect();
        Ok(!flows.is_empty() && outside.is_empty())
    });
    result.map_err(|failure| Failure::new(format!("{failure}\n{outside}")))
}

/// Frames that no rule matches while their representor is down: the card can't hand them up, and
/// the conservation line holds with them as lost.
pub(super) fn lost_at_a_representor(daemon: &Daemon) -> Outcome {
    const FRAMES: u64 = 7;
    let before = daemon.state()?.conservation.offered.packets;
    guest::run("ip link set swrep0 down")?;
    traffic::within("f0", || {
        let socket = guest::RawSocket::open("swvf0")?;
        let frame = [&[2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[0; 50]].concat();
        (0..FRAMES).try_for_each(|_| socket.send(&frame))
    })?;
    let hold = |what: &str| {
        let mut lines = String::new();
        let result = guest::wait_for(what, SETTLE, || {
            let all = daemon.state()?.conservation;
            lines = all.lines();
            let of_nic = all.lost.get("nic");
            let lost = of_nic.and_then(|lost| lost.get("representor-down")).map(|of| of.packets);
            let is_all = all.offered.packets >= before + FRAMES && lost == Some(FRAMES);
            Ok(is_all && all.packets.state == "holds")
        });
        result.map_err(|failure| Failure::new(format!("{failure}\n{lines}")))
    };
    hold("the frames are lost at the representor")?;
    guest::run("ip link set swrep0 up")?;
    guest::wait_for("the hosts reach each other", SETTLE, || {
        Ok(traffic::ping("f0", "10.0.0.2", 1).is_ok())
    })?;
    hold("they stay lost, and the line holds on")
}

/// `tc -s filter show` and the megaflows: a filter for each one in the NIC with the same counters,
/// and no other filter of ours. In silence, and while each megaflow has its first life in the NIC.
pub(super) fn tc_agrees(daemon: &Daemon) -> Outcome {
    let mut difference = String::new();
    let result = guest::wait_for("tc and the megaflows agree", SETTLE, || {
        difference = differences(&daemon.flows()?, &filters()?);
        Ok(difference.is_empty())
    });
    result.map_err(|failure| Failure::new(format!("{failure}\n{difference}")))
}

fn differences(flows: &[Flow], filters: &[TcFilter]) -> String {
    let mut text = String::new();
    for flow in flows.iter().filter(|flow| flow.placement == "nic") {
        let of: Vec<&TcFilter> = filters.iter().filter(|filter| filter.is_of(flow)).collect();
        if !matches!(of[..], [one] if one.in_hw && one.hardware == count(flow.nic)) {
            text += &format!("{} nic {:?}, tc {of:?}\n", flow.matching, flow.nic);
        }
    }
    let in_nic =
        |filter: &&TcFilter| flows.iter().any(|flow| flow.placement == "nic" && filter.is_of(flow));
    let ours = filters.iter().filter(|filter| filter.cookie.starts_with(COOKIE));
    for filter in ours.filter(|filter| !in_nic(filter)) {
        text += &format!("of no megaflow in the NIC: {filter:?}\n");
    }
    text
}

/// How cookies of ours begin, as hex.
pub(super) const COOKIE: &str = "4df1";
