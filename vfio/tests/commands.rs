//! The card's answers to a host that makes mistakes, and the commands that the driver does not use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod raw;

use raw::{Bench, CMDQ, CTRL, ERR, SNAP, TX0};
use vfio::CardCapabilities;
use vfio::ring::command::{CardCommand, CardOpcode, CardTable, CounterId, command};
use vfio::ring::record::{CommandStatus, SnapshotHeader, cause};

fn counter(index: u32) -> CounterId {
    CounterId { index, generation: 0 }
}

/// Sends a command; its status.
fn ask(bench: &mut Bench, mut command: CardCommand) -> CommandStatus {
    command.seal(bench.host.sequence(), 2);
    CommandStatus::of(bench.host.send(&command.bytes)[4]).unwrap()
}

fn write(slot: u32) -> CardCommand {
    CardCommand::new(CardOpcode::EntryWrite)
        .slot(CardTable::Exact, slot)
        .cookie(7, 1)
        .counter(counter(0))
}

/// A card with a mask and an action list.
fn bench() -> Bench {
    let mut bench = Bench::new(CardCapabilities::default());
    let mask = CardCommand::new(CardOpcode::MaskWrite).mask_id(0).mask(&[0; 80]);
    assert_eq!(ask(&mut bench, mask), CommandStatus::Ok);
    let list = CardCommand::new(CardOpcode::ActWrite).action(0).payload(&[1, 4, 0, 1]);
    assert_eq!(ask(&mut bench, list), CommandStatus::Ok);
    bench
}

#[test]
fn every_mistake_has_its_status_and_changes_nothing() {
    let mut bench = bench();
    let b = &mut bench;
    let mask = |id| CardCommand::new(CardOpcode::MaskWrite).mask_id(id).mask(&[0; 80]);
    let list = |id, bytes: &[u8]| CardCommand::new(CardOpcode::ActWrite).action(id).payload(bytes);
    assert_eq!(ask(b, mask(0)), CommandStatus::Exists);
    assert_eq!(ask(b, mask(16)), CommandStatus::Range);
    assert_eq!(ask(b, list(5000, &[])), CommandStatus::Range);
    assert_eq!(ask(b, list(1, &[9, 9])), CommandStatus::Invalid);
    assert_eq!(ask(b, list(1, &[1, 4, 0, 9])), CommandStatus::Invalid, "no such wire");
    let mut long = list(1, &[0; 160]);
    command::LENGTH.put(&mut long.bytes, 161);
    assert_eq!(ask(b, long), CommandStatus::Range);

    // All-zero secrets: everything belongs into bucket 0, slots 0 to 3 and 4096 to 4099.
    assert_eq!(ask(b, write(4)), CommandStatus::Hash);
    assert_eq!(ask(b, write(8192)), CommandStatus::Range);
    assert_eq!(ask(b, write(0).mask_id(1)), CommandStatus::NoEntry);
    assert_eq!(ask(b, write(0).action(1)), CommandStatus::NoEntry);
    assert_eq!(ask(b, write(0).counter(counter(16384))), CommandStatus::Range);
    assert_eq!(ask(b, write(0).key(&[1; 80])), CommandStatus::Invalid, "bits outside the mask");
    assert_eq!(ask(b, write(0)), CommandStatus::Ok, "none of these took the slot, list or counter");
    assert_eq!(ask(b, write(0)), CommandStatus::Exists);
    assert_eq!(ask(b, write(1)), CommandStatus::Busy, "the counter is owned");
    assert_eq!(ask(b, list(0, &[])), CommandStatus::Busy, "immutable while it is in use");
    assert_eq!(ask(b, CardCommand::new(CardOpcode::MaskClear).mask_id(0)), CommandStatus::Busy);
    assert_eq!(ask(b, CardCommand::new(CardOpcode::MaskClear).mask_id(1)), CommandStatus::NoEntry);

    let of = |op| CardCommand::new(op).slot(CardTable::Exact, 0).cookie(8, 1);
    assert_eq!(ask(b, of(CardOpcode::EntryClear)), CommandStatus::NoEntry, "another cookie");
    assert_eq!(ask(b, of(CardOpcode::EntryReplace).counter(counter(1))), CommandStatus::NoEntry);
    let to = |slot| CardCommand::new(CardOpcode::EntryMove).slot(CardTable::Exact, slot).slot2(0);
    assert_eq!(ask(b, to(0)), CommandStatus::Exists);
    assert_eq!(ask(b, to(9)), CommandStatus::Hash);
    assert_eq!(
        ask(b, CardCommand::new(CardOpcode::EntryMove).slot(CardTable::Rows, 1)),
        CommandStatus::BadOp
    );
    assert_eq!(ask(b, to(4097)), CommandStatus::Ok);
    assert_eq!(ask(b, to(1)), CommandStatus::NoEntry, "it has moved");

    let mut wrong = CardCommand::new(CardOpcode::Nop);
    wrong.bytes[0] = 200;
    assert_eq!(ask(b, wrong), CommandStatus::BadOp);
    let mut wrong = CardCommand::new(CardOpcode::Nop);
    wrong.bytes[2] = 2;
    assert_eq!(ask(b, wrong), CommandStatus::BadOp);
    let read = CardCommand::new(CardOpcode::EntryRead).slot(CardTable::Exact, 4096).slot2(8);
    assert_eq!(ask(b, read.clone().address(0x10)), CommandStatus::Dma);
    assert_eq!(ask(b, read.slot2(u32::MAX)), CommandStatus::Range);
    assert_eq!(b.host.bar.read32(CTRL + 0x10), 3, "still READY");
}

