//! The `gemmconv` program; everything is in `gemmconv::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gemmconv::cli::run()
}
