//! Layers of one operator: products with a matrix, normalisation, dropout, activations, pools, shapes.

use ndarray::{ArrayD, IxDyn};

use super::{Build, Layer};
use crate::error::Result;
use crate::geometry::PoolOptions;
use crate::network::{
    BatchNormalization, Dropout, Gemm, Operator, Pool, Reshape, Softmax, SoftmaxKind, Tensor,
    Unary, ValueId,
};
use crate::train::initialise::{Fan, Gain, Initialiser};

/// A product with a matrix `[outputs, inputs]`, and a bias: `linearN.weight`, `linearN.bias`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    outputs: usize,
    weights: Initialiser,
}

/// All inputs to each of `outputs`.
pub fn linear(outputs: usize) -> Linear {
    Linear {
        outputs,
        weights: Initialiser::KaimingNormal(Fan::In, Gain::Relu),
    }
}

impl Linear {
    /// Sets how the weights begin.
    pub fn weights(mut self, from: Initialiser) -> Self {
        self.weights = from;
        self
    }
}

impl Layer for Linear {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let inputs = build.channels(x)?;
        let name = build.name("linear");
        let shape = [self.outputs, inputs];
        let weight = build.weight(format!("{name}.weight"), &shape, self.weights)?;
        let bias = build.filled(format!("{name}.bias"), self.outputs, 0.0)?;
        build.node(name, Gemm::new(1.0, 1.0, false, true), &[x, weight, bias])
    }
}

/// A batch normalisation: `normN.weight`, `normN.bias`, `normN.mean`, `normN.variance`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    epsilon: f32,
}

/// Each channel to mean 0 and variance 1, then scaled and shifted. (Ioffe and Szegedy 2015.)
pub fn batch_norm() -> BatchNorm {
    BatchNorm { epsilon: 1e-5 }
}

impl BatchNorm {
    /// Sets what is added to the variance; 1e-5 by default.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.epsilon = epsilon;
        self
    }
}

impl Layer for BatchNorm {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let channels = build.channels(x)?;
        let name = build.name("norm");
        let mut inputs = vec![x];
        for (what, value) in [
            ("weight", 1.0),
            ("bias", 0.0),
            ("mean", 0.0),
            ("variance", 1.0),
        ] {
            inputs.push(build.filled(format!("{name}.{what}"), channels, value)?);
        }
        build.node(name, BatchNormalization::new(self.epsilon), &inputs)
    }
}

/// Some numbers are replaced by zeros while the network learns.
#[derive(Clone, Copy, Debug)]
pub struct DropoutLayer(f32);

/// Drops this share of what comes in while the network learns. (Srivastava et al. 2014.)
pub fn dropout(ratio: f32) -> DropoutLayer {
    DropoutLayer(ratio)
}

impl Layer for DropoutLayer {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let name = build.name("dropout");
        let ratio = Tensor::from(ArrayD::from_elem(IxDyn(&[]), self.0));
        let ratio = build.graph.constant(format!("{name}.ratio"), ratio);
        build.node(name, Dropout::new(None, false), &[x, ratio])
    }
}

/// A layer that is one operator and learns nothing.
#[derive(Clone, Debug)]
pub struct Plain<O> {
    name: &'static str,
    operator: O,
}

impl<O: Operator + Clone> Layer for Plain<O> {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let name = build.name(self.name);
        build.node(name, self.operator.clone(), &[x])
    }
}

/// A function of each element.
pub fn activation(function: Unary) -> Plain<Unary> {
    Plain {
        name: "activation",
        operator: function,
    }
}

/// max(x, 0)
pub fn relu() -> Plain<Unary> {
    Plain {
        name: "relu",
        operator: Unary::Relu,
    }
}

/// The maximum of every window.
pub fn max_pool(windows: PoolOptions) -> Plain<Pool> {
    Plain {
        name: "pool",
        operator: Pool::max(windows),
    }
}

/// The average of every window.
pub fn average_pool(windows: PoolOptions) -> Plain<Pool> {
    Plain {
        name: "pool",
        operator: Pool::average(windows),
    }
}

/// The average of every channel, with spatial axes of one element.
pub fn global_average() -> Plain<Pool> {
    Plain {
        name: "pool",
        operator: Pool::global_average(),
    }
}

/// All elements of an image in one axis.
pub fn flatten() -> Plain<Reshape> {
    Plain {
        name: "flatten",
        operator: Reshape::flatten(1),
    }
}

/// Scores to probabilities. Nothing that learns needs it: the loss takes scores.
pub fn softmax() -> Plain<Softmax> {
    Plain {
        name: "softmax",
        operator: Softmax::new(SoftmaxKind::Softmax, -1),
    }
}
