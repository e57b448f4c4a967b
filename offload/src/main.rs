//! The `megaflow` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    offload::cmd::main()
}
