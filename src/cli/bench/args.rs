//! The arguments of `gemmconv bench`: what is to be measured, and the help that says how.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::memory;
use super::output::OutputFiles;
use super::suites::Suite;
use super::ways::is_candidate;
use crate::cli::problem::{Problem, ProblemList};
use crate::cli::shape::Shape;
use crate::cli::{complain, list};
use crate::network::DEFAULT_MEMORY_LIMIT;
use crate::{Accuracy, EngineKind, Layout, Pass, PlanOptions, RecipeKind};

/// A list of problems is text; a file beyond this is something else.
const LARGEST_LIST: u64 = 16 << 20;

const EXAMPLES: &str = r#"Examples:
  the lessons, naive loops against the recipe that the plan chooses:
    gemmconv bench
  a network's layers, each compared with the reference:
    gemmconv bench --suite resnet50 --check
  one layer, everything that can compute it:
    gemmconv bench --problem mb1ic64ih56oc64kh3ph1 \
        --direction all --recipe all --engine all
  how good the plan's own choices are:
    gemmconv bench --problems shapes.txt --recipe candidates --direction all
  a list at another batch, with a picture:
    gemmconv bench --problems shapes.txt --batch 16 --threads 2 --svg speed.svg
  one JSON object a line and nothing else:
    gemmconv bench --suite vgg16 --json -
  a whole network, and where its time goes:
    gemmconv bench --model resnet50.onnx --batch 16 --threads 2 \
        --profile --svg layers.svg

"#;

/// Paragraphs are one line each: the terminal's width wraps them.
const NOTES: &str = "\
A problem is oneDNN's descriptor: g groups (1), mb batch (2), ic/oc channels; then i input, \
o output, k kernel, s stride (1), p padding before, d dilation minus one (0), each for d depth, \
h height, w width; then n and a name. Height alone is a square, depth alone a cube. A missing o is \
computed, a missing p is what o needs, a given o is verified. Underscores separate.

Timed is the pass alone: the plan, the prepared weights, the output and the scratch exist before, \
and untimed runs, at least one and 50 ms of them, have warmed caches and threads. Forward adds a \
bias; backward-weight computes dw and db. GFLOP/s counts the 2 N O P K operations of the direct \
algorithm; the peak is a register loop of fused multiply-adds, measured now, times the threads, or \
the cores where there are fewer.

(auto) marks the recipe that a plan takes by itself, in JSON the key `chosen`. With all or candidates, \
recipes that cannot do a pass are named with the reason, and it is counted how often the plan's choice \
was more than a tenth slower than the best candidate. The variable GEMMCONV_ISA, which takes another \
instruction set than the CPU's widest, changes the native recipes and the peak, but no engine.

--check compares the last run with plain loops in f64 on the same data: the largest |difference| \
divided by the largest |reference|; in JSON also `rms_error`, root mean square by root mean square. \
Where the largest is above 1e-4 the exit status is 1.

With --model, the network in an ONNX file runs as one, on floats between -1 and 1 and zeros in place of integers, \
in buffers that are used again; images/s is the batch divided by the median. A batch that the file fixes is \
replaced by --batch where the network can be planned with it. --shape says the axes that the model leaves free; its \
first one, where it is 1, becomes the batch. --profile notes the time of every layer in as many runs again: a layer \
whose work another one does on the way is not among them, see gemmconv inspect. JSON has one object for the model, \
with --profile the layers in it; --svg draws them.

The files of --json and --svg get their names when they are complete; what was there is replaced.

Exit status: 0 all measured, 1 something failed or --check found an error, 2 wrong arguments.";

/// The heading of the options for networks.
const NETWORKS: &str = "Networks";
/// The options that say something of problems and nothing of a network.
const PROBLEMS_ALONE: [&str; 8] = [
    "problem",
    "problems",
    "suite",
    "direction",
    "recipe",
    "engine",
    "layout",
    "check",
];
/// Seconds of timed runs for a row, and for a network.
const BUDGETS: [f64; 2] = [0.5, 3.0];

