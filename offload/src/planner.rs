//! Plans each megaflow's next operation from what is wanted and what is there, one operation at a
//! time.
//!
//! What is wanted of a megaflow (its actions, whether it is to be in the NIC, whether it is to
//! go) is kept apart from what is there; [`Planner::plan`] compares the two and asks for the next
//! single operation. A completion, a lost rule and a changed decision all end in the same
//! comparison, so none of them needs a path of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Actions, Completion, Dumped, Generation, Megaflow, Moment, Op, OpKind, Owner, ProviderError,
    Reason, Refusal, Refusals, Stats, Subject, Tag,
};

use crate::HOST;
use crate::ageing::Ageing;
use crate::books::Books;
use crate::event::{Cause, Place, ProviderId};
use crate::flows::Flows;
use crate::outbox::{Outbox, flow_of};
use crate::placer::{Placer, Rivals};
use crate::policy::Policy;
use crate::record::{FlowRecord, Obstacle};
use crate::request::{FlowView, Refused};
use crate::residence::{Life, scopes_of};
use crate::rounds::Rounds;
use crate::sets::FlowId;
use crate::tally::Tally;
use crate::waiters::Waiters;
use crate::walks::SLICE;

/// How long a megaflow that found the table full waits before it is tried again.
pub(super) const RETRY_FULL: Duration = Duration::from_secs(2);
/// How long a megaflow waits after a removal that failed, before it is tried again.
const RETRY_REMOVAL: Duration = Duration::from_millis(200);
/// The number of failed removals, a second's worth, after which waiting requests are answered
/// with the error.
const REMOVALS: u32 = 5;

/// When a refused megaflow is tried again.
#[derive(Clone, Copy)]
enum Again {
    /// When the device's abilities change, or other actions are wanted.
    Never,
    /// When the megaflows of the next lookup are in the NIC.
    WithChild,
    /// From this moment on, when the provider takes megaflows; `None` if any provider will do.
    At(Moment, Option<ProviderId>),
}

/// The next step for a megaflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// An operation is in flight or not due yet, or the megaflow waits behind another one.
    Wait,
    /// Everything is as wanted.
    Settled,
    /// The megaflow is in no place any more and is forgotten.
    Forget,
    Install(Where),
    Replace(Where),
    Remove(Where),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Where {
    Host,
    Nic,
}

/// Returns the next step for a megaflow; `waits` is true if the megaflow waits behind another
/// one. Hardware is a cache of the host table: a megaflow is installed there last and removed
/// from there first.
fn next_step(record: &FlowRecord, waits: bool) -> Step {
    let actions = &record.flow.actions;
    if !record.idle() || record.held {
        return Step::Wait;
    }
    let in_nic = record.nic.life == Life::Present;
    let on_host = record.host.life == Life::Present;
    if record.leaving.is_some() {
        return match (in_nic, on_host) {
            (true, _) => Step::Remove(Where::Nic),
            (false, true) => Step::Remove(Where::Host),
            (false, false) => Step::Forget,
        };
    }
    match (on_host, in_nic) {
        // The megaflows that this one overlaps are removed first.
        (false, _) if waits => Step::Wait,
        (false, _) => Step::Install(Where::Host),
        (true, _) if !record.host.executes(actions) => Step::Replace(Where::Host),
        (true, true) if !record.want_nic => Step::Remove(Where::Nic),
        (true, true) if !record.nic.executes(actions) => Step::Replace(Where::Nic),
        // The cookie in the device names another owner, and the next process would believe it.
        (true, true) if record.generation.owner() != record.owner => Step::Replace(Where::Nic),
        (true, false) if record.want_nic => Step::Install(Where::Nic),
        (true, _) => Step::Settled,
    }
}

/// Brings every megaflow from what is there to what is wanted.
pub(super) struct Planner {
    pub(super) flows: Flows,
    pub(super) placer: Placer,
    pub(super) books: Books,
    pub(super) tally: Tally,
    pub(super) waiters: Waiters,
    pub(super) rounds: Rounds,
    pub(super) out: Outbox,
    /// Megaflows whose next operation is not due yet, each with the moment at which it is.
    held: BTreeSet<(Moment, FlowId)>,
    /// Megaflows to be planned before the step ends.
    due: Vec<FlowId>,
}

