//! System ports through AF_XDP, on real veth pairs, beside the same through packet sockets.
//!
//! Needs root. Elsewhere the tests fail and say so, or are skipped as those of `interfaces.rs` are.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

#[allow(dead_code, reason = "other tests use the rest")]
mod lab;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use flow::packet::Packet;
use flow::{Action, Clock, Counters, Key, Mask, PortId};
use hostdp::port::system::{SystemIo, SystemPort};
use hostdp::port::{Batch, LinkState, Port, TxReport};
use hostdp::{Datapath, DatapathSettings, DropReason};
use lab::{PATIENCE, Stage, install, ip, megaflow, until};

const DRIVER: Option<&str> = Some("AF_XDP, driver mode, copy");
const GENERIC: Option<&str> = Some("AF_XDP, generic mode");

/// Like [`Stage::new`], where AF_XDP may be used, too: the root of a user namespace may not.
fn stage() -> Option<Stage> {
    let stage = Stage::new()?;
    let Err((why, _)) = hostdp::port::system::probe_xdp() else { return Some(stage) };
    let text = format!("AF_XDP is not permitted here: {why}");
    assert!(std::env::var_os("MEGAFLOW_UNPRIVILEGED").is_some(), "{text}");
    println!("skipped: {text}");
    None
}

/// A pair of interfaces, up, without traffic of the kernel's own.
fn pair(names: [&str; 2]) {
    ip(&format!("link add {} type veth peer name {}", names[0], names[1]));
    for name in names {
        ip(&format!("link set {name} addrgenmode none"));
        ip(&format!("link set {name} up"));
    }
}

/// Opens a port and waits until it is up.
#[track_caller]
fn open(name: &str, io: SystemIo) -> SystemPort {
    // A child of another test's may hold a copy of the last port's claim between fork and exec.
    let mut port = lab::retry(|| SystemPort::open_with(name, name, io));
    wait_up(&mut port);
    let is_refused = port.trouble().is_some_and(|trouble| trouble.starts_with("no AF_XDP"));
    assert!(port.way().is_some() == (io != SystemIo::Packet) || is_refused);
    port
}

#[track_caller]
fn wait_up(port: &mut SystemPort) {
    lab::retry(|| {
        port.check();
        if port.state() == LinkState::Up { Ok(()) } else { Err(port.trouble().map(str::to_owned)) }
    });
}

/// Frames of every length that a port takes, with bytes that tell them apart.
fn frames(count: usize) -> Vec<Packet> {
    let frame = |n: usize| {
        let length = 14 + n * 7 % 1501;
        let mut bytes: Vec<u8> = (0..length).map(|at| (at * 31 + n) as u8).collect();
        bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
        Packet::new(&bytes)
    };
    (0..count).map(frame).collect()
}

fn transmit(port: &mut dyn Port, frames: &[Packet]) -> TxReport {
    let mut report = TxReport::default();
    port.transmit(&mut frames.to_vec(), &mut report);
    report
}

/// Everything that has come in by now.
fn receive(port: &mut dyn Port) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut batch = Batch::new();
        port.receive(&mut batch);
        if batch.is_empty() {
            return all;
        }
        all.extend(batch.frames().iter().map(|frame| frame.packet.bytes().to_vec()));
    }
}

/// Waits for that many frames.
#[track_caller]
fn receive_count(port: &mut dyn Port, count: usize) -> Vec<Vec<u8>> {
    let (clock, mut all) = (Clock::start(), Vec::new());
    while all.len() < count {
        assert!(clock.elapsed() < PATIENCE, "{} of {count} frames", all.len());
        all.extend(receive(port));
    }
    all
}

