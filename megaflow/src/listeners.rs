//! What people and tools connect to: the control socket and the HTTP listener. Both run on a
//! small async runtime of their own, which no packet ever waits for.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::config::Http;
use crate::control::{Context, ControlServer, ControlSocket};
use crate::handle::Handle;
use crate::http::HttpServer;

/// How long [`Listeners::stop`] waits for work that a client asked for and nobody waits for any
/// more. Such work has no effect: the engine is gone.
const LAST_WORK: Duration = Duration::from_millis(500);

/// The running listeners; dropping them closes them and removes their files.
pub struct Listeners {
    runtime: tokio::runtime::Runtime,
    control: Option<ControlServer>,
    web: Option<HttpServer>,
}

/// The HTTP listener's address, taken. A client that connects waits until the listeners start.
pub struct HttpSocket {
    pub(crate) listener: TcpListener,
    /// Names that clients may use for this host, see [`Http::hosts`].
    pub(crate) hosts: Vec<String>,
}

impl HttpSocket {
    /// Takes the address.
    pub fn at(http: &Http) -> io::Result<HttpSocket> {
        let at = http.listen;
        let named = |e| io::Error::other(format!("[http] listen = \"{at}\": {e}"));
        Ok(HttpSocket {
            listener: TcpListener::bind(at).map_err(named)?,
            hosts: http.hosts.clone(),
        })
    }
}

impl Listeners {
    /// Starts the given listeners.
    pub fn start(
        context: &Context,
        control: Option<ControlSocket>,
        web: Option<HttpSocket>,
    ) -> io::Result<Listeners> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("listeners")
            .enable_all()
            .build()?;
        let (control, web) = runtime.block_on(async {
            let control = control
                .map(|socket| ControlServer::start(socket, context.clone()))
                .transpose()
                .map_err(io::Error::other)?;
            let web = web.map(|web| HttpServer::start(web, context.clone())).transpose()?;
            Ok::<_, io::Error>((control, web))
        })?;
        Ok(Listeners { runtime, control, web })
    }

    /// The address of the HTTP listener.
    #[must_use]
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(HttpServer::address)
    }

    /// Asks the engine to stop when SIGINT or SIGTERM comes. SIGHUP, which would kill the process
    /// and leave its files behind, changes nothing: a configuration can't be read again yet.
    pub fn exit_on_signals(&self, handle: &Handle) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = self.runtime.enter();
        let mut hangup = signal(SignalKind::hangup())?;
        self.runtime.spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::warn!("SIGHUP: the configuration is not read again: stop and start");
            }
        });
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signal = signal(kind)?;
            let handle = handle.clone();
            self.runtime.spawn(async move {
                while signal.recv().await.is_some() {
                    let handle = handle.clone();
                    // An error means that the engine is stopping already.
                    let ask = move || drop(handle.exit());
                    let _ = tokio::task::spawn_blocking(ask).await;
                }
            });
        }
        Ok(())
    }

    /// Lets the control socket send its last answers, then closes the listeners. Takes a bounded
    /// time, whatever a client does and however long its request takes.
    pub fn stop(self) {
        let Listeners { runtime, control, web } = self;
        runtime.block_on(async {
            if let Some(control) = control {
                control.stop().await;
            }
            drop(web);
        });
        runtime.shutdown_timeout(LAST_WORK);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use flow::Clock;

    use super::*;
    use crate::control::log::Log;
    use crate::handle::{Ask, StopFlag};

    /// A request that takes long holds a thread, and only the end of the request ends the thread.
    #[test]
    fn stopping_does_not_wait_for_a_request_that_takes_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (questions, engine) = crossbeam_channel::unbounded();
        let context = Context::new(Handle::new(questions, StopFlag::default()), Log::detached());
        let socket = ControlSocket::take(&path).unwrap();
        let listeners = Listeners::start(&context, Some(socket), None).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        let request = r#"{"id": 0, "method": "dpctl/dump-flows", "params": []}"#;
        client.write_all(request.as_bytes()).unwrap();
        // The engine takes the client's question and that of the rates, and answers neither.
        let questions: Vec<Ask> =
            (0..2).map(|_| engine.recv_timeout(Duration::from_secs(4)).unwrap()).collect();
        let clock = Clock::start();
        listeners.stop();
        assert!(clock.elapsed() < Duration::from_secs(5), "stopped after {:?}", clock.elapsed());
        drop(questions);
    }
}
