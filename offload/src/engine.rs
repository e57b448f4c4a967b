//! The engine: takes the events in, asks the client, and has the planner carry out what follows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flow::conservation::Hits;
use flow::{
    Actions, Admission, Answer, Client, Completion, Counters, Dumped, Key, Learning, Megaflow,
    Moment, Op, Owner, PortId, PortLink, ProviderError, ProviderEvent, Stats, TableUsage, Ufid,
    Upcall, UpcallReason, Verdict,
};

use crate::device::{Budget, Device};
use crate::event::{Answered, Cause, Command, Commands, Event, Place, ProviderId};
use crate::planner::{Hit, Planner, view};
use crate::policy::Policy;
use crate::record::FlowRecord;
use crate::request::{FlowView, Request, RequestError, Response, Token};
use crate::residence::Life;
use crate::sets::FlowId;
use crate::settings::Settings;
use crate::tally::Tally;

/// The weight of the newest interval in a megaflow's rate.
const RATE_WEIGHT: f64 = 0.5;

/// The least time between the starts of two passes over this number of megaflows: passes must
/// leave the engine time for everything else.
pub(super) fn each(megaflows: usize) -> Duration {
    Duration::from_micros(megaflows as u64)
}

/// The engine. The crate's text describes it.
pub struct Engine {
    pub(super) settings: Settings,
    client: Box<dyn Client>,
    pub(super) planner: Planner,
    ports: Vec<PortLink>,
    /// Places whose statistics are being read.
    reading: BTreeSet<Place>,
    next_stats: Moment,
    /// The client has learnt something, and all its megaflows are to be revalidated.
    stale: bool,
    next_revalidation: Moment,
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
    /// True if the device answers.
    pub is_up: bool,
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
        let mut planner = Planner::new(policy);
        planner.books.fault = settings.fault;
        Engine {
            settings,
            client,
            planner,
            ports: Vec::new(),
            reading: BTreeSet::new(),
            next_stats: Moment::default(),
            stale: false,
            next_revalidation: Moment::default(),
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

    /// Takes one event that happened at `now`, and returns the commands and replies that follow.
    pub fn step(&mut self, event: Event, now: Moment) -> Commands {
        match event {
            Event::Upcall { id, key, frame, reason } => {
                self.upcall(id, &key, &frame, &reason, now);
            }
            Event::Completed { place, completions } => self.completed(place, &completions, now),
            Event::Stats { place, stats, tables } => self.statistics(place, stats, tables, now),
            Event::Dumped { provider, found } => self.adopt(provider, found, now),
            Event::Provider { provider, event } => self.provider_event(provider, event, now),
            Event::Admission { provider, admission } => {
                self.admission_changed(provider, admission, now);
            }
            Event::Ports(ports) => self.ports_changed(ports, now),
            Event::Request { token, request } => self.request(token, request, now),
            Event::Tick => self.tick(now),
        }
        self.planner.plan_due(now);
        let Planner { placer, out, .. } = &mut self.planner;
        for (provider, operations) in out.queued() {
            if let Some(device) = placer.device_mut(provider) {
                device.queued += operations;
            }
        }
        Commands { commands: self.planner.out.take(), replies: self.planner.waiters.take() }
    }

    fn tick(&mut self, now: Moment) {
        self.stale |= self.client.tick(now);
        if self.stale && now >= self.next_revalidation {
            self.revalidate(now);
            self.next_revalidation = now + each(self.planner.flows.len());
        }
        self.planner.release_held(now);
        self.planner.place_waiting(now);
        if now >= self.next_stats {
            self.next_stats = now + self.settings.stats_interval;
            for place in self.places() {
                self.read_stats(place);
            }
        }
    }

    /// Returns the places that answer.
    fn places(&self) -> Vec<Place> {
        self.planner.placer.up().map(Place::Nic).chain([Place::Host]).collect()
    }

    /// Asks a place for its statistics, unless they are being read already. Returns true if a
    /// pass begins now.
    fn read_stats(&mut self, place: Place) -> bool {
        let begins = self.reading.insert(place);
        if begins {
            self.planner.out.read(place);
        }
        begins
    }

    fn upcall(
        &mut self,
        id: Option<u64>,
        key: &Key,
        frame: &[u8],
        reason: &UpcallReason,
        now: Moment,
    ) {
        let answer = match self.client.upcall(Upcall { key, frame, reason }, now) {
            Answer::Execute(actions) => Answered::Execute(actions),
            Answer::Install(flow) => self.wanted(key, flow, now),
        };
        match (id, answer) {
            (Some(id), answer) => self.planner.out.answer(Command::Resolve { id, answer }),
            (None, Answered::Execute(actions)) if !actions.is_empty() => {
                let command = Command::Execute { port: key.port(), frame: frame.to_vec(), actions };
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
                record.leaving = None;
                record.used = Some(now);
                if record.owner == Owner::Client {
                    planner.change_actions(id, flow.actions.clone());
                }
                id
            }
        };
        planner.plan(id, now);
        // The host table's operations go out before the answer and take effect in that order. But
        // while a removal from the host table is in flight, the next install is not sent yet.
        match planner.flows.get(id) {
            Some(record) if record.comes_to_host() => Answered::Reinject,
            // An operator's megaflow decides what happens to the packet, even while it waits for
            // other megaflows to go.
            Some(record) => Answered::Execute(record.flow.actions.clone()),
            None => Answered::Execute(flow.actions.clone()),
        }
    }

    /// The client has learnt something: each of its megaflows is revalidated.
    fn revalidate(&mut self, now: Moment) {
        self.stale = false;
        for id in self.planner.flows.ids() {
            self.revalidate_one(id, now);
        }
    }

    fn revalidate_one(&mut self, id: FlowId, now: Moment) {
        let Some(record) = self.planner.flows.get(id) else { return };
        if record.owner != Owner::Client || record.leaving.is_some() {
            return;
        }
        match self.client.revalidate(&record.flow, now) {
            Verdict::Keep => {}
            Verdict::Replace(actions) => {
                self.planner.change_actions(id, actions);
                self.planner.plan(id, now);
            }
            Verdict::Remove => self.planner.leave(id, Cause::Revalidated, now),
        }
    }

    /// Takes the ports that exist now. Megaflows that name a port without a link are revalidated
    /// at once. Whatever else the client decides anew waits for the next pass over all megaflows,
    /// so that links which flap don't cause a pass each.
    fn ports_changed(&mut self, ports: Vec<PortLink>, now: Moment) {
        self.client.ports(&ports);
        let before = with_link(&std::mem::replace(&mut self.ports, ports));
        let lost = &before - &with_link(&self.ports);
        if lost.is_empty() {
            return;
        }
        let flows = self.planner.flows.iter();
        let concerned = flows.filter(|(_, record)| !record.flow.ports().is_disjoint(&lost));
        for id in concerned.map(|(id, _)| id).collect::<Vec<FlowId>>() {
            self.revalidate_one(id, now);
        }
    }

    /// Answers a request, at once or when it is carried out.
    fn request(&mut self, token: Token, request: Request, now: Moment) {
        let answer = match request {
            Request::Flows => Some(Ok(Response::Flows(self.views(now)))),
            Request::Flow(ufid) => {
                Some(self.known(ufid).map(|id| Response::Flows(self.view(id, now))))
            }
            Request::Install(flow) => self.install(token, &flow, now).err().map(Err),
            Request::Replace(ufid, actions) => {
                self.replace(token, ufid, actions, now).err().map(Err)
            }
            Request::Remove(ufid) => self.remove(token, ufid, now).err().map(Err),
            Request::RemoveAll => {
                let all = self.planner.flows.ids();
                self.planner.waiters.clear(token, all.iter().copied().collect());
                self.remove_all(all, now);
                None
            }
            Request::Explain(flow) => {
                let Planner { placer, flows, .. } = &self.planner;
                Some(Ok(Response::Explanation(placer.explain(flows, &flow, now))))
            }
            Request::FdbShow => Some(Ok(Response::Text(self.client.show(now)))),
            Request::FdbFlush => {
                self.client.flush();
                self.revalidate(now);
                Some(Ok(Response::Done))
            }
            Request::Reconcile => {
                // A pass that is under way does not count.
                let places = self.places().into_iter();
                let passes = places.map(|p| (p, if self.read_stats(p) { 1 } else { 2 }));
                let passes: BTreeMap<Place, u32> = passes.collect();
                self.planner.waiters.reconcile(token, passes);
                None
            }
            Request::Close => {
                self.closing = true;
                self.remove_all(self.planner.flows.ids(), now);
                None
            }
        };
        if let Some(answer) = answer {
            self.planner.waiters.answer(token, answer);
        }
    }

    fn remove_all(&mut self, all: Vec<FlowId>, now: Moment) {
        for id in all {
            self.planner.leave(id, Cause::Operator, now);
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
        self.planner.waiters.ask(id, token);
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
        token: Token,
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
        self.planner.waiters.ask(id, token);
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
                planner.change_actions(id, flow.actions.clone());
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
            ProviderEvent::Changed => self.next_stats = now,
            ProviderEvent::Corrected { kind, megaflows, .. } => {
                let name = self.planner.placer.name(provider);
                self.planner.tally.corrections(&name, kind.name(), megaflows);
            }
            ProviderEvent::Gone(why) => self.lost(provider, &why, now),
        }
    }

    fn lost(&mut self, provider: ProviderId, why: &str, now: Moment) {
        if self.planner.placer.device(provider).is_some_and(Device::is_up) {
            self.reading.remove(&Place::Nic(provider));
            self.planner.lost(provider, why, now);
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
        // A new snapshot stands for new conditions, even if the capabilities are the same.
        if !Arc::ptr_eq(&device.admission, &admission) {
            device.admission = admission;
            self.planner.try_refused_again(now);
        }
    }

    /// Handles a finished statistics pass: counts the hits, finds lost and foreign rules, and
    /// lets idle megaflows go.
    fn statistics(
        &mut self,
        place: Place,
        stats: Result<Vec<(Ufid, Stats)>, ProviderError>,
        tables: Vec<TableUsage>,
        now: Moment,
    ) {
        self.reading.remove(&place);
        if let Place::Nic(provider) = place
            && !self.planner.placer.device(provider).is_some_and(Device::is_up)
        {
            // The statistics were read before the device was lost.
            return;
        }
        match (stats, place) {
            (Ok(stats), _) => self.pass(place, &stats, now),
            (Err(ProviderError::Gone(why)), Place::Nic(provider)) => {
                self.lost(provider, &why, now);
            }
            // The next pass tries again; the time of the last successful pass is a metric.
            (Err(_), _) => self.pass_done(place),
        }
        match place {
            Place::Nic(provider) => {
                self.planner.placer.table_usage(provider, tables);
                self.planner.exchange(provider, now);
                if let Some(device) = self.planner.placer.device_mut(provider) {
                    device.said_full = false;
                }
            }
            Place::Host => self.rates_and_ages(now),
        }
    }

    fn pass(&mut self, place: Place, stats: &[(Ufid, Stats)], now: Moment) {
        let mut there = BTreeSet::new();
        for (ufid, stats) in stats {
            let id = self.planner.flows.find(*ufid);
            there.extend(id);
            let record = id.and_then(|id| self.planner.flows.get(id));
            let life = record.filter(|r| r.lives_in(place)).map(|r| r.residence(place).life);
            match (id, life) {
                (Some(id), Some(life)) if life.forwards() => {
                    let hit = self.planner.read(id, place, *stats, now);
                    self.used(hit);
                }
                // The install's completion is on the way and carries the statistics.
                (_, Some(Life::Installing)) => {}
                _ => self.foreign(place, *ufid),
            }
        }
        let lost = self.planner.flows.iter().filter(|(id, record)| {
            let lives = record.lives_in(place) && record.residence(place).life == Life::Present;
            lives && !there.contains(id)
        });
        for id in lost.map(|(id, _)| id).collect::<Vec<_>>() {
            self.planner.repair(place, id, now);
        }
        if let Place::Nic(provider) = place
            && let Some(device) = self.planner.placer.device_mut(provider)
        {
            device.read_at = now;
        }
        let name = self.planner.place_name(place);
        self.planner.tally.reconciled(&name, now);
        self.pass_done(place);
    }

    /// A pass over a place is done. If a request waits for a later pass, that pass begins now.
    fn pass_done(&mut self, place: Place) {
        if self.planner.waiters.pass_done(place) {
            self.read_stats(place);
        }
    }

    /// Removes a rule that carries our cookie and does not belong to a megaflow in this place.
    fn foreign(&mut self, place: Place, ufid: Ufid) {
        if let Place::Nic(provider) = place {
            let name = self.planner.placer.name(provider);
            self.planner.tally.correction(&name, "foreign");
            self.planner.out.apply(place, Op::Remove { ufid });
        }
    }

    /// Updates the rates for the placement policy, and lets idle megaflows go.
    fn rates_and_ages(&mut self, now: Moment) {
        let interval = self.settings.stats_interval.as_secs_f64().max(0.001);
        let mut idle = Vec::new();
        let Planner { flows, placer, .. } = &mut self.planner;
        for (id, record) in flows.iter_mut() {
            let recent = u32::try_from(std::mem::take(&mut record.recent)).unwrap_or(u32::MAX);
            record.rate += RATE_WEIGHT * (f64::from(recent) / interval - record.rate);
            // Hits in the NIC are known up to its last reading only; later ones may not have been
            // read yet.
            let provider = record.provider.filter(|_| record.nic.life.forwards());
            let device = provider.and_then(|provider| placer.device(provider));
            let known_until = device.map_or(now, |device| device.read_at.min(now));
            if record.is_idle(known_until, self.settings.max_idle) {
                idle.push(id);
            }
        }
        for id in idle {
            self.planner.leave(id, Cause::Idle, now);
        }
    }

    /// Adopts what a device held at start: known megaflows live on with their counters and keep
    /// their owner; entries that can't be understood are removed.
    fn adopt(&mut self, provider: ProviderId, mut found: Vec<Dumped>, now: Moment) {
        if let Some(device) = self.planner.placer.device_mut(provider) {
            device.known = true;
            device.read_at = now;
        }
        // The megaflows of the owner with the higher rank come first.
        found.sort_by_key(|dumped| Reverse(dumped.generation.owner()));
        let name = self.planner.placer.name(provider);
        for dumped in &found {
            if self.take_over(provider, dumped, now) {
                self.planner.tally.correction(&name, "adopted");
            } else {
                self.planner.out.apply(Place::Nic(provider), Op::Remove { ufid: dumped.ufid });
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
            self.revalidate_one(id, now);
            self.planner.plan(id, now);
            self.planner.recount(id, "adopted");
        }
    }

    /// Takes over one dumped megaflow. Returns true if the device's entry for the megaflow goes
    /// on. An operator's megaflow without an entry that forwards in the device is installed anew.
    fn take_over(&mut self, provider: ProviderId, dumped: &Dumped, now: Moment) -> bool {
        let Some(flow) = dumped.flow.as_ref().filter(|flow| flow.ufid == dumped.ufid) else {
            return false;
        };
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
            record.used = dumped.stats.used.or(Some(now));
            books.adopted(&mut record, Place::Nic(provider), dumped.stats.counters);
        }
        self.take_in(record, &others, now);
        // The client learns from all adopted megaflows before it is asked whether each one is
        // still right.
        self.client.used(flow, now);
        goes_on
    }

    /// Returns all megaflows, by ufid.
    fn views(&self, now: Moment) -> Vec<FlowView> {
        let Planner { flows, placer, .. } = &self.planner;
        let mut views: Vec<FlowView> = flows.iter().map(|(_, r)| view(placer, r, now)).collect();
        views.sort_unstable_by_key(|view| view.flow.ufid);
        views
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
            is_up: device.is_up(),
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

fn with_link(ports: &[PortLink]) -> BTreeSet<PortId> {
    ports.iter().filter(|port| port.up).map(|port| port.id).collect()
}
