//! Hardware tests: the VM lab and its lanes.
fn main() {}
