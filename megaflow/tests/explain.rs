//! What the command says without a daemon: plans, refusals, ODP text, keys of captures, replays.
//! A daemon has to do what the command says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::daemon::{Daemon, Folder};
use common::net::Lan;
use common::pcap::{capture, frames, hex};
use common::{CAPTURE, MEGAFLOW, answers, fails, says, tool, until};
use serde_json::Value;

const TCP: &str = "in_port(1),eth(src=02:00:00:00:00:01),eth_type(0x0800),\
                   ipv4(dst=10.0.0.0/255.0.0.0,proto=6,frag=no),tcp(dst=80)";
const TCP_TC: &str = "tc filter add dev port1 ingress protocol ip flower skip_sw \
                      src_mac 02:00:00:00:00:01 ip_proto tcp dst_ip 10.0.0.0/8 ip_flags nofrag \
                      dst_port 80";
const MPLS: &str = "in_port(1),eth(),eth_type(0x8847),mpls(label=100)";
const INNER: &str = "recirc_id(0x1),in_port(1),eth(),eth_type(0x0800),ipv4(ttl=64,frag=no)";
const ARP: &str = "in_port(1),eth(),eth_type(0x0806),arp(op=1)";
const LABEL: &str = "in_port(1),eth(),eth_type(0x86dd),ipv6(label=0x5,frag=no)";

/// Flows, and the part of each plan after `tc filter add dev port1 ingress`.
const TC_PLANS: &[(&str, &str, &str)] = &[
    (TCP, "2", "action mirred egress redirect dev port2"),
    (TCP, "drop", "action drop"),
    (
        TCP,
        "set(ipv4(src=1.2.3.4,ttl=63)),set(tcp(dst=8080)),push_vlan(vid=10,pcp=3),2,3",
        "action pedit ex munge ip src set 1.2.3.4 munge ip ttl set 63 pipe \
         action pedit ex munge tcp dport set 8080 pipe action csum ip4h and tcp pipe \
         action vlan push id 10 protocol 802.1Q priority 3 \
         action mirred egress mirror dev port2 action mirred egress redirect dev port3",
    ),
];

#[test]
fn tc_plans_are_the_command_that_an_operator_would_type() {
    for (flow, actions, tc) in TC_PLANS {
        let plan = says(&["explain", "--target", "tc", flow, actions]);
        assert_eq!(plan, format!("{TCP_TC} {tc}\n"));
        // The plan is the same if flow and actions are one text, and in JSON.
        let whole = format!("{flow},actions:{actions}");
        assert_eq!(says(&["explain", "--target", "tc", &whole]), plan);
        let json = says(&["explain", "--target", "tc", "--json", &whole]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["plan"], &json["standing"]), (&plan.trim_end().into(), &"takes".into()));
        assert_eq!(json["refusals"], serde_json::json!([]));
    }
}

#[test]
fn card_plans_are_the_entry_that_is_written() {
    // OUTPUT (1) of 4 bytes to wire 1: the flow's second port.
    let plan = says(&["explain", "--target", "fpga", TCP, "2"]);
    assert!(plan.starts_with("ENTRY_WRITE key 0000") && plan.ends_with(" actions 01040001\n"));
    // The mask's bits: port, recirculation id, source, no VLAN, EtherType, protocol, fragment, 8
    // bits of the address, port.
    let bits = 16 + 32 + 48 + 16 + 16 + 8 + 8 + 8 + 16;
    assert!(plan.contains(&format!(" ({bits} of 640 bits) ")), "{plan}");
    // SET_FIELD IP_TTL 63/0xff, OUTPUT 1, in the format of docs/fpga-abi.md.
    let plan = says(&["explain", "--target", "fpga", INNER, "set(ipv4(ttl=63)),2"]);
    assert!(plan.ends_with(" actions 020c00070000003f000000ff01040001\n"), "{plan}");
}

