//! A whole training: epoch after epoch, with an evaluation, a record and checkpoints.
//!
//! ```text
//! for epoch, from where the checkpoint left off:
//!     for batch in loader.epoch(epoch, step):   trainer.step(batch, rate at the step)      watcher.step → go on?
//!     evaluate on the test set                  record                                    watcher.epoch
//!     checkpoint
//! ```
//!
//! A run that was stopped and taken up has the same bits as one that never was: the order of the examples, what is
//! changed in them and what is dropped depend on seed, epoch and step alone, and everything else is in the checkpoint.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoints;
use super::evaluate::evaluate;
use super::loader::Loader;
use super::metrics::Metrics;
use super::record::EpochRecord;
use super::schedule::{Rates, Schedule};
use super::trainer::Trainer;
use crate::data::normalise::Normalise;
use crate::error::{Error, Result};
use crate::network::{NetworkOptions, Tensor};

/// How a training goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FitOptions {
    /// Epochs in all.
    pub epochs: u64,
    /// The learning rate that the schedule scales.
    pub rate: f64,
    /// How the rate goes.
    pub schedule: Schedule,
    /// Steps between checkpoints within an epoch; none by default. There is one after each epoch.
    pub checkpoint_every: Option<u64>,
    /// What must be the same when a training goes on, beside the schedule: kept in checkpoints and compared.
    pub description: Vec<(String, String)>,
    /// How the network is planned that is evaluated.
    pub network: NetworkOptions,
}

impl FitOptions {
    /// So many epochs at a constant rate.
    pub fn new(epochs: u64, rate: f64) -> Self {
        Self {
            epochs,
            rate,
            schedule: Schedule::constant(),
            checkpoint_every: None,
            description: Vec::new(),
            network: NetworkOptions::default(),
        }
    }

    /// Sets how the rate goes.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Sets the steps between checkpoints within an epoch.
    pub fn checkpoint_every(mut self, steps: Option<u64>) -> Self {
        self.checkpoint_every = steps;
        self
    }

    /// Sets what must be the same when the training goes on.
    pub fn description(mut self, description: Vec<(String, String)>) -> Self {
        self.description = description;
        self
    }

    /// Sets how the network is planned that is evaluated.
    pub fn network(mut self, options: NetworkOptions) -> Self {
        self.network = options;
        self
    }
}

/// What has been seen of an epoch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Examples.
    pub examples: u64,
    /// Of those, the ones whose largest score was the right one's.
    pub right: u64,
    /// The sum of their losses.
    pub loss: f64,
}

impl Running {
    /// The mean loss.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.examples as f64
    }

    /// The share that was right.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.examples as f64
    }
}

/// Where a training is: what a checkpoint holds beside tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Whole epochs done.
    pub epochs: u64,
    /// Steps done of the next one.
    pub step: u64,
    /// What those saw.
    pub running: Running,
    /// Seconds that they took.
    pub seconds: f64,
    /// The best accuracy on the test set.
    pub best: Option<f64>,
    /// What must be the same.
    pub description: Vec<(String, String)>,
    /// Steps of the optimizer: fewer than batches where gradients are accumulated.
    pub changes: u64,
}

/// Whether a training goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// With the next step.
    On,
    /// No: a checkpoint is written, and it ends.
    Stop,
}

/// Who is told how a training goes.
pub trait Watch {
    /// An epoch, counted from 1, begins, or goes on behind the first `done` of its `steps`.
    fn begins(&mut self, _epoch: u64, _steps: u64, _done: u64) {}

    /// A step is done. `running` are all of this epoch.
    fn step(&mut self, _running: &Running) -> Go {
        Go::On
    }

    /// An epoch is done; its checkpoint comes next.
    ///
    /// # Errors
    /// Its own, which end the training.
    fn ends(&mut self, _record: &EpochRecord, _test: Option<&Metrics>) -> Result<()> {
        Ok(())
    }

    /// The test begins.
    fn tests(&mut self) {}

    /// Something is to be said.
    fn note(&mut self, _what: &str) {}
}

