//! The daemon on the card: hosts at its wires and two network namespaces of the guest are one
//! LAN, whatever happens to the card.

use std::process::Command;
use std::time::Duration;

use flow::{Clock, Counters, Ufid};
use megaflow::control::view::{Count, Flow, ShownState};
use serde_json::{Value, json};

use super::bench::{BenchClient, LedgerJson, hex};
use super::{frames, pci};
use crate::check::{Checks, Failure, Outcome, WithContext, contains, equal};
use crate::daemon::Daemon;
use crate::{frame, guest};

/// The example of the documentation; the card's address is put in.
const EXAMPLE: &str = include_str!("../../../../docs/examples/card.toml");
const EXAMPLE_ADDRESS: &str = "0000:00:03.0";
/// Two ports of the guest's own besides the card's wires.
const SYSTEM_PORTS: &str = r#"
[[port]]
name = "sp0"
type = "system"
device = "sp0"

[[port]]
name = "sp1"
type = "system"
device = "sp1"
"#;

/// For what should take no time, in a slow machine.
const SOON: Duration = Duration::from_secs(10);

/// The running daemon, and the tester's side of the card.
struct Rig {
    bench: BenchClient,
    daemon: Daemon,
}

pub(super) fn run(checks: &mut Checks) {
    let mut rig = None;
    checks.check("the daemon takes the card and two interfaces of its own", || {
        let mut bench = BenchClient::open()?;
        // A card with an empty ledger.
        bench.ask("pull")?;
        bench.ask("plug")?;
        system_ports()?;
        rig = Some(Rig { bench, daemon: start()? });
        Ok(())
    });
    let Some(mut rig) = rig else { return };
    checks.check("hosts ping through it: first by the host, then in the card", || ping(&mut rig));
    checks.check("TCP goes through the card; its ledger is the daemon's count", || tcp(&mut rig));
    checks.check("what leaves the card for another port stays on the host", || mixed(&mut rig));
    checks.check("the card's tables stop in the middle of TCP: the host goes on", || {
        quiesce(&mut rig)
    });
    checks.check("an operator's chain: pop MPLS, recirculate, set the TTL, in the card", || {
        chain_in_the_card(&mut rig)
    });
    checks.check("the same on the host where the card can't; each id has its scope", || {
        chain_on_the_host(&mut rig)
    });
    checks.check("one counter update that the card loses shows in the books", || lose(&mut rig));
    checks
        .check("the card is pulled out in the middle of TCP: the rest goes on", || pull(&mut rig));
    checks.check("the daemon ends cleanly, and starts again on a new card", || {
        rig.daemon.exit()?;
        rig.bench.ask("plug")?;
        rig.daemon = start()?;
        in_the_card(&mut rig)
    });
    checks.check("killed in the middle of traffic, its next start is clean", || killed(&mut rig));
    checks.check("unbound from vfio-pci in the middle of TCP, the card is let go at once", || {
        unbind(&mut rig)
    });
    checks.check("bound again, a new start takes it; the end is clean", || {
        rig.daemon.exit()?;
        pci::bind(&pci::card()?)?;
        rig.daemon = start()?;
        in_the_card(&mut rig)?;
        rig.daemon.exit()
    });
}

fn start() -> Outcome<Daemon> {
    Daemon::start(&(EXAMPLE.replace(EXAMPLE_ADDRESS, &pci::card()?) + SYSTEM_PORTS))
}

/// Namespaces gh0 and gh1 with addresses in the LAN of the card's hosts.
fn system_ports() -> Outcome {
    for number in 0..2 {
        let (port, dev) = (format!("sp{number}"), format!("ge{number}"));
        guest::run(&format!("ip link add {port} type veth peer name {dev}"))?;
        guest::run(&format!("ip link set {port} up"))?;
        guest::namespace(&format!("gh{number}"), &dev, &format!("10.88.0.{}/24", 11 + number))?;
    }
    Ok(())
}

/// Hosts at the card's wires answer each other; their megaflows go into the card.
fn ping(rig: &mut Rig) -> Outcome {
    let (card, host) = taken(rig)?;
    equal("packets so far, in the card and on the host", &(card, host), &(0, 0))?;
    pinged(&mut rig.bench, 0, 1, 1)?;
    // The request for an address and the first request of the ping, and what they were answered;
    // counters come with the daemon's next statistics pass.
    guest::wait_for("packets on the host", SOON, || Ok(taken(rig)?.1 >= 2))?;
    in_the_card(rig)
}

