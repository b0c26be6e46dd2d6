//! `gemmconv evaluate`: how well a network does on labelled images.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::confusion;
use super::data::DataArgs;
use super::folder::{RunFolder, classes, sizes};
use crate::cli::model::{ModelArgs, say};
use crate::data::dataset::{Dataset, Split};
use crate::data::normalise::Normalise;
use crate::train::loader::{Loader, LoaderOptions};
use crate::train::{Metrics, evaluate};

/// Count how many labelled images a network gets right
///
/// Prints accuracy, loss, and the confusion matrix where there are few classes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct EvaluateArgs {
    /// The folder of a training, or an ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    #[command(flatten)]
    data: DataArgs,

    /// Which examples
    #[arg(long, value_enum, default_value_t = Part::Test)]
    split: Part,

    /// Images that go through the network together
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,

    /// What is subtracted from values 0 to 1, for each channel; a folder of a training knows it
    #[arg(
        long,
        value_name = "X,X,X",
        value_delimiter = ',',
        requires = "std",
        allow_hyphen_values = true
    )]
    mean: Vec<f32>,

    /// What they are divided by after that
    #[arg(long, value_name = "X,X,X", value_delimiter = ',', requires = "mean")]
    std: Vec<f32>,

    /// Draw the confusion matrix, PNG
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,

    /// What a folder of pictures is divided by into training and test, where it is not: the seed of the training
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model_args: ModelArgs,
}

const EXAMPLES: &str = "\
Examples:
  gemmconv evaluate runs/mnist --data mnist/
  gemmconv evaluate runs/mnist/model.onnx --data mnist/ --confusion confusion.png";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Train,
    Test,
}

/// Runs the command.
///
/// # Errors
/// A model or data that cannot be read or do not fit.
pub(crate) fn run(arguments: &EvaluateArgs) -> Result<ExitCode> {
    let pool = arguments.model_args.pool()?;
    pool.install(|| arguments.evaluate())
}

impl EvaluateArgs {
    fn evaluate(&self) -> Result<ExitCode> {
        let mut normalise = match self.mean.is_empty() {
            true => None,
            false => Some(Normalise::new(self.mean.clone(), self.std.clone())?),
        };
        let mut graph = match self.model.is_dir() {
            true => {
                let folder = RunFolder::new(&self.model);
                let (graph, _) = folder.newest(&self.model_args)?;
                if normalise.is_none() {
                    normalise = folder.description()?.normalise()?;
                }
                graph
            }
            false => self.model_args.import(&self.model)?,
        };
        let split = match self.split {
            Part::Train => Split::Train,
            Part::Test => Split::Test,
        };
        let data: Arc<dyn Dataset> = Arc::from(self.data.open(split, self.seed)?);
        let names = data.classes().to_vec();
        let found = classes(&mut graph, data.shape(), &self.model_args)?;
        ensure!(
            found == names.len(),
            "the network has {found} classes, the data {}",
            names.len()
        );
        let mut options = LoaderOptions::evaluation(usize::try_from(self.batch)?);
        if let Some(normalise) = normalise {
            options = options.normalise(normalise);
        }
        let loader = Loader::new(Arc::clone(&data), options)?;
        let metrics = evaluate(&graph, &loader, &self.model_args.network_options())?;
        let counts = metrics.confusion();
        if let Some(path) = &self.confusion {
            confusion::write(path, counts.view(), &names)?;
        }
        match self.json {
            true => say(&self.object(&metrics).to_string())?,
            false => {
                say(&format!(
                    "{} of {} images of {} right: {:.2} %  (top {}: {:.2} %)  loss {:.4}",
                    metrics.right(),
                    metrics.examples(),
                    sizes(data.shape()),
                    100.0 * metrics.accuracy(),
                    metrics.k(),
                    100.0 * metrics.top_k(),
                    metrics.loss()
                ))?;
                if let Some(table) = confusion::table(counts.view(), &names)? {
                    table.iter().try_for_each(|line| say(line))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn object(&self, metrics: &Metrics) -> serde_json::Value {
        let counts = metrics.confusion();
        let rows: Vec<Vec<u64>> = counts.outer_iter().map(|row| row.to_vec()).collect();
        json!({
            "examples": metrics.examples(),
            "right": metrics.right(),
            "accuracy": metrics.accuracy(),
            "top_k": metrics.top_k(),
            "k": metrics.k(),
            "loss": metrics.loss(),
            "confusion": rows,
        })
    }
}
