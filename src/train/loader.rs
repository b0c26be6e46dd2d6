//! Batches of a data set, made ahead by threads of their own.
//!
//! ```text
//! order of an epoch = shuffle by (seed, epoch)     batch s = examples order[s · batch ..]
//!
//! image: read ─► augment by (seed, epoch, index) ─► normalise
//! ```
//!
//! What is in a batch depends on the seed, the epoch and the step, not on threads, nor on where an epoch begins: one
//! that is taken up at step s goes on as if it had never stopped. At most `ahead` batches exist besides the
//! consumer's. Training drops the last batch where it would be smaller than the others; evaluation has every example
//! once, in the order of the data set.

use std::fmt;
use std::sync::Arc;

use ndarray::ArrayD;

use super::epoch::Epoch;
use crate::data::augment::Augment;
use crate::data::dataset::Dataset;
use crate::data::normalise::Normalise;
use crate::data::random::{End, generator};
use crate::element::collected;
use crate::error::{Error, Result, check_len, product};

/// How batches are made.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    pub(super) batch: usize,
    pub(super) seed: u64,
    /// Whether examples are in another order in each epoch, and only whole batches are made.
    training: bool,
    pub(super) augment: Augment,
    pub(super) normalise: Option<Normalise>,
    pub(super) threads: usize,
    pub(super) ahead: usize,
}

impl LoaderOptions {
    /// To train: shuffled by the seed and the epoch, whole batches only. One thread, three batches ahead.
    pub fn training(batch: usize, seed: u64) -> Self {
        Self {
            batch,
            seed,
            training: true,
            augment: Augment::default(),
            normalise: None,
            threads: 1,
            ahead: 3,
        }
    }

    /// To evaluate: every example once, in order; the last batch may be smaller.
    pub fn evaluation(batch: usize) -> Self {
        Self {
            training: false,
            ..Self::training(batch, 0)
        }
    }

    /// Sets how images are changed at random.
    pub fn augment(mut self, augment: Augment) -> Self {
        self.augment = augment;
        self
    }

    /// Sets what images are normalised by.
    pub fn normalise(mut self, normalise: Normalise) -> Self {
        self.normalise = Some(normalise);
        self
    }

    /// Sets how many threads make batches.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets how many batches are made before they are asked for.
    pub fn ahead(mut self, batches: usize) -> Self {
        self.ahead = batches;
        self
    }
}

/// Images and their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[N, C, H, W]`.
    pub images: ArrayD<f32>,
    /// The class of each.
    pub labels: Vec<i64>,
}

impl Batch {
    /// How many examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A data set in batches.
#[derive(Clone)]
pub struct Loader {
    pub(super) data: Arc<dyn Dataset>,
    pub(super) options: Arc<LoaderOptions>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loader")
            .field("examples", &self.data.len())
            .field("shape", &self.data.shape())
            .field("options", &self.options)
            .finish()
    }
}

impl Loader {
    /// `data` in batches.
    ///
    /// # Errors
    /// Batches of 0, or larger than the data set where only whole ones are made; no threads; nothing ahead; images that
    /// cannot be changed or normalised so.
    pub fn new(data: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        for (what, count) in [
            ("examples of a batch", options.batch),
            ("threads that make batches", options.threads),
            ("batches ahead", options.ahead),
            ("examples", data.len()),
        ] {
            if count == 0 {
                return Err(Error::ZeroCount { what });
            }
        }
        if options.training && options.batch > data.len() {
            return Err(Error::Data {
                what: format!(
                    "a batch of {} is larger than the data set, which has {} examples",
                    options.batch,
                    data.len()
                ),
            });
        }
        let shape @ [channels, height, width] = data.shape();
        let image = product("an image", &shape)?;
        product(
            "a batch",
            &[options.batch.min(data.len()), image, size_of::<f32>()],
        )?;
        if image == 0 {
            return Err(Error::ZeroCount {
                what: "pixels of an image",
            });
        }
        options.augment.check([channels, height, width])?;
        if let Some(normalise) = &options.normalise {
            check_len("the list of means", channels, normalise.mean().len())?;
        }
        Ok(Self {
            data,
            options: Arc::new(options),
        })
    }

    /// The data set.
    pub fn data(&self) -> &Arc<dyn Dataset> {
        &self.data
    }

    /// What images are normalised by.
    pub fn normalise(&self) -> Option<&Normalise> {
        self.options.normalise.as_ref()
    }

    /// The batches of an epoch.
    pub fn steps(&self) -> usize {
        match self.options.training {
            true => self.data.len() / self.options.batch,
            false => self.data.len().div_ceil(self.options.batch),
        }
    }

    /// The examples of an epoch in their order.
    ///
    /// # Errors
    /// No memory.
    pub fn order(&self, epoch: u64) -> Result<Vec<usize>> {
        let mut order = collected(self.data.len(), 0..self.data.len())?;
        if self.options.training {
            generator(self.options.seed, End::Order, &[epoch]).shuffle(&mut order);
        }
        Ok(order)
    }

    /// The batches of an epoch from `step` on; none if that is the number of steps.
    ///
    /// # Errors
    /// A step that the epoch does not have; no memory; no thread.
    pub fn epoch(&self, epoch: u64, step: usize) -> Result<Epoch> {
        let steps = self.steps();
        if step > steps {
            return Err(Error::Data {
                what: format!("there is no step {step} in an epoch of {steps}"),
            });
        }
        Epoch::begin(self, epoch, step)
    }
}
