//! Clients that ask for all megaflows and read nothing cost the daemon a page each, not a dump.
//! The test looks at the memory of the daemon, and so the daemon is its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use common::PATIENCE;
use common::daemon::{Daemon, Folder, HTTP, ask};
use common::net::Namespace;

const FLOWS: usize = 20_000;
const READERS: u64 = 50;
/// Kilobytes that a reader may cost. The reply to one reader is fifteen times as long.
const EACH: u64 = 300;

#[test]
fn fifty_readers_that_do_not_read_cost_a_page_each() {
    let folder = Folder::new();
    let at = Namespace::new(false);
    let config = format!(
        "[datapath]\nname = 'br0'\nclient = 'none'\n[[port]]\nname = 'p'\ntype = 'pcap'\n\
         out = '{}'\n[control]\nsocket = '{}'\n[http]\nlisten = '{HTTP}'\n",
        folder.file("out.pcap"),
        folder.socket()
    );
    let daemon = Daemon::start(&at, &folder, &config);
    let mut text = String::new();
    for number in 0..FLOWS {
        let address = format!("10.0.{}.{}", number >> 8, number & 0xff);
        let ip = format!("eth_type(0x0800),ipv4(src={address},proto=6,frag=no)");
        let mac = "src=02:00:00:00:00:01,dst=02:00:00:00:00:02";
        writeln!(text, "in_port(1),eth({mac}),{ip},tcp(dst=80) 1").unwrap();
    }
    daemon.appctl(&["dpctl/add-flows", &folder.write("flows", &text)]);
    // The first dump shows what one reply needs, and how long it is.
    let dump = daemon.appctl(&["dpctl/dump-flows", "-m"]);
    assert_eq!(dump.lines().count(), FLOWS);
    assert!(dump.len() as u64 / 1024 > 15 * EACH, "{} bytes", dump.len());
    let before = daemon.resident_kb();

    let mut readers: Vec<UnixStream> = (0..READERS)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = br#"{"id":0,"method":"dpctl/dump-flows","params":["-m"]}"#;
            stream.write_all(request).unwrap();
            stream
        })
        .collect();
    // While they wait, others are answered, and a page of theirs comes after the readers' pages.
    let mut most = 0;
    for _ in 0..3 {
        assert_eq!(daemon.appctl(&["dpctl/dump-flows"]).lines().count(), FLOWS);
        assert_eq!(at.run(|| ask(HTTP, "GET", "/healthz", "localhost")).code, 200);
        most = most.max(daemon.resident_kb());
    }
    let each = most.saturating_sub(before) / READERS;
    assert!(each < EACH, "{each} kB a reader: from {before} to {most} kB");

    // One reader in ten wants the rest after all, and gets every line of it.
    for mut reader in readers.drain(..).step_by(10) {
        let mut reply = Vec::new();
        let mut part = [0; 1 << 16];
        while !reply.ends_with(b"\"}") {
            let count = reader.read(&mut part).unwrap();
            assert!(count > 0, "the reply ended after {} bytes", reply.len());
            reply.extend_from_slice(&part[..count]);
        }
        let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["result"].as_str().unwrap(), dump);
    }
}
