//! Replacing, full tables, refusals of the driver, changes behind our back, adoption, manners.

use super::rig::*;
use crate::check::contains;

const UDP: &str = "eth_type(0x0800),ipv4(proto=17,frag=no)";

pub(super) fn run(checks: &mut Checks) {
    checks.check("a replacement takes effect at once and the old counters are final", replaced);
    checks.check("a full table says so in the card's words", full);
    checks.check("an interface without hw-tc-offload says so", offload_off);
    checks.check("a filter that somebody deletes is an event and is repaired", deleted);
    checks.check("a rule that the card lost is noticed and is repaired", lost);
    checks.check("a restart adopts everything and goes on counting", adopted);
    checks.check("a label is popped, and the chain changes what is under it", chained);
    checks.check("filters of others stay, ours go, and so does our qdisc", manners);
    checks.check("a thousand megaflows come and go", thousand);
}

fn socket() -> Outcome<RawSocket> {
    RawSocket::open("swvf0")
}

/// A UDP frame that hits [`UDP`].
fn frame() -> Vec<u8> {
    frames::all().swap_remove(0)
}

fn outputs(socket: &RawSocket) -> Outcome<Vec<String>> {
    Ok(send(socket, &[frame()])?.into_iter().map(|(dev, _)| dev).collect())
}

