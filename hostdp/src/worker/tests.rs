use flow::{Action, Dumped, Generation, Key, Mask, Match, Megaflow, Op, Stats, Submission, Ufid};

use super::*;
use crate::datapath::{DatapathSettings, DatapathSnapshot};
use crate::port::memory::{self, MemoryPeer};
use crate::port::{Port, PortError};
use crate::testing;
use crate::upcall::{QueuedUpcall, Resolution, UpcallId, UpcallLimits};

const PATIENCE: Duration = Duration::from_secs(5);

fn start(config: DatapathSettings, ports: u32) -> (Worker, Vec<MemoryPeer>) {
    let (worker, peers) = start_several(config, ports, 1);
    (worker, peers.into_iter().flatten().collect())
}

/// Workers, and for each port the other end of each worker's part.
fn start_several(
    config: DatapathSettings,
    ports: u32,
    workers: usize,
) -> (Worker, Vec<Vec<MemoryPeer>>) {
    let datapaths = (0..workers).map(|_| Datapath::new(config)).collect();
    let worker = spawn(datapaths, &Clock::start(), &[0]).unwrap();
    let add = |n| {
        let (peers, answer) = add_port(&worker, PortId(n), workers);
        answer.recv_timeout(PATIENCE).unwrap().unwrap();
        let event = worker.events().recv_timeout(PATIENCE).unwrap();
        assert!(matches!(event, WorkerEvent::Port { state: LinkState::Up, .. }), "{event:?}");
        peers
    };
    let peers = (1..=ports).map(add).collect();
    (worker, peers)
}

fn add_port(
    worker: &Worker,
    id: PortId,
    workers: usize,
) -> (Vec<MemoryPeer>, Receiver<Result<(), PortError>>) {
    let queues = (0..workers).map(|_| memory::open(&format!("m{id}"), 1024).unwrap());
    let (parts, peers): (Vec<_>, _) = queues.unzip();
    let parts = parts.into_iter().map(|port| Box::new(port) as Box<dyn Port>).collect();
    let (reply, answer) = unbounded();
    worker.handle().add_port(id, parts, Reply::to(reply)).unwrap();
    (peers, answer)
}

fn batch(worker: &Worker) -> Vec<QueuedUpcall> {
    match worker.events().recv_timeout(PATIENCE).unwrap() {
        WorkerEvent::Upcalls(upcalls) => upcalls.read(),
        other => panic!("{other:?}"),
    }
}

fn dropped(batch: Vec<QueuedUpcall>) -> Vec<(UpcallId, Resolution)> {
    batch.into_iter().map(|upcall| (upcall.id.unwrap(), Resolution::Drop)).collect()
}

fn snapshot(worker: &Worker) -> Box<DatapathSnapshot> {
    let (reply, answer) = unbounded();
    worker.handle().snapshot(Reply::to(reply)).unwrap();
    answer.recv_timeout(PATIENCE).unwrap()
}

