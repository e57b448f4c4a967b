use super::*;
use flow::PortId;

fn ports(name: &str) -> Option<PortId> {
    (name == "vf0").then_some(PortId(1))
}

/// Checks that the flow is shown by some filters and hidden by others.
fn check(flow: &str, shown: &[&str], hidden: &[&str]) {
    let flow_ = odp::parse_match(flow).unwrap();
    for (filters, passes) in [(shown, true), (hidden, false)] {
        for filter in filters {
            let parsed = FlowFilter::parse(filter, &ports).unwrap();
            assert_eq!(parsed.passes(&flow_), passes, "{filter} on {flow}");
        }
    }
}

#[test]
fn every_way_of_writing_says_the_same() {
    check(
        "in_port(1),eth_type(0x0800),ipv4(dst=10.1.2.3,proto=6),tcp(dst=80)",
        &[
            "",
            "in_port(1)",
            "eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0)",
            "in_port=vf0",
            "tcp,nw_dst=10.0.0.0/8",
            "nw_dst=10.0.0.0/255.0.0.0,tp_dst=80,tcp",
            "tcp tcp_dst=0x50",
            "in_port(vf0),tcp,tp_dst(80)",
            "tcp,tp_dst=0x52/0xfd",
            "nw_dst=0.0.0.0/0",
            "ip,nw_proto=6",
            "eth_type=0x800,ip_dst=10.1.2.3/32",
        ],
        &["in_port(2)", "in_port=2", "tcp tp_dst=0x51", "udp", "ipv6", "dl_vlan=5", "tcp6"],
    );
}

#[test]
fn what_a_megaflow_leaves_wild_passes() {
    let wide = "in_port(1),eth(dst=02:00:00:00:00:01),eth_type(0x0800),ipv4(frag=no)";
    check(
        wide,
        &["tcp", "tcp,tp_dst=80", "ip,nw_ttl=3,nw_tos=4", "eth_src=02:00:00:00:00:02,ip_ecn=3,ip"],
        &["arp", "tcp6", "tcp,eth_dst=02:00:00:00:00:02", "ip,nw_frag=later", "icmp6"],
    );
    check("in_port(1),eth_type(0x0806),arp(op=1)", &["arp_spa=10.0.0.1,arp"], &["arp,arp_op=2"]);
    check(
        "in_port(1),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135)",
        &["icmp6", "icmpv6_type=135", "ipv6_src=fe80::/10", "icmp6,tp_src=135"],
        &["icmpv6_type=136", "icmp", "tcp6"],
    );
    let label = "in_port(1),eth_type(0x8847),mpls(label=7,tc=1,ttl=64,bos=1)";
    check(label, &["mpls,mpls_label=7,mpls_tc=1,mpls_bos=1"], &["mpls,mpls_ttl=63", "mplsm"]);
    let flags = "in_port(1),eth_type(0x0800),ipv4(proto=6),tcp_flags(+syn-ack)";
    check(flags, &["tcp,tcp_flags=+syn", "tcp,tcp_flags=0x2"], &["tcp,tcp_flags=syn|ack"]);
}

#[test]
fn a_tag_is_wild_unless_the_filter_speaks_of_it() {
    let tagged = "in_port(1),eth_type(0x8100),vlan(vid=5,pcp=3),encap(eth_type(0x0800))";
    check(
        tagged,
        &["ip", "dl_vlan=5", "vlan_vid=0x1005", "dl_vlan_pcp=3", "vlan_tci=0x7005", "tcp"],
        &["dl_vlan=4", "dl_vlan=0xffff", "vlan_tci=0", "vlan_vid=0", "dl_vlan_pcp=2,dl_vlan=5"],
    );
    check(
        tagged,
        &["in_port(1),eth_type(0x0800)", "vlan_tci=0x1000/0x1000"],
        &["eth_type(0x86dd)"],
    );
    check("in_port(1),eth_type(0x0800)", &["dl_vlan=0xffff", "vlan_tci=0"], &["dl_vlan=5"]);
}

#[test]
fn what_is_no_filter_is_an_error_that_names_it() {
    for (bad, at_fault) in [
        ("foo", "'foo' is neither a protocol"),
        ("foo=1", "no field 'foo'"),
        ("in_port=x", "'in_port=x' names no port"),
        ("in_port=0x100000000", "names no port"),
        ("tcp,tp_dst=65536", "'tp_dst=65536' has '65536', which is too large: at most 65535"),
        ("nw_dst=10.0", "'10.0', which is not an IPv4 address"),
        ("nw_dst=10.0.0.0/200", "'nw_dst=10.0.0.0/200' has a prefix of 200 bits: at most 32"),
        ("nw_dst=10.0.0.0/33", "at most 32"),
        ("arp,arp_tpa=10.0.0.0/-1", "'-1', which is not an IPv4 address"),
        ("ipv6_src=fe80::/129", "at most 128"),
        ("ipv6_src=10.0.0.1", "which is not an IPv6 address"),
        ("eth_src=1:2", "'1:2', which is not an Ethernet address"),
        ("eth_src=02:00:00:00:00:01/8", "'8', which is not an Ethernet address"),
        ("tcp,tp_dst=1/2/3", "'2/3', which is not a number"),
        ("tcp,tp_dst=1/0x10000", "'0x10000', which is too large"),
        ("dl_vlan=4096", "'4096', which is too large: at most 4095"),
        ("dl_vlan_pcp=8", "at most 7"),
        ("ip,nw_ttl=300", "at most 255"),
        ("tp_dst=80", "'tp_dst=80' needs tcp, udp"),
        ("arp,nw_dst=1.2.3.4", "'nw_dst=1.2.3.4' needs ip beside it"),
        ("udp,tcp_dst=80", "'tcp_dst=80' needs tcp"),
        ("tcp,udp", "'udp' contradicts an earlier condition on ip_proto"),
        ("ip,nw_frag=yes", "'nw_frag=yes'"),
        ("tcp,tcp_flags=+foo", "'tcp_flags=+foo'"),
        ("in_port(", "column"),
        ("eth_type(0x0800),ipv4(dst=10.0.0.0/200)", "200"),
    ] {
        let error = FlowFilter::parse(bad, &ports).unwrap_err();
        assert!(error.starts_with(&format!("filter '{bad}': ")), "{error}");
        assert!(error.contains(at_fault), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
