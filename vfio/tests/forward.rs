//! Packets through the card: recirculation inside it and out of it, the exception rings, drops,
//! the states of the card.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::time::Duration;

use common::{Rig, ethernet, flow, ipv4, udp, udp_frame};
use flow::exception::{CardPort, MissDescriptor, MissReason};
use flow::{Blocking, Clock, Counters, Generation, Op, Provider, ProviderError, RecircId};
use vfio::model::DropReason;
use vfio::{CardCapabilities, RingPort};

const PARENT: &str = "in_port(10),eth_type(0x8847),mpls(label=77,bos=1) \
                      actions:pop_mpls(eth_type=0x800),recirc(0x5)";
const CHILD: &str = "recirc_id(0x5),in_port(10),eth_type(0x0800),\
                     ipv4(dst=10.0.0.1,ttl=64,frag=no) actions:set(ipv4(ttl=63)),11";

/// UDP in IPv4 under one label.
fn labelled() -> (Vec<u8>, Vec<u8>) {
    let inner = ipv4([10, 0, 0, 2], [10, 0, 0, 1], 17, 64, &udp(1, 2, b"inside"));
    let mut payload = (77u32 << 12 | 1 << 8 | 30).to_be_bytes().to_vec();
    payload.extend(&inner);
    (ethernet(1, 2, 0x8847, &payload), ethernet(1, 2, 0x800, &inner))
}

/// Waits until a ring gives that many packets.
fn take(port: &mut RingPort, count: usize) -> Vec<(MissDescriptor, Vec<u8>)> {
    let start = Clock::start();
    let mut found = Vec::new();
    while found.len() < count {
        let mut sink = |miss: MissDescriptor, frame: &[u8]| found.push((miss, frame.to_vec()));
        port.receive(32, &mut sink).unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{} of {count}", found.len());
        std::thread::sleep(Duration::from_micros(50));
    }
    found
}

