//! The thread that owns a hardware provider.

use std::cmp::Reverse;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use flow::Admission;
use flow::{
    Completion, Counters, Dumped, Moment, Op, PortId, PortTraffic, Provider, ProviderEvent,
};

use crate::handle::Reply;
use crate::status::Status;
use flow::Clock;
use offload::{Event, Place, ProviderId, RequestError};

/// A job for the thread. Jobs are carried out in order.
pub(super) enum Job {
    /// Operations, and the moment since which they wait.
    Apply(Vec<Op>, Moment),
    ReadStats,
    Adopt(Vec<Dumped>),
    /// Reads what the device holds, for a request.
    Dump(Reply<Vec<Dumped>>),
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
    /// The device's current capabilities.
    Admission(ProviderId, Arc<dyn Admission>),
    /// The host datapath's counters at a statistics pass.
    Pass(Box<hostdp::Snapshot>),
    /// The host datapath's counters, for a request.
    Snapshot(Reply<Box<Status>>, Box<hostdp::Snapshot>),
    /// The result of a request to put in a packet by hand: the port, if it exists, and the
    /// packet.
    Received(Reply<()>, Option<PortId>, Counters),
}

/// A provider's thread. Dropping this value lets the thread finish its jobs, and waits for its
/// end.
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// The largest number of entries in one report to the engine.
const PART: usize = 256;
/// Longest wait for a job before the provider is asked for its events.
const NEWS: Duration = Duration::from_millis(50);

impl Worker {
    /// Starts the thread. Its first reports are the counters of the device's ports and what the
    /// device holds.
    pub(super) fn start(
        id: ProviderId,
        provider: Box<dyn Provider>,
        clock: Clock,
        news: Sender<News>,
    ) -> std::io::Result<Worker> {
        let (jobs, todo) = unbounded();
        let name = format!("provider-{}", provider.name());
        let owner = Owner { id, provider, clock, news };
        let thread = std::thread::Builder::new().name(name).spawn(move || owner.run(&todo))?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Fails only if the thread has died; its panic is on stderr.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Owner {
    id: ProviderId,
    provider: Box<dyn Provider>,
    clock: Clock,
    news: Sender<News>,
}

impl Owner {
    fn run(mut self, todo: &Receiver<Job>) {
        // The port counters are reported at once, so that each one is known by name from the
        // start.
        let traffic = self.traffic();
        let _ = self.news.send(News::Traffic(self.id, traffic, None));
        self.dump();
        loop {
            match todo.recv_timeout(NEWS) {
                Ok(job) => self.carry_out(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
            self.look_for_events();
        }
    }

    fn look_for_events(&mut self) {
        for event in self.provider.events() {
            if event == ProviderEvent::Changed {
                // A port that went or came back changes what the device can do.
                let _ = self.news.send(News::Admission(self.id, self.provider.admission()));
            }
            if let ProviderEvent::Corrected { kind, megaflows, first } = &event {
                let provider = self.provider.name();
                tracing::warn!(provider, megaflows, first, "{}", kind.text());
            }
            self.tell(Event::Provider { provider: self.id, event });
        }
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

    fn dump(&mut self) {
        let mut found = Vec::new();
        match self.provider.dump(&mut found) {
            Ok(()) => {
                let provider = self.id;
                found.sort_by_key(|dumped| Reverse(dumped.generation.owner()));
                let last =
                    in_parts(found, |found| self.tell(Event::DumpedPart { provider, found }));
                self.tell(Event::Dumped { provider, found: last });
            }
            Err(error) => {
                let event = ProviderEvent::Gone(error.to_string());
                self.tell(Event::Provider { provider: self.id, event });
            }
        }
    }

    fn carry_out(&mut self, job: Job) {
        let place = Place::Nic(self.id);
        match job {
            Job::Apply(ops, since) => {
                let mut completions = Vec::with_capacity(ops.len());
                self.provider.apply(&ops, &mut completions);
                let took = self.clock.now().since(since);
                let _ = self.news.send(News::Completed(place, completions, took));
            }
            Job::ReadStats => {
                let mut all = Vec::new();
                let stats = self
                    .provider
                    .stats(&mut all)
                    .map(|()| in_parts(all, |stats| self.tell(Event::StatsPart { place, stats })));
                let traffic = self.traffic();
                let tables = self.provider.tables();
                let event = Event::Stats { place, stats, tables };
                let _ = self.news.send(News::Traffic(self.id, traffic, Some(event)));
            }
            Job::Dump(reply) => {
                let mut all = Vec::new();
                let found = self.provider.dump(&mut all).map(|()| all);
                let found = found.map_err(|error| RequestError::Refused(error.to_string()));
                // Sending fails if the client has given up; nobody waits for the answer then.
                let _ = reply.send(found);
            }
            Job::Adopt(found) => {
                self.provider.adopt(&found);
            }
        }
    }
}

/// Hands out a long list in parts, each of which the engine takes in one step. Returns the last
/// part.
fn in_parts<T>(list: Vec<T>, hand_out: impl Fn(Vec<T>)) -> Vec<T> {
    let mut list = list.into_iter();
    loop {
        let part: Vec<T> = list.by_ref().take(PART).collect();
        if list.len() == 0 {
            return part;
        }
        hand_out(part);
    }
}
