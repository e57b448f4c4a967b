//! The engine: takes the events in, asks the client, and has the planner carry out what follows.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use flow::conservation::Hits;
use flow::{
    Actions, Admission, Answer, Changed, Client, Completion, Counters, Dumped, Key, Learning,
    Megaflow, Moment, Op, Owner, ProviderError, ProviderEvent, Stats, TableUsage, Ufid, Upcall,
    Verdict,
};

use crate::device::{Budget, Device, gone};
use crate::event::{Answered, Cause, Command, Commands, Event, Place, ProviderId, UpcallPacket};
use crate::planner::{Hit, Planner, view};
use crate::policy::Policy;
use crate::record::FlowRecord;
use crate::request::{FlowPage, FlowView, Request, RequestError, Response, Token};
use crate::residence::Life;
use crate::sets::FlowId;
use crate::settings::Settings;
use crate::tally::Tally;
use crate::waiters::Asker;
use crate::walks::{Errand, SLICE, Walks};

/// The engine. The crate's text describes it.
pub struct Engine {
    pub(super) settings: Settings,
    pub(super) client: Box<dyn Client>,
    pub(super) planner: Planner,
    walks: Walks,
    /// When the next round of statistics is due.
    next_round: Moment,
    /// The client knows something else than before and can't say what: all its megaflows are to be
    /// revalidated.
    stale: bool,
    /// Something is left of what was begun, apart from the walks.
    is_behind: bool,
    /// The engine is closing: it accepts no new megaflows and forwards packets one by one until
    /// the end.
    closing: bool,
}

/// The state of a hardware provider.
#[derive(Clone, Copy, Debug)]
pub struct DeviceView<'a> {
    /// The provider.
    pub id: ProviderId,
    /// The provider's name.
    pub name: &'a str,
    /// Why the device does not answer; `None` while it answers.
    pub gone: Option<&'a str>,
    /// Number of ports whose megaflows the device can hold.
    pub ports: u64,
    /// Operations that wait to be carried out.
    pub queued: u64,
    /// How full the tables are.
    pub tables: &'a [TableUsage],
}

impl Engine {
    /// Returns an engine without hardware and without ports.
    #[must_use]
    pub fn new(settings: Settings, client: Box<dyn Client>, policy: Box<dyn Policy>) -> Engine {
        let planner = Planner::new(policy);
        Engine {
            settings,
            client,
            planner,
            walks: Walks::default(),
            next_round: Moment::default(),
            stale: false,
            is_behind: false,
            closing: false,
        }
    }

    /// Adds a hardware provider. Placement tries the providers in the order in which they were
    /// added.
    pub fn add_hardware(
        &mut self,
        name: &str,
        admission: Arc<dyn Admission>,
        budget: Budget,
    ) -> ProviderId {
        self.planner.tally.add_provider(name);
        self.planner.placer.add(Device::new(name, admission, budget))
    }

    /// Returns true if the engine has begun more than a step may do: it is to be given
    /// [`Event::Advance`] as soon as nothing more urgent is there.
    #[must_use]
    pub fn has_more(&self) -> bool {
        let Planner { flows, placer, .. } = &self.planner;
        let has_walks = !self.walks.is_empty() || flows.dependents.has_more();
        let walks = has_walks && !placer.is_congested();
        let waits = placer.queue.has(None) && !self.walks.removes();
        self.is_behind || walks || waits
    }

    /// Takes one event that happened at `now`, and returns the commands and replies that follow.
    /// The time that a step takes does not grow with the number of megaflows.
    pub fn step(&mut self, event: Event, now: Moment) -> Commands {
        match event {
            Event::Upcalls(packets) => {
                packets.iter().for_each(|packet| self.upcall(packet, now));
            }
            Event::Completed { place, completions } => self.completed(place, &completions, now),
            Event::StatsPart { place, stats } => self.readings(place, &stats, now),
            Event::Stats { place, stats, tables } => self.statistics(place, stats, tables, now),
            Event::Opened { provider, admission } => self.opened(provider, admission, now),
            Event::DumpedPart { provider, found } => self.adopt(provider, found, now),
            Event::Dumped { provider, found } => {
                self.adopt(provider, found, now);
                self.all_adopted(provider, now);
            }
            Event::Provider { provider, event } => self.provider_event(provider, event, now),
            Event::Admission { provider, admission } => {
                self.admission_changed(provider, admission, now);
            }
            Event::Ports(ports) => self.client.ports(&ports),
            Event::Request { token, request } => self.request(token, request, now),
            Event::Tick => self.tick(now),
            Event::Advance => self.advance(now),
        }
        self.ask_again(now);
        self.is_behind |= self.planner.plan_due(now);
        Commands { commands: self.planner.out.take(), replies: self.planner.waiters.take() }
    }

