//! The host's workers, each of which carries out its commands at its own pace.

use std::collections::{BTreeMap, VecDeque};

use flow::{Completion, Cursor, Moment, PortId, Stats, UpcallReason};
use hostdp::port::memory::MemoryPeer;
use hostdp::{Datapath, Resolution, UpcallId};
use offload::{Answered, Command, Event, UpcallPacket};

use super::nic::datapath;

pub(super) struct SeveralHosts {
    workers: Vec<HostWorker>,
    /// Commands whose end not all workers have reached, by their numbers: how many are missing, and
    /// the completions so far.
    begun: BTreeMap<u64, (usize, Vec<Completion>)>,
    next: u64,
    /// The worker of each upcall, and its id there.
    asked: Vec<(usize, UpcallId)>,
}

struct HostWorker {
    datapath: Datapath,
    todo: VecDeque<(u64, Command)>,
}

impl SeveralHosts {
    pub(super) fn new(workers: usize) -> (SeveralHosts, Vec<MemoryPeer>) {
        let made = (0..workers).map(|_| {
            let (datapath, peers) = datapath(100_000);
            (HostWorker { datapath, todo: VecDeque::new() }, peers)
        });
        let (workers, peers): (Vec<_>, Vec<_>) = made.unzip();
        let hosts = SeveralHosts { workers, begun: BTreeMap::new(), next: 0, asked: Vec::new() };
        (hosts, peers.into_iter().flatten().collect())
    }

    pub(super) fn count(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn datapaths(&mut self) -> impl Iterator<Item = &mut Datapath> {
        self.workers.iter_mut().map(|worker| &mut worker.datapath)
    }

    /// A packet comes in; those of a station are one worker's.
    pub(super) fn receive(&mut self, station: u64, frame: &[u8], now: Moment) {
        let worker = usize::try_from(station).unwrap() % self.workers.len();
        assert!(self.workers[worker].datapath.receive(PortId(1), frame, now));
    }

    /// Takes upcalls of a worker.
    pub(super) fn upcalls(&mut self, worker: usize) -> Vec<UpcallPacket> {
        let upcalls = self.workers[worker].datapath.next_upcalls(3).into_iter();
        let packets = upcalls.map(|upcall| {
            assert_eq!(upcall.reason, UpcallReason::Miss);
            self.asked.push((worker, upcall.id.unwrap()));
            let id = Some(self.asked.len() as u64 - 1);
            let (key, frame, reason) = (Box::new(upcall.key), upcall.frame, upcall.reason);
            UpcallPacket { id, key, frame, reason }
        });
        packets.collect()
    }

    /// Hands a command to the workers that it concerns.
    pub(super) fn begin(&mut self, command: Command) {
        if let Command::Resolve { id, .. } = &command {
            let (worker, _) = self.asked[usize::try_from(*id).unwrap()];
            self.workers[worker].todo.push_back((0, command));
            return;
        }
        self.next += 1;
        self.begun.insert(self.next, (self.workers.len(), Vec::new()));
        for worker in &mut self.workers {
            worker.todo.push_back((self.next, command.clone()));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.workers.iter().all(|worker| worker.todo.is_empty())
    }

    /// A worker carries out its oldest command. Returns what the engine hears of it.
    pub(super) fn work(&mut self, worker: usize, now: Moment) -> Option<Event> {
        let HostWorker { datapath, todo } = &mut self.workers[worker];
        let (number, command) = todo.pop_front()?;
        match command {
            Command::Apply { place, ops } => {
                let table = datapath.table();
                let done = ops.into_iter().map(|submission| {
                    let result = loop {
                        if let Some(result) = table.try_apply(&submission.op) {
                            break result;
                        }
                    };
                    submission.completed(result)
                });
                let done: Vec<_> = done.collect();
                let (missing, completions) = self.begun.get_mut(&number).unwrap();
                if completions.is_empty() {
                    *completions = done;
                } else {
                    completions.iter_mut().zip(done).for_each(|(sum, one)| add(sum, one));
                }
                *missing -= 1;
                if *missing > 0 {
                    return None;
                }
                let completions = std::mem::take(completions);
                Some(Event::Completed { place, completions })
            }
            Command::ReadStats(place) => {
                let mut stats = Vec::new();
                let end = datapath.table().news_slice(Cursor::default(), usize::MAX, &mut stats);
                assert_eq!(end, None);
                let (missing, _) = self.begun.get_mut(&number).unwrap();
                *missing -= 1;
                match missing {
                    0 => Some(Event::Stats { place, stats: Ok(stats), tables: Vec::new() }),
                    _ => Some(Event::StatsPart { place, stats }),
                }
            }
            Command::Resolve { id, answer } => {
                let resolution = match answer {
                    Answered::Reinject => Resolution::Reinject,
                    Answered::Execute(actions) => Resolution::Execute(actions),
                };
                let (_, id) = self.asked[usize::try_from(id).unwrap()];
                assert!(datapath.resolve(id, &resolution, now), "a packet is lost");
                None
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Adds a worker's part. All workers have the same megaflows.
fn add(sum: &mut Completion, one: Completion) {
    match (&mut sum.result, one.result) {
        (Ok(sum), Ok(one)) => {
            *sum = Stats {
                counters: sum.counters + one.counters,
                used: sum.used.max(one.used),
                tcp_flags: sum.tcp_flags | one.tcp_flags,
            };
        }
        (sum, one) => assert_eq!(*sum, one, "the workers disagree"),
    }
}
