//! netdevsim: the kernel's own test device. It never forwards in hardware: what it shows is
//! discovery, life cycle, a driver that refuses every flower rule, and one that accepts them all.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Binary, Lane};
use crate::check::{Checks, Failure, Outcome, contains, equal};
use crate::daemon::{self, Daemon};
use crate::guest;

pub(crate) const LANE: Lane = Lane {
    name: "netdevsim",
    about: "the kernel's netdevsim, as it is (refuses flower) and with flower accepted",
    machine: "plain",
    needs: &[Binary { name: "megaflow", package: "megaflow" }],
    limit: Duration::from_secs(90),
    evidence,
    run,
};

const BUS: &str = "/sys/bus/netdevsim";
const RULE: &str = "ingress protocol ip flower dst_ip 10.0.0.2 action drop";

fn run(checks: &mut Checks) {
    checks.check("VF representors appear in switchdev mode", || {
        guest::no_ipv6()?;
        guest::load_module("netdevsim")?;
        make_device(2)?;
        let uplink = representor("p1")?;
        for name in ["pf0vf0", "pf0vf1"] {
            let dev = representor(name)?;
            equal("its card", &switch_id(&dev)?, &switch_id(&uplink)?)?;
        }
        Ok(())
    });
    checks.check("as it is, the driver refuses: skip_sw fails, else not_in_hw", || {
        let dev = representor("pf0vf0")?;
        guest::run(&format!("tc qdisc add dev {dev} clsact"))?;
        let skip_sw = RULE.replace("flower", "flower skip_sw");
        let text = guest::refused(&format!("tc filter add dev {dev} {skip_sw}"))?;
        contains(&text, "only offload of BPF classifiers supported")?;
        guest::run(&format!("tc filter add dev {dev} {RULE}"))?;
        contains(&guest::run(&format!("tc filter show dev {dev} ingress"))?, "not_in_hw")?;
        guest::run(&format!("tc qdisc del dev {dev} clsact")).map(drop)
    });
    checks.check("the daemon on it: flows stay on the host, with the driver's words", refused);
    checks.check("representors go when the VFs go", || {
        guest::write(&format!("{BUS}/devices/netdevsim1/sriov_numvfs"), "0")?;
        equal("found", &representor("pf0vf0").is_ok(), &false)
    });
    checks.check("with flower accepted, every rule is in_hw", || {
        guest::run("rmmod netdevsim")?;
        guest::run("insmod /root/netdevsim-accept.ko")?;
        make_device(2)?;
        let dev = representor("pf0vf0")?;
        guest::run(&format!("tc qdisc add dev {dev} clsact"))?;
        let skip_sw = RULE.replace("flower", "flower skip_sw");
        guest::run(&format!("tc filter add dev {dev} {skip_sw}"))?;
        let shown = guest::run(&format!("tc filter show dev {dev} ingress"))?;
        guest::run(&format!("tc qdisc del dev {dev} clsact"))?;
        contains(&shown, "in_hw in_hw_count 1")
    });
    checks.check("the daemon on it: flows are in hardware, and come out at the end", accepted);
    checks.check("the driver unloads", || guest::run("rmmod netdevsim").map(drop));
}

/// Makes the card netdevsim1 with one port and these VFs, in switchdev mode.
fn make_device(vfs: u32) -> Outcome {
    guest::write(&format!("{BUS}/new_device"), "1 1")?;
    guest::write(&format!("{BUS}/devices/netdevsim1/sriov_numvfs"), &vfs.to_string())?;
    guest::run("devlink dev eswitch set netdevsim/netdevsim1 mode switchdev").map(drop)
}

/// Ports 1 and 2 are the VFs' representors, by the switch's id and their port names.
fn start() -> Outcome<Daemon> {
    let id = switch_id(&representor("pf0vf0")?)?;
    let mut text = "[datapath]\nname = \"br0\"\nclient = \"l2\"\n".to_owned();
    for vf in ["vf0", "vf1"] {
        guest::run(&format!("ip link set {} up", representor(&format!("pf0{vf}"))?))?;
        let device = format!("{{ switch_id = \"{id}\", phys_port_name = \"pf0{vf}\" }}");
        text += &format!("[[port]]\nname = \"{vf}\"\ntype = \"system\"\ndevice = {device}\n");
    }
    let daemon = Daemon::start(&(text + "[[provider]]\nkind = \"tc\"\n"))?;
    let ports = daemon.ctl("dpctl/show", &[])?;
    contains(&ports, "port 1: vf0 (system)")?;
    contains(&ports, "port 2: vf1 (system)")?;
    Ok(daemon)
}

