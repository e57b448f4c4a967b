//! A thread that runs async code: the listeners are async, the rest of the daemon is not.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

/// How long the end waits for work on blocking threads.
const GRACE: Duration = Duration::from_millis(100);

/// The thread. Dropping it ends what runs there.
pub(crate) struct Background {
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Runs what `work` makes, until it is done or the value is dropped.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Background> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = work() => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(GRACE);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Background { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends it, now.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a listener's thread died");
        }
    }
}
