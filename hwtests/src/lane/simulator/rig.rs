//! What the checks work with: rules into the card, frames through it.

use std::fmt::Write as _;

use crate::check::{Failure, Outcome, equal};
use crate::guest::{self, RawSocket};

pub(super) const DEBUG: &str = "/sys/kernel/debug/swsim";

/// A frame and the netdev that the card handed it to.
pub(super) type CardOutput = (String, Vec<u8>);

pub(super) fn output(dev: &str, frame: &[u8]) -> CardOutput {
    (dev.to_owned(), frame.to_vec())
}

/// Sends a frame from VF 0 with these rules on its representor, and returns what came out where. A
/// rule is what follows `tc filter add dev swrep0 ingress`.
pub(super) fn through(rules: &[&str], frame: &[u8]) -> Outcome<Vec<CardOutput>> {
    install(rules)?;
    send(frame)
}

/// Replaces all rules on VF 0's representor, in all chains.
pub(super) fn install(rules: &[&str]) -> Outcome {
    let mut batch =
        vec!["qdisc del dev swrep0 clsact".to_owned(), "qdisc add dev swrep0 clsact".to_owned()];
    batch.extend(rules.iter().map(|rule| format!("filter add dev swrep0 ingress {rule}")));
    guest::tc_batch(&batch)
}

pub(super) fn send(frame: &[u8]) -> Outcome<Vec<CardOutput>> {
    guest::write(&format!("{DEBUG}/frames"), "clear")?;
    // The device has no queue: when this returns, the card has done its work.
    RawSocket::open("swvf0")?.send(frame)?;
    captured()
}

/// What the card handed out since its capture was cleared.
pub(super) fn captured() -> Outcome<Vec<CardOutput>> {
    guest::read(&format!("{DEBUG}/frames"))?.lines().map(parse).collect()
}

/// Reads a line of the card's capture: netdev, length, bytes in hex.
fn parse(line: &str) -> Outcome<CardOutput> {
    let bad = || Failure::new(format!("not a line of a capture: {line:?}"));
    let mut words = line.split(' ');
    let (Some(dev), Some(length), Some(hex)) = (words.next(), words.next(), words.next()) else {
        return Err(bad());
    };
    let bytes = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(bad)?;
    equal("the captured length", &bytes.len().to_string(), &length.to_owned())?;
    Ok((dev.to_owned(), bytes))
}

pub(super) fn expect(got: &[CardOutput], want: &[CardOutput]) -> Outcome {
    if got == want {
        return Ok(());
    }
    let mut text = String::new();
    for (word, frames) in [("got", got), ("want", want)] {
        let _ = writeln!(text, "{word} {} frames", frames.len());
        for (dev, bytes) in frames {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "  {dev} {hex}");
        }
    }
    Err(Failure::new(text))
}
