//! The workers: threads that own a datapath each, move its packets, and take commands.
//!
//! Each has its own replica of the table, its own queues of the ports and its own counters: for a
//! packet nothing is written that workers share. A command goes to all of them, and its answer
//! comes when the last one is done (`gather`).
//!
//! A worker polls its ports in bursts while there are packets, and sleeps on their descriptors when
//! there are none. Commands come through a channel and are carried out between bursts, in order;
//! those that concern many megaflows in short steps, a burst apart. Only readings of the table take
//! turns with the commands behind them.
//! Upcalls, in batches, and changes of ports go out as events. At most
//! [`crate::UpcallLimits::outstanding`] upcalls of a worker are with the client; the rest stay in
//! their bounded queues, so a slow client costs new flows, never memory. While the client is busy
//! the next batch grows.

mod command;
mod gather;
mod handle;
mod reply;
mod states;
mod task;
#[cfg(test)]
mod tests;
mod unread;
mod wake;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use flow::{Clock, Moment, PortId, StepTimer};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::datapath::Datapath;
use crate::port::LinkState;
use command::WorkerCommand;
use handle::Mailbox;
use states::{PortStates, SeenState};
use task::Task;
use unread::UnreadBatches;
use wake::Wake;

pub use handle::{WorkerGone, WorkerHandle};
pub use reply::{Reply, ReplyParts};
pub use unread::UpcallBatch;

/// A message from a worker that nobody asked for.
#[derive(PartialEq, Eq, Debug)]
pub enum WorkerEvent {
    /// Packets for the client: all that there are, up to [`crate::UpcallLimits::batch`]. An upcall
    /// with an id has to be resolved; without an id nothing waits for an answer.
    Upcalls(UpcallBatch),
    /// A port was added to all workers, or its state or trouble changed.
    Port {
        /// The port's number.
        id: PortId,
        /// The port's name.
        name: String,
        /// The port's state now: it is up if each worker's part is.
        state: LinkState,
        /// Why the port does not work, or what else is wrong with it.
        trouble: Option<String>,
    },
    /// A port was removed from all workers.
    PortRemoved(PortId),
    /// A worker's thread has died by a bug. No command is answered any more.
    Died,
}

/// The running workers. Their threads stop when this value and all its handles are dropped.
pub struct Worker {
    handle: WorkerHandle,
    events: Receiver<WorkerEvent>,
    threads: Vec<JoinHandle<Datapath>>,
}

/// Starts a thread for each datapath, pinned to the core of the same place in the list if there is
/// one. The datapaths must have the same settings and megaflows, and ports of the same numbers;
/// each has its own queues of them. An error if a thread can't be started or pinned to its core.
pub fn spawn(datapaths: Vec<Datapath>, clock: &Clock, cores: &[usize]) -> io::Result<Worker> {
    let (events, outbox) = unbounded();
    let states = Arc::new(PortStates::new(datapaths.len()));
    let (mut mailboxes, mut threads) = (Vec::new(), Vec::new());
    for (number, datapath) in (0..).zip(datapaths) {
        let wake = Arc::new(Wake::new()?);
        let (commands, inbox) = unbounded();
        let (pinned, is_pinned) = unbounded();
        let core = cores.get(usize::from(number)).copied();
        let state = Loop {
            number,
            datapath,
            timer: StepTimer::new(clock.clone()),
            clock: clock.clone(),
            inbox,
            task: None,
            readings: VecDeque::new(),
            events: events.clone(),
            unread: UnreadBatches::default(),
            wake: wake.clone(),
            ports: BTreeMap::new(),
            states: states.clone(),
            checked_at: None,
            idle_wakes: 0,
        };
        mailboxes.push(Mailbox { commands, wake });
        threads.push(Builder::new().name("megaflow-worker".into()).spawn(move || {
            let _ = pinned.send(pin(core));
            let _note = DeathNote(state.events.clone());
            state.run()
        })?);
        is_pinned.recv().map_err(io::Error::other)??;
    }
    Ok(Worker { handle: WorkerHandle::new(mailboxes), events: outbox, threads })
}

/// Reports the end of the thread if nobody asked for it: the others may live on.
struct DeathNote(Sender<WorkerEvent>);

impl Drop for DeathNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(WorkerEvent::Died);
        }
    }
}

fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let failed = |kind, why: String| {
        io::Error::new(kind, format!("workers: can't run on core {core}: {why}"))
    };
    let missing = "this machine has no such core, or does not let this process use it";
    if core >= CpuSet::MAX_CPU {
        return Err(failed(io::ErrorKind::InvalidInput, missing.to_owned()));
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| match error {
        rustix::io::Errno::INVAL => failed(error.kind(), missing.to_owned()),
        error => failed(error.kind(), error.to_string()),
    })
}

impl Worker {
    /// The handle by which any thread commands the workers.
    #[must_use]
    pub fn handle(&self) -> &WorkerHandle {
        &self.handle
    }

    /// The workers' events.
    #[must_use]
    pub fn events(&self) -> &Receiver<WorkerEvent> {
        &self.events
    }

    /// Stops the threads after the commands sent so far, readings apart, and gives the datapaths
    /// back; `None` if a thread had panicked.
    #[must_use]
    pub fn stop(self) -> Option<Vec<Datapath>> {
        let _ = self.handle.stop();
        let ended: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ended.into_iter().map(Result::ok).collect()
    }
}

/// The thread's own state.
struct Loop {
    /// The worker's number.
    number: u16,
    datapath: Datapath,
    clock: Clock,
    timer: StepTimer,
    inbox: Receiver<WorkerCommand>,
    /// The command that is being carried out in steps.
    task: Option<Task>,
    /// Readings of the table that are under way. They take turns with each other and with the
    /// other commands, none of which waits for the end of a reading.
    readings: VecDeque<Task>,
    events: Sender<WorkerEvent>,
    unread: UnreadBatches,
    wake: Arc<Wake>,
    /// The states of this worker's ports as it told them last.
    ports: BTreeMap<PortId, SeenState>,
    states: Arc<PortStates>,
    checked_at: Option<Moment>,
    /// Number of wakes in a row without a packet or a command.
    idle_wakes: u32,
}

/// Time between two checks of the ports' devices.
const CHECK: Duration = Duration::from_millis(250);
/// Longest sleep while a port has no descriptor to sleep on.
const POLLING: Duration = Duration::from_micros(50);
/// Longest sleep while upcalls wait for room at the client.
const CLIENT: Duration = Duration::from_millis(1);
/// Longest sleep while descriptors are readable again and again without a packet.
const DEAF: Duration = Duration::from_millis(5);
/// Number of wakes in a row without a packet or a command after which descriptors are ignored.
const IDLE_WAKES: u32 = 8;
/// Messages of a worker that the client has not read yet, beyond which upcalls wait for it.
const UNREAD: usize = 4;
/// Time for commands between two bursts. With the longest step of a command it stays below a
/// millisecond, which the receive queues bridge.
const SLICE: Duration = Duration::from_micros(200);

impl Loop {
    fn run(mut self) -> Datapath {
        loop {
            let now = self.clock.now();
            let Some(is_busy) = self.carry_out_commands(now) else { return self.datapath };
            let received = self.datapath.poll(now);
            let polled = self.clock.now();
            if self.checked_at.is_none_or(|at| now.since(at) >= CHECK) {
                self.checked_at = Some(now);
                self.datapath.check(now);
            }
            self.tell_ports();
            self.deliver();
            self.stepped(polled);
            if received == 0 && !is_busy {
                self.sleep();
            } else {
                self.idle_wakes = 0;
            }
        }
    }

    /// Carries out commands for a short time. Returns whether there were any; `None` if the worker
    /// is to stop.
    fn carry_out_commands(&mut self, now: Moment) -> Option<bool> {
        let until = now + SLICE;
        let (mut is_busy, mut begun) = (false, now);
        loop {
            let is_done = match self.task.take() {
                Some(task) => {
                    self.task = task.step(&mut self.datapath, now);
                    false
                }
                None => match self.inbox.try_recv() {
                    Ok(WorkerCommand::Stop) | Err(TryRecvError::Disconnected) => return None,
                    Ok(command) => {
                        self.carry_out(command, now);
                        false
                    }
                    Err(TryRecvError::Empty) => true,
                },
            };
            // Not within a command: what it has done is not told of before its end, and a reading
            // must not tell of it before.
            let reading = if self.task.is_none() { self.readings.pop_front() } else { None };
            match reading {
                Some(reading) => self.readings.extend(reading.step(&mut self.datapath, now)),
                None if is_done => return Some(is_busy),
                None => {}
            }
            is_busy = true;
            begun = self.stepped(begun);
            if begun >= until {
                return Some(is_busy);
            }
        }
    }

