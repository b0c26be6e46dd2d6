//! Pictures in, outputs of a network out: in batches, in order, decoding beside computing.
//!
//! ```text
//! sources ──► queue: read, decode, prepare ──► batch ──► network ──► each(picture, output or what is wrong)
//!             threads of its own, bounded       [N, …]    the rayon pool in force
//! ```
//!
//! A picture that cannot be read gets its error and costs no other its result. A last batch that is not full is
//! filled up with zeros, so that a picture's result never depends on how many came with it.

mod gate;
mod input;
mod queue;
mod scores;

use std::thread;
use std::time::{Duration, Instant};

use crate::data::picture::DEFAULT_PICTURE_LIMIT;
use crate::data::prepare::Prepare;
use crate::error::{Error, Result, product, sum};
use crate::network::{DType, Graph, NetworkOptions, Tensor};
#[cfg(feature = "cli")]
pub(crate) use gate::{Gate, lock};
use input::Batched;
pub use input::ImageInput;
use queue::Queue;
pub use queue::Source;
pub use scores::{Scores, classes, top};

/// How pictures are run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InferOptions {
    /// Pictures that go through the network together; 16 by default. A network that cannot take so many takes as
    /// many as it can: [`Pipeline::batch`].
    pub batch: usize,
    /// Threads that decode; 1 by default.
    pub decoders: usize,
    /// Bytes that decoding may take, all pictures at a time together; one that takes more is refused. 512 MiB by
    /// default.
    pub picture_limit: u64,
    /// How the network is planned.
    pub network: NetworkOptions,
}

impl Default for InferOptions {
    fn default() -> Self {
        Self {
            batch: 16,
            decoders: 1,
            picture_limit: DEFAULT_PICTURE_LIMIT,
            network: NetworkOptions::default(),
        }
    }
}

impl InferOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many pictures go through the network together.
    pub fn batch(mut self, pictures: usize) -> Self {
        self.batch = pictures;
        self
    }

    /// Sets how many threads decode.
    pub fn decoders(mut self, threads: usize) -> Self {
        self.decoders = threads;
        self
    }

    /// Sets the most bytes that decoding may take.
    pub fn picture_limit(mut self, bytes: u64) -> Self {
        self.picture_limit = bytes;
        self
    }

    /// Sets how the network is planned.
    pub fn network(mut self, options: NetworkOptions) -> Self {
        self.network = options;
        self
    }
}

/// Where the time of a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// All of it.
    pub whole: Duration,
    /// In the network.
    pub network: Duration,
    /// Reading, decoding and preparing, all threads together.
    pub decode: Duration,
    /// Waiting for a picture.
    pub waiting: Duration,
}

/// A network for pictures.
#[derive(Debug)]
pub struct Pipeline {
    batched: Batched,
    input: ImageInput,
    prepare: Prepare,
    options: InferOptions,
    /// Numbers of a picture.
    len: usize,
}

impl Pipeline {
    /// `graph`, whose first output is wanted, for pictures that are prepared like this.
    ///
    /// # Errors
    /// A graph that takes no pictures, or other ones than `prepare` makes; whatever the network finds wrong.
    pub fn new(graph: Graph, prepare: Prepare, options: InferOptions) -> Result<Self> {
        let input = ImageInput::of(&graph, prepare.layout)?;
        let len = prepare.check()?;
        for (what, count) in [
            ("pictures of a batch", options.batch),
            ("decoders", options.decoders),
        ] {
            if count == 0 {
                return Err(Error::ZeroCount { what });
            }
        }
        // One batch in the network and two before it.
        let pictures = sum(
            "pictures",
            &[product("pictures", &[3, options.batch])?, options.decoders],
        )?;
        let needed = product("pictures", &[pictures, len, size_of::<f32>()])?;
        if needed > options.network.memory_limit {
            return Err(Error::MemoryBudget {
                needed,
                budget: options.network.memory_limit,
            });
        }
        let batched = Batched::new(
            graph,
            &options.network,
            &input,
            prepare.shape(),
            options.batch,
        )?;
        Ok(Self {
            batched,
            input,
            prepare,
            options,
            len,
        })
    }

    /// Pictures that go through the network together.
    pub fn batch(&self) -> usize {
        self.batched.batch
    }

    /// Threads that decode.
    pub fn decoders(&self) -> usize {
        self.options.decoders
    }

    /// The shape of the output for a picture, without the batch.
    pub fn output_shape(&self) -> &[usize] {
        &self.batched.item
    }