fn wait_for(peer: &MemoryPeer) -> Vec<u8> {
    let clock = Clock::start();
    while clock.elapsed() < PATIENCE {
        if let Some(packet) = peer.receive() {
            return packet.bytes().to_vec();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no packet within {PATIENCE:?}");
}

fn output(port: u32) -> [Action; 1] {
    [Action::Output(PortId(port))]
}

#[test]
fn a_miss_is_answered_and_the_packet_leaves() {
    let (worker, peers) = start(DatapathSettings::default(), 2);
    let frame = testing::frame(2, 1, 100);
    assert!(peers[0].send(&frame));
    let upcall = batch(&worker).remove(0);
    assert_eq!((upcall.port, &upcall.frame), (PortId(1), &frame));

    let all = Match::new(&upcall.key, &Mask::default());
    let flow = Arc::new(Megaflow::new(all, output(2)));
    let (reply, answer) = unbounded();
    let install = Op::Install { flow: flow.clone(), generation: Generation(4) };
    worker.handle().apply(Submission::number([install]).collect(), Reply::to(reply)).unwrap();
    worker.handle().resolve(vec![(upcall.id.unwrap(), Resolution::Reinject)]).unwrap();
    assert!(answer.recv_timeout(PATIENCE).unwrap()[0].result.is_ok());
    assert_eq!(wait_for(&peers[1]), frame);
    assert!(peers[0].send(&frame));
    assert_eq!(wait_for(&peers[1]), frame);

    let stats = whole(read_stats(&worker));
    assert_eq!(whole(read_stats(&worker)), [], "nothing was hit since then");
    assert_eq!((stats[0].0, stats[0].1.counters.packets), (flow.ufid, 2));
    assert_eq!(whole(read_dump(&worker))[0].generation, Generation(4));
    assert!(snapshot(&worker).ledger.is_exact());

    let datapath = worker.stop().unwrap().remove(0);
    assert_eq!(datapath.ledger().fresh.hits_first_pass.packets, 2);
}

type Received<T> = Receiver<(Vec<T>, bool)>;

fn parts<T: Send + 'static>() -> (ReplyParts<T>, Received<T>) {
    let (send, parts) = unbounded();
    (ReplyParts::with(move |part, is_last| send.send((part, is_last)).unwrap()), parts)
}

fn read_stats(worker: &Worker) -> Received<(Ufid, Stats)> {
    let (send, received) = parts();
    worker.handle().stats(send).unwrap();
    received
}

fn read_dump(worker: &Worker) -> Received<Dumped> {
    let (send, received) = parts();
    worker.handle().dump(send).unwrap();
    received
}

fn whole<T>(parts: Received<T>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        let (part, is_last) = parts.recv_timeout(PATIENCE).unwrap();
        all.extend(part);
        if is_last {
            return all;
        }
    }
}

/// A new flow does not wait until a million others are read.
#[test]
fn a_command_does_not_wait_for_the_end_of_a_reading() {
    const MANY: u32 = 2000;
    let (worker, _peers) = start(DatapathSettings::default(), 2);
    let flow = |port: u32| {
        let key = Key { in_port: port, ..Key::default() };
        Arc::new(Megaflow::new(Match::new(&key, &Mask::default()), output(2)))
    };
    let install = |port| Op::Install { flow: flow(port), generation: Generation(1) };
    let handle = worker.handle();
    // The worker is held until all is sent.
    let (go, gate) = unbounded();
    let (told, order) = unbounded();
    handle.snapshot(Reply::with(move |_| gate.recv_timeout(PATIENCE).unwrap())).unwrap();
    handle
        .apply(Submission::number((1..=MANY).map(install)).collect(), Reply::with(|_| ()))
        .unwrap();
    for reading in ["one reading", "another reading"] {
        let told = told.clone();
        let mut count = 0;
        let parts = ReplyParts::with(move |part: Vec<Dumped>, is_last| {
            count += part.len();
            if is_last {
                told.send((reading, count)).unwrap();
            }
        });
        handle.dump(parts).unwrap();
    }
    let last = Submission::number([install(MANY + 1)]).collect();
    let done = Reply::with(move |done: Vec<_>| told.send(("install", done.len())).unwrap());
    handle.apply(last, done).unwrap();
    go.send(()).unwrap();
    let order: Vec<_> = (0..3).map(|_| order.recv_timeout(PATIENCE).unwrap()).collect();
    let all = MANY as usize + 1;
    assert_eq!(order, [("install", 1), ("one reading", all), ("another reading", all)]);
    // A reading does not go on within a command, whose completions come at its end.
    let (go, gate) = unbounded();
    handle.snapshot(Reply::with(move |_| gate.recv_timeout(PATIENCE).unwrap())).unwrap();
    let dump = read_dump(&worker);
    let remove = (1..=MANY).map(|port| Op::Remove { ufid: flow(port).ufid });
    handle.apply(Submission::number(remove).collect(), Reply::with(|_| ())).unwrap();
    go.send(()).unwrap();
    assert!(whole(dump).len() < all / 2);
}

