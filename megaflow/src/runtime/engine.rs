//! The engine's thread: events in, commands out.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};
use flow::{Counters, Dumped, Histogram, Moment, PortId, PortTraffic, StepTimer};
use hostdp::port::LinkState;
use hostdp::worker::{self, Reply as HostReply, ReplyParts, Worker, WorkerHandle};
use hostdp::{QueuedUpcall, Resolution, UpcallId};

use super::conservation::Rest;
use super::counted::Counted;
use super::floods::Floods;
use super::freed::FreedMemory;
use super::operations::Operations;
use super::ports::KnownPorts;
use super::provider::{self, News, ProviderJob};
use super::status::{About, status};
use super::witness::{DeviceTraffic, Witnesses};
use crate::handle::{Ask, ReplySender, StopFlag};
use crate::record::Recorder;
use offload::{Answered, Command, Commands, Engine, Event, HOST, Place, ProviderId};
use offload::{Request, RequestError, Response, Token, UpcallPacket};

/// Number of upcalls with which the engine takes a step before it looks for more.
const UPCALLS: usize = 64;
/// The largest number of events that are taken before other news.
const EVENTS: usize = 64;

/// Interval between two ticks of the engine.
const TICK: Duration = Duration::from_millis(10);
/// Longest time that a stop waits for a device.
const STOP: Duration = Duration::from_secs(5);

/// The state of the engine's thread: the engine, and the channels to all other threads.
pub(super) struct EngineThread {
    pub(super) about: About,
    pub(super) engine: Engine,
    pub(super) recorder: Option<Recorder>,
    pub(super) worker: Worker,
    pub(super) host: WorkerHandle,
    pub(super) providers: Vec<provider::ProviderThread>,
    /// The channel on which all threads report. There is only one, so that reports arrive in the
    /// order in which they were sent.
    pub(super) news: Sender<News>,
    pub(super) traffic: DeviceTraffic,
    /// The differences that make the counters of the kernel's interfaces comparable.
    pub(super) witnesses: Witnesses,
    pub(super) rest: Rest,
    /// Packets that were put in by hand, by port. No device's port has counted them.
    pub(super) by_hand: BTreeMap<PortId, Counters>,
    pub(super) upcalls: UnansweredUpcalls,
    /// The times of the engine's steps.
    pub(super) steps: Histogram,
    /// Tells how long each of them kept the thread busy.
    pub(super) timer: StepTimer,
    pub(super) operations: Operations,
    pub(super) ports: KnownPorts,
    pub(super) floods: Floods,
    pub(super) freed: FreedMemory,
    pub(super) waiting: BTreeMap<Token, ReplySender<Response>>,
    pub(super) next_token: u64,
    pub(super) stop: StopFlag,
    /// `Some` during a stop: when the stop began, and the clients to tell when it is complete.
    pub(super) stopping: Option<(Moment, Vec<ReplySender<()>>)>,
}

/// Upcalls that are not answered yet, by the number under which the engine knows each one.
pub(super) struct UnansweredUpcalls {
    asked: BTreeMap<u64, (UpcallId, Moment)>,
    next: u64,
    duration: Histogram,
}

impl Default for UnansweredUpcalls {
    fn default() -> UnansweredUpcalls {
        UnansweredUpcalls { asked: BTreeMap::new(), next: 0, duration: Histogram::durations() }
    }
}

impl UnansweredUpcalls {
    fn packet(&mut self, upcall: QueuedUpcall) -> UpcallPacket {
        let QueuedUpcall { id, key, frame, reason, queued_at, .. } = upcall;
        let id = id.map(|id| {
            self.next += 1;
            self.asked.insert(self.next, (id, queued_at));
            self.next
        });
        UpcallPacket { id, key: Box::new(key), frame, reason }
    }

    fn answered(&mut self, number: u64, now: Moment) -> Option<UpcallId> {
        let (id, queued_at) = self.asked.remove(&number)?;
        self.duration.observe_duration(now.since(queued_at));
        Some(id)
    }
}

