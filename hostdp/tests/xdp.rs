//! System ports through AF_XDP, on real veth pairs, beside the same through packet sockets.
//!
//! Needs root, as `interfaces.rs` does, or is skipped in the same way.
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
    let mut port = SystemPort::open_with(name, name, io).unwrap();
    wait_up(&mut port);
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
    let Some(stage) = Stage::new() else { return };
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
