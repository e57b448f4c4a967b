//! `docs/fpga-abi.md` against the code: every layout, every number, every example.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod raw;

use std::collections::BTreeMap;
use std::time::Duration;

use vfio::ring::command::{CardCommand, CardOpcode, CardTable, CounterId};
use vfio::ring::record::CommandStatus;
use vfio::{Layout, Wire};

const TEXT: &str = include_str!("../../docs/fpga-abi.md");

/// Rows of the tables under a heading, cells trimmed.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let start = TEXT.find(heading).unwrap_or_else(|| panic!("no heading '{heading}'"));
    let section = &TEXT[start + heading.len()..];
    let end = section.find("\n### ").unwrap_or(section.len());
    let end = end.min(section.find("\n## ").unwrap_or(end));
    let lines = section[..end].lines().filter(|line| line.starts_with("| "));
    lines
        .map(|line| line.replace("\\|", "¦"))
        .map(|line| line.split('|').skip(1).map(|cell| cell.trim().to_string()).collect())
        .collect()
}

fn number(text: &str) -> Option<usize> {
    match text.strip_prefix("0x") {
        Some(hex) => usize::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[test]
fn every_layout_is_the_texts() {
    let kinds = ["Block", "Window", "Record"];
    let mut checked = 0;
    let all: Vec<&Layout> = vfio::register::LAYOUTS
        .iter()
        .chain(vfio::ring::LAYOUTS)
        .chain(vfio::key::LAYOUTS)
        .collect();
    for layout in &all {
        let heading = kinds
            .iter()
            .map(|kind| format!("### {kind}: {}\n", layout.name))
            .find(|heading| TEXT.contains(heading))
            .unwrap_or_else(|| panic!("{} is not in the text", layout.name));
        let text: Vec<(usize, usize, String)> = rows(&heading)
            .iter()
            .filter_map(|row| Some((number(&row[0])?, number(&row[1])?, row[2].clone())))
            .collect();
        let code: Vec<(usize, usize, String)> =
            layout.words.iter().map(|w| (w.offset, w.width, w.name.to_string())).collect();
        assert_eq!(code, text, "{}", layout.name);
        checked += code.len();
    }
    let in_text = TEXT
        .lines()
        .filter(|line| line.starts_with("### Record") || line.starts_with("### Window"))
        .count();
    let blocks_without_words = ["CMDQ", "CPLQ", "EVTQ"].len();
    let blocks = TEXT.lines().filter(|line| line.starts_with("### Block")).count();
    assert_eq!(all.len(), in_text + blocks - blocks_without_words, "a layout without code");
    assert!(checked > 150);
}

#[test]
fn operations_and_statuses_are_the_texts() {
    let section = rows("## 5. Commands");
    let named: Vec<_> =
        section.iter().filter_map(|row| Some((number(&row[0])?, row[1].clone()))).collect();
    let (ops, statuses) = named.split_at(CardOpcode::ALL.len());
    for (index, op) in CardOpcode::ALL.iter().enumerate() {
        let name = ops[index].1.replace('_', "").to_lowercase();
        assert_eq!((ops[index].0, name), (index, format!("{op:?}").to_lowercase()));
    }
    assert_eq!(statuses.len(), CommandStatus::ALL.len());
    let short = |status: &CommandStatus| match status {
        CommandStatus::Ok => "OK",
        CommandStatus::Exists => "EEXIST",
        CommandStatus::NoEntry => "ENOENT",
        CommandStatus::NoSpace => "ENOSPC",
        CommandStatus::Range => "ERANGE",
        CommandStatus::BadOp => "EBADOP",
        CommandStatus::Busy => "EBUSY",
        CommandStatus::Crc => "ECRC",
        CommandStatus::Epoch => "EEPOCH",
        CommandStatus::Dma => "EDMA",
        CommandStatus::Hash => "EHASH",
        CommandStatus::Invalid => "EINVAL",
        CommandStatus::Ecc => "EECC",
    };
    for (index, status) in CommandStatus::ALL.iter().enumerate() {
        assert_eq!(statuses[index], (index, short(status).to_string()));
        assert_eq!(*status as usize, index);
    }
}

/// The hex dumps of the text, by name.
fn examples() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for block in TEXT.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let body = rest.split("```").next().unwrap();
        let digits = body.lines().flat_map(|line| {
            line.split_once(": ").expect("offset: bytes").1.split_whitespace().collect::<Vec<_>>()
        });
        let bytes = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        found.insert(name.trim().to_string(), bytes);
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    let line = |(index, chunk): (usize, &[u8])| {
        let bytes: Vec<String> = chunk.iter().map(|b| format!("{b:02x}")).collect();
        format!("{:02x}: {}\n", index * 16, bytes.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

fn check(name: &str, bytes: &[u8]) {
    let text = examples();
    let expected = text.get(name).map(Vec::as_slice).unwrap_or_default();
    assert!(bytes == expected, "the text's '{name}' should be\n{}", hex(bytes));
}

const COOKIE: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
const COUNTER: CounterId = CounterId { index: 5, generation: 3 };

/// The text's description of its commands, by the code.
fn described() -> Vec<(&'static str, CardCommand)> {
    let mut mask = [0; 80];
    mask[..8].fill(0xff); // in_port, reserved, recirc_id
    mask[2..4].fill(0);
    mask[8..14].fill(0xff); // eth_dst
    mask[0x1c..0x1e].fill(0xff); // eth_type
    let mut key = [0; 80];
    key[8..14].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    key[0x1c] = 0x08;
    let list = [2, 12, 0, 7, 0, 0, 0, 63, 0, 0, 0, 0xff, 1, 4, 0, 1];
    let mut all = vec![
        ("mask-write", CardCommand::new(CardOpcode::MaskWrite).mask_id(0).mask(&mask)),
        ("act-write", CardCommand::new(CardOpcode::ActWrite).action(9).payload(&list)),
        (
            "entry-write",
            CardCommand::new(CardOpcode::EntryWrite)
                .slot(CardTable::Exact, 0)
                .mask_id(0)
                .cookie(COOKIE, 1)
                .action(9)
                .counter(COUNTER)
                .key(&key),
        ),
        (
            "entry-clear",
            CardCommand::new(CardOpcode::EntryClear).slot(CardTable::Exact, 0).cookie(COOKIE, 1),
        ),
    ];
    for (sequence, (_, command)) in (0..).zip(&mut all) {
        command.seal(sequence, 2);
    }
    all
}

#[test]
fn the_examples_are_what_they_say_and_the_model_takes_them() {
    for (name, command) in described() {
        check(name, &command.bytes);
    }
    let mut bench = raw::Bench::new(vfio::CardCapabilities::default());
    let (near, other) = bench.wires.split_at_mut(1);
    let (far, other) = (&mut near[0], &mut other[0]);
    let host = &mut bench.host;
    let text = examples();
    for name in ["mask-write", "act-write", "entry-write"] {
        let completion = host.send(&text[name]);
        assert_eq!(completion[4], 0, "{name}: {completion:x?}");
    }
    assert!(far.transmit(&text["frame-in"]).unwrap());
    let frame = other.wait(Duration::from_secs(2)).expect("forwarded");
    check("frame-out", &frame);
    let completion = host.send(&text["entry-clear"]);
    check("completion", &completion);

    assert!(far.transmit(&text["frame-in"]).unwrap());
    host.wait("the miss", || host.shadows.load(128) == 2 << 16 | 1);
    let mut slot = vec![0; 64 + text["frame-in"].len()];
    host.packets.read(0, &mut slot);
    assert_eq!(slot[64..], text["frame-in"][..]);
    slot[0x18..0x1c].fill(0); // TS
    check("rx-descriptor", &slot[..64]);

    // A flipped bit: not executed.
    let mut broken = text["mask-write"].clone();
    broken[0x80] ^= 1;
    assert_eq!(host.send(&broken)[4], CommandStatus::Crc as u8);
    // The same bytes of an older boot: not executed.
    let bar = host.bar.clone();
    bar.write32(raw::CTRL + 0x14, 1);
    host.wait("the reset", || bar.read32(raw::CTRL + 0x18) == 3);
    assert_eq!(bar.read32(raw::CMDQ + 0x10), 0, "rings are off after a reset");
}