/// Packets by where they were first hit or answered: in the card, on the host.
fn taken(rig: &mut Rig) -> Outcome<(u64, u64)> {
    let state = rig.daemon.state()?;
    Ok((state.conservation.nic.packets, state.conservation.host.packets))
}

/// The megaflows of IPv4 packets that come in by one wire and leave by the other. Fails unless
/// there are exactly `count` of them.
fn between_wires(daemon: &Daemon, count: usize) -> Outcome<Vec<Flow>> {
    let mut flows = daemon.flows()?;
    flows.retain(|flow| {
        let way = |from: u8, to: &str| {
            flow.matching.contains(&format!("in_port({from})")) && flow.actions == to
        };
        flow.matching.contains("eth_type(0x0800)") && (way(1, "2") || way(2, "1"))
    });
    equal("megaflows between the wires", &flows.len(), &count)?;
    Ok(flows)
}

/// Pings until the megaflows between the hosts are in the card and count there.
fn in_the_card(rig: &mut Rig) -> Outcome {
    guest::wait_for("packets hit in the card", SOON, || {
        pinged(&mut rig.bench, 0, 1, 3)?;
        let flows = between_wires(&rig.daemon, 2)?;
        Ok(flows.iter().all(|flow| flow.placement == "nic" && flow.nic.packets > 0))
    })?;
    let text = guest::run("megaflow ctl dpctl/dump-flows -m")?;
    let lines = text.lines().filter(|line| line.contains("offloaded:yes, dp:fpga"));
    equal("megaflows offloaded, at least 2", &(lines.count() >= 2), &true)
}

/// Every one of these pings is answered.
fn pinged(bench: &mut BenchClient, from: u8, to: u8, count: u64) -> Outcome {
    bench.ask(&format!("ping {from} {to} {count} 50"))?;
    equal("answers", &bench.ask_json("finish")?["arrived"], &json!(count))
}

fn tcp(rig: &mut Rig) -> Outcome {
    let before = rig.bench.ledger()?;
    rig.bench.ask("tcp 0 1 1500")?;
    let moved = arrived(&rig.bench.ask_json("finish")?)?;
    let in_card = rig.bench.ledger()?.total().bytes - before.total().bytes;
    if in_card < moved {
        return Err(Failure::new(format!("of {moved} bytes of TCP {in_card} hit in the card")));
    }
    println!("     {moved} bytes of TCP in 1.5 s, {in_card} bytes of frames hit in the card");
    books(rig)
}

/// What arrived of a TCP connection, if it is all that was sent.
fn arrived(end: &Value) -> Outcome<u64> {
    let part = |name: &str| end[name].as_u64().unwrap_or_default();
    equal("arrived of what was sent", &part("arrived"), &part("sent"))?;
    equal("anything arrived", &(part("arrived") > 0), &true)?;
    Ok(part("arrived"))
}

/// The daemon's books and the card's own are the same, by megaflow and in total, packets and
/// bytes. Nothing may be running; counters come with the daemon's next statistics pass.
fn books(rig: &mut Rig) -> Outcome {
    let mut last = Ok(());
    let settled = guest::wait_for("the books agree", SOON, || {
        let (flows, state) = (rig.daemon.flows()?, rig.daemon.state()?);
        last = compare(&rig.bench.ledger()?, &flows, &state);
        Ok(last.is_ok())
    });
    last.and(settled)
}

fn compare(ledger: &LedgerJson, flows: &[Flow], state: &ShownState) -> Outcome {
    let nonzero = flows.iter().filter(|flow| flow.nic.packets > 0);
    equal("any megaflow hit in the card", &(nonzero.count() > 0), &true)?;
    for flow in flows {
        let ufid: Ufid = flow.ufid.parse().map_err(|_| Failure::new(flow.ufid.clone()))?;
        let what = format!("hits in the card of {}", flow.matching);
        equal(&what, &flow.nic, &Count::from(ledger.flow(ufid)))?;
    }
    // A packet that recirculates hits again, but comes in only once.
    let again = flows.iter().filter(|flow| !flow.matching.contains("recirc_id(0)"));
    let again: u64 = again.map(|flow| flow.nic.packets).sum();
    let first = ledger.total().packets - again;
    equal("first hits in the card", &state.conservation.nic.packets, &first)?;
    equal("the balance", &state.conservation.holds, &true)?;
    let offered: Counters = (0..2).map(|wire| ledger.port(wire, "rx")).sum();
    let others = state.ports.iter().filter(|port| port.kind != "fpga");
    let others: u64 = others.map(|port| port.received_host.packets).sum();
    equal("offered packets", &state.conservation.offered.packets, &(offered.packets + others))
}

