//! One boot of QEMU: its command line, its console, its end.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use flow::Clock;

use super::card::Sockets;
use super::lab::Lab;
use crate::check::{Failure, Outcome, WithContext};

/// Untuned, the kernel takes 12 s to its init under emulation; with this 3 to 4.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr \
    cryptomgr.notests no_timer_check rcupdate.rcu_expedited=1 net.ifnames=0";

/// What the virtual machine is made of.
pub(super) struct Machine {
    pub(super) cpus: u32,
    pub(super) memory_mb: u32,
    /// A vfio-user server's: the machine then has an IOMMU, this PCI device, and the card's control
    /// as its second serial port.
    pub(super) card: Option<Sockets>,
}

impl Machine {
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let memory = format!("{}M", self.memory_mb);
        let mut machine = "q35".to_owned();
        if self.card.is_some() {
            // The server maps the guest's memory: without share=on its DMA silently does nothing.
            words.push("-object".into());
            words.push(format!("memory-backend-memfd,id=mem,size={memory},share=on"));
            machine.push_str(",kernel-irqchip=split,memory-backend=mem");
        }
        let cpus = self.cpus.to_string();
        for word in ["-machine", &machine, "-accel", "tcg,thread=multi", "-cpu", "max"] {
            words.push(word.into());
        }
        words.extend(["-smp".into(), cpus, "-m".into(), memory]);
        if let Some(card) = &self.card {
            // The IOMMU comes before the device; without caching-mode QEMU refuses to pass it on.
            words.extend(["-device".into(), "intel-iommu,intremap=on,caching-mode=on".into()]);
            let path = card.device.display();
            words.push("-device".into());
            words.push(format!(
                r#"{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{path}"}}}}"#
            ));
        }
        words
    }

    /// The serial ports: the console, and behind it the card's control.
    fn serial_ports(&self) -> Vec<String> {
        let mut words: Vec<String> = vec!["-serial".into(), "stdio".into()];
        if let Some(card) = &self.card {
            let path = card.control.display();
            words.extend(["-chardev".into(), format!("socket,id=control,path={path}")]);
            words.extend(["-serial".into(), "chardev:control".into()]);
        }
        words
    }
}

/// One boot.
pub(super) struct Vm<'a> {
    pub(super) lab: &'a Lab,
    pub(super) machine: Machine,
    pub(super) initrd: &'a Path,
    /// The console goes here, each line with its time since the start.
    pub(super) log: &'a Path,
    pub(super) limit: Duration,
}

impl Vm<'_> {
    /// Boots, calls `on_line` with each line of the console, and waits for the end or the limit.
    pub(super) fn run(&self, mut on_line: impl FnMut(&str)) -> Outcome<BootEnd> {
        let mut log = File::create(self.log).context(self.log.display())?;
        let began = Clock::start();
        let mut qemu = Qemu::start(self)?;
        loop {
            let left = self.limit.saturating_sub(began.elapsed());
            match qemu.lines.recv_timeout(left) {
                Ok(line) => {
                    let at = began.elapsed().as_secs_f64();
                    writeln!(log, "{at:8.3} {line}").context(self.log.display())?;
                    on_line(&line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Ok(BootEnd { value: None, cause: Cause::Limit(self.limit) });
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = qemu.child.wait().context("waiting for QEMU")?;
        Ok(BootEnd::of(status))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.lab.qemu());
        let iommu = if self.machine.card.is_some() { " intel_iommu=on" } else { "" };
        command
            .args(self.machine.arguments())
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(self.machine.serial_ports())
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
            .arg("-kernel")
            .arg(self.lab.kernel())
            .arg("-initrd")
            .arg(self.initrd)
            .arg("-append")
            .arg(format!("{KERNEL_COMMAND_LINE}{iommu}"));
        command
    }
}

/// How a boot ended.
pub(super) struct BootEnd {
    /// What the guest handed over through isa-debug-exit.
    pub(super) value: Option<u8>,
    cause: Cause,
}

enum Cause {
    Limit(Duration),
    Exit(ExitStatus),
}

impl BootEnd {
    /// isa-debug-exit ends QEMU with (value << 1) | 1.
    fn of(status: ExitStatus) -> Self {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let value = code.filter(|code| code & 1 == 1).map(|code| code >> 1);
        Self { value, cause: Cause::Exit(status) }
    }
}

impl fmt::Display for BootEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cause, self.value) {
            (Cause::Limit(limit), _) => write!(f, "stopped at the limit of {} s", limit.as_secs()),
            (Cause::Exit(status), None) => write!(f, "no value from the guest: QEMU: {status}"),
            (Cause::Exit(_), Some(0)) => write!(f, "QEMU did not start the guest, see the log"),
            (Cause::Exit(_), Some(value)) => write!(f, "the guest ended with {value}"),
        }
    }
}