impl Planner {
    pub(super) fn new(policy: Box<dyn Policy>) -> Planner {
        Planner {
            flows: Flows::default(),
            placer: Placer::new(policy),
            books: Books::default(),
            tally: Tally::of_host(HOST),
            waiters: Waiters::default(),
            rounds: Rounds::default(),
            out: Outbox::default(),
            held: BTreeSet::new(),
            due: Vec::new(),
        }
    }

    /// Plans the megaflows that other ones' changes made due, at most a slice. Returns true if
    /// there are more.
    pub(super) fn plan_due(&mut self, now: Moment) -> bool {
        for _ in 0..SLICE {
            let Some(id) = self.due.pop() else { break };
            self.plan(id, now);
        }
        !self.due.is_empty()
    }

    /// Asks for a megaflow's next operation, if one is due.
    pub(super) fn plan(&mut self, id: FlowId, now: Moment) {
        let Some(record) = self.flows.get(id) else { return };
        match next_step(record, self.flows.ranks.waits(id)) {
            Step::Wait => {}
            Step::Settled => self.waiters.settled(id),
            Step::Forget => self.forget(id, now),
            Step::Install(to) => self.send(id, to, OpKind::Install),
            Step::Replace(Where::Host) => self.send(id, Where::Host, OpKind::Replace),
            Step::Replace(Where::Nic) => self.replace_in_nic(id, now),
            Step::Remove(Where::Host) => self.send(id, Where::Host, OpKind::Remove),
            Step::Remove(Where::Nic) => {
                if self.parents_are_out(id) {
                    self.send(id, Where::Nic, OpKind::Remove);
                }
            }
        }
    }

    /// Replaces the actions in the NIC. If the NIC does not admit the new actions, the megaflow
    /// is removed from the NIC instead.
    fn replace_in_nic(&mut self, id: FlowId, now: Moment) {
        let Some(record) = self.flows.get_mut(id) else { return };
        let provider = record.provider.unwrap_or(ProviderId(usize::MAX));
        let Some(device) = self.placer.device(provider) else { return };
        match device.admission.admit(&record.flow) {
            Ok(()) if self.flows.chain_is_in(id, provider) => {
                self.send(id, Where::Nic, OpKind::Replace);
            }
            // The megaflow stays out of the NIC until the children of the new actions are in.
            Ok(()) => {
                self.call_back(id);
                self.plan(id, now);
            }
            Err(why) => {
                self.tally.decided(&device.name, Some(why.first.reason));
                self.refuse(id, why, Again::Never, now);
                self.plan(id, now);
            }
        }
    }

    /// Has the megaflow leave the NIC and wait to be placed there again.
    fn call_back(&mut self, id: FlowId) {
        if let Some(record) = self.flows.get_mut(id) {
            record.want_nic = false;
            self.wait(id, None, None);
        }
    }

    fn send(&mut self, id: FlowId, to: Where, kind: OpKind) {
        let Some(record) = self.flows.get_mut(id) else { return };
        let place = match (to, record.provider) {
            (Where::Host, _) => Place::Host,
            (Where::Nic, Some(provider)) => Place::Nic(provider),
            (Where::Nic, None) => return,
        };
        if to == Where::Nic {
            record.generation = record.generation.next(record.owner);
        }
        let op = operation(kind, &record.flow, record.generation);
        let actions = record.flow.actions.clone();
        let tag = self.apply(place, op, Some(id));
        let Some(record) = self.flows.get_mut(id) else { return };
        let residence = record.residence_mut(place);
        residence.life = residence.life.sent(kind);
        residence.sent = (kind != OpKind::Remove).then_some(actions);
        residence.last_op = tag;
    }

    /// Asks for an operation on a megaflow, or on a rule that is no megaflow's. Returns the tag
    /// that its completion will have.
    pub(super) fn apply(&mut self, place: Place, op: Op, of: Option<FlowId>) -> Tag {
        if let Place::Nic(provider) = place
            && let Some(device) = self.placer.device_mut(provider)
        {
            device.queued += 1;
        }
        self.out.apply(place, op, of)
    }

