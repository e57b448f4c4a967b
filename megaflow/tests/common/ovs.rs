//! Debian's Open vSwitch with its dummy datapath, with which answers are compared.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use super::daemon::Folder;
use super::{Ended, tool, until};

/// A switch `br0` with the ports 1 and 2, `left` and `right`, which receive the packets that a
/// test gives them. It ends with this value.
pub(crate) struct Ovs {
    folder: Folder,
    children: Vec<Child>,
}

impl Drop for Ovs {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("Open vSwitch's log:\n{log}");
        }
    }
}

impl Ovs {
    pub(crate) fn new() -> Ovs {
        let mut ovs = Ovs { folder: Folder::new(), children: Vec::new() };
        let [db, socket] = ["conf.db", "db.sock"].map(|name| ovs.folder.file(name));
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        let mut ovsdb = Command::new("ovsdb-tool");
        tool(ovsdb.args(["create", &db, schema]), "openvswitch-switch");
        ovs.start(Command::new("ovsdb-server").args([&db, &format!("--remote=punix:{socket}")]));
        // The socket's file is there a moment before the server listens.
        until("the database answers", || UnixStream::connect(&socket).is_ok());
        let remote = format!("unix:{socket}");
        let vsctl = |args: &[&str]| {
            let mut command = Command::new("ovs-vsctl");
            let output =
                tool(command.arg(format!("--db={remote}")).args(args), "openvswitch-switch");
            assert!(output.status.success(), "{args:?}: {output:?}");
        };
        vsctl(&["--no-wait", "init"]);
        let daemon = [&remote, "--enable-dummy=override", "--disable-system"];
        ovs.start(Command::new("ovs-vswitchd").args(daemon));
        let bridge = ["set", "bridge", "br0", "datapath-type=dummy", "fail-mode=secure"];
        vsctl(&[&["--timeout=20", "add-br", "br0", "--"], &bridge[..]].concat());
        for (number, port) in [("1", "left"), ("2", "right")] {
            let number = format!("ofport_request={number}");
            let file = format!("options:tx_pcap={}", ovs.folder.file(port));
            let set = ["--", "set", "interface", port, "type=dummy", &number, &file];
            vsctl(&[&["--timeout=20", "add-port", "br0", port], &set[..]].concat());
        }
        // A key has two tags, as our keys have.
        vsctl(&["set", "Open_vSwitch", ".", "other_config:vlan-limit=2"]);
        // The revalidator would remove flows that OVS's own tables do not have.
        ovs.appctl(&["revalidator/pause"]);
        ovs
    }

    /// The capture of what port 2 sent.
    pub(crate) fn sent(&self) -> String {
        self.folder.file("right")
    }

    fn start(&mut self, command: &mut Command) {
        let log = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let name = command.get_program().to_str().unwrap().to_owned();
        command.arg(format!("--unixctl={}", self.folder.file(&name)));
        command.env("OVS_RUNDIR", self.folder.path()).current_dir(self.folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.children.push(child.expect("apt-get install openvswitch-switch"));
    }

    /// Runs `ovs-appctl` against the switch; it may fail.
    pub(crate) fn try_appctl(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("ovs-appctl");
        let socket = self.folder.file("ovs-vswitchd");
        tool(command.args(["-T", "30", "-t", &socket]).args(args), "openvswitch-common").into()
    }

    /// What `ovs-appctl` prints; its status has to be 0.
    #[track_caller]
    pub(crate) fn appctl(&self, args: &[&str]) -> String {
        let ended = self.try_appctl(args);
        assert!(ended.code == Some(0) && ended.err.is_empty(), "{args:?}: {ended:?}");
        ended.out
    }
}
