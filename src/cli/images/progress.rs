//! How far the work is, and what came of it.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::cli::{complain, printable};
use crate::infer::Times;

/// A bar on standard error, where that is a terminal, and the numbers for the end.
pub(super) struct Progress {
    bar: ProgressBar,
    before: usize,
    done: usize,
    /// Pictures that could not be done, those of an earlier run too.
    pub failed: usize,
}

impl Progress {
    /// For `total` pictures, of which `before` have been done, and `failed` of them could not be.
    pub fn new(total: usize, before: usize, failed: usize) -> Self {
        let bar = match io::stderr().is_terminal() && total > 1 {
            true => ProgressBar::new(total as u64),
            false => ProgressBar::hidden(),
        };
        let style = "{bar:32} {pos}/{len} images  {rate} images/s  {eta} left  {wide_msg}";
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.with_key(
            "rate",
            |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                // A bar that cannot be drawn is no reason to stop.
                let _ = write!(text, "{:.1}", state.per_sec());
            },
        ));
        bar.set_position(before as u64);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            before,
            done: 0,
            failed,
        }
    }

    /// A picture is finished; `error` says why it could not be done.
    pub fn picture(&mut self, path: &Path, error: Option<&str>) {
        match error {
            None => self.done += 1,
            Some(error) => {
                self.failed += 1;
                self.bar
                    .suspend(|| complain(&format!("error: {}: {error}", path.display())));
            }
        }
        self.bar.set_message(printable(&path.display().to_string()));
        self.bar.inc(1);
    }

    /// The numbers, with the pictures of this run for each second of it.
    pub fn summary(&self, failed_before: usize, times: &Times, decoders: usize) -> String {
        self.bar.finish_and_clear();
        let whole = times.whole.as_secs_f64().max(1e-9);
        let share = |part: Duration, threads: usize| {
            100.0 * part.as_secs_f64() / (whole * threads.max(1) as f64)
        };
        let before = match self.before {
            0 => String::new(),
            before => format!("{before} done before, "),
        };
        let failed = self.failed - failed_before;
        format!(
            "{before}{} done, {failed} failed, {:.1} images/s; network {:.0} % of the time, decoding {:.0} % of {} \
             thread{}",
            self.done,
            (self.done + failed) as f64 / whole,
            share(times.network, 1),
            share(times.decode, decoders),
            decoders,
            if decoders == 1 { "" } else { "s" },
        )
    }
}
