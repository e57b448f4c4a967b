//! How fast the embedded card is: `cargo run --release -p megaflow-vfio --example rate`.
//! Frames a second through the model's table (1,000 flows under two masks, one wire in, one out,
//! frames made and taken by this thread), and operations a second of the driver with the model
//! answering on another core.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use flow::{Blocking, Clock, Generation, Key, Match, Megaflow, Op, PortId};
use vfio::{CardCapabilities, DriverConfig, Embedded, MemoryWire, Wire};

const FLOWS: u16 = 1000;
const FRAMES: u32 = 400_000;

fn main() {
    let ids = [PortId(1), PortId(2)];
    let (a, mut left) = MemoryWire::pair(1024).unwrap();
    let (b, mut right) = MemoryWire::pair(1 << 20).unwrap();
    let wires: Vec<Box<dyn Wire>> = vec![Box::new(a), Box::new(b)];
    let caps = CardCapabilities { buckets: 1 << 14, ..CardCapabilities::default() };
    let caps = CardCapabilities { counters: 1 << 18, action_slots: 1024, ..caps };
    let mut card = Embedded::start(caps, wires, &DriverConfig::new(&ids, Clock::start())).unwrap();
    let mut provider = card.driver.take_provider().unwrap();

    let flow = |n: u32| {
        let [_, high, mid, low] = n.to_be_bytes();
        let mac = flow::MacAddr([2, 0, 0, high, mid, low]);
        let key = Key { in_port: 1, eth_dst: mac, eth_type: 0x800, ..Key::default() };
        let fields = [flow::Field::EthDst, flow::Field::EthType];
        let matching = Match::new(&key, &Key::mask_of(&fields));
        Arc::new(Megaflow::new(matching, [flow::Action::Output(PortId(2))]))
    };
    let many: Vec<Op> =
        (0..100_000).map(|n| Op::Install { flow: flow(n), generation: Generation(1) }).collect();
    let mut done = Vec::new();
    let clock = Clock::start();
    many.chunks(1024).for_each(|ops| provider.apply(ops, &mut done));
    report("install", many.len(), &clock);
    assert!(done.iter().all(|completion| completion.result.is_ok()));
    let mut stats = Vec::new();
    let clock = Clock::start();
    provider.all_stats(&mut stats).unwrap();
    report("statistics of entries", stats.len(), &clock);
    let mut dump = Vec::new();
    let clock = Clock::start();
    provider.all_dumped(&mut dump).unwrap();
    report("dump of entries", dump.len(), &clock);

    let frames: Vec<Vec<u8>> = (0..FLOWS)
        .map(|n| {
            let mut frame = vec![2, 0, 0, 0];
            frame.extend(n.to_be_bytes());
            frame.extend([2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 46]);
            frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            frame.resize(60, 0);
            frame
        })
        .collect();
    let clock = Clock::start();
    for frame in frames.iter().cycle().take(FRAMES as usize) {
        while !left.transmit(frame).unwrap() {
            std::thread::yield_now();
        }
    }
    let mut out = 0;
    while out < FRAMES {
        out += u32::from(right.wait(std::time::Duration::from_secs(1)).is_some());
    }
    report("frames of 60 bytes", FRAMES as usize, &clock);

    let removals: Vec<Op> =
        many.iter().map(|install| Op::Remove { ufid: install.ufid() }).collect();
    done.clear();
    let clock = Clock::start();
    removals.chunks(1024).for_each(|ops| provider.apply(ops, &mut done));
    report("remove", removals.len(), &clock);
    let hits: u64 = done.iter().map(|c| c.result.as_ref().unwrap().counters.packets).sum();
    assert_eq!(hits, u64::from(FRAMES), "every frame is in a final counter");
}

fn report(what: &str, count: usize, clock: &Clock) {
    let seconds = clock.elapsed().as_secs_f64();
    println!("{what}: {count} in {:.1} ms, {:.0} a second", seconds * 1e3, count as f64 / seconds);
}