fn replaced() -> Outcome {
    let mut tc = open()?;
    let (to_vf, to_wire) = (flow(UDP, "2")?, flow(UDP, "set(ipv4(ttl=3)),3")?);
    apply_one(&mut tc, install(&to_vf, 1)).context("installing")?;
    let socket = socket()?;
    let one = Counters::packet(frame().len());
    equal("before", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    for (generation, flow, dev) in [(2, &to_wire, "wire0"), (3, &to_vf, "swvf1")] {
        let op = Op::Replace { flow: Arc::clone(flow), generation: Generation(generation) };
        let last = apply_one(&mut tc, op).context("replacing")?;
        equal("final counters", &last.counters, &one)?;
        equal("after", &outputs(&socket)?, &vec![dev.to_owned()])?;
        equal("rules in the card", &rules()?, &1)?;
    }
    tc.remove_all().context("removing")
}

fn full() -> Outcome {
    let parameter = "/sys/module/swsim/parameters/max_rules";
    let mut tc = open()?;
    guest::write(parameter, "1")?;
    apply_one(&mut tc, install(&flow(UDP, "2")?, 1)).context("installing")?;
    let result = apply_one(&mut tc, install(&flow("eth_type(0x88b5)", "2")?, 1));
    guest::write(parameter, "1024")?;
    match result {
        Err(ProviderError::Full(refusal)) => {
            contains(&refusal.to_string(), "table-full")?;
            contains(&refusal.to_string(), "flow table full")?;
        }
        other => return Err(Failure::new(format!("{other:?}"))),
    }
    equal("the one that was there", &stats(&mut tc)?.len(), &1)?;
    tc.remove_all().context("removing")
}

fn offload_off() -> Outcome {
    guest::run("ethtool -K swrep0 hw-tc-offload off")?;
    let tc = open();
    guest::run("ethtool -K swrep0 hw-tc-offload on")?;
    let mut tc = tc?;
    let refusal = tc.admission().admit(&*flow(UDP, "2")?);
    contains(&format!("{refusal:?}"), "TC offload is disabled on net device")?;
    tc.remove_all().context("removing")
}

fn deleted() -> Outcome {
    let mut tc = open()?;
    let flow = flow(UDP, "2")?;
    apply_one(&mut tc, install(&flow, 1)).context("installing")?;
    equal("events of our own doing", &tc.events(), &vec![])?;
    guest::run("tc filter del dev swrep0 ingress")?;
    equal("events", &tc.events(), &vec![flow::ProviderEvent::Changed])?;
    equal("statistics", &stats(&mut tc)?.len(), &0)?;
    apply_one(&mut tc, install(&flow, 2)).context("installing again")?;
    equal("forwarding", &outputs(&socket()?)?, &vec!["swvf1".to_owned()])?;
    guest::run("tc qdisc del dev swrep0 clsact")?;
    equal("events of the qdisc", &tc.events(), &vec![flow::ProviderEvent::Changed])?;
    equal("statistics", &stats(&mut tc)?.len(), &0)?;
    apply_one(&mut tc, install(&flow, 3)).context("installing a third time")?;
    tc.remove_all().context("removing")
}

fn lost() -> Outcome {
    let mut tc = open()?;
    let flow = flow(UDP, "2")?;
    apply_one(&mut tc, install(&flow, 1)).context("installing")?;
    guest::write(&format!("{DEBUG}/drop_rule"), "0")?;
    equal("active after a restart", &dump(&mut open()?)?[0].active, &false)?;
    equal("statistics", &stats(&mut tc)?.len(), &0)?;
    apply_one(&mut tc, install(&flow, 2)).context("installing again")?;
    equal("forwarding", &outputs(&socket()?)?, &vec!["swvf1".to_owned()])?;
    equal("rules in the card", &rules()?, &1)?;
    tc.remove_all().context("removing")
}

fn adopted() -> Outcome {
    let flows = [flow(UDP, "2")?, flow("eth_type(0x0806)", "3")?];
    {
        let mut tc = open()?;
        let ops = [install(&flows[0], 41), install(&flows[1], 42)];
        for done in apply(&mut tc, &ops) {
            done.result.context("installing")?;
        }
        outputs(&socket()?)?;
    }
    let mut tc = open()?;
    let found = dump(&mut tc)?;
    for (flow, generation) in flows.iter().zip([41, 42]) {
        let one = found.iter().find(|dumped| dumped.ufid == flow.ufid);
        let one = one.ok_or_else(|| Failure::new("not found"))?;
        equal("megaflow", &one.flow.as_deref(), &Some(&**flow))?;
        equal("generation", &one.generation, &Generation(generation))?;
    }
    equal("adopted", &tc.adopt(&found).len(), &2)?;
    outputs(&socket()?)?;
    let one = Counters::packet(frame().len());
    let counted = stats(&mut tc)?.get(&flows[0].ufid).map(|stats| stats.counters);
    equal("counters of both processes' times", &counted, &Some(one + one))?;
    for flow in &flows {
        apply_one(&mut tc, Op::Remove { ufid: flow.ufid }).context("removing")?;
    }
    tc.remove_all().context("cleaning up")
}

fn chained() -> Outcome {
    let mut tc = open_with(TcOptions { recirculation: true })?;
    let child = flow("recirc_id(0x7),eth_type(0x0800)", "set(ipv4(ttl=33)),2")?;
    let parent = flow("eth_type(0x8847),mpls(bos=1)", "pop_mpls(eth_type=0x800),recirc(7)")?;
    for done in apply(&mut tc, &[install(&child, 1), install(&parent, 1)]) {
        done.result.context("installing")?;
    }
    equal("read back", &dump(&mut tc)?.iter().filter(|d| d.flow.is_some()).count(), &2)?;
    let plain = frame();
    let labelled = frames::all().into_iter().find(|frame| frame[12..14] == [0x88, 0x47]);
    let labelled = labelled.ok_or_else(|| Failure::new("no frame has a label"))?;
    // What the two do one after the other.
    let mut packet = packet::Packet::new(&plain);
    let mut inner = key(&plain);
    packet::edit(&mut packet, &mut inner, &child.actions[0]);
    let got = send(&socket()?, &[labelled.clone(), plain.clone()])?;
    let want = [("swvf1".to_owned(), packet.bytes().to_vec()), ("swrep0".into(), plain.clone())];
    if got != want {
        return Err(Failure::new(format!("got\n{}want\n{}", hex(&got), hex(&want))));
    }
    let counted = stats(&mut tc)?;
    let of = |flow: &Megaflow| counted.get(&flow.ufid).map(|stats| stats.counters);
    equal("the parent's", &of(&parent), &Some(Counters::packet(labelled.len())))?;
    equal("the child's", &of(&child), &Some(Counters::packet(plain.len())))?;
    for flow in [&parent, &child] {
        apply_one(&mut tc, Op::Remove { ufid: flow.ufid }).context("removing")?;
    }
    tc.remove_all().context("cleaning up")
}

fn manners() -> Outcome {
    // In the priority that we would take first.
    guest::run("tc qdisc add dev swrep0 clsact")?;
    let theirs = "protocol ip pref 49151 flower skip_sw dst_ip 192.0.2.9 action drop";
    guest::run(&format!("tc filter add dev swrep0 ingress {theirs}"))?;
    let mut tc = open()?;
    apply_one(&mut tc, install(&flow(UDP, "2")?, 1)).context("installing")?;
    equal("found of ours", &dump(&mut tc)?.len(), &1)?;
    tc.remove_all().context("removing")?;
    let left = guest::run("tc filter show dev swrep0 ingress")?;
    contains(&left, "dst_ip 192.0.2.9")?;
    equal("rules in the card", &rules()?, &1)?;
    guest::run("tc qdisc del dev swrep0 clsact")?;
    let qdiscs = guest::run("tc qdisc show")?;
    if qdiscs.contains("clsact") {
        return Err(Failure::new(format!("a qdisc was left:\n{qdiscs}")));
    }
    Ok(())
}

fn thousand() -> Outcome {
    let mut tc = open()?;
    let station = |n: u32| {
        let (high, low) = (n >> 8 & 0xff, n & 0xff);
        flow(&format!("eth(dst=02:00:00:00:{high:02x}:{low:02x}),eth_type(0x0800)"), "2")
    };
    let flows = (0..1000).map(station).collect::<Outcome<Vec<_>>>()?;
    let installs: Vec<Op> = flows.iter().map(|flow| install(flow, 1)).collect();
    let mut took = Vec::new();
    let mut timed = |what: &str, clock: Clock| {
        took.push(format!("{what} {} ms", clock.elapsed().as_millis()));
    };
    let clock = Clock::start();
    for done in apply(&mut tc, &installs) {
        done.result.context("installing")?;
    }
    timed("install", clock);
    equal("rules in the card", &rules()?, &1000)?;
    let clock = Clock::start();
    equal("statistics", &stats(&mut tc)?.len(), &1000)?;
    timed("statistics", clock);
    let removes: Vec<Op> = flows.iter().map(|flow| Op::Remove { ufid: flow.ufid }).collect();
    let clock = Clock::start();
    for done in apply(&mut tc, &removes) {
        done.result.context("removing")?;
    }
    timed("remove", clock);
    println!("         1000 megaflows: {}", took.join(", "));
    equal("rules left", &rules()?, &0)?;
    tc.remove_all().context("cleaning up")
}
