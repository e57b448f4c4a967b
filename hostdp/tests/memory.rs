//! A megaflow takes little memory. The numbers are printed; `COUNT=1000000` measures a million
//! megaflows. The test is alone in its file, since it looks at the memory of the whole process.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod many;

use std::sync::Arc;

use flow::{Generation, Megaflow, Op};
use hostdp::table::FlowTable;
use many::{count, megaflow};

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_megaflow_takes_little_memory() {
    let start = resident();
    let flows: Vec<Arc<Megaflow>> = (0..count()).map(|n| megaflow(n, 1)).collect();
    let made = resident();
    let mut table = FlowTable::new(1, 1 << 20);
    for flow in &flows {
        let op = Op::Install { flow: flow.clone(), generation: Generation(1) };
        while table.try_apply(&op).is_none() {}
    }
    let each = |bytes: usize| bytes / count() as usize;
    let (alone, table_alone) = (each(made - start), each(resident() - made));
    println!("a megaflow has {alone} bytes, its place in the table {table_alone}");
    assert!(alone <= 420 && table_alone <= 200, "{alone} and {table_alone} bytes");
}
