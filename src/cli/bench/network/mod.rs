//! `gemmconv bench --model`: a whole network on noise, as it would run in a service.
//!
//! ```text
//! import ─► plan for the batch ─► warm-up ─► timed runs of one session in one set of buffers ─► report
//!                                            --profile: runs that note the time of each layer
//! ```

mod inputs;
mod layers;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressFinish};

use super::args::BenchArgs;
use super::measure::{Limits, Timing, time};
use super::output::OutputFiles;
use super::{measured_peak, print};
use crate::cli::model::{shape, thread_pool};
use crate::cli::{printable, refuse};
use crate::kernel::Isa;
use crate::network::{Graph, Network, NetworkOptions, Session, View};
use crate::onnx::{ImportOptions, import};
use inputs::Inputs;
use layers::LayerRow;
use report::Report;

/// Runs that are timed at most: of small networks more than of problems, for the sake of the 99th percentile.
const MOST_RUNS: usize = 10_000;

/// Times the network in the file `model`.
///
/// # Errors
/// A model that cannot be read or planned.
pub(super) fn run(model: &Path, arguments: &BenchArgs) -> Result<ExitCode> {
    let files = match files(model, arguments) {
        Ok(files) => files,
        Err(error) => return Ok(refuse(&error)),
    };
    // Drawn on standard error, and only where that is a terminal.
    let progress = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
    let name = model.display().to_string();
    progress.set_message(printable(&format!("reading {name}")));
    let limit = arguments.model_limit();
    let begin = Instant::now();
    let mut graph = import(model, &ImportOptions::new().memory_limit(limit))?;
    let import_seconds = begin.elapsed().as_secs_f64();
    let inputs = match Inputs::new(&mut graph, arguments.batch()?, &arguments.shape, limit) {
        Ok(inputs) => inputs,
        Err(error) => return Ok(refuse(&error.context(name))),
    };
    progress.set_message("planning");
    let threads = usize::from(arguments.threads);
    let pool = thread_pool(threads)?;
    let mut options = NetworkOptions::new().memory_limit(limit);
    options.plan.accuracy = arguments.accuracy;
    let begin = Instant::now();
    let (network, session) = pool
        .install(|| planned(graph, options, &inputs))
        .with_context(|| inputs.planning(&name))?;
    let planning_seconds = begin.elapsed().as_secs_f64();
    let peak_gflops = measured_peak(threads);
    progress.set_message("running");
    let views = inputs.views(network.graph())?;
    let (timing, layers) = pool
        .install(|| measured(&session, &views, arguments))
        .with_context(|| name.clone())?;
    drop(progress);
    let operations = operations(&session);
    let report = Report {
        model: name,
        batch: inputs.batch,
        threads,
        images_per_second: inputs.batch as f64 / timing.median_seconds,
        median_seconds: timing.median_seconds,
        p90_seconds: timing.p90_seconds,
        p99_seconds: timing.p99_seconds,
        min_seconds: timing.min_seconds,
        runs: timing.runs,
        operations,
        gflops: operations as f64 / timing.median_seconds / 1e9,
        peak_gflops,
        arena_bytes: session.arena_bytes(),
        activation_bytes: session.activation_bytes(),
        import_seconds,
        planning_seconds,
        isa: Isa::selected().to_string(),
        layers,
    };
    finish(&report, &inputs, files, arguments.json_to_stdout())
}

/// The files to write. A picture is one of layers.
fn files(model: &Path, arguments: &BenchArgs) -> Result<OutputFiles> {
    ensure!(
        arguments.profile || arguments.svg.is_none(),
        "--svg draws the layers of a model; give --profile too, which times them"
    );
    arguments.files(&[("--model", model)])
}

/// `graph` ready to run on `inputs`.
fn planned(
    graph: Graph,
    options: NetworkOptions,
    inputs: &Inputs,
) -> Result<(Network, Arc<Session>)> {
    let network = Network::with_options(graph, options)?;
    let session = network.session(inputs.tensors())?;
    if let Some(fixed) = inputs.fixed {
        // What was computed for one batch as a whole is not what the images would give apart.
        let names = network.graph().outputs().iter();
        for (&output, (_, sizes)) in names.zip(session.output_facts()) {
            ensure!(
                sizes.first() != Some(&fixed),
                "output {:?} has the shape {} for a batch of {} too, so the images are not kept apart",
                network.graph().name(output),
                shape(&sizes),
                inputs.batch
            );
        }
    }
    Ok((network, session))
}

/// The times of whole runs, and where they are wanted those of the layers, on the rayon pool in force.
fn measured(
    session: &Session,
    inputs: &[View],
    arguments: &BenchArgs,
) -> crate::Result<(Timing, Option<Vec<LayerRow>>)> {
    let limits = Limits {
        most: MOST_RUNS,
        ..Limits::new(arguments.budget())
    };
    let mut buffers = session.buffers()?;
    let timing = time(limits, || session.run(inputs, &mut buffers))?;
    let layers = arguments
        .profile
        .then(|| layers::profile(session, inputs, &mut buffers, limits))
        .transpose()?;
    Ok((timing, layers))
}

/// Of one run: two for a multiply-add.
fn operations(session: &Session) -> u64 {
    let each = session.layers().map(|layer| layer.multiply_adds);
    each.fold(0, u64::saturating_add).saturating_mul(2)
}

/// Writes the files, then what people read: a reader that leaves costs no file.
fn finish(
    report: &Report,
    inputs: &Inputs,
    files: OutputFiles,
    json_to_stdout: bool,
) -> Result<ExitCode> {
    let object = serde_json::to_string(report).context("the report as JSON")?;
    if let Some(json) = files.json {
        json.write(&format!("{object}\n"))?;
        json.keep()?;
    }
    if let Some((svg, layers)) = files.svg.zip(report.layers.as_deref()) {
        svg.write(&layers::chart(layers, report.title()).svg()?)?;
        svg.keep()?;
    }
    if json_to_stdout {
        print(&object)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = report.lines(&inputs.described());
    if let Some(layers) = &report.layers {
        lines.push(String::new());
        lines.extend(layers::table(layers));
    }
    lines.iter().try_for_each(|line| print(&printable(line)))?;
    Ok(ExitCode::SUCCESS)
}