/// Backends, flows that they refuse, and the refusals: reason and subject.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("tc", TCP, "trunc(100),2", "action trunc"),
    ("tc", TCP, "userspace(pid=1)", "action userspace"),
    ("tc", TCP, "sample(sample=50%,actions(2))", "action sample"),
    ("tc", TCP, "hash(l4(0)),recirc(0x2)", "action hash"),
    ("tc", LABEL, "2", "match-field ipv6_label"),
    ("tc", "in_port(1),dp_hash(1),eth_type(0x0800)", "2", "match-field dp_hash"),
    ("tc", ARP, "set(arp(sip=1.2.3.4)),2", "set-field arp_sip"),
    ("tc", MPLS, "pop_mpls(eth_type=0x800),recirc(0x1)", "recirculation recirc_id"),
    ("tc", INNER, "set(ipv4(ttl=63)),2", "recirculation recirc_id"),
    ("fpga", TCP, "trunc(100),2", "action trunc"),
    ("fpga", TCP, "userspace(pid=1)", "action userspace"),
    ("fpga", TCP, "sample(sample=50%,actions(2))", "action sample"),
    ("fpga", "in_port(1),dp_hash(1),eth_type(0x0800)", "2", "match-field dp_hash"),
];

#[test]
fn refusals_name_what_is_at_fault() {
    for (target, flow, actions, want) in REFUSED {
        let said = says(&["explain", "--target", target, flow, actions]);
        let found = said.strip_prefix("refused: ").and_then(|said| said.strip_prefix(want));
        let rest = found.unwrap_or_else(|| panic!("{target} {flow} {actions}: {said}"));
        assert!(rest == "\n" || rest.starts_with(": "), "{said}");
        let json = says(&["explain", "--target", target, "--json", flow, actions]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let refusal = &json["refusals"][0];
        let [reason, subject] = ["reason", "subject"].map(|key| refusal[key].as_str().unwrap());
        assert_eq!((format!("{reason} {subject}").as_str(), &json["plan"]), (*want, &Value::Null));
    }
    let error = fails(&["explain", "--target", "fpga", "in_port(1", "2"], 2);
    assert!(error.starts_with("megaflow explain: flow: column "), "{error}");
    let error = fails(&["explain", "--target", "moon", "in_port(1)", "2"], 2);
    assert!(error.contains("invalid value 'moon'"), "{error}");
}

/// Actions that OVS has and Megaflow does not, and keys.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("ct", "ct(commit,zone=5)"),
    ("ct_clear", "ct_clear"),
    ("meter", "meter(5)"),
    ("clone", "clone(1,2)"),
    ("check_pkt_len", "check_pkt_len(size=200,gt(1),le(2))"),
    ("tnl_pop", "tnl_pop(4)"),
    ("push_nsh", "push_nsh(flags=0,ttl=63,mdtype=2,np=1,spi=0x1,si=255)"),
    ("pop_nsh", "pop_nsh()"),
    ("add_mpls", "add_mpls(label=1,tc=0,ttl=64,bos=1,eth_type=0x8847)"),
    ("lb_output", "lb_output(5)"),
    ("userspace(slow_path)", "userspace(pid=1,slow_path(cfm))"),
    ("userspace(sFlow)", "userspace(pid=1,sFlow(vid=1,pcp=0,output=1))"),
    ("tunnel", "set(tunnel(tun_id=0x1,src=1.1.1.1,dst=2.2.2.2,ttl=64,flags(df|key)))"),
    ("skb_mark", "set(skb_mark(0x5))"),
    ("ct_mark", "set(ct_mark(0x1))"),
    ("nd", "set(nd(target=::1))"),
];
/// Text that OVS does not take as an action either.
const NO_ACTIONS: &[&str] =
    &["foo", "foo(1)", "meter", "meter(x)", "ct(commit", "clone(foo)", "lb_output(x)", "pop_nsh"];
const FOREIGN_KEYS: &[(&str, &str)] = &[
    ("ct_state", "ct_state(+trk+est)"),
    ("ct_label", "ct_label(0x1/0xf)"),
    ("tunnel", "tunnel(tun_id=0x1,src=1.1.1.1,flags(+key))"),
    ("nd", "nd(target=::1)"),
    ("skb_priority", "skb_priority(5)"),
    ("packet_type", "packet_type(ns=1,id=0x800)"),
];

