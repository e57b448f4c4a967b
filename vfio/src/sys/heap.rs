//! The process's heap, of which glibc keeps what was freed.

/// Gives the heap's free pages back to the kernel, which glibc does for the last ones only. It
/// walks over all that is free: threads that want memory wait meanwhile, some milliseconds for
/// hundreds of megabytes. With another libc it does nothing.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointer, and any thread may make it at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Megabytes that this process has in memory.
    fn resident() -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
    }

    #[test]
    fn what_lies_between_used_pages_goes_back() {
        let mut all: Vec<Vec<u8>> = (0..100_000).map(|_| vec![1; 1000]).collect();
        let full = resident();
        let kept: Vec<Vec<u8>> = all.drain(..).step_by(50).collect();
        drop(all);
        give_back();
        // Other tests of this process need some memory too.
        let left = resident();
        assert!(left + 60 < full, "{left} of {full} MB");
        assert!(kept.iter().all(|one| one[999] == 1));
    }
}