    /// Runs `sources`, each with something to know it by, and calls `each` for all of them in their order with the
    /// output or what is wrong with the picture. The network runs on the rayon pool in force; decoding has threads
    /// of its own.
    ///
    /// # Errors
    /// What `each` returns; a fault of the network, not of a picture.
    pub fn run<T, I, E>(
        &self,
        sources: I,
        mut each: impl FnMut(T, Result<&[f32]>) -> std::result::Result<(), E>,
    ) -> std::result::Result<Times, E>
    where
        T: Send,
        I: IntoIterator<Item = (T, Source)>,
        I::IntoIter: Send,
        E: From<Error>,
    {
        let begin = Instant::now();
        let ahead = self
            .batch()
            .saturating_mul(2)
            .saturating_add(self.options.decoders);
        let queue = Queue::new(
            sources.into_iter(),
            &self.prepare,
            self.len,
            ahead,
            self.options.picture_limit,
        );
        let mut times = Times::default();
        let done = thread::scope(|scope| {
            // The workers end when this function does, in whatever way.
            let _stop = Stop(&queue);
            let mut started = 0;
            for number in 0..self.options.decoders {
                let worker = thread::Builder::new().name(format!("decoder {number}"));
                started += usize::from(worker.spawn_scoped(scope, || queue.work()).is_ok());
            }
            if started == 0 {
                return Err(E::from(Error::Data {
                    what: "the system gives no thread to decode on".to_owned(),
                }));
            }
            self.batches(&queue, &mut times, &mut each)
        });
        times.decode = queue.busy();
        times.whole = begin.elapsed();
        done.map(|()| times)
    }

    /// Batch after batch.
    fn batches<T, I, E>(
        &self,
        queue: &Queue<'_, T, I>,
        times: &mut Times,
        each: &mut impl FnMut(T, Result<&[f32]>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E>
    where
        T: Send,
        I: Iterator<Item = (T, Source)> + Send,
        E: From<Error>,
    {
        let batch = self.batch();
        let shape = self.input.shape(batch, self.prepare.shape());
        let mut images = Tensor::zeros(DType::F32, &shape)?;
        // Those of the batch, and broken ones between them.
        let mut pending: Vec<(T, Result<()>)> = Vec::new();
        let mut good = 0;
        loop {
            let before = Instant::now();
            let next = queue.next();
            times.waiting += before.elapsed();
            let ended = next.is_none();
            if let Some(ready) = next {
                let prepared = ready.prepared.map(|numbers| {
                    self.place(&mut images, good, &numbers);
                    queue.give_back(numbers);
                    good += 1;
                });
                pending.push((ready.item, prepared));
            }
            // Broken pictures do not pile up behind a batch that waits to be full.
            if good == batch || ended || good == 0 || pending.len() >= 8 * batch {
                let outputs = self.outputs(&mut images, good, times)?;
                let mut numbers = outputs
                    .as_deref()
                    .unwrap_or(&[])
                    .chunks_exact(self.item_len().max(1));
                for (item, prepared) in pending.drain(..) {
                    let output = prepared.map(|()| numbers.next().unwrap_or(&[]));
                    each(item, output)?;
                }
                good = 0;
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn item_len(&self) -> usize {
        self.batched.item.iter().product()
    }

    fn place(&self, images: &mut Tensor, index: usize, numbers: &[f32]) {
        let slice = match images {
            Tensor::F32(array) => array.as_slice_mut(),
            _ => None,
        };
        if let Some(place) = slice.and_then(|all| all.get_mut(index * self.len..)) {
            place[..self.len].copy_from_slice(numbers);
        }
    }

    /// The outputs of the first `good` images; nothing where there are none.
    fn outputs(
        &self,
        images: &mut Tensor,
        good: usize,
        times: &mut Times,
    ) -> Result<Option<Vec<f32>>> {
        if good == 0 {
            return Ok(None);
        }
        if let Tensor::F32(array) = &mut *images
            && let Some(all) = array.as_slice_mut()
        {
            all[good * self.len..].fill(0.0);
        }
        let before = Instant::now();
        let outputs = self.batched.network.run(&[(&self.input.name, &*images)])?;
        times.network += before.elapsed();
        let first = outputs.into_iter().next();
        match first {
            Some((_, Tensor::F32(array))) => Ok(Some(array.into_raw_vec_and_offset().0)),
            _ => Err(Error::Model {
                what: "the model has no output of f32".to_owned(),
            }),
        }
    }
}

/// Lets the workers of a queue end.
struct Stop<'q, 'p, T: Send, I: Iterator<Item = (T, Source)> + Send>(&'q Queue<'p, T, I>);

impl<T: Send, I: Iterator<Item = (T, Source)> + Send> Drop for Stop<'_, '_, T, I> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
