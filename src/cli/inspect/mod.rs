//! `gemmconv inspect`: what a model consists of, and how it would be run.
//!
//! ```text
//! names, shapes, parameters, operations   from the graph as the file has it
//! recipe, scratch, arena                  from the graph as it is run: `fused` is done by another layer
//! ```

mod dot;
mod receptive;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::model::{ModelArgs, say, write_file};
use super::refuse;
use super::shape::{Shape, check, required, sizes, tensor_bytes};
use crate::network::{Graph, Session, Tensor};
use table::Report;

/// Show the layers of a model
///
/// For each layer its name, operator, output shape, parameters, operations (2 for a multiply-add), the recipe and
/// scratch with which it is run, and its receptive field in pixels of the input. A layer whose work another one does
/// on the way is `fused`; nodes that depend on nothing but constants are computed once, and counted at the end.
/// Where a model has operators that are not there, they are all listed, each with its nodes, and the exit status is 1.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// An ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// The size of an input: data=1x3x224x224. Free sizes are otherwise 1 for the batch, and 224
    #[arg(long, value_name = "NAME=SHAPE")]
    shape: Vec<Shape>,

    /// Write the graph for Graphviz (`dot -Tsvg`)
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,

    /// Print one JSON object instead of the table; operations are multiply-adds there
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model_args: ModelArgs,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be read or planned.
pub(crate) fn run(arguments: &InspectArgs) -> Result<ExitCode> {
    let graph = arguments.model_args.import(&arguments.model)?;
    let inputs = match arguments.inputs(&graph) {
        Ok(inputs) => inputs,
        Err(error) => return Ok(refuse(&error)),
    };
    let nodes = graph.nodes().len();
    let pool = arguments.model_args.pool()?;
    let session = |rewrite: bool| -> Result<std::sync::Arc<Session>> {
        let options = arguments.model_args.network_options().rewrite(rewrite);
        let network = crate::network::Network::with_options(graph.clone(), options)?;
        Ok(network.session(&inputs)?)
    };
    let (plain, planned) =
        pool.install(|| Ok::<_, anyhow::Error>((session(false)?, session(true)?)))?;
    let report = pool.install(|| Report::new(&graph, &inputs, nodes, &plain, &planned));
    if let Some(path) = &arguments.dot {
        write_file(path, dot::graph(&report).as_bytes())?;
    }
    match arguments.json {
        true => say(&report.json().to_string())?,
        false => report.lines().iter().try_for_each(|line| say(line))?,
    }
    Ok(ExitCode::SUCCESS)
}

impl InspectArgs {
    /// Zeros of the sizes to plan for.
    fn inputs(&self, graph: &Graph) -> Result<Vec<(String, Tensor)>> {
        check(&self.shape, graph)?;
        required(graph)
            .map(|input| {
                let name = graph.name(input.value);
                let sizes = sizes(&self.shape, name, input, 1)?;
                tensor_bytes(name, input.dtype, &sizes, self.model_args.limit())?;
                Ok((name.to_owned(), Tensor::zeros(input.dtype, &sizes)?))
            })
            .collect()
    }
}