    /// Returns true if the megaflow may leave the NIC. Parents there that still recirculate into
    /// its scope are made to go first.
    fn parents_are_out(&mut self, id: FlowId) -> bool {
        let there = self.flows.parents_in_nic(id);
        let scope = self.flows.get(id).map_or(0, FlowRecord::scope);
        for parent in &there {
            // A parent whose wanted actions don't name this scope stops pointing at it by itself.
            let wanted = self.flows.get(*parent).map(|parent| scopes_of(&parent.flow.actions));
            if wanted.is_some_and(|scopes| scopes.contains(&scope)) {
                self.call_back(*parent);
            }
            self.due.push(*parent);
        }
        there.is_empty()
    }

    /// A megaflow came into the NIC, left it or changed its actions there; `before` are the
    /// scopes that it pointed at until now. Parents that wait for the megaflow go on, and so do
    /// children that wait until the megaflow does not point at them any more.
    fn chain_changed(&mut self, id: FlowId, before: Vec<u32>) {
        self.flows.reindex(id);
        let Some(record) = self.flows.get(id) else { return };
        let left = before.into_iter().filter(|scope| !record.nic.points_at(*scope));
        let children = left.flat_map(|scope| self.flows.of_scope(scope));
        self.due.extend(children.filter(|child| *child != id));
        self.stays_in_nic(id);
    }

    /// If the megaflow is in the NIC to stay, the parents that wait for it are tried.
    pub(super) fn stays_in_nic(&mut self, id: FlowId) {
        let stays = |record: &&FlowRecord| {
            record.scope() != 0 && record.nic.life == Life::Present && record.leaving.is_none()
        };
        let Some(record) = self.flows.get(id).filter(stays) else { return };
        for parent in self.flows.parents_of(record.scope()).collect::<Vec<_>>() {
            if self.flows.get(parent).is_some_and(FlowRecord::may_be_placed) {
                self.wait(parent, None, None);
            }
        }
    }

    /// Has the megaflow wait for the goal, a provider or a decision between them.
    pub(super) fn wait(&mut self, id: FlowId, goal: Option<ProviderId>, at: Option<Moment>) {
        if let Some(record) = self.flows.get(id) {
            self.placer.queue.wait(id, goal, record.rate, at);
        }
    }

    /// Forgets a megaflow that is in no place any more.
    fn forget(&mut self, id: FlowId, now: Moment) {
        self.placer.queue.forget(id);
        let Some((record, waited, narrowed)) = self.flows.remove(id) else { return };
        let Planner { waiters, placer, .. } = self;
        waiters.removed(id, record.clearing, || view(placer, &record, now));
        let cause = record.leaving.map_or("gone", Cause::name);
        self.tally.removed(cause);
        if let Some(placement) = record.counted_as {
            self.tally.left(placement);
        }
        self.due.extend(waited);
        for narrowed in narrowed {
            self.leave(narrowed, Cause::Revalidated, now);
        }
    }

    /// Lets a megaflow go: it is removed from the NIC, then from the host table.
    pub(super) fn leave(&mut self, id: FlowId, cause: Cause, now: Moment) {
        if let Some(record) = self.flows.get_mut(id) {
            // An operator's removal is final: the next packet does not take it back.
            if record.leaving.is_none() || cause == Cause::Operator {
                record.leaving = Some(cause);
            }
        }
        self.plan(id, now);
    }

    /// Sets the actions that are wanted of a megaflow.
    pub(super) fn change_actions(&mut self, id: FlowId, actions: Actions) {
        if let Some(children) = self.flows.set_actions(id, actions) {
            self.due.extend(children);
            self.wait(id, None, None);
        }
    }