/// Between a wire and a port that is not on the card.
fn mixed(rig: &mut Rig) -> Outcome {
    guest::run_in("gh0", "ping -q -c 5 -i 0.1 -W 2 10.88.0.1")?;
    let refused = |flow: &&Flow| {
        flow.refusals.first().is_some_and(|refusal| refusal.reason == "port")
            && flow.placement == "refused"
    };
    let flows = rig.daemon.flows()?;
    equal("megaflows refused for their port", &(flows.iter().filter(refused).count() >= 2), &true)?;
    books(rig)
}

fn quiesce(rig: &mut Rig) -> Outcome {
    rig.bench.ask("tcp 0 1 3000")?;
    rig.bench.progress(1 << 20)?;
    rig.bench.ask("quiesce")?;
    let stopped = rig.bench.ledger()?.total();
    let (_, before) = taken(rig)?;
    guest::wait_for("packets on the host", SOON, || Ok(taken(rig)?.1 > before + 100))?;
    rig.bench.progress(1 << 18)?;
    equal("hits in the card meanwhile", &rig.bench.ledger()?.total(), &stopped)?;
    rig.bench.ask("run")?;
    rig.bench.progress(1 << 20)?;
    let grown = rig.bench.ledger()?.total().packets > stopped.packets;
    equal("the card hits again", &grown, &true)?;
    arrived(&rig.bench.ask_json("finish")?)?;
    books(rig)
}

/// Installs a chain: frames with that label from the first wire lose it and go on under that id.
fn install_chain(rig: &mut Rig, label: u32, id: u32, actions: &str) -> Outcome {
    let child = format!(
        "recirc_id({id:#x}),in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.9.0.2,ttl=64,frag=no)"
    );
    let parent = format!(
        "in_port(1),eth(),eth_type(0x8847),mpls(label={label}/0xfffff,tc=0/0,ttl=0/0,bos=1/1)"
    );
    let recirculate = format!("pop_mpls(eth_type=0x800),recirc({id:#x})");
    rig.daemon.ask("dpctl/add-flow", &[&child, actions])?;
    rig.daemon.ask("dpctl/add-flow", &[&parent, &recirculate]).map(drop)
}

/// The two megaflows of a chain: those whose match or action names the id.
fn chain(rig: &mut Rig, id: u32) -> Outcome<[Flow; 2]> {
    let mut flows = rig.daemon.flows()?;
    let (scope, action) = (format!("recirc_id({id:#x})"), format!("recirc({id:#x})"));
    flows.retain(|flow| flow.matching.contains(&scope) || flow.actions.contains(&action));
    flows.sort_by_key(|flow| flow.matching.contains(&scope));
    <[Flow; 2]>::try_from(flows)
        .map_err(|flows| Failure::new(format!("{} megaflows of the chain", flows.len())))
}

/// Sends three frames with that label; returns what arrived at the other wire.
fn through_chain(rig: &mut Rig, label: u32) -> Outcome<Vec<String>> {
    rig.bench.ask("drain")?;
    for _ in 0..3 {
        rig.bench.send(0, &frame::mpls(&frames::udp(64, 50), label, 0, 64))?;
    }
    rig.bench.frames(1, 3)
}

fn chain_in_the_card(rig: &mut Rig) -> Outcome {
    install_chain(rig, 100, 7, "set(ipv4(ttl=63)),2")?;
    guest::wait_for("both megaflows are in the card", SOON, || {
        Ok(chain(rig, 7)?.iter().all(|flow| flow.placement == "nic"))
    })?;
    let got = through_chain(rig, 100)?;
    equal("frames", &got, &vec![hex(&frames::udp(63, 50)); 3])?;
    books(rig)?;
    for flow in chain(rig, 7)? {
        equal(&flow.matching, &(flow.nic.packets, flow.host.packets), &(3, 0))?;
    }
    Ok(())
}