    fn tick(&mut self, now: Moment) {
        self.client.tick(now);
        if self.stale && !self.walks.revalidates() {
            self.revalidate(now);
        }
        if now >= self.next_round && self.begin_round(now) {
            self.next_round = now + self.settings.stats_interval;
        }
        self.advance(now);
    }

    /// Goes on with what was begun: a slice of the walk whose turn it is, and what waited.
    fn advance(&mut self, now: Moment) {
        self.walk(now);
        let is_ageing = self.planner.age(self.settings.max_idle, now);
        let is_held = self.planner.release_held(now);
        // What takes a place while everything is removed would be removed next.
        let is_waiting = !self.walks.removes() && self.planner.place_waiting(now);
        self.is_behind = is_ageing || is_held || is_waiting;
    }

    /// Makes a step of a walk, unless the operations that it may ask for would have to wait for
    /// too many others.
    fn walk(&mut self, now: Moment) {
        if self.planner.placer.is_congested() {
            return;
        }
        let Some(mut walk) = self.walks.take() else { return };
        let flows = &self.planner.flows;
        let (slice, next) = match walk.errand {
            Errand::Sweep(_) => flows.moving(walk.next, SLICE),
            _ => flows.slice(walk.next, SLICE),
        };
        for id in slice {
            if self.planner.flows.get(id).is_some_and(|record| record.created <= walk.began) {
                self.visit(&mut walk.errand, id, now);
            }
        }
        match next {
            Some(next) => {
                walk.next = next;
                self.walks.put_back(walk);
            }
            None => self.walked(walk.errand, now),
        }
    }

    /// Does what a walk is for with one megaflow.
    fn visit(&mut self, errand: &mut Errand, id: FlowId, now: Moment) {
        let Some(record) = self.planner.flows.get_mut(id) else { return };
        match errand {
            Errand::Revalidate => self.revalidate_one(id, now),
            Errand::Remove(clearing) => {
                if let Some(clearing) = clearing
                    && record.clearing.is_none()
                {
                    record.clearing = Some(*clearing);
                    self.planner.waiters.clears(*clearing);
                }
                self.planner.leave(id, Cause::Operator, now);
            }
            Errand::TryAgain => self.planner.try_again(id, now),
            Errand::Lost(provider, why) => {
                if record.provider == Some(*provider) {
                    self.planner.lost(id, why.clone(), now);
                } else {
                    // It may have waited for this device.
                    self.planner.place(id, now);
                }
            }
            Errand::Sweep(sweep) => {
                sweep.visit(&mut self.planner, id, now);
            }
        }
    }

    /// A walk has visited all megaflows that it is for.
    fn walked(&mut self, errand: Errand, now: Moment) {
        match errand {
            Errand::Remove(Some(clearing)) => self.planner.waiters.walked(clearing),
            Errand::Sweep(mut sweep) => {
                if self.walks.removes() {
                    sweep.rivals.clear();
                }
                if sweep.finish(&mut self.planner, now) {
                    self.begin_round(now);
                }
            }
            Errand::Lost(provider, _) => self.ask_for_content(provider),
            Errand::Revalidate | Errand::Remove(None) | Errand::TryAgain => {}
        }
    }

    /// Begins a round of statistics: all places are read whose content is known. Returns false if
    /// a round is under way.
    fn begin_round(&mut self, now: Moment) -> bool {
        let nics = self.planner.placer.ready().map(Place::Nic);
        let places: Vec<Place> = nics.chain([Place::Host]).collect();
        let begins = self.planner.rounds.begin(&places, now);
        if begins {
            places.into_iter().for_each(|place| self.planner.out.read(place));
        }
        begins
    }

