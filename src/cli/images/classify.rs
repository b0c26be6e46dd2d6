//! `gemmconv classify`: the names of what is on pictures.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::args::ImageArgs;
use super::paths;
use super::progress::Progress;
use super::resume::Rows;
use super::rows::{Format, Guess};
use crate::cli::{complain, printable, refuse};
use crate::data::picture::read_file;
use crate::infer::{Scores, Source, classes, top};
use crate::network::Graph;

/// The longest list of labels that is read.
const LARGEST_LABELS: u64 = 64 << 20;

/// Rows wait no longer than this to be written.
const PATIENCE: Duration = Duration::from_millis(300);

/// Bytes of rows that wait to be written.
const WAITING: usize = 64 << 10;

/// Name what is on pictures
///
/// A row for each picture, in the order of the list: the likeliest classes with their probabilities. A picture that
/// cannot be read gets a row that says why; the others are still done, and the exit status is 1. Opacity is dropped,
/// pictures are turned upright as their camera noted. A file that is there already is replaced.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ClassifyArgs {
    #[command(flatten)]
    images: ImageArgs,

    /// The names of the classes, a line each
    #[arg(short, long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// How many of the likeliest classes a row has
    #[arg(short = 'k', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,

    /// The value that holds the scores; by default the first output
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    /// What the scores are. auto: probabilities behind a Softmax or a Sigmoid, their logarithms behind a LogSoftmax,
    /// else logits, of which softmax makes probabilities
    #[arg(long, value_enum, default_value_t = ScoresName::Auto)]
    scores: ScoresName,

    /// Where the rows go: a .csv, .jsonl or .txt file; by default standard output, for people
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How rows are written, if not as the file's extension says
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Go on with the rows in the output file, which an interrupted run on the same pictures has left: no picture is
    /// lost or done twice. Give the same options; columns and pictures are compared
    #[arg(long, requires = "output")]
    resume: bool,
}

const EXAMPLES: &str = "\
Examples:
  gemmconv classify --model squeezenet.onnx --labels synset.txt --preset imagenet-caffe photos/
  gemmconv classify --model mobilenet.onnx --labels synset.txt photos/ -o predictions.csv
  find /data -name '*.jpg' | gemmconv classify --model m.onnx --batch 32 -o predictions.jsonl --resume -
  gemmconv classify --model own.onnx --size 240x320 --colour bgr --scale 1/128 --mean 127/128 --std 1 photos/

Columns of CSV: path, error, then class_1, label_1, probability_1, class_2, … A row of JSON Lines has `path` and \
`predictions`, a list of `class`, `label` and `probability`, or `error`.

Exit status: 0 all pictures done, 1 some were not, 2 wrong arguments.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScoresName {
    Auto,
    Logits,
    Probabilities,
    LogProbabilities,
}

