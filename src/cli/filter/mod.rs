//! `gemmconv filter`: photographs through one convolution.
//!
//! ```text
//! files ─► picture ─► convolve ─► render ─► picture | sheet
//! names    decode     the library  to 0..255  encode
//! ```
//!
//! `job` runs that line for several pictures at a time; `kernels` reads the bank.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use crate::{ConvOptions, EngineKind, Padding, PaddingMode, PerAxis, RecipeKind};
use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::{bytes, list, refuse, warn_about};
use convolve::Convolver;
pub(super) use files::files_in;
use files::{Job, Wanted};
use job::{Tally, Work};
pub(super) use kernels::{parse_rows, read_array};
pub(super) use named::NAMED;
use render::Show;

mod convolve;
mod files;
mod job;
mod kernels;
mod named;
mod picture;
mod render;
mod sheet;

/// Filter photographs: every kernel makes a picture of every image
///
/// Reads png, jpeg, tiff, bmp, gif, webp and pnm, grey or colour, 8 or 16 bits. Every colour channel is
/// filtered by the same kernel; opacity stays as it is. A file that is not a picture is named, the others
/// are still done, and the exit status is 1. Of a file with several pictures the first is read. Numbers are
/// filtered as they are stored; colour profiles and other metadata are not copied.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct FilterArgs {
    /// Pictures, or folders of pictures
    #[arg(value_name = "IMAGE", required_unless_present = "list_kernels")]
    images: Vec<PathBuf>,

    /// A named kernel (see --list-kernels), rows of numbers as in "1 0 -1; 2 0 -2; 1 0 -1" (also 1/9), or a
    /// .npy file of shape [kh, kw], [K, kh, kw] or [K, 1, kh, kw]. Give it several times for a bank
    #[arg(
        short,
        long = "kernel",
        value_name = "KERNEL",
        allow_hyphen_values = true,
        required_unless_present = "list_kernels"
    )]
    kernels: Vec<OsString>,

    /// A picture file for one image and one kernel or with --sheet, otherwise a folder. Pictures that are
    /// there already are replaced, the images that are read never
    #[arg(
        short,
        long,
        value_name = "OUT",
        required_unless_present = "list_kernels"
    )]
    output: Option<PathBuf>,

    /// One contact sheet with captions for each image instead of one picture per kernel
    #[arg(long)]
    sheet: bool,

    /// The longest side of a picture on a contact sheet, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 320, value_parser = clap::value_parser!(u32).range(16..=8192))]
    panel: u32,

    /// How numbers become brightness.
    ///
    /// auto decides by the weights of each kernel: weights that sum up to 1/2 or more give a picture already
    /// (clamp; if none is negative and the sum is above 1, it is divided by the sum). A derivative sums up to 0
    /// and is shown as magnitude where it has no direction (outline, edge, laplacian), else signed (sobel,
    /// prewitt). signed and magnitude are scaled for each picture so that no more than one percent of it
    /// saturates, and colours keep their proportions
    #[arg(long, value_enum, default_value_t = Show::Auto)]
    show: Show,

    /// Distance between neighbouring results: N or ROWS,COLUMNS. 2 halves the picture
    #[arg(long, value_name = "N", default_value = "1")]
    stride: Pair,

    /// same (as large as the image, at stride 1), valid (only where the kernel fits), or N or ROWS,COLUMNS
    /// pixels on every side
    #[arg(long, value_name = "HOW", default_value = "same")]
    padding: PaddingArg,

    /// What stands in the padding: replicate, reflect, circular, zeros or constant:V with V on the
    /// scale of the pixels, 0 black and 255 white.
    /// replicate repeats the pixel at the border, which draws no dark frame (zeros do: to a gradient they are
    /// an edge) and works for pictures of any size
    #[arg(long, value_name = "WHAT", default_value = "replicate")]
    padding_mode: ModeArg,

    /// Distance between the pixels that neighbouring weights meet: N or ROWS,COLUMNS; 1 is none
    #[arg(long, value_name = "N", default_value = "1")]
    dilation: Pair,

    /// Turn the kernel by 180 degrees first, as mathematics defines convolution
    #[arg(long)]
    true_convolution: bool,

    /// Look into the folders in a folder too; the results keep their places
    #[arg(short, long)]
    recursive: bool,

    /// The format of pictures written to a folder, as an extension; by default that of the image
    #[arg(long, value_name = "EXT", value_parser = files::extension)]
    format: Option<String>,

    #[arg(long, value_name = "RECIPE", default_value = "auto", help = recipe_help())]
    recipe: RecipeArg,

    #[arg(long, default_value_t = EngineKind::default(), help = engine_help())]
    engine: EngineKind,

    /// Number of threads; by default as many as the machine has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// The most memory that all pictures in work may take, in MiB; an image that needs more is refused
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,

    /// Run the plain loops too, and print how many times faster the recipe is. A picture of which the two differ
    /// by more than 1e-4 of the largest value that its kernel could give fails
    #[arg(long)]
    compare: bool,

    /// Print the named kernels and stop
    #[arg(long)]
    list_kernels: bool,
}

