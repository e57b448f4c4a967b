//! The conformance suite on the card behind real VFIO: the kernel's ioctls, an IOMMU, MSI-X. Each
//! check of the suite is one of the lane's.

use std::sync::Arc;
use std::time::Duration;

use flow::testing::conformance::{CHECKS, Check, Rig};
use flow::{Actions, Clock, Counters, Megaflow, PortId, Provider, odp};
use vfio::{Driver, DriverConfig, FpgaProvider};

use super::bench::BenchClient;
use super::pci;
use crate::check::{Checks, Failure, Outcome, WithContext};
use crate::guest;

const PORTS: [PortId; 2] = [PortId(1), PortId(2)];
/// Opening the card resets it, so the next process finds nothing of the one that died. The checks
/// with the daemon show that.
const NOT_HERE: &str = "a process that dies, and the next one";
const FRAME_BYTES: usize = 60;
const SOON: Duration = Duration::from_secs(5);

pub(super) fn run(checks: &mut Checks) {
    for (name, check) in CHECKS.iter().filter(|(name, _)| *name != NOT_HERE) {
        checks.check(&format!("contract: {name}"), || passes(*check));
    }
}

fn passes(check: Check) -> Outcome {
    let mut bench = BenchClient::open()?;
    // Puts a card in where a check that failed has left none.
    bench.ask("plug")?;
    let config = DriverConfig::new(&PORTS, Clock::start());
    let mut driver = Driver::open_vfio(&pci::card()?, &config).context("opening the card")?;
    let provider = driver.take_provider().ok_or_else(|| Failure::new("no provider"))?;
    let mut rig = OverVfio { provider, driver, bench };
    check(&mut rig)?;
    // What was forwarded until then.
    rig.bench.ask("drain").map(drop)
}

struct OverVfio {
    provider: FpgaProvider,
    driver: Driver,
    bench: BenchClient,
}

impl OverVfio {
    fn send(&mut self, flow: &Megaflow, packets: u64) -> Outcome<Counters> {
        let mut frame = [0; FRAME_BYTES];
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame[..6].copy_from_slice(&flow.matching.key().eth_dst.0);
        let counted = self.counted(flow)? + packets;
        (0..packets).try_for_each(|_| self.bench.send(0, &frame))?;
        guest::wait_for("the card counts", SOON, || Ok(self.counted(flow)? == counted))?;
        Ok(Counters { packets, bytes: FRAME_BYTES as u64 * packets })
    }

    /// Packets of all lives of the megaflow, by the card's own count.
    fn counted(&mut self, flow: &Megaflow) -> Outcome<u64> {
        self.bench.ask(&format!("hits {:x}", flow.ufid.0))?.parse().context("hits")
    }
}

impl Rig for OverVfio {
    fn provider(&mut self) -> &mut dyn Provider {
        &mut self.provider
    }

    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>> {
        let dst = format!("eth(dst=02:00:00:01:{:02x}:{:02x})", n >> 8 & 0xff, n & 0xff);
        let matching = odp::parse_match(&format!("in_port(1),{dst}")).ok()?;
        Some(Arc::new(Megaflow::new(matching, odp::parse_actions("2").ok()?)))
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
        self.bench.ask(&format!("damage {:x}", flow.ufid.0)).is_ok()
    }

    fn take_away(&mut self) -> bool {
        self.bench.ask("pull").is_ok()
    }

    fn give_back(&mut self) -> bool {
        self.bench.ask("plug").is_ok()
    }

    fn left_behind(&mut self) -> Option<u64> {
        let debug = self.driver.debug().ok()?;
        Some(u64::from(debug.em_used + debug.rows_used + debug.masks_used))
    }
}