/// Nobody.
impl Watch for () {}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After its last epoch.
    Whole,
    /// Because the watcher wanted so.
    Stopped,
}

/// See the file head.
pub struct Fit {
    trainer: Trainer,
    train: Loader,
    test: Option<Loader>,
    options: FitOptions,
    rates: Rates,
    checkpoints: Option<Checkpoints>,
    /// The newest.
    saved: Option<PathBuf>,
    progress: Progress,
    /// What counts which answers are right.
    seen: Metrics,
}

impl Fit {
    /// `trainer` on the batches of `train`, tested on those of `test`, with checkpoints where there is a place for them.
    ///
    /// # Errors
    /// A rate or a schedule that leads nowhere.
    pub fn new(
        trainer: Trainer,
        train: Loader,
        test: Option<Loader>,
        checkpoints: Option<Checkpoints>,
        options: FitOptions,
    ) -> Result<Self> {
        let classes = train.data().classes().len();
        let steps = train.steps() as u64;
        let rates = options
            .schedule
            .rates(options.rate, steps, options.epochs)?;
        Ok(Self {
            progress: Progress {
                description: options.description.clone(),
                ..Progress::default()
            },
            trainer,
            train,
            test,
            options,
            rates,
            checkpoints,
            saved: None,
            seen: Metrics::new(classes, 1)?,
        })
    }

