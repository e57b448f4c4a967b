//! `megaflow-hwtests`: boots a Linux whose kernel has what the build machine's lacks (tc flower,
//! netdevsim, a simulated switchdev NIC, VFIO) and runs the test lanes in it.
//!
//! The same binary has both sides: outside it makes the lab, boots QEMU and judges; inside, started
//! by the guest's init as `megaflow-hwtests guest LANE…`, it runs the checks.

mod card;
mod check;
mod daemon;
mod frame;
mod guest;
mod host;
mod lane;
mod lanes;
mod stream;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs the hardware test lanes in a virtual machine.
///
/// Example: megaflow-hwtests simulator
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// The lanes to run; without any, all of them
    #[arg(value_name = "LANE")]
    lanes: Vec<String>,
    /// List the lanes and what each needs, and run none
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Inside the virtual machine: run these lanes' checks here and now
    #[command(hide = true)]
    Guest {
        #[arg(required = true)]
        lanes: Vec<String>,
    },
    /// Serve the card's model over vfio-user, with hosts at its wires, until standard input ends
    Card(card::CardArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        for lane in lanes::ALL {
            println!("{:<12} {}", lane.name, lane.about);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Card(args)) = &cli.command {
        return card::main(args);
    }
    let inside = matches!(cli.command, Some(Command::Guest { .. }));
    let names = match cli.command {
        Some(Command::Guest { lanes }) => lanes,
        Some(Command::Card(_)) | None => cli.lanes,
    };
    match lanes::select(&names) {
        Ok(lanes) if inside => lanes::run_here(&lanes),
        Ok(lanes) => host::run(&lanes),
        Err(unknown) => {
            eprintln!("megaflow-hwtests: {unknown}");
            ExitCode::from(2)
        }
    }
}
