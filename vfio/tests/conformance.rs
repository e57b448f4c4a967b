//! The embedded card passes the conformance suite. Packets hit on its wires.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;

use common::{FIRST_PORT, Rig as Card, flow, udp_frame};
use flow::testing::conformance::{Rig, conforms};
use flow::{Actions, Clock, Counters, Megaflow, Provider, odp};
use vfio::CardCapabilities;
use vfio::model::Damage;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

struct OnCard(Card);

impl OnCard {
    fn new() -> OnCard {
        let buckets = 256;
        OnCard(Card::with(2, CardCapabilities { buckets, ..CardCapabilities::default() }, |_| {}))
    }

    /// Packets of all lives of the megaflow, by the card's own count.
    fn counted(&self, flow: &Megaflow) -> u64 {
        let flows = self.0.card.ledger().flows();
        let lives = flows.iter().filter(|((ufid, _), _)| *ufid == flow.ufid.0);
        lives.map(|(_, counters)| counters.packets).sum()
    }
}

impl Rig for OnCard {
    fn provider(&mut self) -> &mut dyn Provider {
        &mut self.0.provider
    }

    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>> {
        let dst = format!("eth(dst=02:00:00:00:{:02x}:{:02x})", n >> 8, n & 0xff);
        Some(flow(&format!("in_port({FIRST_PORT}),{dst} actions:11")))
    }

    fn other_actions(&self, _flow: &Megaflow) -> Actions {
        [].into()
    }

    fn refused_actions(&self) -> Option<Actions> {
        Some(odp::parse_actions("99").unwrap())
    }

    fn hit(&mut self, flow: &Megaflow, packets: u64) -> Option<Counters> {
        let before = self.counted(flow);
        let mut frame = udp_frame(0, 2, 1, 20);
        frame[..6].copy_from_slice(&flow.matching.key().eth_dst.0);
        for _ in 0..packets {
            self.0.send(0, &frame);
        }
        let start = Clock::start();
        while self.counted(flow) < before + packets {
            assert!(start.elapsed() < PATIENCE, "the card does not count");
            std::thread::yield_now();
        }
        // What came out is of no interest, and the wire is not to be full.
        while self.0.wires[1].take().is_some() {}
        Some(Counters { packets, bytes: frame.len() as u64 * packets })
    }

    fn lose(&mut self, flow: &Megaflow) -> bool {
        self.0.card.card.damage(flow.ufid.0, Damage::Lost);
        true
    }

    fn take_away(&mut self) -> bool {
        self.0.card.card.cut_off();
        true
    }

    fn give_back(&mut self) -> bool {
        self.0.card.card.reconnect();
        true
    }

    fn left_behind(&mut self) -> Option<u64> {
        let debug = self.0.card.driver.debug().unwrap();
        Some(u64::from(debug.em_used + debug.masks_used))
    }
}

#[test]
fn the_embedded_card_conforms() {
    let all = conforms(OnCard::new);
    println!("{all}");
    assert_eq!(all.broken().count(), 0, "{all}");
    // Card and driver are of one process, and die together.
    assert_eq!(all.not_made().collect::<Vec<_>>(), ["a process that dies, and the next one"]);
}