/// Time convolutions: naive loops against recipes and engines, on the same data; or a whole network
#[derive(Debug, Args)]
#[command(after_help = [EXAMPLES, NOTES].concat())]
pub(crate) struct BenchArgs {
    /// A problem descriptor; may be repeated
    #[arg(long, value_name = "DESC")]
    problem: Vec<Problem>,
    /// A file of descriptors, `#` begins a comment; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) problems: Vec<PathBuf>,
    /// A built-in list; may be repeated [default: lessons, where no problem is given]
    #[arg(long, value_enum)]
    suite: Vec<Suite>,
    /// forward, backward-input, backward-weight or all
    #[arg(long, value_name = "PASS", default_value = "forward", value_parser = choice::<Pass>)]
    direction: Vec<Choice<Pass>>,
    #[arg(long, value_parser = recipes, help = recipe_help())]
    recipe: Vec<Recipes>,
    /// What plans choose from: exact sums alone, or fast: Winograd's algorithm too
    #[arg(long, default_value_t)]
    pub(crate) accuracy: Accuracy,
    #[arg(long, value_parser = choice::<EngineKind>, help = engine_help())]
    engine: Vec<Choice<EngineKind>>,
    /// How images lie in memory
    #[arg(long, value_enum, default_value = "nchw")]
    pub(crate) layout: LayoutName,
    /// Threads to compute with
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Images a batch, instead of the descriptors' mb, or of what the model fixes (1 where that is nothing)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// Compare every result with the reference loops in f64
    #[arg(long)]
    pub(crate) check: bool,
    /// Seconds of timed runs for each row, of which there are 5 to 300; for a model, 5 to 10000 [default: 0.5, with --model 3]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = budget)]
    budget: Option<f64>,
    /// Most memory that the tensors of one problem may need, with --check those of the reference too; that reading a model may take, and again that running it may [default: what is available, less a fifth; with --model 4096]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: Option<u32>,
    /// An ONNX file: time the network in it instead of problems
    #[arg(long, value_name = "FILE", help_heading = NETWORKS, conflicts_with_all = PROBLEMS_ALONE)]
    pub(crate) model: Option<PathBuf>,
    /// The size of an input, data=1x3x320x320; may be repeated [default: what the model says, 224 where that is nothing]
    #[arg(long, value_name = "NAME=SHAPE", help_heading = NETWORKS, requires = "model")]
    pub(crate) shape: Vec<Shape>,
    /// Time every layer too
    #[arg(long, help_heading = NETWORKS, requires = "model")]
    pub(crate) profile: bool,
    /// Write one JSON object a line to FILE; `-` is standard output, without the table
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Draw the bars into FILE: of the rows, or with --profile of the layers
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

impl BenchArgs {
    /// Whether standard output is for JSON alone.
    pub(crate) fn json_to_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }

    /// Opens the files of --json and --svg; `read` are those that are read.
    pub(crate) fn files(&self, read: &[(&str, &Path)]) -> Result<OutputFiles> {
        let json = self.json.as_deref().filter(|_| !self.json_to_stdout());
        OutputFiles::create(json, self.svg.as_deref(), read)
    }

    /// The problems of all three sources, in the order of the options in the help.
    pub(crate) fn all_problems(&self) -> Result<Vec<Problem>> {
        let mut problems = self.problem.clone();
        for path in &self.problems {
            problems.extend(listed(path)?);
        }
        let nothing = self.problem.is_empty() && self.problems.is_empty() && self.suite.is_empty();
        let suites = if nothing {
            &[Suite::Lessons]
        } else {
            self.suite.as_slice()
        };
        for suite in suites {
            problems.extend(suite.text().parse::<ProblemList>()?.problems);
        }
        if problems.is_empty() {
            bail!("no problem is listed in what was given");
        }
        Ok(problems)
    }

    pub(crate) fn directions(&self) -> Vec<Pass> {
        chosen(&self.direction, &Pass::ALL)
    }

    /// None is "auto". The naive loops come first: the others are measured against them.
    pub(crate) fn recipes(&self) -> Vec<Option<RecipeKind>> {
        match self.recipe.as_slice() {
            [] if self.json_to_stdout() => vec![None],
            [] => vec![Some(RecipeKind::Naive), None],
            choices => {
                let mut recipes = Vec::new();
                for recipe in choices.iter().flat_map(|names| names.list(self.accuracy)) {
                    if !recipes.contains(&recipe) {
                        recipes.push(recipe);
                    }
                }
                recipes.sort_by_key(|&recipe| recipe != Some(RecipeKind::Naive));
                recipes
            }
        }
    }

    /// Whether recipes were asked for without naming them: then one that cannot do a problem is no error.
    pub(crate) fn every_recipe(&self) -> bool {
        let several = [Recipes::All, Recipes::Candidates];
        several.iter().any(|all| self.recipe.contains(all))
    }

    pub(crate) fn engines(&self) -> Vec<EngineKind> {
        match self.engine.as_slice() {
            [] => vec![EngineKind::default()],
            choices => chosen(choices, &EngineKind::available()),
        }
    }

    /// Seconds of timed runs.
    pub(crate) fn budget(&self) -> f64 {
        let default = BUDGETS[usize::from(self.model.is_some())];
        self.budget.unwrap_or(default)
    }

