//! Megaflows that are not in hardware: each forwards through hostdp and says why.

use etherparse::PacketBuilder;

use super::books;
use super::rig::{self, DEBUG, MAX_RULES, RunningDaemon, SOON, config, nothing_left};
use super::traffic;
use crate::check::{Checks, Failure, Outcome, WithContext, contains, equal};
use crate::daemon::Daemon;
use crate::guest::{self, RawSocket};

/// tc takes each of these, and so does the card, but not both in one rule.
const TOO_MUCH: &str = "in_port(1),eth_type(0x8100),vlan(vid=7,pcp=0/0),encap(eth_type(0x0800))";
const TOO_MUCH_ACTIONS: &str = "pop_vlan,push_mpls(label=16,tc=0,ttl=64,bos=1,eth_type=0x8847),2";

/// What admission refuses, and the word that it has to name.
const NOT_IN_TC: [(&str, &str, &str, &str); 4] = [
    ("in_port(1),eth_type(0x86dd),ipv6(label=0x5)", "2", "match-field", "label"),
    ("in_port(1),eth_type(0x88b5)", "trunc(64),2", "action", "trunc"),
    ("in_port(1),eth_type(0x88b6)", "userspace(pid=1,userdata(01)),2", "action", "userspace"),
    ("in_port(1),eth_type(0x88b7)", "recirc(1)", "recirculation", "recirc"),
];

pub(super) fn run(checks: &mut Checks) {
    let mut running = RunningDaemon::default();
    checks.check("what the card refuses stays on the host, with the card's own words", || {
        let daemon = running.0.insert(Daemon::start(&config("none"))?);
        by_the_card(daemon)
    });
    checks.check("what tc can't do names the field or action at fault", || {
        for (flow, actions, reason, subject) in NOT_IN_TC {
            by_admission(running.get()?, flow, actions, reason, subject)?;
        }
        Ok(())
    });
    checks.check("a full table: what does not fit is forwarded by the host, and says so", || {
        full(running.get()?)
    });
    checks.check("with more room, the rest gets in", || {
        guest::write(MAX_RULES, "1024")?;
        let daemon = running.get()?;
        guest::wait_for("the refused ones get in", SOON, || {
            Ok(!daemon.ctl("offload/reasons", &[])?.contains("table-full"))
        })?;
        let flows = daemon.flows()?;
        let inside = flows.iter().filter(|flow| flow.placement == "nic").count();
        equal("megaflows in the NIC", &inside, &STATIONS.len())?;
        equal("rules in the card", &rules()?, &STATIONS.len())?;
        stations()?;
        books::tc_agrees(daemon)
    });
    checks.check(
        "a NIC whose offload is turned off refuses, says so, and takes it on again",
        || {
            guest::run("ethtool -K swrep0 hw-tc-offload off")?;
            let daemon = running.get()?;
            let flow = "in_port(1),eth(dst=02:00:00:00:01:99),eth_type(0x88b5)";
            let added = daemon.ctl("dpctl/add-flow", &[flow, "2"]);
            let text = added.and_then(|_| daemon.ctl("offload/explain", &[flow]));
            guest::run("ethtool -K swrep0 hw-tc-offload on")?;
            contains(&text?, "TC offload is disabled on net device")?;
            books::all_in_hardware(daemon, SOON)
        },
    );
    checks.check("exit leaves nothing", || {
        running.take()?.exit()?;
        nothing_left()
    });
}

