//! What the checks work with: the provider on the card, megaflows, frames through the card.

pub(super) use std::collections::BTreeMap;
pub(super) use std::sync::Arc;
pub(super) use std::time::Duration;

pub(super) use flow::reference::{self, Effect};
pub(super) use flow::{
    Blocking as _, Clock, Completion, Counters, Dumped, Generation, Key, Megaflow, Op, PortId,
    Provider as _, ProviderError, Stats, Ufid, odp, packet,
};
pub(super) use tc_flower::{DeviceSelector, TcOptions, TcProvider};

pub(super) use crate::check::{Checks, Failure, Outcome, WithContext, equal};
pub(super) use crate::guest::{self, RawSocket};

pub(super) use super::frames;

pub(super) const DEBUG: &str = "/sys/kernel/debug/swsim";
/// The card keeps the last 64 frames that it handed out.
pub(super) const AT_ONCE: usize = 16;

/// Ports 1 and 2 are the VFs, 3 is the uplink.
pub(super) const PORTS: [(u32, &str); 3] = [(1, "pf0vf0"), (2, "pf0vf1"), (3, "p0")];

/// Plugs the card in, with its interfaces up.
pub(super) fn load() -> Outcome {
    guest::load_module("swsim nvf=2")?;
    for dev in ["swp0", "wire0", "swrep0", "swrep1", "swvf0", "swvf1"] {
        guest::run(&format!("ip link set {dev} up"))?;
    }
    Ok(())
}

pub(super) fn open() -> Outcome<TcProvider> {
    open_with(TcOptions::default())
}

pub(super) fn open_with(options: TcOptions) -> Outcome<TcProvider> {
    open_ports(&PORTS, &guest::read("/sys/class/net/swrep0/phys_switch_id")?, options)
}

pub(super) fn open_ports(
    ports: &[(u32, &str)],
    switch_id: &str,
    options: TcOptions,
) -> Outcome<TcProvider> {
    let select = |(port, name): &(u32, &str)| {
        let phys_port_name = (*name).to_owned();
        (PortId(*port), DeviceSelector::Port { switch_id: switch_id.to_owned(), phys_port_name })
    };
    let ports: Vec<_> = ports.iter().map(select).collect();
    TcProvider::open_with(&ports, Clock::start(), options).context("opening the provider")
}

/// A megaflow from port 1.
pub(super) fn flow(keys: &str, actions: &str) -> Outcome<Arc<Megaflow>> {
    let matching = odp::parse_match(&format!("in_port(1),{keys}")).context(keys)?;
    let actions = match actions {
        "drop" => [].into(),
        actions => odp::parse_actions(actions).context(actions)?,
    };
    Ok(Arc::new(Megaflow::new(matching, actions)))
}

pub(super) fn install(flow: &Arc<Megaflow>, generation: u32) -> Op {
    Op::Install { flow: Arc::clone(flow), generation: Generation(generation) }
}

pub(super) fn apply(tc: &mut TcProvider, ops: &[Op]) -> Vec<Completion> {
    let mut done = Vec::new();
    tc.apply(ops, &mut done);
    done
}

pub(super) fn apply_one(tc: &mut TcProvider, op: Op) -> Result<Stats, ProviderError> {
    let done = apply(tc, &[op]).pop().map(|completion| completion.result);
    done.unwrap_or_else(|| Err(ProviderError::Busy("no completion".into())))
}

pub(super) fn stats(tc: &mut TcProvider) -> Outcome<BTreeMap<Ufid, Stats>> {
    let mut all = Vec::new();
    tc.all_stats(&mut all).context("reading statistics")?;
    Ok(all.into_iter().collect())
}

pub(super) fn dump(tc: &mut TcProvider) -> Outcome<Vec<Dumped>> {
    let mut all = Vec::new();
    tc.all_dumped(&mut all).context("dumping")?;
    Ok(all)
}

/// How many rules the card itself has.
pub(super) fn rules() -> Outcome<usize> {
    Ok(guest::read(&format!("{DEBUG}/rules"))?.lines().count())
}

/// Sends frames from VF 0; what the card handed out, and on which netdev.
pub(super) fn send(socket: &RawSocket, frames: &[Vec<u8>]) -> Outcome<Vec<(String, Vec<u8>)>> {
    guest::write(&format!("{DEBUG}/frames"), "clear")?;
    frames.iter().try_for_each(|frame| socket.send(frame))?;
    let captured = guest::read(&format!("{DEBUG}/frames"))?;
    let bad = || Failure::new(format!("not a capture: {captured}"));
    captured
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let (dev, hex) = (words.next().ok_or_else(bad)?, words.nth(1).ok_or_else(bad)?);
            let pairs = hex.as_bytes().chunks(2).map(|pair| {
                u8::from_str_radix(std::str::from_utf8(pair).unwrap_or("?"), 16).map_err(|_| bad())
            });
            Ok((dev.to_owned(), pairs.collect::<Outcome<Vec<u8>>>()?))
        })
        .collect()
}

/// The key of a frame from port 1.
pub(super) fn key(frame: &[u8]) -> Key {
    Key { in_port: 1, ..packet::extract(frame) }
}

/// What the card has to hand out for a frame: what the reference does if the megaflow is hit, the
/// frame as it is to the representor if not.
pub(super) fn wanted(flow: &Megaflow, frame: &[u8]) -> Outcome<Vec<(String, Vec<u8>)>> {
    let key = key(frame);
    if !flow.matching.hits(&key) {
        return Ok(vec![("swrep0".into(), frame.to_vec())]);
    }
    let packet = packet::Packet::new(frame);
    let effects = reference::execute(&flow.actions, &packet, &key, &mut |_| false);
    effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Output(PortId(2), frame) => Ok(("swvf1".into(), frame)),
            Effect::Output(PortId(3), frame) => Ok(("wire0".into(), frame)),
            other => Err(Failure::new(format!("no effect of these flows: {other:?}"))),
        })
        .collect()
}

pub(super) fn hex(frames: &[(String, Vec<u8>)]) -> String {
    let line = |(dev, bytes): &(String, Vec<u8>)| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("  {dev} {hex}\n")
    };
    frames.iter().map(line).collect()
}

/// The hits among frames, each sent once.
pub(super) fn hits(flow: &Megaflow, frames: &[Vec<u8>]) -> Counters {
    let hits = frames.iter().filter(|frame| flow.matching.hits(&key(frame)));
    hits.map(|frame| Counters::packet(frame.len())).sum()
}
