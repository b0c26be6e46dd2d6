//! `gemmconv explain`: one convolution taken apart, in the terminal, as a picture or as a page.
//!
//! ```text
//! values ─► model ─► terminal | figure | page
//! text to   numbers out    lines    | SVG    | HTML
//! numbers   of the library
//! ```

mod figure;
mod grid;
mod model;
mod page;
mod products;
mod terminal;
mod values;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use console::{Key, Term};

use super::bench::terminal_width;
use super::filter::{PaddingArg, numbers};
use super::model::write_file;
use super::refuse;
use grid::{Block, Paint};
use model::{Limits, Model, Settings};
use terminal::Scene;

/// Take a convolution apart: patches, products, gradients
///
/// Shows how an image becomes a matrix of patches (im2col), how that times the matrix of weights is the output,
/// and with --backward how the gradients are products too, the last one folded back (col2im). With --html the same
/// as a page to play with.
#[derive(Debug, Args)]
#[command(after_long_help = NOTES)]
pub(crate) struct ExplainArgs {
    /// A size as 5 or 5x7, numbers as in "1 2 3; 4 5 6" with | between channels, or a .npy file of shape [h, w]
    /// or [C, h, w]
    #[arg(
        long,
        value_name = "INPUT",
        default_value = "5x5",
        allow_hyphen_values = true
    )]
    input: OsString,

    /// A size as 3 or 3x2, numbers as for --input, the name of a kernel (gemmconv filter --list-kernels), or a
    /// .npy file of shape [h, w], [O, h, w] or [O, C/g, h, w]. Give it several times for several output channels
    #[arg(short, long = "kernel", value_name = "KERNEL", default_values = ["3x3"], allow_hyphen_values = true)]
    kernels: Vec<OsString>,

    /// Distance between neighbouring outputs: N or ROWS,COLUMNS
    #[arg(long, value_name = "N", default_value = "1", value_parser = numbers)]
    stride: [usize; 2],

    /// valid (none), same (as many outputs as pixels, at stride 1), or N or ROWS,COLUMNS zeros on every side
    #[arg(long, value_name = "HOW", default_value = "valid")]
    padding: PaddingArg,

    /// Distance between the pixels that neighbouring weights meet: N or ROWS,COLUMNS; 1 is none
    #[arg(long, value_name = "N", default_value = "1", value_parser = numbers)]
    dilation: [usize; 2],

    /// Channels of the input; by default as many as the numbers have, or one a group
    #[arg(long, value_name = "C")]
    channels: Option<usize>,

    /// Channels of the output; by default as many as there are kernels, or one a group
    #[arg(long, value_name = "O")]
    outputs: Option<usize>,

    /// Groups, which share no channels
    #[arg(long, value_name = "G", default_value_t = 1)]
    groups: usize,

    /// Show the gradients too
    #[arg(long)]
    backward: bool,

    /// Position by position; in a terminal Enter goes on and q ends
    #[arg(long)]
    step: bool,

    /// Write a page that needs nothing but a browser, instead of printing; a file that is there is replaced
    #[arg(long, value_name = "FILE", conflicts_with_all = ["step", "backward", "color"])]
    html: Option<PathBuf>,

    /// Write the same as a picture, instead of printing; a file that is there is replaced
    #[arg(long, value_name = "FILE", conflicts_with_all = ["html", "step", "color"])]
    svg: Option<PathBuf>,

    /// The output whose patch is marked, counted from 0
    #[arg(long, value_name = "ROW,COLUMN", default_value = "0,0", value_parser = numbers, conflicts_with_all = ["html", "step"])]
    at: [usize; 2],

    /// Colours; auto has them in a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    color: Colour,
}

const NOTES: &str = "\
Examples:
  gemmconv explain --input 3x3 --kernel 2x2
  gemmconv explain --input 4 --kernel \"1 0 -1; 2 0 -2; 1 0 -1\" --padding same --backward
  gemmconv explain --input 6 --kernel 3 --stride 2 --step
  gemmconv explain --input 5 --kernel 3 --channels 2 --outputs 2 --groups 2
  gemmconv explain --input 7 --kernel 3 --padding 1 --html convolution.html
  gemmconv explain --input 4 --kernel 2 --at 1,1 --svg convolution.svg

