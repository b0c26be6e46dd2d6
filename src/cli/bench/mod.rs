//! `gemmconv bench`: naive loops against every recipe and engine, on the same data.
//!
//! ```text
//! for each problem, each direction:
//!     one set of random data (and, with --check, the reference in f64)
//!     for each way to compute it:  plan -> prepare -> time -> row
//! ```
//!
//! A row is printed when it is measured. A problem that cannot be planned is reported at the end by
//! its name; the others are still done. Where every recipe was asked for, those that cannot do a pass
//! are noted with the reason, and the plan's own choices are judged. With `--model`, a whole network: `network/`.

mod args;
mod chart;
mod choice;
mod measure;
mod memory;
mod network;
mod output;
mod report;
mod suites;
mod ways;
mod workload;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPool;

use super::model::thread_pool;
use super::problem::Problem;
use super::{complain, is_closed_pipe, printable, refuse, warn_about};
use args::LayoutName;
use chart::Chart;
use measure::{FEWEST_RUNS, Limits};
use output::{OutputFile, OutputFiles};
pub(crate) use report::terminal_width;
use report::{AUTO, Contents, Row, Table};
use ways::{Planned, Refusal, Ways};
use workload::Case;

use crate::kernel::{Isa, peak_gflops};
use crate::{ConvGeometry, EngineKind, Error, Pass, RecipeKind};

pub(super) use args::BenchArgs;

/// Largest |result − reference| ÷ largest |reference| that --check lets pass in f32.
const ERROR_BOUND: f64 = 1e-4;
/// Seconds after which naive loops need not run again.
const PATIENCE: f64 = 2.0;

/// `gemmconv bench`.
pub(crate) fn run(arguments: BenchArgs) -> Result<ExitCode> {
    if let Some(model) = &arguments.model {
        return network::run(model, &arguments);
    }
    let mut bench = match Bench::new(&arguments) {
        Ok(bench) => bench,
        Err(error) => return Ok(refuse(&error)),
    };
    match bench.measure_all() {
        // Nobody reads on and no file is to be filled: what failed so far is still said.
        Err(error) if is_closed_pipe(&error) => bench.reader_left = true,
        done => done?,
    }
    bench.finish()
}

/// What is to be measured, where it is written, and what came of it.
struct Bench {
    problems: Vec<Problem>,
    directions: Vec<Pass>,
    ways: Ways,
    layout: LayoutName,
    threads: usize,
    batch: Option<usize>,
    check: bool,
    /// Seconds of timed runs a row.
    budget: f64,
    pool: ThreadPool,
    peak: f64,
    json: Option<OutputFile>,
    svg: Option<OutputFile>,
    /// What standard output gets: the table, or without one a line of JSON a row.
    table: Option<Table>,
    /// Whether standard output was closed.
    reader_left: bool,
    progress: ProgressBar,
    rows: Vec<Row>,
    /// Where every recipe was asked for: the recipes that cannot do a pass, why, and which pass.
    impossible: Vec<(RecipeKind, &'static str, String)>,
    /// Sentences for the end.
    failures: Vec<String>,
}

impl Bench {
    fn new(arguments: &BenchArgs) -> Result<Self> {
        let (problems, directions) = (arguments.all_problems()?, arguments.directions());
        let (recipes, engines) = (arguments.recipes(), arguments.engines());
        for engine in &engines {
            engine.engine::<f32>()?;
        }
        warn_about(&engines);
        let threads = usize::from(arguments.threads);
        let pool = thread_pool(threads)?;
        let read: Vec<(&str, &Path)> = arguments
            .problems
            .iter()
            .map(|path| ("--problems", path.as_path()))
            .collect();
        let OutputFiles { json, svg } = arguments.files(&read)?;
        let table = (!arguments.json_to_stdout()).then(|| {
            let contents = contents(&problems, &directions, &recipes, &engines, arguments.check);
            Table::new(&contents, terminal_width())
        });
        let count = problems.len() * directions.len();
        // Drawn on standard error, and only where that is a terminal.
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}")?;
        Ok(Self {
            problems,
            directions,
            ways: Ways {
                recipes,
                every: arguments.every_recipe(),
                engines,
                accuracy: arguments.accuracy,
                memory_budget: arguments.memory_budget(),
            },
            layout: arguments.layout,
            threads,
            batch: arguments.batch()?,
            check: arguments.check,
            budget: arguments.budget(),
            pool,
            peak: measured_peak(threads),
            json,
            svg,
            table,
            reader_left: false,
            progress: ProgressBar::new(count as u64).with_style(style),
            rows: Vec::new(),
            impossible: Vec::new(),
            failures: Vec::new(),
        })
    }