/// If Megaflow can't have a flow, a request for a plan gets a refusal and an installation gets an
/// error. If OVS can't read the flow either, both get an error.
#[test]
fn what_only_ovs_has_is_refused_with_a_reason() {
    let ovs = |actions: &str| {
        let mut dpctl = Command::new("ovs-dpctl");
        tool(dpctl.args(["parse-actions", actions]), "openvswitch-switch").stdout
    };
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    let before = daemon.status()["flows"].clone();
    for (name, actions) in UNSUPPORTED {
        assert!(!ovs(actions).is_empty(), "OVS does not take {actions}");
        // The other reasons against the flow are given too.
        let with = format!("{actions},trunc(100),2");
        for target in ["tc", "fpga"] {
            let said = says(&["explain", "--target", target, TCP, &with]);
            let (first, second) = said.split_once('\n').unwrap();
            assert!(first.contains(&format!(" {name}: Megaflow")), "{said}");
            assert!(second.contains("refused: action trunc"), "{said}");
        }
        let said = daemon.appctl(&["offload/explain", TCP, &with]);
        let head = format!("{TCP} {with}\nplacement: not installed\nrefused: ");
        assert!(said.starts_with(&head), "{said}");
        assert!(said.contains(&format!(" {name}: Megaflow")), "{said}");
        assert!(said.ends_with("\nfpga: refused: action trunc\n"), "{said}");
        // No provider is said to hold the rest of the flow.
        let alone = daemon.appctl(&["offload/explain", TCP, actions]);
        assert!(!alone.contains("can hold it"), "{alone}");
        let error = daemon.try_appctl(&["dpctl/add-flow", TCP, actions]).err;
        assert!(error.contains("is not supported: Megaflow"), "{error}");
    }
    for (name, key) in FOREIGN_KEYS {
        let flow = format!("in_port(1),{key},eth_type(0x86dd),ipv6(label=5,frag=no)");
        let said = says(&["explain", "--target", "tc", &flow, "2"]);
        let (first, second) = said.split_once('\n').unwrap();
        assert!(first.starts_with(&format!("refused: match-field {name}: ")), "{said}");
        assert!(second.starts_with("refused: match-field ipv6_label"), "{said}");
        let error = daemon.try_appctl(&["dpctl/add-flow", &flow, "2"]).err;
        assert!(error.contains(&format!("{name} is not supported: ")), "{error}");
        let json = daemon.appctl(&["offload/explain", "--json", &flow, "2"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["ufid"], &json["installed"]), (&Value::Null, &Value::Null));
        assert_eq!(
            (&json["refusals"][0]["subject"], &json["plans"]),
            (&(*name).into(), &Value::Array(Vec::new()))
        );
    }
    for actions in NO_ACTIONS {
        assert!(ovs(actions).is_empty(), "OVS takes {actions}");
        let error = fails(&["explain", "--target", "fpga", TCP, actions], 2);
        assert!(error.starts_with("megaflow explain: actions: column "), "{error}");
        assert!(!error.contains("not supported"), "{error}");
    }
    assert_eq!(daemon.status()["flows"], before);
}

/// Every reason against a flow is given, before the flow is installed and afterwards. If the
/// reason is only a momentary one, the answer says so.
#[test]
fn every_reason_is_given_at_once() {
    let flow = "in_port(1),dp_hash(1),eth_type(0x0800),ipv4(proto=6,frag=no)";
    let actions = "trunc(100),2";
    let (tc, card) = (
        "refused: match-field dp_hash: tc has no key for it in such packets\n\
         refused: action trunc: tc has none\n",
        "refused: match-field dp_hash\nrefused: action trunc\n",
    );
    assert_eq!(says(&["explain", "--target", "tc", flow, actions]), tc);
    assert_eq!(says(&["explain", "--target", "fpga", flow, actions]), card);
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    let of_daemon = card.replace("refused: ", "fpga: refused: ");
    let before = daemon.appctl(&["offload/explain", flow, actions]);
    assert!(before.ends_with(&format!("\nplacement: not installed\n{of_daemon}")), "{before}");
    daemon.appctl(&["dpctl/add-flow", flow, actions]);
    until("the flow has its place", || daemon.status()["flows"]["refused"] == 1);
    let after = daemon.appctl(&["offload/explain", flow]);
    assert!(after.contains("\nplacement: refused for ") && after.ends_with(&of_daemon), "{after}");
    let table = daemon.says("flows", &[]);
    assert!(table.contains("because: match-field dp_hash\n"), "{table}");
    assert!(table.contains("because: action trunc\n"), "{table}");
    let reasons = daemon.appctl(&["offload/reasons"]);
    assert_eq!(reasons, "action: 1 (trunc 1)\nmatch-field: 1 (dp_hash 1)\n");
    // A chain without a megaflow for its next lookup.
    let parent = "in_port(1),eth(),eth_type(0x88b5)";
    daemon.appctl(&["dpctl/add-flow", parent, "recirc(0x7)"]);
    let waits = "\nfpga: not now: recirculation chain: waiting: no megaflow with recirc_id 0x7 is \
                 in hardware yet\n  ENTRY_WRITE ";
    until("it waits", || daemon.appctl(&["offload/explain", parent]).contains(waits));
    let child = "recirc_id(0x7),in_port(1),eth(),eth_type(0x88b5)";
    daemon.appctl(&["dpctl/add-flow", child, "2"]);
    let holds = "\nfpga: holds it\n  ENTRY_WRITE ";
    until("it goes in", || daemon.appctl(&["offload/explain", parent]).contains(holds));
}

