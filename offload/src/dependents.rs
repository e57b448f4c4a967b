//! The megaflows that depend on each topic, as the client says, and the topics that changed: the
//! client is asked again about the megaflows that depend on them, a slice in each step.

use std::collections::VecDeque;

use flow::{Chunks, Slab, Topic, Topics};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::sets::FlowId;

/// An index of megaflows by topic, and the topics whose megaflows are to be visited.
///
/// Every operation costs a constant number of look-ups. Topics take turns, so that one on which
/// many megaflows depend holds up no other. If a topic changes while its megaflows are visited,
/// the visit goes on to its end and is then made once more: each megaflow is visited after the
/// last change, and none waits for ever because a topic keeps changing.
#[derive(Default)]
pub(super) struct Dependents {
    by_topic: HashMap<Topic, u32, RandomState>,
    /// The groups that `by_topic` names.
    groups: Slab<Group>,
    /// The places of each megaflow that depends on anything.
    seats: Chunks<[Option<Seat>; 4]>,
    /// Topics in the order in which their megaflows are visited. One whose group is gone is
    /// skipped.
    changed: VecDeque<Topic>,
}

/// The megaflows that depend on one topic; at least one.
struct Group {
    topic: Topic,
    /// Megaflows, each with the number of its seat here.
    members: Vec<(FlowId, u8)>,
    visit: Visit,
}

/// How much of a group is to be visited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Nothing,
    Everything,
    /// The members before this place; if `again` is true, then all members once more. A visit
    /// goes from the last member to the first: those that join later come behind its place, and
    /// one that leaves is replaced by the last one, so no member is left out.
    Before {
        place: usize,
        again: bool,
    },
}

/// A megaflow's place in a group.
#[derive(Clone, Copy)]
struct Seat {
    group: u32,
    place: u32,
}

impl Dependents {
    /// Sets the topics that a megaflow depends on from now on.
    pub(super) fn set(&mut self, id: FlowId, mut topics: Topics) {
        // A megaflow has one seat in a group.
        for which in 1..topics.len() {
            let (earlier, later) = topics.split_at_mut(which);
            if let Some(topic) = later.first_mut().filter(|topic| earlier.contains(topic)) {
                *topic = None;
            }
        }
        let before = self.seats.get(id.0).copied().unwrap_or_default();
        let topic_of = |seat: Seat| self.groups.values().get(seat.group).map(|group| group.topic);
        if before.map(|seat| seat.and_then(topic_of)) == topics {
            return;
        }
        self.forget(id);
        let mut number = 0..;
        let seats = topics.map(|topic| {
            let number = number.next().unwrap_or(u8::MAX);
            topic.map(|topic| self.join(topic, (id, number)))
        });
        if seats.iter().any(Option::is_some) {
            self.seats.put(id.0, seats);
        }
    }

    /// Takes out a megaflow that depends on nothing any more.
    pub(super) fn forget(&mut self, id: FlowId) {
        let seats = self.seats.remove(id.0).unwrap_or_default();
        seats.into_iter().flatten().for_each(|seat| self.leave(seat));
    }

    /// Notes that the megaflows that depend on a topic are to be visited.
    pub(super) fn changed(&mut self, topic: Topic) {
        let number = self.by_topic.get(&topic);
        let Some(group) = number.and_then(|number| self.groups.get_mut(*number)) else {
            return;
        };
        match &mut group.visit {
            Visit::Nothing => {
                group.visit = Visit::Everything;
                self.changed.push_back(topic);
            }
            Visit::Everything => {}
            Visit::Before { again, .. } => *again = true,
        }
    }