const EXAMPLES: &str = "\
Examples:
  gemmconv filter cat.jpg --kernel sobel-x -o edges.png
  gemmconv filter cat.jpg --kernel \"0 1 0; 1 -4 1; 0 1 0\" --show signed -o laplace.png
  gemmconv filter holiday/ --kernel blur --stride 2 -o small/
  gemmconv filter cat.jpg --kernel bank.npy -o maps/
  gemmconv filter cat.jpg --kernel blur --kernel outline --kernel emboss --sheet -o sheet.png
  gemmconv filter cat.jpg --kernel gaussian --compare -o soft.png
  gemmconv filter --list-kernels

In a folder the results keep the name of the image, with the kernel appended where there are several: \
cat.jpg becomes cat.jpg, or cat-blur.jpg and cat-edge.jpg, or cat-sheet.png. Where two images would get \
the same name the second is called after its whole file name (cat.png.jpg), then cat-2.jpg and so on.

Exit status: 0 all pictures done, 1 some were not, 2 wrong arguments.";

fn recipe_help() -> String {
    format!(
        "How the convolution is computed: auto (the quickest, by estimate) or {}",
        list(&RecipeKind::ALL)
    )
}

fn engine_help() -> String {
    format!(
        "What multiplies where the recipe is unfold (the others need none): {}",
        list(&EngineKind::available())
    )
}

/// `--recipe`; none is the plan's own choice.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RecipeArg(Option<RecipeKind>);

impl FromStr for RecipeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self(None)),
            name => name.parse().map(|kind| Self(Some(kind))),
        }
    }
}

/// `N`, or `ROWS,COLUMNS`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair([usize; 2]);

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match numbers(text)? {
            [0, _] | [_, 0] => Err("must be at least 1".into()),
            pair => Ok(Self(pair)),
        }
    }
}

/// `N` for both axes, or `ROWS,COLUMNS`.
pub(super) fn numbers(text: &str) -> Result<[usize; 2], String> {
    let number = |text: &str| {
        text.trim()
            .parse()
            .map_err(|_| format!("\"{text}\" is not a whole number"))
    };
    match text.split_once(',') {
        Some((rows, columns)) => Ok([number(rows)?, number(columns)?]),
        None => Ok([number(text)?; 2]),
    }
}

/// `--padding`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PaddingArg(pub Padding);

impl FromStr for PaddingArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text.to_ascii_lowercase().as_str() {
            "same" => Padding::SameUpper,
            "valid" => Padding::Valid,
            other => Padding::from(
                numbers(other).map_err(|_| "expected same, valid, N or ROWS,COLUMNS")?,
            ),
        }))
    }
}

/// `--padding-mode`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ModeArg(PaddingMode);

impl FromStr for ModeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("constant:") {
            let value: f64 = value
                .trim()
                .parse()
                .map_err(|_| format!("\"{value}\" is not a number"))?;
            return if value.is_finite() {
                Ok(Self(PaddingMode::Constant(value)))
            } else {
                Err("must be finite".into())
            };
        }
        let modes = [
            PaddingMode::Zeros,
            PaddingMode::Reflect,
            PaddingMode::Replicate,
            PaddingMode::Circular,
        ];
        let found = modes.into_iter().find(|mode| mode.name() == text);
        found
            .map(Self)
            .ok_or_else(|| "expected replicate, reflect, circular, zeros or constant:V".into())
    }
}

impl FilterArgs {
    fn options(&self) -> ConvOptions {
        ConvOptions::new()
            .stride(PerAxis::from(self.stride.0))
            .dilation(PerAxis::from(self.dilation.0))
            .padding(self.padding.0)
            .padding_mode(self.padding_mode.0)
            .flip_kernel(self.true_convolution)
    }

    fn work(&self) -> Result<Work> {
        let memory = u64::from(self.memory) << 20;
        let threads = match self.threads {
            Some(threads) => usize::from(threads),
            None => thread::available_parallelism().map_or(1, usize::from),
        };
        let bank = kernels::parse_bank(&self.kernels)?;
        let panels = (bank.len() as u64 + 1)
            .saturating_mul(u64::from(self.panel).pow(2))
            .saturating_mul(6);
        ensure!(
            !self.sheet || panels <= memory,
            "a sheet of {} pictures of {} pixels a side takes {}; lower --panel or raise --memory",
            bank.len() + 1,
            self.panel,
            bytes(panels)
        );
        self.engine.engine::<f32>()?;
        Ok(Work {
            convolver: Convolver::new(self.options(), self.recipe.0, self.engine, memory, threads)?,
            kernels: bank,
            show: self.show,
            sheet: self.sheet.then_some(self.panel),
            compare: self.compare,
            memory,
            // While times are taken nothing else may run.
            workers: if self.compare { 1 } else { threads },
        })
    }
}

