//! The commands of the control socket: what a tester can do to the card and its hosts.

use std::sync::Arc;
use std::time::Duration;

use flow::Counters;
use serde_json::{Value, json};
use vfio::ModelCard;
use vfio::model::{Damage, PortLedger};
use vfio::sys::HostMemory;

use super::hosts::Hosts;
use super::slot::PciSlot;
use super::traffic::{self, TrafficRun};
use crate::check::{Failure, Outcome, WithContext};

const HELP: &str = "help | ledger | hits COOKIE | send HOST HEX | frames HOST | drain | \
    ping FROM TO COUNT MILLISECONDS | tcp FROM TO MILLISECONDS | progress | finish | stop | \
    quiesce | run | lose COUNT | damage COOKIE | peek IOVA BYTES | poke IOVA HEX | \
    windows | cut | pull | plug";

/// The card on the tester's bench.
pub(super) struct Bench {
    slot: Arc<PciSlot>,
    card: ModelCard,
    hosts: Hosts,
    running: Option<TrafficRun>,
}

impl Bench {
    pub(super) fn new(slot: Arc<PciSlot>, card: ModelCard, hosts: Hosts) -> Bench {
        Bench { slot, card, hosts, running: None }
    }

    /// Carries out a command line; returns what was asked for, on one line.
    pub(super) fn obey(&mut self, line: &str) -> Outcome<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let nothing = |()| String::new();
        match words[..] {
            ["help"] => Ok(HELP.into()),
            ["ledger"] => Ok(self.ledger().to_string()),
            ["hits", cookie] => Ok(self.card.ledger().flow(wide(cookie)?).packets.to_string()),
            ["send", host, hex] => self.hosts.send(number(host)?, &bytes(hex)?).map(nothing),
            ["frames", host] => {
                let frames = self.hosts.received(number(host)?)?;
                Ok(json!(frames.iter().map(|frame| text(frame)).collect::<Vec<_>>()).to_string())
            }
            ["drain"] => self.hosts.drain().map(nothing),
            ["ping", from, to, count, distance] => {
                let distance = Duration::from_millis(number(distance)?);
                let (from, to, count) = (number(from)?, number(to)?, number(count)?);
                let start = |hosts: &Hosts| traffic::ping(hosts, from, to, count, distance);
                self.start(start)
            }
            ["tcp", from, to, time] => {
                let (from, to) = (number(from)?, number(to)?);
                let time = Duration::from_millis(number(time)?);
                self.start(|hosts: &Hosts| traffic::tcp(hosts, from, to, time))
            }
            ["progress"] => match &self.running {
                Some(running) => Ok(running.progress().to_string()),
                None => Err(Failure::new("nothing runs")),
            },
            ["finish"] => {
                let running = self.running.take().ok_or_else(|| Failure::new("nothing runs"))?;
                let (sent, arrived) = running.finish()?;
                Ok(json!({ "sent": sent, "arrived": arrived }).to_string())
            }
            ["stop"] => {
                self.running.take().ok_or_else(|| Failure::new("nothing runs"))?.stop();
                Ok(String::new())
            }
            ["quiesce"] => {
                self.slot.ctrl()?.quiesce(&self.slot.clock).context("quiesce").map(nothing)
            }
            ["run"] => self.slot.ctrl()?.run(&self.slot.clock).context("run").map(nothing),
            ["lose", count] => {
                self.card.lose_counts(number(count)?);
                Ok(String::new())
            }
            ["damage", cookie] => {
                self.card.damage(wide(cookie)?, Damage::Lost);
                Ok(String::new())
            }
            ["pull"] => {
                self.card.pull_out();
                Ok(String::new())
            }
            ["plug"] => self.plug().map(nothing),
            _ => self.obey_memory(&words),
        }
    }

    /// The commands about the host's memory as the card sees it.
    fn obey_memory(&self, words: &[&str]) -> Outcome<String> {
        match words[..] {
            ["windows"] => Ok(self.slot.memory.windows().to_string()),
            ["peek", iova, length] => {
                let mut out = vec![0; number::<usize>(length)?.min(4096)];
                match self.slot.memory.read(address(iova)?, &mut out) {
                    Ok(()) => Ok(text(&out)),
                    Err(_) => Ok("fault".into()),
                }
            }
            ["poke", iova, hex] => match self.slot.memory.write(address(iova)?, &bytes(hex)?) {
                Ok(()) => Ok("written".into()),
                Err(_) => Ok("fault".into()),
            },
            ["cut"] => {
                self.slot.memory.unmap(0, u64::MAX);
                Ok(String::new())
            }
            _ => Err(Failure::new(format!("no command {words:?}: {HELP}"))),
        }
    }

    /// Puts a new card where one was pulled out.
    fn plug(&mut self) -> Outcome {
        if self.slot.is_empty() {
            // An interface belongs to one port: the card that was pulled out lets go of it first.
            drop(self.card.stop());
            self.card = self.slot.insert(self.hosts.wires()?)?;
            self.hosts.forget_neighbours()?;
        }
        Ok(())
    }

    fn start(&mut self, start: impl FnOnce(&Hosts) -> Outcome<TrafficRun>) -> Outcome<String> {
        if self.running.is_some() {
            return Err(Failure::new("something runs already: finish it first"));
        }
        self.running = Some(start(&self.hosts)?);
        Ok(String::new())
    }

    /// What the card did, port by port and megaflow by megaflow, counted apart from its own
    /// counters.
    fn ledger(&self) -> Value {
        let ledger = self.card.ledger();
        let mut flows: Vec<_> = ledger.flows().into_iter().collect();
        flows.sort_by_key(|(key, _)| *key);
        let flows: Vec<Value> = flows
            .into_iter()
            .map(|((cookie, generation), hits)| {
                json!({
                    "cookie": format!("{cookie:032x}"),
                    "generation": generation,
                    "packets": hits.packets,
                    "bytes": hits.bytes,
                })
            })
            .collect();
        json!({
            "ports": ledger.ports().iter().map(port).collect::<Vec<_>>(),
            "flows": flows,
        })
    }
}

fn port(ledger: &PortLedger) -> Value {
    let drops: serde_json::Map<String, Value> = ledger
        .drops
        .iter()
        .map(|(reason, what)| (reason.name().to_owned(), counters(*what)))
        .collect();
    json!({
        "rx": counters(ledger.rx),
        "nic": counters(ledger.nic),
        "host": counters(ledger.host),
        "tx": counters(ledger.tx),
        "from_host": counters(ledger.from_host),
        "drops": drops,
    })
}

/// Packets and bytes.
fn counters(counters: Counters) -> Value {
    json!([counters.packets, counters.bytes])
}

fn number<T: std::str::FromStr>(word: &str) -> Outcome<T> {
    word.parse().map_err(|_| Failure::new(format!("{word:?} is no number that fits here")))
}

fn address(word: &str) -> Outcome<u64> {
    u64::from_str_radix(word.trim_start_matches("0x"), 16).context(word)
}

fn wide(word: &str) -> Outcome<u128> {
    u128::from_str_radix(word, 16).context(word)
}

/// Bytes as hex digits.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Outcome<Vec<u8>> {
    let wrong = || Failure::new(format!("{hex:?} is not bytes in hex"));
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2);
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(wrong)
        })
        .collect()
}
