//! [`Trainer`]: a model, and the step that changes it.
//!
//! ```text
//! step:  network(images, classes, parameters) -> loss, scores, statistics of the batch, gradients
//!        gradients: averaged over `accumulate` batches, clipped
//!        parameter ← optimizer(parameter, gradient, rate)
//!        running statistic ← (1 − momentum) · running + momentum · of the batch
//! ```
//!
//! The network is planned once for a size of the batch, and keeps its arena from step to step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::{Checkpoint, Checkpoints, Contents, Saved};
use super::clip::{self, Accumulator};
use super::graph::{Role, Training};
use super::model::Model;
use super::optimizer::{self, Optimizer, OptimizerOptions};
use super::weights::{NamedTensor, Target};
use crate::data::random::{End, generator};
use crate::error::{Error, Result};
use crate::network::{
    Buffers, CrossEntropy, Network, NetworkOptions, Session, Tensor, View, ViewMut,
};

/// How a model learns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrainerOptions {
    /// What follows the gradients; SGD with a momentum of 0.9 by default.
    pub optimizer: OptimizerOptions,
    /// What the right class gives to all of them: [`CrossEntropy::smoothing`]. 0 by default.
    pub smoothing: f32,
    /// The largest norm of all gradients together; none by default.
    pub clip_norm: Option<f64>,
    /// The largest size of an element of a gradient; none by default.
    pub clip_value: Option<f64>,
    /// Batches whose gradients are averaged before the parameters change; 1 by default.
    pub accumulate: usize,
    /// How far running means and variances go to those of a batch; 0.1 by default, as in PyTorch.
    pub momentum: f32,
    /// Decides what Dropout drops.
    pub seed: u64,
    /// How the network is planned.
    pub network: NetworkOptions,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self {
            optimizer: OptimizerOptions::Sgd {
                momentum: 0.9,
                nesterov: false,
                decay: 0.0,
            },
            smoothing: 0.0,
            clip_norm: None,
            clip_value: None,
            accumulate: 1,
            momentum: 0.1,
            seed: 0,
            network: NetworkOptions::default(),
        }
    }
}

impl TrainerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what follows the gradients.
    pub fn optimizer(mut self, optimizer: OptimizerOptions) -> Self {
        self.optimizer = optimizer;
        self
    }

    /// Sets the smoothing of the classes.
    pub fn smoothing(mut self, smoothing: f32) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// Sets the largest norm of all gradients together.
    pub fn clip_norm(mut self, limit: Option<f64>) -> Self {
        self.clip_norm = limit;
        self
    }

    /// Sets the largest size of an element of a gradient.
    pub fn clip_value(mut self, limit: Option<f64>) -> Self {
        self.clip_value = limit;
        self
    }

    /// Sets how many batches a change of the parameters takes.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = batches;
        self
    }

    /// Sets how far running statistics move.
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// Sets what decides what is dropped.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets how the network is planned.
    pub fn network(mut self, options: NetworkOptions) -> Self {
        self.network = options;
        self
    }
}

/// The network for one size of the batch.
struct Ready {
    shape: Vec<usize>,
    session: Arc<Session>,
    buffers: Buffers,
}

/// See the file head.
pub struct Trainer {
    model: Model,
    options: TrainerOptions,
    network: Network,
    training: Training,
    optimizer: Optimizer,
    accumulator: Option<Accumulator>,
    /// Batches in it.
    accumulated: usize,
    ready: Option<Ready>,
    /// Batches seen.
    steps: u64,
}

/// What a step found, before it changed anything.
#[derive(Clone, Copy, Debug)]
pub struct StepReport<'t> {
    /// The mean loss of the batch.
    pub loss: f32,
    /// The scores, `[N, classes]`.
    pub scores: &'t Tensor,
}

