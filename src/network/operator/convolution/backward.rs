//! The gradients of Conv.
//!
//! ```text
//! dY [N, O, out…]   W [O, C/g, kernel…]   ->   dX [N, C, in…]  = fold(Wᵀ · dY)
//! X [N, C, in…]     dY [N, O, out…]       ->   dW [O, C/g, kernel…] = dY · unfold(X)ᵀ,   dB [O] = dY · 1
//! ```
//!
//! Each asks its own pass of a [`ConvPlan`]. Weights and their gradients keep the order of their axes in either layout.

use std::sync::Arc;

use ndarray::{ArrayRef, IxDyn};

use super::step::{HasPrepared, Shared};
use super::weights::{Prepares, Weights};
use crate::conv::{ConvPlan, PreparedWeights};
use crate::element::{Element, filled};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvOptions, Layout};
use crate::network::operator::check::{at_most, has_shape, has_type, read, required, write};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::{Pass, PlanOptions};

/// The gradient of the input of a convolution: inputs dY, W.
#[derive(Clone, Debug)]
pub struct ConvBackwardInput {
    options: ConvOptions,
    /// The sizes of the input's spatial axes: several give the same output.
    spatial: Vec<usize>,
    shared: Shared,
}

/// The gradient of the weight of a convolution, and of its bias: inputs X, dY.
#[derive(Clone, Debug)]
pub struct ConvBackwardWeight {
    options: ConvOptions,
    /// `[O, C/g, kernel…]`
    weight: Vec<usize>,
    bias: bool,
}

impl ConvBackwardInput {
    /// Of a convolution of images of these spatial sizes.
    pub fn new(options: ConvOptions, spatial: impl Into<Vec<usize>>) -> Self {
        Self {
            options,
            spatial: spatial.into(),
            shared: Shared::default(),
        }
    }

    fn geometry(&self, inputs: &Facts) -> Result<ConvGeometry> {
        at_most(inputs, 2)?;
        let (dy, weight) = (required(inputs, 0, "dY")?, required(inputs, 1, "W")?);
        let batch = dy.shape.first().copied().unwrap_or(0);
        let channels = weight.shape.get(1).copied().unwrap_or(0);
        let channels = crate::error::product("channels", &[channels, self.options.groups])?;
        let shape = self.options.layout.shape(batch, channels, &self.spatial);
        let geometry = ConvGeometry::new(&shape, &weight.shape, &self.options)?;
        has_type(dy, "dY", &[DType::F32, DType::F64])?;
        has_type(weight, "W", &[dy.dtype])?;
        has_shape(dy, "dY", &geometry.output_shape())?;
        Ok(geometry)
    }
}

impl Operator for ConvBackwardInput {
    fn name(&self) -> &'static str {
        "ConvBackwardInput"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.geometry(inputs)?;
        let dtype = required(inputs, 0, "dY")?.dtype;
        Ok(vec![Fact::new(dtype, geometry.input_shape())])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let geometry = self.geometry(inputs)?;
        let weight = required(inputs, 1, "W")?;
        if weight.dtype == DType::F64 {
            return InputStep::<f64>::boxed(&geometry, options, weight, &self.shared);
        }
        InputStep::<f32>::boxed(&geometry, options, weight, &self.shared)
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let mut turned = self.clone();
        turned.options.layout = Layout::ChannelsLast;
        Some(Arc::new(turned))
    }

    fn weights(&self) -> &'static [usize] {
        &[1]
    }
}

/// A plan that makes the gradient of the input.
struct BackwardPlan<T: Element>(ConvPlan<T>);

impl<T: Element> Prepares<T> for BackwardPlan<T> {
    fn prepare(&self, weight: &ArrayRef<T, IxDyn>) -> Result<PreparedWeights<T>> {
        self.0.prepare_for(Pass::BackwardInput, weight)
    }

    fn update(&self, held: &mut PreparedWeights<T>, weight: &ArrayRef<T, IxDyn>) -> Result<()> {
        self.0.update(held, weight)
    }

    fn takes(&self, prepared: &PreparedWeights<T>) -> bool {
        self.0.takes(Pass::BackwardInput, prepared)
    }
}

struct InputStep<T: Element> {
    plan: BackwardPlan<T>,
    weights: Weights<T>,
}

impl<T: HasPrepared> InputStep<T> {
    fn boxed(
        geometry: &ConvGeometry,
        options: &PlanOptions,
        weight: &Fact,
        shared: &Shared,
    ) -> Result<Box<dyn Step>> {
        let options = options.clone().weights_change(weight.value.is_none());
        let plan = ConvPlan::<T>::for_passes(geometry, &options, &[Pass::BackwardInput])?;
        let plan = BackwardPlan(plan);
        let weights = Weights::new(weight, T::of(shared), &plan)?;
        Ok(Box::new(Self { plan, weights }))
    }
}

impl<T: Element + Scalar> Step for InputStep<T> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let (dy, dx) = (read::<T>(inputs, 0)?, write::<T>(outputs, 0)?);
        self.weights.with(&inputs[1..], &self.plan, |weights| {
            with_scratch(&self.plan.0, Pass::BackwardInput, scratch, |scratch| {
                let plan = &self.plan.0;
                plan.backward_input_with_scratch(dy, weights, dx, scratch)
            })
        })
    }

    fn scratch_len(&self) -> usize {
        scratch_len(&self.plan.0, Pass::BackwardInput)
    }

    fn multiply_adds(&self) -> u64 {
        multiply_adds(&self.plan.0)
    }

    fn recipe(&self) -> String {
        let recipe = self.plan.0.recipe_of(Pass::BackwardInput);
        recipe.kind().to_string()
    }
}

