//! `gemmconv verify`: models against the inputs and outputs recorded beside them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::model::{ModelArgs, say};
use crate::onnx::{Tolerance, Verdict, models, verify};

/// Check models against recorded tensors
///
/// Of each PATH, an ONNX file or a folder, every model with its recorded cases is run: model.onnx beside
/// test_data_set_*/input_*.pb and output_*.pb, in the folder itself or in any folder below it. Prints a line for
/// each model, and the largest difference in parts of the largest value expected.
#[derive(Debug, Args)]
#[command(after_long_help = NOTES)]
pub(crate) struct VerifyArgs {
    /// ONNX files, folders of them, folders of such folders
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// The relative tolerance: |got - expected| may be atol + rtol * |expected|, or --of-largest
    #[arg(long, value_name = "X", default_value_t = Tolerance::NETWORK.rtol, value_parser = tolerance)]
    rtol: f64,

    /// The absolute tolerance
    #[arg(long, value_name = "X", default_value_t = Tolerance::NETWORK.atol, value_parser = tolerance)]
    atol: f64,

    /// What may differ besides, in parts of the largest value expected in a tensor: sums of f32 in another order
    #[arg(long, value_name = "X", default_value_t = Tolerance::NETWORK.of_largest, value_parser = tolerance)]
    of_largest: f64,

    /// Print a line of JSON for each model, and one with the numbers
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model_args: ModelArgs,
}

const NOTES: &str = "\
The lines of --json have the keys `model`, `verdict` (passed, failed or unsupported) and, with passed `largest`, \
with failed `what`, with unsupported `operators`; the last one has `passed`, `failed` and `unsupported`.

Exit status: 0 no model failed, 1 some did, 2 wrong arguments.";

fn tolerance(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    match value >= 0.0 {
        true => Ok(value),
        false => Err("must be 0 or more".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// Threads that cannot be started; standard output that cannot be written.
pub(crate) fn run(arguments: &VerifyArgs) -> Result<ExitCode> {
    let pool = arguments.model_args.pool()?;
    let (mut passed, mut failed, mut unsupported) = (0u64, 0u64, 0u64);
    for path in &arguments.paths {
        let found = match models(path) {
            Ok(found) if found.is_empty() => Err("no model.onnx in it or below it".to_owned()),
            Ok(found) => Ok(found),
            Err(error) => Err(error.to_string()),
        };
        let cases = match found {
            Ok(found) => found.into_iter().map(|model| (model, None)).collect(),
            Err(what) => vec![(path.clone(), Some(Verdict::Failed { what }))],
        };
        for (model, known) in cases {
            let verdict = known.unwrap_or_else(|| pool.install(|| arguments.verify(&model)));
            match verdict {
                Verdict::Passed { .. } => passed += 1,
                Verdict::Failed { .. } => failed += 1,
                Verdict::Unsupported { .. } => unsupported += 1,
            }
            say(&arguments.line(&model, &verdict))?;
        }
    }
    say(&match arguments.json {
        true => json!({"passed": passed, "failed": failed, "unsupported": unsupported}).to_string(),
        false => format!("{passed} passed, {failed} failed, {unsupported} unsupported"),
    })?;
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

impl VerifyArgs {
    fn verify(&self, model: &Path) -> Verdict {
        let tolerance = Tolerance {
            rtol: self.rtol,
            atol: self.atol,
            of_largest: self.of_largest,
        };
        let (import, network) = (
            self.model_args.import_options(),
            self.model_args.network_options(),
        );
        // A fault at one model costs that model, not the others.
        catch_unwind(AssertUnwindSafe(|| {
            verify(model, &import, &network, tolerance)
        }))
        .unwrap_or_else(|_| Verdict::Failed {
            what: "stopped by a fault in this program".to_owned(),
        })
    }

    fn line(&self, model: &Path, verdict: &Verdict) -> String {
        let name = model.display().to_string();
        if self.json {
            let line = match verdict {
                Verdict::Passed { largest } => {
                    json!({"model": name, "verdict": "passed", "largest": largest})
                }
                Verdict::Failed { what } => {
                    json!({"model": name, "verdict": "failed", "what": what})
                }
                Verdict::Unsupported { operators } => {
                    json!({"model": name, "verdict": "unsupported", "operators": operators})
                }
            };
            return line.to_string();
        }
        match verdict {
            Verdict::Passed { largest } => {
                format!("passed       {name}: largest error {largest:.1e}")
            }
            Verdict::Failed { what } => format!("failed       {name}: {what}"),
            Verdict::Unsupported { operators } => {
                format!("unsupported  {name}: {}", operators.join(", "))
            }
        }
    }
}