impl EngineThread {
    /// Runs until a stop was requested and all megaflows are out of the devices, or a device has
    /// not let go in time. Returns an error if a thread of the host datapath has died.
    pub(super) fn run(mut self, asked: &Receiver<Ask>, heard: &Receiver<News>) -> io::Result<()> {
        let packets = self.worker.events().clone();
        let ticks = crossbeam_channel::tick(TICK);
        self.step(Event::Ports(self.ports.links()));
        let mut ended = Ok(());
        while ended.is_ok() && !self.is_done() {
            select! {
                recv(heard) -> news => if let Ok(news) = news { self.hear(news) },
                recv(packets) -> event => ended = match event {
                    Ok(event) => self.packets(event, &packets),
                    Err(_) => Err(died()),
                },
                recv(asked) -> question => if let Ok(question) = question { self.asked(question) },
                recv(ticks) -> _ => self.tick(),
                // What the engine has begun goes on while nothing else is there.
                default(if self.engine.has_more() { Duration::ZERO } else { TICK }) => {}
            }
            // It also goes on, in turns, while other things keep coming.
            if self.engine.has_more() {
                self.step(Event::Advance);
            }
        }
        let told = self.stopping.take().map(|(_, told)| told).unwrap_or_default();
        // The devices are closed before the clients are told, so that a client which hears of the
        // stop finds nothing left.
        self.providers.iter_mut().for_each(provider::ProviderThread::finish);
        self.providers.clear();
        drop(self.worker.stop());
        for reply in told {
            let _ = reply.send(Ok(()));
        }
        // Those who wait for anything else are told when their replies are dropped.
        ended
    }

    fn now(&self) -> Moment {
        self.about.clock.now()
    }

    fn step(&mut self, event: Event) {
        let now = self.now();
        let commands = match &mut self.recorder {
            Some(recorder) => recorder.step(&mut self.engine, event, now),
            None => self.engine.step(event, now),
        };
        self.carry_out(commands, now);
        self.steps.observe_duration(self.timer.end(now).1);
    }

