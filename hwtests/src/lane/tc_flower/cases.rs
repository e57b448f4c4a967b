//! Megaflow by megaflow: admitted, installed, shown back the same, forwarding exactly what the
//! reference forwards, counted to the byte, removed with the final count.

use super::rig::*;

/// Match behind `in_port(1)`, and actions. Port 2 is VF 1, port 3 the wire.
const FLOWS: &[(&str, &str)] = &[
    ("eth(dst=02:00:00:00:00:02),eth_type(0x0800)", "2"),
    ("eth(src=02:00:00:00:00:00/ff:ff:ff:ff:00:00),eth_type(0x0800)", "2,3"),
    ("eth(dst=01:00:00:00:00:00/01:00:00:00:00:00),eth_type(0x88b6)", "drop"),
    ("eth_type(0x88b5)", "3"),
    ("eth_type(0x0806)", "2"),
    ("eth_type(0x0806),arp(op=1)", "2"),
    ("eth_type(0x0806),arp(op=2,sip=10.0.0.1)", "2"),
    ("eth_type(0x0806),arp(tip=10.0.0.0/255.255.255.248)", "2"),
    ("eth_type(0x0806),arp(sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)", "2"),
    ("eth_type(0x8100),vlan(vid=0/0,pcp=0/0)", "2"),
    ("eth_type(0x8100),vlan(vid=5,pcp=0/0),encap(eth_type(0x0800))", "2"),
    ("eth_type(0x8100),vlan(vid=5,pcp=3),encap(eth_type(0x0800))", "2"),
    ("eth_type(0x88a8),vlan(vid=5,pcp=0/0)", "2"),
    (
        "eth_type(0x88a8),vlan(vid=5,pcp=0/0),encap(eth_type(0x8100),vlan(vid=6,pcp=0/0),\
      encap(eth_type(0x0800)))",
        "2",
    ),
    (
        "eth_type(0x8100),vlan(vid=5,pcp=0/0),encap(eth_type(0x8100),vlan(vid=7,pcp=2),\
      encap(eth_type(0x0800),ipv4(dst=10.0.0.2)))",
        "2",
    ),
    ("eth_type(0x8100),vlan(vid=6,pcp=0/0),encap(eth_type(0x86dd))", "pop_vlan,2"),
    ("eth_type(0x88a8),vlan(vid=5,pcp=0/0)", "pop_vlan,2"),
    (
        "eth_type(0x8100),vlan(vid=5,pcp=0/0),encap(eth_type(0x0800))",
        "pop_vlan,push_vlan(vid=9,pcp=1),2",
    ),
    ("eth_type(0x0800)", "push_vlan(vid=7,pcp=3),2"),
    ("eth_type(0x0800)", "3,push_vlan(tpid=0x88a8,vid=7,pcp=0),2"),
    ("eth_type(0x0800),ipv4(src=10.0.0.0/255.255.255.0)", "2"),
    ("eth_type(0x0800),ipv4(dst=10.0.1.9,proto=17)", "2"),
    ("eth_type(0x0800),ipv4(tos=0x20/0xfc)", "2"),
    ("eth_type(0x0800),ipv4(tos=0x2e,ttl=64)", "2"),
    ("eth_type(0x0800),ipv4(ttl=8/0xf8)", "2"),
    ("eth_type(0x0800),ipv4(frag=no)", "2"),
    ("eth_type(0x0800),ipv4(frag=first)", "2"),
    ("eth_type(0x0800),ipv4(frag=later)", "2"),
    ("eth_type(0x0800),ipv4(proto=17,frag=no),udp(src=1000)", "2"),
    ("eth_type(0x0800),ipv4(proto=17,frag=no),udp(dst=2000/0xfffe)", "2"),
    ("eth_type(0x0800),ipv4(proto=6,frag=no),tcp(dst=80)", "2"),
    ("eth_type(0x0800),ipv4(proto=6,frag=no),tcp_flags(0x002/0x002)", "2"),
    ("eth_type(0x0800),ipv4(proto=6,frag=no),tcp_flags(0x010)", "2"),
    ("eth_type(0x0800),ipv4(proto=1,frag=no),icmp(type=8,code=0)", "2"),
    ("eth_type(0x86dd),ipv6(dst=fd00::/ffff:ffff:ffff:ffff::)", "2"),
    ("eth_type(0x86dd),ipv6(src=fd00::1,hlimit=9,frag=no)", "2"),
    ("eth_type(0x86dd),ipv6(proto=6,frag=no),tcp(src=1000)", "2"),
    ("eth_type(0x86dd),ipv6(proto=58,frag=no),icmpv6(type=128)", "2"),
    ("eth_type(0x8847),mpls(label=16,tc=0,ttl=64,bos=1)", "2"),
    ("eth_type(0x8847),mpls(tc=5)", "2"),
    ("eth_type(0x8847),mpls(bos=1)", "pop_mpls(eth_type=0x800),2"),
    ("eth_type(0x0800)", "push_mpls(label=77,tc=3,ttl=9,bos=1,eth_type=0x8847),2"),
    ("eth_type(0x88b5)", "set(eth(src=02:aa:bb:cc:dd:ee)),2"),
    ("eth_type(0x88b5)", "set(eth(src=02:aa:bb:cc:dd:ee,dst=02:11:22:33:44:55)),2"),
    ("eth_type(0x0800)", "2,set(eth(dst=02:00:00:00:00:99/00:00:00:00:00:ff)),3"),
    ("eth_type(0x0800)", "set(ipv4(ttl=63)),2"),
    ("eth_type(0x0800)", "set(ipv4(tos=0x40/0xfc)),2"),
    ("eth_type(0x0800),ipv4(proto=17,frag=no)", "set(ipv4(src=1.2.3.4,dst=5.6.7.8,ttl=9)),2"),
    ("eth_type(0x0800),ipv4(proto=6,frag=no)", "set(ipv4(dst=5.6.0.0/255.255.0.0)),2"),
    ("eth_type(0x0800),ipv4(proto=1,frag=no)", "set(ipv4(src=9.9.9.9)),2"),
    (
        "eth_type(0x0800),ipv4(proto=6,frag=no)",
        "set(eth(dst=02:00:00:00:00:77)),set(ipv4(dst=9.9.9.9,ttl=63)),set(tcp(dst=8080)),2",
    ),
    ("eth_type(0x0800),ipv4(proto=17,frag=no)", "set(udp(src=5,dst=7)),2"),
    (
        "eth_type(0x0800),ipv4(proto=17,frag=no)",
        "2,set(ipv4(dst=9.9.9.9)),3,set(udp(dst=9)),push_vlan(vid=3,pcp=0),2",
    ),
    ("eth_type(0x86dd),ipv6(proto=17,frag=no)", "set(ipv6(src=fd00::5,dst=fd00::6)),2"),
    ("eth_type(0x86dd),ipv6(proto=58,frag=no)", "set(ipv6(dst=fd00::7)),2"),
    ("eth_type(0x86dd)", "set(ipv6(tclass=0x28,hlimit=63)),2"),
    ("eth_type(0x86dd)", "set(ipv6(tclass=0x28/0xfc)),2"),
    ("eth_type(0x86dd),ipv6(proto=17,frag=no)", "2"),
    ("eth_type(0x86dd),ipv6(dst=fd00::2)", "2"),
    ("eth_type(0x0800),ipv4(proto=17)", "2"),
    ("eth_type(0x0800),ipv4(proto=51)", "2"),
    ("eth_type(0x0806),arp(sip=0.0.0.0,op=1)", "2"),
    ("eth_type(0x0806),arp(sip=0.0.0.0,tip=10.0.0.2)", "2"),
    ("eth_type(0x8035)", "2"),
];

