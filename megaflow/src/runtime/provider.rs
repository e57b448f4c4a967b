//! The thread that owns a hardware provider.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};
use flow::Admission;
use flow::{
    Completion, Counters, Cursor, Dumped, Moment, PortId, PortTraffic, Provider, ProviderEvent,
    Submission, Tag,
};

use crate::handle::ReplySender;
use crate::status::Status;
use flow::Clock;
use offload::{Event, Place, ProviderId, RequestError};

/// A job for the thread. Jobs are begun in order.
pub(super) enum ProviderJob {
    /// Operations, and the moment since which they wait.
    Apply(Vec<Submission>, Moment),
    ReadStats,
    /// Reads what the device holds, for the engine.
    Dump,
    Adopt(Vec<Dumped>),
    /// Reads what the device holds, for a request.
    Audit(ReplySender<(Vec<Dumped>, bool)>),
}

/// A report to the engine's thread.
pub(super) enum News {
    /// An event for the engine.
    Event(Event),
    /// A batch of operations that a place has completed, and how long it took.
    Completed(Place, Vec<Completion>, Duration),
    /// The counters of the device's ports, and the statistics pass with which the counters were
    /// read. Both are one report, so that nobody sees one without the other.
    Traffic(ProviderId, Vec<PortTraffic>, Option<Event>),
    /// The host datapath's counters at a statistics pass.
    Pass(Box<hostdp::DatapathSnapshot>),
    /// The host datapath's counters, for a request.
    Snapshot(ReplySender<Box<Status>>, Box<hostdp::DatapathSnapshot>),
    /// The result of a request to put in a packet by hand: the port, if it exists, and the
    /// packet.
    Received(ReplySender<()>, Option<PortId>, Counters),
}

/// A provider's thread. Dropping this value lets the thread finish its jobs, and waits for its
/// end, but not for ever.
pub(super) struct ProviderThread {
    jobs: Option<Sender<ProviderJob>>,
    thread: JoinHandle<()>,
    /// Nothing is ever sent; the other end is dropped when the thread ends.
    ended: Receiver<()>,
}

/// Longest wait for a job before the provider is asked for its events.
const NEWS: Duration = Duration::from_millis(50);
/// News that the engine has not heard yet, beyond which nothing more is read.
const UNREAD: usize = 16;
/// Longest time for which nothing more is read because of that.
const CATCH_UP: Duration = Duration::from_millis(2);
/// Wait for the engine to hear them.
const AHEAD: Duration = Duration::from_micros(200);
/// Longest wait for a completion before new jobs are looked for.
const LOOK: Duration = Duration::from_micros(200);
/// Longest wait for the end of the thread.
const END: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(10) };
/// Time between two attempts to open a device that is gone.
const REOPEN: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });

impl ProviderThread {
    /// Starts the thread. Its first reports are the counters of the device's ports, and that the
    /// device is open.
    pub(super) fn start(
        id: ProviderId,
        provider: Box<dyn Provider>,
        clock: Clock,
        news: Sender<News>,
    ) -> std::io::Result<ProviderThread> {
        let (jobs, todo) = unbounded();
        let name = format!("provider-{}", provider.name());
        let owner = ProviderLoop::new(id, provider, clock, news);
        let (ends, ended) = bounded(0);
        let run = move || {
            let _ends: Sender<()> = ends;
            owner.run(&todo);
        };
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(ProviderThread { jobs: Some(jobs), thread, ended })
    }

    /// Lets the thread end when its jobs are done, and does not wait for that.
    pub(super) fn finish(&mut self) {
        self.jobs = None;
    }

    pub(super) fn send(&self, job: ProviderJob) {
        if let Some(jobs) = &self.jobs {
            // Fails only if the thread has died; its last report was that the device is gone.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for ProviderThread {
    fn drop(&mut self) {
        self.finish();
        if self.ended.recv_timeout(END) == Err(RecvTimeoutError::Timeout) {
            let thread = self.thread.thread().name().unwrap_or("?");
            tracing::error!("{thread} hangs and is left behind; its device may keep megaflows");
        }
    }
}

/// What the thread does with operations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The device was opened, and the engine has not asked yet for what it holds. Jobs that come
    /// before were meant for the time before the device was gone, and the engine does not wait for
    /// them any more.
    New,
    /// The device is in use.
    Open,
    /// The device is gone since the last attempt to open it.
    Gone(Moment),
}

/// A reading that is under way.
enum Reading {
    /// For the engine.
    Stats(Cursor),
    /// For the engine.
    Dump(Cursor),
    /// For a request.
    Audit(Cursor, ReplySender<(Vec<Dumped>, bool)>),
}

/// What the thread owns. Each method waits for the provider at most as its contract says.
pub(super) struct ProviderLoop {
    id: ProviderId,
    provider: Box<dyn Provider>,
    /// The admission that the engine was told of last.
    admission: Arc<dyn Admission>,
    clock: Clock,
    news: Sender<News>,
    state: State,
    /// Operations for which the provider had no room yet.
    waiting: VecDeque<Submission>,
    /// Since when the operations wait that have no completion yet.
    begun: HashMap<Tag, Moment>,
    /// Readings, the first of which is under way.
    reading: VecDeque<Reading>,
    /// When a part was read last.
    read_at: Moment,
}

impl ProviderLoop {
    pub(super) fn new(
        id: ProviderId,
        provider: Box<dyn Provider>,
        clock: Clock,
        news: Sender<News>,
    ) -> ProviderLoop {
        ProviderLoop {
            id,
            admission: provider.admission(),
            provider,
            clock,
            news,
            state: State::New,
            waiting: VecDeque::new(),
            begun: HashMap::new(),
            reading: VecDeque::new(),
            read_at: Moment::default(),
        }
    }

