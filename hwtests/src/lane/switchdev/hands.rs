//! Beside an operator's `tc` on the same representors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use megaflow::control::view::Flow;

use super::books::{self, Baseline};
use super::rig::{DEBUG, FUNCTIONS, RunningDaemon, SOON, config, keep_neighbours, nothing_left};
use super::traffic;
use crate::check::{Checks, Failure, Outcome, WithContext, contains, equal};
use crate::daemon::Daemon;
use crate::guest;

const FLOWS: &str = "/run/megaflow-test.flows";
/// An operator's megaflows under each of four masks, that no packet hits.
const EACH: u32 = 50;
/// How often rules are lost until an audit meets that.
const TRIES: u32 = 60;

pub(super) fn run(checks: &mut Checks) {
    let mut running = RunningDaemon::default();
    let mut books = None;
    checks.check("200 megaflows of an operator and those of two hosts are in hardware", || {
        books = Some(Baseline::open()?);
        let daemon = running.0.insert(Daemon::start(&config("l2"))?);
        let masks = ["dst", "src", "dst=02:00:00:00:09:09,src", "src=02:00:00:00:09:09,dst"];
        let line = |(mask, eth_type): (&str, u32), n: u32| {
            let eth = format!("eth({mask}=02:00:00:00:01:{n:02x}),eth_type({eth_type:#x})");
            format!("in_port(1),{eth} 2\n")
        };
        let text: String = masks
            .into_iter()
            .zip(0x88b5..)
            .flat_map(|mask| (0..EACH).map(move |n| line(mask, n)))
            .collect();
        std::fs::write(FLOWS, text).context(FLOWS)?;
        daemon.ctl("dpctl/add-flows", &[FLOWS])?;
        traffic::ping("f0", "10.0.0.2", 3)?;
        books::all_in_hardware(daemon, SOON)
    });
    let books_of = || books.ok_or_else(|| Failure::new("no books"));
    checks
        .check("while tc adds and deletes a filter, nothing is taken out, all is counted", || {
            beside(running.get()?, books_of()?)
        });
    checks.check("the audit finds nothing in quiet, and names a rule that the card lost", || {
        audited(running.get()?)
    });
    checks.check("a filter that comes before ours: refused, named, and in hardware again", || {
        shadowed(running.get()?)
    });
    checks.check("tc filter replace under our cookie is said and put right", || {
        altered(running.get()?, books_of()?)
    });
    checks.check("a VF that is made again: no redirect to nowhere, counters kept", || {
        made_again(running.get()?, books_of()?)
    });
    checks.check("exit leaves nothing of it", || {
        running.take()?.exit()?;
        nothing_left()
    });
}

fn corrections(daemon: &Daemon, kinds: &[&str]) -> Outcome<u64> {
    let state = daemon.state()?;
    let tc = state.providers.iter().find(|provider| provider.name == "tc");
    let corrections = tc.map(|tc| &tc.corrections).ok_or_else(|| Failure::new("no tc"))?;
    Ok(kinds.iter().filter_map(|kind| corrections.get(*kind)).sum())
}

fn beside(daemon: &Daemon, books: Baseline) -> Outcome {
    let kinds = ["missing", "foreign", "altered", "shadowed"];
    let before = corrections(daemon, &kinds)?;
    let theirs = "dev swrep0 ingress protocol ip pref 5";
    let batch: Vec<String> = (0..20)
        .flat_map(|_| {
            let add = format!("filter add {theirs} flower skip_hw dst_ip 192.0.2.9 action drop");
            [add, format!("filter del {theirs}")]
        })
        .collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let hand = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                guest::tc_batch(&batch)?;
            }
            Ok(())
        });
        let pings = guest::run_in("f0", "ping -n -q -c 400 -i 0.01 -W 2 10.0.0.2");
        stop.store(true, Ordering::Relaxed);
        let hand: Outcome = hand.join().map_err(|_| Failure::new("a thread panicked"))?;
        hand.and(contains(&pings?, " 0% packet loss"))
    })?;
    books.balance(daemon)?;
    equal("corrections", &corrections(daemon, &kinds)?, &before)?;
    books::all_in_hardware(daemon, SOON)
}

/// The megaflow that carries the first host's IPv4 packets to the second.
fn ping_flow(daemon: &Daemon) -> Outcome<Flow> {
    let is = |flow: &Flow| {
        flow.matching.contains("in_port(1)") && flow.matching.contains("eth_type(0x0800)")
    };
    daemon.flows()?.into_iter().find(is).ok_or_else(|| Failure::new("no megaflow of the ping"))
}

