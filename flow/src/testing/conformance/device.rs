//! Checks of a device that goes and comes back, and of an end on purpose.

use crate::provider::{Blocking, Cursor, Dumped, Op, ProviderError, ProviderEvent};

use super::Finding;
use super::bench::{Bench, LOOK, Life, PATIENCE, broken, not_here};
use super::readings::read_all;

const GONE: &str = "a provider whose device is gone ends every operation with Gone";
const READING: &str = "readings of a device that is gone return Gone";
const TOLD: &str = "events tell once that the device is gone";
const AWAY: &str = "reopen says why the device is still gone, and changes nothing";
const REOPENED: &str =
    "after a reopening nothing is in flight, and the device's content is adopted";
const CLOSED: &str = "close leaves nothing of ours in the device";

/// The device goes while operations are in flight, and comes back.
pub(super) fn gone(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let ops: Vec<Op> = (0..30).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(ops)?;
    for n in 0..10 {
        let ops = [bench.replace(n)?, bench.remove(n + 10)?, bench.install(n + 30)?];
        bench.offer_all(ops);
    }
    bench.submit()?;
    bench.may_be_gone = true;
    if !bench.rig.take_away() {
        return not_here("this rig can't take its device away");
    }
    bench.drain()?;
    let mut told = count_gone(bench);
    for _ in 0..PATIENCE {
        if told > 0 {
            break;
        }
        bench.poll(LOOK)?;
        told += count_gone(bench);
        // A provider may find out only when it uses the device.
        let op = bench.install(40)?;
        bench.offer(op);
        bench.drain()?;
    }
    stays_gone(bench)?;
    if bench.rig.provider().reopen().is_ok() {
        return broken(AWAY, "it succeeds while the device is away");
    }
    stays_gone(bench)?;
    told += count_gone(bench);
    if told != 1 {
        return broken(TOLD, format!("{told} times"));
    }
    come_back(bench)
}

fn count_gone(bench: &mut Bench<'_>) -> usize {
    let events = bench.rig.provider().events();
    events.iter().filter(|event| matches!(event, ProviderEvent::Gone(_))).count()
}

fn stays_gone(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let ops = [bench.replace(20)?, bench.remove(21)?, bench.install(41)?];
    bench.offer_all(ops);
    for end in bench.drain()? {
        if !matches!(end.result, Err(ProviderError::Gone(_))) {
            return broken(GONE, format!("{end:?}"));
        }
    }
    let provider = bench.rig.provider();
    let stats = provider.stats(Cursor::default(), &mut Vec::new()).err();
    let dump = provider.dump(Cursor::default(), &mut Vec::new()).err();
    for error in [stats, dump] {
        if !matches!(error, Some(ProviderError::Gone(_))) {
            return broken(READING, format!("{error:?}"));
        }
    }
    Ok(())
}

fn come_back(bench: &mut Bench<'_>) -> Result<(), Finding> {
    if !bench.rig.give_back() {
        return not_here("this rig can't give its device back");
    }
    let mut last = None;
    for _ in 0..PATIENCE {
        last = bench.rig.provider().reopen().err();
        if last.is_none() {
            break;
        }
    }
    if let Some(error) = last {
        return not_here(&format!("the provider can't open its device again: {error}"));
    }
    if !bench.poll(LOOK)?.is_empty() {
        return broken(REOPENED, "an operation of the time before ends");
    }
    bench.may_be_gone = false;
    let found = read_all(bench)?;
    adopt(bench, found);
    bench.compare_all()?;
    let all: Vec<Op> = bench.lives.keys().map(|ufid| Op::Remove { ufid: *ufid }).collect();
    bench.must(all)?;
    let ops: Vec<Op> = (0..50).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(ops)?;
    bench.compare_all()
}

/// Takes over what is in the device, as the engine does at a start.
fn adopt(bench: &mut Bench<'_>, found: Vec<Dumped>) {
    let adopted = bench.rig.provider().adopt(&found);
    bench.lives.clear();
    let mut strangers = Vec::new();
    for one in found {
        match one.flow {
            Some(flow) if adopted.contains(&one.ufid) => {
                let (generation, hits) = (one.generation, one.stats.counters);
                bench.lives.insert(one.ufid, Life { flow, generation, hits });
            }
            _ => strangers.push(one.ufid),
        }
    }
    // What can't be adopted is removed, whatever the provider calls it.
    let strangers: Vec<Op> = strangers.into_iter().map(|ufid| Op::Remove { ufid }).collect();
    bench.rig.provider().apply(&strangers, &mut Vec::new());
}

/// A process dies. The next one finds lives as they were, with their hits, or none; what it adopts
/// goes on as if it had installed it.
pub(super) fn restarted(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let ops: Vec<Op> = (0..20).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(ops)?;
    let ops = vec![bench.replace(0)?, bench.replace(1)?];
    bench.must(ops)?;
    for round in 1..3 {
        for n in [0, 2] {
            let ufid = bench.flow(n)?.ufid;
            // A rig that can't send shows less here.
            if let Err(Finding::Broken(how)) = bench.hit(ufid, round) {
                return Err(Finding::Broken(how));
            }
        }
        if !bench.rig.restart() {
            return not_here("this rig has one provider only");
        }
        let found = read_all(bench)?;
        for one in &found {
            bench.compare(one)?;
            bench.compare_stats(one.ufid, one.stats)?;
        }
        adopt(bench, found);
        bench.compare_all()?;
    }
    for n in 0..20 {
        let ufid = bench.flow(n)?.ufid;
        let op = match bench.lives.contains_key(&ufid) {
            true if n < 10 => bench.replace(n)?,
            true => bench.remove(n)?,
            false => bench.install(n)?,
        };
        bench.must(vec![op])?;
    }
    bench.compare_all()
}

/// The provider ends on purpose, and the device has nothing of ours.
pub(super) fn close(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let ops: Vec<Op> = (0..30).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(ops)?;
    if let Err(error) = bench.rig.provider().close() {
        return broken(CLOSED, error);
    }
    match bench.rig.left_behind() {
        Some(0) => Ok(()),
        Some(left) => broken(CLOSED, format!("{left} things are left")),
        None => not_here("nobody else can look into the device"),
    }
}