impl Trainer {
    /// Gets `model`, which takes one batch of images and whose first output are scores `[N, classes]` or their softmax,
    /// ready to learn.
    ///
    /// # Errors
    /// A model of another kind; options out of range.
    pub fn new(model: Model, options: TrainerOptions) -> Result<Self> {
        if options.accumulate == 0 {
            return Err(Error::ZeroCount {
                what: "batches to accumulate",
            });
        }
        if !(0.0..=1.0).contains(&options.momentum) {
            return Err(Error::Attribute {
                name: "momentum of running statistics".to_owned(),
                expected: "from 0 to 1".to_owned(),
                got: options.momentum.to_string(),
            });
        }
        let loss = CrossEntropy {
            smoothing: options.smoothing,
        };
        let training = Training::new(&model, loss)?;
        let learning = training.learning.iter();
        let learned: Vec<optimizer::Parameter> = learning
            .map(|&index| optimizer::Parameter {
                len: model.parameters()[index].tensor.len(),
                decay: true,
            })
            .collect();
        let lengths: Vec<usize> = learned.iter().map(|parameter| parameter.len).collect();
        let of: Vec<_> = (training.learning.iter())
            .map(|&index| model.parameters()[index].value)
            .collect();
        let network = Network::with_gradients(
            training.graph.clone(),
            training.loss,
            &of,
            options.network.clone(),
        )?;
        Ok(Self {
            optimizer: Optimizer::new(options.optimizer, &learned)?,
            accumulator: match options.accumulate {
                1 => None,
                _ => Some(Accumulator::new(&lengths)?),
            },
            accumulated: 0,
            model,
            options,
            network,
            training,
            ready: None,
            steps: 0,
        })
    }

    /// What has been learned so far.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Batches seen.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The optimizer, whose state is part of what a checkpoint holds.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The names of the parameters that learn, in the order of the optimizer.
    pub fn learning(&self) -> impl Iterator<Item = &str> {
        let learning = self.training.learning.iter();
        learning.map(|&index| self.model.parameters()[index].name.as_str())
    }

    /// Writes a checkpoint of what learns, with `state` in it.
    ///
    /// # Errors
    /// Those of [`Checkpoints::save`].
    pub fn save<S: Serialize + DeserializeOwned>(
        &self,
        checkpoints: &Checkpoints,
        state: &S,
    ) -> Result<Saved> {
        let weights: Vec<NamedTensor> = (self.model.tensors())
            .map(|(name, tensor)| NamedTensor {
                name,
                shape: tensor.shape(),
                values: single(tensor),
            })
            .collect();
        let names = self.slot_names();
        let slots: Vec<NamedTensor> = (names.iter().zip(self.optimizer.slots()))
            .map(|((name, shape), slot)| NamedTensor {
                name,
                shape,
                values: slot.values,
            })
            .collect();
        checkpoints.save(&Contents {
            step: self.steps,
            weights: &weights,
            metadata: &BTreeMap::new(),
            slots: &slots,
            state,
        })
    }

    /// Goes on from a checkpoint, at which the optimizer had done so many steps.
    ///
    /// # Errors
    /// A checkpoint of another model or optimizer, with all that differs.
    pub fn load<S>(&mut self, checkpoint: &Checkpoint<S>, changes: u64) -> Result<()> {
        let names = self.slot_names();
        let slots = names.iter().zip(self.optimizer.slots_mut());
        let mut targets: Vec<Target> = slots
            .map(|((name, shape), slot)| Target {
                name,
                shape,
                values: slot.values,
            })
            .collect();
        let path = |error: Error| error.at(checkpoint.path.display().to_string());
        checkpoint.slots.load_into(&mut targets).map_err(path)?;
        drop(targets);
        self.model.load(&checkpoint.weights).map_err(path)?;
        self.optimizer.set_steps(changes);
        self.steps = checkpoint.step;
        Ok(())
    }