/// What is refused before any device is asked, and how.
const REFUSED: &[(&str, &str, &str)] = &[
    ("eth_type(0x0800)", "userspace(pid=1)", "action userspace"),
    ("eth_type(0x0800)", "trunc(100),2", "action trunc"),
    ("eth_type(0x0800)", "hash(l4(0)),2", "action hash"),
    ("eth_type(0x0800)", "recirc(1)", "recirculation recirc_id"),
    ("eth_type(0x0800)", "9", "port output 9"),
    ("eth_type(0x0800),ipv4(proto=6),tcp(dst=80)", "2", "match-mask ip_frag"),
    ("eth_type(0x0800),ipv4(proto=6)", "set(ipv4(src=1.1.1.1)),2", "set-field ipv4_src"),
    ("eth(dst=02:00:00:00:00:02)", "2", "match-mask eth_type"),
    ("eth_type(0x86dd),ipv6(proto=17)", "2", "match-mask ip_frag"),
    ("eth_type(0x86dd),ipv6(proto=44)", "2", "match-value ip_proto"),
    ("eth_type(0x86dd),ipv6(proto=51,frag=no)", "2", "match-value ip_proto"),
    ("eth_type(0x0806),arp(sip=0.0.0.0)", "2", "match-mask arp_op"),
    ("eth_type(0x8035),arp(sip=0.0.0.0)", "2", "match-mask arp_op"),
    ("dp_hash(0x1/0xf),eth_type(0x0800)", "2", "match-field dp_hash"),
    ("eth_type(0x86dd),ipv6(label=0x5)", "2", "match-field ipv6_label"),
];

