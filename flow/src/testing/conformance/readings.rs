//! Checks of what stands under "Readings" in the contract, and of the counters.

use std::time::Duration;

use crate::provider::{Cursor, Dumped, Op};
use crate::stats::Counters;
use crate::traffic::PortTraffic;

use super::bench::{Bench, broken, not_here};
use super::{Finding, MANY};

const READABLE: &str = "a device that is there can be read";
const PORTS: &str = "the counters of a device's ports are there once each, and never go back";
const ADOPTED: &str = "adopt returns the ufids of those that it could adopt, once each";

/// Counters are absolute since the install; the ends of lives have every hit, also one that no
/// reading has seen; a new life begins at zero.
pub(super) fn counters(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let ops = vec![bench.install(0)?, bench.install(1)?, bench.install(2)?];
    bench.must(ops)?;
    for round in 1..4 {
        for n in 0..2 {
            let ufid = bench.flow(n)?.ufid;
            bench.hit(ufid, round + n as u64)?;
            bench.compare_all()?;
            bench.hit(ufid, 2)?;
        }
        let ops = vec![bench.replace(0)?, bench.remove(1)?, bench.replace(2)?];
        bench.must(ops)?;
        bench.compare_all()?;
        let op = bench.install(1)?;
        bench.must(vec![op])?;
        bench.compare_all()?;
    }
    // Ends after ends, with no reading in between.
    let ufid = bench.flow(0)?.ufid;
    bench.hit(ufid, 3)?;
    let ops = vec![bench.replace(0)?, bench.remove(0)?, bench.install(0)?];
    bench.must(ops)?;
    bench.hit(ufid, 1)?;
    let op = bench.remove(0)?;
    bench.must(vec![op])?;
    bench.compare_all()
}

/// Readings in parts of bounded size, with operations in between: what rests is there once.
pub(super) fn parts(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let all: Vec<Op> = (0..MANY - 20).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(all)?;
    bench.compare_all()?;
    for is_dump in [false, true] {
        for poll_between in [true, false] {
            bench.begin(is_dump);
            let mut n = usize::from(poll_between) + 2 * usize::from(is_dump);
            while bench.read_part()? && n < MANY - 20 {
                for (step, at) in (n..MANY - 20).step_by(97).enumerate() {
                    let op = match step % 3 {
                        0 => bench.replace(at)?,
                        1 => bench.remove(at)?,
                        _ => bench.install(MANY - 20 + at % 20)?,
                    };
                    bench.offer(op);
                }
                n += 5;
                bench.submit()?;
                if poll_between {
                    bench.poll(Duration::from_millis(1))?;
                }
            }
            while bench.read_part()? {}
            bench.drain()?;
            bench.compare_all()?;
        }
    }
    Ok(())
}

/// A reading while operations are in flight shows nothing of them.
pub(super) fn undelivered(bench: &mut Bench<'_>) -> Result<(), Finding> {
    for is_dump in [false, true] {
        let ops = vec![bench.install(0)?, bench.install(1)?, bench.install(2)?];
        bench.must(ops)?;
        for n in [0, 1] {
            let ufid = bench.flow(n)?.ufid;
            // A rig that can't send shows less here: generations and what is there.
            if let Err(Finding::Broken(how)) = bench.hit(ufid, 2) {
                return Err(Finding::Broken(how));
            }
        }
        let ops = [bench.replace(0)?, bench.remove(1)?, bench.install(3)?];
        bench.offer_all(ops);
        bench.submit()?;
        bench.begin(is_dump);
        while bench.read_part()? {}
        let op = bench.remove(3)?;
        bench.offer(op);
        bench.submit()?;
        bench.begin(is_dump);
        while bench.read_part()? {}
        bench.drain()?;
        bench.compare_all()?;
        let ops = vec![bench.remove(0)?, bench.remove(2)?];
        bench.must(ops)?;
    }
    Ok(())
}

/// A caller who begins anew gives the reading before up.
pub(super) fn given_up(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let all: Vec<Op> = (0..MANY).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(all)?;
    for (is_dump, parts) in [(false, 1), (true, 1), (true, 2), (false, 2), (true, 1)] {
        bench.begin(is_dump);
        for _ in 0..parts {
            bench.read_part()?;
        }
    }
    bench.compare_all()
}