/// A running QEMU; killed when dropped.
struct Qemu {
    child: Child,
    lines: Receiver<String>,
}

impl Qemu {
    fn start(vm: &Vm<'_>) -> Outcome<Self> {
        let mut child = vm
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(vm.lab.qemu().display())?;
        let (sender, lines) = mpsc::channel();
        let (Some(console), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::new("QEMU has no pipes"));
        };
        forward(console, "", sender.clone());
        forward(errors, "qemu: ", sender);
        Ok(Self { child, lines })
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Fails only where it has ended by itself, and then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a pipe's lines until its end. The channel closes with the last of the pipes.
fn forward(pipe: impl Read + Send + 'static, prefix: &'static str, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line);
            if to.send(format!("{prefix}{}", line.trim_end())).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_comes_with_shared_memory_and_an_iommu_before_it() {
        let card = Some(Sockets { device: "/run/card.sock".into(), control: "/run/c".into() });
        let text = Machine { cpus: 2, memory_mb: 512, card }.arguments().join(" ");
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}"));
        place("memory-backend-memfd,id=mem,size=512M,share=on");
        place("memory-backend=mem");
        place("caching-mode=on");
        assert!(place("intel-iommu") < place("vfio-user-pci"));
        place(r#""path":"/run/card.sock""#);
        let plain = Machine { cpus: 1, memory_mb: 512, card: None }.arguments().join(" ");
        assert!(!plain.contains("iommu") && !plain.contains("share"));
    }

    #[test]
    fn only_an_odd_exit_code_carries_a_value() {
        use std::os::unix::process::ExitStatusExt;
        let end = |code: i32| BootEnd::of(ExitStatus::from_raw(code << 8));
        assert_eq!(end(85).value, Some(42));
        assert_eq!(end(0).value, None);
        assert_eq!(end(1).value, Some(0));
        assert!(end(1).to_string().contains("did not start"));
    }

    /// Runs a shell script in QEMU's place.
    fn run_script(script: &str, limit: Duration) -> (BootEnd, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::at(dir.path());
        let text = dir.path().join("script");
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // Not written here: a child that another test starts at that moment would hold it open
        // for writing, and what is open for writing can't be executed.
        let install =
            Command::new("install").args(["-m", "755"]).arg(text).arg(lab.qemu()).status();
        assert!(install.unwrap().success());
        let machine = Machine { cpus: 1, memory_mb: 64, card: None };
        let log = dir.path().join("log");
        let vm = Vm { lab: &lab, machine, initrd: Path::new("/dev/null"), log: &log, limit };
        let mut lines = Vec::new();
        let end = vm.run(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), lines.len());
        (end, lines)
    }

    #[test]
    fn the_console_is_read_to_its_end_and_the_value_taken() {
        let script = "echo one; printf 'two\\r\\n'; echo three >&2; exit 85";
        let (end, mut lines) = run_script(script, Duration::from_secs(10));
        lines.sort();
        assert_eq!(lines, ["one", "qemu: three", "two"]);
        assert_eq!(end.value, Some(42));
    }

    #[test]
    fn a_guest_that_hangs_is_stopped_at_the_limit() {
        let began = Clock::start();
        let (end, lines) = run_script("echo up; exec sleep 60", Duration::from_millis(300));
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(lines, ["up"]);
        assert_eq!(end.value, None);
        assert!(end.to_string().contains("limit"), "{end}");
    }
}
