//! `gemmconv bench`: naive loops against every recipe and engine, on the same data.
//!
//! ```text
//! for each problem, each direction:
//!     one set of random data (and, with --check, the reference in f64)
//!     for each recipe, each engine:  plan -> prepare -> time -> row
//! ```
//!
//! A row is printed when it is measured. A problem that cannot be planned is reported at the end by
//! its name; the others are still done.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::measure::{FEWEST_RUNS, Limits};
use super::problem::{Problem, ProblemList};
use super::report::{AUTO, Contents, Row, Table};
use super::suites::Suite;
use super::workload::Workload;
use super::{chart, complain, memory, warn_about};
use crate::gemm::EngineKind;
use crate::kernel::{Isa, peak_gflops};

use crate::{ConvGeometry, ConvPlan, Error, Layout, Pass, PlanOptions, RecipeKind};

/// Largest |result − reference| ÷ largest |reference| that --check lets pass in f32.
const ERROR_BOUND: f64 = 1e-4;
/// Seconds after which naive loops need not run again.
const PATIENCE: f64 = 2.0;
/// A list of problems is text; a file beyond this is something else.
const LARGEST_LIST: u64 = 16 << 20;

const EXAMPLES: &str = "\
Examples:
  gemmconv bench                                   the lessons: naive loops against the chosen recipe
  gemmconv bench --suite resnet50 --check          a network's layers, each compared with the reference
  gemmconv bench --problem 'mb1ic64ih56oc64oh56kh3ph1n\"mine\"' --direction all --recipe all --engine all
  gemmconv bench --problems shapes.txt --batch 16 --threads 2 --layout nhwc --svg speed.svg
  gemmconv bench --suite vgg16 --json -            one JSON object a line and nothing else

A problem is oneDNN's descriptor: g groups, mb batch (2), ic/oc channels, then i input, o output,
k kernel, s stride (1), p padding before, d dilation minus one (0), each for d depth, h height, w width,
and n name. Height alone is a square. A missing o is computed; a missing p is what o needs; a given o is
verified. Underscores separate.

Timed is the pass alone: the plan, the prepared weights, the output and the scratch exist before, and
one untimed run has warmed the caches. Forward adds a bias; backward-weight computes dw and db.
GFLOP/s counts the 2 N O P K operations of the direct algorithm; the peak is a register loop of fused
multiply-adds, measured now, times the threads.

--check compares the last run with plain loops in f64 on the same data: the largest |difference|
divided by the largest |reference|. Above 1e-4 the exit status is 1.

Exit status: 0 all measured, 1 something failed or --check found an error, 2 wrong arguments.";

/// Time convolutions: naive loops against recipes and engines, on the same data
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// A problem descriptor; may be repeated
    #[arg(long, value_name = "DESC")]
    problem: Vec<Problem>,
    /// A file of descriptors, `#` begins a comment; may be repeated
    #[arg(long, value_name = "FILE")]
    problems: Vec<PathBuf>,
    /// A built-in list; may be repeated [default: lessons, where no problem is given]
    #[arg(long, value_enum)]
    suite: Vec<Suite>,
    /// forward, backward-input, backward-weight or all
    #[arg(long, value_name = "PASS", default_value = "forward", value_parser = choice::<Pass>)]
    direction: Vec<Choice<Pass>>,
    /// auto (the plan chooses), a recipe, or all; may be repeated
    /// [default: naive and auto; auto alone with `--json -`]
    #[arg(long, value_parser = recipe)]
    recipe: Vec<Choice<Option<RecipeKind>>>,
    /// The engine of the matrix products, or all; may be repeated [default: BLAS where compiled in, else matrixmultiply]
    #[arg(long, value_parser = choice::<EngineKind>)]
    engine: Vec<Choice<EngineKind>>,
    /// How images lie in memory
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,
    /// Threads to compute with
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Images a batch, instead of the descriptors' mb
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// Compare every result with the reference loops in f64
    #[arg(long)]
    check: bool,
    /// Seconds of timed runs for each row, of which there are 5 to 300
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5, allow_negative_numbers = true, value_parser = budget)]
    budget: f64,
    /// Most memory that the tensors of one problem may need [default: what is available, less a fifth]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: Option<u32>,
    /// Write one JSON object a line to FILE; `-` is standard output, without the table
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Draw the bars into FILE
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LayoutName {
    /// channels first
    Nchw,
    /// channels last
    Nhwc,
}

