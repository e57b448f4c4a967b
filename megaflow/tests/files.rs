//! The files that the daemon makes and the files that it is given. Its own files are private, it
//! never touches a file of another owner, and a file without an end is an error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use common::daemon::{Daemon, Folder};
use common::net::Namespace;
use common::{Ended, MEGAFLOW, fails, tool, until};
use nix::sys::signal::Signal;
use rustix::fs::{FlockOperation, Mode, fcntl_lock};

/// The configuration of a daemon without ports.
fn config(folder: &Folder) -> String {
    format!("[datapath]\nname='x'\n[control]\nsocket='{}'\n", folder.socket())
}

/// Runs Debian's `ovs-appctl -t NAME`, which reads the pidfile and asks about its lock.
fn by_name(folder: &Folder) -> Ended {
    let mut appctl = Command::new("ovs-appctl");
    let appctl = appctl.env("OVS_RUNDIR", folder.file("run")).args(["-t", "mega", "version"]);
    tool(appctl, "openvswitch-common").into()
}

#[track_caller]
fn is_found(folder: &Folder) {
    let ended = by_name(folder);
    assert!(ended.code == Some(0) && ended.out.contains("megaflow"), "{ended:?}");
}

/// The error of a start that is refused. The start has to change nothing.
#[track_caller]
fn refused(folder: &Folder) -> String {
    let before = common::files(folder.path());
    let error = fails(&["run", "--config", &folder.file("megaflow.toml")], 1);
    assert_eq!(common::files(folder.path()), before);
    error
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_others_put_in_the_pidfiles_place_is_not_touched() {
    let folder = Folder::new();
    folder.write("megaflow.toml", &config(&folder));
    fs::create_dir(folder.file("run")).unwrap();
    let precious = folder.write("precious", "precious");
    let pidfile = folder.file("run/mega.pid");
    let clear = || fs::remove_file(&pidfile).unwrap();

    for target in [precious.as_str(), "/nonexistent"] {
        symlink(target, &pidfile).unwrap();
        assert!(refused(&folder).contains("mega.pid: is a symbolic link"));
        clear();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, &pidfile, Mode::RWXU).unwrap();
    assert!(refused(&folder).contains("mega.pid: is not a regular file"));
    clear();
    let socket = UnixListener::bind(&pidfile).unwrap();
    assert!(refused(&folder).contains("mega.pid: is not a regular file"));
    drop(socket);
    clear();
    fs::create_dir(&pidfile).unwrap();
    assert!(refused(&folder).contains("mega.pid: is not a regular file"));
    fs::remove_dir(&pidfile).unwrap();
    // A stale pidfile is another name of a file of ours. The name is removed, the file stays.
    fs::hard_link(&precious, &pidfile).unwrap();
    let mut daemon = Daemon::start(&Namespace::new(false), &folder, &config(&folder));
    assert_eq!(mode(&pidfile), 0o600);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(common::files(&folder.path().join("run")), [""; 0]);
}

#[test]
fn what_others_put_in_the_sockets_place_is_not_touched() {
    let folder = Folder::new();
    folder.write("megaflow.toml", &config(&folder));
    fs::create_dir(folder.file("run")).unwrap();
    let precious = folder.write("precious", "precious");
    let socket = folder.socket();
    for is_soft in [true, false] {
        let made =
            if is_soft { symlink(&precious, &socket) } else { fs::hard_link(&precious, &socket) };
        made.unwrap();
        assert!(refused(&folder).contains("mega.ctl: is there and is no socket"));
        fs::remove_file(&socket).unwrap();
    }
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

/// A reader of the pidfile waits for its lock, and gets the lock when the daemon is killed.
#[test]
fn a_reader_who_waits_for_the_lock_keeps_no_daemon_out() {
    let here = Namespace::new(false);
    let folder = Folder::new();
    let mut daemon = Daemon::start(&here, &folder, &config(&folder));
    let reader = File::open(folder.file("run/mega.pid")).unwrap();
    let waiting = std::thread::spawn(move || {
        fcntl_lock(&reader, FlockOperation::LockShared).unwrap();
        reader
    });
    until("the reader waits", || {
        let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("wchan")).ok())
            .any(|place| place.contains("fcntl_setlk") || place.contains("lock"))
    });
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.wait().code(), None);
    let reader = waiting.join().unwrap();
    let next = Daemon::start(&here, &folder, &config(&folder));
    is_found(&folder);
    let pid = fs::read_to_string(folder.file("run/mega.pid")).unwrap();
    assert_eq!(pid, format!("{}\n", next.pid()));
    drop(reader);
}

/// The daemon keeps its locks even if it opens and closes a locked file itself.
#[test]
fn reading_the_pidfile_loses_no_lock() {
    let folder = Folder::new();
    let daemon = Daemon::start(&Namespace::new(false), &folder, &config(&folder));
    let ended = daemon.try_appctl(&["dpctl/add-flows", &folder.file("run/mega.pid")]);
    assert!(ended.err.contains("mega.pid:1: "), "{ended:?}");
    is_found(&folder);
    let error = refused(&folder);
    assert!(error.contains(&format!("already running (pid {})", daemon.pid())), "{error}");
    is_found(&folder);
}