    fn measure_all(&mut self) -> Result<()> {
        self.print_heading()?;
        for (case, problem) in self.problems.clone().iter().enumerate() {
            match problem.geometry(self.layout.layout(), self.batch) {
                Ok(geometry) => {
                    for direction in self.directions.clone() {
                        self.measure(case, problem, &geometry, direction)?;
                        self.progress.inc(1);
                    }
                }
                Err(error) => {
                    self.fail(problem.label(), &error);
                    self.progress.inc(self.directions.len() as u64);
                }
            }
        }
        self.progress.finish_and_clear();
        Ok(())
    }

    /// All rows of one pass of one problem.
    fn measure(
        &mut self,
        case: usize,
        problem: &Problem,
        geometry: &ConvGeometry,
        pass: Pass,
    ) -> Result<()> {
        let what = format!("{} {pass}", problem.label());
        let (plans, refusals) = self.ways.plans(geometry, pass);
        for refusal in refusals {
            match refusal {
                Refusal::Recipe(kind, why) if self.ways.every => {
                    self.impossible.push((kind, why, what.clone()));
                }
                Refusal::Recipe(kind, why) => {
                    let failure = format!("{what}: {kind} is not possible: {why}");
                    self.failures.push(failure);
                }
                Refusal::Error(error) => self.fail(&what, &error),
            }
        }
        if plans.is_empty() {
            return Ok(());
        }
        // The plans found that all of it fits the memory budget, so the data is made only now.
        let mut case = match Case::new(case, problem, geometry, pass, self.check) {
            Ok(case) => case,
            Err(error) => {
                self.fail(&what, &error);
                return Ok(());
            }
        };
        for planned in plans {
            let recipe = planned.kind;
            self.progress
                .set_message(printable(&format!("{what} {recipe}")));
            match self.row(&planned, &mut case) {
                Ok(row) => self.keep(row)?,
                Err(error) => self.fail(&format!("{what} {recipe}"), &error),
            }
        }
        Ok(())
    }

    /// Measures one plan.
    fn row(&self, planned: &Planned, case: &mut Case<'_>) -> crate::Result<Row> {
        let (plan, recipe, pass) = (&planned.plan, planned.kind, case.pass);
        let naive = recipe == RecipeKind::Naive;
        let limits = Limits {
            patience: naive.then_some(PATIENCE),
            ..Limits::new(self.budget)
        };
        let (timing, out, scratch) = self.pool.install(|| {
            let (timing, out) = case.data.run(plan, limits)?;
            Ok::<_, Error>((timing, out, plan.scratch_len(pass)))
        })?;
        if naive {
            case.naive_seconds.get_or_insert(timing.median_seconds);
        }
        let geometry = plan.geometry();
        let reference = case.reference.as_ref();
        let error = reference.map(|reference| out.error(reference));
        Ok(Row {
            problem: case.problem.text().to_owned(),
            name: case.problem.name().map(str::to_owned),
            direction: pass.to_string(),
            recipe: recipe.to_string(),
            engine: recipe.uses_engine().then(|| planned.engine.to_string()),
            layout: self.layout.name(),
            threads: self.threads,
            batch: geometry.batch(),
            median_seconds: timing.median_seconds,
            min_seconds: timing.min_seconds,
            runs: timing.runs,
            gflops: geometry.operations() as f64 / timing.median_seconds / 1e9,
            peak_gflops: self.peak,
            scratch_bytes: scratch * size_of::<f32>(),
            max_error: error.map(|error| error.max),
            rms_error: error.map(|error| error.rms),
            chosen: planned.chosen,
            case: case.number,
            naive_seconds: case.naive_seconds,
        })
    }

