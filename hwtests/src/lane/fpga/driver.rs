//! The driver alone: what it reaches through VFIO, and how it takes the card's end.

use std::sync::Arc;
use std::time::Duration;

use flow::exception::{CardPort, MissDescriptor, MissReason};
use flow::{
    Blocking, Clock, Counters, Generation, Megaflow, Op, PortId, Provider, ProviderError,
    ProviderEvent, RecircId,
};
use nix::poll::PollFlags;
use vfio::{CardCapabilities, Driver, DriverConfig, FpgaProvider, RingPort};

use super::bench::{BenchClient, hex, ready};
use super::{frames, pci};
use crate::check::{Checks, Failure, Outcome, WithContext, equal};
use crate::frame;

/// The wires' datapath ports.
const LEFT: PortId = PortId(1);
const RIGHT: PortId = PortId(2);

/// Where the driver's DMA memory begins on the bus, and an address below and above all of it.
const DMA_BEGIN: u64 = 0x1000_0000;
const DMA_BELOW: u64 = DMA_BEGIN - 0x1000;
const DMA_ABOVE: u64 = DMA_BEGIN + (64 << 20);

const LABELLED: &str = "in_port(1),eth(),eth_type(0x8847),\
    mpls(label=100/0xfffff,tc=0/0,ttl=0/0,bos=1/1),actions:pop_mpls(eth_type=0x800),recirc(0x7)";
const INNER: &str = "recirc_id(0x7),in_port(1),eth(),eth_type(0x0800),\
    ipv4(dst=10.9.0.2,ttl=64,frag=no),actions:set(ipv4(ttl=63)),2";
const PLAIN: &str = "in_port(1),eth(dst=02:00:00:00:00:22),eth_type(0x0800),\
    ipv4(proto=17,frag=no),udp(dst=4001),actions:2";

/// The driver's parts, and the tester's side.
struct Rig {
    bench: BenchClient,
    driver: Driver,
    provider: FpgaProvider,
    ports: Vec<RingPort>,
}

pub(super) fn run(checks: &mut Checks) {
    let mut rig = None;
    checks.check("the driver opens the card through VFIO: BAR, DMA, MSI-X", || {
        rig = Some(open(BenchClient::open()?)?);
        Ok(())
    });
    let Some(mut rig) = rig else { return };
    checks.check("its DMA goes where the IOMMU lets it and nowhere else", || dma(&mut rig));
    checks.check("a miss comes up its ring, by an interrupt", || miss(&mut rig));
    checks.check("a frame of the host leaves by its wire", || transmit(&mut rig));
    checks.check("an installed megaflow forwards, and its counter is the card's own", || {
        forward(&mut rig)
    });
    checks.check("in the card: pop MPLS, recirculate, set the TTL; the id scopes", || {
        recirculate(&mut rig)
    });
    checks
        .check("quiesced, all goes to the host; running again, it forwards", || quiesce(&mut rig));
    checks.check("removed megaflows give their last counts", || remove(&mut rig));
    let mut left = Some(rig);
    checks.check("a DMA fault halts the card, and opening it again cures it", || {
        let mut rig = left.take().ok_or_else(|| Failure::new("no card"))?;
        halt(&mut rig)?;
        left = Some(reopen(rig)?);
        Ok(())
    });
    checks.check("pulled out in the middle of traffic, it is gone and nothing hangs", || {
        pull(left.as_mut().ok_or_else(|| Failure::new("no card"))?)
    });
    checks.check("closed, it reaches no memory any more; a new card works", || {
        let rig = left.take().ok_or_else(|| Failure::new("no card"))?;
        let mut rig = reopen(rig)?;
        forward(&mut rig)?;
        let mut bench = close(rig);
        equal("peek", &bench.ask(&format!("peek {DMA_BEGIN:x} 64"))?, &"fault".to_owned())
    });
}