#[test]
fn frames_pass_byte_for_byte_in_every_mode() {
    let Some(stage) = stage() else { return };
    let modes =
        [(SystemIo::Packet, None), (SystemIo::Xdp, DRIVER), (SystemIo::XdpGeneric, GENERIC)];
    stage.run(|_| {
        for (io, way) in modes {
            pair(["v0", "v1"]);
            let (mut near, mut far) = (open("v0", io), open("v1", io));
            assert_eq!((near.way(), near.trouble()), (way, None));
            assert_eq!((near.mtu(), receive(&mut near).len()), (Some(1500), 0));
            for burst in frames(400).chunks(64) {
                let want: Vec<Vec<u8>> = burst.iter().map(|frame| frame.bytes().to_vec()).collect();
                let bytes = want.iter().map(|frame| frame.len() as u64).sum();
                let all = Counters { packets: burst.len() as u64, bytes };
                for _ in 0..2 {
                    let report = transmit(&mut near, burst);
                    assert_eq!((report.sent, report.dropped.len()), (all, 0));
                    let got = receive_count(&mut far, burst.len());
                    assert!(got == want, "{io:?}");
                    std::mem::swap(&mut near, &mut far);
                }
            }
            assert_eq!((near.overruns(), far.overruns()), (0, 0));
            drop((near, far));
            ip("link del v0");
        }
    });
}

/// A burst that no ring holds, in both directions of a pair: each frame is counted once.
#[test]
fn every_frame_of_a_large_burst_is_counted() {
    let Some(stage) = stage() else { return };
    stage.run(|_| {
        for io in [SystemIo::Xdp, SystemIo::XdpGeneric] {
            pair(["v0", "v1"]);
            let (mut near, mut far) = (open("v0", io), open("v1", io));
            let given = frames(7000);
            let report = transmit(&mut near, &given);
            let dropped: u64 = report.dropped.iter().map(|(_, what)| what.packets).sum();
            assert_eq!(report.sent.packets + dropped, 7000, "{:?}", report.dropped);
            assert!(report.dropped.iter().all(|(reason, _)| *reason == DropReason::TxFull));
            let got = receive(&mut far);
            let lost = far.overruns();
            assert!(lost > 1000, "the ring holds fewer than {lost} less than all");
            assert_eq!(got.len() as u64 + lost, report.sent.packets, "{io:?}");
            assert_eq!(far.overruns(), 0, "each is told once");
            // The first ones are there, and it goes on as before.
            assert!(got.iter().zip(&given).all(|(got, sent)| got == sent.bytes()));
            assert_eq!(transmit(&mut near, &given[..100]).sent.packets, 100);
            assert_eq!(receive_count(&mut far, 100).len(), 100);
            drop((near, far));
            ip("link del v0");
        }
    });
}

/// The kernel takes a frame, and the device does not: the frame was not sent.
#[test]
fn what_the_device_refuses_is_a_drop() {
    let Some(stage) = stage() else { return };
    stage.run(|_| {
        pair(["v0", "v1"]);
        let (mut near, mut far) = (open("v0", SystemIo::Xdp), open("v1", SystemIo::Xdp));
        let given = frames(100);
        assert_eq!(transmit(&mut near, &given).sent.packets, 100);
        assert_eq!(receive_count(&mut far, 100).len(), 100);
        // Nobody has looked yet at what has become of the interface.
        ip("link set v1 down");
        let report = transmit(&mut near, &given);
        assert_eq!(report.sent.packets, 0);
        let all = |report: &TxReport| {
            let frames = given.iter().map(|frame| frame.len() as u64);
            let drops = report.dropped.iter().map(|(reason, what)| (*reason, what.bytes));
            drops.eq(frames.map(|length| (DropReason::TxFull, length)))
        };
        assert!(all(&report), "each with its own length: {:?}", report.dropped);
        ip("link set v1 up");
        wait_up(&mut near);
        wait_up(&mut far);
        assert_eq!(transmit(&mut near, &given).sent.packets, 100);
        assert_eq!(receive_count(&mut far, 100).len(), 100);
        assert_eq!(receive(&mut far).len(), 0);
    });
}

/// The same frames to both kinds of port: the same ones come out, and the same ones are refused.
#[test]
fn both_ways_refuse_the_same_frames() {
    let Some(stage) = stage() else { return };
    stage.run(|_| {
        let tagged = |tag: u16, length: usize| {
            let mut frame = vec![0x42; length];
            frame[12..14].copy_from_slice(&tag.to_be_bytes());
            Packet::new(&frame)
        };
        let given: Vec<Packet> = [1514, 1515, 1518, 1519, 4000, 60, 20]
            .into_iter()
            .flat_map(|length| [0x88b5, 0x8100, 0x88a8].map(|tag| tagged(tag, length)))
            .collect();
        let outcomes = [SystemIo::Packet, SystemIo::Xdp].map(|io| {
            pair(["v0", "v1"]);
            let (mut near, mut far) = (open("v0", io), open("v1", SystemIo::Packet));
            assert_eq!(near.trouble(), None);
            let mut fates = Vec::new();
            for frame in &given {
                let report = transmit(&mut near, std::slice::from_ref(frame));
                fates.push(report.dropped.first().map_or("sent", |(reason, _)| reason.name()));
            }
            let sent = fates.iter().filter(|fate| **fate == "sent").count();
            let got = receive_count(&mut far, sent);
            drop((near, far));
            ip("link del v0");
            (fates, got)
        });
        assert_eq!(outcomes[0], outcomes[1]);
    });
}

