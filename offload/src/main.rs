//! The `megaflow` command.
fn main() {}