/// Commands that take many steps are carried out in order, and packets go on in between.
#[test]
fn long_commands_keep_their_order_and_hold_no_packet_up() {
    const MANY: u32 = 30_000;
    let (worker, peers) = start(DatapathSettings::default(), 2);
    let flow = |port: u32| {
        let key = Key { in_port: port, ..Key::default() };
        Arc::new(Megaflow::new(Match::new(&key, &Mask::default()), output(2)))
    };
    let install = |port| Op::Install { flow: flow(port), generation: Generation(1) };
    let (reply, applied) = unbounded();
    let installs = Submission::number((1..=MANY).map(install));
    worker.handle().apply(installs.collect(), Reply::to(reply.clone())).unwrap();
    let remove = (1..=MANY).map(|port| Op::Remove { ufid: flow(port).ufid });
    worker.handle().apply(Submission::number(remove).collect(), Reply::to(reply)).unwrap();
    let dump = read_dump(&worker);
    // A packet whose megaflow comes first is forwarded while the others are still to come.
    let frame = testing::frame(2, 1, 100);
    let mut forwarded = 0;
    while applied.len() < 2 {
        assert!(peers[0].send(&frame));
        forwarded += peers[1].drain().len();
        std::thread::sleep(Duration::from_micros(100));
    }
    assert!(forwarded > 0);
    let all = MANY as usize;
    assert_eq!(whole(dump).len(), 0);
    for _ in 0..2 {
        let done = applied.recv_timeout(PATIENCE).unwrap();
        assert!(done.len() == all && done.iter().all(|done| done.result.is_ok()));
    }
    let datapath = worker.stop().unwrap().remove(0);
    assert!(datapath.ledger().is_exact());
}

#[test]
fn commands_reach_the_datapath() {
    let (worker, peers) = start(DatapathSettings::default(), 1);
    let handle = worker.handle().clone();
    let frame = testing::frame(3, 1, 10);
    handle.execute(frame.clone(), PortId(1), output(1).into()).unwrap();
    assert_eq!(wait_for(&peers[0]), frame);

    let (reply, answer) = unbounded();
    handle.receive(PortId(1), frame, Reply::to(reply.clone())).unwrap();
    handle.receive(PortId(5), vec![0; 60], Reply::to(reply)).unwrap();
    let answers = [answer.recv_timeout(PATIENCE).unwrap(), answer.recv_timeout(PATIENCE).unwrap()];
    assert_eq!(answers, [true, false]);
    assert_eq!(batch(&worker)[0].port, PortId(1));

    peers[0].set_state(LinkState::Down);
    let down = worker.events().recv_timeout(PATIENCE).unwrap();
    assert!(matches!(down, WorkerEvent::Port { state: LinkState::Down, .. }), "{down:?}");
    let (reply, answer) = unbounded();
    handle.remove_port(PortId(1), Reply::to(reply)).unwrap();
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap()[0].name(), "m1");
    assert_eq!(
        worker.events().recv_timeout(PATIENCE).unwrap(),
        WorkerEvent::PortRemoved(PortId(1))
    );
    drop(worker.stop());
    assert_eq!(handle.stop(), Err(WorkerGone));
}

#[test]
fn the_client_gets_no_more_than_it_may_have_outstanding() {
    let upcalls = UpcallLimits { outstanding: 3, ..UpcallLimits::default() };
    let (worker, peers) = start(DatapathSettings { upcalls, ..DatapathSettings::default() }, 1);
    for n in 0..20 {
        assert!(peers[0].send(&testing::frame(8 | 2, n, 10)));
    }
    let mut first = Vec::new();
    while first.len() < 3 {
        first.extend(batch(&worker));
    }
    assert_eq!(first.len(), 3);
    assert!(worker.events().recv_timeout(Duration::from_millis(50)).is_err());
    assert_eq!(snapshot(&worker).upcalls_outstanding, 3);
    worker.handle().resolve(dropped(first)).unwrap();
    let mut rest = 17;
    while rest > 0 {
        let batch = batch(&worker);
        rest -= batch.len();
        worker.handle().resolve(dropped(batch)).unwrap();
    }
    let last = snapshot(&worker);
    assert!(last.ledger.is_exact() && last.ledger.fresh.pending.is_zero());
    assert_eq!(last.drops.total().packets, 20);
}