/// What is explained beforehand is what happens. For each flow, the test compares the daemon's
/// words before the installation, the command's words without a daemon, and the placement after
/// the installation.
#[test]
fn what_is_explained_is_what_happens() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    let of_card = REFUSED.iter().filter(|(target, ..)| *target == "fpga");
    let refused = of_card.map(|(_, flow, actions, want)| (*flow, *actions, Some(*want)));
    let taken = [(TCP, "2"), (TCP, "drop"), (LABEL, "2"), (ARP, "set(arp(sip=1.2.3.4)),2")];
    let taken = taken.into_iter().chain([(TCP, "set(tcp(dst=8080)),push_vlan(vid=10,pcp=3),2,1")]);
    let flows = refused.chain(taken.map(|(flow, actions)| (flow, actions, None)));
    for (flow, actions, refusal) in flows {
        let before = daemon.appctl(&["offload/explain", flow, actions]);
        assert!(before.contains("\nplacement: not installed\nfpga: "), "{before}");
        // Without a daemon only the ports that the flow names exist. The words are the same.
        let alone = says(&["explain", "--target", "fpga", flow, actions]);
        let (begin, place) = match refusal {
            Some(_) => ("", "refused"),
            None => ("can hold it\n  ", "nic"),
        };
        if actions.ends_with('2') || refusal.is_some() {
            assert!(before.ends_with(&format!("fpga: {begin}{alone}")), "{before}{alone}");
        }
        daemon.appctl(&["dpctl/add-flow", flow, actions]);
        until("the flow has its place", || daemon.status()["flows"][place] == 1);
        let now = &daemon.flows()[0];
        assert_eq!(now["placement"], place);
        let subject = refusal.map(|_| {
            let [reason, subject] = ["reason", "subject"].map(|k| now["refusals"][0][k].as_str());
            format!("{} {}", reason.unwrap(), subject.unwrap())
        });
        assert_eq!(subject.as_deref(), refusal);
        let plan = before.split("\nfpga: ").nth(1).unwrap();
        let after = daemon.says("explain", &[now["ufid"].as_str().unwrap()]);
        let plan = plan.replacen("can hold it", "holds it", 1);
        assert!(after.ends_with(&format!("\nfpga: {plan}")), "{before}{after}");
        daemon.appctl(&["dpctl/del-flow", flow]);
    }
}

#[test]
fn odp_text_is_printed_as_it_is_read() {
    let odp = |what: &str, input: &str| {
        answers(Command::new(MEGAFLOW).args(["odp", what]), input.as_bytes())
    };
    // This includes actions that OVS prints and can't read back.
    for actions in [
        "recirc(0x1)",
        "hash(l4(0))",
        "push_mpls(label=5,tc=0,ttl=64,bos=1,eth_type=0x8847),2",
        "pop_mpls(eth_type=0x800),recirc(0x1a)",
        "set(ipv4(src=1.2.3.4,ttl=63)),push_vlan(vid=10,pcp=3),1,2",
        "userspace(pid=1,userdata(00ff)),trunc(100),3",
        "sample(sample=50.0%,actions(2,pop_vlan))",
        "drop",
    ] {
        assert_eq!(odp("actions", &format!("{actions}\n")), format!("{actions}\n"));
    }
    let errors = odp("actions", "nonsense\nrecirc(\n1,,nonsense\n");
    assert_eq!(errors.lines().count(), 3);
    assert!(errors.lines().all(|line| line.starts_with("error: ")), "{errors}");
    let masks = odp("masks", &format!("{TCP}\nin_port(1/2)\n"));
    let lines: Vec<&str> = masks.lines().collect();
    assert!(lines.len() == 2 && lines[1].starts_with("error: "), "{masks}");
    assert!(lines[0].contains("ipv4(dst=10.0.0.0/255.0.0.0,proto=6,frag=no)"), "{masks}");
    assert_eq!(odp("masks", &format!("{}\n", lines[0])), format!("{}\n", lines[0]));
}

