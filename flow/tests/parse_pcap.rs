//! `packet::extract` against Open vSwitch itself: tens of thousands of seeded packets, and the
//! kept corpus, through `ovs-ofctl parse-pcap`, compared line by line.
//!
//! Another seed or count: `MEGAFLOW_SEED=7 MEGAFLOW_PACKETS=1000000 cargo test -p megaflow-flow
//! --test parse_pcap`.
#![allow(clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "cutting off is how bytes are made")]

use std::path::Path;
use std::process::Command;

use common::Rng;
use flow::packet::{extract, ofctl};

mod common;

/// What to do where the tool is missing: CI and a fresh machine install it.
const NEEDS: &str = "this test compares with Open vSwitch: install Debian's package \
    `openvswitch-common` (it has ovs-ofctl; no daemon has to run)";

/// OVS's fields that our key does not have (yet): neighbour discovery and NSH headers.
const NOT_OURS: [&str; 4] = ["nd_target=", "nd_sll=", "nd_tll=", "nsh_"];

#[test]
fn keys_are_those_of_open_vswitch() {
    let seed = number("MEGAFLOW_SEED", 1);
    let count = number("MEGAFLOW_PACKETS", 40_000);
    let mut rng = Rng(seed);
    let kept = common::fuzz::corpus().into_iter().map(|(_, frame)| frame);
    let made = (0..count).map(|index| frame(&mut rng, index));
    let frames: Vec<_> = kept.chain(made).collect();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("packets.pcap");
    std::fs::write(&path, pcap(&frames)).expect("writing the capture");

    let theirs = parse_pcap(&path);
    let theirs: Vec<_> = theirs.lines().collect();
    assert_eq!(theirs.len(), frames.len(), "lines of ovs-ofctl");
    let mut protocols = std::collections::BTreeSet::new();
    for (index, (frame, theirs)) in frames.iter().zip(theirs).enumerate() {
        let ours = ofctl::format(&extract(frame));
        assert_eq!(ours, without_the_rest(theirs), "seed {seed}, packet {index}: {frame:02x?}");
        protocols.insert(ours.split(',').next().unwrap_or_default().to_owned());
    }
    println!("{} packets (seed {seed}) have OVS's key: {protocols:?}", frames.len());
    for name in ["tcp", "udp", "sctp", "icmp", "ip", "tcp6", "udp6", "sctp6", "icmp6", "ipv6"] {
        assert!(protocols.contains(name), "no {name} among the packets");
    }
}

/// Half of the packets as composed, half damaged.
fn frame(rng: &mut Rng, index: u64) -> Vec<u8> {
    let mut frame = common::compose(rng);
    if index % 2 == 1 {
        common::damage(rng, &mut frame);
    }
    frame
}

fn parse_pcap(path: &Path) -> String {
    let run = Command::new("ovs-ofctl").arg("parse-pcap").arg(path).output();
    let output = run.unwrap_or_else(|error| panic!("ovs-ofctl: {error}; {NEEDS}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ovs-ofctl parse-pcap: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// OVS's line less the fields of [`NOT_OURS`], and nothing else.
fn without_the_rest(line: &str) -> String {
    let ours = |part: &&str| !NOT_OURS.iter().any(|name| part.starts_with(name));
    line.split(',').filter(ours).collect::<Vec<_>>().join(",")
}

/// A little-endian capture, microseconds, Ethernet.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 0xffff, 1];
    header.iter().for_each(|word: &u32| out.extend(word.to_le_bytes()));
    for frame in frames {
        let length = frame.len() as u32;
        [0, 0, length, length].iter().for_each(|word| out.extend(word.to_le_bytes()));
        out.extend(frame);
    }
    out
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}
