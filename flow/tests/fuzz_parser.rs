//! A bounded fuzz run: 300,000 packets, or as many as `MEGAFLOW_FUZZ_PACKETS` says, from
//! `MEGAFLOW_SEED`. The long run: `cargo run --release -p megaflow-flow --example fuzz_parser`.
#![allow(clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "cutting off is how bytes are made")]

mod common;

#[test]
fn mutated_packets_break_nothing() {
    let (seed, packets) = (number("MEGAFLOW_SEED", 1), number("MEGAFLOW_FUZZ_PACKETS", 300_000));
    let summary = common::fuzz::run(seed, packets);
    println!("{summary:?}");
    assert_eq!(summary.packets, packets);
    for (what, count) in [
        ("packets with a network header", summary.with_network),
        ("packets with ports", summary.with_transport),
        ("packets that their action changed", summary.changed_by_action),
        ("checksums that were right and had to stay so", summary.checksums_kept),
    ] {
        assert!(count * 50 >= packets, "too few {what}: {count} of {packets}");
    }
}

#[test]
fn the_corpus_has_names_and_bytes() {
    let corpus = common::fuzz::corpus();
    assert!(corpus.len() >= 50, "{} files", corpus.len());
    corpus.iter().for_each(|(name, frame)| assert!(!frame.is_empty(), "{name}"));
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}