    /// Name and shape of each slot of the optimizer.
    fn slot_names(&self) -> Vec<(String, Vec<usize>)> {
        let slots = self.optimizer.slots();
        let parameter = |number: usize| {
            let index = self.training.learning[number];
            &self.model.parameters()[index]
        };
        slots
            .map(|slot| {
                let parameter = parameter(slot.parameter);
                let name = format!("{}.{}", parameter.name, slot.name);
                (name, parameter.tensor.shape().to_vec())
            })
            .collect()
    }

    /// The session for batches of this size.
    ///
    /// # Errors
    /// Images that the model does not take; an operator without a gradient.
    pub fn session(&mut self, images: &Tensor, classes: &Tensor) -> Result<Arc<Session>> {
        self.prepare(images, classes)?;
        let ready = self.ready.as_ref().ok_or_else(unplanned)?;
        Ok(ready.session.clone())
    }

    fn prepare(&mut self, images: &Tensor, classes: &Tensor) -> Result<()> {
        if self
            .ready
            .as_ref()
            .is_some_and(|ready| ready.shape == images.shape())
        {
            return Ok(());
        }
        let seed = seed_tensor(0);
        let mut given: Vec<(&str, &Tensor)> = Vec::new();
        for (input, role) in self
            .training
            .graph
            .inputs()
            .iter()
            .zip(&self.training.roles)
        {
            let tensor = match *role {
                Role::Images => images,
                Role::Classes => classes,
                Role::Seed => &seed,
                Role::Parameter(index) => &self.model.parameters()[index].tensor,
            };
            given.push((self.training.graph.name(input.value), tensor));
        }
        let session = self.network.session(&given)?;
        self.ready = Some(Ready {
            shape: images.shape().to_vec(),
            buffers: session.buffers()?,
            session,
        });
        Ok(())
    }