fn open(bench: BenchClient) -> Outcome<Rig> {
    let config = DriverConfig::new(&[LEFT, RIGHT], Clock::start());
    let mut driver = Driver::open_vfio(&pci::card()?, &config).context("opening the card")?;
    let want = CardCapabilities { ports: 2, ..CardCapabilities::default() };
    equal("capabilities", driver.capabilities(), &want)?;
    let provider = driver.take_provider().ok_or_else(|| Failure::new("no provider"))?;
    let ports: Vec<RingPort> =
        [LEFT, RIGHT].iter().filter_map(|port| driver.take_port(*port)).collect();
    equal("ports", &ports.len(), &2)?;
    Ok(Rig { bench, driver, provider, ports })
}

fn close(rig: Rig) -> BenchClient {
    let Rig { bench, driver, provider, ports } = rig;
    drop((ports, provider, driver));
    bench
}

/// Closes the card, makes sure that it reaches nothing, and opens it (or a new one) again.
fn reopen(rig: Rig) -> Outcome<Rig> {
    let mut bench = close(rig);
    equal("peek", &bench.ask(&format!("peek {DMA_BEGIN:x} 64"))?, &"fault".to_owned())?;
    bench.ask("plug")?;
    // What was forwarded until then.
    bench.ask("drain")?;
    open(bench)
}

fn dma(rig: &mut Rig) -> Outcome {
    let inside = rig.bench.ask(&format!("peek {DMA_BEGIN:x} 64"))?;
    equal("bytes read inside", &inside.len(), &128)?;
    // The page below, memory above, and the kernel's own at its physical address.
    for outside in [DMA_BELOW, DMA_ABOVE, 0x100_0000] {
        for command in ["peek", "poke"] {
            let what = if command == "peek" { "16" } else { "ffff" };
            let answer = rig.bench.ask(&format!("{command} {outside:x} {what}"))?;
            equal(&format!("{command} at {outside:#x}"), &answer, &"fault".to_owned())?;
        }
    }
    rig.driver.check().context("the card after that")
}

/// What came up at a port, waiting for its interrupt.
fn received(port: &mut RingPort) -> Outcome<Vec<(MissDescriptor, Vec<u8>)>> {
    let fd = port.readable().ok_or_else(|| Failure::new("the port has no interrupt"))?;
    if !ready(fd, PollFlags::POLLIN, Duration::from_secs(3))? {
        return Err(Failure::new("no interrupt within 3 s"));
    }
    let mut frames = Vec::new();
    let mut sink = |miss: MissDescriptor, bytes: &[u8]| frames.push((miss, bytes.to_vec()));
    port.receive(usize::MAX, &mut sink).context("receiving")?;
    Ok(frames)
}

/// Fails if anything came up.
fn nothing_came_up(rig: &mut Rig) -> Outcome {
    for port in &mut rig.ports {
        let mut count = 0;
        port.receive(usize::MAX, &mut |_, _| count += 1).context("receiving")?;
        equal("frames that came up", &count, &0)?;
    }
    Ok(())
}

fn expect_miss(rig: &mut Rig, recirc_id: u32, original: usize, frame: &[u8]) -> Outcome {
    let frames = received(&mut rig.ports[0])?;
    let [(miss, bytes)] = &frames[..] else {
        return Err(Failure::new(format!("{} frames came up, not 1", frames.len())));
    };
    equal("frame", &hex(bytes), &hex(frame))?;
    let want = MissDescriptor {
        reason: MissReason::Miss,
        recirc_id: RecircId(recirc_id),
        dp_hash: 0,
        original_len: u32::try_from(original).unwrap_or_default(),
    };
    equal("descriptor", miss, &want)
}