    /// Writes a row where it is wanted, and remembers it.
    fn keep(&mut self, row: Row) -> Result<()> {
        let object = serde_json::to_string(&row).context("a row as JSON")?;
        if let Some(json) = &self.json {
            json.write(&format!("{object}\n"))?;
        }
        // What failed is known before the line is printed, which may find that nobody reads it.
        if let Some(error) = row.max_error.filter(|&error| error > ERROR_BOUND) {
            let (label, pass, recipe) = (row.label(), &row.direction, &row.recipe);
            self.failures.push(format!(
                "{label} {pass} {recipe}: the largest error is {error:.1e} of the largest reference value, above {ERROR_BOUND:e}"
            ));
        }
        let line = self.table.as_ref().map(|table| table.row(&row));
        self.rows.push(row);
        let progress = self.progress.clone();
        progress.suspend(|| self.say(&line.unwrap_or(object)))
    }

    /// A line on standard output. Where that is closed and a file is wanted, the work goes on for the file.
    fn say(&mut self, line: &str) -> Result<()> {
        if self.reader_left {
            return Ok(());
        }
        match print(line) {
            Err(error) if is_closed_pipe(&error) && (self.json.is_some() || self.svg.is_some()) => {
                self.reader_left = true;
                Ok(())
            }
            done => done,
        }
    }

    fn fail(&mut self, what: &str, why: &Error) {
        self.failures.push(format!("{what}: {why}"));
    }

    fn print_heading(&mut self) -> Result<()> {
        let Some(table) = &self.table else {
            return Ok(());
        };
        let mut facts = vec![
            "f32".to_owned(),
            self.layout.name().to_owned(),
            format!(
                "{} thread{}",
                self.threads,
                if self.threads == 1 { "" } else { "s" }
            ),
        ];
        facts.extend(table.constant().iter().cloned());
        facts.push(self.peak_in_words());
        let heading = table.heading();
        self.say(&facts.join(", "))?;
        self.say(&heading)
    }

    fn peak_in_words(&self) -> String {
        format!(
            "measured peak of fused multiply-add {:.1} GFLOP/s ({})",
            self.peak,
            Isa::selected()
        )
    }

    /// The files, the footnotes, the failures, and the exit code that follows from them.
    fn finish(mut self) -> Result<ExitCode> {
        if let Some(json) = self.json.take() {
            json.keep()?;
        }
        if let Some(svg) = self.svg.take() {
            let title = format!(
                "Convolution, f32, {}, threads: {}; peak {:.0} GFLOP/s",
                self.layout.name(),
                self.threads,
                self.peak
            );
            svg.write(&Chart::of_problems(&self.rows, title).svg()?)?;
            svg.keep()?;
        }
        let mut footnotes = Vec::new();
        if self.table.is_some() && self.rows.iter().any(|row| row.runs < FEWEST_RUNS) {
            footnotes.push(format!(
                "* fewer than {FEWEST_RUNS} runs: the loops are slow"
            ));
        }
        if self.ways.every {
            footnotes.extend(choice::summary(&self.rows, self.ways.accuracy));
        }
        for footnote in footnotes {
            if self.table.is_none() {
                // Standard output is for JSON.
                complain(&footnote);
                continue;
            }
            match self.say(&footnote) {
                Err(error) if is_closed_pipe(&error) => {}
                done => done?,
            }
        }
        for note in ways::notes(&self.impossible) {
            complain(&format!("note: {note}"));
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

/// GFLOP/s of so many threads together, measured now.
fn measured_peak(threads: usize) -> f64 {
    // More threads than cores share the cores.
    let cores = thread::available_parallelism().map_or(threads, usize::from);
    peak_gflops::<f32>() * threads.min(cores) as f64
}

/// A line on standard output; a closed pipe is an error, not a panic.
fn print(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("writing to standard output")
}

/// What the table will hold, for its widths.
fn contents(
    problems: &[Problem],
    directions: &[Pass],
    recipes: &[Option<RecipeKind>],
    engines: &[EngineKind],
    check: bool,
) -> Contents {
    // Any of them may turn out to be the plan's own choice.
    let named = recipes.iter().copied().flatten();
    let names: Vec<RecipeKind> = if recipes.contains(&None) {
        RecipeKind::ALL.to_vec()
    } else {
        named.collect()
    };
    Contents {
        labels: problems
            .iter()
            .map(|problem| printable(problem.label()))
            .collect(),
        directions: directions.iter().map(Pass::to_string).collect(),
        recipes: names.iter().map(|kind| format!("{kind}{AUTO}")).collect(),
        engines: engines.iter().map(EngineKind::to_string).collect(),
        check,
    }
}
