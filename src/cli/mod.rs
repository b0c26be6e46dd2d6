//! The program `gemmconv`: arguments to a command, one file a command.
//!
//! A command takes its parsed arguments and returns an exit code; what went wrong comes back as an
//! `anyhow` error and is printed here. Exit codes: 0 all done, 1 something of it was not, 2 the
//! arguments were wrong. A reader that closes the pipe early (`| head`) ends the program quietly.

mod bench;
mod difference;
mod draw;
mod explain;
mod filter;
mod images;
mod inspect;
mod model;
mod part;
pub mod problem;
mod run;
mod shape;
mod train;
mod verify;

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
    Classify(Box<images::ClassifyArgs>),
    Evaluate(train::EvaluateArgs),
    Explain(explain::ExplainArgs),
    Export(train::ExportArgs),
    Features(Box<images::FeaturesArgs>),
    Filter(filter::FilterArgs),
    Inspect(inspect::InspectArgs),
    Run(run::RunArgs),
    Train(Box<train::TrainArgs>),
    Verify(verify::VerifyArgs),
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
        Command::Classify(arguments) => images::classify(&arguments),
        Command::Evaluate(arguments) => train::evaluate(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Export(arguments) => train::export(&arguments),
        Command::Features(arguments) => images::features(&arguments),
        Command::Filter(arguments) => filter::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Train(arguments) => train::train(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        complain(&format!("error: {}", told(&error)));
        ExitCode::FAILURE
    })
}

/// Says what is wrong with the arguments; the exit code for that.
pub(crate) fn refuse(error: &anyhow::Error) -> ExitCode {
    complain(&format!("error: {}", told(error)));
    ExitCode::from(2)
}

/// An error with its causes, without those that it says itself.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// A line on standard error; one that cannot be written is nobody's loss.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(message));
}

/// `text` without control characters, and without those that XML does not allow.
///
/// Names of files, problems and whatever a broken file holds get into messages and pictures: no byte of
/// theirs may steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    let harmless = |symbol: char| match symbol {
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        symbol if symbol.is_control() => char::REPLACEMENT_CHARACTER,
        symbol => symbol,
    };
    text.chars().map(harmless).collect()
}

/// `a, b`: choices, for help and messages.
pub(crate) fn list<T: ToString>(choices: &[T]) -> String {
    let names: Vec<String> = choices.iter().map(T::to_string).collect();
    names.join(", ")
}

/// 0 B, 12.3 KiB, 1.00 MiB.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", significant(value), UNITS[unit])
}

/// Three significant digits without an exponent: 0.123, 12.3, 1230.
pub(crate) fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
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

/// Whether a reader that left is the cause.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
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
    fn numbers_of_bytes_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
    }

    #[test]
    fn no_control_character_is_shown() {
        let shown = printable("a\u{1b}[2J\n\u{9b}b\u{ffff} é");
        assert_eq!(shown, "a\u{fffd}[2J\u{fffd}\u{fffd}b\u{fffd} é");
    }

    #[test]
    fn causes_are_told_once() {
        let node = crate::Error::ZeroCount { what: "cats" }.at("a.onnx");
        let cause = node.to_string();
        let error = anyhow::Error::from(node).context("planning");
        assert_eq!(told(&error), format!("planning: {cause}"));
        let error = anyhow::anyhow!("a").context("b").context("c");
        assert_eq!(told(&error), "c: b: a");
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