pub(super) fn run(checks: &mut Checks) {
    let frames = frames::all();
    let mut tc = open();
    for (keys, actions) in FLOWS {
        checks.check(&format!("{keys} -> {actions}"), || match &mut tc {
            Ok(tc) => forwards(tc, keys, actions, &frames),
            Err(failure) => Err(Failure::new(failure.to_string())),
        });
    }
    drop(tc);
    checks.check("what tc has no words for is refused by name", || {
        let tc = open()?;
        for (keys, actions, reason) in REFUSED {
            match tc.admission().admit(&*flow(keys, actions)?) {
                Ok(()) => return Err(Failure::new(format!("admitted: {keys} -> {actions}"))),
                Err(refusal) => crate::check::contains(&refusal.to_string(), reason)?,
            }
        }
        Ok(())
    });
}

fn forwards(tc: &mut TcProvider, keys: &str, actions: &str, frames: &[Vec<u8>]) -> Outcome {
    if rules()? > 0 {
        tc.remove_all().context("removing what a failed check left")?;
        *tc = open()?;
    }
    let flow = flow(keys, actions)?;
    tc.admission().admit(&flow).context("admission")?;
    apply_one(tc, install(&flow, 7)).context("installing")?;
    let dumped = dump(tc)?;
    let shown = dumped.first().and_then(|dumped| dumped.flow.as_deref());
    equal("the megaflow as the kernel shows it", &shown, &Some(&*flow))?;
    equal("generation", &dumped[0].generation, &Generation(7))?;
    equal("active", &dumped[0].active, &true)?;
    let socket = RawSocket::open("swvf0")?;
    for frames in frames.chunks(AT_ONCE) {
        let got = send(&socket, frames)?;
        let want: Vec<_> =
            frames.iter().map(|frame| wanted(&flow, frame)).collect::<Outcome<_>>()?;
        let want = want.concat();
        if got != want {
            let common = got.iter().zip(&want).take_while(|(got, want)| got == want).count();
            let (got, want) = (hex(&got[common..]), hex(&want[common..]));
            return Err(Failure::new(format!("got\n{got}want\n{want}")));
        }
    }
    let hits = hits(&flow, frames);
    if hits.is_zero() {
        return Err(Failure::new("no frame hits it: the case shows nothing"));
    }
    let counted = stats(tc)?;
    let counters = counted.get(&flow.ufid).map(|stats| stats.counters);
    equal("counters", &counters, &Some(hits))?;
    let last = apply_one(tc, Op::Remove { ufid: flow.ufid }).context("removing")?;
    equal("final counters", &last.counters, &hits)?;
    equal("rules in the card", &rules()?, &0)
}
