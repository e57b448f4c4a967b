//! The connection to a running daemon, for the commands that are its clients.

use std::io::{BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::outcome::CommandFailure;

/// The daemon that a command talks to.
#[derive(clap::Args)]
pub(super) struct DaemonSocket {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = "/run/megaflow/megaflow.ctl")]
    socket: PathBuf,
    /// Longest wait for an answer.
    #[arg(skip = PATIENCE)]
    patience: Duration,
}

/// Longest wait for the daemon's answer; the daemon itself waits 10 s for its engine.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Reply {
    result: Option<String>,
    error: Option<String>,
}

impl DaemonSocket {
    /// Returns the daemon at this socket, to be waited for as long.
    pub(super) fn at(socket: PathBuf, patience: Duration) -> DaemonSocket {
        DaemonSocket { socket, patience }
    }

    /// Calls a method and returns its answer as text. An error that the method returns counts as
    /// wrong input; a daemon that does not answer counts as a failed job.
    pub(super) fn call(&self, method: &str, params: &[&str]) -> Result<String, CommandFailure> {
        let socket = self.socket.display();
        let lost = |error: std::io::Error| {
            CommandFailure::Job(match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
                    "no daemon answers at {socket}: start one (megaflow run) or name its socket \
                 (--socket PATH)"
                ),
                _ => format!("{socket}: {error}"),
            })
        };
        let mut stream = UnixStream::connect(&self.socket).map_err(lost)?;
        stream.set_read_timeout(Some(self.patience)).map_err(lost)?;
        stream.set_write_timeout(Some(self.patience)).map_err(lost)?;
        let request = json!({"id": 0, "method": method, "params": params}).to_string();
        stream.write_all(request.as_bytes()).map_err(lost)?;
        let mut replies =
            serde_json::Deserializer::from_reader(BufReader::new(stream)).into_iter::<Reply>();
        match replies.next() {
            Some(Ok(Reply { error: Some(error), .. })) => Err(CommandFailure::Input(error)),
            Some(Ok(Reply { result: Some(text), .. })) => Ok(text),
            Some(Err(error)) if error.is_io() => Err(lost(error.into())),
            Some(Err(error)) => Err(CommandFailure::Job(format!("{socket}: no reply: {error}"))),
            Some(Ok(_)) | None => Err(CommandFailure::Job(format!("{socket}: the daemon hung up"))),
        }
    }

    /// Calls a method and returns its answer, parsed from JSON.
    pub(super) fn data<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &[&str],
    ) -> Result<T, CommandFailure> {
        let text = self.call(method, params)?;
        serde_json::from_str(&text)
            .map_err(|error| CommandFailure::Job(format!("{method}: the daemon's answer: {error}")))
    }
}
