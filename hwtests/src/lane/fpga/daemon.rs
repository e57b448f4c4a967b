//! The daemon on the card: hosts at its wires and two network namespaces of the guest are one
//! LAN, whatever happens to the card.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use flow::{Counters, Ufid};
use offload::control::view::{Count, Flow, State};
use serde_json::{Value, json};

use super::bench::{Bench, Ledger};
use crate::check::{Checks, Context, Failure, Outcome, contains, equal};
use crate::guest;

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

const CONFIG: &str = "/run/card.toml";
const SOCKET: &str = "/run/megaflow/megaflow.ctl";
pub(super) const LOG: &str = "/run/daemon.log";

/// For what should take no time, in a slow machine.
const SOON: Duration = Duration::from_secs(10);

/// The running daemon, and the tester's side of the card.
struct Rig {
    bench: Bench,
    daemon: Daemon,
}

pub(super) fn run(checks: &mut Checks) {
    let mut rig = None;
    checks.check("the daemon takes the card and two interfaces of its own", || {
        let mut bench = Bench::open()?;
        // A card with an empty ledger.
        bench.ask("pull")?;
        bench.ask("plug")?;
        system_ports()?;
        rig = Some(Rig { bench, daemon: Daemon::start()? });
        Ok(())
    });
    let Some(mut rig) = rig else { return };
    checks.check("hosts ping through it: first by the host, then in the card", || ping(&mut rig));
    checks.check("TCP goes through the card; its ledger is the daemon's count", || tcp(&mut rig));
    checks.check("what leaves the card for another port stays on the host", || mixed(&mut rig));
    checks.check("the card's tables stop in the middle of TCP: the host goes on", || {
        quiesce(&mut rig)
    });
    checks
        .check("the card is pulled out in the middle of TCP: the rest goes on", || pull(&mut rig));
    checks.check("the daemon ends cleanly, and starts again on a new card", || {
        rig.daemon.exit()?;
        rig.bench.ask("plug")?;
        rig.daemon = Daemon::start()?;
        in_the_card(&mut rig)
    });
    checks.check("killed in the middle of traffic, its next start is clean", || killed(&mut rig));
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

/// Pings until the megaflows between the hosts are in the card and count there.
fn in_the_card(rig: &mut Rig) -> Outcome {
    guest::wait_for("packets hit in the card", SOON, || {
        pinged(&mut rig.bench, 0, 1, 3)?;
        let flows = rig.daemon.between_wires(2)?;
        Ok(flows.iter().all(|flow| flow.placement == "nic" && flow.nic.packets > 0))
    })?;
    let text = rig.daemon.ask("dpctl/dump-flows", &["-m"])?;
    let lines = text.lines().filter(|line| line.contains("offloaded:yes, dp:fpga"));
    equal("megaflows offloaded, at least 2", &(lines.count() >= 2), &true)
}

/// Every one of these pings is answered.
fn pinged(bench: &mut Bench, from: u8, to: u8, count: u64) -> Outcome {
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

fn compare(ledger: &Ledger, flows: &[Flow], state: &State) -> Outcome {
    let nonzero = flows.iter().filter(|flow| flow.nic.packets > 0);
    equal("any megaflow hit in the card", &(nonzero.count() > 0), &true)?;
    for flow in flows {
        let ufid: Ufid = flow.ufid.parse().map_err(|_| Failure::new(flow.ufid.clone()))?;
        let what = format!("hits in the card of {}", flow.matching);
        equal(&what, &flow.nic, &Count::from(ledger.flow(ufid)))?;
    }
    equal("all hits in the card", &state.conservation.nic, &Count::from(ledger.total()))?;
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
        flow.refusal.as_ref().is_some_and(|refusal| refusal.reason == "port")
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

fn pull(rig: &mut Rig) -> Outcome {
    rig.bench.ask("tcp 0 1 20000")?;
    rig.bench.progress(1 << 20)?;
    let mut other = Command::new("ip")
        .args(["netns", "exec", "gh0", "ping", "-q", "-c", "20", "-i", "0.1", "10.88.0.12"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .context("starting ping")?;
    let in_card: Vec<String> = rig.daemon.between_wires(2)?.into_iter().map(|f| f.ufid).collect();
    rig.bench.ask("pull")?;
    lost(rig)?;
    rig.bench.ask("stop")?;
    for flow in rig.daemon.flows()?.iter().filter(|flow| in_card.contains(&flow.ufid)) {
        let reason = flow.refusal.as_ref().map(|refusal| refusal.reason.as_str());
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
    rig.daemon = Daemon::start()?;
    let end = rig.bench.ask_json("finish")?;
    let answers = end["arrived"].as_u64().unwrap_or_default();
    equal(&format!("answers before and after, {answers}"), &(answers > 5), &true)?;
    in_the_card(rig)
}

/// A running `megaflow run`; killed when dropped.
struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it and waits until it answers.
    fn start() -> Outcome<Daemon> {
        let config = EXAMPLE.replace(EXAMPLE_ADDRESS, &super::card()?) + SYSTEM_PORTS;
        guest::write(CONFIG, &config)?;
        let log = File::options().create(true).append(true).open(LOG).context(LOG)?;
        let errors = log.try_clone().context(LOG)?;
        let child = Command::new("megaflow")
            .args(["run", "--config", CONFIG])
            .stdout(log)
            .stderr(errors)
            .spawn()
            .context("starting megaflow")?;
        let mut daemon = Daemon { child };
        guest::wait_for("the daemon answers", SOON, || match daemon.ended()? {
            Some(status) => Err(Failure::new(format!("the daemon ended: {status}"))),
            None => Ok(daemon.ask("version", &[]).is_ok()),
        })?;
        Ok(daemon)
    }

    fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        self.child.try_wait().context("the daemon's process")
    }

    /// What a method of the control socket answers.
    fn ask(&self, method: &str, params: &[&str]) -> Outcome<String> {
        let what = format!("{method} {}", params.join(" "));
        let mut stream = UnixStream::connect(SOCKET).context(&what)?;
        stream.set_read_timeout(Some(SOON)).context(&what)?;
        let request = json!({ "id": 0, "method": method, "params": params });
        serde_json::to_writer(&mut stream, &request).context(&what)?;
        let reply = serde_json::Deserializer::from_reader(&stream).into_iter::<Value>().next();
        let reply = reply.ok_or_else(|| Failure::new(format!("{what}: hung up")))?;
        let reply = reply.context(&what)?;
        match reply["result"].as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Failure::new(format!("{what}: {}", reply["error"]))),
        }
    }

    fn flows(&self) -> Outcome<Vec<Flow>> {
        serde_json::from_str(&self.ask("offload/flows", &[])?).context("offload/flows")
    }

    fn state(&self) -> Outcome<State> {
        serde_json::from_str(&self.ask("offload/status", &[])?).context("offload/status")
    }

    /// The megaflows of IPv4 packets that come in by a wire and leave by the other, of which
    /// there have to be that many.
    fn between_wires(&self, count: usize) -> Outcome<Vec<Flow>> {
        let mut flows = self.flows()?;
        flows.retain(|flow| {
            let way = |from: u8, to: &str| {
                flow.matching.contains(&format!("in_port({from})")) && flow.actions == to
            };
            flow.matching.contains("eth_type(0x0800)") && (way(1, "2") || way(2, "1"))
        });
        equal("megaflows between the wires", &flows.len(), &count)?;
        Ok(flows)
    }

    /// Tells it to end; it has to, soon, with status 0, and take its socket away.
    fn exit(&mut self) -> Outcome {
        self.ask("exit", &[])?;
        let mut status = None;
        guest::wait_for("the daemon ends", SOON, || {
            status = self.ended()?;
            Ok(status.is_some())
        })?;
        let code = status.and_then(|status| status.code());
        equal("the daemon's exit status", &code, &Some(0))?;
        equal("its socket is there", &Path::new(SOCKET).exists(), &false)
    }

    fn kill(&mut self) -> Outcome {
        self.child.kill().context("killing the daemon")?;
        self.child.wait().context("the daemon's process").map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
