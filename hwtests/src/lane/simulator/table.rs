//! The table around the rules: identity, counters, limits, life cycle, traffic of a real stack.

use super::frames::{UDP, ipv4, udp};
use super::rig::{DEBUG, captured, expect, install, output, send};
use crate::check::{Checks, Outcome, contains, equal};
use crate::guest;

const MAX_RULES: &str = "/sys/module/swsim/parameters/max_rules";

/// What discovery looks at.
pub(super) fn identity(checks: &mut Checks) {
    checks.check("representors have the card's id and their ports' names", || {
        for (dev, name) in [("swp0", "p0"), ("swrep0", "pf0vf0"), ("swrep1", "pf0vf1")] {
            let path = format!("/sys/class/net/{dev}");
            equal(dev, &guest::read(&format!("{path}/phys_port_name"))?, &name.to_owned())?;
            let id = guest::read(&format!("{path}/phys_switch_id"))?;
            equal(dev, &id, &"737773696d2d3000".to_owned())?;
        }
        contains(&guest::run("ethtool -i swrep0")?, "driver: swsim")?;
        contains(&guest::run("ethtool -k swrep0")?, "hw-tc-offload: on")
    });
    checks.check("a function is no representor", || {
        let line = "tc filter add dev swvf0 ingress protocol ip flower skip_sw action drop";
        guest::run("tc qdisc add dev swvf0 clsact")?;
        guest::refused(line)?;
        guest::run("tc qdisc del dev swvf0 clsact").map(drop)
    });
    checks.check("without rules every frame comes up", || {
        install(&[])?;
        expect(&send(&udp())?, &[output("swrep0", &udp())])
    });
    checks.check("what the host sends into a representor comes out at the function", || {
        guest::write(&format!("{DEBUG}/frames"), "clear")?;
        guest::RawSocket::open("swrep1")?.send(&udp())?;
        expect(&captured()?, &[output("swvf1", &udp())])
    });
}

pub(super) fn run(checks: &mut Checks) {
    checks.check("hardware counters: whole frames", hardware_counters);
    checks.check("a miss in a later chain counts nowhere", chain_miss_uncounted);
    checks.check("a full table refuses, and has room again after a removal", full_table);
    checks.check("without skip_sw a refused rule stays in software", software_fallback);
    checks.check("replace is make-before-break in the card", replace);
    checks.check("a rule dropped behind tc's back: in_hw stays, frames miss", dropped);
    checks.check("a shared block has a rule on each of its ports", shared_block);
    checks.check("hw-tc-offload off refuses", offload_off);
    checks.check("two stacks talk and the host sees no packet", stacks_talk);
}

fn filters() -> Outcome<String> {
    guest::run("tc -s filter show dev swrep0 ingress")
}

fn hardware_counters() -> Outcome {
    install(&["protocol ip flower skip_sw action mirred egress redirect dev swrep1"])?;
    contains(&filters()?, "in_hw in_hw_count 1")?;
    for _ in 0..3 {
        send(&udp())?;
    }
    let bytes = 3 * udp().len();
    let text = filters()?;
    contains(&text, &format!("Sent hardware {bytes} bytes 3 pkt"))?;
    contains(&text, "Sent software 0 bytes 0 pkt")
}

fn chain_miss_uncounted() -> Outcome {
    install(&[
        "protocol ip flower skip_sw action goto chain 1",
        "protocol ip chain 1 flower skip_sw dst_ip 10.0.0.2 action drop",
    ])?;
    send(&ipv4(UDP, |h| h.destination = [10, 0, 0, 9]))?;
    let rules = guest::read(&format!("{DEBUG}/rules"))?;
    equal("rules that counted nothing", &rules.matches("packets 0 bytes 0").count(), &2)?;
    send(&udp())?;
    let rules = guest::read(&format!("{DEBUG}/rules"))?;
    let counted = format!("packets 1 bytes {}", udp().len());
    equal("rules that counted one frame", &rules.matches(&counted).count(), &2)
}

fn full_table() -> Outcome {
    install(&["protocol ip pref 1 flower skip_sw dst_ip 10.0.0.2 action drop"])?;
    guest::write(MAX_RULES, "1")?;
    let rule = "dev swrep0 ingress protocol ip pref 2 flower skip_sw dst_ip 10.0.0.3 action drop";
    let text = guest::refused(&format!("tc filter add {rule}"))?;
    contains(&text, "swsim: flow table full")?;
    guest::run("tc filter del dev swrep0 ingress pref 1")?;
    let result = guest::run(&format!("tc filter add {rule}"));
    guest::write(MAX_RULES, "1024")?;
    result.map(drop)
}

