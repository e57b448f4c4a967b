//! The thread that owns a hardware provider.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use flow::Admission;
use flow::{
    Counters, Dumped, Moment, Op, PortId, PortTraffic, Provider, ProviderError, ProviderEvent,
};

use crate::clock::Clock;
use crate::engine::{Event, Place, ProviderId};
use crate::request::Token;

/// What the thread is to do, in order.
pub(super) enum Job {
    /// And since when it waits.
    Apply(Vec<Op>, Moment),
    ReadStats,
    Adopt(Vec<Dumped>),
    /// Reads what the device holds, for a request.
    Dump(Token),
}

/// What it tells.
pub(super) enum News {
    /// For the engine.
    Event(Event),
    /// What the device's ports count, and the statistics pass with which that was read: one piece
    /// of news, so that nobody sees the one without the other.
    Traffic(ProviderId, Vec<PortTraffic>, Option<Event>),
    /// What the device can do now.
    Admission(ProviderId, Arc<dyn Admission>),
    /// What the host datapath had counted when its statistics were read.
    Pass(Box<hostdp::Snapshot>),
    /// The host datapath's counters, for a request.
    Snapshot(Token, Box<hostdp::Snapshot>),
    /// What a table or device holds, for a request.
    Found(Token, Result<Vec<Dumped>, ProviderError>),
    /// A packet put in by hand, for a request: the port, if it was there, and the packet.
    Received(Token, Option<PortId>, Counters),
}

/// A provider's thread; dropping it lets the thread finish what it has and end.
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// How often a provider is asked for news that came by itself.
const NEWS: Duration = Duration::from_millis(50);

impl Worker {
    /// Starts the thread. The first news is what the device holds.
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
        // Its counters are there from the start, each with its name.
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

    /// The engine's thread outlives this one, except while all is being stopped.
    fn tell(&self, event: Event) {
        let _ = self.news.send(News::Event(event));
    }

    fn close(&mut self) {
        if let Err(error) = self.provider.close() {
            tracing::warn!(provider = self.provider.name(), %error, "some megaflows may be left in the device");
        }
    }

    /// Nothing of a device that does not answer now.
    fn traffic(&mut self) -> Vec<PortTraffic> {
        self.provider.traffic().unwrap_or_default()
    }

    fn dump(&mut self) {
        let mut found = Vec::new();
        match self.provider.dump(&mut found) {
            Ok(()) => self.tell(Event::Dumped { provider: self.id, found }),
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
                self.tell(Event::Completed { place, completions, took });
            }
            Job::ReadStats => {
                let mut all = Vec::new();
                let stats = self.provider.stats(&mut all).map(|()| all);
                let traffic = self.traffic();
                let tables = self.provider.tables();
                let event = Event::Stats { place, stats, tables };
                let _ = self.news.send(News::Traffic(self.id, traffic, Some(event)));
            }
            Job::Dump(token) => {
                let mut all = Vec::new();
                let found = self.provider.dump(&mut all).map(|()| all);
                let _ = self.news.send(News::Found(token, found));
            }
            Job::Adopt(found) => {
                self.provider.adopt(&found);
            }
        }
    }
}
