//! Beside other hands: `tc`, `ethtool` and a VF that is made again, while our filters are there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flow::{Correction, ProviderEvent};
use serde_json::Value;

use super::rig::*;
use crate::check::contains;

const UDP: &str = "eth_type(0x0800),ipv4(proto=17,frag=no)";
/// A change is noticed at the next look, which a daemon takes 20 times a second.
const SOON: Duration = Duration::from_secs(5);
const PASSES: usize = 200;

pub(super) fn run(checks: &mut Checks) {
    checks.check("while tc adds and deletes a filter, no listing loses one of ours", listed);
    checks.check("tc filter replace under our cookie: noticed, not counted, put right", altered);
    checks.check("somebody's filter before ours: out of hardware, named, back", shadowed);
    checks.check("clsact deleted in the midst of a batch refuses nothing for good", cut);
    checks.check("hw-tc-offload off and on: refused meanwhile, taken again", toggled);
    checks.check("a VF that is made again is sent to again, counters kept", made_again);
}

fn outputs(socket: &RawSocket) -> Outcome<Vec<String>> {
    let frame = frames::all().swap_remove(0);
    Ok(send(socket, &[frame])?.into_iter().map(|(dev, _)| dev).collect())
}

/// The given number of megaflows under each of four masks.
fn megaflows(each: u8) -> Outcome<Vec<Arc<Megaflow>>> {
    let stations = (0..each).map(|n| format!("02:00:00:00:00:{n:02x}"));
    let of_station = |station: String| {
        [
            flow(&format!("eth(dst={station}),eth_type(0x0800)"), "2"),
            flow(&format!("eth(src={station}),eth_type(0x0800)"), "2"),
            flow(&format!("eth(dst={station}),eth_type(0x0806)"), "2"),
            flow(&format!("eth(dst={station}),eth_type(0x0800),ipv4(ttl=9)"), "2"),
        ]
    };
    stations.flat_map(of_station).collect()
}

fn install_all(tc: &mut TcProvider, flows: &[Arc<Megaflow>]) -> Outcome {
    let ops: Vec<Op> = flows.iter().map(|flow| install(flow, 1)).collect();
    apply(tc, &ops).into_iter().try_for_each(|done| done.result.map(drop)).context("installing")
}

fn listed() -> Outcome {
    let mut tc = open()?;
    let flows = megaflows(40)?;
    install_all(&mut tc, &flows)?;
    let theirs = "dev swrep0 ingress protocol ip pref 5";
    let batch: Vec<String> = (0..50)
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
        let passes = (0..PASSES).try_for_each(|pass| {
            let there = stats(&mut tc)?.len();
            equal(&format!("megaflows in pass {pass}"), &there, &flows.len())
        });
        stop.store(true, Ordering::Relaxed);
        let hand: Outcome = hand.join().map_err(|_| Failure::new("a thread panicked"))?;
        passes.and(hand)
    })?;
    equal("rules in the card", &rules()?, &flows.len())?;
    tc.remove_all().context("removing")
}

/// Waits for an event of which this is true; other events are taken too.
fn wait_for(tc: &mut TcProvider, what: &str, is: fn(&ProviderEvent) -> bool) -> Outcome<String> {
    let mut seen = None;
    guest::wait_for(what, SOON, || {
        seen = tc.events().into_iter().find(is);
        Ok(seen.is_some())
    })?;
    Ok(format!("{seen:?}"))
}

fn is_change(event: &ProviderEvent) -> bool {
    *event == ProviderEvent::Changed
}