    fn upcall(&mut self, packet: &UpcallPacket, now: Moment) {
        let UpcallPacket { id, key, frame, reason } = packet;
        let answer = match self.client.upcall(Upcall { key, frame, reason }, now) {
            Answer::Execute(actions) => Answered::Execute(actions),
            Answer::Install(flow) => self.wanted(key, flow, now),
        };
        match (id, answer) {
            (Some(id), answer) => self.planner.out.answer(Command::Resolve { id: *id, answer }),
            (None, Answered::Execute(actions)) if !actions.is_empty() => {
                let command = Command::Execute { port: key.port(), frame: frame.clone(), actions };
                self.planner.out.answer(command);
            }
            // The packet itself was forwarded already; this was a copy for the client.
            (None, _) => {}
        }
    }

    /// Handles a megaflow that the client wants, whether it is installed already or not.
    fn wanted(&mut self, key: &Key, flow: Arc<Megaflow>, now: Moment) -> Answered {
        if self.closing {
            return Answered::Execute(flow.actions.clone());
        }
        let planner = &mut self.planner;
        let narrowed = match planner.flows.beside_others(key, flow) {
            Ok(narrowed) => narrowed,
            Err(answer) => return answer,
        };
        let flow = narrowed.flow;
        let id = match planner.flows.find(flow.ufid) {
            None if planner.flows.len() >= self.settings.flow_limit => {
                planner.tally.overflows += 1;
                return Answered::Execute(flow.actions.clone());
            }
            None => {
                let record = FlowRecord::new(flow.clone(), Owner::Client, now);
                let id = planner.flows.insert(record, &narrowed.because_of);
                planner.recount(id, "new");
                id
            }
            Some(id) => {
                let Some(record) = planner.flows.get_mut(id) else {
                    return Answered::Execute(flow.actions.clone());
                };
                // An operator's decision stands: the removal is carried out, and the actions
                // stay.
                if record.leaving == Some(Cause::Operator) {
                    return Answered::Execute(flow.actions.clone());
                }
                record.used = Some(now);
                let stays = record.leaving.take().is_some();
                if record.owner == Owner::Client {
                    planner.change_actions(id, flow.actions.clone());
                }
                if stays {
                    planner.stays_in_nic(id);
                }
                id
            }
        };
        planner.plan(id, now);
        self.depends(id);
        // The host table's operations go out before the answer and take effect in that order. But
        // while a removal from the host table is in flight, the next install is not sent yet.
        match self.planner.flows.get(id) {
            Some(record) if record.comes_to_host() => Answered::Reinject,
            // An operator's megaflow decides what happens to the packet, even while it waits for
            // other megaflows to go.
            Some(record) => Answered::Execute(record.flow.actions.clone()),
            None => Answered::Execute(flow.actions.clone()),
        }
    }

    /// Asks the client what has changed, and again about the megaflows that depend on it, at most
    /// a slice. If the client can't say what has changed, a walk over all megaflows begins at the
    /// next tick, so that a client which often can't say does not cause a walk each time.
    fn ask_again(&mut self, now: Moment) {
        for change in self.client.changes() {
            match change {
                Changed::Topic(topic) => self.planner.flows.dependents.changed(topic),
                Changed::Everything => self.stale = true,
            }
        }
        for id in self.planner.flows.dependents.slice(SLICE) {
            self.revalidate_one(id, now);
        }
    }

    /// All megaflows of the client are revalidated.
    fn revalidate(&mut self, now: Moment) {
        self.stale = false;
        self.walks.begin(Errand::Revalidate, now);
    }

    /// The client has just answered for this megaflow: what the answer depends on is noted.
    fn depends(&mut self, id: FlowId) {
        if let Some(record) = self.planner.flows.get(id).filter(|r| r.owner == Owner::Client) {
            let topics = self.client.topics(&record.flow);
            self.planner.flows.dependents.set(id, topics);
        }
    }

    fn revalidate_one(&mut self, id: FlowId, now: Moment) {
        let Some(record) = self.planner.flows.get(id) else { return };
        // The client learns from all that a device holds before it is asked about any of it. Then
        // everything is revalidated.
        let device = record.provider.and_then(|provider| self.planner.placer.device(provider));
        let is_early = device.is_some_and(|device| !device.known);
        if record.owner != Owner::Client || record.leaving.is_some() || is_early {
            return;
        }
        match self.client.revalidate(&record.flow, now) {
            Verdict::Keep => {}
            Verdict::Replace(actions) => {
                self.planner.change_actions(id, actions);
                self.planner.plan(id, now);
            }
            Verdict::Remove => return self.planner.leave(id, Cause::Revalidated, now),
        }
        self.depends(id);
    }