    /// One step on `images`, `[N, C, H, W]`, of these classes, `[N]` of type i64, at this learning rate.
    ///
    /// # Errors
    /// Images and classes that do not fit; a loss that is not finite ([`Error::NotFinite`]): then nothing has changed.
    pub fn step(&mut self, images: &Tensor, classes: &Tensor, rate: f64) -> Result<StepReport<'_>> {
        if images.shape().first() != classes.shape().first() {
            return Err(Error::Operand {
                operand: "classes",
                expected: format!("one for each of the images, of shape {:?}", images.shape()),
                got: format!("of shape {:?}", classes.shape()),
            });
        }
        self.prepare(images, classes)?;
        let mut ready = self.ready.take().ok_or_else(unplanned)?;
        let done = self.step_with(&mut ready, images, classes, rate);
        let ready = self.ready.insert(ready);
        let loss = done?;
        Ok(StepReport {
            loss,
            scores: &ready.buffers.outputs()[1],
        })
    }

    /// How long each layer of a step on such a batch takes; nothing is changed.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn profile(&mut self, images: &Tensor, classes: &Tensor) -> Result<Vec<Duration>> {
        self.prepare(images, classes)?;
        let mut ready = self.ready.take().ok_or_else(unplanned)?;
        let seed = seed_tensor(0);
        let views = self.views(images, classes, &seed);
        let times = ready.session.profile(&views, &mut ready.buffers);
        drop(views);
        self.ready = Some(ready);
        times
    }

    /// The inputs of the network in their order.
    fn views<'t>(
        &'t self,
        images: &'t Tensor,
        classes: &'t Tensor,
        seed: &'t Tensor,
    ) -> Vec<View<'t>> {
        let parameters = self.model.parameters();
        let roles = self.training.roles.iter();
        roles
            .map(|role| match *role {
                Role::Images => images.view(),
                Role::Classes => classes.view(),
                Role::Seed => seed.view(),
                Role::Parameter(index) => parameters[index].tensor.view(),
            })
            .collect()
    }

    fn step_with(
        &mut self,
        ready: &mut Ready,
        images: &Tensor,
        classes: &Tensor,
        rate: f64,
    ) -> Result<f32> {
        let Ready {
            session, buffers, ..
        } = ready;
        // What is dropped depends on the seed and the step alone.
        let seed = generator(self.options.seed, End::Drop, &[self.steps]).i64(..);
        let seed = seed_tensor(seed);
        let views = self.views(images, classes, &seed);
        session.run(&views, buffers)?;
        let loss = single(&buffers.outputs()[0])[0];
        if !loss.is_finite() {
            let layer = session.find_not_finite(&views, buffers)?;
            return Err(Error::NotFinite {
                step: self.steps + 1,
                loss,
                layer,
                checkpoint: None,
            });
        }
        self.follow(buffers.outputs());
        self.steps += 1;
        let first = 2 + 2 * self.training.following.len();
        let mut gradients: Vec<&mut [f32]> = buffers.outputs_mut()[first..]
            .iter_mut()
            .map(single_mut)
            .collect();
        if let Some(accumulator) = &mut self.accumulator {
            accumulator.add(&gradients, images.shape()[0])?;
            self.accumulated += 1;
            if self.accumulated < self.options.accumulate {
                return Ok(loss);
            }
            for (gradient, mean) in gradients.iter_mut().zip(accumulator.means()) {
                gradient.copy_from_slice(mean);
            }
            accumulator.clear();
            self.accumulated = 0;
        }
        self.change(gradients, rate)?;
        Ok(loss)
    }

    /// Whether there are gradients that wait for those of more batches.
    pub fn waits(&self) -> bool {
        self.accumulated > 0
    }

    /// Changes the parameters by the gradients that wait, fewer batches than usual.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn flush(&mut self, rate: f64) -> Result<()> {
        let Some(mut accumulator) = self.accumulator.take_if(|_| self.accumulated > 0) else {
            return Ok(());
        };
        let mut means = accumulator.means().to_vec();
        accumulator.clear();
        self.accumulator = Some(accumulator);
        self.accumulated = 0;
        self.change(means.iter_mut().map(Vec::as_mut_slice).collect(), rate)
    }

    /// The parameters go down `gradients`.
    fn change(&mut self, mut gradients: Vec<&mut [f32]>, rate: f64) -> Result<()> {
        if let Some(limit) = self.options.clip_value {
            clip::by_value(&mut gradients, limit)?;
        }
        let factor = match self.options.clip_norm {
            Some(limit) => clip::factor(clip::norm(&gradients), limit)?,
            None => 1.0,
        };
        let parameters = self.model.parameters_mut();
        let mut step = self.optimizer.begin(rate)?.scale(factor);
        let learning = self.training.learning.iter();
        for (number, (&index, gradient)) in learning.zip(&gradients).enumerate() {
            step.update(number, single_mut(&mut parameters[index].tensor), gradient)?;
        }
        Ok(())
    }

    /// Running means and variances follow those of the batch.
    fn follow(&mut self, outputs: &[Tensor]) {
        let momentum = self.options.momentum;
        let statistics = self.model.statistics_mut();
        let pairs = outputs[2..].chunks(2);
        for (pair, made) in self.training.following.iter().zip(pairs) {
            for (&index, batch) in pair.iter().zip(made) {
                let running = single_mut(&mut statistics[index].tensor);
                for (running, batch) in running.iter_mut().zip(single(batch)) {
                    *running = (1.0 - momentum) * *running + momentum * batch;
                }
            }
        }
    }
}

fn unplanned() -> Error {
    Error::Model {
        what: "nothing is planned".to_owned(),
    }
}

fn seed_tensor(seed: i64) -> Tensor {
    ndarray::ArrayD::from_elem(ndarray::IxDyn(&[]), seed).into()
}

/// Elements of a tensor of type f32, which those of training are.
pub(super) fn single(tensor: &Tensor) -> &[f32] {
    match tensor.view() {
        View::F32(slice) => slice,
        _ => &[],
    }
}

fn single_mut(tensor: &mut Tensor) -> &mut [f32] {
    match tensor.view_mut() {
        ViewMut::F32(slice) => slice,
        _ => &mut [],
    }
}
