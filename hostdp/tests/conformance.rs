//! The host table passes the conformance suite. Packets hit in a datapath around it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use flow::testing::conformance::{Rig, conforms};
use flow::{Actions, Counters, Megaflow, Moment, PortId, Provider, odp};
use hostdp::datapath::{Datapath, DatapathSettings};
use hostdp::port::memory;

struct Host(Datapath);

impl Host {
    fn new() -> Host {
        let mut datapath =
            Datapath::new(DatapathSettings { flow_limit: 700, ..DatapathSettings::default() });
        for number in [1, 2] {
            let (port, _far) = memory::open(&format!("port{number}"), 4).unwrap();
            datapath.add_port(PortId(number), Box::new(port)).unwrap();
        }
        Host(datapath)
    }
}

impl Rig for Host {
    fn provider(&mut self) -> &mut dyn Provider {
        self.0.table()
    }

    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>> {
        let dst = format!("eth(dst=02:00:00:00:{:02x}:{:02x})", n >> 8, n & 0xff);
        let matching = odp::parse_match(&format!("in_port(1),{dst}")).unwrap();
        Some(Arc::new(Megaflow::new(matching, odp::parse_actions("2").unwrap())))
    }

    fn other_actions(&self, _flow: &Megaflow) -> Actions {
        [].into()
    }

    fn refused_actions(&self) -> Option<Actions> {
        let one = odp::parse_actions("2").unwrap();
        Some(std::iter::repeat_n(one[0].clone(), 5000).collect())
    }

    fn hit(&mut self, flow: &Megaflow, packets: u64) -> Option<Counters> {
        let dst = flow.matching.key().eth_dst;
        let mut frame = [0; 60];
        frame[..6].copy_from_slice(&dst.0);
        for _ in 0..packets {
            assert!(self.0.receive(PortId(1), &frame, Moment(5)));
        }
        Some(Counters { packets, bytes: 60 * packets })
    }

    fn left_behind(&mut self) -> Option<u64> {
        Some(self.0.table().len() as u64)
    }
}

#[test]
fn the_host_table_conforms() {
    let all = conforms(Host::new);
    println!("{all}");
    assert!(all.broken().next().is_none(), "{all}");
    // The table is memory of this process: nobody can take it or a part of it away, and it dies
    // with the process.
    let of_a_device = [
        "what the device has lost",
        "a device that goes and comes back",
        "a process that dies, and the next one",
    ];
    assert_eq!(all.not_made().collect::<Vec<_>>(), of_a_device);
}