    /// Answers a request, at once or when it is carried out.
    fn request(&mut self, token: Token, request: Request, now: Moment) {
        let answer = match request {
            Request::Flows { from, most } => Some(Ok(Response::Page(self.page(from, most, now)))),
            Request::Flow(ufid) => {
                Some(self.known(ufid).map(|id| Response::Flows(self.view(id, now))))
            }
            Request::Install(flow) => self.install(Asker::One(token), &flow, now).err().map(Err),
            Request::InstallAll(flows) => {
                self.planner.waiters.begin_batch(token, flows.len());
                for (place, flow) in flows.iter().enumerate() {
                    let asker = Asker::OneOf(token, place);
                    if let Err(error) = self.install(asker, flow, now) {
                        self.planner.waiters.tell(asker, Err(error));
                    }
                }
                None
            }
            Request::Replace(ufid, actions) => {
                self.replace(token, ufid, actions, now).err().map(Err)
            }
            Request::Remove(ufid) => self.remove(token, ufid, now).err().map(Err),
            Request::RemoveAll => {
                let clearing = self.planner.waiters.clear(token);
                self.walks.begin(Errand::Remove(Some(clearing)), now);
                None
            }
            Request::Explain(flow) => {
                let Planner { placer, flows, .. } = &self.planner;
                Some(Ok(Response::Explanation(placer.explain(flows, &flow, now))))
            }
            Request::FdbShow => Some(Ok(Response::Text(self.client.show(now)))),
            Request::FdbFlush => {
                self.client.flush();
                Some(Ok(Response::Done))
            }
            Request::Reconcile => {
                // A round that is under way does not count.
                let rounds = if self.begin_round(now) { 1 } else { 2 };
                self.planner.waiters.reconcile(token, rounds);
                None
            }
            Request::Close => {
                self.closing = true;
                self.walks.begin(Errand::Remove(None), now);
                None
            }
        };
        if let Some(answer) = answer {
            self.planner.waiters.answer(token, answer);
        }
    }

    fn known(&self, ufid: Ufid) -> Result<FlowId, RequestError> {
        self.planner.flows.find(ufid).ok_or_else(|| RequestError::no_such_flow(ufid))
    }

    /// Has the request wait for a change of a megaflow. At most one request may wait for each.
    fn ask(&mut self, token: Token, ufid: Ufid, id: FlowId) -> Result<(), RequestError> {
        if self.planner.waiters.is_asked(id) {
            return Err(RequestError::is_changing(ufid));
        }
        self.planner.waiters.ask(id, Asker::One(token));
        Ok(())
    }

    /// Replaces the actions of a megaflow that is to stay.
    fn replace(
        &mut self,
        token: Token,
        ufid: Ufid,
        actions: Actions,
        now: Moment,
    ) -> Result<(), RequestError> {
        let id = self.known(ufid)?;
        if self.planner.flows.get(id).is_some_and(|record| record.leaving.is_some()) {
            return Err(RequestError::is_going(ufid));
        }
        self.ask(token, ufid, id)?;
        self.planner.change_actions(id, actions);
        self.planner.plan(id, now);
        Ok(())
    }

    /// Removes a megaflow. If the megaflow is leaving already, the request waits for the same
    /// end.
    fn remove(&mut self, token: Token, ufid: Ufid, now: Moment) -> Result<(), RequestError> {
        let id = self.known(ufid)?;
        self.ask(token, ufid, id)?;
        self.planner.leave(id, Cause::Operator, now);
        Ok(())
    }

    fn install(
        &mut self,
        asker: Asker,
        flow: &Arc<Megaflow>,
        now: Moment,
    ) -> Result<(), RequestError> {
        if self.closing {
            return Err(RequestError::Stopping);
        }
        let Planner { flows, waiters, .. } = &mut self.planner;
        let others = flows.overlapping(&flow.matching);
        let limit = self.settings.flow_limit;
        flows.may_install(flow, &others, limit, |id| waiters.is_asked(id))?;
        let id = self.take_in(FlowRecord::new(flow.clone(), Owner::Operator, now), &others, now);
        self.planner.waiters.ask(id, asker);
        self.planner.recount(id, "new");
        self.planner.plan(id, now);
        Ok(())
    }

