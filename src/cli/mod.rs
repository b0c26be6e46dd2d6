//! The program `gemmconv`: arguments to a command, one file a command.
//!
//! A command takes its parsed arguments and returns an exit code; what went wrong comes back as an
//! `anyhow` error and is printed here. Exit codes: 0 all done, 1 something of it was not, 2 the
//! arguments were wrong. A reader that closes the pipe early (`| head`) ends the program quietly.

mod bench;
mod filter;
pub mod problem;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;

use clap::{Parser, Subcommand};

use crate::EngineKind;

/// Convolutions, forward and backward, as matrix products on the CPU.
#[derive(Debug, Parser)]
#[command(name = "gemmconv", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::BenchArgs),
    Filter(filter::FilterArgs),
}

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version come this way too. A closed pipe is no reason to say more.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    let done = match cli.command {
        Command::Bench(arguments) => bench::run(arguments),
        Command::Filter(arguments) => filter::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A line on standard error; one that cannot be written is nobody's loss.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Says once in a process, on standard error, what is to be known of an engine's speed.
pub(crate) fn warn_about(engines: &[EngineKind]) {
    static SAID: Mutex<Vec<EngineKind>> = Mutex::new(Vec::new());
    for &engine in engines {
        let Ok(mut said) = SAID.lock() else { return };
        if said.contains(&engine) {
            continue;
        }
        said.push(engine);
        if let Some(warning) = engine.warning() {
            complain(&format!("warning: {warning}"));
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_closed_pipe_is_found_under_its_context() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        let error = Err::<(), _>(closed)
            .context("writing the table")
            .unwrap_err();
        assert!(is_closed_pipe(&error));
        assert!(!is_closed_pipe(&anyhow::anyhow!("another")));
    }
}
