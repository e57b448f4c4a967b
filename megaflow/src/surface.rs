//! What people and tools connect to: the control socket and the HTTP listener. Both run on a
//! small async runtime of their own, which no packet ever waits for.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::Http;
use crate::control::{Context, Place, Server as Control};
use crate::handle::Handle;
use crate::http::Server as Web;

/// The running listeners; dropping them closes them and removes their files.
pub struct Surface {
    runtime: tokio::runtime::Runtime,
    control: Option<Control>,
    web: Option<Web>,
}

/// The HTTP listener's address, taken. A client that connects waits until the surface starts.
pub struct Listening {
    pub(crate) listener: TcpListener,
    /// Names that clients may use for this host, see [`Http::hosts`].
    pub(crate) hosts: Vec<String>,
}

impl Listening {
    /// Takes the address.
    pub fn at(http: &Http) -> io::Result<Listening> {
        let at = http.listen;
        let named = |e| io::Error::other(format!("[http] listen = \"{at}\": {e}"));
        Ok(Listening { listener: TcpListener::bind(at).map_err(named)?, hosts: http.hosts.clone() })
    }
}

impl Surface {
    /// Starts the given listeners.
    pub fn start(
        context: &Context,
        control: Option<Place>,
        web: Option<Listening>,
    ) -> io::Result<Surface> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("surface")
            .enable_all()
            .build()?;
        let (control, web) = runtime.block_on(async {
            let control = control
                .map(|place| Control::start(place, context.clone()))
                .transpose()
                .map_err(io::Error::other)?;
            let web = web.map(|web| Web::start(web, context.clone())).transpose()?;
            Ok::<_, io::Error>((control, web))
        })?;
        Ok(Surface { runtime, control, web })
    }

    /// The address of the HTTP listener.
    #[must_use]
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(Web::address)
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

    /// Waits until the control socket has sent its last answers, then closes the listeners.
    pub fn stop(self) {
        let Surface { runtime, control, web } = self;
        runtime.block_on(async {
            if let Some(control) = control {
                control.stop().await;
            }
            drop(web);
        });
    }
}