    /// Takes an operator's megaflow or an adopted one in, in the place of the megaflows that it
    /// overlaps and outranks. A known megaflow with the same match becomes the operator's and
    /// keeps its counts.
    fn take_in(&mut self, record: FlowRecord, others: &[FlowId], now: Moment) -> FlowId {
        let flow = record.flow.clone();
        let planner = &mut self.planner;
        let id = match planner.flows.find(flow.ufid) {
            Some(id) => {
                if let Some(known) = planner.flows.get_mut(id) {
                    known.owner = Owner::Operator;
                    known.leaving = None;
                }
                planner.flows.dependents.forget(id);
                planner.change_actions(id, flow.actions.clone());
                planner.stays_in_nic(id);
                id
            }
            None => planner.flows.insert(record, &BTreeSet::new()),
        };
        for other in others.iter().filter(|other| **other != id) {
            planner.flows.ranks.wait_behind(id, *other);
            planner.leave(*other, Cause::Displaced, now);
        }
        id
    }

    fn completed(&mut self, place: Place, completions: &[Completion], now: Moment) {
        if let Place::Nic(provider) = place
            && let Some(device) = self.planner.placer.device_mut(provider)
        {
            device.queued = device.queued.saturating_sub(completions.len());
        }
        let mut gone = None;
        for completion in completions {
            match (place, &completion.result) {
                // This error concerns the device, not one megaflow: the rest of the batch is
                // settled first.
                (Place::Nic(provider), Err(ProviderError::Gone(why))) => {
                    gone = Some((provider, why));
                }
                _ => {
                    let hit = self.planner.settle(place, completion, now);
                    self.used(hit);
                }
            }
        }
        if let Some((provider, why)) = gone {
            self.lost(provider, why, now);
        }
    }

    /// Tells the client of a megaflow that was hit.
    fn used(&mut self, hit: Option<Hit>) {
        if let Some(Hit { flow, at }) = hit {
            self.client.used(&flow, at);
        }
    }

    /// Handles an event that a device reports by itself.
    fn provider_event(&mut self, provider: ProviderId, event: ProviderEvent, now: Moment) {
        match event {
            ProviderEvent::Changed => self.next_round = now,
            ProviderEvent::Corrected { kind, megaflows, .. } => {
                let name = self.planner.placer.name(provider);
                self.planner.tally.corrections(&name, kind.name(), megaflows);
            }
            ProviderEvent::Gone(why) => self.lost(provider, &why, now),
        }
    }

    fn lost(&mut self, provider: ProviderId, why: &str, now: Moment) {
        let Some(device) = self.planner.placer.device_mut(provider) else { return };
        if device.is_up() {
            // What was adopted of it so far has not been asked about.
            self.stale |= !device.known;
            device.lost(why);
            let why = gone(why).into();
            self.walks.begin(Errand::Lost(provider, why), now);
            self.read(Place::Nic(provider), false, now);
        }
    }

    /// A device was opened. What it holds is asked for as soon as the megaflows that lived in it
    /// before are known to be on the host alone.
    fn opened(&mut self, provider: ProviderId, admission: Arc<dyn Admission>, now: Moment) {
        let Some(device) = self.planner.placer.device_mut(provider) else { return };
        device.opened();
        device.admission = admission;
        self.walks.begin(Errand::TryAgain, now);
        self.ask_for_content(provider);
    }

    fn ask_for_content(&mut self, provider: ProviderId) {
        let is_new = |device: &Device| device.is_up() && !device.known;
        if self.planner.placer.device(provider).is_some_and(is_new) && !self.walks.leaves(provider)
        {
            self.planner.out.dump(provider);
        }
    }

    /// Sets the admission of a device whose abilities changed, or whose reason for a refusal is
    /// gone. Every refused megaflow is tried again.
    fn admission_changed(
        &mut self,
        provider: ProviderId,
        admission: Arc<dyn Admission>,
        now: Moment,
    ) {
        let Some(device) = self.planner.placer.device_mut(provider) else { return };
        device.admission = admission;
        self.walks.begin(Errand::TryAgain, now);
    }