    /// Settles a completed operation: notes what is there now, takes the counters in, and plans
    /// what follows.
    pub(super) fn settle(
        &mut self,
        place: Place,
        completion: &Completion,
        now: Moment,
    ) -> Option<Hit> {
        let id = flow_of(completion.tag);
        let record = self.flows.get_mut(id)?;
        let elsewhere = !record.lives_in(place);
        let residence = record.residence_mut(place);
        // The completion is not of the operation that this life waits for: it belongs to the
        // removal of a rule that was not ours any more, or to a device that the megaflow has left
        // since.
        if elsewhere || !residence.awaits(completion.tag) {
            return None;
        }
        let before = residence.life;
        let scopes = residence.scopes();
        residence.life = before.completed(completion.result.as_ref().err());
        let sent = residence.sent.take();
        // The final counts of a life belong to its own actions, not to those that follow.
        if let (Place::Nic(provider), Life::Removing, Ok(_)) = (place, before, &completion.result)
            && let Some(device) = self.placer.device_mut(provider)
        {
            device.made_room();
        }
        let hit = match &completion.result {
            Ok(stats) if before != Life::Installing => self.read(id, place, *stats, now),
            _ => None,
        };
        if let Some(record) = self.flows.get_mut(id) {
            let generation = record.generation;
            let residence = record.residence_mut(place);
            residence.carried_out(completion.result.is_ok(), sent.as_ref(), generation);
            if self.rounds.may_miss(place) {
                residence.read_in = self.rounds.number();
            }
            // Only an operation that was carried out makes a device's counters begin at zero: a
            // rule that turns out to be there although it was believed lost or refused has
            // counted on.
            if place != Place::Host && completion.result.is_ok() {
                record.nic_account.life_ended();
            }
            if place != Place::Host && record.nic.life == Life::Present && record.want_nic {
                record.refused = None;
            }
        }
        if let Err(error) = &completion.result {
            self.failed(place, id, error, sent, now);
            // `Exists` is held too: a device may say by turns that a rule is there and that it is
            // not.
            if before == Life::Removing || matches!(error, ProviderError::Exists) {
                self.hold(place, id, now);
            }
            if before == Life::Removing {
                self.removal_failed(place, id, error);
            }
        }
        let lost = matches!(completion.result, Err(ProviderError::NotFound));
        self.recount(id, if lost { "missing" } else { completion.kind.name() });
        if place != Place::Host {
            self.chain_changed(id, scopes);
        }
        self.plan(id, now);
        self.place(id, now);
        hit
    }

    /// Takes in a megaflow's statistics in a place.
    pub(super) fn read(
        &mut self,
        id: FlowId,
        place: Place,
        stats: Stats,
        now: Moment,
    ) -> Option<Hit> {
        let record = self.flows.get_mut(id)?;
        record.residence_mut(place).read_in = self.rounds.number();
        let news = self.books.read(record, place, stats, now);
        let hit = news.used.map(|at| Hit { flow: record.flow.clone(), at });
        if hit.is_some() {
            self.flows.moves(id);
        }
        if news.went_back {
            self.tally.correction(&self.place_name(place), "counter-reset");
        }
        hit
    }

    /// Holds the next operation back for a while, so that it is not repeated as fast as a device
    /// can refuse.
    fn hold(&mut self, place: Place, id: FlowId, now: Moment) {
        if let Some(record) = self.flows.get_mut(id)
            && record.residence(place).life == Life::Present
        {
            record.held = true;
            self.held.insert((now + RETRY_REMOVAL, id));
        }
    }

    /// Lets the client's megaflows go that had no packet for this time, and looks at a slice of
    /// them at most. Returns true if there are more.
    pub(super) fn age(&mut self, max_idle: Duration, now: Moment) -> bool {
        let known = self.rounds.host_known();
        let start = Moment::default();
        let idle_since = start + known.since(start).saturating_sub(max_idle);
        for _ in 0..SLICE {
            if self.placer.is_congested() {
                return false;
            }
            let Some(aged) = self.flows.next_aged(idle_since) else { return false };
            let Some(record) = self.flows.get_aged(aged) else { continue };
            let (last, is_leaving) = (record.last_used(), record.leaving.is_some());
            // Hits in the NIC are known up to its last reading only.
            let provider = record.provider.filter(|_| record.nic.life.forwards());
            let device = provider.and_then(|provider| self.placer.device(provider));
            let is_known = device.is_none_or(|device| device.read_at >= known);
            let ages = record.owner == Owner::Client && !is_leaving;
            if ages && last <= idle_since && is_known {
                self.leave(aged.id, Cause::Idle, now);
            }
            // One that is not idle, or that may be wanted again before it has gone.
            self.flows.ages_from(aged.id, last.max(idle_since + Ageing::SLOT));
        }
        true
    }