/// Runs the command.
///
/// # Errors
/// Arguments that do not go together; whatever concerns one picture is printed and counted instead.
pub fn run(arguments: &FilterArgs) -> Result<ExitCode> {
    if arguments.list_kernels {
        return say(&named::list()).map(|()| ExitCode::SUCCESS);
    }
    let output = arguments.output.as_deref().context("no output named")?;
    let work = match arguments.work() {
        Ok(work) => work,
        Err(error) => return Ok(refuse(&error)),
    };
    let found = files::find(&arguments.images, arguments.recursive, output);
    for (name, error) in &found.missing {
        complain(name, error);
    }
    if found.inputs.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let jobs = files::plan(
        &found.inputs,
        &Wanted {
            out: output,
            given: arguments.images.len(),
            kernels: work
                .kernels
                .iter()
                .map(|kernel| kernel.name.as_str())
                .collect(),
            sheet: arguments.sheet,
            extension: arguments.format.as_deref(),
        },
    );
    let jobs = match jobs {
        Ok(jobs) => jobs,
        Err(error) => return Ok(refuse(&error)),
    };
    if files::results_among_inputs(&arguments.images, output) {
        super::complain(&format!(
            "warning: the results lie among the pictures of {}, where a second run filters them too",
            output.display()
        ));
    }
    warn_about(&[arguments.engine]);
    let begin = Instant::now();
    let mut tally = with_progress(&work, &jobs);
    tally.failed += found.missing.len();
    say(&summary(&tally, begin.elapsed()))?;
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the jobs behind a progress bar, on standard error where that is a terminal.
fn with_progress(work: &Work, jobs: &[Job]) -> Tally {
    let bar = match io::stderr().is_terminal() && jobs.len() > 1 {
        true => ProgressBar::new(jobs.len() as u64),
        false => ProgressBar::hidden(),
    };
    let style = "{bar:32} {pos}/{len} images  {rate} images/s  {wide_msg}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.with_key(
        "rate",
        |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // A bar that cannot be drawn is no reason to stop.
            let _ = write!(text, "{:.1}", state.per_sec());
        },
    ));
    // Without this the bar of a few large pictures would stand still.
    bar.enable_steady_tick(Duration::from_millis(200));
    let tally = work.run(jobs, |job, error| {
        if let Some(error) = error {
            bar.suspend(|| complain(&job.input, error));
        }
        bar.set_message(super::printable(&job.input.display().to_string()));
        bar.inc(1);
    });
    bar.finish_and_clear();
    tally
}

/// Names a picture that could not be done.
fn complain(name: &Path, error: &anyhow::Error) {
    super::complain(&format!(
        "error: {}: {}",
        name.display(),
        super::told(error)
    ));
}

fn summary(tally: &Tally, elapsed: Duration) -> String {
    let comparison = tally
        .comparison
        .as_ref()
        .map_or(String::new(), |comparison| format!("{comparison}\n"));
    // While times are taken, pictures per second say nothing.
    let rate = match tally.comparison {
        None => format!(
            ", {:.1} images/s",
            tally.done as f64 / elapsed.as_secs_f64().max(1e-6)
        ),
        Some(_) => String::new(),
    };
    let files = if tally.written == 1 { "file" } else { "files" };
    format!(
        "{comparison}{} done, {} failed, {} {files} written{rate}\n",
        tally.done, tally.failed, tally.written
    )
}

/// Prints to standard output. That nobody reads on (`| head`) is no error.
fn say(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_or_refused_in_words() {
        assert_eq!("2".parse(), Ok(Pair([2, 2])));
        assert_eq!("2,3".parse(), Ok(Pair([2, 3])));
        for text in [
            "0",
            "1,0",
            "-1",
            "a",
            "1,2,3",
            "",
            "99999999999999999999999",
        ] {
            assert!(text.parse::<Pair>().is_err(), "{text}");
        }
        assert_eq!("auto".parse(), Ok(RecipeArg(None)));
        assert_eq!("naive".parse(), Ok(RecipeArg(Some(RecipeKind::Naive))));
        let unknown = "magic".parse::<RecipeArg>().unwrap_err();
        assert!(unknown.contains("`magic`") && unknown.contains("unfold"));
        assert_eq!("SAME".parse(), Ok(PaddingArg(Padding::SameUpper)));
        assert_eq!("0,2".parse(), Ok(PaddingArg(Padding::from([0, 2]))));
        assert!("some".parse::<PaddingArg>().is_err());
        assert_eq!(
            "constant:127.5".parse(),
            Ok(ModeArg(PaddingMode::Constant(127.5)))
        );
        assert_eq!("circular".parse(), Ok(ModeArg(PaddingMode::Circular)));
        for text in ["constant:", "constant:inf", "constant:nan", "mirror", ""] {
            assert!(text.parse::<ModeArg>().is_err(), "{text}");
        }
    }
}
