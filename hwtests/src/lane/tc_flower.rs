//! tc-flower on the simulated switchdev NIC: what it admits the card does, packet by packet as the
//! slow reference executor says; counters; refusals; what happens behind its back; and the
//! conformance suite.

mod cases;
mod conformance;
mod dissector;
mod frames;
mod hands;
mod life;
mod netdevsim;
mod rig;

use super::Lane;
use rig::*;

pub(crate) const LANE: Lane = Lane {
    name: "tc-flower",
    about: "tc-flower on the simulated NIC and netdevsim: matches, actions, counters, refusals",
    machine: "plain",
    needs: &[],
    limit: Duration::from_secs(240),
    evidence,
    run,
};

fn run(checks: &mut Checks) {
    checks.check("the card is there and is opened by switch and port", || {
        guest::no_ipv6()?;
        load()?;
        let mut tc = open()?;
        for report in tc.ports() {
            equal("a usable port", &report.unusable.map(|r| r.to_string()), &None)?;
        }
        equal("probes left behind", &rules()?, &0)?;
        tc.remove_all().context("cleaning up")
    });
    cases::run(checks);
    dissector::run(checks);
    life::run(checks);
    hands::run(checks);
    conformance::run(checks);
    checks.check("the card's end is the end of the provider", || {
        let mut tc = open()?;
        apply_one(&mut tc, install(&flow("eth_type(0x0800)", "2")?, 1)).context("installing")?;
        guest::run("rmmod swsim")?;
        let events = tc.events();
        let gone = events.iter().any(|event| matches!(event, flow::ProviderEvent::Gone(_)));
        if gone { Ok(()) } else { Err(Failure::new(format!("no Gone among {events:?}"))) }
    });
    netdevsim::run(checks);
}

fn evidence() -> String {
    let mut text = guest::read(&format!("{DEBUG}/rules")).unwrap_or_default();
    for dev in ["swrep0", "swrep1", "swp0"] {
        text.push('\n');
        text += &guest::run(&format!("tc -s filter show dev {dev} ingress")).unwrap_or_default();
    }
    text
}