    fn run(mut self, todo: &Receiver<ProviderJob>) {
        let _note = DeathNote { id: self.id, news: self.news.clone() };
        // The port counters are reported at once, so that each one is known by name from the
        // start.
        let traffic = self.traffic();
        let _ = self.news.send(News::Traffic(self.id, traffic, None));
        self.opened();
        let mut is_ending = false;
        while !is_ending || !self.begun.is_empty() {
            let wait = match self.reads() {
                _ if !self.begun.is_empty() => Duration::ZERO,
                true => Duration::ZERO,
                false if self.reading.is_empty() => NEWS,
                false => AHEAD,
            };
            let job = match wait.is_zero() {
                true => todo.try_recv().map_err(|error| error == TryRecvError::Disconnected),
                false => {
                    todo.recv_timeout(wait).map_err(|error| error == RecvTimeoutError::Disconnected)
                }
            };
            match job {
                Ok(job) => self.begin(job),
                Err(is_last) => is_ending = is_last,
            }
            self.work();
            self.look_for_events();
        }
        self.close();
    }

    /// Begins a job.
    pub(super) fn begin(&mut self, job: ProviderJob) {
        match (job, self.state) {
            (ProviderJob::Dump, State::New) => {
                self.state = State::Open;
                self.reading.push_back(Reading::Dump(Cursor::default()));
            }
            (ProviderJob::Audit(reply), State::Open) => {
                self.reading.push_back(Reading::Audit(Cursor::default(), reply));
            }
            (ProviderJob::Audit(reply), State::New | State::Gone(_)) => {
                let why = "the device is not open".to_owned();
                let _ = reply.send(Err(RequestError::Refused(why)));
            }
            (ProviderJob::Apply(ops, since), State::Open) => {
                self.begun.extend(ops.iter().map(|submission| (submission.tag, since)));
                self.waiting.extend(ops);
            }
            (ProviderJob::ReadStats, State::Open) => {
                self.reading.push_back(Reading::Stats(Cursor::default()));
            }
            (ProviderJob::Adopt(found), State::Open) => drop(self.provider.adopt(&found)),
            (_, State::New | State::Gone(_)) | (ProviderJob::Dump, State::Open) => {}
        }
    }

    /// Takes what is under way a bit further.
    pub(super) fn work(&mut self) {
        if !self.begun.is_empty() {
            self.provider.submit(&mut self.waiting);
            let wait = if self.reads() { Duration::ZERO } else { LOOK };
            let mut done = Vec::new();
            self.provider.poll(wait, &mut done);
            self.completed(done);
        }
        if self.reads()
            && let Some(reading) = self.reading.pop_front()
        {
            self.read_at = self.clock.now();
            if let Some(rest) = self.read(reading) {
                self.reading.push_front(rest);
            }
        }
        // The operations of the time before are ended first.
        if let State::Gone(since) = self.state
            && self.begun.is_empty()
            && self.clock.now().since(since) >= REOPEN
        {
            match self.provider.reopen() {
                Ok(()) => self.opened(),
                Err(_) => self.state = State::Gone(self.clock.now()),
            }
        }
    }

    /// Returns true if the next part of a reading is due. While the engine has much to hear it is
    /// given time to catch up, because other news would wait behind what is read; but a reading
    /// goes on in any case, and a request's does not concern the engine.
    fn reads(&self) -> bool {
        match self.reading.front() {
            None => false,
            Some(Reading::Audit(..)) => true,
            Some(Reading::Stats(_) | Reading::Dump(_)) => {
                self.news.len() < UNREAD || self.clock.now().since(self.read_at) >= CATCH_UP
            }
        }
    }