fn chain_on_the_host(rig: &mut Rig) -> Outcome {
    install_chain(rig, 200, 8, "set(ipv4(ttl=63)),trunc(60),2")?;
    let [parent, child] = chain(rig, 8)?;
    equal("the child is", &child.placement.as_str(), &"refused")?;
    equal("the parent is in the card", &(parent.placement == "nic"), &false)?;
    let got = through_chain(rig, 200)?;
    equal("frames", &got, &vec![hex(&frames::udp(63, 50)[..60]); 3])?;
    guest::wait_for("both megaflows count on the host", SOON, || {
        Ok(chain(rig, 8)?.iter().all(|flow| (flow.nic.packets, flow.host.packets) == (0, 3)))
    })?;
    // What the children match, fresh from its wire, and behind the other label.
    let fresh = frames::udp(64, 50);
    rig.bench.send(0, &fresh)?;
    equal("frames", &rig.bench.frames(1, 1)?, &vec![hex(&fresh)])?;
    through_chain(rig, 200)?;
    books(rig)?;
    let [_, other] = chain(rig, 7)?;
    equal("hits of the other child", &other.total.packets, &3)?;
    let [_, child] = chain(rig, 8)?;
    equal("hits of this child", &child.total.packets, &6)
}

/// The comparison of the books can fail.
fn lose(rig: &mut Rig) -> Outcome {
    books(rig)?;
    rig.bench.ask("lose 1")?;
    pinged(&mut rig.bench, 0, 1, 2)?;
    // Longer than a statistics pass takes to come.
    std::thread::sleep(Duration::from_secs(2));
    let (flows, state) = (rig.daemon.flows()?, rig.daemon.state()?);
    match compare(&rig.bench.ledger()?, &flows, &state) {
        Err(difference) => contains(&difference.to_string(), "hits in the card"),
        Ok(()) => Err(Failure::new("the books agree")),
    }
}

fn unbind(rig: &mut Rig) -> Outcome {
    rig.bench.ask("tcp 0 1 20000")?;
    rig.bench.progress(1 << 20)?;
    let begin = Clock::start();
    guest::write("/sys/bus/pci/drivers/vfio-pci/unbind", &pci::card()?)?;
    let took = begin.elapsed();
    equal(&format!("within 5 s, {took:?}"), &(took < Duration::from_secs(5)), &true)?;
    lost(rig)?;
    rig.bench.ask("stop").map(drop)
}

fn pull(rig: &mut Rig) -> Outcome {
    rig.bench.ask("tcp 0 1 20000")?;
    rig.bench.progress(1 << 20)?;
    let mut other = Command::new("ip")
        .args(["netns", "exec", "gh0", "ping", "-q", "-c", "20", "-i", "0.1", "10.88.0.12"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .context("starting ping")?;
    let in_card: Vec<String> = between_wires(&rig.daemon, 2)?.into_iter().map(|f| f.ufid).collect();
    rig.bench.ask("pull")?;
    lost(rig)?;
    rig.bench.ask("stop")?;
    for flow in rig.daemon.flows()?.iter().filter(|flow| in_card.contains(&flow.ufid)) {
        let reason = flow.refusals.first().map(|refusal| refusal.reason.as_str());
        equal(&format!("{} is refused for", flow.matching), &reason, &Some("device-gone"))?;
    }
    let status = other.wait().context("ping")?;
    equal("the other ports' pings were answered", &status.success(), &true)
}

/// The daemon knows that the card is lost, answers, and its other ports forward.
fn lost(rig: &mut Rig) -> Outcome {
    guest::wait_for("no megaflow is in the card", SOON, || {
        Ok(rig.daemon.flows()?.iter().all(|flow| flow.placement != "nic"))
    })?;
    let state = rig.daemon.state()?;
    let card = state.providers.iter().find(|provider| provider.name == "fpga");
    equal("the card is up", &card.map(|provider| provider.up), &Some(false))?;
    for port in &state.ports {
        equal(&format!("port {} up", port.name), &port.up, &(port.kind != "fpga"))?;
    }
    contains(&rig.daemon.ask("dpctl/show", &[])?, "wire0")?;
    guest::run_in("gh0", "ping -q -c 3 -i 0.1 -W 2 10.88.0.12").map(drop)
}

fn killed(rig: &mut Rig) -> Outcome {
    rig.bench.ask("ping 0 1 40 50")?;
    rig.bench.progress(5)?;
    rig.daemon.kill()?;
    rig.daemon = start()?;
    let end = rig.bench.ask_json("finish")?;
    let answers = end["arrived"].as_u64().unwrap_or_default();
    equal(&format!("answers before and after, {answers}"), &(answers > 5), &true)?;
    in_the_card(rig)
}
