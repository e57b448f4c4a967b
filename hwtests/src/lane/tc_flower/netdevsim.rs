//! tc-flower on netdevsim: found by switch and port; the driver as built refuses, the changed one
//! takes everything and forwards nothing.

use super::rig::*;
use crate::check::contains;

const BUS: &str = "/sys/bus/netdevsim";
const VF: &str = "pf0vf0";
const UPLINK: &str = "p1";

pub(super) fn run(checks: &mut Checks) {
    checks.check("netdevsim as built: its ports are found, its refusal is the reason", || {
        guest::load_module("netdevsim")?;
        let mut tc = card()?;
        let ports = tc.ports();
        equal("port 1", &ports[0].device.phys_port_name.as_deref(), &Some(VF))?;
        equal("port 2", &ports[1].device.phys_port_name.as_deref(), &Some(UPLINK))?;
        equal("one switch", &ports[0].device.switch_id, &ports[1].device.switch_id)?;
        let flow = flow("eth_type(0x0800)", "2")?;
        let refusal = tc.admission().admit(&flow).err().map(|refusal| refusal.to_string());
        contains(&format!("{refusal:?}"), "only offload of BPF classifiers supported")?;
        let device = ports[0].device.name.clone();
        let result = apply_one(&mut tc, install(&flow, 1));
        if result.is_ok() {
            return Err(Failure::new("installed nevertheless"));
        }
        tc.remove_all().context("cleaning up")?;
        let qdiscs = guest::run(&format!("tc qdisc show dev {device}"))?;
        equal("a qdisc left", &qdiscs.contains("clsact"), &false)?;
        guest::run("rmmod netdevsim").map(drop)
    });
    checks.check("netdevsim that accepts: megaflows are in hardware, and come out", || {
        guest::run("insmod /root/netdevsim-accept.ko")?;
        let mut tc = card()?;
        let flows = [
            flow("eth_type(0x0800)", "2")?,
            flow("eth_type(0x86dd),ipv6(proto=17,frag=no)", "set(udp(src=7)),2")?,
        ];
        for flow in &flows {
            tc.admission().admit(flow).context("admission")?;
            apply_one(&mut tc, install(flow, 3)).context("installing")?;
        }
        let dumped = dump(&mut tc)?;
        equal("active", &dumped.iter().filter(|dumped| dumped.active).count(), &2)?;
        equal("read back", &dumped.iter().filter(|d| d.flow.is_some()).count(), &2)?;
        equal("statistics", &stats(&mut tc)?.len(), &2)?;
        for flow in &flows {
            apply_one(&mut tc, Op::Remove { ufid: flow.ufid }).context("removing")?;
        }
        equal("left", &dump(&mut tc)?.len(), &0)?;
        tc.remove_all().context("cleaning up")?;
        guest::run("rmmod netdevsim").map(drop)
    });
}

/// A card with one VF in switchdev mode, opened: port 1 is the VF, port 2 the uplink.
fn card() -> Outcome<TcProvider> {
    guest::write(&format!("{BUS}/new_device"), "1 1")?;
    guest::write(&format!("{BUS}/devices/netdevsim1/sriov_numvfs"), "1")?;
    guest::run("devlink dev eswitch set netdevsim/netdevsim1 mode switchdev")?;
    let ids = guest::netdevs()?.into_iter().find_map(|dev| {
        let dir = format!("/sys/class/net/{dev}");
        let name = guest::read(&format!("{dir}/phys_port_name")).ok()?;
        (name == VF).then(|| guest::read(&format!("{dir}/phys_switch_id")))
    });
    let switch_id = ids.ok_or_else(|| Failure::new(format!("no netdev is {VF}")))??;
    open_ports(&[(1, VF), (2, UPLINK)], &switch_id, TcOptions::default())
}
