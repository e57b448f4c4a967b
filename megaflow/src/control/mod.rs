//! The control socket: the protocol of `ovs-appctl`.
//!
//! JSON-RPC 1.0 objects follow one another without framing on a Unix stream socket of mode 0600.
//! Each client is a task of its own, and its requests are carried out on a blocking thread. A
//! slow client or a slow answer therefore stalls no other client. `address` owns the files,
//! `client` serves one connection, `methods` has the methods.

mod address;
pub mod balance;
mod client;
mod count;
mod error;
pub mod filter;
mod format;
mod framing;
pub mod log;
pub mod methods;
mod pidfile;
pub(crate) mod plan;
mod rates;
pub mod render;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod view;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flow::{Clock, Moment};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::MissedTickBehavior;

pub use error::StartError;

use crate::handle::Handle;
use address::SocketFiles;
use log::Log;
use rates::Rates;

/// At most this number of clients is served at once. When one more comes, the idle client that
/// has waited longest is sent away, or, if all are busy, the one that has been busy longest.
const CLIENTS: usize = 128;
/// How long `stop` waits for replies that are on their way.
const GRACE: Duration = Duration::from_secs(2);

/// Everything that methods work with.
#[derive(Clone)]
pub struct Context {
    /// The handle to the engine.
    pub handle: Handle,
    /// The levels of the log.
    pub log: Log,
    /// The rates of events. A running [`ControlServer`] keeps them up to date.
    pub rates: Rates,
    /// Whoever makes a page of megaflows has one of these permits.
    pub(crate) pages: Arc<Semaphore>,
    /// Whoever audits has this lock.
    audit: Arc<Mutex<()>>,
}

impl Context {
    /// Makes a context in which no event has happened yet.
    #[must_use]
    pub fn new(handle: Handle, log: Log) -> Context {
        Context {
            handle,
            log,
            rates: Rates::default(),
            pages: Arc::new(Semaphore::new(methods::PAGES_AT_ONCE)),
            audit: Arc::default(),
        }
    }
}

/// Runs work that makes pages of megaflows on a thread that may block, in its turn.
pub(crate) async fn paging<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Context) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    // The semaphore is never closed.
    let permit = context.pages.clone().acquire_owned().await;
    let context = context.clone();
    let work = move || {
        let _permit = permit;
        work(&context)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| format!("internal error: {error}"))?
}

/// The control socket, taken so that no other process can have it. Clients may connect now and
/// are served once there is a [`ControlServer`]. Dropping the socket gives it up and removes its
/// files.
pub struct ControlSocket {
    address: SocketFiles,
    listener: std::os::unix::net::UnixListener,
}

impl ControlSocket {
    /// Takes the socket. A stale socket of a process that was killed is removed; a live socket is
    /// an error.
    pub fn take(socket: &Path) -> Result<ControlSocket, StartError> {
        let (address, listener) = SocketFiles::take(socket)?;
        let fault = |error| StartError::new(socket, "can't be served", error);
        listener.set_nonblocking(true).map_err(fault)?;
        Ok(ControlSocket { address, listener })
    }
}

/// A running control socket. Dropping it closes the socket and removes its files.
pub struct ControlServer {
    address: SocketFiles,
    accepting: JoinHandle<()>,
    sampling: JoinHandle<()>,
    clients: Clients,
}

impl ControlServer {
    /// Starts to answer clients at the socket. Needs a tokio runtime around it.
    pub fn start(socket: ControlSocket, context: Context) -> Result<ControlServer, StartError> {
        let ControlSocket { address, listener } = socket;
        let fault = |error| StartError::new(address.bound(), "can't be served", error);
        let listener = UnixListener::from_std(listener).map_err(fault)?;
        let clients = Clients { table: Arc::default(), clock: Clock::start() };
        let context = Arc::new(context);
        let sampling = tokio::spawn(sample(context.clone()));
        let accepting = tokio::spawn(accept(listener, context, clients.clone()));
        Ok(ControlServer { address, accepting, sampling, clients })
    }

    /// The path that the socket is bound to: `NAME.<pid>.ctl` beside the configured socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.address.bound()
    }

    /// Takes no new clients, lets replies that are on their way go out, and closes.
    pub async fn stop(self) {
        self.accepting.abort();
        self.sampling.abort();
        let clock = Clock::start();
        while self.clients.lock().values().any(|client| client.busy) && clock.elapsed() < GRACE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.sampling.abort();
        self.clients.lock().values().for_each(|client| client.task.abort());
    }
}

/// Reads the events' counters for their rates. If the engine does not answer, it is asked again
/// in the next slot; the counters still include what happened meanwhile.
async fn sample(context: Arc<Context>) {
    let clock = Clock::start();
    let mut slots = tokio::time::interval(rates::SLOT);
    slots.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        slots.tick().await;
        let (context, clock) = (context.clone(), clock.clone());
        let read = move || methods::sample(&context, clock.elapsed());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(read).await {
            tracing::debug!(error, "the events' counters can't be read");
        }
    }
}

async fn accept(listener: UnixListener, context: Arc<Context>, clients: Clients) {
    for number in 0_u64.. {
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.make_room();
                let presence = Presence { clients: clients.clone(), number };
                // The lock is held over the spawn and the insert, so that the task finds its
                // entry when it begins and when it ends.
                let mut table = clients.lock();
                let task = tokio::spawn(client::serve(stream, context.clone(), presence));
                let task = task.abort_handle();
                table.insert(number, Client { task, since: clients.clock.now(), busy: false });
            }
            // The process is out of file descriptors; clients that leave will free some.
            Err(error) => {
                let error = crate::limits::explained(&error);
                tracing::warn!(error, "the control socket can't take a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The clients that are connected.
#[derive(Clone)]
struct Clients {
    table: Arc<Mutex<HashMap<u64, Client>>>,
    clock: Clock,
}

struct Client {
    task: AbortHandle,
    /// The time at which the client began to wait or to work.
    since: Moment,
    /// True if a request of the client is being carried out or answered.
    busy: bool,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self) {
        let mut clients = self.lock();
        if clients.len() >= CLIENTS {
            let waiting = clients.iter().min_by_key(|(_, client)| (client.busy, client.since));
            let number = waiting.map(|(number, _)| *number);
            if let Some(client) = number.and_then(|number| clients.remove(&number)) {
                client.task.abort();
            }
        }
    }
}

/// A client's entry in the table. Dropping the value removes the entry.
struct Presence {
    clients: Clients,
    number: u64,
}

impl Presence {
    fn set_busy(&self, busy: bool) {
        let now = self.clients.clock.now();
        if let Some(client) = self.clients.lock().get_mut(&self.number) {
            client.busy = busy;
            client.since = now;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.number);
    }
}