fn shadowed(daemon: &Daemon) -> Outcome {
    traffic::ping("f0", "10.0.0.2", 2)?;
    books::all_in_hardware(daemon, SOON)?;
    let theirs = "dev swrep0 ingress protocol ip pref 5";
    guest::run(&format!(
        "tc filter add {theirs} flower skip_sw dst_mac 02:00:00:00:00:02 action drop"
    ))?;
    guest::wait_for("the refusal names it", SOON, || {
        let refusal = ping_flow(daemon)?.refusals.first().map(ToString::to_string);
        Ok(refusal.is_some_and(|text| {
            text.starts_with("shadowed tc filter: on swrep0 the flower filter chain 0 pref 5 ")
        }))
    })?;
    let flow = ping_flow(daemon)?;
    equal("placement", &flow.placement.as_str(), &"refused")?;
    let text = daemon.ctl("dpctl/dump-flows", &["-m"])?;
    let line = text.lines().find(|line| line.contains(&flow.ufid));
    equal("offloaded", &line.is_some_and(|line| line.contains("offloaded:yes")), &false)?;
    equal("counted", &(corrections(daemon, &["shadowed"])? > 0), &true)?;
    contains(&crate::daemon::log_text(), "rules that are not ours come first in the device")?;
    guest::run(&format!("tc filter del {theirs}"))?;
    traffic::ping("f0", "10.0.0.2", 2)?;
    books::all_in_hardware(daemon, SOON)
}

/// The filter of a megaflow.
fn filter_of(flow: &Flow) -> Outcome<books::TcFilter> {
    let mut filters = books::filters()?.into_iter();
    filters.find(|filter| filter.is_of(flow)).ok_or_else(|| Failure::new("no filter of the ping"))
}

/// Replaces the filter of the ping by one that drops, with its cookie.
fn alter(filter: &books::TcFilter) -> Outcome {
    let books::TcFilter { priority, handle, cookie, .. } = filter;
    guest::run(&format!(
        "tc filter replace dev swrep0 ingress protocol ip pref {priority} handle {handle} flower \
         skip_sw dst_mac 02:00:00:00:00:02 src_mac 02:00:00:00:00:01 action drop cookie {cookie}"
    ))
    .map(drop)
}

/// What the audit says of rules that the card has lost. Of what somebody does to a filter the
/// kernel tells the daemon, which puts it right before an audit has looked twice. What a card
/// loses is found by the next statistics only: it is lost until an audit meets it.
fn audited(daemon: &Daemon) -> Outcome {
    let audit = || daemon.ask("offload/audit", &[]);
    let mut said = String::new();
    for _ in 0..TRIES {
        traffic::ping("f0", "10.0.0.2", 1)?;
        books::all_in_hardware(daemon, SOON)?;
        guest::wait_for("the audit finds no difference", SOON, || {
            said = audit()?;
            Ok(said.contains(" megaflows, as believed\n") && !said.contains("not as believed"))
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{said}")))?;
        let ufid = ping_flow(daemon)?.ufid;
        guest::write(&format!("{DEBUG}/drop_rule"), "0")?;
        said = audit()?;
        if said.lines().any(|line| line.contains(&ufid) && line.contains("not in hardware")) {
            return Ok(());
        }
    }
    Err(Failure::new(format!("no audit of {TRIES} names it; the last one:\n{said}")))
}

fn altered(daemon: &Daemon, books: Baseline) -> Outcome {
    traffic::ping("f0", "10.0.0.2", 2)?;
    books::all_in_hardware(daemon, SOON)?;
    let flow = ping_flow(daemon)?;
    let before = corrections(daemon, &["altered"])?;
    alter(&filter_of(&flow)?)?;
    guest::wait_for("it is counted", SOON, || Ok(corrections(daemon, &["altered"])? > before))?;
    contains(&crate::daemon::log_text(), "somebody changed rules of ours in the device")?;
    books::all_in_hardware(daemon, SOON)?;
    let pings = guest::run_in("f0", "ping -n -q -c 20 -i 0.05 -W 2 10.0.0.2")?;
    contains(&pings, " 0% packet loss")?;
    let (offered, accounted) = (books.offered()?, books.accounted(daemon)?);
    equal("counted more than was sent", &(accounted.packets > offered.packets), &false)
}

fn made_again(daemon: &Daemon, books: Baseline) -> Outcome {
    traffic::ping("f0", "10.0.0.2", 2)?;
    books::all_in_hardware(daemon, SOON)?;
    let before = books.accounted(daemon)?;
    guest::write(&format!("{DEBUG}/recreate"), "1")?;
    let (namespace, dev) = FUNCTIONS[1];
    guest::run("ip link set swrep1 up")?;
    guest::run(&format!("ip link set {dev} address 02:00:00:00:00:02"))?;
    guest::move_into(namespace, dev, "10.0.0.2/24")?;
    keep_neighbours(namespace, dev)?;
    guest::wait_for("no filter sends to nowhere", SOON, || {
        let filters = guest::run("tc filter show dev swrep0 ingress")?;
        Ok(filters.contains("cookie 4df1") && !filters.contains("device *"))
    })?;
    guest::wait_for("the hosts reach each other", SOON, || {
        Ok(traffic::ping("f0", "10.0.0.2", 1).is_ok())
    })?;
    books::all_in_hardware(daemon, SOON)?;
    let pings = guest::run_in("f0", "ping -n -q -c 20 -i 0.05 -W 2 10.0.0.2")?;
    contains(&pings, " 0% packet loss")?;
    // The client forgets what it knew of the port, so megaflows may be new ones; the sum is not.
    guest::wait_for("all that was counted stays counted", SOON, || {
        Ok(books.accounted(daemon)?.packets >= before.packets + 40)
    })
}
