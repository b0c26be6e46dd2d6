//! `gemmconv features`: what a network makes of pictures, as one array.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::args::ImageArgs;
use super::paths;
use super::progress::Progress;
use super::resume::Rows;
use super::rows::Format;
use crate::cli::model::say;
use crate::cli::{printable, refuse};
use crate::data::npy::header_bytes;
use crate::error::product;
use crate::infer::Source;

/// Numbers wait no longer than this to be written.
const PATIENCE: Duration = Duration::from_millis(300);

/// Bytes that wait to be written.
const WAITING: usize = 1 << 20;

/// Write what a network makes of pictures to an array
///
/// The array has a row for each picture, in the order of the list. Beside features.npy stands features.csv with the
/// path of each row and, for a picture that could not be read, the error; its row is NaN, and the exit status is 1.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct FeaturesArgs {
    #[command(flatten)]
    images: ImageArgs,

    /// The value that is wanted, one in the middle too; by default the first output
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,

    /// The array, a .npy file of f32; what is there already is replaced
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Go on with an array that an interrupted run on the same pictures has left: no picture is lost or done twice.
    /// Give the same options; shape and pictures are compared
    #[arg(long)]
    resume: bool,
}

const EXAMPLES: &str = "\
Examples:
  gemmconv features --model squeezenet.onnx --preset imagenet-caffe --tensor pool10_1 photos/ -o features.npy

Exit status: 0 all pictures done, 1 some were not, 2 wrong arguments.";

/// Runs the command.
///
/// # Errors
/// Whatever the model or the files have wrong. What a picture has wrong is in the list.
pub(crate) fn run(arguments: &FeaturesArgs) -> Result<ExitCode> {
    let index = match arguments.index() {
        Ok(index) => index,
        Err(error) => return Ok(refuse(&error)),
    };
    let graph = arguments.images.graph(arguments.tensor.as_deref())?;
    let pictures = paths::find(&arguments.images.paths, &[&arguments.output, &index])?;
    let pool = arguments.images.model_args.pool()?;
    let pipeline = pool.install(|| arguments.images.pipeline(graph, pictures.len()))?;
    let mut shape = vec![pictures.len()];
    shape.extend(pipeline.output_shape());
    let row = product("a row", pipeline.output_shape())?;
    let mut pair = Pair::open(arguments, &index, &shape, &pictures)?;
    let (before, failed_before) = (pair.before, pair.failed);
    let mut progress = Progress::new(pictures.len(), before, failed_before);
    let sources = pictures[before..]
        .iter()
        .map(|path| (path, Source::from(path.clone())));
    let times = pool.install(|| {
        pipeline.run(sources, |path, outcome| {
            let outcome = outcome.map_err(|error| printable(&error.to_string()));
            match &outcome {
                Ok(numbers) => pair.numbers(numbers.iter().copied()),
                Err(_) => pair.numbers(std::iter::repeat_n(f32::NAN, row)),
            }
            let error = outcome.as_ref().err().map(String::as_str);
            progress.picture(path, error);
            let line = match error {
                None => Ok(&[][..]),
                Some(error) => Err(error),
            };
            pair.line(&Format::Csv.row(&path.to_string_lossy(), line, 0))
        })
    })?;
    pair.flush()?;
    say(&progress.summary(failed_before, &times, pipeline.decoders()))?;
    Ok(match progress.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

impl FeaturesArgs {
    /// The name of the list.
    fn index(&self) -> Result<PathBuf> {
        ensure!(
            self.output
                .extension()
                .is_some_and(|extension| extension == "npy"),
            "{} is no .npy file, the only kind that is written",
            self.output.display()
        );
        let index = self.output.with_extension("csv");
        self.images.spare_inputs(&self.output, None)?;
        self.images.spare_inputs(&index, None)?;
        Ok(index)
    }
}

/// The array and the list. The numbers of a row are written before its line: a line stands for a row that is whole.
struct Pair {
    array: File,
    index: File,
    numbers: Vec<u8>,
    lines: String,
    flushed: Instant,
    before: usize,
    failed: usize,
}

impl Pair {
    fn open(
        arguments: &FeaturesArgs,
        index: &Path,
        shape: &[usize],
        pictures: &[PathBuf],
    ) -> Result<Self> {
        let path = &arguments.output;
        let of = || path.display().to_string();
        let head = header_bytes("<f4", shape)?;
        let row = product("a row of the array", &[4, product("a row", &shape[1..])?])?;
        let lines = Format::Csv.header(0);
        let rows = match arguments.resume {
            true => Rows::resume(index, Format::Csv, &lines, pictures)?,
            false => Rows::create(index)?,
        };
        let mut array = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(rows.count == 0)
            .open(path)
            .with_context(of)?;
        let mut pair = Self {
            numbers: Vec::new(),
            lines: String::new(),
            flushed: Instant::now(),
            before: rows.count,
            failed: rows.failed,
            index: rows.file,
            array: array.try_clone().with_context(of)?,
        };
        if pair.before == 0 {
            pair.numbers = head;
            if pair.index.metadata()?.len() == 0 {
                pair.lines = lines;
            }
            pair.flush()?;
            return Ok(pair);
        }
        let mut found = vec![0; head.len()];
        let same = array.read_exact(&mut found).is_ok() && found == head;
        ensure!(
            same,
            "{} is no array of {shape:?} f32; to go on takes the same pictures and the same model",
            path.display()
        );
        let end = product("the array", &[pair.before, row])?.saturating_add(head.len());
        let end = u64::try_from(end)?;
        let there = array.metadata().with_context(of)?.len();
        ensure!(
            there >= end,
            "{} has {there} bytes, fewer than the {} rows that {} lists",
            path.display(),
            pair.before,
            index.display()
        );
        array.set_len(end).with_context(of)?;
        pair.array.seek(SeekFrom::Start(end)).with_context(of)?;
        Ok(pair)
    }

    fn numbers(&mut self, numbers: impl Iterator<Item = f32>) {
        self.numbers.extend(numbers.flat_map(f32::to_le_bytes));
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.lines.push_str(line);
        if self.numbers.len() >= WAITING || self.flushed.elapsed() >= PATIENCE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.array
            .write_all(&self.numbers)
            .context("writing the array")?;
        self.index
            .write_all(self.lines.as_bytes())
            .context("writing the list of the array")?;
        self.numbers.clear();
        self.lines.clear();
        self.flushed = Instant::now();
        Ok(())
    }
}