    /// Handles the end of the reading of a place's statistics.
    fn statistics(
        &mut self,
        place: Place,
        stats: Result<Vec<(Ufid, Stats)>, ProviderError>,
        tables: Vec<TableUsage>,
        now: Moment,
    ) {
        if !self.answers(place) {
            return;
        }
        if let Place::Nic(provider) = place {
            self.planner.placer.table_usage(provider, tables);
        }
        match (stats, place) {
            (Ok(stats), _) => {
                self.readings(place, &stats, now);
                if let Place::Nic(provider) = place
                    && let Some(device) = self.planner.placer.device_mut(provider)
                {
                    device.read_at = now;
                }
                self.read(place, true, now);
            }
            (Err(ProviderError::Gone(why)), Place::Nic(provider)) => {
                self.lost(provider, &why, now);
            }
            // The next round tries again; the time of the last successful one is a metric.
            (Err(_), _) => self.read(place, false, now),
        }
    }

    /// Returns true unless the place is a device that was lost. What was read before that is void.
    fn answers(&self, place: Place) -> bool {
        match place {
            Place::Host => true,
            Place::Nic(provider) => self.planner.placer.device(provider).is_some_and(Device::is_up),
        }
    }

    /// The reading of a place has ended. When all places are read, the sweep begins.
    fn read(&mut self, place: Place, is_whole: bool, now: Moment) {
        let Planner { rounds, placer, .. } = &mut self.planner;
        rounds.ended(place, is_whole);
        if let Some(sweep) = rounds.sweep(|provider| placer.rivals(provider), now) {
            self.walks.begin(Errand::Sweep(sweep), now);
        }
    }

    /// Counts the hits that a part of a place's statistics shows, and finds foreign rules.
    fn readings(&mut self, place: Place, stats: &[(Ufid, Stats)], now: Moment) {
        if !self.answers(place) {
            return;
        }
        for (ufid, stats) in stats {
            let id = self.planner.flows.find(*ufid);
            let record = id.and_then(|id| self.planner.flows.get(id));
            let life = record.filter(|r| r.lives_in(place)).map(|r| r.residence(place).life);
            match (id, life) {
                // The host's news are told once, by each of its threads: also by one that has
                // installed the megaflow before the others.
                (Some(id), Some(life)) if life.forwards() || place == Place::Host => {
                    let hit = self.planner.read(id, place, *stats, now);
                    self.used(hit);
                }
                // The install's completion is on the way and carries the statistics.
                (_, Some(Life::Installing)) => {}
                _ => self.foreign(place, *ufid),
            }
        }
    }

    /// Removes a rule that carries our cookie and does not belong to a megaflow in this place.
    fn foreign(&mut self, place: Place, ufid: Ufid) {
        if let Place::Nic(provider) = place {
            let name = self.planner.placer.name(provider);
            self.planner.tally.correction(&name, "foreign");
            self.planner.apply(place, Op::Remove { ufid }, None);
        }
    }

    /// Adopts entries that a device held when it was opened: megaflows live on with their counters
    /// and keep their owner; entries that can't be understood, and those of a device that was lost
    /// that are not what was there, are removed.
    fn adopt(&mut self, provider: ProviderId, mut found: Vec<Dumped>, now: Moment) {
        // The megaflows of the owner with the higher rank come first.
        found.sort_by_key(|dumped| Reverse(dumped.generation.owner()));
        let name = self.planner.placer.name(provider);
        for dumped in &found {
            if self.take_over(provider, dumped, now) {
                self.planner.tally.correction(&name, "adopted");
            } else {
                self.planner.apply(Place::Nic(provider), Op::Remove { ufid: dumped.ufid }, None);
                self.planner.tally.correction(&name, "orphan");
            }
        }
        let ids = found.iter().filter_map(|dumped| self.planner.flows.find(dumped.ufid));
        let ids: Vec<FlowId> = ids.collect();
        if !found.is_empty() {
            self.planner.out.adopt(provider, found);
        }
        for id in ids {
            if self.closing {
                self.planner.leave(id, Cause::Operator, now);
            }
            self.planner.plan(id, now);
            self.planner.recount(id, "adopted");
        }
    }

