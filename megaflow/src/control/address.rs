//! The files of the control socket: who holds them, and that none is left behind.
//!
//! The socket `DIR/NAME.ctl` of the configuration has these files: `DIR/NAME.pid` (see
//! `pidfile`); `DIR/NAME.<pid>.ctl`, which the socket is bound to; and `DIR/NAME.ctl` itself, a
//! hard link to the bound file. The process that has the pidfile may remove the files that
//! another process left.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::StartError;
use super::pidfile::Pidfile;

/// The number of waiting connections that the kernel keeps for us.
const BACKLOG: i32 = 64;

/// The files of the control socket, held by this process. Dropping the value removes the files.
#[derive(Debug)]
pub(super) struct SocketFiles {
    socket: PathBuf,
    bound: PathBuf,
    /// The names of the socket that were made, in the order of their making.
    sockets: Vec<PathBuf>,
    // The pidfile and the folders are dropped in this order, after the sockets are removed. Until
    // then the pidfile keeps other daemons out.
    _pidfile: Pidfile,
    _folders: Folders,
}

impl SocketFiles {
    pub(super) fn take(socket: &Path) -> Result<(SocketFiles, UnixListener), StartError> {
        let name = socket.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default();
        let Some(folder) = socket.parent().filter(|_| !name.is_empty()) else {
            return Err(StartError::plain(socket, "is no name for a socket"));
        };
        let folders = Folders::make(folder)
            .map_err(|error| StartError::new(folder, "can't be made", error))?;
        let pidfile = Pidfile::take(&folder.join(format!("{name}.pid")))?;
        clear_stale(folder, name);
        let bound = folder.join(format!("{name}.{}.ctl", std::process::id()));
        let mut address = SocketFiles {
            socket: socket.into(),
            bound,
            sockets: Vec::new(),
            _pidfile: pidfile,
            _folders: folders,
        };
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
        // The mode is set before the bind, so that no other user can connect at any moment: Linux
        // gives the file the mode of the descriptor.
        fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&fd, &SocketAddrUnix::new(&self.bound)?)?;
        self.sockets.push(self.bound.clone());
        rustix::net::listen(&fd, BACKLOG)?;
        if self.bound != self.socket {
            fs::hard_link(&self.bound, &self.socket)?;
            self.sockets.push(self.socket.clone());
        }
        Ok(UnixListener::from(fd))
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        // Each socket may be gone already.
        for socket in self.sockets.iter().rev() {
            let _ = fs::remove_file(socket);
        }
    }
}

/// Folders that were made, deepest first. Dropping removes the empty ones.
#[derive(Debug)]
struct Folders(Vec<PathBuf>);

impl Folders {
    /// Makes the folder and the missing folders above it.
    fn make(folder: &Path) -> io::Result<Folders> {
        let missing = folder.ancestors().take_while(|folder| !folder.exists());
        let missing = missing.filter(|folder| !folder.as_os_str().is_empty());
        let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        let mut made = Folders(Vec::new());
        for folder in missing.into_iter().rev() {
            fs::DirBuilder::new().mode(0o755).create(&folder)?;
            made.0.insert(0, folder);
        }
        Ok(made)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Removes the files that killed processes left: each `NAME.<pid>.ctl`, and each pidfile that
/// never got its name. The pidfile guarantees that none of those processes is alive.
fn clear_stale(folder: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let end = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.'));
        let is_pid = |text: Option<&str>| text.is_some_and(|pid| pid.parse::<u32>().is_ok());
        let kind = entry.file_type();
        let is_ours = kind.is_ok_and(|kind| {
            kind.is_socket() && is_pid(end.and_then(|end| end.strip_suffix(".ctl")))
                || kind.is_file() && is_pid(end.and_then(|end| end.strip_prefix("pid.")))
        });
        if is_ours {
            let _ = fs::remove_file(entry.path());
        }
    }
}