fn miss(rig: &mut Rig) -> Outcome {
    for payload in [10, 100, 1400] {
        let frame = frames::udp(64, payload);
        rig.ports[0].arm().context("arming")?;
        let fd = rig.ports[0].readable().ok_or_else(|| Failure::new("no interrupt"))?;
        equal("interrupt before", &ready(fd, PollFlags::POLLIN, Duration::ZERO)?, &false)?;
        rig.bench.send(0, &frame)?;
        expect_miss(rig, 0, frame.len(), &frame)?;
    }
    let ledger = rig.bench.ledger()?;
    equal("handed up, by the ledger", &ledger.port(0, "host").packets, &3)
}

fn transmit(rig: &mut Rig) -> Outcome {
    let frame = frames::udp(9, 700);
    for _ in 0..3 {
        equal("taken", &rig.ports[1].transmit(&frame).context("transmit")?, &true)?;
    }
    rig.ports[1].kick().context("doorbell")?;
    equal("frames", &rig.bench.frames(1, 3)?, &vec![hex(&frame); 3])?;
    rig.bench.frames(0, 0).map(drop)
}

/// A megaflow from its text.
fn megaflow(text: &str) -> Outcome<Arc<Megaflow>> {
    let (_, matching, actions) = flow::odp::parse_flow(text).context(text)?;
    let actions = actions.ok_or_else(|| Failure::new("a megaflow without actions"))?;
    Ok(Arc::new(Megaflow::new(matching, actions)))
}

fn apply(rig: &mut Rig, ops: &[Op]) -> Outcome<Vec<Counters>> {
    let mut done = Vec::new();
    rig.provider.apply(ops, &mut done);
    done.into_iter().map(|one| Ok(one.result.context(one.ufid)?.counters)).collect()
}

fn install(rig: &mut Rig, text: &str) -> Outcome<Arc<Megaflow>> {
    let flow = megaflow(text)?;
    apply(rig, &[Op::Install { flow: flow.clone(), generation: Generation(1) }])?;
    Ok(flow)
}

/// A megaflow's counters: by the driver's snapshot, after they were found to be the card's own.
fn counters(rig: &mut Rig, flow: &Megaflow) -> Outcome<Counters> {
    let mut all = Vec::new();
    rig.provider.all_stats(&mut all).context("statistics")?;
    let stats = all.iter().find(|(ufid, _)| *ufid == flow.ufid);
    let counters = stats.ok_or_else(|| Failure::new("not among the statistics"))?.1.counters;
    equal("the card's own count", &rig.bench.ledger()?.flow(flow.ufid), &counters)?;
    Ok(counters)
}

fn forward(rig: &mut Rig) -> Outcome {
    let flow = install(rig, PLAIN)?;
    let mut want = Counters::default();
    let mut sent = Vec::new();
    for payload in [10, 333, 1472] {
        let frame = frames::udp(64, payload);
        rig.bench.send(0, &frame)?;
        want += Counters::packet(frame.len());
        sent.push(hex(&frame));
    }
    equal("frames", &rig.bench.frames(1, 3)?, &sent)?;
    nothing_came_up(rig)?;
    equal("counters", &counters(rig, &flow)?, &want)
}

fn recirculate(rig: &mut Rig) -> Outcome {
    let inner = frames::udp(64, 50);
    let labelled = frame::mpls(&inner, 100, 0, 64);
    let outer = install(rig, LABELLED)?;
    rig.bench.send(0, &labelled)?;
    // The child is not there yet: the host goes on from the id, with the packet as it is by now.
    rig.ports[0].arm().context("arming")?;
    expect_miss(rig, 7, labelled.len(), &inner)?;
    let child = install(rig, INNER)?;
    rig.bench.send(0, &labelled)?;
    equal("frames", &rig.bench.frames(1, 1)?, &vec![hex(&frames::udp(63, 50))])?;
    nothing_came_up(rig)?;
    let two = Counters { packets: 2, bytes: 2 * labelled.len() as u64 };
    equal("outer counters", &counters(rig, &outer)?, &two)?;
    equal("inner counters", &counters(rig, &child)?, &Counters::packet(inner.len()))?;
    // The same packet fresh from its wire is none of the child's: the plain megaflow forwards it
    // with its TTL.
    rig.bench.send(0, &inner)?;
    equal("frames", &rig.bench.frames(1, 1)?, &vec![hex(&inner)])?;
    equal("inner counters", &counters(rig, &child)?, &Counters::packet(inner.len()))
}

