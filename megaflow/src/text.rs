//! Reads text files that users name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Largest size of a text file, in bytes. A longer file is an error.
const LONGEST: u64 = 256 << 20;

/// Reads the text of a file, which may be a pipe. Text without an end is an error.
pub fn read(path: &Path) -> io::Result<String> {
    read_from(File::open(path)?)
}

fn read_from(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("more than {} MiB of text", LONGEST >> 20)));
    }
    Ok(text)
}

/// Reads the text of a file for a client of the daemon. The file must be a regular file, since
/// the daemon must not wait for a pipe.
pub fn read_regular(path: &Path) -> io::Result<String> {
    // What is not a regular file may let an ordinary open wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    read_from(file)
}
