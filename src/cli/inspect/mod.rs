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
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::model::{ModelArgs, say, write_file};
use super::refuse;
use crate::error::{Error, product};
use crate::network::{Dim, Graph, Input, Session, Tensor};
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

/// `NAME=1x3x224x224`.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    input: String,
    sizes: Vec<usize>,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected NAME=1x3x224x224".to_owned();
        let (input, sizes) = text.rsplit_once('=').ok_or_else(wrong)?;
        let sizes = sizes.split(['x', ',']).map(|size| size.trim().parse());
        Ok(Self {
            input: input.to_owned(),
            sizes: sizes.collect::<Result<_, _>>().map_err(|_| wrong())?,
        })
    }
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
        for shape in &self.shape {
            let mut known = graph.inputs().iter();
            if !known.any(|input| graph.name(input.value) == shape.input) {
                let names = graph.inputs().iter().map(|input| graph.name(input.value));
                bail!(
                    "there is no input {:?}; the inputs are {}",
                    shape.input,
                    names.collect::<Vec<_>>().join(", ")
                );
            }
        }
        let wanted = graph
            .inputs()
            .iter()
            .filter(|input| graph.constant_of(input.value).is_none());
        wanted
            .map(|input| {
                let name = graph.name(input.value);
                let given = self.shape.iter().find(|shape| shape.input == name);
                let sizes = match given {
                    Some(given) => given.sizes.clone(),
                    None => sizes(name, input)?,
                };
                let needed = product("an input", &sizes)
                    .and_then(|len| product("an input", &[len, input.dtype.bytes()]))?;
                let budget = self.model_args.network_options().memory_limit;
                if needed > budget {
                    return Err(Error::MemoryBudget { needed, budget })
                        .with_context(|| format!("input {name:?} of shape {sizes:?}"));
                }
                Ok((name.to_owned(), Tensor::zeros(input.dtype, &sizes)?))
            })
            .collect()
    }
}

/// The sizes of an input where nobody says them.
fn sizes(name: &str, input: &Input) -> Result<Vec<usize>> {
    let Some(dims) = &input.dims else {
        bail!(
            "the model does not say how many axes the input {name:?} has; give --shape {name}=1x3x224x224"
        );
    };
    let size = |(axis, dim): (usize, &Dim)| match (dim, axis) {
        (Dim::Size(size), _) => *size,
        (Dim::Free(_), 0) => 1,
        (Dim::Free(_), _) => 224,
    };
    Ok(dims.iter().enumerate().map(size).collect())
}