/// Everything through a datapath, with every offload that a veth has left on.
fn exchange(stage: &Stage, io: SystemIo) {
    const BYTES: usize = 4 << 20;
    let (one, other) = (stage.host("p1", "10.9.0.1"), stage.host("p2", "10.9.0.2"));
    for (host, address) in [(&one, "fd00::1"), (&other, "fd00::2")] {
        host.run(move || ip(&format!("addr add {address}/64 dev eth0 nodad"))).join();
    }
    let mut datapath = Datapath::new(DatapathSettings::default());
    for (n, name) in [(1, "p1"), (2, "p2")] {
        let port = open(name, io);
        assert_eq!((port.way().is_some(), port.trouble()), (io == SystemIo::Xdp, None));
        datapath.add_port(PortId(n), Box::new(port)).unwrap();
    }
    for (from, to) in [(1, 2), (2, 1)] {
        let out = [Action::Output(PortId(to))];
        install(&mut datapath, &megaflow(from, Key::default(), Mask::default(), &out));
    }
    let data = || (0..BYTES).map(|n| (n * 7 / 3) as u8).collect::<Vec<u8>>();
    for (tcp, udp) in [("10.9.0.2:5001", "10.9.0.2:5002"), ("[fd00::2]:5001", "[fd00::2]:5002")] {
        let server = other.run(move || {
            let (listener, socket) =
                (TcpListener::bind(tcp).unwrap(), UdpSocket::bind(udp).unwrap());
            let mut all = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            let mut buffer = [0; 100];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&buffer[..length], from).unwrap();
            all
        });
        let client = one.run(move || {
            let connect = || TcpStream::connect_timeout(&tcp.parse().unwrap(), PATIENCE);
            lab::retry(connect).write_all(&data()).unwrap();
            let any = if udp.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut answer = [0; 100];
            let length = lab::retry(|| {
                socket.send_to(b"checked", udp)?;
                socket.recv(&mut answer)
            });
            answer[..length].to_vec()
        });
        until(&mut datapath, || server.is_finished() && client.is_finished());
        assert!(server.join() == data(), "what arrived is what was sent");
        assert_eq!(client.join(), b"checked");
    }
    let snapshot = datapath.snapshot();
    assert!(snapshot.ledger.is_exact(), "{:?}", snapshot.ledger);
    assert!(snapshot.drops.get(DropReason::TxTooLong).is_zero(), "{:?}", snapshot.drops);
    assert!(snapshot.ports[0].received.bytes > 2 * BYTES as u64);
    // A checksum that is not complete would be the reason for each packet to be sent again.
    assert!(snapshot.ports[0].received.bytes < 3 * BYTES as u64, "{:?}", snapshot.ports[0]);
    drop(datapath);
    ip("link del p1");
    ip("link del p2");
}

#[test]
fn hosts_with_offloads_on_talk_through_a_datapath() {
    let Some(stage) = stage() else { return };
    stage.run(|stage| {
        for io in [SystemIo::Packet, SystemIo::Xdp] {
            exchange(stage, io);
        }
    });
}

