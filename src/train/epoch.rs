//! An epoch while it runs: a queue between the threads that make batches and the one that takes them.
//!
//! ```text
//! worker:    take the next step, at most `ahead` before the one that is waited for ─► make its batch
//! consumer:  next()   the batch of the first step that has not been handed on, as soon as it is ready
//! ```
//!
//! Workers are outside the pool that computes. A batch that fails, or panics, is an error at its step and ends the
//! epoch.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use ndarray::{ArrayD, IxDyn};

use super::loader::{Batch, Loader};
use crate::data::augment::Example;
use crate::data::guarded;
use crate::error::{Error, Result, product};

/// The batches of an epoch, in their order; an error is the last that comes. The workers end when this is dropped.
pub struct Epoch {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Epoch")
            .field("epoch", &self.shared.epoch)
            .field("step", &self.step())
            .field("steps", &self.shared.steps)
            .finish()
    }
}

impl Epoch {
    /// The batches from `step` on, which is at most the number of steps.
    pub(super) fn begin(loader: &Loader, epoch: u64, step: usize) -> Result<Self> {
        let steps = loader.steps();
        let shared = Arc::new(Shared {
            loader: loader.clone(),
            order: loader.order(epoch)?,
            epoch,
            steps,
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                first: step,
                slots: VecDeque::new(),
                free: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let threads = loader.options.threads.min(steps - step);
        let mut epoch = Epoch {
            shared,
            workers: Vec::new(),
        };
        for number in 0..threads {
            let shared = Arc::clone(&epoch.shared);
            let worker = thread::Builder::new().name(format!("loader {number}"));
            match worker.spawn(move || shared.work()) {
                Ok(worker) => epoch.workers.push(worker),
                // Fewer do as well.
                Err(_) if number > 0 => break,
                Err(error) => {
                    return Err(Error::Data {
                        what: format!("the system gives no thread to make batches on: {error}"),
                    });
                }
            }
        }
        Ok(epoch)
    }

    /// The step whose batch comes next.
    pub fn step(&self) -> usize {
        self.shared.lock().first
    }

    /// Gives back a batch that is done with, so that its memory is used again.
    pub fn give_back(&self, batch: Batch) {
        let mut state = self.shared.lock();
        // Those ahead and the consumer's: more are not in use at once.
        if state.free.len() <= self.shared.loader.options.ahead {
            state.free.push(batch);
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let shared = &self.shared;
        let waiting = |state: &mut State| match state.slots.front() {
            Some(slot) => slot.is_none(),
            None => state.first < shared.steps,
        };
        if shared.stopped() {
            return None;
        }
        let state = shared.changed.wait_while(shared.lock(), waiting);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let batch = state.slots.pop_front().flatten()?;
        state.first += 1;
        drop(state);
        match batch {
            Ok(_) => shared.changed.notify_all(),
            Err(_) => shared.stop(),
        }
        Some(batch)
    }
}

impl FusedIterator for Epoch {}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // What it would say has been said as an error.
            let _ = worker.join();
        }
    }
}

/// What workers and consumer share.
struct Shared {
    loader: Loader,
    order: Vec<usize>,
    epoch: u64,
    steps: usize,
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The step that is waited for.
    first: usize,
    /// From that step on; `None` while a worker makes the batch.
    slots: VecDeque<Option<Result<Batch>>>,
    /// Batches to use again.
    free: Vec<Batch>,
}

impl State {
    /// The step that is to be made next.
    fn next(&self) -> usize {
        self.first + self.slots.len()
    }
}

impl Shared {
    /// A panic elsewhere leaves nothing half done in the state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Lets the workers end. With the lock, so that none is between looking and waiting.
    fn stop(&self) {
        let state = self.lock();
        self.stopped.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    /// Makes batches until there are no more.
    fn work(&self) {
        let ahead = self.loader.options.ahead;
        loop {
            let waiting = |state: &mut State| {
                !self.stopped() && state.next() < self.steps && state.slots.len() >= ahead
            };
            let state = self.changed.wait_while(self.lock(), waiting);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            let step = state.next();
            if self.stopped() || step >= self.steps {
                return;
            }
            state.slots.push_back(None);
            let old = state.free.pop();
            drop(state);
            let batch = guarded("reading an example", || self.batch(step, old));
            let mut state = self.lock();
            // Its slot stays until it is filled.
            let place = step - state.first;
            if let Some(slot) = state.slots.get_mut(place) {
                *slot = Some(batch);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The batch of a step, in the memory of an old one.
    fn batch(&self, step: usize, old: Option<Batch>) -> Result<Batch> {
        let Loader { data, options } = &self.loader;
        let shape @ [channels, height, width] = data.shape();
        let len = product("an image", &shape)?;
        let examples = self.order[step * options.batch..]
            .iter()
            .take(options.batch);
        let count = examples.len();
        let (images, mut labels) = match old {
            Some(old) => (old.images.into_raw_vec_and_offset().0, old.labels),
            None => (Vec::new(), Vec::new()),
        };
        let mut images = resized(images, product("a batch", &[count, len])?)?;
        labels.clear();
        for (&index, image) in examples.zip(images.chunks_exact_mut(len)) {
            if self.stopped() {
                return Err(Error::Data {
                    what: "stopped".to_owned(),
                });
            }
            data.image(index, image)?;
            let example = Example {
                seed: options.seed,
                epoch: self.epoch,
                index,
            };
            options.augment.run(image, shape, example)?;
            labels.push(self.label(index)?);
        }
        if let Some(normalise) = &options.normalise {
            normalise.run(&mut images, height * width)?;
        }
        let shape = IxDyn(&[count, channels, height, width]);
        let images = ArrayD::from_shape_vec(shape, images);
        let images = images.map_err(|_| Error::Overflow { what: "a batch" })?;
        Ok(Batch { images, labels })
    }

    /// The class of an example; a data set of the caller's own may be wrong about it.
    fn label(&self, index: usize) -> Result<i64> {
        let data = &self.loader.data;
        let classes = data.classes().len();
        let label = data.labels().get(index).copied().unwrap_or(usize::MAX);
        let class = i64::try_from(label).ok().filter(|_| label < classes);
        class.ok_or(Error::Label {
            example: index,
            label: label as i128,
            classes,
        })
    }
}

/// `values` with `len` elements, or the typed error where the allocator refuses.
fn resized(mut values: Vec<f32>, len: usize) -> Result<Vec<f32>> {
    let more = len.saturating_sub(values.len());
    values
        .try_reserve_exact(more)
        .map_err(|_| Error::Allocation {
            bytes: len.saturating_mul(size_of::<f32>()),
        })?;
    values.resize(len, 0.0);
    Ok(values)
}
