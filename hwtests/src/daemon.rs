//! The daemon in the virtual machine: started, asked, stopped and killed as an operator would.

use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flow::Clock;
use megaflow::control::view::{Explained, Flow, ShownState};
use serde_json::Value;

use crate::check::{Failure, Outcome, WithContext, equal};
use crate::guest;

/// Where the daemon's control socket is unless the configuration says otherwise.
const FOLDER: &str = "/run/megaflow";
const SOCKET: &str = "/run/megaflow/megaflow.ctl";
const CONFIG: &str = "/run/megaflow-test.toml";
const LOG: &str = "/run/megaflow-test.log";
/// Under emulation, with a driver probed over netlink.
const START: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(15);

/// A running `megaflow run`; killed when dropped, as after a check that failed.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it on a configuration and waits until it answers.
    pub(crate) fn start(config: &str) -> Outcome<Daemon> {
        fs::write(CONFIG, config).context(CONFIG)?;
        let log = File::create(LOG).context(LOG)?;
        let child = Command::new("megaflow")
            .args(["run", "--config", CONFIG])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting megaflow")?;
        let mut daemon = Daemon { child };
        let began = Clock::start();
        while daemon.ask("version", &[]).is_err() {
            if let Some(status) = daemon.child.try_wait().context("waiting for megaflow")? {
                return Err(Failure::new(format!("megaflow run: {status}\n{}", log_text())));
            }
            if began.elapsed() > START {
                return Err(Failure::new(format!("megaflow run: no answer\n{}", log_text())));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }

    /// `megaflow ctl METHOD PARAM…`: what it prints, or a failure with what it says.
    pub(crate) fn ctl(&self, method: &str, params: &[&str]) -> Outcome<String> {
        let output = Command::new("megaflow")
            .args(["ctl", method])
            .args(params)
            .output()
            .context("starting megaflow ctl")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("megaflow ctl {method}: {}: {text}", output.status)))
    }

    /// The same without a process: for what is asked again and again.
    pub(crate) fn ask(&self, method: &str, params: &[&str]) -> Outcome<String> {
        let mut stream = UnixStream::connect(SOCKET).context(SOCKET)?;
        stream.set_read_timeout(Some(ANSWER)).context(SOCKET)?;
        let request = serde_json::json!({"id": 0, "method": method, "params": params});
        stream.write_all(request.to_string().as_bytes()).context(SOCKET)?;
        let reader = BufReader::new(stream);
        let mut replies = serde_json::Deserializer::from_reader(reader).into_iter::<Value>();
        let reply = replies.next().ok_or_else(|| Failure::new("the daemon hung up"))?;
        let reply = reply.context(method)?;
        match reply["error"].as_str() {
            Some(error) => Err(Failure::new(format!("{method}: {error}"))),
            None => Ok(reply["result"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// All megaflows, by ufid.
    pub(crate) fn flows(&self) -> Outcome<Vec<Flow>> {
        serde_json::from_str(&self.ask("offload/flows", &[])?).context("offload/flows")
    }

    /// The state in numbers.
    pub(crate) fn state(&self) -> Outcome<ShownState> {
        serde_json::from_str(&self.ask("offload/status", &[])?).context("offload/status")
    }

    /// Where a megaflow lives, and what the provider says of it.
    pub(crate) fn explain(&self, flow: &str) -> Outcome<Explained> {
        let text = self.ask("offload/explain", &["--json", flow])?;
        serde_json::from_str(&text).context("offload/explain")
    }

    /// Told to stop: it has to end with 0 and to leave no file.
    pub(crate) fn exit(&mut self) -> Outcome {
        self.ctl("exit", &[])?;
        let status = self.child.wait().context("waiting for megaflow")?;
        equal("the daemon's status", &status.code(), &Some(0))?;
        // A killed one before it may have made the folder, which then is nobody's.
        let left: Vec<_> = match fs::read_dir(FOLDER) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
            Err(_) => Vec::new(),
        };
        equal("files left", &left, &vec![])
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child.kill().context("killing megaflow")?;
        self.child.wait().context("waiting for megaflow").map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, except after a check that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the last daemon wrote.
pub(crate) fn log_text() -> String {
    guest::read(LOG).unwrap_or_else(|failure| failure.to_string())
}

/// For what an operator would look at after a failure: nothing if no daemon answers.
pub(crate) fn evidence() -> String {
    let ask = |line: &str| guest::run(line).unwrap_or_else(|failure| failure.to_string());
    let mut text = String::new();
    for line in ["megaflow flows", "megaflow ctl offload/show"] {
        text += &format!("{line}:\n{}\n", ask(line));
    }
    text + "the daemon's log:\n" + &log_text()
}
