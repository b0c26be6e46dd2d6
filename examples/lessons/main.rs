//! Draws every figure of `docs/lessons`, or compares those that are kept with what would be drawn.
//!
//! ```text
//! cargo run --release --features cli --example lessons [-- [--check] [FOLDER]]
//! ```
//!
//! Without a folder: `docs/lessons/images`. What is drawn is computed by the library; nothing is random that has no
//! seed. `--check` names the figures that differ by more than rounding, and exits with 1.

mod figures;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Draw the figures of the lessons
#[derive(Parser)]
struct Arguments {
    /// Compare with the folder; write nothing
    #[arg(long)]
    check: bool,

    /// Where the figures are
    #[arg(default_value = "docs/lessons/images")]
    folder: PathBuf,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.check {
        figures::write(&arguments.folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let differences = figures::differences(&arguments.folder)?;
    for difference in &differences {
        eprintln!("{difference}");
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}
