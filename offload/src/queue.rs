//! The megaflows that wait for a place in hardware.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use flow::{Chunks, Moment};

use crate::event::ProviderId;
use crate::sets::FlowId;

/// The provider that a megaflow waits for; `None` while that is to be decided.
type Goal = Option<ProviderId>;

/// A megaflow's place in the queue: the fastest come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Turn {
    goal: Goal,
    speed: Reverse<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    turn: Turn,
    /// The time before which the megaflow is not tried; `None` if it is ready.
    not_before: Option<Moment>,
}

/// The megaflows that wait. Each operation takes logarithmic time.
#[derive(Default)]
pub(super) struct Queue {
    ready: BTreeSet<(Turn, FlowId)>,
    later: BTreeSet<(Moment, FlowId)>,
    spots: Chunks<Spot>,
}

/// Returns the class of a rate in packets per second: two classes for each power of two.
fn speed(rate: f64) -> Reverse<u8> {
    // The logarithm of any rate is below 128.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    Reverse((2.0 * (1.0 + rate.max(0.0)).log2()).min(255.0) as u8)
}

impl Queue {
    /// Has the megaflow wait for the goal, and not be tried before the given moment, if any. A
    /// megaflow that waits already gets the new place.
    pub(super) fn wait(&mut self, id: FlowId, goal: Goal, rate: f64, not_before: Option<Moment>) {
        self.forget(id);
        let turn = Turn { goal, speed: speed(rate) };
        match not_before {
            Some(at) => self.later.insert((at, id)),
            None => self.ready.insert((turn, id)),
        };
        self.spots.put(id.0, Spot { turn, not_before });
    }

    /// The megaflow does not wait any more.
    pub(super) fn forget(&mut self, id: FlowId) {
        if let Some(Spot { turn, not_before }) = self.spots.remove(id.0) {
            match not_before {
                Some(at) => self.later.remove(&(at, id)),
                None => self.ready.remove(&(turn, id)),
            };
        }
    }

    /// Notes that the rate of a megaflow has changed, which may be waiting. Whatever moves
    /// passes here in each round: one whose class stays is not looked up.
    pub(super) fn rated(&mut self, id: FlowId, before: f64, rate: f64) {
        if before != rate
            && speed(before) != speed(rate)
            && let Some(spot) = self.spots.get(id.0).copied()
        {
            self.wait(id, spot.turn.goal, rate, spot.not_before);
        }
    }

    /// Lets the megaflows whose time has come get ready, at most this number. Returns true if
    /// there are more.
    pub(super) fn ripen(&mut self, now: Moment, most: u32) -> bool {
        for _ in 0..most {
            let Some((at, id)) = self.later.first().copied().filter(|(at, _)| *at <= now) else {
                return false;
            };
            self.later.remove(&(at, id));
            if let Some(spot) = self.spots.get_mut(id.0) {
                spot.not_before = None;
                self.ready.insert((spot.turn, id));
            }
        }
        self.later.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Takes out the fastest of the megaflows that are ready for the goal.
    pub(super) fn pop(&mut self, goal: Goal) -> Option<FlowId> {
        let first = Turn { goal, speed: Reverse(u8::MAX) };
        let (turn, id) = self.ready.range((first, FlowId(0))..).next().copied()?;
        if turn.goal != goal {
            return None;
        }
        self.ready.remove(&(turn, id));
        self.spots.remove(id.0);
        Some(id)
    }

    /// Returns true if a megaflow is ready for the goal.
    pub(super) fn has(&self, goal: Goal) -> bool {
        let first = Turn { goal, speed: Reverse(u8::MAX) };
        let next = self.ready.range((first, FlowId(0))..).next();
        next.is_some_and(|(turn, _)| turn.goal == goal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue against a list that is searched.
    #[test]
    fn the_fastest_comes_first_and_nobody_before_its_time() {
        let mut queue = Queue::default();
        let mut slow: Vec<(FlowId, Goal, f64, Option<Moment>)> = Vec::new();
        let mut dice = 7_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % sides
        };
        for now in (0..20_000).map(Moment) {
            let id = FlowId(u32::try_from(roll(50)).unwrap());
            let goal =
                [None, Some(ProviderId(0)), Some(ProviderId(1))][usize::try_from(roll(3)).unwrap()];
            let rate = f64::from(1_u32 << roll(20));
            match roll(5) {
                0 | 1 => {
                    let at = (roll(2) == 0).then(|| Moment(now.0 + 1 + roll(100)));
                    queue.wait(id, goal, rate, at);
                    slow.retain(|(other, ..)| *other != id);
                    slow.push((id, goal, rate, at));
                }
                2 => {
                    queue.forget(id);
                    slow.retain(|(other, ..)| *other != id);
                }
                3 => {
                    let before = slow.iter().find(|e| e.0 == id).map_or(0.0, |e| e.2);
                    queue.rated(id, before, rate);
                    slow.iter_mut().filter(|e| e.0 == id).for_each(|entry| entry.2 = rate);
                }
                _ => {
                    assert!(!queue.ripen(now, u32::MAX));
                    slow.iter_mut().for_each(|e| e.3 = e.3.filter(|at| *at > now));
                    let ready = slow.iter().filter(|e| e.1 == goal && e.3.is_none());
                    let first = ready.min_by_key(|e| (speed(e.2), e.0)).map(|e| e.0);
                    assert_eq!(queue.has(goal), first.is_some());
                    assert_eq!(queue.pop(goal), first);
                    slow.retain(|e| Some(e.0) != first);
                }
            }
            assert_eq!(queue.spots.len(), slow.len());
        }
    }
}
