//! The limit on open files. Each port, client and connection counts as one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard limit. The usual soft limit of 1,024 is for
/// programs that still use `select`.
pub fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // The kernel never refuses this, as the hard limit stays the same. If it did, the old limit
    // would stay in force.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Formats an error for people. If the error is that too many files are open, the text names the
/// fix.
#[must_use]
pub fn explained(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    // The text of EMFILE is searched for, because a caller may have made text of the error
    // already.
    if !text.contains("Too many open files (os error 24)") {
        return text;
    }
    let limit = getrlimit(Resource::Nofile).maximum.map_or_else(String::new, |n| n.to_string());
    format!("{text}; at most {limit} here: raise LimitNOFILE= of its unit, or ulimit -Hn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_is_explained() {
        let error = std::io::Error::from_raw_os_error(24);
        let text = explained(&format!("port a: packet socket: {error}"));
        assert!(text.starts_with("port a: packet socket: Too many open files"), "{text}");
        assert!(text.contains("LimitNOFILE="), "{text}");
        assert_eq!(explained(&std::io::Error::from_raw_os_error(2)).matches("ulimit").count(), 0);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
