//! What needs a program of the test's own in the kernel. The rest is in `tests/xdp.rs`.

use std::process::Command;

use flow::Clock;
use nix::sched::{CloneFlags, unshare};

use super::program::{CALL, EXIT, SET, op};
use super::*;
use crate::port::system::{SystemIo, SystemPort};
use crate::port::{LinkState, Port};

/// `BPF_PROG_TYPE_SCHED_CLS` at `BPF_TCX_EGRESS`.
const ON_THE_WAY_OUT: ProgramKind = ProgramKind { kind: 3, place: 47 };
/// The helper `bpf_skb_vlan_push`.
const VLAN_PUSH: i32 = 18;

/// Runs a test in a network namespace of its own with a veth pair, or says why it can't.
fn with_pair(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        let here = unshare(CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string());
        if let Err(why) = here.and_then(|()| probe().map_err(|(why, _)| why)) {
            let text = format!("network namespaces or AF_XDP are not permitted here: {why}");
            assert!(std::env::var_os("MEGAFLOW_UNPRIVILEGED").is_some(), "{text}");
            return println!("skipped: {text}");
        }
        ip("link add v0 type veth peer name v1");
        for name in ["v0", "v1"] {
            ip(&format!("link set {name} addrgenmode none"));
            ip(&format!("link set {name} up"));
        }
        test();
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn index_of(name: &str) -> i32 {
    sys::index_of(sys::packet_socket().unwrap().as_fd(), name).unwrap()
}

/// Opens a port and waits until it is up. A child of another test's may hold a copy of what the
/// last port had, between fork and exec.
fn open(name: &str, io: SystemIo) -> SystemPort {
    let clock = Clock::start();
    let pause = || {
        assert!(clock.elapsed().as_secs() < 15, "{name}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let mut port = loop {
        match SystemPort::open_with(name, name, io) {
            Ok(port) => break port,
            Err(_) => pause(),
        }
    };
    while port.state() != LinkState::Up {
        pause();
        port.check();
    }
    port
}

/// Sends one frame from one port to the other, and returns what arrives.
fn pass(from: &mut SystemPort, to: &mut SystemPort, bytes: &[u8]) -> Vec<u8> {
    let mut report = TxReport::default();
    from.transmit(&mut vec![Packet::new(bytes)], &mut report);
    assert_eq!(report.sent.packets, 1);
    let clock = Clock::start();
    loop {
        let mut batch = Batch::new();
        to.receive(&mut batch);
        if let Some(frame) = batch.frames().first() {
            return frame.packet.bytes().to_vec();
        }
        assert!(clock.elapsed().as_secs() < 15, "nothing came");
    }
}

/// The program is put where a VLAN interface would put its tag: beside the frame. (Not every
/// kernel that tests run on has VLAN interfaces.)
#[test]
fn a_tag_beside_a_frame_comes_back() {
    with_pair(|| {
        for (tag, io) in [0x8100_u16, 0x88a8]
            .into_iter()
            .flat_map(|tag| [(tag, SystemIo::Packet), (tag, SystemIo::Xdp)])
        {
            let kind = i32::from(u16::from_ne_bytes(tag.to_be_bytes()));
            let code = [
                op(SET, 2, 0, 0, kind),
                op(SET, 3, 0, 0, 0x604d),
                op(CALL, 0, 0, 0, VLAN_PUSH),
                op(SET, 0, 0, 0, 0),
                op(EXIT, 0, 0, 0, 0),
            ];
            let (mut near, mut far) = (open("v0", SystemIo::Packet), open("v1", io));
            assert_eq!((far.way().is_some(), far.trouble()), (io == SystemIo::Xdp, None));
            let frame: Vec<u8> = (0..60).map(|n| n * 4 + 2).collect();
            assert_eq!(pass(&mut near, &mut far, &frame), frame, "no tag, no change");
            let program = sys::bpf_load(ON_THE_WAY_OUT, &code, None).unwrap();
            let link = sys::bpf_attach(ON_THE_WAY_OUT, program.as_fd(), index_of("v0"), 0).unwrap();
            let tagged =
                [&frame[..12], &tag.to_be_bytes()[..], &[0x60, 0x4d], &frame[12..]].concat();
            assert_eq!(pass(&mut near, &mut far, &frame), tagged, "{io:?} {tag:x}");
            drop(link);
        }
    });
}

#[test]
fn an_interface_with_another_program_is_used_by_packet_socket() {
    with_pair(|| {
        let map = sys::xsk_map(1).unwrap();
        let program = program::load(map.as_fd(), None).unwrap();
        let link = sys::bpf_attach(ProgramKind::XDP, program.as_fd(), index_of("v0"), DRIVER_MODE)
            .unwrap();
        let mut near = open("v0", SystemIo::Xdp);
        let mut far = open("v1", SystemIo::Xdp);
        let trouble = "no AF_XDP: attach: Device or resource busy (os error 16); AF_PACKET instead";
        assert_eq!((near.way(), near.trouble()), (None, Some(trouble)));
        assert!(far.way().is_some(), "{:?}", far.trouble());
        let frame = [0x42; 60];
        assert_eq!(pass(&mut near, &mut far, &frame), frame);
        drop(near);
        drop(link);
        near = open("v0", SystemIo::Xdp);
        assert!(near.way().is_some(), "{:?}", near.trouble());
        // The tags that are in the frame, as a port sends them, stay where they are.
        let frame = [&[0x42; 12][..], &[0x81, 0, 0, 7, 0x88, 0xa8, 0, 8, 8, 0], &[0; 50]].concat();
        assert_eq!(pass(&mut near, &mut far, &frame), frame);
        assert_eq!(pass(&mut far, &mut near, &frame), frame);
    });
}
