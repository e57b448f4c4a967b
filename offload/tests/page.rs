//! The page as a browser understands it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::daemon::{Daemon, Folder, HTTP, http};
use common::net::{Lan, RIGHT};
use common::until;
use serde_json::Value;

/// What Chromium makes of a page: its document, written out again.
fn browse(lan: &Lan, folder: &Folder, path: &str) -> String {
    let profile = format!("--user-data-dir={}", folder.file("browser"));
    let mut chromium = Command::new("timeout");
    chromium.args(["30", "chromium", "--disable-dev-shm-usage"]);
    let quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update"];
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"]).args(quiet);
    chromium.args([&profile, "--dump-dom", &format!("http://{HTTP}{path}")]);
    lan.switch.tool(&mut chromium, "chromium")
}

/// Where each megaflow is.
fn placements(daemon: &Daemon) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    daemon.flows().iter().map(|flow| (text(&flow["ufid"]), text(&flow["placement"]))).collect()
}

/// Rows of the table of megaflows that are placed there.
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
    // Hosts ask who is there now and then, and what is idle goes: page and list of one moment.
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

    // What the empty field proposes shows some of them.
    let example = all.split("placeholder=\"").nth(1).and_then(|rest| rest.split('"').next());
    let path = format!("/api/v1/flows?filter={}", example.unwrap());
    lan.left.ping(RIGHT);
    let shown = http(&lan.switch, "GET", &path, "localhost").body;
    assert!(shown.contains("eth_type(0x0800)"), "{path}: {shown}");

    // Text from outside stays text.
    let hostile =
        browse(&lan, &folder, "/?filter=%27%3E%3Cscript%3Edocument.title%3D1%3C/script%3E");
    assert!(hostile.contains("<title>megaflow</title>"), "{hostile}");
    assert!(!hostile.contains("<script"), "{hostile}");
}