/// Returns false for OVS's fields that our key does not have (yet): neighbour discovery and NSH
/// headers.
fn is_ours(part: &str) -> bool {
    !["nd_target=", "nd_sll=", "nd_tll=", "nsh_"].iter().any(|name| part.starts_with(name))
}

/// Compares the keys of the bundled capture and of every packet that was ever difficult.
#[test]
fn keys_are_those_that_ovs_ofctl_prints() {
    let folder = Folder::new();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../flow/tests/corpus");
    let kept = common::files(&corpus).into_iter().map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        hex(&lines.collect::<String>())
    });
    let kept: Vec<Vec<u8>> = kept.collect();
    assert!(kept.len() > 40);
    let file = folder.file("corpus.pcap");
    std::fs::write(&file, capture(&kept)).unwrap();
    for (file, packets) in [(CAPTURE, 480), (file.as_str(), kept.len())] {
        let mut ofctl = Command::new("ovs-ofctl");
        let theirs = tool(ofctl.args(["parse-pcap", file]), "openvswitch-common");
        assert!(theirs.status.success(), "{theirs:?}");
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        let theirs: Vec<String> = theirs
            .lines()
            .map(|line| line.split(',').filter(|part| is_ours(part)).collect::<Vec<_>>().join(","))
            .collect();
        let ours = says(&["extract", "--format", "ofctl", file]);
        assert_eq!(ours.lines().collect::<Vec<_>>(), theirs, "{file}");
        assert_eq!(theirs.len(), packets);
        // The keys in ODP text can be read again.
        let keys = says(&["extract", "--port", "3", file]);
        let odp = answers(Command::new(MEGAFLOW).args(["odp", "keys"]), keys.as_bytes());
        assert_eq!(odp, keys);
    }
}

/// The sum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// An IPv4 packet with a TCP or UDP header of these ports, checksums right.
fn packet(proto: u8, ttl: u8, source: [u8; 4], ports: [u16; 2], flags: u8) -> Vec<u8> {
    let ports = ports.map(u16::to_be_bytes).concat();
    let (mut l4, sum_at) = match proto {
        6 => ([&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]].concat(), 16),
        _ => ([&ports[..], &[0, 12, 0, 0, b'd', b'a', b't', b'a']].concat(), 6),
    };
    let destination = [10, 0, 0, 2];
    let length = u16::try_from(l4.len()).unwrap();
    let pseudo = [&source[..], &destination, &[0, proto], &length.to_be_bytes(), &l4].concat();
    l4[sum_at..sum_at + 2].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let total = (length + 20).to_be_bytes();
    let mut ip =
        [&[0x45, 0][..], &total, &[0, 1, 0, 0, ttl, proto, 0, 0], &source, &destination].concat();
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    [ip, l4].concat()
}

fn frame(eth: &str, payload: &[u8]) -> Vec<u8> {
    [&hex("020000000002 020000000001"), &hex(eth), payload].concat()
}

