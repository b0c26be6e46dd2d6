//! Operators: what a node of a graph does.
//!
//! ```text
//! Operator   attributes, no sizes     infer: facts of the inputs -> facts of the outputs
//!    │ step(facts)                    once for given sizes: plans are made, weights prepared, tables filled
//!    ▼
//! Step       everything decided       run: slices in, slices out, scratch; allocates nothing
//! ```
//!
//! A [`Fact`] is what is known before anything runs: element type, shape and, for constants, the value. All
//! sizes are numbers here: a network is planned for the shapes of its inputs, and arithmetic on shapes has been
//! folded into constants by then.

mod align;
mod batch_norm;
mod by_image;
mod check;
mod col2im;
mod convolution;
mod elementwise;
mod grid_sample;
mod loss;
mod matrix;
mod normalization;
mod pad;
mod pool;
mod quantize;
mod reduction;
mod resize;
mod roi_align;
mod shape;
mod strided;
#[cfg(test)]
mod testing;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use super::gradient::Backward;
use super::tensor::{DType, Tensor, View, ViewMut};
use crate::error::Result;
use crate::geometry::Axis;
use crate::plan::PlanOptions;

pub use align::Align;
pub use batch_norm::BatchNormalization;
pub use col2im::Col2Im;
pub use convolution::{
    Conv, ConvBackwardInput, ConvBackwardWeight, ConvTranspose, DeformConv, LocallyConnected,
    LocallyConnectedBackwardInput, LocallyConnectedBackwardWeight,
};
pub use elementwise::{
    Binary, Cast, Clip, ClipBackward, Special, Unary, UnaryBackward, Variadic, Where,
};
pub use grid_sample::{GridPadding, GridSample};
pub use loss::{CrossEntropy, SquaredError};
pub(crate) use matrix::Linear;
pub use matrix::{Einsum, Gemm, MatMul};
pub use normalization::*;
pub use pad::{Pad, PadMode};
pub use pool::{MaxUnpool, Pool, PoolBackward};
#[cfg(feature = "onnx")]
pub(crate) use quantize::Grain;
pub use quantize::{DequantizeLinear, QuantizeLinear};
pub use reduction::{
    ArgExtreme, CumSum, Reduce, ReduceKind, Softmax, SoftmaxBackward, SoftmaxKind, TopK,
};
pub use resize::{AspectRatio, Coordinates, Interpolation, NearestMode, Resize, ResizeOptions};
pub use roi_align::RoiAlign;
pub use shape::*;

/// What is known of a value before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, where they are constant.
    pub value: Option<Arc<Tensor>>,
}

impl Fact {
    /// A value that is computed.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            dtype,
            shape: shape.into(),
            value: None,
        }
    }

    /// A constant.
    pub fn constant(value: Arc<Tensor>) -> Self {
        Self {
            dtype: value.dtype(),
            shape: value.shape().to_vec(),
            value: Some(value),
        }
    }
}

/// What is known of the inputs of a node; an optional input that is left out is `None`.
pub type Facts<'a> = [Option<&'a Fact>];

/// What a node does, independent of sizes.
pub trait Operator: Any + Debug + Send + Sync {
    /// Its name, as in ONNX.
    fn name(&self) -> &'static str;

    /// What comes out. Fails where the inputs do not fit the operator, with the numbers.
    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>>;

    /// The same for inputs of these sizes, ready to run. `inputs` are those that `infer` accepted.
    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>>;

    /// The same operator for inputs and outputs with the channels last (every value of three axes and more is
    /// `[N, …, C]` instead of `[N, C, …]`), where it can do that. `None`: values are turned around it.
    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        None
    }

    /// The inputs that are no images and keep the order of their axes when the rest is turned: weights of
    /// convolutions.
    fn weights(&self) -> &'static [usize] {
        &[]
    }

    /// What an output element reads of the pixels of every input that is no weight: an axis each for windows, none
    /// where it reads them one by one. `None` where that has no meaning.
    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        None
    }

    /// Whether every image is computed by itself: what comes out at a place of the first axis depends on what the
    /// `batched` inputs have at that place of theirs, and on the others, which are the same for all images.
    fn by_image(&self, _inputs: &Facts, _batched: &[bool]) -> bool {
        false
    }

    /// Adds nodes that make the gradients of the inputs from those of the outputs, as far as they are
    /// [asked for](Backward::wants). An operator that has none is an error where one is.
    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        Err(backward.unsupported())
    }

    /// What stands for this operator in a network with gradients: it may have more outputs, kept for its gradient.
    fn keeping(&self) -> Option<Arc<dyn Operator>> {
        None
    }

    /// The outputs that are no images and keep the order of their axes when the rest is turned: gradients of weights.
    fn weight_gradients(&self) -> &'static [usize] {
        &[]
    }

    /// The inputs whose elements, not only their shape, decide the shapes that come out.
    fn shape_inputs(&self) -> &'static [usize] {
        &[]
    }
}

/// A node whose sizes are decided.
pub trait Step: Send + Sync {
    /// Computes the outputs. `inputs` and `outputs` have the types and lengths of the facts; where
    /// [`Step::in_place`] named an input and the planner took the offer, that input is `None` and its elements
    /// stand in the first output.
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()>;

    /// Elements of scratch that `run` needs.
    fn scratch_len(&self) -> usize {
        0
    }

    /// An input, of the type and length of the first output, whose place the first output may take.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// Multiply-adds, for tables.
    fn multiply_adds(&self) -> u64 {
        0
    }

    /// The way it is computed, for tables; empty where there is but one.
    fn recipe(&self) -> String {
        String::new()
    }
}
