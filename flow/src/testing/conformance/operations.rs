//! Checks of what stands under "Operations" in the contract, and of what the errors mean.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::megaflow::Megaflow;
use crate::provider::{Completion, Op, ProviderError};

use super::Finding;
use super::bench::{Bench, broken, not_here};

const AT_ONCE: &str = "poll waits for nothing if nothing is in flight";
const OTHERS: &str = "an operation that failed does not stop the others";
const REFUSED: &str = "an operation is refused for the reason that the admission tells";
const ADMITTED: &str = "the admission admits what the device takes";
const FULL: &str = "a full table takes nothing, and a removal makes room";

/// A wait that nobody has to wait for.
const LONG: Duration = Duration::from_secs(30);

/// Exactly one completion for each operation that was taken, none when nothing is in flight, and
/// that at once.
pub(super) fn ends(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let start = Clock::start();
    bench.poll(LONG)?;
    if start.elapsed() >= LONG {
        return broken(AT_ONCE, "it waited");
    }
    for round in 0..3 {
        let ops = (0..40).map(|n| match round {
            0 => bench.install(n),
            1 => bench.replace(n),
            _ => bench.remove(n),
        });
        let ops: Vec<Op> = ops.collect::<Result<_, _>>()?;
        bench.must(ops)?;
        bench.compare_all()?;
    }
    Ok(())
}

/// At most `window` operations in flight; the queue is taken from its front, and its rest stays.
pub(super) fn window(bench: &mut Bench<'_>) -> Result<(), Finding> {
    // One ufid after the other comes again and again, so a queue of any length has a meaning.
    let length = bench.rig.provider().window().saturating_mul(2).saturating_add(10).min(20_000);
    for n in 0..length {
        let op = match n / 40 % 2 {
            0 => bench.install(n % 40)?,
            _ => bench.remove(n % 40)?,
        };
        bench.offer(op);
    }
    // Again and again without a look for completions, as a caller may do who has other work.
    for _ in 0..3 {
        bench.submit()?;
    }
    bench.drain()?;
    bench.compare_all()
}

/// Operations on one ufid that are submitted together take effect in their order.
pub(super) fn order(bench: &mut Bench<'_>) -> Result<(), Finding> {
    for round in 0..5 {
        for _ in 0..2 {
            for n in 0..3 {
                let op = bench.install(n)?;
                bench.offer(op);
            }
            for n in 0..3 {
                let op = bench.replace(n)?;
                bench.offer(op);
            }
            for n in 0..3 {
                bench.offer(bench.remove(n)?);
            }
        }
        // One ufid is the whole queue, and others stand between its operations.
        for n in [0, 0, 1, 0, 2, 0] {
            let op = bench.install(n)?;
            bench.offer(op);
            let op = bench.replace(n)?;
            bench.offer(op);
            if n == 0 {
                bench.offer(bench.remove(n)?);
            }
        }
        let ends = bench.drain()?;
        let failed = ends.iter().filter(|end| is_failure(end)).count();
        if failed > 0 {
            return broken(OTHERS, format!("round {round}: {failed} failed without a reason"));
        }
        bench.compare_all()?;
        let ops = vec![bench.remove(1)?, bench.remove(2)?];
        bench.must(ops)?;
    }
    Ok(())
}

fn is_failure(end: &Completion) -> bool {
    end.result.is_err() && !matches!(end.result, Err(ProviderError::Busy(_)))
}

/// What is there exists, what is not there is not found, and neither stops the others.
pub(super) fn errors(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let first = vec![bench.install(0)?];
    bench.must(first)?;
    let ops = [
        bench.remove(1)?,
        bench.install(2)?,
        bench.install(0)?,
        bench.replace(3)?,
        bench.install(4)?,
        bench.remove(4)?,
        bench.remove(4)?,
        bench.install(5)?,
    ];
    let right = [false, true, false, false, true, true, false, true];
    let tags = ops.map(|op| bench.offer(op));
    for end in bench.drain()? {
        let at = tags.iter().position(|tag| *tag == end.tag);
        let is_right = at.and_then(|at| right.get(at)) == Some(&end.result.is_ok());
        if !is_right {
            return broken(OTHERS, format!("{end:?}"));
        }
    }
    bench.compare_all()
}

/// The device refuses what the admission refuses, for the same reason, and stays as it was.
pub(super) fn refusals(bench: &mut Bench<'_>) -> Result<(), Finding> {
    let Some(actions) = bench.rig.refused_actions() else {
        return not_here("the provider refuses nothing");
    };
    let there = vec![bench.install(0)?, bench.install(1)?];
    bench.must(there)?;
    let admission = bench.rig.provider().admission();
    for n in [0, 1] {
        let flow = bench.flow(n)?;
        let other = Megaflow { actions: bench.rig.other_actions(&flow), ..(*flow).clone() };
        if let Err(why) = admission.admit(&flow).and_then(|()| admission.admit(&other)) {
            return broken(ADMITTED, why);
        }
    }
    for n in [0, 2] {
        let flow = bench.flow(n)?;
        let flow = Arc::new(Megaflow { actions: actions.clone(), ..(*flow).clone() });
        let told = admission.admit(&flow).err();
        let generation = crate::Generation(99);
        let op = match n {
            0 => Op::Replace { flow, generation },
            _ => Op::Install { flow, generation },
        };
        bench.offer(op);
        let op = bench.replace(1)?;
        bench.offer(op);
        for end in bench.drain()? {
            let is_told = match (&end.result, &told) {
                (Ok(_), _) => end.ufid == bench.flow(1)?.ufid,
                (Err(ProviderError::Unsupported(is)), Some(told)) => {
                    told.iter().any(|told| (told.reason, told.subject) == (is.reason, is.subject))
                }
                (Err(ProviderError::Invalid(_)), _) => true,
                _ => false,
            };
            if !is_told {
                return broken(REFUSED, format!("{:?} instead of {told:?}", end.result));
            }
        }
        bench.compare_all()?;
    }
    Ok(())
}

/// Fills the device; then there is no room, and a removal makes some.
pub(super) fn full(bench: &mut Bench<'_>) -> Result<(), Finding> {
    bench.may_be_full = true;
    let tables = bench.rig.provider().tables();
    let of_megaflows = tables.iter().filter(|table| table.holds_megaflows);
    let capacity = of_megaflows.map(|table| table.capacity).sum::<Option<u64>>();
    let (mut n, mut refused) = (0, None);
    while refused.is_none() {
        if capacity.is_some_and(|capacity| n as u64 > capacity) {
            return broken(FULL, format!("{n} megaflows are in {capacity:?} places"));
        }
        let batch = n..n + 64;
        for n in batch.clone() {
            if bench.rig.megaflow(n).is_none() {
                return not_here("the rig's megaflows don't fill the device");
            }
            let op = bench.install(n)?;
            bench.offer(op);
        }
        for end in bench.drain()? {
            if matches!(end.result, Err(ProviderError::Full(_))) {
                refused = Some(end.ufid);
            }
        }
        n = batch.end;
    }
    bench.compare_all()?;
    // What was just there fits again.
    let (there, again) = (bench.remove(0)?, bench.install(0)?);
    bench.must(vec![there])?;
    bench.must(vec![again])?;
    bench.compare_all()?;
    // In an empty table there is room for what had none.
    let all: Vec<Op> = bench.lives.keys().map(|ufid| Op::Remove { ufid: *ufid }).collect();
    bench.must(all)?;
    for m in 0..n {
        if refused == Some(bench.flow(m)?.ufid) {
            let op = bench.install(m)?;
            bench.must(vec![op])?;
        }
    }
    bench.compare_all()
}