fn by_the_card(daemon: &Daemon) -> Outcome {
    daemon.ctl("dpctl/add-flow", &[TOO_MUCH, TOO_MUCH_ACTIONS])?;
    let text = daemon.ctl("offload/explain", &[TOO_MUCH])?;
    contains(&text, "placement: refused")?;
    let words = "tc: refused: device tc: swsim: can't do MPLS actions behind a VLAN tag";
    contains(&text, words)?;
    let ip = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .single_vlan(etherparse::VlanId::try_new(7).context("VLAN 7")?)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let mut frame = Vec::new();
    ip.udp(1, 2).write(&mut frame, b"through the host").context("a frame")?;
    let out = from_host_1(frame.clone())?;
    let mut want = frame[..12].to_vec();
    want.extend([0x88, 0x47, 0, 1, 1, 64]);
    want.extend(&frame[18..]);
    equal("what host 2 got", &out, &vec![("swvf1".to_owned(), want)])?;
    let installed = daemon.explain(TOO_MUCH)?.installed;
    let installed = installed.ok_or_else(|| Failure::new("it is not installed"))?;
    equal("hits in the NIC", &installed.nic.packets, &0)?;
    guest::wait_for("a hit on the host", SOON, || {
        let installed = daemon.explain(TOO_MUCH)?.installed;
        Ok(installed.is_some_and(|flow| flow.host.packets == 1))
    })
}

fn by_admission(
    daemon: &Daemon,
    flow: &str,
    actions: &str,
    reason: &str,
    subject: &str,
) -> Outcome {
    daemon.ask("dpctl/add-flow", &[flow, actions])?;
    let explained = daemon.explain(flow)?;
    let installed = explained.installed.ok_or_else(|| Failure::new("it is not installed"))?;
    equal("placement", &installed.placement.as_str(), &"refused")?;
    let refusal = installed.refusals.first().ok_or_else(|| Failure::new("there is no refusal"))?;
    equal("reason", &refusal.reason.as_str(), &reason)?;
    contains(&refusal.subject, subject)?;
    // The function that explains is the one that decided.
    let plan = explained.plans.first().map(|plan| &plan.refusals);
    equal("the plan's refusals", &plan, &Some(&installed.refusals))?;
    daemon.ask("dpctl/del-flow", &[flow]).map(drop)
}

/// The last bytes of stations' addresses.
const STATIONS: [u8; 4] = [0x11, 0x12, 0x13, 0x14];
const ROOM: usize = 2;

fn full(daemon: &Daemon) -> Outcome {
    daemon.ctl("dpctl/del-flow", &[TOO_MUCH])?;
    guest::write(MAX_RULES, &ROOM.to_string())?;
    for station in STATIONS {
        let flow = format!("in_port(1),eth(dst=02:00:00:00:01:{station:02x}),eth_type(0x88b5)");
        daemon.ctl("dpctl/add-flow", &[&flow, "2"])?;
    }
    let flows = daemon.flows()?;
    let refused: Vec<String> =
        flows.iter().filter_map(|flow| Some(flow.refusals.first()?.to_string())).collect();
    let words = "table-full tc: swsim: flow table full".to_owned();
    equal("refusals", &refused, &vec![words; STATIONS.len() - ROOM])?;
    equal("rules in the card", &rules()?, &ROOM)?;
    stations()
}

fn rules() -> Outcome<usize> {
    Ok(guest::read(&format!("{DEBUG}/rules"))?.lines().count())
}

/// A frame to each station arrives once, whoever forwards it.
fn stations() -> Outcome {
    for station in STATIONS {
        let mut frame = vec![2, 0, 0, 0, 1, station, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
        frame.resize(60, station);
        let out = from_host_1(frame.clone())?;
        equal("what host 2 got", &out, &vec![("swvf1".to_owned(), frame)])?;
    }
    Ok(())
}

/// Sends a frame from host 1; what the card handed to host 2, waited for if the host forwards it.
fn from_host_1(frame: Vec<u8>) -> Outcome<Vec<(String, Vec<u8>)>> {
    let path = format!("{DEBUG}/frames");
    guest::write(&path, "clear")?;
    traffic::within("f0", move || RawSocket::open("swvf0")?.send(&frame))?;
    let out = || -> Outcome<Vec<(String, Vec<u8>)>> {
        let captured = guest::read(&path)?;
        let lines = captured.lines().filter(|line| line.starts_with("swvf1 "));
        lines.map(rig::captured).collect()
    };
    guest::wait_for("host 2 gets a frame", SOON, || Ok(!out()?.is_empty()))?;
    out()
}