    /// Returns true if there are megaflows to be visited.
    pub(super) fn has_more(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Returns the megaflows to be visited next: at most this number, and topics count too.
    pub(super) fn slice(&mut self, most: u32) -> Vec<FlowId> {
        let (mut left, mut ids) = (most as usize, Vec::new());
        while left > 0
            && let Some(topic) = self.changed.pop_front()
        {
            left -= 1;
            let number = self.by_topic.get(&topic);
            let Some(group) = number.and_then(|number| self.groups.get_mut(*number)) else {
                continue;
            };
            let (to, again) = match group.visit {
                Visit::Nothing => continue,
                Visit::Everything => (group.members.len(), false),
                Visit::Before { place, again } => (place.min(group.members.len()), again),
            };
            let from = to.saturating_sub(left);
            left -= to - from;
            ids.extend(group.members.iter().take(to).skip(from).map(|(id, _)| *id));
            group.visit = match (from, again) {
                (0, false) => Visit::Nothing,
                (0, true) => Visit::Everything,
                (place, again) => Visit::Before { place, again },
            };
            if group.visit != Visit::Nothing {
                self.changed.push_back(topic);
            }
        }
        ids
    }

    fn join(&mut self, topic: Topic, member: (FlowId, u8)) -> Seat {
        let groups = &mut self.groups;
        let number = self.by_topic.entry(topic).or_insert_with(|| {
            let group = Group { topic, members: Vec::new(), visit: Visit::Nothing };
            groups.insert(group)
        });
        let seat = |place| Seat { group: *number, place };
        let Some(group) = groups.get_mut(*number) else { return seat(u32::MAX) };
        group.members.push(member);
        seat(u32::try_from(group.members.len() - 1).unwrap_or(u32::MAX))
    }

    fn leave(&mut self, seat: Seat) {
        let Some(group) = self.groups.get_mut(seat.group) else { return };
        let place = seat.place as usize;
        if place < group.members.len() {
            group.members.swap_remove(place);
        }
        // The last member has taken the place.
        if let Some((moved, number)) = group.members.get(place)
            && let Some(seats) = self.seats.get_mut(moved.0)
            && let Some(Some(moved)) = seats.get_mut(usize::from(*number))
        {
            moved.place = seat.place;
        }
        if group.members.is_empty() {
            self.by_topic.remove(&group.topic);
            self.groups.remove(seat.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The slow twin: a list of pairs. `due` are the pairs whose visit is due.
    #[derive(Default)]
    struct Naive {
        topics: BTreeMap<u32, Topics>,
        due: BTreeSet<u32>,
    }

    impl Naive {
        fn changed(&mut self, topic: Topic) {
            let depend = self.topics.iter().filter(|(_, topics)| topics.contains(&Some(topic)));
            self.due.extend(depend.map(|(id, _)| *id));
        }
    }

    fn roll(state: &mut u64, sides: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 33) % sides
    }

    /// Whoever is to be visited is visited, whatever joins, leaves and changes in between.
    #[test]
    fn every_change_reaches_every_megaflow_that_depends_on_it() {
        let (mut visits, mut needed) = (0, 0);
        for seed in 0..200 {
            let (mut state, mut fast, mut naive) = (seed, Dependents::default(), Naive::default());
            let die = &mut state;
            for _ in 0..2_000 {
                let id = u32::try_from(roll(die, 40)).unwrap();
                match roll(die, 8) {
                    0..=2 => {
                        let topics =
                            [(); 4].map(|()| Some(Topic(roll(die, 9))).filter(|t| t.0 > 0));
                        // What is asked for its topics was just asked whether it is right.
                        fast.set(FlowId(id), topics);
                        naive.topics.insert(id, topics);
                        naive.due.remove(&id);
                    }
                    3 => {
                        fast.forget(FlowId(id));
                        naive.topics.remove(&id);
                        naive.due.remove(&id);
                    }
                    4 => {
                        let topic = Topic(roll(die, 9));
                        fast.changed(topic);
                        naive.changed(topic);
                        needed += naive.due.len();
                    }
                    _ => {
                        let slice = fast.slice(3);
                        assert!(slice.len() <= 3);
                        visits += slice.len();
                        slice.iter().for_each(|id| _ = naive.due.remove(&id.0));
                    }
                }
            }
            for _ in 0..1_000 {
                fast.slice(3).iter().for_each(|id| _ = naive.due.remove(&id.0));
            }
            assert!(!fast.has_more() && naive.due.is_empty(), "seed {seed}: {:?}", naive.due);
            for id in 0..40 {
                fast.forget(FlowId(id));
            }
            assert!(
                fast.by_topic.is_empty()
                    && fast.groups.values().is_empty()
                    && fast.seats.is_empty()
            );
        }
        assert!(needed > 1000 && visits < 10 * needed, "{visits} visits, {needed} needed");
    }

    /// One topic has very many megaflows and changes all the time; the other one has its turn, and
    /// the last megaflow of the first one is reached.
    #[test]
    fn a_topic_that_keeps_changing_starves_neither_itself_nor_others() {
        let mut all = Dependents::default();
        for id in 0..1000 {
            all.set(FlowId(id), [Some(Topic(1)), None, None, None]);
        }
        all.set(FlowId(1000), [Some(Topic(2)), None, None, None]);
        let mut seen = BTreeSet::new();
        for turn in 0..400 {
            all.changed(Topic(1));
            if turn == 100 {
                all.changed(Topic(2));
            }
            seen.extend(all.slice(10));
            assert_eq!(seen.contains(&FlowId(1000)), turn > 100, "turn {turn}");
        }
        assert_eq!(seen.len(), 1001);
    }
}
