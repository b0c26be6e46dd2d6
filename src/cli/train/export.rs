//! `gemmconv export`: what a training has come to, as an ONNX file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::folder::RunFolder;
use crate::cli::complain;
use crate::cli::model::ModelArgs;

/// Write the network of a training as an ONNX file
///
/// With the weights of the newest checkpoint, also while the training goes on. The input is images of values 0 to 1
/// (brought to mean 0 and deviation 1 if the training was told so), [N, C, H, W]; the output one score for each class.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The folder of a training
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The ONNX file; one that is there is replaced
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    model_args: ModelArgs,
}

/// Runs the command.
///
/// # Errors
/// No checkpoint that loads; a file that cannot be written.
pub(crate) fn run(arguments: &ExportArgs) -> Result<ExitCode> {
    let folder = RunFolder::new(&arguments.folder);
    let (graph, checkpoint) = folder.newest(&arguments.model_args)?;
    crate::onnx::export(&graph, &arguments.output)?;
    complain(&format!(
        "{} has the weights of {}; of a picture it says:",
        arguments.output.display(),
        checkpoint.display()
    ));
    let description = folder.description()?;
    complain(&format!(
        "  {}",
        folder.classify(&arguments.output, &description)
    ));
    Ok(ExitCode::SUCCESS)
}
