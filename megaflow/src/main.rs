//! The `megaflow` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    megaflow::cmd::main()
}
