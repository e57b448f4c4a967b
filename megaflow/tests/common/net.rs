//! Network namespaces, and hosts that talk from them over ordinary sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Output};

use nix::sched::{CloneFlags, setns, unshare};

use super::{PATIENCE, tool};

/// A network namespace. It disappears with this value.
pub(crate) struct Namespace(File);

impl Namespace {
    /// Makes a namespace with loopback up. Without IPv6, nothing in the namespace sends packets
    /// unasked.
    pub(crate) fn new(ipv6: bool) -> Namespace {
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces (run the test as root)");
            if !ipv6 {
                for which in ["all", "default"] {
                    let file = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
                    std::fs::write(file, "1").unwrap();
                }
            }
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Namespace(made.join().expect("the namespace was made"));
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs a job in the namespace. Threads and processes that the job starts are in the same
    /// namespace.
    pub(crate) fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = || {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                job()
            };
            match scope.spawn(inside).join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs `ip` in the namespace with words separated by spaces, and returns its output.
    #[track_caller]
    pub(crate) fn ip(&self, words: &str) -> String {
        self.tool(Command::new("ip").args(words.split_whitespace()), "iproute2")
    }

    /// Runs a tool in the namespace. It has to succeed.
    #[track_caller]
    pub(crate) fn tool(&self, command: &mut Command, package: &str) -> String {
        let output = self.run(|| tool(command, package));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A path under which `ip` finds the namespace.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Everything that a program could have left behind in the namespace: links, addresses,
    /// queueing disciplines.
    pub(crate) fn inventory(&self) -> String {
        let tc = self.tool(Command::new("tc").args(["qdisc", "show"]), "iproute2");
        let links = self.ip("-o link show");
        let links = links.lines().filter_map(|line| line.split(": ").nth(1));
        links.collect::<Vec<_>>().join("\n") + "\n" + &self.ip("-o -4 addr show") + &tc
    }

    /// Sends a few echo requests and fails if there is no answer at all.
    #[track_caller]
    pub(crate) fn ping(&self, to: &str) {
        let output = self.try_ping(to);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "ping {to}: {said}");
    }

    /// Sends a few echo requests; it may fail.
    pub(crate) fn try_ping(&self, to: &str) -> Output {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-q", "-c", "3", "-i", "0.1", "-W", "5", to]);
        self.run(|| tool(&mut ping, "iputils-ping"))
    }
}

/// Two hosts, `left` and `right`, on cables to a third namespace where the daemon runs.
pub(crate) struct Lan {
    pub(crate) switch: Namespace,
    pub(crate) left: Namespace,
    pub(crate) right: Namespace,
}

/// Address of the left host.
pub(crate) const LEFT: &str = "10.78.0.1";
/// Address of the right host.
pub(crate) const RIGHT: &str = "10.78.0.2";

impl Lan {
    /// The cables' ends at the switch are called `mf-a` and `mf-b`, as in `docs/how-to/run.md`;
    /// the hosts' ends are called `eth0`.
    pub(crate) fn new(ipv6: bool) -> Lan {
        let [switch, left, right] = [false, ipv6, ipv6].map(Namespace::new);
        let lan = Lan { switch, left, right };
        lan.plug_left();
        lan.plug_right();
        lan
    }

    fn plug_left(&self) {
        self.plug("mf-a", &self.left, LEFT, "02:4d:46:00:00:01");
    }

    /// Makes the cable of the right host with its addresses, at first or after the cable was
    /// deleted.
    pub(crate) fn plug_right(&self) {
        self.plug("mf-b", &self.right, RIGHT, "02:4d:46:00:00:02");
    }

    /// Deletes the cable of the right host and at once makes another one with the same number.
    pub(crate) fn replace_right(&self) {
        let number = &self.link("mf-b")["ifindex"];
        self.switch.ip("link del mf-b");
        self.plug(&format!("mf-b index {number}"), &self.right, RIGHT, "02:4d:46:00:00:02");
    }

    /// An interface of the switch as `ip` shows it, with its counters.
    pub(crate) fn link(&self, name: &str) -> serde_json::Value {
        let links = self.switch.ip(&format!("-j -s link show dev {name}"));
        serde_json::from_str::<serde_json::Value>(&links).unwrap()[0].clone()
    }

    fn plug(&self, name: &str, host: &Namespace, address: &str, mac: &str) {
        let there = host.path();
        self.switch.ip(&format!("link add {name} type veth peer name eth0 netns {there}"));
        let name = name.split(' ').next().unwrap();
        self.switch.ip(&format!("link set {name} up"));
        host.ip(&format!("link set eth0 address {mac}"));
        host.ip(&format!("addr add {address}/24 dev eth0"));
        host.ip("link set eth0 up");
        // The kernel sees the other end a moment later, and a daemon has to find the link up.
        super::until("the cable has a link", || {
            self.switch.ip(&format!("-o link show {name}")).contains("state UP")
        });
    }

    /// A TCP connection from left to right.
    pub(crate) fn connect(&self) -> (TcpStream, TcpStream) {
        connect(&self.left, &self.right, RIGHT)
    }
}

/// A TCP connection: the client's end and the server's.
#[track_caller]
pub(crate) fn connect(client: &Namespace, server: &Namespace, to: &str) -> (TcpStream, TcpStream) {
    let address: IpAddr = to.parse().unwrap();
    let listener = server.run(|| TcpListener::bind((address, 0)).unwrap());
    let to = SocketAddr::new(address, listener.local_addr().unwrap().port());
    let near = client.run(|| TcpStream::connect_timeout(&to, PATIENCE).expect("TCP connects"));
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (near, far)
}

/// Sends `bytes` bytes over a connection and checks that they arrive as they were sent.
pub(crate) fn transfer(near: &mut TcpStream, far: &mut TcpStream, bytes: usize) {
    let block: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
    let mut arrived = vec![0; bytes];
    std::thread::scope(|scope| {
        scope.spawn(|| near.write_all(&block).expect("TCP takes the bytes"));
        far.read_exact(&mut arrived).expect("the bytes arrive");
    });
    assert!(block == arrived, "the bytes arrive as they were sent");
}
