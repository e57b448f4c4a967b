//! Anything in any order, from a seed.

use std::time::Duration;

use crate::id::Ufid;
use crate::provider::Op;

use super::Finding;
use super::bench::Bench;

/// Steps of a run.
const STEPS: usize = 6000;
/// Megaflows that come and go in it.
const FLOWS: usize = 40;

/// A small generator (splitmix64): no test here needs a good one.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let sides = u64::try_from(sides.max(1)).unwrap_or(1);
        usize::try_from((x ^ (x >> 31)) % sides).unwrap_or(0)
    }
}

/// Operations of all kinds, right ones and wrong ones, submissions, looks for completions, hits and
/// parts of readings, in any order. The twin applies each completion in the order of its ufid.
pub(super) fn anything(bench: &mut Bench<'_>, seed: u64) -> Result<(), Finding> {
    let mut dice = Dice(seed);
    for _ in 0..STEPS {
        match dice.roll(10) {
            0..5 => {
                let n = dice.roll(FLOWS);
                let op = random_op(bench, &mut dice, n)?;
                bench.offer(op);
            }
            5 => bench.submit()?,
            6 => {
                bench.poll(Duration::from_micros(100))?;
            }
            7 => {
                bench.read_part()?;
            }
            8 if dice.roll(4) == 0 => bench.begin(dice.roll(2) == 0),
            _ if dice.roll(8) == 0 => hit_something(bench, &mut dice)?,
            _ => {}
        }
        if dice.roll(400) == 0 {
            bench.drain()?;
            bench.compare_all()?;
        }
    }
    bench.drain()?;
    bench.compare_all()
}

fn random_op(bench: &mut Bench<'_>, dice: &mut Dice, n: usize) -> Result<Op, Finding> {
    match dice.roll(3) {
        0 => bench.install(n),
        1 => bench.replace(n),
        _ => bench.remove(n),
    }
}

/// Packets hit a megaflow that no operation in flight concerns.
fn hit_something(bench: &mut Bench<'_>, dice: &mut Dice) -> Result<(), Finding> {
    let busy = |ufid: &Ufid| bench.in_flight.iter().any(|sub| sub.op.ufid() == *ufid);
    let rest: Vec<Ufid> = bench.lives.keys().copied().filter(|ufid| !busy(ufid)).collect();
    let Some(ufid) = rest.get(dice.roll(rest.len())) else { return Ok(()) };
    match bench.hit(*ufid, 1 + dice.roll(3) as u64) {
        // The other steps of the run are worth making without hits too.
        Err(Finding::NotHere(_)) => Ok(()),
        result => result,
    }
}
