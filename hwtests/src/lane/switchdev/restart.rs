//! `kill -9` with rules in hardware, and the next start.

use std::time::Duration;

use super::books::{self, Baseline, COOKIE, TcFilter};
use super::hit::{CLIENT, SERVER};
use super::rig::{RunningDaemon, SOON, config, forget_neighbours, nothing_left};
use super::traffic::{self, Stream};
use crate::check::{Checks, Failure, Outcome, equal};
use crate::daemon::Daemon;
use crate::guest;

/// A filter of somebody else's, in the priority that we would take first.
const THEIRS: &str = "protocol ip pref 49151 flower skip_sw dst_ip 192.0.2.9 action drop";

/// A megaflow that an operator adds, and that no packet hits.
const OPERATORS: &str = "in_port(2),eth(),eth_type(0x0800),ipv4(dst=192.0.2.7)";
/// The idle time, and the passes until it is noticed.
const IDLE: Duration = Duration::from_secs(20);

pub(super) fn run(checks: &mut Checks) {
    let mut running = RunningDaemon::default();
    let mut books = None;
    let mut killed: Vec<TcFilter> = Vec::new();
    checks.check("a filter of others is no obstacle", || {
        guest::run("tc qdisc add dev swrep0 clsact")?;
        guest::run(&format!("tc filter add dev swrep0 ingress {THEIRS}"))?;
        books = Some(Baseline::open()?);
        let daemon = running.0.insert(Daemon::start(&config("l2"))?);
        daemon.ctl("dpctl/add-flow", &[OPERATORS, "drop"])?;
        forget_neighbours()?;
        traffic::ping("f0", "10.0.0.2", 5)?;
        books::all_in_hardware(daemon, SOON)?;
        books::tc_agrees(daemon)
    });
    checks.check("after kill -9 the hardware forwards on, and nothing comes up", || {
        let stream = Stream::start(CLIENT, SERVER, None)?;
        stream.goes_on(50_000)?;
        running.take()?.kill()?;
        let up = books::came_up()?;
        stream.goes_on(200_000)?;
        equal("packets that came up", &books::came_up()?, &up)?;
        stream.stop()?;
        killed = ours()?;
        equal("filters are there", &killed.is_empty(), &false)
    });
    checks.check("the next start adopts the rules as they are, and counts on", || {
        adopt(running.0.insert(Daemon::start(&config("l2"))?), &killed)
    });
    checks.check("an operator's megaflow outlives the client's, which nobody uses", || {
        let daemon = running.get()?;
        guest::wait_for("the client's are gone", IDLE, || Ok(daemon.flows()?.len() < 2))?;
        // Some more passes would take it too if it aged.
        std::thread::sleep(Duration::from_secs(2));
        let flows = daemon.flows()?;
        let [left] = &flows[..] else { return Err(Failure::new(format!("left: {flows:?}"))) };
        equal("where it is", &left.placement.as_str(), &"nic")?;
        crate::check::contains(&left.matching, "192.0.2.7")?;
        books::tc_agrees(daemon)
    });
    checks.check("what carries our cookie and is no megaflow goes; theirs stays", || {
        running.take()?.kill()?;
        plant_orphan()?;
        let daemon = running.0.insert(Daemon::start(&config("l2"))?);
        guest::wait_for("the orphan goes", SOON, || {
            Ok(!ours()?.iter().any(|filter| filter.cookie == ORPHAN))
        })?;
        books::tc_agrees(daemon)?;
        theirs()
    });
    checks.check("exit leaves their filter and no other", || {
        running.take()?.exit()?;
        equal("filters of ours", &ours()?, &vec![])?;
        theirs()?;
        guest::run("tc filter del dev swrep0 ingress pref 49151")?;
        guest::run("tc qdisc del dev swrep0 clsact")?;
        nothing_left()
    });
}

/// Our cookie on something that no megaflow of ours would become.
const ORPHAN: &str = "4df110000000000700112233445566ff";

fn plant_orphan() -> Outcome {
    let rule = format!("protocol ip pref 7 flower skip_sw action drop cookie {ORPHAN}");
    guest::run(&format!("tc filter add dev swrep1 ingress {rule}")).map(drop)
}

fn ours() -> Outcome<Vec<TcFilter>> {
    Ok(books::filters()?.into_iter().filter(|f| f.cookie.starts_with(COOKIE)).collect())
}

fn theirs() -> Outcome {
    let text = guest::run("tc filter show dev swrep0 ingress pref 49151")?;
    crate::check::contains(&text, "dst_ip 192.0.2.9")?;
    crate::check::contains(&text, "in_hw")
}

fn adopt(daemon: &Daemon, killed: &[TcFilter]) -> Outcome {
    books::all_in_hardware(daemon, SOON)?;
    // The same priorities, handles and cookies: nothing was written anew.
    let identities =
        |filters: &[TcFilter]| filters.iter().map(TcFilter::identity).collect::<Vec<_>>();
    equal("filters", &identities(&ours()?), &identities(killed))?;
    let counted = |filters: &[TcFilter]| filters.iter().map(|f| f.hardware).sum::<flow::Counters>();
    let before = counted(killed);
    let (nic, _) = books::hits(&daemon.flows()?);
    equal("hits in the NIC", &nic, &before)?;
    let up = books::came_up()?;
    let sent = books::sent()?;
    traffic::ping("f0", "10.0.0.2", 4)?;
    equal("packets that came up", &books::came_up()?, &up)?;
    let since = books::sent()?.since(sent).ok_or_else(|| Failure::new("counters went back"))?;
    // Nothing twice: what the killed daemon's rules had counted, and what was sent since.
    guest::wait_for("the new hits are counted", SOON, || {
        Ok(books::hits(&daemon.flows()?) == (before + since, flow::Counters::default()))
    })?;
    books::tc_agrees(daemon)
}