#[test]
fn the_daemon_reads_only_files_for_its_clients() {
    let folder = Folder::new();
    let daemon = Daemon::start(&Namespace::new(false), &folder, &config(&folder));
    let pipe = folder.file("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RWXU).unwrap();
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    for file in [pipe.as_str(), "/dev/zero", "/"] {
        let ended = daemon.try_appctl(&["dpctl/add-flows", file]);
        assert!(ended.err.contains(&format!("{file}: not a regular file")), "{ended:?}");
    }
}

#[test]
fn the_limit_of_open_files_is_the_hard_one_and_is_named() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(&Namespace::new(false), &folder, &config(&folder));
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
    daemon.signal(Signal::SIGTERM);
    daemon.wait();

    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 8; exec \"$0\" run --config \"$1\"", MEGAFLOW]);
    few.arg(folder.file("megaflow.toml")).stdin(Stdio::null());
    let ended = Ended::from(tool(&mut few, "dash"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("Too many open files"), "{ended:?}");
    assert!(ended.err.contains("at most 8 here: raise LimitNOFILE="), "{ended:?}");
}

/// If a file is no capture, every command that reads captures says what the file is.
#[test]
fn a_file_that_is_no_capture_is_named_for_what_it_is() {
    let folder = Folder::new();
    let flows = folder.write("flows", "in_port(1),eth(),eth_type(0x0800) drop\n");
    let good = fs::read(common::CAPTURE).unwrap();
    let zeros = [&good[..24], &[0; 4096]].concat();
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", &[], "the file is empty"),
        ("header", &good[..23], "the file ends after 23 bytes, in the middle of its header of 24"),
        ("record", &good[..30], "record 1: the file ends in the middle of the record"),
        ("packed", &[0x1f, 0x8b, 8, 0, 0, 0], "compressed by gzip: unpack it first with gunzip"),
        ("next", &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0], "a pcapng file; only pcap is read: convert it"),
        ("zeros", &zeros, "record 1: a packet of 0 bytes"),
    ];
    for (name, bytes, want) in cases {
        let file = folder.file(name);
        fs::write(&file, bytes).unwrap();
        named_by_all(&folder, &flows, &file, want);
    }
    named_by_all(&folder, &flows, "/dev/zero", "not a pcap file: it begins with 0x00000000");
    named_by_all(&folder, &flows, "/dev/null", "the file is empty");
}

fn named_by_all(folder: &Folder, flows: &str, file: &str, want: &str) {
    let input = format!("1={file}");
    let out = folder.file("out");
    for args in [
        vec!["extract", file],
        vec!["replay", "--flows", flows, "--in", &input, "--out", &out],
        vec!["demo", "--pcap", file],
    ] {
        let error = fails(&args, 2);
        assert!(error.contains(&format!("{file}: {want}")), "{args:?}: {error}");
    }
    let port = format!("[[port]]\nname='p'\ntype='pcap'\nin='{file}'\n");
    folder.write("megaflow.toml", &(config(folder) + &port));
    if want.starts_with("record") {
        return;
    }
    let error = fails(&["run", "--config", &folder.file("megaflow.toml")], 1);
    let want = if file.starts_with("/dev/") { "not a regular file" } else { want };
    assert!(error.contains(&format!("port p: can't read the input: {file}: {want}")), "{error}");
}

/// A valid capture that never ends and text that never ends are errors.
#[test]
fn what_never_ends_is_an_error() {
    let folder = Folder::new();
    let mut demo = Command::new("sh");
    // The endless file is the capture's header, and then its records again and again.
    let endless = "{ head -c 24 \"$1\"; while :; do cat \"$2\" || exit; done; } | \
                   exec \"$0\" demo --pcap /dev/stdin";
    let capture = common::pcap::capture(&vec![vec![2; 65_000]; 100]);
    let records = folder.file("records");
    fs::write(&records, &capture[24..]).unwrap();
    demo.args(["-c", endless, MEGAFLOW, common::CAPTURE, &records]);
    let ended = Ended::from(tool(&mut demo, "dash"));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("/dev/stdin: more than 256 MiB of packets"), "{ended:?}");

    let (input, out) = (format!("1={}", common::CAPTURE), folder.file("out"));
    let error = fails(&["replay", "--flows", "/dev/zero", "--in", &input, "--out", &out], 2);
    assert!(error.contains("/dev/zero: more than 256 MiB of text"), "{error}");
    let error = fails(&["check-config", "/dev/zero"], 2);
    assert!(error.contains("/dev/zero: can't be read: more than 256 MiB of text"), "{error}");
}

#[test]
fn captures_are_private() {
    let folder = Folder::new();
    let flows = folder.write("flows", "in_port(1),eth(),eth_type(0x0800),ipv4() 2\n");
    let (input, out) = (format!("1={}", common::CAPTURE), folder.file("out"));
    fs::create_dir(&out).unwrap();
    let there = folder.write("out/2.pcap", "of before");
    fs::set_permissions(&there, Permissions::from_mode(0o644)).unwrap();
    common::says(&["replay", "--flows", &flows, "--in", &input, "--out", &out]);
    for file in ["1.pcap", "2.pcap", "upcall.pcap"] {
        assert_eq!(mode(Path::new(&out).join(file)), 0o600, "{file}");
    }
    let port = folder.file("port.pcap");
    let ports = format!("[[port]]\nname='p'\ntype='pcap'\nout='{port}'\n");
    let _daemon = Daemon::start(&Namespace::new(false), &folder, &(config(&folder) + &ports));
    assert_eq!(mode(&port), 0o600);
}