    /// Counts the step that began at this moment; returns the moment at which it ended.
    fn stepped(&mut self, begun: Moment) -> Moment {
        let (now, took) = self.timer.end(begun);
        self.datapath.stepped(took);
        now
    }

    fn carry_out(&mut self, command: WorkerCommand, now: Moment) {
        match command {
            WorkerCommand::Apply(ops, reply) => self.task = Some(Task::apply(ops, reply)),
            WorkerCommand::Resolve(answers) => self.task = Some(Task::resolve(answers)),
            WorkerCommand::Execute { frame, in_port, actions } => {
                self.datapath.execute(&frame, in_port, &actions, now);
            }
            WorkerCommand::Receive { port, frame, reply } => {
                reply.send(self.datapath.receive(port, &frame, now));
            }
            WorkerCommand::AddPort { id, port, reply } => {
                reply.send(self.datapath.add_port(id, port));
            }
            WorkerCommand::RemovePort { id, reply } => reply.send(self.datapath.remove_port(id)),
            WorkerCommand::Stats(parts) => self.readings.push_back(Task::stats(parts)),
            WorkerCommand::Dump(parts) => self.readings.push_back(Task::dump(parts)),
            WorkerCommand::Snapshot(reply) => reply.send(Box::new(self.datapath.snapshot())),
            // Handled by the loop itself.
            WorkerCommand::Stop => {}
        }
    }

    /// Sends upcalls to the client as long as the client has room.
    fn deliver(&mut self) {
        let limits = self.datapath.config().upcalls;
        loop {
            let (outstanding, queued) = self.datapath.upcalls_waiting();
            let room = limits.outstanding.saturating_sub(outstanding).min(limits.batch);
            // Upcalls without an id are not among the outstanding ones: the events bound them.
            if queued == 0 || room == 0 || self.unread.count() >= UNREAD {
                return;
            }
            // If nobody receives the events, the waiting packets time out.
            let mut batch = self.datapath.next_upcalls(room);
            for upcall in &mut batch {
                upcall.id = upcall.id.map(|id| id.of_worker(self.number));
            }
            if !batch.is_empty() {
                let _ = self.events.send(WorkerEvent::Upcalls(self.unread.batch(batch)));
            }
        }
    }

    /// Tells of each port that was added, was removed or changed.
    fn tell_ports(&mut self) {
        let worker = usize::from(self.number);
        let mut told = std::mem::take(&mut self.ports);
        for (id, port) in self.datapath.ports() {
            let told = told.remove(&id).filter(|told| told.is_of(port));
            let now = told.unwrap_or_else(|| {
                let now = SeenState::of(port);
                self.states.changed(worker, id, Some(now.clone()), &self.events);
                now
            });
            self.ports.insert(id, now);
        }
        for id in told.into_keys() {
            self.states.changed(worker, id, None, &self.events);
        }
    }

    /// Waits for a packet, a command or the next look at the ports.
    fn sleep(&mut self) {
        let has_to_poll = self.datapath.arm();
        self.wake.fall_asleep();
        if !self.inbox.is_empty() {
            return self.wake.wake_up();
        }
        let is_deaf = self.idle_wakes > IDLE_WAKES;
        let timeout = match self.datapath.upcalls_waiting() {
            _ if has_to_poll => POLLING,
            _ if is_deaf => DEAF,
            (_, queued) if queued > 0 => CLIENT,
            _ => CHECK,
        };
        let ports = if is_deaf { Vec::new() } else { self.datapath.readable() };
        let all = std::iter::once(self.wake.as_fd()).chain(ports);
        let mut all: Vec<PollFd<'_>> =
            all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
        // A poll that was interrupted or failed was a short sleep.
        let ready = rustix::event::poll(&mut all, Some(&timeout)).unwrap_or(0);
        let is_commanded = all.first().is_some_and(|fd| !fd.revents().is_empty());
        self.wake.wake_up();
        let for_something = ready == 0 || is_commanded;
        self.idle_wakes = if for_something { 0 } else { self.idle_wakes + 1 };
    }
}