impl ScoresName {
    fn of(self, graph: &Graph) -> Scores {
        match self {
            Self::Auto => {
                let output = graph.outputs().first();
                output.map_or(Scores::Logits, |&output| Scores::of(graph, output))
            }
            Self::Logits => Scores::Logits,
            Self::Probabilities => Scores::Probabilities,
            Self::LogProbabilities => Scores::LogProbabilities,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever the model, the labels or the output file have wrong. What a picture has wrong is in its row.
pub(crate) fn run(arguments: &ClassifyArgs) -> Result<ExitCode> {
    let format = match arguments.format() {
        Ok(format) => format,
        Err(error) => return Ok(refuse(&error)),
    };
    let output = arguments.output.as_deref();
    let labels = arguments.labels.as_deref();
    let graph = arguments.images.graph(arguments.tensor.as_deref())?;
    let scores = arguments.scores.of(&graph);
    let labels = labels.map(read_labels).transpose()?;
    let pictures = paths::find(&arguments.images.paths, output.as_slice())?;
    let pool = arguments.images.model_args.pool()?;
    let pipeline = pool.install(|| arguments.images.pipeline(graph, pictures.len()))?;
    let classes = classes(pipeline.output_shape())?;
    if let (Some(labels), Some(path)) = (&labels, &arguments.labels) {
        ensure!(
            labels.len() == classes,
            "{} has {} labels, the model has {classes} classes",
            path.display(),
            labels.len()
        );
    }
    let count = usize::from(arguments.top).min(classes);
    let mut sheet = Sheet::open(arguments, format, count, &pictures)?;
    let (before, failed_before) = (sheet.before, sheet.failed);
    let mut progress = Progress::new(pictures.len(), before, failed_before);
    let sources = pictures[before..]
        .iter()
        .map(|path| (path, Source::from(path.clone())));
    let mut numbers = Vec::new();
    let times = pool.install(|| {
        pipeline.run(sources, |path, outcome| {
            let outcome = outcome.map_err(|error| printable(&error.to_string()));
            let guesses = outcome.as_ref().map(|output| {
                numbers.clear();
                numbers.extend_from_slice(output);
                scores.probabilities(&mut numbers);
                let guess = |(class, probability)| Guess {
                    class,
                    label: labels
                        .as_ref()
                        .and_then(|labels| labels.get(class))
                        .map(String::as_str),
                    probability,
                };
                top(&numbers, count)
                    .into_iter()
                    .map(guess)
                    .collect::<Vec<_>>()
            });
            let error = outcome.as_ref().err().map(String::as_str);
            progress.picture(path, error);
            let guesses = match (&guesses, error) {
                (Ok(guesses), _) => Ok(guesses.as_slice()),
                (Err(_), error) => Err(error.unwrap_or_default()),
            };
            sheet.add(&format.row(&path.to_string_lossy(), guesses, count))
        })
    })?;
    sheet.flush()?;
    let summary = progress.summary(failed_before, &times, pipeline.decoders());
    match output {
        Some(_) => crate::cli::model::say(&summary)?,
        None => complain(&summary),
    }
    Ok(match progress.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

impl ClassifyArgs {
    fn format(&self) -> Result<Format> {
        if let Some(output) = &self.output {
            self.images.spare_inputs(output, self.labels.as_deref())?;
        }
        match (self.format, &self.output) {
            (Some(format), _) => Ok(format),
            (None, None) => Ok(Format::Text),
            (None, Some(path)) => Format::of(path).with_context(|| {
                format!(
                    "{} does not say what to write: call it .csv, .jsonl or .txt, or give --format",
                    path.display()
                )
            }),
        }
    }
}

/// The lines of a file, without empty ones at its end.
fn read_labels(path: &Path) -> Result<Vec<String>> {
    let bytes = read_file(path, LARGEST_LABELS)?;
    let text = String::from_utf8(bytes)
        .with_context(|| format!("{} is not text in UTF-8", path.display()))?;
    Ok(text
        .trim_end()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect())
}

/// Where rows go.
struct Sheet {
    out: Box<dyn Write + Send>,
    waiting: String,
    flushed: Instant,
    /// Rows that were there, and those of them that hold errors.
    before: usize,
    failed: usize,
}

impl Sheet {
    fn open(
        arguments: &ClassifyArgs,
        format: Format,
        count: usize,
        pictures: &[PathBuf],
    ) -> Result<Self> {
        let header = format.header(count);
        let mut sheet = Self {
            out: Box::new(io::stdout()),
            waiting: String::new(),
            flushed: Instant::now(),
            before: 0,
            failed: 0,
        };
        if let Some(path) = &arguments.output {
            let rows = match arguments.resume {
                true => Rows::resume(path, format, &header, pictures)?,
                false => Rows::create(path)?,
            };
            let empty = rows.file.metadata().is_ok_and(|facts| facts.len() == 0);
            (sheet.before, sheet.failed) = (rows.count, rows.failed);
            sheet.out = Box::new(rows.file);
            if !empty {
                return Ok(sheet);
            }
        }
        sheet.waiting = header;
        sheet.flush()?;
        Ok(sheet)
    }

    fn add(&mut self, row: &str) -> Result<()> {
        self.waiting.push_str(row);
        if self.waiting.len() >= WAITING || self.flushed.elapsed() >= PATIENCE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.out
            .write_all(self.waiting.as_bytes())
            .and_then(|()| self.out.flush())
            .context("writing rows")?;
        self.waiting.clear();
        self.flushed = Instant::now();
        Ok(())
    }
}
