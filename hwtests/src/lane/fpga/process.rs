//! `megaflow run` as a process, and its control socket.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use megaflow::control::view::{Flow, State};
use serde_json::{Value, json};

use crate::check::{Context, Failure, Outcome, equal};
use crate::guest;

/// The example of the documentation; the card's address is put in.
const EXAMPLE: &str = include_str!("../../../../docs/examples/card.toml");
const EXAMPLE_ADDRESS: &str = "0000:00:03.0";
/// Two ports of the guest's own besides the card's wires.
const SYSTEM_PORTS: &str = r#"
[[port]]
name = "sp0"
type = "system"
device = "sp0"

[[port]]
name = "sp1"
type = "system"
device = "sp1"
"#;

const CONFIG: &str = "/run/card.toml";
const SOCKET: &str = "/run/megaflow/megaflow.ctl";
pub(super) const LOG: &str = "/run/daemon.log";

/// For what should take no time, in a slow machine.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// A running `megaflow run`; killed when dropped.
pub(super) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it and waits until it answers.
    pub(super) fn start() -> Outcome<Daemon> {
        let config = EXAMPLE.replace(EXAMPLE_ADDRESS, &super::card()?) + SYSTEM_PORTS;
        guest::write(CONFIG, &config)?;
        let log = File::options().create(true).append(true).open(LOG).context(LOG)?;
        let errors = log.try_clone().context(LOG)?;
        let child = Command::new("megaflow")
            .args(["run", "--config", CONFIG])
            .stdout(log)
            .stderr(errors)
            .spawn()
            .context("starting megaflow")?;
        let mut daemon = Daemon { child };
        guest::wait_for("the daemon answers", SOON, || match daemon.ended()? {
            Some(status) => Err(Failure::new(format!("the daemon ended: {status}"))),
            None => Ok(daemon.ask("version", &[]).is_ok()),
        })?;
        Ok(daemon)
    }

    fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        self.child.try_wait().context("the daemon's process")
    }

    /// What a method of the control socket answers.
    pub(super) fn ask(&self, method: &str, params: &[&str]) -> Outcome<String> {
        let what = format!("{method} {}", params.join(" "));
        let mut stream = UnixStream::connect(SOCKET).context(&what)?;
        stream.set_read_timeout(Some(SOON)).context(&what)?;
        let request = json!({ "id": 0, "method": method, "params": params });
        serde_json::to_writer(&mut stream, &request).context(&what)?;
        let reply = serde_json::Deserializer::from_reader(&stream).into_iter::<Value>().next();
        let reply = reply.ok_or_else(|| Failure::new(format!("{what}: hung up")))?;
        let reply = reply.context(&what)?;
        match reply["result"].as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Failure::new(format!("{what}: {}", reply["error"]))),
        }
    }

    pub(super) fn flows(&self) -> Outcome<Vec<Flow>> {
        serde_json::from_str(&self.ask("offload/flows", &[])?).context("offload/flows")
    }

    pub(super) fn state(&self) -> Outcome<State> {
        serde_json::from_str(&self.ask("offload/status", &[])?).context("offload/status")
    }

    /// The megaflows of IPv4 packets that come in by one wire and leave by the other. Fails unless
    /// there are exactly `count` of them.
    pub(super) fn between_wires(&self, count: usize) -> Outcome<Vec<Flow>> {
        let mut flows = self.flows()?;
        flows.retain(|flow| {
            let way = |from: u8, to: &str| {
                flow.matching.contains(&format!("in_port({from})")) && flow.actions == to
            };
            flow.matching.contains("eth_type(0x0800)") && (way(1, "2") || way(2, "1"))
        });
        equal("megaflows between the wires", &flows.len(), &count)?;
        Ok(flows)
    }

    /// Tells it to end; it has to, soon, with status 0, and take its socket away.
    pub(super) fn exit(&mut self) -> Outcome {
        self.ask("exit", &[])?;
        let mut status = None;
        guest::wait_for("the daemon ends", SOON, || {
            status = self.ended()?;
            Ok(status.is_some())
        })?;
        let code = status.and_then(|status| status.code());
        equal("the daemon's exit status", &code, &Some(0))?;
        equal("its socket is there", &Path::new(SOCKET).exists(), &false)
    }

    pub(super) fn kill(&mut self) -> Outcome {
        self.child.kill().context("killing the daemon")?;
        self.child.wait().context("the daemon's process").map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
