//! Rules that vanish behind the daemon's back.
//!
//! What can't be known: hits between the last statistics pass (every half second) and the loss, if
//! the card lost the rule, or if somebody flushed a chain, a priority or a qdisc: the kernel then
//! throws the counters away unread. Of a filter deleted by its handle the kernel tells the last
//! count to everybody, and nothing is missing but the hits in the microseconds between that and
//! the end of the rule. In silence nothing is missing at all.

use std::time::Duration;

use megaflow::control::view::Flow;

use super::books::{self, Baseline};
use super::hit::{CLIENT, SERVER};
use super::rig::{DEBUG, RunningDaemon, SOON, config, nothing_left};
use super::traffic::{self, Stream};
use crate::check::{Checks, Failure, Outcome, equal};
use crate::daemon::Daemon;
use crate::guest;

const TWO_PASSES: Duration = Duration::from_millis(1200);

pub(super) fn run(checks: &mut Checks) {
    let mut running = RunningDaemon::default();
    let mut books = None;
    checks.check("first packets hit on the host, then the rules are in hardware", || {
        books = Some(Baseline::open()?);
        let daemon = running.0.insert(Daemon::start(&config("l2"))?);
        traffic::ping("f0", "10.0.0.2", 3)?;
        books::all_in_hardware(daemon, SOON)?;
        traffic::ping("f0", "10.0.0.2", 5)?;
        guest::wait_for("hits on the host and in the NIC", SOON, || {
            let (nic, host) = books::hits(&daemon.flows()?);
            Ok(host.packets >= 2 && nic.packets >= 10)
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
    checks.check("under TCP, a filter deleted by its handle: hostdp carries on meanwhile", || {
        under_traffic(running.get()?, books_of()?, |filters| {
            let busiest = filters.iter().max_by_key(|filter| filter.hardware.packets);
            busiest.ok_or_else(|| Failure::new("no filter"))?.delete()
        })
    });
    checks.check("under TCP, all filters flushed: the same", || {
        under_traffic(running.get()?, books_of()?, |_| {
            guest::run("tc filter del dev swrep0 ingress").map(drop)
        })
    });
    checks.check("under TCP, all rules lost inside the card: the same", || {
        under_traffic(running.get()?, books_of()?, |_| {
            guest::write(&format!("{DEBUG}/drop_rule"), "0")
        })
    });
    checks.check("exit under traffic takes everything out", || {
        // Without the daemon nobody forwards: the last ones have no answer.
        let pings = traffic::start("f0", || {
            let _ = guest::run("ping -n -q -c 60 -i 0.01 -W 1 10.0.0.2");
            Ok(())
        });
        running.take()?.exit()?;
        nothing_left()?;
        pings.join().map_err(|_| Failure::new("the pings' thread panicked"))?
    });
}

/// In silence, what `take` takes out is put in again; no count goes back, and the sum is right.
fn vanish(
    daemon: &Daemon,
    books: Baseline,
    take: impl FnOnce(&[books::TcFilter]) -> Outcome,
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
    none_went_back(&before, &daemon.flows()?)
}

fn corrections(daemon: &Daemon) -> Outcome<u64> {
    let state = daemon.state()?;
    let tc = state.providers.iter().find(|provider| provider.name == "tc");
    let missing = tc.and_then(|provider| provider.corrections.get("missing").copied());
    Ok(missing.unwrap_or(0))
}

/// One way to lose rules under traffic. What is not accounted for afterwards was hit between the
/// last statistics pass and the loss.
fn under_traffic(
    daemon: &Daemon,
    books: Baseline,
    take: impl FnOnce(&[books::TcFilter]) -> Outcome,
) -> Outcome {
    let unknown_before = unknown(daemon, books)?;
    let stream = Stream::start(CLIENT, SERVER, None)?;
    stream.goes_on(100_000)?;
    books::all_in_hardware(daemon, SOON)?;
    let filters = books::filters()?;
    let (up, before, repairs) = (books::came_up()?, daemon.flows()?, corrections(daemon)?);
    let accounted = books.accounted(daemon)?;
    take(&filters)?;
    let lost_at_most = books.offered()?.packets - accounted.packets;
    guest::wait_for("the loss is noticed", SOON, || Ok(corrections(daemon)? > repairs))?;
    stream.goes_on(100_000)?;
    books::all_in_hardware(daemon, SOON)?;
    equal("packets came up meanwhile", &(books::came_up()? > up), &true)?;
    none_went_back(&before, &daemon.flows()?)?;
    let up = books::came_up()?;
    stream.goes_on(200_000)?;
    equal("packets that came up at the end", &books::came_up()?, &up)?;
    stream.stop()?;
    let unknown = unknown(daemon, books)? - unknown_before;
    println!("         {unknown} hits can't be known, of {lost_at_most} since the last pass");
    equal("more than that is missing", &(unknown > lost_at_most), &false)
}

/// What the functions sent and nobody has counted, once all is read.
fn unknown(daemon: &Daemon, books: Baseline) -> Outcome<u64> {
    std::thread::sleep(TWO_PASSES);
    let (offered, accounted) = (books.offered()?, books.accounted(daemon)?);
    let missing = offered.since(accounted).ok_or_else(|| {
        Failure::new(format!("counted more than was sent: {accounted:?} of {offered:?}"))
    })?;
    Ok(missing.packets)
}

fn none_went_back(before: &[Flow], after: &[Flow]) -> Outcome {
    for flow in before {
        let later = after.iter().find(|later| later.ufid == flow.ufid);
        let back = later.is_some_and(|later| {
            later.nic.packets < flow.nic.packets || later.host.packets < flow.host.packets
        });
        equal(&format!("{} went back", flow.matching), &back, &false)?;
    }
    Ok(())
}