    /// All that a device held at start is adopted. Only now has the client learnt from all of it,
    /// and is asked whether each megaflow is still right.
    fn all_adopted(&mut self, provider: ProviderId, now: Moment) {
        if let Some(device) = self.planner.placer.device_mut(provider) {
            device.known = true;
            device.read_at = now;
        }
        self.revalidate(now);
    }

    /// Takes over one dumped megaflow. Returns true if the device's entry for the megaflow goes
    /// on. An operator's megaflow without an entry that forwards in the device is installed anew.
    fn take_over(&mut self, provider: ProviderId, dumped: &Dumped, now: Moment) -> bool {
        let Some(flow) = dumped.flow.as_ref().filter(|flow| flow.ufid == dumped.ufid) else {
            return false;
        };
        if self.planner.placer.device(provider).is_some_and(|device| device.is_back) {
            let id = self.planner.flows.find(flow.ufid);
            let back = id.map(|id| self.planner.returned(provider, id, dumped, now));
            let (hit, goes_on) = back.unwrap_or_default();
            self.used(hit);
            return goes_on;
        }
        let owner = dumped.generation.owner();
        let Planner { flows, books, .. } = &mut self.planner;
        let others = flows.overlapping(&flow.matching);
        if !flows.may_take_over(flow, owner, &others) || (owner == Owner::Client && !dumped.active)
        {
            return false;
        }
        let goes_on = dumped.active && flows.find(flow.ufid).is_none();
        let mut record = FlowRecord::new(flow.clone(), owner, now);
        if goes_on {
            record.nic.life = Life::Present;
            record.nic.installed = Some(flow.actions.clone());
            record.provider = Some(provider);
            record.want_nic = true;
            record.generation = dumped.generation;
            record.nic.generation = Some(dumped.generation);
            record.used = dumped.stats.used.or(Some(now));
            books.adopted(&mut record, provider, dumped.stats.counters);
        }
        let id = self.take_in(record, &others, now);
        self.depends(id);
        // The client learns from all adopted megaflows before it is asked whether each one is
        // still right.
        self.client.used(flow, now);
        goes_on
    }

    /// Returns a page of megaflows.
    fn page(&self, from: u32, most: u32, now: Moment) -> FlowPage {
        let Planner { flows, placer, tally, .. } = &self.planner;
        let (ids, next) = flows.slice(from, SLICE);
        let mut ids = ids.into_iter();
        let shown = ids.by_ref().take(most as usize);
        let of = |id: FlowId| Some((id.0 + 1, view(placer, flows.get(id)?, now)));
        let shown = shown.filter_map(of).collect();
        let next = ids.next().map(|id| id.0).or(next);
        FlowPage { flows: shown, next, placed: tally.placed.clone() }
    }

    fn view(&self, id: FlowId, now: Moment) -> Vec<FlowView> {
        let Planner { flows, placer, .. } = &self.planner;
        flows.get(id).map(|record| view(placer, record, now)).into_iter().collect()
    }

    /// Returns the hits of every megaflow that ever was in a hardware provider, and what the
    /// actions made of them.
    #[must_use]
    pub fn hits(&self, provider: ProviderId) -> Hits {
        self.planner.books.hits(provider)
    }

    /// Returns the first-pass hits of every megaflow that ever was in the host table.
    #[must_use]
    pub fn first_pass_host(&self) -> Counters {
        self.planner.books.first_pass_host()
    }

    /// Returns the state of each hardware provider.
    pub fn devices(&self) -> impl Iterator<Item = DeviceView<'_>> {
        self.planner.placer.devices().map(|(id, device)| DeviceView {
            id,
            name: &device.name,
            gone: device.gone.as_deref(),
            ports: device.ports(),
            queued: device.queued as u64,
            tables: &device.tables,
        })
    }

    /// Returns what the engine has counted.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.planner.tally
    }

    /// Returns the number of megaflows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.planner.flows.len()
    }

    /// Returns true if no megaflow is left in any place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.planner.flows.is_empty()
    }

    /// Returns the client's name.
    #[must_use]
    pub fn client_name(&self) -> &'static str {
        self.client.name()
    }

    /// Returns how much the client has learnt, in numbers.
    #[must_use]
    pub fn learning(&self) -> Option<Learning> {
        self.client.learning()
    }
}
