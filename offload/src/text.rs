//! Reads text files that users name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest size of a text file, in bytes. A longer file is an error.
const LONGEST: u64 = 256 << 20;

/// Reads the text of a file, which may be a pipe. Text without an end is an error.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("more than {} MiB of text", LONGEST >> 20)));
    }
    Ok(text)
}

/// Reads the text of a file for a client of the daemon. The file must be a regular file, since
/// the daemon must not wait for a pipe.
pub fn read_regular(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    read(path)
}
