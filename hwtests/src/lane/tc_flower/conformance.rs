//! The conformance suite on the real kernel: real netlink, the simulated NIC as the device. Each
//! check of the suite is one of the lane's, and none may be left out here.
//!
//! The device goes with its module. Sockets that break while the interfaces stay are for the
//! imitation of the kernel alone: nobody can break a socket of another from outside.

use std::path::Path;

use flow::testing::conformance::{CHECKS, Check, Rig};
use flow::{Actions, Provider};

use serde_json::Value;

use super::rig::*;

const MAX_RULES: &str = "/sys/module/swsim/parameters/max_rules";
/// Some more than the suite needs: filling the card takes the emulated kernel its time.
const CAPACITY: &str = "700";
const BY_DEFAULT: &str = "1024";

pub(super) fn run(checks: &mut Checks) {
    for (name, check) in CHECKS {
        checks.check(&format!("contract: {name}"), || passes(*check));
    }
}

fn passes(check: Check) -> Outcome {
    let mut rig = OnKernel::open()?;
    guest::write(MAX_RULES, CAPACITY)?;
    let found = check(&mut rig);
    guest::write(MAX_RULES, BY_DEFAULT)?;
    found?;
    rig.tc.remove_all().context("removing")
}

/// Somebody deletes a megaflow's filter with `tc`.
fn delete(flow: &Megaflow) -> Outcome {
    let key = &flow.matching.key();
    let dev = if key.in_port == 1 { "swrep0" } else { "swrep1" };
    let text = guest::run(&format!("tc -j filter show dev {dev} ingress"))?;
    let list: Value = serde_json::from_str(&text).context(&text)?;
    let mac = key.eth_dst.to_string();
    let is_it = |filter: &&Value| filter["options"]["keys"]["dst_mac"] == mac.as_str();
    let found = list.as_array().and_then(|all| all.iter().find(is_it));
    let found = found.ok_or_else(|| Failure::new(format!("no filter for {mac}: {text}")))?;
    let (protocol, pref) = (found["protocol"].as_str().unwrap_or_default(), &found["pref"]);
    let handle = &found["options"]["handle"];
    let which = format!("protocol {protocol} pref {pref} handle {handle} flower");
    guest::run(&format!("tc filter del dev {dev} ingress {which}")).map(drop)
}

struct OnKernel {
    tc: TcProvider,
    arp: Vec<u8>,
    ip: Vec<u8>,
}

impl OnKernel {
    fn open() -> Outcome<OnKernel> {
        if !Path::new("/sys/class/net/swrep0").exists() {
            load()?;
        }
        let mut tc = open()?;
        if rules()? > 0 {
            // A check that failed has left them.
            tc.remove_all().context("removing what is left")?;
            tc = open()?;
        }
        let of_type = |eth_type| {
            let frame = frames::all().into_iter().find(|frame| frame[12..14] == eth_type);
            frame.ok_or_else(|| Failure::new("no such frame"))
        };
        Ok(OnKernel { tc, arp: of_type([8, 6])?, ip: of_type([8, 0])? })
    }

    fn send(&self, flow: &Megaflow, packets: u64) -> Outcome<Counters> {
        let key = &flow.matching.key();
        let mut frame = if key.eth_type == 0x0806 { self.arp.clone() } else { self.ip.clone() };
        frame[..6].copy_from_slice(&key.eth_dst.0);
        let socket = RawSocket::open(if key.in_port == 1 { "swvf0" } else { "swvf1" })?;
        // The card has no queue: it has counted a frame when the socket has sent it.
        (0..packets).try_for_each(|_| socket.send(&frame))?;
        Ok(Counters { packets, bytes: packets * Counters::packet(frame.len()).bytes })
    }
}

impl Rig for OnKernel {
    fn provider(&mut self) -> &mut dyn Provider {
        &mut self.tc
    }

    /// On the representors of both VFs, and under two masks on one of them.
    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>> {
        let dst = format!("eth(dst=02:00:00:00:{:02x}:{:02x})", n >> 8 & 0xff, n & 0xff);
        let (keys, actions) = match n % 4 {
            0 => (format!("in_port(2),{dst},eth_type(0x0800)"), "1"),
            1 => (format!("in_port(1),{dst},eth_type(0x0806)"), "2"),
            _ => (format!("in_port(1),{dst},eth_type(0x0800)"), "2"),
        };
        let (matching, actions) = (odp::parse_match(&keys), odp::parse_actions(actions));
        Some(Arc::new(Megaflow::new(matching.ok()?, actions.ok()?)))
    }

    fn other_actions(&self, _flow: &Megaflow) -> Actions {
        [].into()
    }

    fn refused_actions(&self) -> Option<Actions> {
        odp::parse_actions("99").ok()
    }

    fn hit(&mut self, flow: &Megaflow, packets: u64) -> Option<Counters> {
        self.send(flow, packets).ok()
    }

    fn lose(&mut self, flow: &Megaflow) -> bool {
        delete(flow).is_ok()
    }

    fn restart(&mut self) -> bool {
        open().map(|tc| self.tc = tc).is_ok()
    }

    fn take_away(&mut self) -> bool {
        guest::run("rmmod swsim").is_ok()
    }

    fn give_back(&mut self) -> bool {
        load().is_ok()
    }

    fn left_behind(&mut self) -> Option<u64> {
        let qdiscs = guest::run("tc qdisc show").ok()?;
        let qdiscs = qdiscs.lines().filter(|line| line.contains("clsact")).count();
        u64::try_from(rules().ok()? + qdiscs).ok()
    }
}
