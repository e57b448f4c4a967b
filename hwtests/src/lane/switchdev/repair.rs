//! Rules that vanish behind the daemon's back.
//!
//! What can't be known: tc hands a rule's last counters out only to who deletes it by its handle,
//! and a card that loses a rule loses its counters. So hits between the last statistics pass (every
//! half second) and the loss are counted nowhere. In silence nothing is lost, and the sums are
//! exact; under traffic what is missing is at most what the functions sent within that time.

use std::time::Duration;

use super::books::{self, Books};
use super::hit::{CLIENT, SERVER};
use super::traffic::{self, Stream};
use super::{DEBUG, Running, SOON, config};
use crate::check::{Checks, Failure, Outcome, equal};
use crate::daemon::Daemon;
use crate::guest;

pub(super) fn run(checks: &mut Checks) {
    let mut running = Running::default();
    let mut books = None;
    checks.check("first packets hit on the host, then the rules are in hardware", || {
        books = Some(Books::open()?);
        let daemon = running.0.insert(Daemon::start(&config("l2"))?);
        traffic::ping("f0", "10.0.0.2", 3)?;
        books::all_in_hardware(daemon, SOON)?;
        traffic::ping("f0", "10.0.0.2", 5)?;
        let (nic, host) = books::hits(&daemon.flows()?);
        equal("hits on the host", &(host.packets >= 2), &true)?;
        guest::wait_for("hits in the NIC", SOON, || {
            Ok(books::hits(&daemon.flows()?).0.packets >= nic.packets.max(10))
        })
    });
    let books_of = || books.ok_or_else(|| Failure::new("no books"));
    checks.check("tc filter del: noticed, repaired, nothing lost in silence", || {
        vanish(running.get()?, books_of()?, |_| {
            guest::run("tc filter del dev swrep0 ingress").map(drop)
        })
    });
    checks.check("one filter deleted by its handle: the same", || {
        vanish(running.get()?, books_of()?, |filters| {
            filters.first().ok_or_else(|| Failure::new("no filter"))?.delete()
        })
    });
    checks.check("tc qdisc del: the same", || {
        vanish(running.get()?, books_of()?, |_| {
            guest::run("tc qdisc del dev swrep0 clsact").map(drop)
        })
    });
    checks.check("a rule lost inside the card, in_hw in tc's view: the same", || {
        vanish(running.get()?, books_of()?, |_| guest::write(&format!("{DEBUG}/drop_rule"), "0"))
    });
    checks.check("under TCP: it goes on through hostdp and comes back into hardware", || {
        under_traffic(running.get()?, books_of()?)
    });
    checks.check("exit under traffic takes everything out", || {
        let stream = Stream::start(CLIENT, SERVER, None)?;
        stream.goes_on(50_000)?;
        running.take()?.exit()?;
        // Without the daemon nobody forwards: the connection can't end well.
        drop(stream);
        super::nothing_left()
    });
}

/// In silence, what `take` takes out is put in again; no count goes back, and the sum is right.
fn vanish(
    daemon: &Daemon,
    books: Books,
    take: impl FnOnce(&[books::Filter]) -> Outcome,
) -> Outcome {
    // All that was hit is read: what vanishes now has nothing more to tell.
    traffic::ping("f0", "10.0.0.2", 2)?;
    books::all_in_hardware(daemon, SOON)?;
    books.balance(daemon)?;
    let before = daemon.flows()?;
    let repairs = corrections(daemon)?;
    take(&books::filters()?)?;
    traffic::ping("f0", "10.0.0.2", 2)?;
    guest::wait_for("the loss is noticed", SOON, || Ok(corrections(daemon)? > repairs))?;
    books::all_in_hardware(daemon, SOON)?;
    traffic::ping("f0", "10.0.0.2", 2)?;
    books.balance(daemon)?;
    let after = daemon.flows()?;
    for flow in &before {
        let later = after.iter().find(|later| later.ufid == flow.ufid);
        let back = later.is_some_and(|later| {
            later.nic.packets < flow.nic.packets || later.host.packets < flow.host.packets
        });
        equal(&format!("{} went back", flow.matching), &back, &false)?;
    }
    Ok(())
}

fn corrections(daemon: &Daemon) -> Outcome<u64> {
    let state = daemon.state()?;
    let tc = state.providers.iter().find(|provider| provider.name == "tc");
    let missing = tc.and_then(|provider| provider.corrections.get("missing").copied());
    Ok(missing.unwrap_or(0))
}

fn under_traffic(daemon: &Daemon, books: Books) -> Outcome {
    let stream = Stream::start(CLIENT, SERVER, None)?;
    stream.goes_on(100_000)?;
    books::all_in_hardware(daemon, SOON)?;
    let mut unknown = Vec::new();
    for loss in ["tc filter del dev swrep0 ingress", "drop_rule"] {
        let up = books::came_up()?;
        let before = daemon.flows()?;
        let repairs = corrections(daemon)?;
        match loss {
            "drop_rule" => guest::write(&format!("{DEBUG}/drop_rule"), "0")?,
            line => guest::run(line).map(drop)?,
        }
        guest::wait_for("the loss is noticed", SOON, || Ok(corrections(daemon)? > repairs))?;
        stream.goes_on(100_000)?;
        books::all_in_hardware(daemon, SOON)?;
        equal("packets came up meanwhile", &(books::came_up()? > up), &true)?;
        for flow in daemon.flows()? {
            let earlier = before.iter().find(|earlier| earlier.ufid == flow.ufid);
            let back = earlier.is_some_and(|e| flow.total.packets < e.total.packets);
            equal(&format!("{} went back", flow.matching), &back, &false)?;
        }
        unknown.push(loss);
    }
    let up = books::came_up()?;
    stream.goes_on(200_000)?;
    equal("packets that came up at the end", &books::came_up()?, &up)?;
    stream.stop()?;
    // Two passes: what was hit last is read.
    std::thread::sleep(Duration::from_millis(1500));
    let offered = books.offered()?;
    let accounted = books.accounted(daemon)?;
    let missing = offered.packets.checked_sub(accounted.packets);
    let missing = missing.ok_or_else(|| Failure::new("more was counted than was sent"))?;
    println!(
        "         {missing} hits of {} packets can't be known ({})",
        offered.packets,
        unknown.join("; ")
    );
    Ok(())
}