    pub(crate) fn batch(&self) -> Result<Option<usize>> {
        Ok(self.batch.map(usize::try_from).transpose()?)
    }

    /// Bytes that reading a model may take, and again that running it may.
    pub(crate) fn model_limit(&self) -> usize {
        self.memory.map_or(DEFAULT_MEMORY_LIMIT, mebibytes)
    }

    /// Bytes that the plan of one problem may count on.
    pub(crate) fn memory_budget(&self) -> usize {
        let most = match self.memory {
            Some(count) => mebibytes(count),
            None => memory::available()
                .map_or(PlanOptions::default().memory_budget, |bytes| bytes / 5 * 4),
        };
        // The reference has everything again in numbers of twice the length.
        most / if self.check { 3 } else { 1 }
    }
}

/// So many MiB in bytes, or as many as can be addressed.
fn mebibytes(count: u32) -> usize {
    usize::try_from(u64::from(count) << 20).unwrap_or(usize::MAX)
}

/// A layout by its usual name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// channels first
    Nchw,
    /// channels last
    Nhwc,
}

impl LayoutName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        }
    }
    pub(crate) fn layout(self) -> Layout {
        match self {
            Self::Nchw => Layout::ChannelsFirst,
            Self::Nhwc => Layout::ChannelsLast,
        }
    }
}

/// One of several, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice<T> {
    All,
    One(T),
}

fn choice<T: std::str::FromStr>(name: &str) -> std::result::Result<Choice<T>, String>
where
    T::Err: ToString,
{
    match name {
        "all" => Ok(Choice::All),
        name => name
            .parse()
            .map(Choice::One)
            .map_err(|error: T::Err| error.to_string()),
    }
}

fn recipe_help() -> String {
    format!(
        "auto (the plan chooses), {}, candidates (what the plan chooses from) or all; may be repeated [default: naive and auto; auto alone with `--json -`]",
        list(&RecipeKind::ALL)
    )
}

fn engine_help() -> String {
    format!(
        "What multiplies where the recipe is unfold (the others need none): {} or all of what is compiled in; may be repeated [default: {}]",
        list(&EngineKind::available()),
        EngineKind::default()
    )
}

/// What `--recipe` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recipes {
    All,
    /// Those that a plan chooses from.
    Candidates,
    Auto,
    One(RecipeKind),
}

impl Recipes {
    /// None is "auto".
    fn list(&self, accuracy: Accuracy) -> Vec<Option<RecipeKind>> {
        match self {
            Self::All => RecipeKind::ALL.map(Some).to_vec(),
            Self::Candidates => {
                let mut kinds = RecipeKind::ALL.to_vec();
                kinds.retain(|&kind| is_candidate(kind, accuracy));
                kinds.into_iter().map(Some).collect()
            }
            Self::Auto => vec![None],
            Self::One(kind) => vec![Some(*kind)],
        }
    }
}

fn recipes(name: &str) -> std::result::Result<Recipes, String> {
    match name {
        "all" => Ok(Recipes::All),
        "candidates" => Ok(Recipes::Candidates),
        "auto" => Ok(Recipes::Auto),
        name => name.parse().map(Recipes::One),
    }
}

fn budget(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        Ok(seconds) => Err(format!("{seconds} is outside 0..=86400 seconds")),
        Err(error) => Err(error.to_string()),
    }
}

/// The choices as a list without repetition, `all` of them where that is asked for.
fn chosen<T: Copy + PartialEq>(choices: &[Choice<T>], all: &[T]) -> Vec<T> {
    let mut list = Vec::new();
    for choice in choices {
        let more = match choice {
            Choice::All => all,
            Choice::One(one) => std::slice::from_ref(one),
        };
        for &item in more {
            if !list.contains(&item) {
                list.push(item);
            }
        }
    }
    list
}

/// The problems of a file.
fn listed(path: &Path) -> Result<Vec<Problem>> {
    let name = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_LIST + 1).read_to_string(&mut text))
        .with_context(|| format!("reading {name}"))?;
    if text.len() as u64 > LARGEST_LIST {
        bail!("{name} is longer than {LARGEST_LIST} bytes: not a list of problems");
    }
    let list: ProblemList = text.parse().with_context(|| format!("in {name}"))?;
    if let Some((line, option)) = list.passed_over.first() {
        let count = list.passed_over.len();
        complain(&format!(
            "note: {name}: benchdnn's own options are passed over, {count} of them, the first in line {line}: {option}"
        ));
    }
    Ok(list.problems)
}
