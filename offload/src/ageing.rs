//! When the client's megaflows were last known to be in use: a wheel. Each megaflow is looked at
//! once in the time after which it would be idle, however often statistics are read.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::Moment;

use crate::sets::FlowId;

/// The client's megaflows by the time at which they were used, as far as it was known when they
/// were put here.
#[derive(Default)]
pub(super) struct Ageing(BTreeMap<(u64, u32), Vec<AgeingFlow>>);

/// A megaflow, which may have gone since: then its number may be another one's, which was created
/// at another moment and is here on its own account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AgeingFlow {
    pub(super) id: FlowId,
    pub(super) created: Moment,
}

/// Nanoseconds of a slot.
const SLOT: u64 = 1 << 28;
/// Megaflows in one part of a slot. A part is moved when it grows.
const PART: usize = 4096;

impl Ageing {
    /// Time that one slot of the wheel stands for.
    pub(super) const SLOT: Duration = Duration::from_nanos(SLOT);

    /// Puts a megaflow in that was used at this moment.
    pub(super) fn put(&mut self, aged: AgeingFlow, used: Moment) {
        let slot = used.0 / SLOT;
        let last = self.0.range_mut((slot, 0)..=(slot, u32::MAX)).next_back();
        let number = match last {
            Some((_, part)) if part.len() < PART => return part.push(aged),
            Some(((_, number), _)) => number + 1,
            None => 0,
        };
        self.0.insert((slot, number), vec![aged]);
    }

    /// Takes a megaflow out that was used at this moment or before.
    pub(super) fn take(&mut self, used: Moment) -> Option<AgeingFlow> {
        let mut first = self.0.first_entry()?;
        let (slot, _) = *first.key();
        if (slot + 1).saturating_mul(SLOT) > used.0 {
            return None;
        }
        let aged = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        aged
    }
}

#[cfg(test)]
impl Ageing {
    /// All that is there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &AgeingFlow> {
        self.0.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a list: everything comes out once, and not before its time or a slot after it.
    #[test]
    fn all_come_out_in_their_time() {
        let (mut wheel, mut list) = (Ageing::default(), Vec::new());
        let mut dice = 7_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % sides
        };
        for step in 0..200_u64 {
            for _ in 0..roll(300) {
                let used = Moment(step * SLOT / 3 + roll(5 * SLOT));
                let id = FlowId(u32::try_from(list.len()).unwrap());
                let aged = AgeingFlow { id, created: used };
                wheel.put(aged, used);
                list.push((aged, true));
            }
            // More than a part in one slot.
            let until = Moment(step * SLOT / 3);
            while let Some(aged) = wheel.take(until) {
                let (known, is_in) = &mut list[aged.id.0 as usize];
                assert!(std::mem::take(is_in) && *known == aged && aged.created <= until);
            }
            let is_late =
                |(aged, is_in): &(AgeingFlow, bool)| *is_in && aged.created.0 + SLOT < until.0;
            assert!(!list.iter().any(is_late));
        }
        while wheel.take(Moment(u64::MAX)).is_some() {}
        assert!(wheel.0.is_empty());
    }

    #[test]
    fn a_slot_grows_in_parts() {
        let mut wheel = Ageing::default();
        let all = 0..3 * u32::try_from(PART).unwrap() + 1;
        for id in all.clone() {
            wheel.put(AgeingFlow { id: FlowId(id), created: Moment(0) }, Moment(5));
        }
        assert_eq!(wheel.0.values().map(Vec::len).max(), Some(PART));
        let mut out: Vec<u32> =
            std::iter::from_fn(|| wheel.take(Moment(SLOT))).map(|a| a.id.0).collect();
        out.sort_unstable();
        assert!(out.into_iter().eq(all));
    }
}
