//! The pidfile: it says that there is one daemon of that name, and holds the daemon's pid.
//!
//! The file has two locks. The `flock` lock keeps a second daemon out; it belongs to the open
//! file. The `fcntl` lock is what `ovs-appctl -t NAME` asks about. It belongs to a table of
//! descriptors and is lost when any descriptor of the file in that table is closed, so a thread
//! with a table of its own has it. The file gets its name only when it is locked and written, and
//! each start makes a new file: a process that still has an old file open holds nothing.

use std::convert::Infallible;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, flock};
use rustix::io::Errno;

use super::error::StartError;

/// The number of other starts that may come between before this one gives up.
const TRIES: u32 = 100;

/// The pidfile, held by this process. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Pidfile {
    path: PathBuf,
    file: File,
    _keeper: Keeper,
}

impl Pidfile {
    /// Makes the file. Refuses if a process of that name is alive or if something else has the
    /// file's name.
    pub(super) fn take(path: &Path) -> Result<Pidfile, StartError> {
        let draft = path.with_extension(format!("pid.{}", std::process::id()));
        // Removes the draft of a process that was killed between here and the removal below.
        let _ = fs::remove_file(&draft);
        let made = write(&draft).map_err(|error| StartError::new(path, "can't be made", error));
        let named = made.and_then(|made| name(&draft, path).map(|()| made));
        let _ = fs::remove_file(&draft);
        let (file, keeper) = named?;
        Ok(Pidfile { path: path.to_owned(), file, _keeper: keeper })
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let ours = self.file.metadata();
        if let (Ok(ours), Ok(there)) = (ours, fs::symlink_metadata(&self.path))
            && is_same(&ours, &there)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the file, locked and written, under a name that nobody looks for.
fn write(draft: &Path) -> io::Result<(File, Keeper)> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(draft, flags, Mode::RUSR | Mode::WUSR)?);
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    writeln!(file, "{}", std::process::id())?;
    let keeper = Keeper::start(draft.to_owned())?;
    Ok((file, keeper))
}

/// Gives the draft its name, in one step and only if no other file has that name.
fn name(draft: &Path, path: &Path) -> Result<(), StartError> {
    for _ in 0..TRIES {
        match fs::hard_link(draft, path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => clear_stale(path)?,
            Err(error) => return Err(StartError::new(path, "can't be made", error)),
        }
    }
    Err(StartError::plain(path, "others make it again and again"))
}

/// Removes the pidfile of a process that was killed, and nothing else.
fn clear_stale(path: &Path) -> Result<(), StartError> {
    let refused = |what: &str| Err(StartError::plain(path, what));
    let fault = |error| StartError::new(path, "can't be opened", error);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::LOOP) => return refused("is a symbolic link: remove it"),
        // Opening a socket fails with this error.
        Err(Errno::NXIO) => return refused("is not a regular file: remove it"),
        Err(error) => return Err(fault(error.into())),
    };
    let found = file.metadata().map_err(fault)?;
    if !found.is_file() {
        return refused("is not a regular file: remove it");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        let owner = found.uid();
        return refused(&format!("is of another user (uid {owner}): stop theirs, then remove it"));
    }
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = (&file).take(32).read_to_string(&mut pid);
            return refused(&format!("already running (pid {}); stop it first", pid.trim()));
        }
        Err(error) => return Err(fault(error.into())),
    }
    // The process that held the file may have removed it between our open and our lock.
    match fs::symlink_metadata(path) {
        Ok(there) if is_same(&found, &there) => {
            let stale = |error| StartError::new(path, "is stale and can't be removed", error);
            fs::remove_file(path).map_err(stale)
        }
        _ => Ok(()),
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The thread that has the `fcntl` lock. The thread's table of descriptors has no other file.
#[derive(Debug)]
struct Keeper {
    /// Dropped to end the thread.
    end: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start(path: PathBuf) -> io::Result<Keeper> {
        let (end, ended) = bounded::<Infallible>(0);
        let (locked, is_locked) = bounded(1);
        let keep = move || {
            let file = lock_alone(&path);
            let (file, error) = match file {
                Ok(file) => (Some(file), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let _ = locked.send(error);
            let _ = ended.recv();
            drop(file);
        };
        let thread = std::thread::Builder::new().name("pidfile".to_owned()).spawn(keep)?;
        is_locked.recv().map_err(io::Error::other)??;
        Ok(Keeper { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives the calling thread a table of descriptors with only this file in it, locked. A file that
/// the rest of the process closes must not stay open in that table.
fn lock_alone(path: &Path) -> io::Result<File> {
    unshare(CloneFlags::CLONE_FILES)?;
    let numbers = fs::read_dir("/proc/thread-self/fd")?;
    let numbers = numbers.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for number in numbers.collect::<Vec<i32>>() {
        // The descriptor of the folder that was listed is closed already.
        let _ = nix::unistd::close(number);
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}
