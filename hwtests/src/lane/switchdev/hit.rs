//! From the host into hardware, in the middle of a connection.

use std::time::Duration;

use super::books::{self, Baseline};
use super::rig::{MAX_RULES, REPRESENTORS, RunningDaemon, SOON, nothing_left};
use super::traffic::{self, Stream, StreamEnd};
use crate::check::{Checks, Failure, Outcome, contains, equal};
use crate::daemon::Daemon;
use crate::guest;

/// The example that the documentation gives, as it is.
const EXAMPLE: &str = include_str!("../../../../docs/examples/switchdev.toml");

pub(super) const CLIENT: StreamEnd = StreamEnd { namespace: "f0", address: "10.0.0.2:5001" };
pub(super) const SERVER: StreamEnd = StreamEnd { namespace: "f1", address: "10.0.0.2:5001" };

pub(super) fn run(checks: &mut Checks) {
    let mut running = RunningDaemon::default();
    let mut books = None;
    let mut stream = None;
    checks.check("the documented configuration finds representors by switch and port", || {
        books = Some(Baseline::open()?);
        let daemon = Daemon::start(EXAMPLE)?;
        let ports = daemon.ctl("dpctl/show", &[])?;
        contains(&ports, "port 1: vf0 (system)")?;
        contains(&ports, "port 2: vf1 (system)")?;
        running.0 = Some(daemon);
        let doctor = guest::run("megaflow doctor")?;
        contains(&doctor, "swrep0 = pf0vf0 of switch 737773696d2d3000")
    });
    checks.check("while the NIC's table is full, ping and TCP go through hostdp", || {
        guest::write(MAX_RULES, "0")?;
        let before = books::came_up()?;
        traffic::ping("f0", "10.0.0.2", 2)?;
        stream = Some(on_the_host(running.get()?, before)?);
        Ok(())
    });
    checks.check("with room again, all rules are in hardware while TCP goes on", || {
        guest::write(MAX_RULES, "1024")?;
        books::all_in_hardware(running.get()?, SOON)?;
        stream_of(stream.as_ref())?.goes_on(100_000)
    });
    checks.check("from then on the representors receive nothing, and megaflows count on", || {
        stands_still(running.get()?, stream_of(stream.as_ref())?)
    });
    checks.check("dump-flows says offloaded:yes and dp:tc", || {
        let text = running.get()?.ctl("dpctl/dump-flows", &["-m"])?;
        for line in text.lines() {
            contains(line, "offloaded:yes, dp:tc, actions:")?;
        }
        equal("more than a few flows", &(text.lines().count() >= 4), &true)
    });
    checks.check("all hits together are what the functions sent; tc agrees; to the byte", || {
        stream.take().map_or_else(|| Err(Failure::new("no stream")), Stream::stop)?;
        let (books, daemon) = (books.ok_or_else(|| Failure::new("no books"))?, running.get()?);
        books.balance(daemon)?;
        books::tc_agrees(daemon)?;
        // Nothing is old enough to be gone: the flows of the dump are the whole sum too.
        let (nic, host) = books::hits(&daemon.flows()?);
        equal("the sum of the flows", &(nic + host), &books.offered()?)?;
        witnessed(daemon)
    });
    checks.check("what misses while a representor is down is lost with that reason", || {
        books::lost_at_a_representor(running.get()?)
    });
    checks.check("exit leaves no filter, no qdisc, no file", || {
        running.take()?.exit()?;
        nothing_left()
    });
}

fn stream_of(stream: Option<&Stream>) -> Outcome<&Stream> {
    stream.ok_or_else(|| Failure::new("there is no connection, see above"))
}

fn on_the_host(daemon: &Daemon, before: u64) -> Outcome<Stream> {
    let stream = Stream::start(CLIENT, SERVER, None)?;
    stream.goes_on(100_000)?;
    let mut flows = daemon.flows()?;
    guest::wait_for("hits on the host are counted", SOON, || {
        flows = daemon.flows()?;
        Ok(books::hits(&flows).1.packets > 60)
    })?;
    equal("hits in the NIC", &books::hits(&flows).0.packets, &0)?;
    equal("packets came up", &(books::came_up()? > before + 60), &true)?;
    for flow in &flows {
        let refusal = flow.refusals.first().map(ToString::to_string).unwrap_or_default();
        equal("the refusal", &refusal.as_str(), &"table-full tc: swsim: flow table full")?;
    }
    Ok(stream)
}

/// In silence the conservation line holds, with the card's ports as the witness of what its rules
/// hit: what went in by the functions and came out of them is what was offered and sent. This card
/// counts whole frames everywhere, so it holds to the byte.
fn witnessed(daemon: &Daemon) -> Outcome {
    let mut balance = String::new();
    let what = "the ports confirm what the NIC's rules count";
    let result = guest::wait_for(what, SOON, || {
        let all = daemon.state()?.conservation;
        balance = all.lines();
        Ok(all.sent_nic.packets > 250 && all.state == "holds")
    });
    result.map_err(|failure| Failure::new(format!("{failure}\n{balance}")))
}

fn stands_still(daemon: &Daemon, stream: &Stream) -> Outcome {
    let up = |dev: &&str| guest::came_up(dev);
    let before: Vec<u64> = REPRESENTORS.iter().map(up).collect::<Outcome<_>>()?;
    // What the host forwarded until then is read by a later statistics pass.
    let mut host_before = books::hits(&daemon.flows()?).1;
    guest::wait_for("the megaflows' host counters stand still", SOON, || {
        std::thread::sleep(Duration::from_millis(700));
        let last = std::mem::replace(&mut host_before, books::hits(&daemon.flows()?).1);
        Ok(last == host_before)
    })?;
    let nic_before = books::hits(&daemon.flows()?).0;
    stream.goes_on(400_000)?;
    traffic::ping("f0", "10.0.0.2", 3)?;
    let after: Vec<u64> = REPRESENTORS.iter().map(up).collect::<Outcome<_>>()?;
    equal("packets on the representors", &after, &before)?;
    guest::wait_for("the megaflows' hardware counters grow", SOON, || {
        let (nic, _) = books::hits(&daemon.flows()?);
        Ok(nic.packets > nic_before.packets + 250 && nic.bytes > nic_before.bytes + 400_000)
    })?;
    let (_, host) = books::hits(&daemon.flows()?);
    equal("hits on the host", &host, &host_before)
}
