//! Text files that people name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A longer file is not what anybody meant.
const LONGEST: u64 = 256 << 20;

/// The text of a file, which may be a pipe; an error where it does not end.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("more than {} MiB of text", LONGEST >> 20)));
    }
    Ok(text)
}

/// The same for a file that the daemon reads for a client: it waits for no pipe.
pub fn read_regular(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    read(path)
}