/// What was received in one burst goes up in one message, or as few as the limits allow; the
/// answers come down in one.
#[test]
fn a_burst_of_upcalls_is_few_messages() {
    let upcalls = UpcallLimits { outstanding: 12, batch: 5, ..UpcallLimits::default() };
    let (worker, peers) = start(DatapathSettings { upcalls, ..DatapathSettings::default() }, 1);
    // The worker is busy while the burst comes in.
    let (busy, is_busy) = unbounded::<()>();
    let reply = Reply::with(move |_| assert!(is_busy.recv().is_err()));
    worker.handle().snapshot(reply).unwrap();
    for n in 0..20 {
        assert!(peers[0].send(&testing::frame(8 | 2, n, 10)));
    }
    drop(busy);
    let sizes = |batches: &[Vec<QueuedUpcall>]| batches.iter().map(Vec::len).collect::<Vec<_>>();
    let first: Vec<Vec<QueuedUpcall>> = (0..3).map(|_| batch(&worker)).collect();
    assert_eq!(sizes(&first), [5, 5, 2]);
    let answers = dropped(first.into_iter().flatten().collect());
    worker.handle().resolve(answers).unwrap();
    let mut rest = Vec::new();
    while rest.len() < 8 {
        rest.extend(batch(&worker));
    }
    worker.handle().resolve(dropped(rest)).unwrap();
    let last = snapshot(&worker);
    assert_eq!((last.upcalls_outstanding, last.drops.total().packets), (0, 20));
    assert!(worker.events().is_empty() && last.ledger.is_exact());
}

#[test]
fn an_idle_worker_sleeps() {
    let (worker, _peers) = start(DatapathSettings::default(), 2);
    let before = cpu_of(&worker);
    std::thread::sleep(Duration::from_millis(400));
    let used = cpu_of(&worker) - before;
    assert!(used <= 4, "{used} ticks of 10 ms in 400 ms");
    drop(worker.stop());
}