#[test]
fn a_chain_runs_inside_the_card() {
    let mut rig = Rig::new(2);
    let child = rig.install(CHILD);
    let parent = rig.install(PARENT);
    let (frame, inner) = labelled();
    rig.send(0, &frame);
    let out = rig.receive(1);
    let mut expected = inner.clone();
    expected[14 + 8] = 63;
    expected[14 + 10..14 + 12].fill(0);
    let sum = common::checksum(&expected[14..34]);
    expected[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(out, expected);
    let of = |bytes: usize| Counters::packet(bytes);
    assert_eq!(rig.stats(parent.ufid).counters, of(frame.len()));
    assert_eq!(rig.stats(child.ufid).counters, of(inner.len()), "as it was at that lookup");
    let debug = rig.card.driver.debug().unwrap();
    assert_eq!((debug.lookups, debug.hits, debug.misses), (2, 2, 0));
    let ledger = rig.card.ledger().ports();
    assert_eq!((ledger[0].nic, ledger[0].host), (of(frame.len()), Counters::default()));
}

#[test]
fn the_recirculation_id_scopes_the_second_lookup() {
    let mut rig = Rig::new(2);
    // The same match in other scopes must not be hit by the recirculated packet.
    rig.install(&CHILD.replace("recirc_id(0x5),", ""));
    rig.install(&CHILD.replace("0x5", "0x6"));
    rig.install(PARENT);
    let (frame, inner) = labelled();
    rig.send(0, &frame);
    let (miss, up) = take(&mut rig.ports[0], 1).remove(0);
    assert_eq!(up, inner);
    assert_eq!(miss.recirc_id, RecircId(5));
    rig.send(0, &inner);
    assert_eq!(rig.receive(1).len(), inner.len(), "the fresh packet is in scope 0");
}

#[test]
fn a_chain_that_leaves_the_card_goes_on_in_the_host() {
    let mut rig = Rig::new(2);
    let parent = rig.install(PARENT);
    let (frame, inner) = labelled();
    rig.send(0, &frame);
    let (miss, up) = take(&mut rig.ports[0], 1).remove(0);
    let expected = MissDescriptor {
        reason: MissReason::Miss,
        recirc_id: RecircId(5),
        dp_hash: 0,
        original_len: frame.len() as u32,
    };
    assert_eq!(miss, expected);
    assert_eq!(up, inner, "the packet as modified so far");
    assert_eq!(rig.stats(parent.ufid).counters.packets, 1);
    let ledger = rig.card.ledger().ports();
    assert_eq!(ledger[0].host, Counters::packet(frame.len()));
    assert_eq!(ledger[0].host_modified, Counters::packet(inner.len()));
    assert_eq!(ledger[0].nic, Counters::default());
}

#[test]
fn a_loop_ends_at_the_limit_in_the_host() {
    let caps = CardCapabilities { recirc_limit: 4, ..CardCapabilities::default() };
    let mut rig = Rig::with(1, caps, |_| {});
    rig.install("in_port(10),eth_type(0x0800) actions:recirc(0x9)");
    let looped = rig.install("recirc_id(0x9),in_port(10),eth_type(0x0800) actions:recirc(0x9)");
    rig.send(0, &udp_frame(1, 2, 3, 4));
    let (miss, _) = take(&mut rig.ports[0], 1).remove(0);
    assert_eq!((miss.reason, miss.recirc_id), (MissReason::RecircLimit, RecircId(9)));
    assert_eq!(rig.stats(looped.ufid).counters.packets, 3);
}

#[test]
fn frames_of_the_host_go_straight_to_the_wire() {
    let mut rig = Rig::new(2);
    // A table entry that would catch them if they were looked up.
    rig.install("in_port(11),eth_type(0x0800) actions:10");
    let frame = udp_frame(1, 2, 3, 100);
    for _ in 0..600 {
        while !rig.ports[1].transmit(&frame).unwrap() {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    rig.ports[1].kick().unwrap();
    for _ in 0..600 {
        assert_eq!(rig.receive(1), frame);
    }
    assert!(!rig.ports[1].transmit(&[0; 13]).unwrap(), "no Ethernet frame");
    assert!(!rig.ports[1].transmit(&vec![0; 5000]).unwrap(), "does not fit a slot");
    assert_eq!(rig.card.ledger().ports()[1].from_host.packets, 600);
}

#[test]
fn an_armed_port_becomes_readable_and_a_drained_one_does_not() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut rig = Rig::new(1);
    let readable = |port: &RingPort, ms: u64| {
        let fd = port.readable().expect("interrupts are on");
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let timeout = Timespec::try_from(Duration::from_millis(ms)).unwrap();
        poll(&mut fds, Some(&timeout)).unwrap() == 1
    };
    rig.ports[0].arm().unwrap();
    assert!(!readable(&rig.ports[0], 20));
    rig.send(0, &udp_frame(1, 2, 3, 4));
    assert!(readable(&rig.ports[0], 2000));
    rig.send(0, &udp_frame(1, 2, 3, 4));
    rig.settle(2);
    // Armed while packets wait: readable at once.
    rig.ports[0].arm().unwrap();
    assert!(readable(&rig.ports[0], 2000));
    take(&mut rig.ports[0], 2);
    rig.ports[0].arm().unwrap();
    assert!(!readable(&rig.ports[0], 20));
}

#[test]
fn what_finds_no_room_is_dropped_by_reason_and_nothing_is_lost_unseen() {
    let mut rig = Rig::with(2, CardCapabilities::default(), |config| config.packet_log2 = 3);
    let frame = udp_frame(1, 2, 3, 40);
    for _ in 0..20 {
        rig.send(0, &frame);
    }
    rig.send(0, &udp_frame(1, 2, 3, 2500)); // fits the card, not a slot
    rig.send(0, &udp_frame(1, 2, 3, 9500)); // does not fit the card
    rig.settle(22);
    let ledger = rig.card.ledger().ports().remove(0);
    let drops = |reason| ledger.drops.get(&reason).copied().unwrap_or_default().packets;
    assert_eq!((ledger.host.packets, drops(DropReason::RxRingFull)), (8, 13));
    assert_eq!(drops(DropReason::Oversize), 1);
    let dropped: Counters = ledger.drops.values().copied().sum();
    assert_eq!(ledger.rx, ledger.nic + ledger.host + dropped, "packets and bytes");
    assert_eq!(take(&mut rig.ports[0], 8).len(), 8);
    let traffic = rig.provider.traffic().unwrap().remove(0);
    let told: Counters = traffic.receive_drops.iter().map(|(_, counters)| *counters).sum();
    assert_eq!(told, dropped);
}

#[test]
fn a_wire_that_is_full_drops_at_its_port() {
    let mut rig = Rig::new(2);
    let installed = rig.install("in_port(10),eth_type(0x0800) actions:11");
    let frame = udp_frame(1, 2, 3, 40);
    for round in 1..=50u64 {
        for _ in 0..100 {
            rig.send(0, &frame);
        }
        rig.settle(round * 100);
    }
    let ledger = rig.card.ledger().ports();
    let lost = ledger[1].drops[&DropReason::TxWire];
    assert_eq!(ledger[1].tx.packets, 4096, "what a memory wire holds");
    assert_eq!(ledger[1].tx + lost, ledger[0].nic);
    assert_eq!(rig.stats(installed.ufid).counters, ledger[0].nic);
}

#[test]
fn quiesced_everything_goes_to_the_host_and_back() {
    let mut rig = Rig::new(2);
    let installed = rig.install("in_port(10),eth_type(0x0800) actions:11");
    let frame = udp_frame(1, 2, 3, 40);
    rig.card.driver.quiesce().unwrap();
    rig.send(0, &frame);
    let (miss, up) = take(&mut rig.ports[0], 1).remove(0);
    assert_eq!((miss.reason, miss.recirc_id, up), (MissReason::Miss, RecircId(0), frame.clone()));
    rig.card.driver.resume().unwrap();
    rig.send(0, &frame);
    assert_eq!(rig.receive(1), frame);
    assert_eq!(rig.stats(installed.ufid).counters.packets, 1);
}

#[test]
fn a_second_driver_on_the_same_card_starts_clean() {
    let mut rig = Rig::new(2);
    rig.install("in_port(10),eth_type(0x0800) actions:11");
    let (near, mut far) = vfio::MemoryWire::pair(8).unwrap();
    let dma = std::sync::Arc::new(vfio::sys::LocalDma::default());
    let wires: Vec<Box<dyn vfio::Wire>> = vec![Box::new(near)];
    let caps = CardCapabilities::default();
    let (vectors, clock) = (std::sync::Arc::default(), Clock::start());
    let card = vfio::ModelCard::spawn(caps, wires, dma.clone(), vectors, clock.clone());
    let mut card = card.unwrap();
    for life in 0..3 {
        let access = vfio::Access {
            bar: card.registers(),
            dma: dma.clone(),
            interrupts: vec![],
            function: std::sync::Arc::new(()),
        };
        let config = vfio::DriverConfig::new(&[flow::PortId(10)], clock.clone());
        let mut driver = vfio::Driver::open(access, &config).unwrap();
        let mut provider = driver.take_provider().unwrap();
        let mut found = Vec::new();
        provider.all_dumped(&mut found).unwrap();
        assert_eq!(found, vec![], "life {life}");
        let flow = flow("in_port(10),eth_type(0x0800) actions:10");
        let mut done = Vec::new();
        provider.apply(&[Op::Install { flow, generation: Generation(life) }], &mut done);
        assert!(done[0].result.is_ok());
        use vfio::Wire;
        let frame = udp_frame(1, 2, 3, 40);
        assert!(far.transmit(&frame).unwrap());
        assert_eq!(far.wait(Duration::from_secs(2)), Some(frame), "by polling, without interrupts");
    }
    assert_eq!(card.stop().len(), 1, "the wires come back");
}

#[test]
fn a_dma_error_halts_the_card_and_the_driver_says_so() {
    let mut rig = Rig::new(1);
    let installed = rig.install("in_port(10),eth_type(0x0800) actions:10");
    let rx = vfio::register::PortsBlock::read(vfio::register::Window::new(
        rig.card.card.registers(),
        0x1000,
    ))
    .unwrap()
    .port(0)
    .rx();
    let nowhere = vfio::register::RingSetup {
        base: 0x7000_0000_0000,
        log2: 3,
        stride: 2048,
        shadow: 0x7000_0001_0000,
        vector: 2,
    };
    rx.enable(&nowhere).unwrap();
    rig.send(0, &ethernet(1, 2, 0x806, &[0; 28]));
    rig.settle(1);
    let mut gone = rig.provider.events();
    let start = Clock::start();
    while gone.is_empty() && start.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(1));
        gone = rig.provider.events();
    }
    assert!(format!("{gone:?}").contains("halted (error code 2)"), "{gone:?}");
    let result = rig.remove(installed.ufid);
    assert!(matches!(result, Err(ProviderError::Gone(_))), "{result:?}");
    assert_eq!(rig.card.ledger().ports()[0].drops[&DropReason::Halted].packets, 1);
}