    /// Takes up the newest checkpoint that loads, if there is one; its path, and what is to be said of newer ones that
    /// do not load.
    ///
    /// # Errors
    /// A checkpoint of another network or another training, with all that differs.
    pub fn resume(&mut self) -> Result<Option<(PathBuf, Vec<String>)>> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(None);
        };
        let newest = checkpoints.newest::<Progress>()?;
        let Some(found) = newest.checkpoint else {
            // None of those that are there can be read.
            return newest.skipped.into_iter().next().map_or(Ok(None), Err);
        };
        let differences = differences(&self.options.description, &found.state.description);
        if !differences.is_empty() {
            return Err(Error::Data {
                what: format!(
                    "{}: it is of another training: {}",
                    found.path.display(),
                    differences.join("; ")
                ),
            });
        }
        self.trainer.load(&found, found.state.changes)?;
        self.progress = found.state;
        self.saved = Some(found.path.clone());
        let warnings = newest.skipped.iter().map(ToString::to_string);
        Ok(Some((found.path, warnings.collect())))
    }

    /// Where it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What images are normalised by.
    pub fn normalise(&self) -> Option<&Normalise> {
        self.train.normalise()
    }

    /// What learns.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// All epochs that are left.
    ///
    /// # Errors
    /// Whatever an example has wrong; a loss that is not finite, with the newest checkpoint; a checkpoint that cannot be
    /// written. What was written before is whole.
    pub fn run(&mut self, watch: &mut dyn Watch) -> Result<Ended> {
        while self.progress.epochs < self.options.epochs {
            let ended = self.epoch(watch);
            let ended = ended.map_err(|error| self.told(error))?;
            if ended == Ended::Stopped {
                return Ok(ended);
            }
        }
        Ok(Ended::Whole)
    }

    fn epoch(&mut self, watch: &mut dyn Watch) -> Result<Ended> {
        let begun = Instant::now();
        let epoch = self.progress.epochs;
        let steps = self.train.steps() as u64;
        watch.begins(epoch + 1, steps, self.progress.step);
        let before = self.progress.seconds;
        let first = usize::try_from(self.progress.step).unwrap_or(usize::MAX);
        let (mut stop, mut due) = (false, false);
        for batch in self.train.epoch(epoch, first)? {
            let batch = batch?;
            let at = epoch * steps + self.progress.step;
            self.step(batch.images, batch.labels, self.rates.at(at))?;
            self.progress.step += 1;
            self.progress.seconds = before + begun.elapsed().as_secs_f64();
            stop |= watch.step(&self.progress.running) == Go::Stop;
            let every = self.options.checkpoint_every;
            due |= every.is_some_and(|every| self.progress.step.is_multiple_of(every.max(1)));
            // Gradients that wait for those of the next batch are not saved.
            if self.progress.step == steps || self.trainer.waits() {
                continue;
            }
            if stop || due {
                self.save(watch)?;
                due = false;
            }
            if stop {
                return Ok(Ended::Stopped);
            }
        }
        self.trainer
            .flush(self.rates.at(epoch * steps + steps - 1))?;
        watch.tests();
        let (record, test) = self.end_epoch()?;
        // Before the checkpoint: what is recorded of an epoch that was not saved comes again.
        watch.ends(&record, test.as_ref())?;
        self.save(watch)?;
        Ok(match stop && self.progress.epochs < self.options.epochs {
            true => Ended::Stopped,
            false => Ended::Whole,
        })
    }

    fn step(&mut self, images: ndarray::ArrayD<f32>, labels: Vec<i64>, rate: f64) -> Result<()> {
        let images = Tensor::from(images);
        let labels = ndarray::Array1::from(labels).into_dyn();
        let classes = Tensor::from(labels);
        let report = self.trainer.step(&images, &classes, rate)?;
        let (examples, right) = (self.seen.examples(), self.seen.right());
        super::evaluate::add(&mut self.seen, report.scores, &classes, report.loss)?;
        let examples = self.seen.examples() - examples;
        let running = &mut self.progress.running;
        running.examples += examples;
        running.right += self.seen.right() - right;
        running.loss += f64::from(report.loss) * examples as f64;
        Ok(())
    }

    /// Tests what was learned in an epoch, and counts it.
    fn end_epoch(&mut self) -> Result<(EpochRecord, Option<Metrics>)> {
        let begun = Instant::now();
        let test = match &self.test {
            Some(test) => Some(evaluate(
                &self.trainer.model().graph(),
                test,
                &self.options.network,
            )?),
            None => None,
        };
        let progress = &mut self.progress;
        let last = (progress.epochs + 1) * self.train.steps() as u64 - 1;
        let record = EpochRecord {
            epoch: progress.epochs + 1,
            step: self.trainer.steps(),
            learning_rate: self.rates.at(last),
            train_loss: progress.running.mean_loss(),
            train_accuracy: progress.running.accuracy(),
            test_loss: test.as_ref().map(Metrics::loss),
            test_accuracy: test.as_ref().map(Metrics::accuracy),
            images_per_second: progress.running.examples as f64 / progress.seconds,
            seconds: progress.seconds + begun.elapsed().as_secs_f64(),
        };
        if let Some(accuracy) = record.test_accuracy {
            progress.best = Some(progress.best.map_or(accuracy, |best| best.max(accuracy)));
        }
        progress.epochs += 1;
        progress.step = 0;
        progress.running = Running::default();
        progress.seconds = 0.0;
        Ok((record, test))
    }

    fn save(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        self.progress.changes = self.trainer.optimizer().steps();
        let saved = self.trainer.save(checkpoints, &self.progress)?;
        for warning in &saved.kept {
            watch.note(&warning.to_string());
        }
        self.saved = Some(saved.path);
        Ok(())
    }

    /// `error` with the newest checkpoint, where there is one and the error asks for it.
    fn told(&self, error: Error) -> Error {
        match error {
            Error::NotFinite {
                step, loss, layer, ..
            } => Error::NotFinite {
                step,
                loss,
                layer,
                checkpoint: self.saved.clone(),
            },
            error => error,
        }
    }
}

/// What two descriptions have differently.
fn differences(now: &[(String, String)], then: &[(String, String)]) -> Vec<String> {
    let value = |of: &[(String, String)], name: &str| {
        let found = of.iter().find(|(known, _)| known == name);
        found.map_or("nothing".to_owned(), |(_, value)| value.clone())
    };
    let names = now.iter().chain(then).map(|(name, _)| name);
    let mut told: Vec<String> = Vec::new();
    for name in names {
        let (now, then) = (value(now, name), value(then, name));
        let line = format!("{name} was {then}, now it is {now}");
        if now != then && !told.contains(&line) {
            told.push(line);
        }
    }
    told
}
