//! Network namespaces for one test: the datapath's own, and one per host.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use flow::{Action, Blocking, Clock, Generation, Key, Mask, Match, Megaflow, Op};
use hostdp::Datapath;
use nix::sched::{CloneFlags, unshare};

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Runs `ip` in the namespace of the calling thread.
#[track_caller]
pub(crate) fn ip(arguments: &str) {
    let out = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "ip {arguments}: {error}");
}

/// The number of an interface in the namespace of the calling thread.
pub(crate) fn index(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// Tries until it works: links and routes need a moment.
pub(crate) fn retry<T, E: std::fmt::Debug>(mut what: impl FnMut() -> Result<T, E>) -> T {
    let clock = Clock::start();
    loop {
        match what() {
            Ok(value) => return value,
            Err(error) if clock.elapsed() > PATIENCE => panic!("{error:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// That namespaces may be made.
pub(crate) struct Stage(());

impl Stage {
    /// `None`, with the reason printed, where they may not and that is accepted.
    pub(crate) fn new() -> Option<Stage> {
        let allowed = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().unwrap();
        let Err(error) = allowed else { return Some(Stage(())) };
        let text = format!("network namespaces are not permitted here: {error}");
        assert!(std::env::var_os("MEGAFLOW_UNPRIVILEGED").is_some(), "{text}");
        println!("skipped: {text}");
        None
    }

    /// Runs a test in a new namespace.
    pub(crate) fn run(&self, test: impl FnOnce(&Stage) + Send) {
        std::thread::scope(|scope| {
            let test = scope.spawn(|| {
                enter_new();
                test(self);
            });
            if let Err(panic) = test.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// A host in a namespace of its own, whose `eth0` is the other end of `port` here.
    pub(crate) fn host(&self, port: &str, address: &str) -> Host {
        let host = Host::new();
        ip(&format!("link add {port} type veth peer name eth0 netns {}", host.thread_id));
        // No kernel of the datapath's side takes part.
        ip(&format!("link set {port} addrgenmode none"));
        ip(&format!("link set {port} up"));
        let address = address.to_owned();
        host.run(move || {
            ip(&format!("addr add {address}/24 dev eth0"));
            ip("link set eth0 up");
        })
        .join();
        host
    }
}

fn enter_new() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up");
}

type Job = Box<dyn FnOnce() + Send>;

/// A namespace, held by a thread that starts others in it.
pub(crate) struct Host {
    pub(crate) thread_id: i32,
    jobs: Sender<Job>,
}

/// Something that runs on a host.
pub(crate) struct Running<T>(JoinHandle<T>);

impl<T: Send + 'static> Running<T> {
    /// Starts something in the namespace of the calling thread.
    pub(crate) fn start(what: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        Running(std::thread::spawn(what))
    }
}

impl<T> Running<T> {
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    pub(crate) fn join(self) -> T {
        self.0.join().unwrap()
    }
}

impl Host {
    fn new() -> Host {
        let (jobs, inbox) = channel::<Job>();
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            enter_new();
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        Host { thread_id: is_ready.recv().unwrap(), jobs }
    }

    /// Starts something on the host: threads inherit the namespace of their parent.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        what: impl FnOnce() -> T + Send + 'static,
    ) -> Running<T> {
        let (started, handle) = channel();
        let job = move || started.send(Running::start(what)).unwrap();
        self.jobs.send(Box::new(job)).unwrap();
        handle.recv().unwrap()
    }
}

/// Forwards until it is done.
pub(crate) fn until(datapath: &mut Datapath, is_done: impl Fn() -> bool) {
    let clock = Clock::start();
    let mut checked = clock.now();
    while !is_done() {
        assert!(
            clock.elapsed() < PATIENCE,
            "not done within {PATIENCE:?}: {:#?}",
            datapath.snapshot()
        );
        let now = clock.now();
        if now.since(checked) > Duration::from_millis(200) {
            datapath.check(now);
            checked = now;
        }
        if datapath.poll(now) == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

pub(crate) fn megaflow(port: u32, key: Key, mask: Mask, actions: &[Action]) -> Arc<Megaflow> {
    let key = Key { in_port: port, ..key };
    Arc::new(Megaflow::new(Match::new(&key, &mask), actions))
}

pub(crate) fn install(datapath: &mut Datapath, flow: &Arc<Megaflow>) {
    let mut done = Vec::new();
    let op = Op::Install { flow: flow.clone(), generation: Generation(1) };
    datapath.table().apply(&[op], &mut done);
    done.remove(0).result.unwrap();
}