fn quiesce(rig: &mut Rig) -> Outcome {
    let frame = frames::udp(64, 20);
    rig.bench.ask("quiesce")?;
    rig.ports[0].arm().context("arming")?;
    rig.bench.send(0, &frame)?;
    expect_miss(rig, 0, frame.len(), &frame)?;
    rig.bench.ask("run")?;
    rig.bench.send(0, &frame)?;
    equal("frames", &rig.bench.frames(1, 1)?, &vec![hex(&frame)])?;
    nothing_came_up(rig)
}

fn remove(rig: &mut Rig) -> Outcome {
    let flows = [megaflow(LABELLED)?, megaflow(INNER)?, megaflow(PLAIN)?];
    let mut want = Vec::new();
    for flow in &flows {
        want.push(counters(rig, flow)?);
    }
    let ops: Vec<Op> = flows.iter().map(|flow| Op::Remove { ufid: flow.ufid }).collect();
    equal("last counts", &apply(rig, &ops)?, &want)?;
    let mut dumped = Vec::new();
    rig.provider.all_dumped(&mut dumped).context("dump")?;
    equal("entries left in the card", &dumped.len(), &0)
}

/// Every part of the driver says that the card is lost, each of them soon.
fn expect_lost(rig: &mut Rig) -> Outcome {
    let begin = Clock::start();
    let mut done = Vec::new();
    let op = Op::Install { flow: megaflow(LABELLED)?, generation: Generation(1) };
    rig.provider.apply(&[op], &mut done);
    match done.first().map(|one| &one.result) {
        Some(Err(ProviderError::Gone(_))) => {}
        other => return Err(Failure::new(format!("an install says {other:?}"))),
    }
    match rig.provider.events().first() {
        Some(ProviderEvent::Gone(_)) => {}
        other => return Err(Failure::new(format!("the events begin with {other:?}"))),
    }
    equal("statistics work", &rig.provider.all_stats(&mut Vec::new()).is_ok(), &false)?;
    equal("the card is fine", &rig.driver.check().is_ok(), &false)?;
    for port in &mut rig.ports {
        // An idle port asks ten times a second.
        crate::guest::wait_for("a port notices", Duration::from_secs(2), || {
            Ok(port.receive(usize::MAX, &mut |_, _| {}).is_err())
        })?;
    }
    let took = begin.elapsed();
    equal(&format!("all of it within 5 s, {took:?}"), &(took < Duration::from_secs(5)), &true)
}

fn halt(rig: &mut Rig) -> Outcome {
    rig.bench.ask("cut")?;
    // A miss: the card would write it to memory that it does not reach any more.
    rig.bench.send(0, &frames::udp(64, 20))?;
    expect_lost(rig)?;
    match rig.driver.check() {
        Err(vfio::Error::Halted { code: 2 }) => Ok(()),
        other => Err(Failure::new(format!("the card says {other:?}, not halted by a DMA write"))),
    }
}

fn pull(rig: &mut Rig) -> Outcome {
    install(rig, PLAIN)?;
    // Forwarded and missed frames on their way.
    rig.bench.ask("ping 0 1 5 20")?;
    for _ in 0..3 {
        rig.bench.send(0, &frames::udp(64, 20))?;
    }
    rig.bench.ask("pull")?;
    expect_lost(rig)?;
    match rig.driver.check() {
        Err(vfio::Error::Gone) => {}
        other => return Err(Failure::new(format!("the card says {other:?}, not gone"))),
    }
    rig.bench.ask("finish").map(drop)
}
