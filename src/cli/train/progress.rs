//! How far an epoch is, and one line for what it came to.
//!
//! ```text
//! epoch 3/15 ████████████░░░░░░░░  52 %  loss 0.0312  accuracy 99.02 %  2140 images/s  13s left
//! epoch  3/15  loss 0.0312 (test 0.0290)  accuracy 99.02 % (test 99.10 %)  2140 images/s    28.0 s
//! ```
//!
//! Both go to standard error, the bar only where that is a terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::cli::complain;
use crate::train::EpochRecord;

const STYLE: &str = "{prefix} {wide_bar} {percent:>3} %  {msg}";

/// A bar for each epoch of a run.
pub struct Progress {
    /// The last epoch.
    epochs: u64,
    shown: bool,
    bar: ProgressBar,
    /// When the epoch began, and its examples since.
    began: Instant,
    done: u64,
}

impl Progress {
    /// For a run whose last epoch is `epochs`.
    #[must_use]
    pub fn new(epochs: u64) -> Self {
        Self {
            epochs,
            shown: io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            began: Instant::now(),
            done: 0,
        }
    }

    /// An epoch of `images` examples begins, of which `before` are done: those of a run that was stopped.
    pub fn begin(&mut self, epoch: u64, images: u64, before: u64) {
        self.bar.finish_and_clear();
        (self.began, self.done) = (Instant::now(), 0);
        if !self.shown {
            return;
        }
        self.bar = ProgressBar::new(images);
        let style =
            ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.set_style(style);
        self.bar
            .set_prefix(format!("epoch {epoch}/{}", self.epochs));
        self.bar.set_position(before);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// `images` more are done; `loss` and `accuracy`, a share, are the means of the epoch so far.
    pub fn step(&mut self, images: u64, loss: f64, accuracy: f64) {
        self.bar.inc(images);
        self.done = self.done.saturating_add(images);
        let all = self.bar.length().unwrap_or(0);
        let left = all.saturating_sub(self.bar.position());
        let pace = pace(self.done, left, self.began.elapsed());
        let (loss, accuracy) = (number(loss), percent(accuracy));
        let means = format!("loss {loss}  accuracy {accuracy}");
        self.bar.set_message(format!("{means}  {pace}"));
    }

    /// Something else is going on: the test, a file being written.
    pub fn note(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// A line that must not be torn by the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| complain(line));
    }

    /// The epoch is over: its line takes the place of the bar.
    pub fn end(&mut self, record: &EpochRecord) {
        self.bar.finish_and_clear();
        complain(&line(record, self.epochs));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Examples a second, and how long those that are `left` will take at this pace.
fn pace(done: u64, left: u64, time: Duration) -> String {
    let rate = done as f64 / time.as_secs_f64().max(1e-6);
    match Duration::try_from_secs_f64(left as f64 / rate) {
        Ok(time) => format!("{rate:.0} images/s  {:#} left", HumanDuration(time)),
        Err(_) => format!("{rate:.0} images/s"),
    }
}

/// A loss in six letters, where it is neither tiny nor huge.
fn number(loss: f64) -> String {
    match loss.abs() {
        size if size < 0.0005 && size > 0.0 => format!("{loss:.0e}"),
        size if size < 9.99995 => format!("{loss:.4}"),
        size if size < 9999.5 => format!("{loss:.*}", if size < 99.995 { 3 } else { 1 }),
        _ => format!("{loss:.1e}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:5.2} %", 100.0 * share)
}

/// What an epoch came to; the lines of a run have their columns below each other.
#[must_use]
pub fn line(record: &EpochRecord, epochs: u64) -> String {
    let test =
        |value: Option<String>| value.map_or_else(String::new, |value| format!(" (test {value})"));
    let digits = epochs.to_string().len();
    format!(
        "epoch {:>width$}/{epochs}  loss {:>6}{}  accuracy {}{}  {:>4} images/s  {:>6} s",
        record.epoch,
        number(record.train_loss),
        test(record.test_loss.map(|loss| format!("{:>6}", number(loss)))),
        percent(record.train_accuracy),
        test(record.test_accuracy.map(percent)),
        format!("{:.0}", record.images_per_second),
        format!("{:.1}", record.seconds),
        width = digits,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> EpochRecord {
        EpochRecord {
            epoch: 3,
            step: 1407,
            learning_rate: 0.01,
            train_loss: 0.03123,
            train_accuracy: 0.9902,
            test_loss: Some(0.029),
            test_accuracy: Some(0.991),
            images_per_second: 2140.3,
            seconds: 28.02,
        }
    }

    #[test]
    fn an_epoch_is_one_line() {
        assert_eq!(
            line(&record(), 15),
            "epoch  3/15  loss 0.0312 (test 0.0290)  accuracy 99.02 % (test 99.10 %)  2140 images/s    28.0 s"
        );
        let alone = EpochRecord {
            epoch: 15,
            test_loss: None,
            test_accuracy: None,
            ..record()
        };
        assert_eq!(
            line(&alone, 15),
            "epoch 15/15  loss 0.0312  accuracy 99.02 %  2140 images/s    28.0 s"
        );
    }

    #[test]
    fn lines_of_a_run_are_aligned() {
        let worse = EpochRecord {
            epoch: 12,
            train_loss: 12.34567,
            train_accuracy: 0.0712,
            test_loss: Some(0.000_012),
            test_accuracy: Some(f64::NAN),
            images_per_second: 96.4,
            seconds: 1234.56,
            ..record()
        };
        let (better, worse) = (line(&record(), 100), line(&worse, 100));
        assert_eq!(better.len(), worse.len(), "{better}\n{worse}");
        assert!(worse.contains("loss 12.346 (test   1e-5)"), "{worse}");
        assert!(worse.contains("accuracy  7.12 % (test   NaN %)"), "{worse}");
        for (loss, text) in [
            (0.0, "0.0000"),
            (9.99999, "10.000"),
            (123.45, "123.5"),
            (1e30, "1.0e30"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(loss), text);
        }
    }

    #[test]
    fn the_pace_says_how_long_it_takes() {
        let second = Duration::from_secs(1);
        assert_eq!(pace(400, 1200, 2 * second), "200 images/s  6s left");
        assert_eq!(pace(10, 9000, second), "10 images/s  15m left");
        assert_eq!(pace(0, 5, second), "0 images/s");
        assert_eq!(pace(0, 0, Duration::ZERO), "0 images/s");
        assert_eq!(pace(1, u64::MAX, Duration::MAX), "0 images/s");
    }

    #[test]
    fn any_order_of_calls_is_possible() {
        let mut progress = Progress::new(2);
        progress.step(5, f64::NAN, 0.5);
        for shown in [false, true] {
            progress.shown = shown;
            progress.begin(1, 10, 4);
            progress.step(100, 0.5, f64::INFINITY);
            progress.note("testing");
            progress.begin(2, 0, 0);
            progress.step(1, 0.5, 0.5);
        }
    }
}
