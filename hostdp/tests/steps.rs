//! With many megaflows in the host table every step is still short. The numbers are printed;
//! `COUNT=1000000` measures a million megaflows.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test"
)]

mod many;

use std::sync::Arc;
use std::time::Duration;

use flow::{Action, Clock, Cursor, Generation, Megaflow, Op, PortId, Submission, Ufid};
use hostdp::port::memory;
use hostdp::table::FlowTable;
use hostdp::worker::{self, Reply, ReplyParts, WorkerEvent};
use hostdp::{Datapath, DatapathSettings, QueuedUpcall, Resolution};
use many::{count, megaflow};

/// Longest time in which the worker may not forward.
const LONGEST: Duration = Duration::from_millis(1);
/// A step counts with its shortest time among this number of runs, because the machine does other
/// things too.
const RUNS: usize = 5;
const SLOTS: usize = 128;

/// What one run did: each step with its time.
#[derive(Default)]
struct Run {
    steps: Vec<(Duration, &'static str)>,
}

impl Run {
    fn step<T>(&mut self, what: &'static str, step: impl FnOnce() -> T) -> T {
        let clock = Clock::start();
        let result = step();
        self.steps.push((clock.elapsed(), what));
        result
    }

    fn new(masks: u32) -> Run {
        let mut run = Run::default();
        // As in the daemon, somebody else has the megaflows too, and frees them.
        let flows: Vec<Arc<Megaflow>> = (0..count()).map(|n| megaflow(n, masks)).collect();
        let mut table = FlowTable::new(1, 1 << 20);
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
            assert!(done.is_some_and(|done| done.is_ok()));
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

/// The worker's own measure of its steps, with everything that it can be told to do. It is time,
/// in which the machine does other things too: nearly all steps have to be short, not each.
#[test]
fn the_worker_counts_its_steps() {
    let worker =
        worker::spawn(vec![Datapath::new(DatapathSettings::default())], &Clock::start(), &[])
            .unwrap();
    let handle = worker.handle();
    let (port, peer) = memory::open("one", 4096).unwrap();
    handle.add_port(PortId(1), vec![Box::new(port)], Reply::ignored()).unwrap();
    let flows = (0..count()).map(|n| megaflow(n, 10));
    let generation = Generation(1);
    let (installs, removes): (Vec<Op>, Vec<Op>) = flows
        .map(|flow| (flow.ufid, Op::Install { flow, generation }))
        .map(|(ufid, install)| (install, Op::Remove { ufid }))
        .unzip();
    handle.apply(Submission::number(installs).collect(), Reply::ignored()).unwrap();
    handle.stats(ReplyParts::with(|_, _| ())).unwrap();
    handle.dump(ReplyParts::with(|_, _| ())).unwrap();
    // As many packets as may wait for one answer.
    (0..3000).for_each(|_| assert!(peer.send(&[1; 60])));
    let batch = loop {
        if let WorkerEvent::Upcalls(batch) = worker.events().recv().unwrap() {
            break batch.read();
        }
    };
    let (reply, is_idle) = crossbeam_channel::bounded(1);
    handle.snapshot(Reply::to(reply)).unwrap();
    is_idle.recv().unwrap();
    let actions = [Action::Output(PortId(1))];
    let answer =
        |upcall: QueuedUpcall| (upcall.id.unwrap(), Resolution::Execute(actions.clone().into()));
    handle.resolve(batch.into_iter().map(answer).collect()).unwrap();
    handle.apply(Submission::number(removes).collect(), Reply::ignored()).unwrap();
    handle.remove_port(PortId(1), Reply::ignored()).unwrap();
    let snapshot = worker.stop().unwrap()[0].snapshot();
    assert_eq!((snapshot.flows, snapshot.masks), (0, 0));
    let steps = snapshot.steps;
    let millisecond = steps.cumulative().find(|(bound, _)| *bound >= 1e-3).unwrap().1;
    println!("{:?}", steps.cumulative().collect::<Vec<_>>());
    let long = steps.count() - millisecond;
    // A step carries out some operations.
    let least = u64::from(2 * count()) / 16;
    assert!(steps.count() > least && long * 60 < steps.count(), "{long} long");
}
