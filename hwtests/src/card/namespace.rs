//! A network namespace that lives as long as one thread: nothing is left behind, however the
//! process ends.

use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, getegid, geteuid, gettid};

use crate::check::{Context, Failure, Outcome};

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own; threads and processes that it starts are in there
/// too.
pub(super) struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    id: Pid,
}

impl Namespace {
    /// Makes one, with loopback up and without IPv6, whose neighbour discovery and listener
    /// reports would be frames that no test sent.
    pub(super) fn new(name: &str) -> Outcome<Namespace> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let entered = enter();
                let works = entered.is_ok();
                if ready.send(entered).is_ok() && works {
                    todo.into_iter().for_each(|job| job());
                }
            })
            .context("starting a namespace's thread")?;
        let id = is_ready.recv().context("a namespace's thread")??;
        Ok(Namespace { jobs: Some(jobs), thread: Some(thread), id })
    }

    /// A task in there: what `ip link set … netns` takes.
    pub(super) fn id(&self) -> Pid {
        self.id
    }

    /// Runs something in there and waits for its result.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        self.start(job)?.recv().context("a namespace's thread")?
    }

    /// Starts something in there; the result comes by the channel. One job at a time.
    pub(super) fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Outcome<T> + Send + 'static,
    ) -> Outcome<mpsc::Receiver<Outcome<T>>> {
        let (done, result) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may have stopped waiting: then nobody needs the result.
            let _ = done.send(job());
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| Failure::new("stopped"))?;
        jobs.send(job).map_err(|_| Failure::new("a namespace's thread ended"))?;
        Ok(result)
    }

    /// Runs a command line in there, as `guest::run` does.
    pub(super) fn command(&self, line: &str) -> Outcome<String> {
        let line = line.to_owned();
        self.run(move || crate::guest::run(&line))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A job that panicked has said so on stderr already.
            let _ = thread.join();
        }
    }
}

fn enter() -> Outcome<Pid> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    for which in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        // Where the kernel has no IPv6 there is nothing to turn off.
        let _ = std::fs::write(path, "1");
    }
    crate::guest::run("ip link set lo up")?;
    Ok(gettid())
}

/// In a user namespace of its own an unprivileged user may make network namespaces. Must be
/// called before the first thread is started.
pub(super) fn become_root_of_our_own() -> Outcome {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).context("making a user namespace, not being root")?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).context(path)?;
    }
    Ok(())
}