fn altered() -> Outcome {
    let mut tc = open()?;
    let flow = flow(UDP, "2")?;
    install_all(&mut tc, std::slice::from_ref(&flow))?;
    let socket = socket()?;
    equal("before", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    equal("counted", &stats(&mut tc)?.get(&flow.ufid).map(|s| s.counters.packets), &Some(1))?;
    let text = guest::run("tc -j filter show dev swrep0 ingress")?;
    let list: Value = serde_json::from_str(&text).context(&text)?;
    let ours =
        list.as_array().and_then(|all| all.iter().find(|f| f["options"]["handle"] != Value::Null));
    let ours = ours.ok_or_else(|| Failure::new(format!("no filter: {text}")))?;
    let (pref, handle) = (&ours["pref"], &ours["options"]["handle"]);
    let cookie = ours["options"]["actions"][0]["cookie"].as_str().unwrap_or_default();
    guest::run(&format!(
        "tc filter replace dev swrep0 ingress protocol ip pref {pref} handle {handle} flower \
         skip_sw ip_proto udp ip_flags nofrag action drop cookie {cookie}"
    ))?;
    equal("meanwhile", &outputs(&socket)?, &vec![])?;
    equal("statistics", &stats(&mut tc)?.len(), &0)?;
    let is = |event: &ProviderEvent| {
        matches!(event, ProviderEvent::Corrected { kind: Correction::Altered, megaflows: 1, .. })
    };
    contains(&wait_for(&mut tc, "it is said", is)?, "on swrep0, chain 0 pref")?;
    let op = Op::Replace { flow: flow.clone(), generation: Generation(2) };
    equal("a replacement", &apply_one(&mut tc, op), &Err(ProviderError::NotFound))?;
    apply_one(&mut tc, install(&flow, 3)).context("installing again")?;
    equal("after", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    let last = apply_one(&mut tc, Op::Remove { ufid: flow.ufid }).context("removing")?;
    equal("hits of the second life", &last.counters.packets, &1)?;
    tc.remove_all().context("cleaning up")
}

fn socket() -> Outcome<RawSocket> {
    RawSocket::open("swvf0")
}

fn shadowed() -> Outcome {
    let mut tc = open()?;
    let (flow, arp) = (flow(UDP, "2")?, flow("eth_type(0x0806)", "2")?);
    install_all(&mut tc, &[flow.clone(), arp.clone()])?;
    let socket = socket()?;
    equal("before", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    let theirs = "dev swrep0 ingress protocol ip pref 5";
    guest::run(&format!("tc filter add {theirs} flower skip_hw ip_proto udp action drop"))?;
    equal("one in no hardware", &tc.events(), &vec![])?;
    equal("beside it", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    guest::run(&format!("tc filter del {theirs}"))?;
    guest::run(&format!("tc filter add {theirs} flower skip_sw ip_proto udp action drop"))?;
    let is = |event: &ProviderEvent| {
        matches!(event, ProviderEvent::Corrected { kind: Correction::Shadowed, megaflows: 1, .. })
    };
    wait_for(&mut tc, "that it is there", is_change)?;
    equal("behind it", &outputs(&socket)?, &vec![])?;
    let there: Vec<Ufid> = stats(&mut tc)?.into_keys().collect();
    equal("in the statistics", &there, &vec![arp.ufid])?;
    contains(&wait_for(&mut tc, "it is said", is)?, "chain 0 pref 5")?;
    let refusal = tc.admission().explain(&flow).err().map(|refusal| refusal.to_string());
    contains(&format!("{refusal:?}"), "shadowed tc filter: on swrep0 the flower filter")?;
    let last = apply_one(&mut tc, Op::Remove { ufid: flow.ufid }).context("removing")?;
    equal("hits", &last.counters.packets, &2)?;
    equal("still theirs", &apply_one(&mut tc, install(&flow, 2)).is_ok(), &false)?;
    guest::run(&format!("tc filter del {theirs}"))?;
    wait_for(&mut tc, "that it is gone", is_change)?;
    apply_one(&mut tc, install(&flow, 3)).context("installing again")?;
    equal("after", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    tc.remove_all().context("cleaning up")
}

fn cut() -> Outcome {
    let mut tc = open()?;
    let flows = megaflows(150)?;
    let ops: Vec<Op> = flows.iter().map(|flow| install(flow, 1)).collect();
    let done = thread::scope(|scope| {
        let hand = scope.spawn(|| {
            guest::wait_for("a third is in", SOON, || Ok(rules()? > flows.len() / 3))?;
            // The kernel lets nobody delete a qdisc while a filter is on its way in.
            guest::wait_for("the qdisc is deleted", SOON, || {
                Ok(guest::run("tc qdisc del dev swrep0 clsact").is_ok())
            })
        });
        let done = apply(&mut tc, &ops);
        let hand: Outcome = hand.join().map_err(|_| Failure::new("a thread panicked"))?;
        hand.map(|()| done)
    })?;
    for completion in done {
        if let Err(error @ ProviderError::Unsupported(_)) = completion.result {
            return Err(error).context("a refusal");
        }
    }
    equal("all were in at once", &(rules()? == flows.len()), &false)?;
    guest::wait_for("all are in", SOON, || {
        let there = stats(&mut tc)?;
        let missing = flows.iter().filter(|flow| !there.contains_key(&flow.ufid));
        let ops: Vec<Op> = missing.map(|flow| install(flow, 2)).collect();
        Ok(apply(&mut tc, &ops).is_empty())
    })?;
    equal("rules in the card", &rules()?, &flows.len())?;
    tc.remove_all().context("removing")
}

fn toggled() -> Outcome {
    let mut tc = open()?;
    let flow = flow(UDP, "2")?;
    for _ in 0..2 {
        guest::run("ethtool -K swrep0 hw-tc-offload off")?;
        wait_for(&mut tc, "offload is off", is_change)?;
        let refusal = tc.admission().admit(&flow).err().map(|refusal| refusal.to_string());
        contains(&format!("{refusal:?}"), "TC offload is disabled on net device")?;
        guest::run("ethtool -K swrep0 hw-tc-offload on")?;
        wait_for(&mut tc, "offload is on", is_change)?;
        apply_one(&mut tc, install(&flow, 1)).context("installing")?;
        equal("forwarding", &outputs(&socket()?)?, &vec!["swvf1".to_owned()])?;
        apply_one(&mut tc, Op::Remove { ufid: flow.ufid }).context("removing")?;
    }
    tc.remove_all().context("cleaning up")
}

fn made_again() -> Outcome {
    let mut tc = open()?;
    let flow = flow(UDP, "2")?;
    install_all(&mut tc, std::slice::from_ref(&flow))?;
    let socket = socket()?;
    equal("before", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    let before = guest::read("/sys/class/net/swrep1/ifindex")?;
    guest::write(&format!("{DEBUG}/recreate"), "1")?;
    for dev in ["swrep1", "swvf1"] {
        guest::run(&format!("ip link set {dev} up"))?;
    }
    let now = guest::read("/sys/class/net/swrep1/ifindex")?;
    equal("another ifindex", &(now != before), &true)?;
    let shown = guest::run("tc filter show dev swrep0 ingress")?;
    contains(&shown, "Redirect to device *")?;
    equal("meanwhile", &outputs(&socket)?, &vec![])?;
    wait_for(&mut tc, "it is noticed", is_change)?;
    equal("statistics", &stats(&mut tc)?.len(), &0)?;
    let op = Op::Replace { flow: flow.clone(), generation: Generation(2) };
    let last = apply_one(&mut tc, op).context("replacing")?;
    equal("hits of the first life", &last.counters.packets, &2)?;
    equal("after", &outputs(&socket)?, &vec!["swvf1".to_owned()])?;
    equal("statistics", &stats(&mut tc)?.get(&flow.ufid).map(|s| s.counters.packets), &Some(1))?;
    tc.remove_all().context("removing")
}
