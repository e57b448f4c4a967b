//! The card's process while a machine runs that has it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::card::READY;
use crate::check::{Failure, Outcome, WithContext};

/// Where a card's process listens.
#[derive(Clone)]
pub(super) struct Sockets {
    /// vfio-user.
    pub(super) device: PathBuf,
    /// Commands for the card and its hosts.
    pub(super) control: PathBuf,
}

/// A running `megaflow-hwtests card`; ended when dropped.
pub(super) struct CardProcess {
    child: Child,
    folder: PathBuf,
}

impl CardProcess {
    /// Starts it from this program's own file and waits until it listens.
    pub(super) fn start(own: &Path) -> Outcome<Self> {
        // Not in the lab: the path of a socket has 107 bytes at most.
        let folder = std::env::temp_dir().join(format!("megaflow-card-{}", std::process::id()));
        std::fs::create_dir_all(&folder).context(folder.display())?;
        let child = Command::new(own)
            .arg("card")
            .arg("--socket")
            .arg(folder.join("device"))
            .arg("--control")
            .arg(folder.join("control"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the card")?;
        let mut process = Self { child, folder };
        process.ready()?;
        Ok(process)
    }

    fn ready(&mut self) -> Outcome {
        let output = self.child.stdout.take().ok_or_else(|| Failure::new("no pipe"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("the card's output")?;
        if line.trim_end() == READY {
            return Ok(());
        }
        let status = self.child.wait().context("waiting for the card")?;
        Err(Failure::new(format!("the card does not start: {status}")))
    }

    pub(super) fn sockets(&self) -> Sockets {
        Sockets { device: self.folder.join("device"), control: self.folder.join("control") }
    }
}

impl Drop for CardProcess {
    fn drop(&mut self) {
        // A test may have ended it already; killing is for one that hangs.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