    /// Reports completions, those that waited equally long together.
    fn completed(&mut self, done: Vec<Completion>) {
        let now = self.clock.now();
        let place = Place::Nic(self.id);
        let since = |owner: &mut ProviderLoop, tag| owner.begun.remove(&tag).unwrap_or(now);
        let mut done = done.into_iter().peekable();
        let mut next = done.next().map(|first| (since(self, first.tag), first));
        while let Some((start, first)) = next.take() {
            let mut together = vec![first];
            for completion in done.by_ref() {
                let other = since(self, completion.tag);
                if other != start {
                    next = Some((other, completion));
                    break;
                }
                together.push(completion);
            }
            let _ = self.news.send(News::Completed(place, together, now.since(start)));
        }
    }

    pub(super) fn look_for_events(&mut self) {
        for event in self.provider.events() {
            match &event {
                // A port that went or came back changes what the device can do.
                ProviderEvent::Changed => self.look_at_admission(),
                ProviderEvent::Corrected { kind, megaflows, first } => {
                    let provider = self.provider.name();
                    tracing::warn!(provider, megaflows, first, "{}", kind.text());
                }
                ProviderEvent::Gone(why) => {
                    let provider = self.provider.name();
                    tracing::error!(provider, why, "the device is gone; the host forwards");
                    self.gone();
                }
            }
            self.tell(Event::Provider { provider: self.id, event });
        }
    }

    /// The device is gone, and nobody waits for its readings but those who asked by a request.
    fn gone(&mut self) {
        self.state = State::Gone(self.clock.now());
        self.reading.retain(|reading| matches!(reading, Reading::Audit(..)));
    }

    /// Reports the admission if it is another one. A new snapshot stands for new conditions, even
    /// if the capabilities are the same.
    fn look_at_admission(&mut self) {
        let admission = self.provider.admission();
        if !Arc::ptr_eq(&self.admission, &admission) {
            self.admission = admission.clone();
            self.tell(Event::Admission { provider: self.id, admission });
        }
    }

    /// The device is open: the engine decides when it asks for what the device holds.
    pub(super) fn opened(&mut self) {
        if matches!(self.state, State::Gone(_)) {
            tracing::info!(provider = self.provider.name(), "the device is back");
        }
        self.state = State::New;
        self.admission = self.provider.admission();
        let (provider, admission) = (self.id, self.admission.clone());
        self.tell(Event::Opened { provider, admission });
    }

    /// Reports an event. The engine's thread outlives this one, except during a stop.
    fn tell(&self, event: Event) {
        let _ = self.news.send(News::Event(event));
    }

    fn close(&mut self) {
        if let Err(error) = self.provider.close() {
            let provider = self.provider.name();
            tracing::warn!(provider, %error, "some megaflows may be left in the device");
        }
    }

    /// Reads the counters of the device's ports; empty if the device does not answer now.
    fn traffic(&mut self) -> Vec<PortTraffic> {
        self.provider.traffic().unwrap_or_default()
    }

    /// Reads a part. Returns what is left of the reading.
    fn read(&mut self, reading: Reading) -> Option<Reading> {
        let (place, provider) = (Place::Nic(self.id), self.id);
        match reading {
            Reading::Stats(from) => {
                let mut stats = Vec::new();
                match self.provider.stats(from, &mut stats) {
                    Ok(Some(next)) => {
                        self.tell(Event::StatsPart { place, stats });
                        return Some(Reading::Stats(next));
                    }
                    last => {
                        let traffic = self.traffic();
                        let (stats, tables) = (last.map(|_| stats), self.provider.tables());
                        let event = Event::Stats { place, stats, tables };
                        let _ = self.news.send(News::Traffic(provider, traffic, Some(event)));
                    }
                }
            }
            Reading::Dump(from) => {
                let mut found = Vec::new();
                match self.provider.dump(from, &mut found) {
                    Ok(Some(next)) => {
                        self.tell(Event::DumpedPart { provider, found });
                        return Some(Reading::Dump(next));
                    }
                    Ok(None) => self.tell(Event::Dumped { provider, found }),
                    // The engine can't use a device whose content it does not know.
                    Err(error) => {
                        let event = ProviderEvent::Gone(error.to_string());
                        self.tell(Event::Provider { provider, event });
                        self.gone();
                    }
                }
            }
            Reading::Audit(from, reply) => {
                let mut found = Vec::new();
                let (answer, next) = match self.provider.dump(from, &mut found) {
                    Ok(next) => (Ok((found, next.is_none())), next),
                    Err(error) => (Err(RequestError::Refused(error.to_string())), None),
                };
                // Sending fails if the client has given up: nothing more is read then.
                let is_heard = reply.send(answer).is_ok();
                return next.filter(|_| is_heard).map(|next| Reading::Audit(next, reply));
            }
        }
        None
    }
}

/// Reports the end of the thread if nobody asked for it.
struct DeathNote {
    id: ProviderId,
    news: Sender<News>,
}

impl Drop for DeathNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let event = ProviderEvent::Gone("its thread died".to_owned());
            let event = Event::Provider { provider: self.id, event };
            let _ = self.news.send(News::Event(event));
        }
    }
}

#[cfg(test)]
mod tests;
