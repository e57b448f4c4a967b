//! Ten million mutated packets through the parser and the edits; ends with what it saw, or with
//! the first packet that breaks a rule. `MEGAFLOW_FUZZ_PACKETS` and `MEGAFLOW_SEED` change the run.
#![allow(clippy::panic, clippy::expect_used, reason = "a broken rule ends the run by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "cutting off is how bytes are made")]

use std::time::Instant;

#[path = "../tests/common/mod.rs"]
mod common;

fn main() -> Result<(), String> {
    let seed = number("MEGAFLOW_SEED", 1)?;
    let packets = number("MEGAFLOW_FUZZ_PACKETS", 10_000_000)?;
    let start = Instant::now();
    let summary = common::fuzz::run(seed, packets);
    println!(
        "{packets} mutated packets from seed {seed}, no rule broken, in {:.1?}",
        start.elapsed()
    );
    println!("{summary:?}");
    Ok(())
}

fn number(variable: &str, default: u64) -> Result<u64, String> {
    match std::env::var(variable) {
        Ok(text) => text.parse().map_err(|_| format!("{variable}={text} is no number")),
        Err(_) => Ok(default),
    }
}
