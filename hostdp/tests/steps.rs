//! With many megaflows in the host table every step is still short, and a megaflow takes little
//! memory. The numbers are printed; `COUNT=1000000` measures a million megaflows.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use flow::{Action, Generation, Key, Mask, Match, Megaflow, Op, PortId, Ufid};
use hostdp::table::{Cursor, FlowTable};

/// Longest time in which the worker may not forward.
const LONGEST: Duration = Duration::from_millis(1);
/// A step counts with its shortest time among this number of runs, because the machine does other
/// things too.
const RUNS: usize = 5;
const SLOTS: usize = 128;

fn count() -> u32 {
    std::env::var("COUNT").map_or(120_000, |count| count.parse().unwrap())
}

/// An exact 5-tuple with one output, under one of a number of masks.
fn megaflow(n: u32, masks: u32) -> Arc<Megaflow> {
    let which = n % masks;
    let key = Key {
        in_port: 1,
        eth_type: 0x0800,
        ip_proto: 17,
        ip_tos: which as u8,
        ipv4_src: 0x0a00_0000 | n >> 8,
        ipv4_dst: 0xc0a8_0000 | n & 0xffff,
        tp_src: n as u16,
        tp_dst: 80,
        ..Key::default()
    };
    let mask = Mask {
        eth_type: !0,
        ip_proto: !0,
        ip_tos: if masks > 1 { !0 } else { 0 },
        ip_ttl: if which == 0 { 0 } else { !0 << (which % 8) },
        ipv4_src: !0,
        ipv4_dst: !0,
        tp_src: !0,
        tp_dst: !0 << (which / 8),
        ..Mask::default()
    };
    Arc::new(Megaflow::new(Match::new(&key, &mask), [Action::Output(PortId(2))]))
}

/// What one run did: each step with its time.
#[derive(Default)]
struct Run {
    steps: Vec<(Duration, &'static str)>,
}

impl Run {
    fn step<T>(&mut self, what: &'static str, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        self.steps.push((start.elapsed(), what));
        result
    }

    fn new(masks: u32) -> Run {
        let mut run = Run::default();
        // As in the daemon, somebody else has the megaflows too, and frees them.
        let flows: Vec<Arc<Megaflow>> = (0..count()).map(|n| megaflow(n, masks)).collect();
        let mut table = FlowTable::new(1, 8192, 1 << 20);
        for flow in &flows {
            let op = Op::Install { flow: flow.clone(), generation: Generation(1) };
            while run.step("install", || table.try_apply(&op)).is_none() {}
        }
        let (mut stats, mut dump) = (Vec::new(), Vec::new());
        stats.reserve(table.len());
        dump.reserve(table.len());
        let mut next = Some(Cursor::default());
        while let Some(cursor) = next {
            next = run.step("stats", || table.stats_slice(cursor, SLOTS, &mut stats));
        }
        next = Some(Cursor::default());
        while let Some(cursor) = next {
            next = run.step("dump", || table.dump_slice(cursor, SLOTS, &mut dump));
        }
        drop(dump);
        let all: Vec<Ufid> = stats.iter().map(|(ufid, _)| *ufid).collect();
        assert_eq!(all.len(), count() as usize);
        for ufid in all {
            let done = run.step("remove", || table.try_apply(&Op::Remove { ufid }));
            assert!(done.is_some_and(|done| done.result.is_ok()));
        }
        assert!(table.is_empty());
        run
    }
}

#[test]
fn no_step_takes_a_millisecond() {
    for masks in [1, 10] {
        let mut runs: Vec<Run> = (0..RUNS).map(|_| Run::new(masks)).collect();
        let mut least = runs.pop().unwrap().steps;
        for run in runs {
            assert_eq!(run.steps.len(), least.len());
            least.iter_mut().zip(run.steps).for_each(|(least, step)| *least = step.min(*least));
        }
        for what in ["install", "stats", "dump", "remove"] {
            let all: Vec<_> = least.iter().filter(|step| step.1 == what).map(|s| s.0).collect();
            let (sum, longest) = (all.iter().sum::<Duration>(), *all.iter().max().unwrap());
            println!("{masks} masks, {what}: longest {longest:?}, {:?} each", sum / count());
            assert!(longest < LONGEST, "{what} with {masks} masks: {longest:?}");
        }
    }
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_megaflow_takes_little_memory() {
    let start = resident();
    let flows: Vec<Arc<Megaflow>> = (0..count()).map(|n| megaflow(n, 1)).collect();
    let made = resident();
    let mut table = FlowTable::new(1, 8192, 1 << 20);
    for flow in &flows {
        let op = Op::Install { flow: flow.clone(), generation: Generation(1) };
        while table.try_apply(&op).is_none() {}
    }
    let each = |bytes: usize| bytes / count() as usize;
    let (alone, table_alone) = (each(made - start), each(resident() - made));
    println!("a megaflow has {alone} bytes, its place in the table {table_alone}");
    assert!(alone <= 420 && table_alone <= 200, "{alone} and {table_alone} bytes");
}