#[test]
fn read_back_and_flush() {
    let mut bench = bench();
    let b = &mut bench;
    assert_eq!(ask(b, write(2)), CommandStatus::Ok);
    let to = b.host.scratch.iova();
    let read =
        CardCommand::new(CardOpcode::EntryRead).slot(CardTable::Exact, 0).slot2(64).address(to);
    assert_eq!(ask(b, read.clone()), CommandStatus::Ok);
    let mut record = CardCommand { bytes: [0; 256] };
    b.host.scratch.read(0, &mut record.bytes);
    assert!(record.intact());
    assert_eq!((record.get32(command::SLOT), record.get_cookie()), (2, 7));
    let list = CardCommand::new(CardOpcode::ActRead).action(0).address(to);
    assert_eq!(ask(b, list), CommandStatus::Ok);
    b.host.scratch.read(0, &mut record.bytes);
    assert_eq!(record.get_payload(), Some(&[1, 4, 0, 1][..]));

    assert_eq!(ask(b, CardCommand::new(CardOpcode::Flush)), CommandStatus::Ok);
    let mut none = read;
    none.seal(b.host.sequence(), 2);
    let completion = b.host.send(&none.bytes);
    assert_eq!((completion[4], completion[8]), (0, 0), "no records");
    assert_eq!(
        ask(b, CardCommand::new(CardOpcode::MaskWrite).mask_id(0)),
        CommandStatus::Ok,
        "masks are free"
    );
    assert_eq!(ask(b, write(0)), CommandStatus::Ok, "lists stay written, counters are free");
}

#[test]
fn a_triggered_snapshot_is_told_by_an_event() {
    let mut bench = bench();
    let b = &mut bench;
    assert_eq!(ask(b, write(0).counter(counter(3))), CommandStatus::Ok);
    let bar = b.host.bar.clone();
    bar.write64(SNAP + 0x10, b.host.scratch.iova());
    bar.write32(SNAP + 0x18, 2);
    bar.write32(SNAP + 0x1c, 4);
    bar.write32(SNAP + 0x20, 1);
    b.host.wait("the event", || b.host.shadows.load(192) == 2 << 16 | 1);
    let mut event = [0; 32];
    b.host.events.read(0, &mut event);
    assert_eq!((event[0], event[8]), (cause::SNAP_DONE, 1));
    let mut header = [0; 32];
    b.host.scratch.read(0, &mut header);
    let header = SnapshotHeader::of(&header).expect("a good header");
    assert_eq!((header.first, header.count, header.sequence), (2, 4, 1));
    assert_eq!(bar.read32(SNAP + 0x24), 1);
    // Nobody takes the events: the ninth is lost, counted, and the card says so.
    for _ in 0..9 {
        let before = bar.read32(SNAP + 0x24);
        bar.write32(SNAP + 0x20, 1);
        b.host.wait("a snapshot", || bar.read32(SNAP + 0x24) > before);
    }
    b.host.wait("a lost event", || bar.read32(ERR + 0x28) > 0);
    assert_eq!((bar.read32(ERR + 0x10), bar.read32(CTRL + 0x10)), (6, 4), "DEGRADED");
    bar.write32(ERR + 0x10, 1);
    assert_eq!(bar.read32(ERR + 0x10), 0);
}

#[test]
fn impossible_doorbells_and_rings_are_refused_and_counted() {
    let mut bench = bench();
    let bar = bench.host.bar.clone();
    bar.write32(CMDQ + 0x1c, 500);
    bench.host.wait("an error", || bar.read32(ERR + 0x24) == 1);
    assert_eq!(bar.read32(ERR + 0x10), 5);
    assert_eq!(
        ask(&mut bench, CardCommand::new(CardOpcode::Nop)),
        CommandStatus::Ok,
        "a right one goes on"
    );

    bar.write32(TX0 + 0x10, 0);
    bar.write32(TX0 + 0x0c, 33);
    bar.write32(TX0 + 0x10, 1);
    assert_eq!(bar.read32(TX0 + 0x10), 0, "a stride of 33 is refused");
    assert_eq!(bar.read32(ERR + 0x24), 2);
    assert_eq!(bar.read32(0x10000), u32::MAX, "outside the BAR nobody answers");
    assert_eq!(bar.read32(2), u32::MAX, "nor at half a word");
    bar.write32(0x108, 7);
    assert_eq!(bar.read32(0x108), 0x200, "read-only stays");
}

#[test]
fn bad_frames_of_the_host_are_dropped_and_counted() {
    let mut bench = bench();
    let bar = bench.host.bar.clone();
    // Too short, too long, for another port, then a right one.
    for (slot, (length, port)) in [(13u32, 0u16), (5000, 0), (60, 1), (60, 0)].iter().enumerate() {
        let mut descriptor = [0; 64];
        descriptor[..4].copy_from_slice(&length.to_le_bytes());
        descriptor[4..6].copy_from_slice(&port.to_le_bytes());
        bench.host.frames.write(slot * 2048, &descriptor);
    }
    bar.write32(TX0 + 0x1c, 4);
    bench.host.wait("the ring", || bench.host.shadows.load(256) == 2 << 16 | 4);
    assert_eq!(bench.wires[0].take(), Some(vec![0; 60]));
    assert_eq!(bench.wires[0].take(), None);
    let drops = bench.card.ledger().ports()[0].drops.clone();
    assert_eq!(drops[&vfio::model::DropReason::TxBad].packets, 3);
}