/// The same traffic through a datapath by either kind of port: the same frames leave, and each is
/// in the ledger.
#[test]
fn a_datapath_forwards_the_same_frames_either_way() {
    let Some(stage) = stage() else { return };
    stage.run(|_| {
        let given = frames(3000);
        let outcomes = [SystemIo::Packet, SystemIo::Xdp, SystemIo::XdpGeneric].map(|io| {
            let mut datapath = Datapath::new(DatapathSettings::default());
            for (number, names) in [(1, ["a0", "a1"]), (2, ["b0", "b1"])] {
                pair(names);
                let port = open(names[1], io);
                assert_eq!(port.trouble(), None);
                datapath.add_port(PortId(number), Box::new(port)).unwrap();
            }
            let out = [Action::Output(PortId(2))];
            install(&mut datapath, &megaflow(1, Key::default(), Mask::default(), &out));
            let (mut near, mut far) = (open("a0", SystemIo::Packet), open("b0", SystemIo::Packet));
            let mut got = Vec::new();
            for burst in given.chunks(500) {
                let want = got.len() + burst.len();
                assert_eq!(transmit(&mut near, burst).sent.packets, burst.len() as u64);
                let (clock, mut now) = (Clock::start(), got.len());
                while now < want {
                    assert!(clock.elapsed() < PATIENCE, "{io:?}: {now} of {want}");
                    datapath.poll(clock.now());
                    got.extend(receive(&mut far));
                    now = got.len();
                }
            }
            let snapshot = datapath.snapshot();
            assert!(snapshot.ledger.is_exact(), "{:?}", snapshot.ledger);
            assert_eq!(snapshot.ledger.fresh.hits_first_pass.packets, 3000);
            let [received, sent] = [snapshot.ports[0].received, snapshot.ports[1].sent];
            assert_eq!((received, sent.packets), (sent, 3000));
            drop((datapath, near, far));
            ip("link del a0");
            ip("link del b0");
            got
        });
        let given: Vec<Vec<u8>> = given.iter().map(|frame| frame.bytes().to_vec()).collect();
        assert!(outcomes.iter().all(|got| *got == given));
    });
}

#[test]
fn an_mtu_that_does_not_fit_is_a_reason() {
    let Some(stage) = stage() else { return };
    stage.run(|_| {
        pair(["v0", "v1"]);
        ip("link set v0 mtu 9000");
        ip("link set v1 mtu 9000");
        let why = "no AF_XDP: the MTU is 9000, and AF_XDP takes up to 3818; AF_PACKET instead";
        let (mut near, mut far) = (open("v0", SystemIo::Xdp), open("v1", SystemIo::Xdp));
        assert_eq!((near.way(), near.trouble(), near.mtu()), (None, Some(why), Some(9000)));
        let long = Packet::new(&[0x42; 9014]);
        assert_eq!(transmit(&mut near, std::slice::from_ref(&long)).sent.bytes, 9014);
        assert_eq!(receive_count(&mut far, 1), [long.bytes()]);
        drop((near, far));
        // An MTU that grows while the port is in use.
        ip("link del v0");
        pair(["v0", "v1"]);
        let (mut near, mut far) = (open("v0", SystemIo::Xdp), open("v1", SystemIo::Packet));
        assert_eq!((near.way(), near.trouble()), (DRIVER, None));
        ip("link set v0 mtu 9000");
        near.check();
        assert_eq!((near.way(), near.trouble()), (None, Some(why)));
        assert_eq!(transmit(&mut far, &frames(1)).sent.packets, 1);
        assert_eq!(receive_count(&mut near, 1).len(), 1);
    });
}

