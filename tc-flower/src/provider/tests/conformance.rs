//! The provider on the imitation of the kernel passes the conformance suite.

use flow::Actions;
use flow::testing::conformance::{Rig, conforms};

use super::*;
use crate::fake::Link;

struct OnFake {
    kernel: FakeKernel,
    tc: TcProvider<Socket>,
    /// How the device is taken away: its interfaces go, or no socket works any more.
    by_sockets: bool,
    links: Vec<Link>,
}

impl OnFake {
    fn new(by_sockets: bool) -> OnFake {
        let kernel = FakeKernel::new();
        let tc = TcProvider(open(&kernel));
        OnFake { kernel, tc, by_sockets, links: Vec::new() }
    }
}

impl Rig for OnFake {
    fn provider(&mut self) -> &mut dyn Provider {
        &mut self.tc
    }

    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>> {
        // On both interfaces, and under two masks on one of them.
        let dst = format!("eth(dst=02:00:00:00:{:02x}:{:02x})", n >> 8, n & 0xff);
        Some(match n % 4 {
            0 => flow(&format!("in_port(2),{dst},eth_type(0x0800)"), "1"),
            1 => flow(&format!("in_port(1),{dst},eth_type(0x0806)"), "2"),
            _ => flow(&format!("in_port(1),{dst},eth_type(0x0800)"), "2"),
        })
    }

    fn other_actions(&self, _flow: &Megaflow) -> Actions {
        [].into()
    }

    fn refused_actions(&self) -> Option<Actions> {
        Some(odp::parse_actions("99").unwrap())
    }

    fn hit(&mut self, flow: &Megaflow, packets: u64) -> Option<Counters> {
        let at = self.tc.0.table.get(flow.ufid)?.placed.at;
        self.kernel.hit(at, u32::try_from(packets).unwrap(), 100 * packets);
        Some(counters(packets, 100 * packets))
    }

    fn lose(&mut self, flow: &Megaflow) -> bool {
        let at = self.tc.0.table.get(flow.ufid).unwrap().placed.at;
        self.kernel.steal(at);
        true
    }

    fn restart(&mut self) -> bool {
        self.tc = TcProvider(open(&self.kernel));
        true
    }

    fn take_away(&mut self) -> bool {
        if self.by_sockets {
            self.kernel.break_sockets();
            self.kernel.lock().no_sockets = true;
        } else {
            self.links = self.kernel.unload();
        }
        true
    }

    fn give_back(&mut self) -> bool {
        let mut state = self.kernel.lock();
        state.no_sockets = false;
        state.links.append(&mut self.links);
        true
    }

    fn left_behind(&mut self) -> Option<u64> {
        let state = self.kernel.lock();
        Some((state.filters.len() + state.qdiscs.len()) as u64)
    }
}

#[test]
fn tc_on_the_imitation_of_the_kernel_conforms() {
    for by_sockets in [false, true] {
        let all = conforms(|| OnFake::new(by_sockets));
        println!("{all}");
        assert_eq!((all.broken().count(), all.not_made().count()), (0, 0), "{all}");
    }
}
