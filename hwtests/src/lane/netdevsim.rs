//! netdevsim: the kernel's own test device. It never forwards in hardware: what it shows is
//! discovery, life cycle, a driver that refuses every flower rule, and one that accepts them all.

use std::fmt::Write as _;
use std::time::Duration;

use super::Lane;
use crate::check::{Checks, Failure, Outcome, contains, equal};
use crate::guest;

pub(super) const LANE: Lane = Lane {
    name: "netdevsim",
    about: "the kernel's netdevsim, as it is (refuses flower) and with flower accepted",
    machine: "plain",
    needs: &[],
    limit: Duration::from_secs(60),
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
        contains(&guest::run(&format!("tc filter show dev {dev} ingress"))?, "not_in_hw")
    });
    checks.check("representors go when the VFs go", || {
        guest::write(&format!("{BUS}/devices/netdevsim1/sriov_numvfs"), "0")?;
        equal("found", &representor("pf0vf0").is_ok(), &false)
    });
    checks.check("with flower accepted, every rule is in_hw", || {
        guest::run("rmmod netdevsim")?;
        guest::run("insmod /root/netdevsim-accept.ko")?;
        make_device(1)?;
        let dev = representor("pf0vf0")?;
        guest::run(&format!("tc qdisc add dev {dev} clsact"))?;
        let skip_sw = RULE.replace("flower", "flower skip_sw");
        guest::run(&format!("tc filter add dev {dev} {skip_sw}"))?;
        contains(&guest::run(&format!("tc filter show dev {dev} ingress"))?, "in_hw in_hw_count 1")
    });
    checks.check("the driver unloads", || guest::run("rmmod netdevsim").map(drop));
}

/// Makes the card netdevsim1 with one port and these VFs, in switchdev mode.
fn make_device(vfs: u32) -> Outcome {
    guest::write(&format!("{BUS}/new_device"), "1 1")?;
    guest::write(&format!("{BUS}/devices/netdevsim1/sriov_numvfs"), &vfs.to_string())?;
    guest::run("devlink dev eswitch set netdevsim/netdevsim1 mode switchdev").map(drop)
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
    text
}