/// A frame from VF 0 to VF 1, as nobody in this machine has those functions.
const FRAME: &str = "02000000000b 02000000000a 88b5";
const FLOW: &str = "in_port(1),eth(src=02:00:00:00:00:0a,dst=02:00:00:00:00:0b),eth_type(0x88b5)";

/// A first packet makes a megaflow, a second one hits it; both leave by the other port.
fn two_packets(daemon: &Daemon) -> Outcome<String> {
    let frame = format!("{FRAME}{}", "00".repeat(46));
    for _ in 0..2 {
        daemon.ctl("port/receive", &["vf0", &frame])?;
    }
    guest::wait_for("both are sent by port 2", Duration::from_secs(5), || {
        let state = daemon.state()?;
        let sent = state.ports.iter().find(|port| port.number == 2).map(|port| port.sent_host);
        Ok(sent.is_some_and(|sent| (sent.packets, sent.bytes) == (2, 120)))
    })?;
    let text = daemon.ctl("offload/explain", &[FLOW])?;
    contains(&text, "actions:2")?;
    Ok(text)
}

fn refused() -> Outcome {
    const WORDS: &str = "only offload of BPF classifiers supported";
    let mut daemon = start()?;
    let text = two_packets(&daemon)?;
    contains(&text, "placement: refused")?;
    contains(&text, &format!("tc: refused: device in_port 1: netdevsim: {WORDS}"))?;
    contains(&daemon.ctl("dpctl/dump-flows", &["-m", "--no-names"])?, "dp:ovs, actions:2")?;
    contains(&guest::run("megaflow doctor")?, WORDS)?;
    daemon.exit()?;
    equal("a qdisc left", &guest::run("tc qdisc show")?.contains("clsact"), &false)
}

fn accepted() -> Outcome {
    let mut daemon = start()?;
    let text = two_packets(&daemon)?;
    contains(&text, "placement: nic (tc)")?;
    contains(
        &daemon.ctl("dpctl/dump-flows", &["-m", "--no-names"])?,
        "offloaded:yes, dp:tc, actions:2",
    )?;
    let dev = representor("pf0vf0")?;
    let filters = guest::run(&format!("tc filter show dev {dev} ingress"))?;
    contains(&filters, "src_mac 02:00:00:00:00:0a")?;
    contains(&filters, "in_hw in_hw_count 1")?;
    contains(&guest::run("megaflow doctor")?, &format!("{dev}: takes rules"))?;
    // What doctor tried is out again, and what the daemon has is as it was.
    equal("filters", &guest::run(&format!("tc filter show dev {dev} ingress"))?, &filters)?;
    daemon.exit()?;
    equal("a qdisc left", &guest::run("tc qdisc show")?.contains("clsact"), &false)
}

fn switch_id(dev: &str) -> Outcome<String> {
    guest::read(&format!("/sys/class/net/{dev}/phys_switch_id"))
}

/// The netdev whose port name this is, as the project finds it too: never by its own name.
fn representor(port: &str) -> Outcome<String> {
    guest::netdevs()?
        .into_iter()
        .find(|dev| {
            let name = guest::read(&format!("/sys/class/net/{dev}/phys_port_name"));
            name.is_ok_and(|name| name == port)
        })
        .ok_or_else(|| Failure::new(format!("no netdev has the port name {port}")))
}

fn evidence() -> String {
    let mut text = String::new();
    for line in ["ip -d link", "devlink dev eswitch show netdevsim/netdevsim1", "devlink port"] {
        let answer = guest::run(line).unwrap_or_else(|failure| failure.to_string());
        let _ = writeln!(text, "{line}:\n{answer}");
    }
    text + &daemon::evidence()
}
