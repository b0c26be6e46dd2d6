//! Arguments to a command: one file or folder per command. The only place that prints.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod filter;

/// Convolutions as matrix products.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Filter(filter::FilterArgs),
}

/// Reads the arguments, runs the command, and turns its outcome into an exit status.
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Filter(arguments) => filter::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
