//! A planned convolution as a step: `Y = activation(conv(X, W) + B + R)`.

use super::weights::{Prepared, Prepares, Weights};
use crate::conv::{Activation, Epilogue, PreparedWeights};
use crate::element::{Element, filled};
use crate::error::Result;
use crate::network::operator::check::{
    at_most, has_shape, has_type, optional, read, required, write,
};
use crate::network::operator::{Facts, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};

/// A plan of a convolution of either direction.
pub(super) trait Plan<T: Element>: Prepares<T> + Send + Sync + 'static {
    fn run(
        &self,
        x: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) -> Result<()>;
    fn scratch_len(&self) -> usize;
    fn operations(&self) -> u128;
    fn recipe(&self) -> String;
}

/// What a session keeps of a network's convolution beside its plan: weights of either type.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    singles: Prepared<f32>,
    doubles: Prepared<f64>,
}

/// The prepared weights of one type.
pub(super) trait HasPrepared: Element + Scalar {
    fn of(shared: &Shared) -> &Prepared<Self>;
}

impl HasPrepared for f32 {
    fn of(shared: &Shared) -> &Prepared<Self> {
        &shared.singles
    }
}

impl HasPrepared for f64 {
    fn of(shared: &Shared) -> &Prepared<Self> {
        &shared.doubles
    }
}

/// The type of X, f32 or f64, which all others must have; the bias has `channels` elements.
pub(super) fn check_inputs(inputs: &Facts, channels: usize, output: &[usize]) -> Result<DType> {
    at_most(inputs, 4)?;
    let x = required(inputs, 0, "X")?;
    has_type(x, "X", &[DType::F32, DType::F64])?;
    has_type(required(inputs, 1, "W")?, "W", &[x.dtype])?;
    if let Some(bias) = optional(inputs, 2) {
        has_type(bias, "B", &[x.dtype])?;
        has_shape(bias, "B", &[channels])?;
    }
    if let Some(residual) = optional(inputs, 3) {
        has_type(residual, "the residual", &[x.dtype])?;
        has_shape(residual, "the residual", output)?;
    }
    Ok(x.dtype)
}

/// See the file head.
pub(super) struct ConvStep<T, P> {
    plan: P,
    weights: Weights<T>,
    activation: Activation<T>,
}

/// The step of `plan` on these inputs.
pub(super) fn step<T: HasPrepared, P: Plan<T>>(
    plan: P,
    inputs: &Facts,
    shared: &Shared,
    activation: Activation<f32>,
) -> Result<Box<dyn Step>> {
    let weights = Weights::new(required(inputs, 1, "W")?, T::of(shared), &plan)?;
    Ok(Box::new(ConvStep {
        plan,
        weights,
        activation: widened(activation),
    }))
}

/// The same activation for another element type.
fn widened<T: Element>(activation: Activation<f32>) -> Activation<T> {
    let wide = |value: f32| T::from_f64(value.into());
    match activation {
        Activation::Identity => Activation::Identity,
        Activation::Relu => Activation::Relu,
        Activation::Clamp { low, high } => Activation::Clamp {
            low: wide(low),
            high: wide(high),
        },
        Activation::LeakyRelu { slope } => Activation::LeakyRelu { slope: wide(slope) },
    }
}

/// The elements of an input that may be left out.
fn read_optional<'a, T: Scalar>(
    inputs: &[Option<View<'a>>],
    index: usize,
) -> Result<Option<&'a [T]>> {
    match inputs.get(index) {
        Some(Some(_)) => read(inputs, index).map(Some),
        _ => Ok(None),
    }
}

impl<T: Element + Scalar, P: Plan<T>> Step for ConvStep<T, P> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let epilogue = Epilogue {
            bias: read_optional(inputs, 2)?,
            residual: read_optional(inputs, 3)?,
            activation: self.activation,
        };
        let (x, y) = (read(inputs, 0)?, write(outputs, 0)?);
        self.weights.with(&inputs[1..], &self.plan, |weights| {
            match T::of_singles(scratch) {
                Some(scratch) => self.plan.run(x, weights, &epilogue, y, scratch),
                None => {
                    let mut scratch = filled(self.plan.scratch_len(), T::ZERO)?;
                    self.plan.run(x, weights, &epilogue, y, &mut scratch)
                }
            }
        })
    }

    fn scratch_len(&self) -> usize {
        match T::DTYPE {
            DType::F32 => self.plan.scratch_len(),
            _ => 0,
        }
    }

    fn multiply_adds(&self) -> u64 {
        u64::try_from(self.plan.operations() / 2).unwrap_or(u64::MAX)
    }

    fn recipe(&self) -> String {
        self.plan.recipe()
    }
}