    /// Plans the megaflows that were held back until now, at most a slice. Returns true if there
    /// are more.
    pub(super) fn release_held(&mut self, now: Moment) -> bool {
        for _ in 0..SLICE {
            let Some((at, id)) = self.held.first().copied().filter(|(at, _)| *at <= now) else {
                return false;
            };
            self.held.remove(&(at, id));
            if let Some(record) = self.flows.get_mut(id) {
                record.held = false;
            }
            self.plan(id, now);
        }
        self.held.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Counts a failed removal. A single failure may be temporary; after [`REMOVALS`] failures,
    /// waiting requests are answered with the error.
    fn removal_failed(&mut self, place: Place, id: FlowId, error: &ProviderError) {
        let Some(record) = self.flows.get_mut(id) else { return };
        if record.leaving.is_some() && record.residence(place).stays() {
            record.failed_removals = record.failed_removals.saturating_add(1);
            if record.failed_removals >= REMOVALS {
                self.waiters.removal_failed(id, record.clearing, record.flow.ufid, error);
            }
        }
    }

    /// Handles a failed operation: changes what is wanted, or has the operation tried again
    /// later.
    fn failed(
        &mut self,
        place: Place,
        id: FlowId,
        error: &ProviderError,
        sent: Option<Actions>,
        now: Moment,
    ) {
        match (place, error) {
            // The loss of a device concerns all its megaflows: see [`Planner::lost`].
            (Place::Nic(_), ProviderError::Gone(_)) => {}
            (Place::Nic(provider), ProviderError::Full(refusal)) => {
                if let Some(device) = self.placer.device_mut(provider) {
                    device.said_full();
                }
                let again = Again::At(now + RETRY_FULL, Some(provider));
                self.refuse(id, refusal.clone().into(), again, now);
            }
            (Place::Nic(_), ProviderError::Unsupported(_) | ProviderError::Invalid(_)) => {
                self.refuse(id, error.refusal().into(), Again::Never, now);
            }
            (Place::Nic(provider), ProviderError::Busy(_) | ProviderError::Overlap(_)) => {
                let again = Again::At(now + RETRY_FULL, Some(provider));
                self.refuse(id, error.refusal().into(), again, now);
            }
            // The place is as wanted: the megaflow is installed already, or it is not there to be
            // removed.
            (_, ProviderError::Exists | ProviderError::NotFound) => {}
            (Place::Host, _) => self.host_refused(id, error, sent.as_ref()),
        }
    }

    /// The host table refused the wanted actions. An operator's change is undone (no place has
    /// the new actions yet). Any other refusal is final: the megaflow is removed, as it can't
    /// live without the host table.
    fn host_refused(&mut self, id: FlowId, error: &ProviderError, refused: Option<&Actions>) {
        let Some(record) = self.flows.get_mut(id) else { return };
        // The megaflow is leaving, or other actions are wanted by now: the next operation takes
        // care of that.
        if record.leaving.is_some() || refused != Some(&record.flow.actions) {
            return;
        }
        let ufid = record.flow.ufid;
        match record.host.installed.clone().filter(|_| self.waiters.is_asked(id)) {
            Some(before) => self.change_actions(id, before),
            None => record.leaving = Some(Cause::HostRefused),
        }
        self.waiters.refused(id, ufid, error);
    }

    /// Sends a megaflow to the NIC if it may go there now; otherwise the megaflow waits or gets a
    /// refusal.
    pub(super) fn place(&mut self, id: FlowId, now: Moment) {
        self.place_with(id, false, now);
    }

    /// Does the same as `place`. If `has_seat` is true, an evicted megaflow leaves its place to
    /// this one, and a crowded table is no obstacle.
    fn place_with(&mut self, id: FlowId, has_seat: bool, now: Moment) {
        let Some(record) = self.flows.get(id) else { return };
        let settled = record.host.life == Life::Present && record.nic.life == Life::Absent;
        if record.leaving.is_some() || !settled || record.want_nic || record.stays_refused(now) {
            return;
        }
        match self.placer.admit(&record.flow) {
            None => {}
            Some(Err((provider, why))) => {
                self.tally.decided(&self.placer.name(provider), Some(why.first.reason));
                self.refuse(id, why, Again::Never, now);
            }
            Some(Ok(provider)) => self.place_in(id, provider, has_seat, now),
        }
    }

    fn place_in(&mut self, id: FlowId, provider: ProviderId, has_seat: bool, now: Moment) {
        let Some(record) = self.flows.get(id) else { return };
        // Obstacles that may last become a refusal with a reason. The device's start and the
        // budget hold a megaflow up for moments only and need no reason, and so does a full queue.
        let obstacles = self.placer.obstacles(&self.flows, &record.flow, provider, has_seat);
        if let Some(why) = obstacles.into_refusals() {
            let again = match self.flows.chain_is_in(id, provider) {
                true => Again::At(now, Some(provider)),
                false => Again::WithChild,
            };
            return self.refuse(id, why, again, now);
        }
        let Some(device) = self.placer.device_mut(provider) else { return };
        let may_try = device.has_room() && (has_seat || device.may_try());
        if !device.is_ready() || !may_try || !device.budget.take(now) {
            return self.wait(id, Some(provider), None);
        }
        self.tally.decided(&device.name, None);
        if let Some(record) = self.flows.get_mut(id) {
            record.provider = Some(provider);
            record.want_nic = true;
            // If the megaflow is called back before it is in, it may be tried again at once.
            record.retry = record.refused.is_some().then_some(now);
        }
        self.plan(id, now);
    }

    /// Tries the megaflows that wait for hardware, at most a slice for each goal. Returns true if
    /// there are more that may be tried now.
    pub(super) fn place_waiting(&mut self, now: Moment) -> bool {
        let mut has_more = self.placer.queue.ripen(now, SLICE);
        for goal in self.placer.goals() {
            let mut left = SLICE;
            while self.placer.takes(goal, now) && self.placer.queue.has(goal) {
                if left == 0 {
                    has_more = true;
                    break;
                }
                left -= 1;
                if let Some(id) = self.placer.queue.pop(goal) {
                    self.place(id, now);
                }
            }
        }
        has_more
    }

    /// Exchanges megaflows in a provider that is short of room: the slowest megaflows are evicted,
    /// and the fastest waiting ones take their places.
    pub(super) fn exchange(&mut self, provider: ProviderId, rivals: Rivals, now: Moment) {
        for (newcomer, victim) in self.placer.exchanges(&self.flows, rivals) {
            let Some(device) = self.placer.device_mut(provider) else { return };
            if !device.is_ready() || !device.budget.has(now) {
                return;
            }
            let refusal = Refusal::new(Reason::TableFull, Subject::Evicted)
                .detail(&"a faster megaflow took its place");
            self.tally.evictions += 1;
            let again = Again::At(now + RETRY_FULL, Some(provider));
            self.refuse(victim, refusal.into(), again, now);
            self.plan(victim, now);
            if let Some(record) = self.flows.get_mut(newcomer) {
                record.retry = Some(now);
            }
            // The newcomer's install comes behind the victim's removal in the same batch.
            self.place_with(newcomer, true, now);
        }
    }

    /// Notes why a megaflow is not in the NIC, and when it may be tried again.
    fn refuse(&mut self, id: FlowId, why: Refusals, again: Again, now: Moment) {
        if let Some(record) = self.flows.get_mut(id) {
            let before = record.refused.take();
            let goes_on = before.filter(|before| before.why.first.reason == why.first.reason);
            record.want_nic = false;
            let since = goes_on.map_or(now, |before| before.since);
            record.refused = Some(Box::new(Obstacle { why, since }));
            record.retry = match again {
                Again::Never => None,
                Again::WithChild => Some(now),
                Again::At(at, _) => Some(at),
            };
        }
        match again {
            Again::Never | Again::WithChild => self.placer.queue.forget(id),
            Again::At(at, goal) => self.wait(id, goal, (at > now).then_some(at)),
        }
        self.recount(id, "refused");
    }

    /// Has a megaflow that is not in a NIC tried again: a device can do more, or a reason is gone.
    pub(super) fn try_again(&mut self, id: FlowId, now: Moment) {
        let Some(record) = self.flows.get_mut(id) else { return };
        if record.refused.is_some() {
            record.retry.get_or_insert(now);
        }
        if record.may_be_placed() {
            self.wait(id, None, None);
        }
    }

    /// Handles a rule that a reading left out: another program removed it from the device, or the
    /// device was too busy to list it. A replacement or a removal shows which.
    pub(super) fn repair(&mut self, provider: ProviderId, id: FlowId, now: Moment) {
        self.tally.correction(&self.placer.name(provider), "missing");
        let Some(record) = self.flows.get_mut(id) else { return };
        let scopes = record.nic.scopes();
        record.nic.installed = None;
        self.chain_changed(id, scopes);
        self.plan(id, now);
    }

    /// Handles the loss of a megaflow's device: the megaflow goes on in the host table, with its
    /// counts.
    pub(super) fn lost(&mut self, id: FlowId, why: Refusals, now: Moment) {
        if let Some(record) = self.flows.get_mut(id) {
            record.lost();
        }
        self.flows.reindex(id);
        let another = self.placer.up().next().is_some();
        let again = if another { Again::At(now, None) } else { Again::Never };
        self.refuse(id, why, again, now);
        self.plan(id, now);
    }

    /// Handles an entry of a known megaflow in a device that was lost and is back. If the entry is
    /// the one that was there, what it has counted since its last reading is counted. Returns the
    /// hit, and true if the entry goes on.
    pub(super) fn returned(
        &mut self,
        provider: ProviderId,
        id: FlowId,
        dumped: &Dumped,
        now: Moment,
    ) -> (Option<Hit>, bool) {
        let returned = self.flows.get_mut(id).zip(dumped.flow.as_ref());
        let returned = returned.filter(|(record, flow)| record.flow.matching == flow.matching);
        let Some((record, flow)) = returned else { return (None, false) };
        let seen = record.left.take().and_then(|left| left.seen(provider, dumped.generation));
        let Some(seen) = seen else { return (None, false) };
        let goes_on = dumped.active && record.nic.life == Life::Absent && record.provider.is_none();
        // A parent comes in last.
        let goes_on = goes_on && self.flows.scopes_without(flow, provider).is_empty();
        let Some(record) = self.flows.get_mut(id) else { return (None, false) };
        if goes_on {
            record.nic.life = Life::Present;
            record.nic.installed = Some(flow.actions.clone());
            record.nic.generation = Some(dumped.generation);
            record.generation = dumped.generation;
            record.provider = Some(provider);
            record.want_nic = true;
            record.refused = None;
        }
        let of_other = record.nic_account.resume(seen);
        let hit = self.read(id, Place::Nic(provider), dumped.stats, now);
        if goes_on {
            self.placer.queue.forget(id);
            self.chain_changed(id, Vec::new());
        } else if let Some(record) = self.flows.get_mut(id) {
            record.nic_account.resume(of_other);
        }
        (hit, goes_on)
    }

    /// Counts a megaflow under its current placement.
    pub(super) fn recount(&mut self, id: FlowId, cause: &'static str) {
        let Some(record) = self.flows.get_mut(id) else { return };
        let placement = record.placement();
        if record.counted_as != Some(placement) {
            let from = record.counted_as.replace(placement);
            self.tally.moved(from, placement, cause);
        }
    }

    /// Returns the name of a place.
    pub(super) fn place_name(&self, place: Place) -> Arc<str> {
        match place {
            Place::Host => HOST.into(),
            Place::Nic(provider) => self.placer.name(provider),
        }
    }
}

/// A megaflow that was hit, and when it was hit last.
pub(super) struct Hit {
    pub(super) flow: Arc<Megaflow>,
    pub(super) at: Moment,
}

/// Returns a megaflow as an operator sees it.
pub(super) fn view(placer: &Placer, record: &FlowRecord, now: Moment) -> FlowView {
    let provider = record.provider.filter(|_| record.nic.life.forwards());
    FlowView {
        flow: record.flow.clone(),
        placement: record.placement(),
        provider: provider.map(|provider| placer.name(provider).to_string()),
        refused: record
            .refusal()
            .map(|refused| Refused { why: refused.why.clone(), lasting: now.since(refused.since) }),
        generation: record.generation,
        nic: record.nic_account.total(),
        host: record.host_hits,
        used: record.used.map(|used| now.since(used)),
        tcp_flags: record.tcp_flags,
    }
}

fn operation(kind: OpKind, flow: &Arc<Megaflow>, generation: Generation) -> Op {
    match kind {
        OpKind::Install => Op::Install { flow: flow.clone(), generation },
        OpKind::Replace => Op::Replace { flow: flow.clone(), generation },
        OpKind::Remove => Op::Remove { ufid: flow.ufid },
    }
}
