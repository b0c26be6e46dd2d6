//! `gemmconv run`: tensors from files through a model into files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::model::{ModelArgs, say, shape, write_file};
use super::refuse;
use crate::data::npy;
use crate::network::{Graph, Tensor};
use crate::onnx::write_tensor;

/// Run a model on tensors from files
///
/// Prints a line for each output: its name, type, shape and file. A file that is there already is replaced.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// An ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// A tensor for an input, a .npy or .pb file (an ONNX TensorProto). Without NAME, the name in the .pb file
    /// counts, or the model has but one input to give. Once for each input
    #[arg(short, long = "input", value_name = "NAME=FILE", required = true)]
    inputs: Vec<String>,

    /// The folder for the results; made if it is not there
    #[arg(short = 'd', long, value_name = "DIR")]
    output_dir: PathBuf,

    /// A value to write instead of the model's outputs, one in the middle too. May be given several times
    #[arg(short, long = "output", value_name = "NAME")]
    outputs: Vec<String>,

    /// What is written. NumPy has no bfloat16: to npy it goes as f32
    #[arg(long, value_enum, default_value_t = Format::Npy)]
    format: Format,

    #[command(flatten)]
    model_args: ModelArgs,
}

const EXAMPLES: &str = "\
Examples:
  gemmconv run squeezenet.onnx --input data_0=cat.npy --output-dir results/
  gemmconv run model.onnx --input input_0.pb --output scores --output relu_7 --format pb -d results/

A result is called after its output; characters other than letters, digits and -_. become _.

Exit status: 0 done, 1 not done, 2 wrong arguments.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Npy,
    Pb,
}

/// Runs the command.
///
/// # Errors
/// Whatever the files, the model or its inputs have wrong.
pub(crate) fn run(arguments: &RunArgs) -> Result<ExitCode> {
    let mut graph = arguments.model_args.import(&arguments.model)?;
    if !arguments.outputs.is_empty() {
        graph.set_outputs(&arguments.outputs)?;
    }
    let inputs = match arguments.tensors(&graph) {
        Ok(inputs) => inputs,
        Err(error) => return Ok(refuse(&error)),
    };
    let network = arguments.model_args.network(graph)?;
    let pool = arguments.model_args.pool()?;
    let outputs = pool
        .install(|| network.run(&inputs))
        .with_context(|| arguments.model.display().to_string())?;
    let folder = &arguments.output_dir;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut taken = HashSet::new();
    for (name, tensor) in &outputs {
        let path = folder.join(arguments.format.file_name(name, &mut taken));
        write_file(&path, &arguments.format.bytes(name, tensor)?)?;
        say(&format!(
            "{name}  {} {}  {}",
            tensor.dtype().name(),
            shape(tensor.shape()),
            path.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl RunArgs {
    /// The tensors by the names of the inputs.
    fn tensors(&self, graph: &Graph) -> Result<Vec<(String, Tensor)>> {
        let given = graph.inputs().iter();
        let names: Vec<&str> = given.map(|input| graph.name(input.value)).collect();
        let wanted = graph.inputs().iter();
        let wanted: Vec<&str> = wanted
            .filter(|input| graph.constant_of(input.value).is_none())
            .map(|input| graph.name(input.value))
            .collect();
        let tensor = |text: &String| {
            let named = text.split_once('=');
            // A file may have `=` in its name, an input too.
            let known = names.iter().find_map(|&name| {
                let file = text.strip_prefix(name)?.strip_prefix('=')?;
                Some((name, file))
            });
            if let Some((name, file)) = known {
                return Ok((name.to_owned(), self.model_args.tensor(Path::new(file))?.1));
            }
            if !Path::new(text).exists()
                && let Some((name, _)) = named
            {
                bail!(
                    "there is no input {name:?}; the inputs are {}",
                    names.join(", ")
                );
            }
            let (name, tensor) = self.model_args.tensor(Path::new(text))?;
            if names.contains(&name.as_str()) {
                return Ok((name, tensor));
            }
            match wanted[..] {
                [only] => Ok((only.to_owned(), tensor)),
                _ => bail!(
                    "{text} does not say which input it is for; write NAME={text}, where NAME is one of {}",
                    names.join(", ")
                ),
            }
        };
        self.inputs.iter().map(tensor).collect()
    }
}

impl Format {
    fn bytes(self, name: &str, tensor: &Tensor) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Npy => npy::write(tensor)?,
            Self::Pb => write_tensor(name, tensor)?,
        })
    }

    /// A name for the file of the output `name` that no other has; some file systems do not tell A from a.
    fn file_name(self, name: &str, taken: &mut HashSet<String>) -> String {
        let extension = match self {
            Self::Npy => "npy",
            Self::Pb => "pb",
        };
        let harmless = |symbol: char| match symbol {
            symbol if symbol.is_ascii_alphanumeric() || "-_.".contains(symbol) => symbol,
            _ => '_',
        };
        // A leading dot hides the file; a name beyond 255 bytes cannot be made.
        let stem: String = name.chars().take(200).map(harmless).collect();
        let stem = match stem.trim_start_matches('.') {
            "" => "output",
            stem => stem,
        };
        let numbered = (2u64..).map(|number| format!("{stem}-{number}.{extension}"));
        let mut names = std::iter::once(format!("{stem}.{extension}")).chain(numbered);
        names
            .find(|name| taken.insert(name.to_ascii_lowercase()))
            .expect("one of 2⁶⁴ names is free")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_harmless_and_differ() {
        let mut taken = HashSet::new();
        let mut name = |name: &str| Format::Npy.file_name(name, &mut taken);
        assert_eq!(name("scores"), "scores.npy");
        assert_eq!(name("Scores"), "Scores-2.npy");
        assert_eq!(name("scores"), "scores-3.npy");
        assert_eq!(name("../../etc/passwd"), "_.._etc_passwd.npy");
        assert_eq!(name(".."), "output.npy");
        assert_eq!(name(""), "output-2.npy");
        assert_eq!(name("a:0\n"), "a_0_.npy");
        assert!(name(&"x".repeat(999)).len() < 255);
    }
}