impl ConvBackwardWeight {
    /// Of a convolution with a weight `[O, C/g, kernel…]` of this shape; with the gradient of the bias as a second
    /// output, or without.
    pub fn new(options: ConvOptions, weight: impl Into<Vec<usize>>, bias: bool) -> Self {
        Self {
            options,
            weight: weight.into(),
            bias,
        }
    }

    fn geometry(&self, inputs: &Facts) -> Result<ConvGeometry> {
        at_most(inputs, 2)?;
        let (x, dy) = (required(inputs, 0, "X")?, required(inputs, 1, "dY")?);
        let geometry = ConvGeometry::new(&x.shape, &self.weight, &self.options)?;
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_type(dy, "dY", &[x.dtype])?;
        has_shape(dy, "dY", &geometry.output_shape())?;
        Ok(geometry)
    }
}

impl Operator for ConvBackwardWeight {
    fn name(&self) -> &'static str {
        "ConvBackwardWeight"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        self.geometry(inputs)?;
        let dtype = required(inputs, 0, "X")?.dtype;
        let mut made = vec![Fact::new(dtype, self.weight.clone())];
        if self.bias {
            made.push(Fact::new(dtype, [self.weight[0]]));
        }
        Ok(made)
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let geometry = self.geometry(inputs)?;
        let passes = [Pass::BackwardWeight];
        if required(inputs, 0, "X")?.dtype == DType::F64 {
            let plan = ConvPlan::<f64>::for_passes(&geometry, options, &passes)?;
            return Ok(Box::new(WeightStep {
                plan,
                bias: self.bias,
            }));
        }
        let plan = ConvPlan::<f32>::for_passes(&geometry, options, &passes)?;
        Ok(Box::new(WeightStep {
            plan,
            bias: self.bias,
        }))
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let mut turned = self.clone();
        turned.options.layout = Layout::ChannelsLast;
        Some(Arc::new(turned))
    }

    fn weight_gradients(&self) -> &'static [usize] {
        &[0, 1]
    }
}

struct WeightStep<T: Element> {
    plan: ConvPlan<T>,
    bias: bool,
}

impl<T: Element + Scalar> Step for WeightStep<T> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let (x, dy) = (read::<T>(inputs, 0)?, read::<T>(inputs, 1)?);
        let (d_weight, d_bias) = outputs.split_at_mut(1);
        let d_weight = write::<T>(d_weight, 0)?;
        let d_bias = match self.bias {
            true => Some(write::<T>(d_bias, 0)?),
            false => None,
        };
        with_scratch(&self.plan, Pass::BackwardWeight, scratch, |scratch| {
            self.plan
                .backward_weight_with_scratch(x, dy, d_weight, d_bias, scratch)
        })
    }

    fn scratch_len(&self) -> usize {
        scratch_len(&self.plan, Pass::BackwardWeight)
    }

    fn multiply_adds(&self) -> u64 {
        multiply_adds(&self.plan)
    }

    fn recipe(&self) -> String {
        let recipe = self.plan.recipe_of(Pass::BackwardWeight);
        recipe.kind().to_string()
    }
}

/// Calls `run` with scratch of the type of the plan: that of the session for f32, its own for f64.
fn with_scratch<T: Element>(
    plan: &ConvPlan<T>,
    pass: Pass,
    singles: &mut [f32],
    run: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<()> {
    match T::of_singles(singles) {
        Some(scratch) => run(scratch),
        None => run(&mut filled(plan.scratch_len(pass), T::ZERO)?),
    }
}

/// Elements of f32 that a pass needs of the session.
fn scratch_len<T: Element + Scalar>(plan: &ConvPlan<T>, pass: Pass) -> usize {
    match T::DTYPE {
        DType::F32 => plan.scratch_len(pass),
        _ => 0,
    }
}

fn multiply_adds<T: Element>(plan: &ConvPlan<T>) -> u64 {
    u64::try_from(plan.geometry().operations() / 2).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::Conv;
    use crate::network::operator::testing::{check_gradient, doubles};

    #[test]
    fn central_differences() {
        let cases = [
            (ConvOptions::new(), [2, 3, 5, 4], [4, 3, 3, 3]),
            (
                ConvOptions::new().padding(1).stride(2),
                [2, 3, 6, 5],
                [4, 3, 3, 3],
            ),
            (
                ConvOptions::new().padding(2).dilation(2).groups(2),
                [1, 4, 6, 5],
                [4, 2, 3, 3],
            ),
            (
                ConvOptions::new().padding(1).groups(3),
                [2, 3, 4, 4],
                [6, 1, 3, 3],
            ),
            // The last row and column of the input are read by no window.
            (ConvOptions::new().stride(3), [1, 2, 7, 7], [2, 2, 2, 2]),
        ];
        for (options, x, w) in cases {
            let x = doubles(&x, 1, -1.0, 1.0);
            let (w, bias) = (doubles(&w, 2, -1.0, 1.0), doubles(&w[..1], 3, -1.0, 1.0));
            check_gradient(Conv::new(options), &[x, w, bias], &[0, 1, 2]);
        }
    }
}