/// A dump is what is installed, and what it shows can be given to `adopt`, which says of what it
/// could take it; what is not in the device is not adopted.
pub(super) fn adopt(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let ops: Vec<Op> = (0..10).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(ops)?;
    let op = bench.replace(3)?;
    bench.must(vec![op])?;
    bench.compare_all()?;
    let mut found = read_all(bench)?;
    let absent = bench.flow(20)?;
    if let Some(one) = found.first() {
        let (ufid, flow) = (absent.ufid, Some(absent));
        found.push(Dumped { ufid, flow, ..one.clone() });
    }
    let mut adopted = bench.rig.provider().adopt(&found);
    let count = adopted.len();
    adopted.sort_unstable();
    adopted.dedup();
    let strange = adopted.iter().find(|ufid| !bench.lives.contains_key(*ufid));
    if adopted.len() < count || strange.is_some() {
        return broken(ADOPTED, format!("{count} of {} are adopted: {strange:?}", found.len()));
    }
    bench.compare_all()?;
    let ops = vec![bench.replace(3)?, bench.remove(4)?, bench.install(20)?];
    bench.must(ops)?;
    bench.compare_all()
}

/// What the device has lost is in no dump, though nobody told the provider; everything else is. The
/// statistics may show it in the one reading that finds the loss. Then it can be installed again.
pub(super) fn lost(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let ops: Vec<Op> = (0..10).map(|n| bench.install(n)).collect::<Result<_, _>>()?;
    bench.must(ops)?;
    bench.compare_all()?;
    for n in [3, 0, 8] {
        let flow = bench.flow(n)?;
        if !bench.rig.lose(&flow) {
            return not_here("nobody can take a megaflow out of this device");
        }
        let life = bench.lives.remove(&flow.ufid);
        bench.begin(true);
        while bench.read_part()? {}
        bench.lives.extend(life.map(|life| (flow.ufid, life)));
        find_losses(bench)?;
        bench.lives.remove(&flow.ufid);
        bench.begin(false);
        while bench.read_part()? {}
        let op = bench.install(n)?;
        bench.must(vec![op])?;
        bench.compare_all()?;
    }
    Ok(())
}

/// A reading of the statistics that may leave out what is lost.
fn find_losses(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let (mut stats, mut next) = (Vec::new(), Some(Cursor::default()));
    while let Some(from) = next {
        next = match bench.rig.provider().stats(from, &mut stats) {
            Ok(next) => next,
            Err(error) => return broken(READABLE, error),
        };
    }
    stats.into_iter().try_for_each(|(ufid, stats)| bench.compare_stats(ufid, stats))
}

/// The counters of the ports are there, each port once, and never go back.
pub(super) fn traffic(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let op = bench.install(0)?;
    bench.must(vec![op])?;
    let ufid = bench.flow(0)?.ufid;
    let mut before: Vec<PortTraffic> = Vec::new();
    for round in 0..3 {
        let now = match bench.rig.provider().traffic() {
            Ok(now) => now,
            Err(error) => return broken(READABLE, error),
        };
        let mut ports: Vec<_> = now.iter().map(|one| one.port).collect();
        ports.sort_unstable();
        ports.dedup();
        let is_same = round == 0 || before.iter().map(|b| b.port).eq(now.iter().map(|n| n.port));
        if ports.len() != now.len() || !is_same {
            return broken(PORTS, format!("{ports:?} of {now:?} after {before:?}"));
        }
        for (before, now) in before.iter().zip(&now) {
            let back = |before: Counters, now: Counters| now.since(before).is_none();
            if back(before.received, now.received) || back(before.sent, now.sent) {
                return broken(PORTS, format!("{now:?} after {before:?}"));
            }
        }
        before = now;
        // A rig that can't send shows less here.
        if let Err(Finding::Broken(how)) = bench.hit(ufid, 2) {
            return Err(Finding::Broken(how));
        }
    }
    Ok(())
}

/// A whole dump.
pub(super) fn read_all(bench: &mut Bench<'_>) -> Result<Vec<Dumped>, Finding> {
    let (mut found, mut next) = (Vec::new(), Some(Cursor::default()));
    while let Some(from) = next {
        match bench.rig.provider().dump(from, &mut found) {
            Ok(further) => next = further,
            Err(error) => return broken(READABLE, error),
        }
    }
    Ok(found)
}