fn software_fallback() -> Outcome {
    install(&[
        "protocol ip pref 1 flower dst_ip 10.0.0.2 action drop",
        "protocol ip pref 2 flower dst_ip 10.0.0.3 action pass",
    ])?;
    contains(&guest::run("tc filter show dev swrep0 ingress pref 1")?, "in_hw in_hw_count 1")?;
    contains(&guest::run("tc filter show dev swrep0 ingress pref 2")?, "not_in_hw")
}

fn replace() -> Outcome {
    let rule = "dev swrep0 ingress protocol ip pref 1 handle 1 flower skip_sw dst_ip 10.0.0.2";
    install(&[])?;
    guest::run(&format!("tc filter add {rule} action mirred egress redirect dev swp0"))?;
    guest::write(MAX_RULES, "1")?;
    let line = format!("tc filter replace {rule} action mirred egress redirect dev swrep1");
    let full = guest::refused(&line);
    guest::write(MAX_RULES, "1024")?;
    contains(&full?, "flow table full")?;
    expect(&send(&udp())?, &[output("wire0", &udp())])?;
    guest::run(&line)?;
    expect(&send(&udp())?, &[output("swvf1", &udp())])?;
    equal("rules", &guest::read(&format!("{DEBUG}/rules"))?.lines().count(), &1)
}

fn dropped() -> Outcome {
    install(&["protocol ip flower skip_sw action mirred egress redirect dev swrep1"])?;
    let rules = guest::read(&format!("{DEBUG}/rules"))?;
    let id = rules.split(' ').nth(1).unwrap_or_default();
    guest::write(&format!("{DEBUG}/drop_rule"), id)?;
    let text = filters()?;
    contains(&text, "in_hw in_hw_count 1")?;
    expect(&send(&udp())?, &[output("swrep0", &udp())])?;
    equal("hits in tc's view", &filters()?.contains("Sent hardware"), &false)?;
    guest::run("tc filter del dev swrep0 ingress")?;
    equal("what tc still has", &filters()?, &String::new())
}

fn shared_block() -> Outcome {
    guest::run("tc qdisc del dev swrep0 clsact")?;
    for dev in ["swrep0", "swrep1"] {
        guest::run(&format!("tc qdisc add dev {dev} ingress_block 9 clsact"))?;
    }
    guest::run("tc filter add block 9 protocol ip flower skip_sw action drop")?;
    contains(&guest::run("tc filter show block 9")?, "in_hw_count 2")?;
    let rules = guest::read(&format!("{DEBUG}/rules"))?;
    guest::run("tc filter del block 9")?;
    for dev in ["swrep0", "swrep1"] {
        guest::run(&format!("tc qdisc del dev {dev} clsact"))?;
    }
    guest::run("tc qdisc add dev swrep0 clsact")?;
    contains(&rules, "port swrep0")?;
    contains(&rules, "port swrep1")
}

fn offload_off() -> Outcome {
    install(&[])?;
    guest::run("ethtool -K swrep0 hw-tc-offload off")?;
    let line = "tc filter add dev swrep0 ingress protocol ip flower skip_sw action drop";
    let text = guest::refused(line);
    guest::run("ethtool -K swrep0 hw-tc-offload on")?;
    contains(&text?, "offload is disabled")
}

fn stacks_talk() -> Outcome {
    install(&[])?;
    guest::run("tc qdisc add dev swrep1 clsact")?;
    guest::namespace("f0", "swvf0", "10.0.0.1/24")?;
    guest::namespace("f1", "swvf1", "10.0.0.2/24")?;
    for (from, to) in [("swrep0", "swrep1"), ("swrep1", "swrep0")] {
        for (number, protocol) in ["arp", "ip"].iter().enumerate() {
            guest::run(&format!(
                "tc filter add dev {from} ingress protocol {protocol} pref {} flower skip_sw \
                 action mirred egress redirect dev {to}",
                number + 1
            ))?;
        }
    }
    let before = (guest::came_up("swrep0")?, guest::came_up("swrep1")?);
    guest::run_in("f0", "ping -c 3 -i 0.2 -W 2 10.0.0.2")?;
    let after = (guest::came_up("swrep0")?, guest::came_up("swrep1")?);
    equal("packets on the representors", &after, &before)?;
    guest::remove_namespace("f0", "swvf0")?;
    guest::remove_namespace("f1", "swvf1")
}
