//! What Prometheus's own linter says of the text.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]
use std::io::Write;
use std::process::{Command, Stdio};

use flow::{TableName, TableUsage};
use metrics::{PortMetrics, ProviderMetrics, Snapshot, encode};

#[test]
fn promtool_finds_nothing() {
    let mut snapshot = Snapshot { version: "0".into(), ..Snapshot::default() };
    let table = TableName::ExactMatch;
    let usage = TableUsage { table, holds_megaflows: true, entries: 1, capacity: Some(2) };
    let mut provider = ProviderMetrics { tables: vec![usage], ..ProviderMetrics::default() };
    provider.corrections.insert("missing", 1);
    snapshot.providers.insert("tc".into(), provider);
    let mut port = PortMetrics::default();
    port.drops.insert((metrics::Direction::Receive, "truncated"), 3);
    port.upcall_drops.insert("queue-full", 3);
    snapshot.ports.insert("vf0".into(), port);
    snapshot.cache_lookups.insert("miss", 1);
    assert_eq!(lint(&encode(&snapshot)), "");
    // The linter is really reading: a counter without its suffix is found.
    assert!(lint("# HELP x y\n# TYPE x counter\nx 1\n").contains("_total"));
}

fn lint(text: &str) -> String {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (Debian package prometheus) is needed by this test");
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() || !said.is_empty(), "promtool failed silently");
    said
}
