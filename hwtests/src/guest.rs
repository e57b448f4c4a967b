//! Helpers for lanes inside the virtual machine: commands, namespaces, modules, counters, frames.

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use flow::Clock;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

use crate::check::{Failure, Outcome, WithContext};

/// Runs a command line, split at spaces. Its standard output, or a failure with what it wrote.
pub(crate) fn run(line: &str) -> Outcome<String> {
    succeeded(line, &execute(line)?)
}

/// Runs a command line in a network namespace.
pub(crate) fn run_in(namespace: &str, line: &str) -> Outcome<String> {
    run(&format!("ip netns exec {namespace} {line}"))
}

/// Runs a command line that has to fail: returns what it wrote about that.
pub(crate) fn refused(line: &str) -> Outcome<String> {
    let output = execute(line)?;
    if output.status.success() {
        return Err(Failure::new(format!("`{line}` worked; it should be refused")));
    }
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Gives `tc` a batch: one process for many commands, each of which takes 0.1 s here by itself.
pub(crate) fn tc_batch(lines: &[String]) -> Outcome {
    let mut tc = Command::new("tc")
        .args(["-b", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting tc")?;
    if let Some(mut pipe) = tc.stdin.take() {
        let text = lines.join("\n") + "\n";
        pipe.write_all(text.as_bytes()).context("writing to tc")?;
    }
    let output = tc.wait_with_output().context("waiting for tc")?;
    succeeded(&format!("tc -b:\n{}\n", lines.join("\n")), &output).map(drop)
}

fn execute(line: &str) -> Outcome<Output> {
    let mut words = line.split_whitespace();
    let program = words.next().ok_or_else(|| Failure::new("an empty command line"))?;
    Command::new(program).args(words).output().context(format_args!("starting `{line}`"))
}

fn succeeded(line: &str, output: &Output) -> Outcome<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("`{line}`: {}\n{text}{errors}", output.status)))
}

/// Makes a network namespace without IPv6 and moves a netdev into it, up, with this IPv4 address.
pub(crate) fn namespace(name: &str, dev: &str, address: &str) -> Outcome {
    run(&format!("ip netns add {name}"))?;
    // A new namespace begins with IPv6 on whatever the first one has.
    run_in(
        name,
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
    )?;
    move_into(name, dev, address)
}

/// Moves a netdev into a network namespace, up, with this IPv4 address.
pub(crate) fn move_into(name: &str, dev: &str, address: &str) -> Outcome {
    run(&format!("ip link set {dev} netns {name}"))?;
    run(&format!("ip -n {name} addr add {address} dev {dev}"))?;
    run(&format!("ip -n {name} link set {dev} up")).map(drop)
}

/// Removes a network namespace and waits until a netdev that was moved into it is back.
pub(crate) fn remove_namespace(name: &str, dev: &str) -> Outcome {
    run(&format!("ip netns del {name}"))?;
    let path = format!("/sys/class/net/{dev}");
    wait_for(&format!("{dev} comes back from {name}"), Duration::from_secs(5), || {
        Ok(Path::new(&path).exists())
    })
}

/// Loads a module and what it depends on, with parameters as in `"swsim nvf=2"`.
pub(crate) fn load_module(words: &str) -> Outcome {
    run(&format!("modprobe {words}")).map(drop)
}

/// Turns IPv6 off for devices that come from now on: its neighbour discovery and listener reports
/// would be frames that no test sent.
pub(crate) fn no_ipv6() -> Outcome {
    for scope in ["all", "default"] {
        write(&format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    Ok(())
}

/// Reads a file of /sys or /proc, without the line's end.
pub(crate) fn read(path: &str) -> Outcome<String> {
    Ok(fs::read_to_string(path).context(path)?.trim_end().to_owned())
}

/// Writes a file of /sys or /proc.
pub(crate) fn write(path: &str, text: &str) -> Outcome {
    fs::write(path, text).context(path)
}

/// The names of all netdevs.
pub(crate) fn netdevs() -> Outcome<Vec<String>> {
    let path = "/sys/class/net";
    fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        })
        .context(path)
}

/// Packets that came up on a representor: of all that its port carries, what the CPU had.
pub(crate) fn came_up(dev: &str) -> Outcome<u64> {
    let text = run(&format!("ip -j stats show dev {dev} group offload subgroup cpu_hit"))?;
    let stats: serde_json::Value = serde_json::from_str(&text).context(&text)?;
    let packets = stats[0]["stats64"]["rx"]["packets"].as_u64();
    packets.ok_or_else(|| Failure::new(format!("no packets in {text}")))
}

/// Asks again until the answer is yes. A failure to ask ends it; so does the limit.
pub(crate) fn wait_for(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Outcome<bool>,
) -> Outcome {
    let began = Clock::start();
    while !ask()? {
        if began.elapsed() > limit {
            return Err(Failure::new(format!("{what}: not within {limit:?}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A raw socket on a netdev: what it sends is the whole frame.
pub(crate) struct RawSocket(OwnedFd);

impl RawSocket {
    pub(crate) fn open(dev: &str) -> Outcome<Self> {
        let address = getifaddrs()
            .context("listing interfaces")?
            .filter(|interface| interface.interface_name == dev)
            .find_map(|interface| interface.address?.as_link_addr().copied())
            .ok_or_else(|| Failure::new(format!("there is no netdev {dev}")))?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::EthAll;
        let fd = socket::socket(AddressFamily::Packet, SockType::Raw, flags, protocol)
            .context("opening a packet socket")?;
        socket::bind(fd.as_raw_fd(), &address).context(format_args!("binding to {dev}"))?;
        Ok(Self(fd))
    }

    pub(crate) fn send(&self, frame: &[u8]) -> Outcome {
        let sent = socket::send(self.0.as_raw_fd(), frame, MsgFlags::empty())
            .context("sending a frame")?;
        crate::check::equal("bytes sent", &sent, &frame.len())
    }
}
