//! The page as a browser understands it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::daemon::{Daemon, Folder, HTTP, http};
use common::net::{Lan, RIGHT};
use common::until;
use serde_json::Value;

/// Loads a page in Chromium and returns the document as Chromium writes it out.
fn browse(lan: &Lan, folder: &Folder, path: &str) -> String {
    let profile = format!("--user-data-dir={}", folder.file("browser"));
    let mut chromium = Command::new("timeout");
    chromium.args(["30", "chromium", "--disable-dev-shm-usage"]);
    let quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update"];
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"]).args(quiet);
    chromium.args([&profile, "--dump-dom", &format!("http://{HTTP}{path}")]);
    lan.switch.tool(&mut chromium, "chromium")
}

/// The placement of each megaflow.
fn placements(daemon: &Daemon) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    daemon.flows().iter().map(|flow| (text(&flow["ufid"]), text(&flow["placement"]))).collect()
}

/// Number of rows in the table of megaflows that have a placement.
fn rows(page: &str, place: &str) -> usize {
    page.matches(&format!("<tr class=\"{place}\">")).count()
}

#[test]
fn a_browser_shows_where_each_megaflow_is_and_why() {
    let lan = Lan::new(false);
    let folder = Folder::new();
    let daemon = Daemon::on_card(&lan, &folder);
    lan.left.ping(RIGHT);
    daemon.appctl(&["dpctl/add-flow", "in_port(1),eth_type(0x88b5)", "trunc(60),2"]);
    daemon.at_rest();
    until("the flows of the ping are in the card", || {
        daemon.flows().iter().filter(|flow| flow["placement"] == "nic").count() >= 2
    });
    // Page and list must be of the same moment: hosts send ARP requests now and then, and idle
    // megaflows expire.
    let (mut all, mut flows) = (String::new(), BTreeMap::new());
    until("nothing changes while the browser looks", || {
        flows = placements(&daemon);
        all = browse(&lan, &folder, "/");
        flows == placements(&daemon)
    });
    let there = |place: &str| flows.values().filter(|placement| *placement == place).count();
    for place in ["nic", "host", "refused"] {
        assert_eq!(rows(&all, place), there(place), "{place}: {all}");
        assert!(all.contains(&format!("<option value=\"{place}\">")), "{all}");
    }
    assert!(
        all.contains("<em>action trunc</em>") && all.contains("<pre class=\"holds\">"),
        "{all}"
    );

    let some = browse(&lan, &folder, "/?where=refused&filter=eth_type%3D0x88b5");
    assert_eq!((rows(&some, "refused"), rows(&some, "nic")), (1, 0), "{some}");
    assert!(some.contains("<option value=\"refused\" selected=\"\">"), "{some}");

    // The filter that the empty field proposes shows some of the megaflows.
    let example = all.split("placeholder=\"").nth(1).and_then(|rest| rest.split('"').next());
    let path = format!("/api/v1/flows?filter={}", example.unwrap());
    lan.left.ping(RIGHT);
    let shown = http(&lan.switch, "GET", &path, "localhost").body;
    assert!(shown.contains("eth_type(0x0800)"), "{path}: {shown}");

    // Text from outside is shown as text and not run.
    let hostile =
        browse(&lan, &folder, "/?filter=%27%3E%3Cscript%3Edocument.title%3D1%3C/script%3E");
    assert!(hostile.contains("<title>megaflow</title>"), "{hostile}");
    assert!(!hostile.contains("<script"), "{hostile}");
}