/// Clock ticks that the worker's thread has used. The reply function runs on that thread.
fn cpu_of(worker: &Worker) -> u64 {
    let (reply, answer) = unbounded();
    let read = move |_| {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let times = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        reply.send(times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()).unwrap();
    };
    worker.handle().snapshot(Reply::with(read)).unwrap();
    answer.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_core_that_is_not_there_is_an_error() {
    for core in [1000, 1 << 20] {
        let datapaths = (0..2).map(|_| Datapath::new(DatapathSettings::default())).collect();
        let error = spawn(datapaths, &Clock::start(), &[0, core]);
        let text = error.err().expect("an error").to_string();
        assert!(text.starts_with(&format!("workers: can't run on core {core}: ")), "{text}");
    }
}

/// The ids of upcalls know their workers, whose queues of a port are apart.
#[test]
fn each_worker_gets_the_answers_to_its_own_upcalls() {
    let (worker, peers) = start_several(DatapathSettings::default(), 2, 3);
    let frame = testing::frame(2, 1, 100);
    let mut answers = Vec::new();
    for peer in &peers[0] {
        assert!(peer.send(&frame));
        let upcall = batch(&worker).remove(0);
        answers.push((upcall.id.unwrap(), Resolution::Execute(output(2).into())));
    }
    assert_eq!(snapshot(&worker).upcalls_outstanding, 3);
    answers.reverse();
    worker.handle().resolve(answers).unwrap();
    for peer in &peers[1] {
        assert_eq!(wait_for(peer), frame);
    }
    let last = snapshot(&worker);
    assert_eq!((last.upcalls_outstanding, last.ledger.fresh.executed.packets), (0, 3));
    assert_eq!((last.ports[0].received.packets, last.ports[1].sent.packets), (3, 3));
}

/// Packets, megaflows that come and go, readings, upcalls, and a port that comes and goes, on three
/// workers: whatever was hit was told once, in a reading or at the end of a life.
#[test]
fn counters_are_exact_under_churn_on_three_workers() {
    const WORKERS: usize = 3;
    for seed in 1..=6_u64 {
        let (worker, mut peers) = start_several(DatapathSettings::default(), 3, WORKERS);
        let handle = worker.handle();
        let (told, news) = unbounded();
        let mut random = seed;
        let mut roll = |sides: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (random >> 33) % sides
        };
        let flow = |n: u64| {
            let (port, eth_type) = (1 + (n % 3) as u32, [0x800, 0x806][(n / 3 % 2) as usize]);
            let key = Key { in_port: port, eth_type, ..Key::default() };
            let mask = Key::mask_of(&[flow::Field::EthType]);
            Arc::new(Megaflow::new(Match::new(&key, &mask), output(2 + (n / 6) as u32)))
        };
        let (mut sent, mut parts_added) = (0, 0);
        for _ in 0..1500 {
            match roll(20) {
                0..=13 => {
                    let peer = &peers[roll(3) as usize][roll(3) as usize];
                    sent += u64::from(peer.send(&testing::frame(roll(3) as u8, roll(9) as u8, 30)));
                }
                14 | 15 => {
                    let (flow, generation) = (flow(roll(12)), Generation(1));
                    let op = match roll(3) {
                        0 => Op::Install { flow, generation },
                        1 => Op::Replace { flow, generation },
                        _ => Op::Remove { ufid: flow.ufid },
                    };
                    let told = told.clone();
                    let done = Reply::with(move |done: Vec<flow::Completion>| {
                        let stats = done.into_iter().filter_map(|done| done.result.ok());
                        told.send(stats.map(|stats| stats.counters).sum()).unwrap();
                    });
                    handle.apply(Submission::number([op]).collect(), done).unwrap();
                }
                16 => {
                    let told = told.clone();
                    let parts = ReplyParts::with(move |part: Vec<(Ufid, Stats)>, _| {
                        told.send(part.iter().map(|(_, stats)| stats.counters).sum()).unwrap();
                    });
                    handle.stats(parts).unwrap();
                }
                17 if roll(20) == 0 => {
                    handle.remove_port(PortId(3), Reply::ignored()).unwrap();
                    peers[2] = add_port(&worker, PortId(3), WORKERS).0;
                    parts_added += 1;
                }
                _ => {
                    for event in worker.events().try_iter() {
                        let WorkerEvent::Upcalls(batch) = event else { continue };
                        let answer =
                            |upcall: QueuedUpcall| (upcall.id.unwrap(), Resolution::Reinject);
                        handle.resolve(batch.read().into_iter().map(answer).collect()).unwrap();
                    }
                }
            }
        }
        let last = whole(read_stats(&worker));
        let datapaths = worker.stop().unwrap();
        assert!(datapaths.iter().all(|datapath| datapath.ledger().is_exact()));
        let received: u64 = datapaths.iter().map(|one| one.ledger().fresh.received.packets).sum();
        assert!(received <= sent && received > 500 && parts_added > 0, "{received} of {sent}");
        let hits: flow::Counters =
            datapaths.iter().map(|one| one.ledger().fresh.hits_first_pass).sum();
        let last: flow::Counters = last.iter().map(|(_, stats)| stats.counters).sum();
        // What a worker forwarded after its part of the last reading.
        let rest = datapaths.into_iter().map(|mut one| {
            let mut rest = Vec::new();
            one.table().news_slice(flow::Cursor::default(), usize::MAX, &mut rest);
            rest.iter().map(|(_, stats)| stats.counters).sum::<flow::Counters>()
        });
        let rest = rest.sum::<flow::Counters>();
        assert_eq!(news.try_iter().sum::<flow::Counters>() + last + rest, hits, "seed {seed}");
        assert!(hits.packets > 100, "seed {seed}: {hits:?}");
    }
}