#[test]
fn an_interface_goes_down_away_and_comes_back() {
    let Some(stage) = stage() else { return };
    stage.run(|stage| {
        pair(["v0", "v1"]);
        ip("link set v0 down");
        // A port of an interface that is down waits for it.
        let mut near = SystemPort::open_with("v0", "v0", SystemIo::Xdp).unwrap();
        assert_eq!((near.state(), near.way()), (LinkState::Down, None));
        assert_eq!(near.trouble(), Some("interface v0 is set down"));
        let fate = |port: &mut SystemPort| {
            let report = transmit(port, &frames(1));
            report.dropped.first().map_or("sent", |(reason, _)| reason.name())
        };
        assert_eq!(fate(&mut near), "port-down");
        ip("link set v0 up");
        wait_up(&mut near);
        let mut far = open("v1", SystemIo::Xdp);
        assert_eq!((near.way(), near.trouble(), far.way()), (DRIVER, None, DRIVER));
        assert_eq!((fate(&mut near), receive_count(&mut far, 1).len()), ("sent", 1));

        ip("link set v0 down");
        assert_eq!(fate(&mut near), "port-down");
        assert_eq!(near.state(), LinkState::Down);
        assert_eq!(near.trouble(), Some("interface v0 is set down"));
        ip("link set v0 up");
        wait_up(&mut near);
        wait_up(&mut far);
        assert_eq!((fate(&mut near), near.way()), ("sent", DRIVER));
        assert_eq!(receive_count(&mut far, 1).len(), 1, "and not what was refused");
        assert_eq!(receive(&mut far).len(), 0);

        // One frame more, which nobody fetches before the interface is gone.
        assert_eq!(fate(&mut near), "sent");
        ip("link del v0");
        assert_eq!(fate(&mut near), "port-down");
        assert_eq!((near.state(), near.way()), (LinkState::Gone, None));
        assert_eq!(near.trouble(), Some("there is no interface v0 any more"));
        pair(["v0", "v1"]);
        wait_up(&mut near);
        wait_up(&mut far);
        assert_eq!(far.overruns(), 1, "what had come before it was gone");
        assert_eq!((near.way(), near.trouble(), far.way()), (DRIVER, None, DRIVER));
        assert_eq!((fate(&mut near), receive_count(&mut far, 1).len()), ("sent", 1));

        // It stays the port's under another name, and comes back from another namespace.
        ip("link set v0 name v9");
        near.check();
        assert_eq!(near.trouble(), Some("interface v0 is called v9 now"));
        assert_eq!((fate(&mut near), receive_count(&mut far, 1).len()), ("sent", 1));
        ip("link set v9 name v0");
        let elsewhere = stage.host("unused", "10.7.0.1");
        let here = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
        ip(&format!("link set v0 netns {}", elsewhere.thread_id));
        elsewhere.run(move || ip(&format!("link set v0 netns {here}"))).join();
        ip("link set v0 addrgenmode none");
        ip("link set v0 up");
        assert_eq!((fate(&mut near), near.state()), ("port-down", LinkState::Gone));
        // Whoever checks may be in another namespace than the port.
        let mut near = elsewhere
            .run(move || {
                wait_up(&mut near);
                near
            })
            .join();
        wait_up(&mut far);
        assert_eq!((near.way(), near.trouble()), (DRIVER, None));
        assert_eq!((fate(&mut near), receive_count(&mut far, 1).len()), ("sent", 1));
    });
}

/// The kernel lets go of a queue a moment after the port is closed.
#[test]
fn a_port_is_opened_again_at_once() {
    let Some(stage) = stage() else { return };
    stage.run(|_| {
        pair(["v0", "v1"]);
        let mut far = open("v1", SystemIo::Xdp);
        for _ in 0..5 {
            let mut near = open("v0", SystemIo::Xdp);
            assert_eq!((near.way(), near.trouble()), (DRIVER, None));
            assert_eq!(transmit(&mut near, &frames(40)).sent.packets, 40);
            assert_eq!(receive_count(&mut far, 40).len(), 40);
        }
        // What the driver of an interface can't do by itself is done by the packet socket.
        ip("link set lo mtu 1500");
        let lo = open("lo", SystemIo::Xdp);
        let why = "no AF_XDP: frames of this driver can come large, or without their VLAN tags; \
                   AF_PACKET instead";
        assert_eq!((lo.way(), lo.trouble()), (None, Some(why)));
    });
}

/// A sleeper wakes up, whichever queue of the interface has the frame.
#[test]
fn every_queue_has_a_socket() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let Some(stage) = stage() else { return };
    stage.run(|_| {
        let queues = "numtxqueues 4 numrxqueues 4";
        ip(&format!("link add v0 {queues} type veth peer name v1 {queues}"));
        for name in ["v0", "v1"] {
            ip(&format!("link set {name} addrgenmode none"));
            ip(&format!("link set {name} up"));
        }
        let (mut near, mut far) = (open("v0", SystemIo::Packet), open("v1", SystemIo::Xdp));
        assert_eq!((far.way(), far.trouble()), (DRIVER, None));
        // The kernel chooses the queue by a hash of addresses and ports.
        for n in 0..64_u8 {
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, n, 8, 0, 0x45, 0, 0, 46];
            frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, n, 10, 0, 1, n, n, 1, n, 2, 0, 26]);
            frame.resize(60, n);
            assert_eq!(transmit(&mut near, &[Packet::new(&frame)]).sent.packets, 1);
            far.arm();
            let fd = far.readable().unwrap();
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::from(15_000_u16)), Ok(1));
            assert_eq!(receive(&mut far), [frame]);
        }
    });
}
