//! A planned convolution as a step: `Y = activation(conv(X, W) + B + R)`.

use ndarray::s;

use super::weights::{Prepared, Prepares, Weights};
use crate::conv::{Activation, Epilogue, PreparedWeights, Target};
use crate::element::{Element, filled};
use crate::error::{Error, Result, check_len};
use crate::geometry::Layout;
use crate::network::operator::check::{
    at_most, has_shape, has_type, optional, read, read_optional, required, write,
};
use crate::network::operator::{Facts, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::unfold::{planes, planes_mut};

/// The input that a result is a part of.
pub(super) const PARTIAL: usize = 4;

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
    /// [`run`](Self::run) with the result where `target` says; only where [`has_targets`](Self::has_targets) is true.
    fn run_to(
        &self,
        _x: &[T],
        _weights: &PreparedWeights<T>,
        _epilogue: &Epilogue<'_, T>,
        _y: (&mut [T], Target),
        _scratch: &mut [T],
    ) -> Result<()> {
        Err(Error::Unsupported {
            what: "a part of a batch as the result",
            wanted: "the plan writes whole batches",
        })
    }
    fn has_targets(&self) -> bool {
        false
    }
    /// Images, channels and positions of the result, and its layout.
    fn output(&self) -> ([usize; 3], Layout);
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
    at_most(inputs, 5)?;
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
    /// Where the result lies, if not as the plan has it.
    target: Option<Target>,
    /// Whether input 4 is the batch that the result is a part of.
    partial: bool,
}

/// The step of `plan` on these inputs.
pub(super) fn step<T: HasPrepared, P: Plan<T>>(
    plan: P,
    inputs: &Facts,
    shared: &Shared,
    activation: Activation<f32>,
    target: Option<Target>,
) -> Result<Box<dyn Step>> {
    let weights = Weights::new(required(inputs, 1, "W")?, T::of(shared), &plan)?;
    Ok(Box::new(ConvStep {
        plan,
        weights,
        activation: widened(activation),
        target,
        partial: optional(inputs, PARTIAL).is_some(),
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

impl<T: Element + Scalar, P: Plan<T>> ConvStep<T, P> {
    /// Elements of a result that must be moved to where it is wanted.
    fn staged_len(&self) -> usize {
        match self.target {
            Some(_) if !self.plan.has_targets() => self.plan.output().0.iter().product(),
            _ => 0,
        }
    }

    fn compute(
        &self,
        x: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        let Some(target) = self.target else {
            return self.plan.run(x, weights, epilogue, y, scratch);
        };
        if self.plan.has_targets() {
            return self.plan.run_to(x, weights, epilogue, (y, target), scratch);
        }
        let (staged, scratch) = scratch.split_at_mut(self.staged_len());
        let early = Epilogue {
            bias: epilogue.bias,
            ..Epilogue::none()
        };
        self.plan.run(x, weights, &early, staged, scratch)?;
        let (shape @ [images, channels, positions], layout) = self.plan.output();
        let staged = planes(layout, shape, staged)?;
        let residual = epilogue
            .residual
            .map(|residual| planes(target.layout, shape, residual))
            .transpose()?;
        let all = [images, target.channels, positions];
        let end = target.first + channels;
        let mut y = planes_mut(target.layout, all, y)?;
        let mut y = y.slice_mut(s![.., target.first..end, ..]);
        for ((at, y), sum) in y.indexed_iter_mut().zip(&staged) {
            let residual = residual.as_ref().map_or(T::ZERO, |residual| residual[at]);
            *y = self.activation.apply(*sum + residual);
        }
        Ok(())
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
        if let Some(partial) = read_optional::<T>(inputs, PARTIAL)? {
            // It was not given in place.
            check_len("a partial result", y.len(), partial.len())?;
            y.copy_from_slice(partial);
        }
        self.weights.with(&inputs[1..], &self.plan, |weights| {
            match T::of_singles(scratch) {
                Some(scratch) => self.compute(x, weights, &epilogue, y, scratch),
                None => {
                    let len = self.plan.scratch_len() + self.staged_len();
                    let mut scratch = filled(len, T::ZERO)?;
                    self.compute(x, weights, &epilogue, y, &mut scratch)
                }
            }
        })
    }

    fn scratch_len(&self) -> usize {
        match T::DTYPE {
            DType::F32 => self.plan.scratch_len() + self.staged_len(),
            _ => 0,
        }
    }

    fn in_place(&self) -> Option<usize> {
        self.partial.then_some(PARTIAL)
    }

    fn multiply_adds(&self) -> u64 {
        u64::try_from(self.plan.operations() / 2).unwrap_or(u64::MAX)
    }

    fn recipe(&self) -> String {
        self.plan.recipe()
    }
}