/// The flows are a chain that pops a label, looks up again and rewrites; a rewrite with two
/// outputs; and a drop. Some packets match no flow. Outputs are compared byte for byte.
#[test]
fn a_replay_does_what_the_flows_say() {
    const A: [u8; 4] = [10, 0, 0, 1];
    let folder = Folder::new();
    let udp = packet(17, 64, A, [1000, 2000], 0);
    let arp =
        frame("0806", &hex("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"));
    let tcp = [0x02, 0x10, 0x11].map(|flags| frame("0800", &packet(6, 64, A, [5, 80], flags)));
    let labelled = frame("8847", &[&hex("00064140")[..], &udp].concat());
    let other_label = frame("8847", &[&hex("000c8140")[..], &udp].concat());
    let input =
        [&[labelled, arp.clone(), frame("0800", &udp), other_label.clone()][..], &tcp].concat();
    std::fs::write(folder.file("in.pcap"), capture(&input)).unwrap();
    let flows = folder.write(
        "flows",
        "# label 100\n\
         in_port(7),eth(),eth_type(0x8847),mpls(label=100) pop_mpls(eth_type=0x800),recirc(0x1)\n\
         recirc_id(0x1),in_port(7),eth(),eth_type(0x0800),ipv4(ttl=64,frag=no) \
         set(ipv4(ttl=63)),2\n\
         # The same match in another scope: nobody comes there.\n\
         recirc_id(0x2),in_port(7),eth(),eth_type(0x0800),ipv4(ttl=64,frag=no) 3\n\
         in_port(7),eth(),eth_type(0x0800),ipv4(proto=17,frag=no) \
         set(ipv4(src=192.0.2.1)),set(udp(src=1001)),push_vlan(vid=5,pcp=3),2,3\n\
         in_port(7),eth(),eth_type(0x0800),ipv4(proto=6,frag=no),actions:drop\n",
    );
    let inputs = format!("7={}", folder.file("in.pcap"));
    let args = ["replay", "--flows", &flows, "--in", &inputs, "--out", &folder.file("out")];
    let summary: Value = serde_json::from_str(&says(&args)).unwrap();
    let popped = frame("0800", &packet(17, 63, A, [1000, 2000], 0));
    let rewritten = frame("8100 6005 0800", &packet(17, 64, [192, 0, 2, 1], [1001, 2000], 0));
    for (file, want) in [
        ("2.pcap", &[popped, rewritten.clone()][..]),
        ("3.pcap", &[rewritten]),
        ("7.pcap", &[]),
        ("upcall.pcap", &[arp, other_label]),
    ] {
        let bytes = std::fs::read(folder.path().join("out").join(file)).unwrap();
        assert_eq!(frames(&bytes), want, "{file}");
    }
    let of = |what: &str| -> Vec<String> {
        summary["flows"].as_array().unwrap().iter().map(|flow| flow[what].to_string()).collect()
    };
    assert_eq!(of("packets"), ["1", "1", "0", "1", "3"]);
    // The label is gone at the second lookup. Each lookup counts the frame as it came to that
    // lookup.
    assert_eq!(of("bytes"), ["50", "46", "0", "46", "162"]);
    assert_eq!(of("tcp_flags"), ["\"0\"", "\"0\"", "\"0\"", "\"0\"", "\"SF.\""]);
    assert_eq!((&summary["upcalls"], &summary["recirculations"]), (&2.into(), &1.into()));
    assert_eq!(
        (&summary["explicit_drops"], &summary["drops"]),
        (&3.into(), &Value::Object([].into_iter().collect()))
    );
    assert_eq!(summary["received"]["packets"], 7);
    let error = fails(&["replay", "--flows", CAPTURE, "--in", &inputs, "--out", "/nonexistent"], 2);
    assert!(error.contains("mixed.pcap"), "{error}");
}

/// "No tag" is part of every match that does not mention a tag. This is the same in every place.
#[test]
fn a_wild_ether_type_takes_no_tagged_frame() {
    const WILD: &str = "in_port(3),eth(),eth_type(0x1234/0)";
    let folder = Folder::new();
    let [plain, tagged] = ["1234", "8100 0005 1234"].map(|eth| frame(eth, &[0; 46]));
    std::fs::write(folder.file("in.pcap"), capture(&[plain.clone(), tagged.clone()])).unwrap();
    let flows = folder.write("flows", &format!("{WILD},actions:2\n"));
    let inputs = format!("3={}", folder.file("in.pcap"));
    says(&["replay", "--flows", &flows, "--in", &inputs, "--out", &folder.file("out")]);
    for (file, want) in [("2.pcap", plain), ("upcall.pcap", tagged)] {
        let bytes = std::fs::read(folder.path().join("out").join(file)).unwrap();
        assert_eq!(frames(&bytes), [want], "{file}");
    }
    let plan = says(&["explain", "--target", "fpga", WILD, "2"]);
    assert!(plan.contains(" (64 of 640 bits) "), "port, recirculation id and TCI: {plan}");
    let refused = says(&["explain", "--target", "tc", WILD, "2"]);
    assert!(refused.contains("tc can match \"no tag\" by the EtherType only"), "{refused}");
}
