//! The files of the control socket: who holds them, and that none is left behind.
//!
//! For the socket `DIR/NAME.ctl` of the configuration: `DIR/NAME.pid`, locked with fcntl as long
//! as the process lives (`ovs-appctl -t NAME` reads pid and lock); `DIR/NAME.<pid>.ctl`, where the
//! socket is bound; and `DIR/NAME.ctl` itself, a hard link to it. Whoever has the lock may clear
//! away what another one left.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, fchmod, fcntl_lock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Waiting connections that the kernel keeps for us.
const BACKLOG: i32 = 64;

/// Why the control socket can't be had: one line with the path.
#[derive(Debug, thiserror::Error)]
pub struct StartError {
    path: PathBuf,
    what: String,
    cause: Option<io::Error>,
}

impl StartError {
    pub(super) fn new(path: &Path, what: impl Into<String>, cause: io::Error) -> StartError {
        StartError { path: path.to_owned(), what: what.into(), cause: Some(cause) }
    }

    fn plain(path: &Path, what: impl Into<String>) -> StartError {
        StartError { path: path.to_owned(), what: what.into(), cause: None }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

/// The files, held. Dropping removes them.
#[derive(Debug)]
pub(super) struct Address {
    socket: PathBuf,
    bound: PathBuf,
    /// Files that were made, in that order: the pidfile first.
    files: Vec<PathBuf>,
    /// Folders that were made for them, deepest first.
    folders: Vec<PathBuf>,
    /// The lock goes with the descriptor: closing any descriptor of the file would lose it.
    _lock: File,
}

impl Address {
    pub(super) fn take(socket: &Path) -> Result<(Address, UnixListener), StartError> {
        let name = socket.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default();
        let Some(folder) = socket.parent().filter(|_| !name.is_empty()) else {
            return Err(StartError::plain(socket, "is no name for a socket"));
        };
        let folders = make_folders(folder)
            .map_err(|error| StartError::new(folder, "can't be made", error))?;
        let pidfile = folder.join(format!("{name}.pid"));
        let lock = lock(&pidfile)?;
        clear_stale(folder, name);
        let bound = folder.join(format!("{name}.{}.ctl", std::process::id()));
        let files = vec![pidfile];
        let mut address = Address { socket: socket.into(), bound, files, folders, _lock: lock };
        address.clear_socket()?;
        let listener = address
            .bind()
            .map_err(|error| StartError::new(&address.bound, "can't be bound", error))?;
        Ok((address, listener))
    }

    pub(super) fn bound(&self) -> &Path {
        &self.bound
    }

    /// Removes the socket of the configuration if nobody answers on it.
    fn clear_socket(&self) -> Result<(), StartError> {
        let socket = &self.socket;
        let kind = match fs::symlink_metadata(socket) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StartError::new(socket, "can't be looked at", error)),
            Ok(metadata) => metadata.file_type(),
        };
        if !kind.is_socket() {
            let what = "is there and is no socket: remove it or name another socket";
            return Err(StartError::plain(socket, what));
        }
        if UnixStream::connect(socket).is_ok() {
            return Err(StartError::plain(socket, "another process answers there"));
        }
        fs::remove_file(socket)
            .map_err(|error| StartError::new(socket, "is stale and can't be removed", error))
    }

    fn bind(&mut self) -> io::Result<UnixListener> {
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Before bind, so that there is no moment in which others could connect: Linux gives the
        // file the mode of the descriptor.
        fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&fd, &SocketAddrUnix::new(&self.bound)?)?;
        self.files.push(self.bound.clone());
        rustix::net::listen(&fd, BACKLOG)?;
        if self.bound != self.socket {
            fs::hard_link(&self.bound, &self.socket)?;
            self.files.push(self.socket.clone());
        }
        Ok(UnixListener::from(fd))
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // Each may be gone already. The pidfile last: up to here the lock keeps others out.
        for file in self.files.iter().rev() {
            let _ = fs::remove_file(file);
        }
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Makes the folder and what is missing above it; returns what it made, deepest first.
fn make_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing: Vec<PathBuf> =
        folder.ancestors().take_while(|f| !f.exists()).map(Path::to_owned).collect();
    missing.retain(|folder| !folder.as_os_str().is_empty());
    for folder in missing.iter().rev() {
        fs::DirBuilder::new().mode(0o755).create(folder)?;
    }
    Ok(missing)
}

/// Locks the pidfile and writes our pid into it.
fn lock(path: &Path) -> Result<File, StartError> {
    let fault = |error: io::Error| StartError::new(path, "can't be locked", error);
    loop {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fault)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let what = format!("already running (pid {}); stop it first", pid.trim());
                return Err(StartError::plain(path, what));
            }
            Err(error) => return Err(fault(error.into())),
        }
        // Whoever held it before us may have removed the file between our open and our lock.
        let ours = file.metadata().map_err(fault)?;
        if fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (ours.dev(), ours.ino())) {
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(fault)?;
            return Ok(file);
        }
    }
}

/// Removes `NAME.<pid>.ctl` of processes that were killed: the lock says that none of them lives.
fn clear_stale(folder: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let pid = file
            .to_str()
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".ctl"));
        let is_ours = pid.is_some_and(|pid| pid.parse::<u32>().is_ok());
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