    fn tick(&mut self) {
        self.step(Event::Tick);
        self.freed.look(self.engine.len(), self.now());
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Event(event) => self.step(event),
            News::Completed(place, completions, took) => {
                self.operations.completed(place, &completions, took);
                self.step(Event::Completed { place, completions });
            }
            News::Traffic(provider, traffic, event) => {
                self.traffic_read(provider, traffic);
                event.into_iter().for_each(|event| self.step(event));
            }
            News::Pass(snapshot) => {
                if self.rest.passed(&snapshot, up(&self.engine)) {
                    let (engine, traffic) = (&self.engine, &self.traffic);
                    self.witnesses.at_rest(engine, traffic, &snapshot, &self.by_hand);
                }
                self.warn_of_floods();
            }
            News::Snapshot(reply, snapshot) => {
                let counted = Counted {
                    host: &snapshot,
                    upcall_duration: &self.upcalls.duration,
                    engine_steps: &self.steps,
                    operations: &self.operations,
                    traffic: &self.traffic,
                    by_hand: &self.by_hand,
                    witnesses: &self.witnesses,
                    at_rest: self.rest.lasts(&snapshot),
                };
                let status = status(&self.about, &self.engine, &counted);
                // Sending fails if the client has given up; nobody waits for the answer then.
                let _ = reply.send(Ok(Box::new(status)));
            }
            News::Received(reply, port, packet) => {
                let missing = || RequestError::Refused("there is no such port".to_owned());
                if let Some(port) = port {
                    *self.by_hand.entry(port).or_default() += packet;
                }
                let _ = reply.send(port.map(drop).ok_or_else(missing));
            }
        }
    }

    fn traffic_read(&mut self, provider: ProviderId, traffic: Vec<PortTraffic>) {
        let known = self.traffic.entry(provider).or_default();
        let before = known.clone();
        let is_whole = traffic.len() >= known.len();
        for next in traffic {
            match known.iter_mut().find(|port| port.port == next.port) {
                Some(port) => port.update(next),
                None => known.push(next),
            }
        }
        self.rest.traffic_read(provider, is_whole && *known == before);
        self.witnesses.read(provider, known);
    }

    /// Takes an event of the workers and those that came with it, up to a limit. The upcalls among
    /// them are one step for the engine. An error if a worker has died.
    fn packets(
        &mut self,
        first: worker::WorkerEvent,
        more: &Receiver<worker::WorkerEvent>,
    ) -> io::Result<()> {
        let mut upcalls = Vec::new();
        for event in [first].into_iter().chain(more.try_iter()).take(EVENTS) {
            match event {
                worker::WorkerEvent::Upcalls(batch) => {
                    let batch = batch.read().into_iter();
                    upcalls.extend(batch.map(|upcall| self.upcalls.packet(upcall)));
                    if upcalls.len() >= UPCALLS {
                        break;
                    }
                }
                // What came before the change of a port is told before it.
                worker::WorkerEvent::Port { id, name, state, trouble } => {
                    self.answer(&mut upcalls);
                    self.port_came(id, &name, state, trouble);
                }
                worker::WorkerEvent::PortRemoved(port) => {
                    self.answer(&mut upcalls);
                    self.port_went(port);
                }
                worker::WorkerEvent::Died => return Err(died()),
            }
        }
        self.answer(&mut upcalls);
        Ok(())
    }

    fn answer(&mut self, upcalls: &mut Vec<UpcallPacket>) {
        if !upcalls.is_empty() {
            self.step(Event::Upcalls(std::mem::take(upcalls)));
        }
    }

    fn port_came(&mut self, id: PortId, name: &str, state: LinkState, trouble: Option<String>) {
        let why = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
        if state == LinkState::Up && why.is_empty() {
            tracing::info!("port {name} is up");
        } else {
            tracing::warn!("port {name} is {}{why}", state.name());
        }
        if self.ports.came(id, name, state) {
            self.step(Event::Ports(self.ports.links()));
        }
    }

    fn port_went(&mut self, port: PortId) {
        tracing::info!(%port, "port removed");
        if self.ports.went(port) {
            self.step(Event::Ports(self.ports.links()));
        }
    }

    fn warn_of_floods(&mut self) {
        let Some(learning) = self.engine.learning() else { return };
        for (port, evicted) in self.floods.news(&learning.evicted, self.now()) {
            tracing::warn!(
                port = self.ports.name(port),
                evicted,
                mac_table_size = learning.capacity,
                "the table of learnt addresses is full, and this port has the most: its oldest \
                 were given up for new ones. Either somebody there floods it, or [l2] \
                 mac_table_size is too small"
            );
        }
    }

    fn carry_out(&mut self, commands: Commands, now: Moment) {
        let mut answers = Vec::new();
        for command in commands.commands {
            // The worker gets everything in the engine's order; providers get no answers.
            let is_for_nic = matches!(command, Command::Apply { place: Place::Nic(_), .. });
            if !is_for_nic && !matches!(command, Command::Resolve { .. }) {
                self.resolve(&mut answers);
            }
            self.command(command, &mut answers, now);
        }
        self.resolve(&mut answers);
        for (token, answer) in commands.replies {
            if let Some(reply) = self.waiting.remove(&token) {
                let _ = reply.send(answer);
            }
        }
    }

    /// Hands the worker the answers to upcalls in one message.
    fn resolve(&self, answers: &mut Vec<(UpcallId, Resolution)>) {
        if !answers.is_empty() {
            let _ = self.host.resolve(std::mem::take(answers));
        }
    }

    /// Carries out a command. The threads of the worker and the providers live as long as this
    /// one: if a command can't be sent, a thread has died, and its panic is on stderr.
    fn command(
        &mut self,
        command: Command,
        answers: &mut Vec<(UpcallId, Resolution)>,
        now: Moment,
    ) {
        match command {
            Command::Apply { place: Place::Host, ops } => {
                let (news, clock) = (self.news.clone(), self.about.clock.clone());
                let done = HostReply::with(move |completions| {
                    let took = clock.now().since(now);
                    let _ = news.send(News::Completed(Place::Host, completions, took));
                });
                let _ = self.host.apply(ops, done);
            }
            Command::Apply { place: Place::Nic(id), ops } => {
                self.job(id, ProviderJob::Apply(ops, now))
            }
            Command::Resolve { id, answer } => {
                let resolution = match answer {
                    Answered::Reinject => Resolution::Reinject,
                    Answered::Execute(actions) => Resolution::Execute(actions),
                };
                let id = self.upcalls.answered(id, now);
                answers.extend(id.map(|id| (id, resolution)));
            }
            Command::Execute { port, frame, actions } => {
                let _ = self.host.execute(frame, port, actions);
            }
            Command::ReadStats(Place::Host) => {
                let (news, host) = (self.news.clone(), self.host.clone());
                let parts = ReplyParts::with(move |stats, is_last| {
                    let place = Place::Host;
                    if !is_last {
                        let _ = news.send(News::Event(Event::StatsPart { place, stats }));
                        return;
                    }
                    // What the datapath has counted after the reading. It is asked for before the
                    // engine hears of the end and asks for the next reading.
                    let later = news.clone();
                    let done = HostReply::with(move |snapshot: Box<hostdp::DatapathSnapshot>| {
                        let _ = later.send(News::Pass(snapshot));
                    });
                    let _ = host.snapshot(done);
                    let event = Event::Stats { place, stats: Ok(stats), tables: Vec::new() };
                    let _ = news.send(News::Event(event));
                });
                let _ = self.host.stats(parts);
            }
            Command::ReadStats(Place::Nic(id)) => self.job(id, ProviderJob::ReadStats),
            Command::Dump(provider) => self.job(provider, ProviderJob::Dump),
            Command::Adopt { provider, found } => self.job(provider, ProviderJob::Adopt(found)),
        }
    }

    fn job(&self, id: ProviderId, job: ProviderJob) {
        if let Some(provider) = self.providers.get(id.0) {
            provider.send(job);
        }
    }

    fn asked(&mut self, question: Ask) {
        match question {
            Ask::Exit(reply) => self.stop(reply),
            // Whoever asks during a stop is told when the reply is dropped.
            _ if self.stopping.is_some() => {}
            Ask::Engine(request, reply) => {
                let token = self.token();
                self.waiting.insert(token, reply);
                self.step(Event::Request { token, request });
            }
            Ask::Status(reply) => {
                let news = self.news.clone();
                let done = HostReply::with(move |snapshot| {
                    let _ = news.send(News::Snapshot(reply, snapshot));
                });
                let _ = self.host.snapshot(done);
            }
            Ask::Dump(place, reply) => self.dump(&place, reply),
            Ask::Receive(port, frame, reply) => {
                let packet = Counters { packets: 1, bytes: frame.len() as u64 };
                let news = self.news.clone();
                let done = HostReply::with(move |was_received: bool| {
                    let port = was_received.then_some(port);
                    let _ = news.send(News::Received(reply, port, packet));
                });
                let _ = self.host.receive(port, frame, done);
            }
        }
    }

    /// Begins the stop, or waits for the one that has begun.
    fn stop(&mut self, reply: ReplySender<()>) {
        let now = self.now();
        self.stop.raise();
        // The replies that are dropped tell those who wait that the daemon is stopping.
        self.waiting.clear();
        self.stopping.get_or_insert_with(|| (now, Vec::new())).1.push(reply);
        let token = self.token();
        self.step(Event::Request { token, request: Request::Close });
    }

    /// Asks the thread of the host datapath or of a provider for the content of its table.
    fn dump(&mut self, place: &str, reply: ReplySender<(Vec<Dumped>, bool)>) {
        if place == HOST {
            // A part is dropped if the client has given up.
            let parts =
                ReplyParts::with(move |part, is_last| drop(reply.send(Ok((part, is_last)))));
            let _ = self.host.dump(parts);
        } else if let Some(device) =
            self.engine.devices().find(|d| d.gone.is_none() && d.name == place)
        {
            self.job(device.id, ProviderJob::Audit(reply));
        } else {
            let text = format!("there is no '{place}' that is up");
            let _ = reply.send(Err(RequestError::Refused(text)));
        }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Returns true if a stop was requested and no megaflow is left in any table, or a device has
    /// not let go in time.
    fn is_done(&self) -> bool {
        let Some((since, _)) = &self.stopping else { return false };
        let late = self.now().since(*since) >= STOP;
        if late {
            tracing::warn!("a device did not remove its megaflows in time");
        }
        self.engine.is_empty() || late
    }
}

fn died() -> io::Error {
    io::Error::other("a thread of the host datapath died")
}

/// Returns the devices that answer.
fn up(engine: &Engine) -> impl Iterator<Item = ProviderId> {
    engine.devices().filter(|device| device.gone.is_none()).map(|device| device.id)
}
