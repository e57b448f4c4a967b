use flow::{Action, Dumped, Generation, Key, Mask, Match, Megaflow, Op, Stats, Submission, Ufid};

use super::*;
use crate::datapath::{DatapathSettings, DatapathSnapshot};
use crate::port::memory::{self, MemoryPeer};
use crate::testing;
use crate::upcall::{Resolution, UpcallId, UpcallLimits};

const PATIENCE: Duration = Duration::from_secs(5);

fn start(config: DatapathSettings, ports: u32) -> (Worker, Vec<MemoryPeer>) {
    let worker = spawn(Datapath::new(config), Clock::start(), Some(0)).unwrap();
    let mut peers = Vec::new();
    for n in 1..=ports {
        let (port, peer) = memory::open(&format!("m{n}"), 1024).unwrap();
        let (reply, answer) = unbounded();
        worker.handle().add_port(PortId(n), Box::new(port), Reply::to(reply)).unwrap();
        answer.recv_timeout(PATIENCE).unwrap().unwrap();
        peers.push(peer);
        let event = worker.events().recv_timeout(PATIENCE).unwrap();
        assert!(matches!(event, WorkerEvent::Port { state: LinkState::Up, .. }), "{event:?}");
    }
    (worker, peers)
}

fn batch(worker: &Worker) -> Vec<QueuedUpcall> {
    match worker.events().recv_timeout(PATIENCE).unwrap() {
        WorkerEvent::Upcalls(upcalls) => upcalls,
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

    let datapath = worker.stop().unwrap();
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
    let datapath = worker.stop().unwrap();
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
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap().unwrap().name(), "m1");
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
        let error = spawn(Datapath::new(DatapathSettings::default()), Clock::start(), Some(core));
        let text = error.err().expect("an error").to_string();
        assert!(text.starts_with(&format!("workers: can't run on core {core}: ")), "{text}");
    }
}