Where no numbers are given, the image counts x[c, i] = c + i, the kernels w[o, c, k] = o + c + k, and the gradient \
that comes from behind dY[o, p] = o + p + 1. Convolution means cross-correlation: the kernel is not flipped. A \
single number is a side; a kernel of one weight is written \"2;\".

Of what is too large to print, corners are shown, with … between. Above 4 194 304 numbers in a matrix or \
268 435 456 multiplications nothing is; for a page the limits are 1 048 576 and 16 777 216.

Exit status: 0 done, 1 the file could not be written, 2 wrong arguments.";

/// `--color`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

impl ExplainArgs {
    /// The position that is marked.
    fn position(&self, model: &Model) -> Result<usize> {
        let axes = model.geometry.axes();
        let ([row, column], [rows, columns]) = (self.at, [axes[0].output(), axes[1].output()]);
        ensure!(
            row < rows && column < columns,
            "--at {row},{column} is outside the output of {rows} × {columns}"
        );
        Ok(row * columns + column)
    }

    fn settings(&self) -> Result<Settings> {
        Ok(Settings {
            input: values::input(&self.input)?,
            kernel: values::kernels(&self.kernels)?,
            stride: self.stride,
            dilation: self.dilation,
            padding: self.padding.0,
            channels: self.channels,
            outputs: self.outputs,
            groups: self.groups,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// A page that cannot be written; standard output that cannot be.
pub(crate) fn run(arguments: &ExplainArgs) -> Result<ExitCode> {
    let settings = match arguments.settings() {
        Ok(settings) => settings,
        Err(error) => return Ok(refuse(&error)),
    };
    if let Some(path) = &arguments.html {
        return match page::html(&settings) {
            Ok(html) => write_file(path, html.as_bytes()).map(|()| ExitCode::SUCCESS),
            Err(error) => Ok(refuse(&error)),
        };
    }
    let model = match Model::new(&settings, Limits::TERMINAL) {
        Ok(model) => model,
        Err(error) => return Ok(refuse(&error)),
    };
    let at = match arguments.position(&model) {
        Ok(at) => at,
        Err(error) => return Ok(refuse(&error)),
    };
    let positions = model.geometry.positions();
    let scene = Scene {
        model: &model,
        at,
        done: positions,
        line: terminal_width(),
        paint: Paint(match arguments.color {
            Colour::Auto => console::colors_enabled(),
            Colour::Always => true,
            Colour::Never => false,
        }),
    };
    if arguments.step {
        return step(scene, arguments.backward).map(|()| ExitCode::SUCCESS);
    }
    if let Some(path) = &arguments.svg {
        // As wide as the picture.
        let scene = Scene { line: 120, ..scene };
        let mut tables = scene.forward_tables();
        if arguments.backward {
            tables.extend(scene.backward_tables(&scene.folded()?));
        }
        let picture = figure::figure(&tables, &scene.products())?;
        return write_file(path, picture.as_bytes()).map(|()| ExitCode::SUCCESS);
    }
    let mut lines = [scene.sizes(), scene.forward()].concat();
    if arguments.backward {
        lines.push(String::new());
        lines.extend(scene.backward()?);
    }
    print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

/// One position after another, forward and then back.
fn step(scene: Scene<'_>, backward: bool) -> Result<()> {
    let waits = io::stdin().is_terminal() && io::stdout().is_terminal();
    let positions = scene.model.geometry.positions();
    print(&scene.sizes())?;
    for (pass, back) in [("forward", false), ("backward", true)] {
        if back && !backward {
            continue;
        }
        for at in 0..positions {
            let now = Scene {
                at,
                done: at + 1,
                ..scene
            };
            let title = format!("{pass}, position {} of {positions}", at + 1);
            let mut lines = vec![scene.paint.title(&title)];
            lines.extend(if back { now.backward()? } else { now.forward() });
            lines.push(String::new());
            if waits {
                Term::stdout().clear_screen()?;
            }
            print(&lines)?;
            if waits && !goes_on()? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Waits for a key; false for those that end.
fn goes_on() -> Result<bool> {
    print(&["Enter: next    q: end".to_owned()].into())?;
    loop {
        match Term::stdout().read_key().context("reading a key")? {
            Key::Enter | Key::Char(' ') | Key::ArrowRight | Key::ArrowDown => return Ok(true),
            Key::Char('q' | 'Q') | Key::Escape | Key::CtrlC => {
                return Ok(false);
            }
            _ => {}
        }
    }
}

fn print(lines: &Block) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("writing to standard output")
}
