//! The worker: a thread that owns a datapath, moves its packets, and takes commands.
//!
//! It polls its ports in bursts while there are packets, and sleeps on their descriptors when
//! there are none. Commands come through a channel and are carried out between bursts, in order;
//! those that concern many megaflows in short steps, a burst apart. Only readings of the table take
//! turns with the commands behind them.
//! Upcalls, in batches, and changes of ports go out as events. At most
//! [`crate::UpcallLimits::outstanding`] upcalls are with the client; the rest stay in
//! their bounded queues, so a slow client costs new flows, never memory. While the client is busy
//! the next batch grows.

mod command;
mod handle;
mod reply;
mod task;
#[cfg(test)]
mod tests;
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
use crate::upcall::QueuedUpcall;
use command::WorkerCommand;
use task::Task;
use wake::Wake;

pub use handle::{WorkerGone, WorkerHandle};
pub use reply::{Reply, ReplyParts};

/// A message from a worker that nobody asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkerEvent {
    /// Packets for the client: all that there are, up to [`crate::UpcallLimits::batch`]. An upcall
    /// with an id has to be resolved; without an id nothing waits for an answer.
    Upcalls(Vec<QueuedUpcall>),
    /// A port was added, or its state or trouble changed.
    Port {
        /// The port's number.
        id: PortId,
        /// The port's name.
        name: String,
        /// The port's state now.
        state: LinkState,
        /// Why the port does not work, or what else is wrong with it.
        trouble: Option<String>,
    },
    /// A port was removed.
    PortRemoved(PortId),
}

/// A running worker. The thread stops when the worker and all its handles are dropped.
pub struct Worker {
    handle: WorkerHandle,
    events: Receiver<WorkerEvent>,
    thread: JoinHandle<Datapath>,
}

/// Starts a thread for the datapath, on the given core if there is one. An error if the thread
/// can't be started or pinned to the core.
pub fn spawn(datapath: Datapath, clock: Clock, core: Option<usize>) -> io::Result<Worker> {
    let wake = Arc::new(Wake::new()?);
    let (commands, inbox) = unbounded();
    let (events, outbox) = unbounded();
    let (pinned, is_pinned) = unbounded();
    let state = Loop {
        datapath,
        timer: StepTimer::new(clock.clone()),
        clock,
        inbox,
        task: None,
        readings: VecDeque::new(),
        events,
        wake: wake.clone(),
        ports: BTreeMap::new(),
        checked_at: None,
        idle_wakes: 0,
    };
    let thread = Builder::new().name("megaflow-worker".into()).spawn(move || {
        let _ = pinned.send(pin(core));
        state.run()
    })?;
    is_pinned.recv().map_err(io::Error::other)??;
    Ok(Worker { handle: WorkerHandle::new(commands, wake), events: outbox, thread })
}

fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("workers: can't run on core {core}: {error}"))
    };
    if core >= CpuSet::MAX_CPU {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| failed(error.into()))
}

impl Worker {
    /// The handle by which any thread commands the worker.
    #[must_use]
    pub fn handle(&self) -> &WorkerHandle {
        &self.handle
    }

    /// The worker's events.
    #[must_use]
    pub fn events(&self) -> &Receiver<WorkerEvent> {
        &self.events
    }

    /// Stops the thread after the commands sent so far, readings apart, and gives the datapath
    /// back; `None` if the thread had panicked.
    #[must_use]
    pub fn stop(self) -> Option<Datapath> {
        let _ = self.handle.stop();
        self.thread.join().ok()
    }
}

/// The thread's own state.
struct Loop {
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
    wake: Arc<Wake>,
    /// The states and troubles of the ports that the last events told.
    ports: BTreeMap<PortId, (LinkState, Option<String>)>,
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
/// Events that the client has not read yet, beyond which upcalls wait for it.
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
            if queued == 0 || room == 0 || self.events.len() >= UNREAD {
                return;
            }
            // If nobody receives the events, the waiting packets time out.
            let batch = self.datapath.next_upcalls(room);
            if !batch.is_empty() {
                let _ = self.events.send(WorkerEvent::Upcalls(batch));
            }
        }
    }

    /// Sends an event for each port that was added, was removed or changed.
    fn tell_ports(&mut self) {
        let mut told = std::mem::take(&mut self.ports);
        for (id, port) in self.datapath.ports() {
            let (state, trouble) = (port.state(), port.trouble());
            let told = told.remove(&id).filter(|(s, t)| (*s, t.as_deref()) == (state, trouble));
            let now = told.unwrap_or_else(|| {
                let (name, trouble) = (port.name().into(), trouble.map(str::to_owned));
                let event = WorkerEvent::Port { id, name, state, trouble: trouble.clone() };
                let _ = self.events.send(event);
                (state, trouble)
            });
            self.ports.insert(id, now);
        }
        for id in told.into_keys() {
            let _ = self.events.send(WorkerEvent::PortRemoved(id));
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