impl LayoutName {
    fn name(self) -> &'static str {
        match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        }
    }
    fn layout(self) -> Layout {
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
        name => name.parse().map(Choice::One).map_err(|error: T::Err| error.to_string()),
    }
}

fn recipe(name: &str) -> std::result::Result<Choice<Option<RecipeKind>>, String> {
    match name {
        "auto" => Ok(Choice::One(None)),
        name => Ok(match choice::<RecipeKind>(name)? {
            Choice::All => Choice::All,
            Choice::One(kind) => Choice::One(Some(kind)),
        }),
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

/// `gemmconv bench`.
pub(crate) fn run(arguments: BenchArgs) -> Result<ExitCode> {
    let mut bench = Bench::new(&arguments)?;
    bench.measure_all()?;
    bench.finish(arguments.svg.as_deref())
}

/// What is to be measured, where it is written, and what came of it.
struct Bench {
    problems: Vec<Problem>,
    directions: Vec<Pass>,
    /// None is "auto".
    recipes: Vec<Option<RecipeKind>>,
    /// A recipe that cannot do a problem is passed over where all recipes were asked for.
    every_recipe: bool,
    engines: Vec<EngineKind>,
    layout: LayoutName,
    threads: usize,
    batch: Option<usize>,
    check: bool,
    limits: Limits,
    memory_budget: usize,
    pool: ThreadPool,
    peak: f64,
    json: Option<Box<dyn Write>>,
    table: Option<Table>,
    svg: Option<File>,
    progress: ProgressBar,
    rows: Vec<Row>,
    /// Sentences for the end.
    failures: Vec<String>,
}

impl Bench {
    fn new(arguments: &BenchArgs) -> Result<Self> {
        let json_to_stdout = arguments.json.as_deref() == Some(Path::new("-"));
        let problems = problems(arguments)?;
        let recipes = match arguments.recipe.as_slice() {
            [] if json_to_stdout => vec![None],
            [] => vec![Some(RecipeKind::Naive), None],
            choices => {
                let all: Vec<_> = RecipeKind::ALL.iter().copied().map(Some).collect();
                let mut recipes = chosen(choices, &all);
                // The others are measured against it.
                recipes.sort_by_key(|&recipe| recipe != Some(RecipeKind::Naive));
                recipes
            }
        };
        let engines = match arguments.engine.as_slice() {
            [] => vec![EngineKind::default()],
            choices => chosen(choices, &EngineKind::available()),
        };
        for engine in &engines {
            engine.engine::<f32>()?;
        }
        let directions = chosen(&arguments.direction, &Pass::ALL);
        warn_about(&engines);
        let threads = usize::from(arguments.threads);
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .with_context(|| format!("starting {threads} threads"))?;
        let create = |path: &Path| File::create(path).with_context(|| format!("creating {}", path.display()));
        let json: Option<Box<dyn Write>> = match arguments.json.as_deref() {
            None => None,
            Some(_) if json_to_stdout => Some(Box::new(io::stdout())),
            Some(path) => Some(Box::new(BufWriter::new(create(path)?))),
        };
        let table = (!json_to_stdout).then(|| {
            let contents = contents(&problems, &directions, &recipes, &engines, arguments.check);
            Table::new(&contents, terminal_width())
        });
        let rows = |recipe: &Option<RecipeKind>| match recipe {
            Some(recipe) if !recipe.uses_engine() => 1,
            _ => engines.len(),
        };
        let count = problems.len() * directions.len() * recipes.iter().map(rows).sum::<usize>();
        Ok(Self {
            directions,
            recipes,
            every_recipe: arguments.recipe.contains(&Choice::All),
            engines,
            layout: arguments.layout,
            threads,
            batch: arguments.batch.map(usize::try_from).transpose()?,
            check: arguments.check,
            limits: Limits {
                budget: arguments.budget,
                patience: None,
            },
            memory_budget: memory_budget(arguments),
            pool,
            peak: peak_gflops::<f32>() * threads as f64,
            json,
            table,
            svg: arguments.svg.as_deref().map(create).transpose()?,
            // Drawn on standard error, and only where that is a terminal.
            progress: ProgressBar::new(count as u64)
                .with_style(ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}")?),
            problems,
            rows: Vec::new(),
            failures: Vec::new(),
        })
    }

    fn measure_all(&mut self) -> Result<()> {
        self.print_heading()?;
        for problem in self.problems.clone() {
            match problem.geometry(self.layout.layout(), self.batch) {
                Ok(geometry) => {
                    for direction in self.directions.clone() {
                        self.measure(&problem, &geometry, direction)?;
                    }
                }
                Err(error) => self.fail(problem.label(), &error.to_string()),
            }
        }
        self.progress.finish_and_clear();
        Ok(())
    }

    /// All rows of one pass of one problem.
    fn measure(&mut self, problem: &Problem, geometry: &ConvGeometry, pass: Pass) -> Result<()> {
        let what = format!("{} {pass}", problem.label());
        let mut plans = Vec::new();
        for recipe in self.recipes.clone() {
            for engine in self.engines.clone() {
                let options = PlanOptions {
                    engine,
                    recipe,
                    memory_budget: self.memory_budget,
                    ..PlanOptions::default()
                };
                match ConvPlan::<f32>::new(geometry, &options) {
                    Ok(plan) => plans.push((plan, engine, recipe.is_none())),
                    Err(Error::Unsupported { .. }) if self.every_recipe && recipe.is_some() => {}
                    Err(error) => self.fail(&what, &error.to_string()),
                }
                if recipe.is_some_and(|recipe| !recipe.uses_engine()) {
                    break; // Every engine would do the same.
                }
            }
        }
        if plans.is_empty() {
            return Ok(());
        }
        // The plans found that all of it fits the memory budget, so the data is made only now.
        let data = Workload::new(geometry, pass).and_then(|data| {
            let reference = if self.check { Some(data.reference()?) } else { None };
            Ok((data, reference))
        });
        let (data, reference) = match data {
            Ok(data) => data,
            Err(error) => {
                self.fail(&what, &error.to_string());
                return Ok(());
            }
        };
        let mut naive_seconds = None;
        for (plan, engine, by_plan) in plans {
            let recipe = plan.recipe_of(pass).kind();
            self.progress.set_message(format!("{what} {recipe}"));
            let naive = recipe == RecipeKind::Naive;
            let limits = Limits {
                patience: naive.then_some(PATIENCE),
                ..self.limits
            };
            let measured = self.pool.install(|| {
                let (timing, out) = data.run(&plan, limits)?;
                Ok::<_, Error>((timing, out, plan.scratch_len(pass)))
            });
            self.progress.inc(1);
            let (timing, out, scratch) = match measured {
                Ok(measured) => measured,
                Err(error) => {
                    self.fail(&format!("{what} {recipe}"), &error.to_string());
                    continue;
                }
            };
            if naive {
                naive_seconds = Some(timing.median_seconds);
            }
            self.keep(Row {
                problem: problem.text().to_owned(),
                name: problem.name().map(str::to_owned),
                direction: pass.to_string(),
                recipe: recipe.to_string(),
                engine: recipe.uses_engine().then(|| engine.to_string()),
                layout: self.layout.name(),
                threads: self.threads,
                batch: geometry.batch(),
                median_seconds: timing.median_seconds,
                min_seconds: timing.min_seconds,
                runs: timing.runs,
                gflops: geometry.operations() as f64 / timing.median_seconds / 1e9,
                peak_gflops: self.peak,
                scratch_bytes: scratch * size_of::<f32>(),
                max_error: reference.as_ref().map(|reference| out.error(reference)),
                chosen: by_plan,
                naive_seconds,
            })?;
        }
        Ok(())
    }

    /// Writes a row where it is wanted, and remembers it.
    fn keep(&mut self, row: Row) -> Result<()> {
        if let Some(json) = &mut self.json {
            let written = serde_json::to_writer(&mut *json, &row).map_err(io::Error::from);
            written
                .and_then(|()| writeln!(json))
                .and_then(|()| json.flush())
                .context("writing JSON")?;
        }
        if let Some(table) = &self.table {
            let line = table.row(&row);
            self.progress.suspend(|| print(&line))?;
        }
        if let Some(error) = row.max_error.filter(|&error| error > ERROR_BOUND) {
            let (label, pass, recipe) = (row.label(), &row.direction, &row.recipe);
            self.failures.push(format!(
                "{label} {pass} {recipe}: the largest error is {error:.1e} of the largest reference value, above {ERROR_BOUND:e}"
            ));
        }
        self.rows.push(row);
        Ok(())
    }

    fn fail(&mut self, what: &str, why: &str) {
        self.failures.push(format!("{what}: {why}"));
    }

    fn print_heading(&self) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        let mut facts = vec![
            "f32".to_owned(),
            self.layout.name().to_owned(),
            format!("{} thread{}", self.threads, if self.threads == 1 { "" } else { "s" }),
        ];
        facts.extend(table.constant().iter().cloned());
        facts.push(self.peak_in_words());
        print(&facts.join(", "))?;
        print(&table.heading())
    }

    fn peak_in_words(&self) -> String {
        format!(
            "measured peak of fused multiply-add {:.1} GFLOP/s ({})",
            self.peak,
            Isa::detect()
        )
    }

    /// The footnote, the picture, the failures, and the exit code that follows from them.
    fn finish(&mut self, svg: Option<&Path>) -> Result<ExitCode> {
        if self.table.is_some() && self.rows.iter().any(|row| row.runs < FEWEST_RUNS) {
            print(&format!("* fewer than {FEWEST_RUNS} runs: the loops are slow"))?;
        }
        if let (Some(file), Some(path)) = (&mut self.svg, svg) {
            let title = format!(
                "Convolution, f32, {}, threads: {}; peak {:.0} GFLOP/s",
                self.layout.name(),
                self.threads,
                self.peak
            );
            let picture = chart::svg(&self.rows, &title)?;
            file.write_all(picture.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        for failure in &self.failures {
            complain(&format!("error: {failure}"));
        }
        Ok(if self.failures.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// A line on standard output; a closed pipe is an error, not a panic.
fn print(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The problems of all three sources, in the order of the options in the help.
fn problems(arguments: &BenchArgs) -> Result<Vec<Problem>> {
    let mut problems = arguments.problem.clone();
    for path in &arguments.problems {
        problems.extend(listed(path)?);
    }
    let nothing = problems.is_empty() && arguments.problems.is_empty() && arguments.suite.is_empty();
    let suites = if nothing {
        &[Suite::Lessons]
    } else {
        arguments.suite.as_slice()
    };
    for suite in suites {
        problems.extend(suite.text().parse::<ProblemList>()?.problems);
    }
    if problems.is_empty() {
        bail!("no problem is listed in what was given");
    }
    Ok(problems)
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

/// Bytes that a plan may count on.
fn memory_budget(arguments: &BenchArgs) -> usize {
    if let Some(mebibytes) = arguments.memory {
        return (mebibytes as usize).saturating_mul(1 << 20);
    }
    let default = PlanOptions::default().memory_budget;
    let available = memory::available().map_or(default, |bytes| bytes / 5 * 4);
    // The reference has everything again in numbers of twice the length.
    available / if arguments.check { 3 } else { 1 }
}

/// What the table will hold, for its widths.
fn contents(
    problems: &[Problem],
    directions: &[Pass],
    recipes: &[Option<RecipeKind>],
    engines: &[EngineKind],
    check: bool,
) -> Contents {
    let mut names: Vec<String> = recipes.iter().flatten().map(RecipeKind::to_string).collect();
    if recipes.contains(&None) {
        names.extend(RecipeKind::ALL.iter().map(|recipe| format!("{recipe}{AUTO}")));
    }
    Contents {
        labels: problems.iter().map(|problem| problem.label().to_owned()).collect(),
        directions: directions.iter().map(Pass::to_string).collect(),
        recipes: names,
        engines: engines.iter().map(EngineKind::to_string).collect(),
        check,
    }
}

/// Characters of a line: the terminal's, or what a file is read with.
fn terminal_width() -> usize {
    let terminal = console::Term::stdout();
    if io::stdout().is_terminal()
        && let Some((_, columns)) = terminal.size_checked()
    {
        return usize::from(columns);
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.unwrap_or(132)
}
