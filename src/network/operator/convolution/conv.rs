//! Conv: `Y = activation(conv(X, W) + B + R)`.
//!
//! ```text
//! X [N, C, in…]   W [O, C/g, kernel…]   B [O]   R as Y, a sum that ends here   ->   Y [N, O, out…]
//! ```
//!
//! R and the activation come from nodes that followed. Weights that are constant are prepared once.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{ArrayView, IxDyn};

use super::prepared::Prepared;
use crate::conv::{Activation, ConvPlan, Epilogue, PreparedWeights};
use crate::element::{Element, filled};
use crate::error::{Error, Result, check_shape};
use crate::geometry::{ConvGeometry, ConvOptions, Layout};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, Tensor, View, ViewMut};
use crate::plan::{Pass, PlanOptions};

/// A convolution with any strides, dilations, groups and padding, of one to three axes; f32 or f64.
#[derive(Clone, Debug)]
pub struct Conv {
    pub(crate) options: ConvOptions,
    kernel: Option<Vec<usize>>,
    pub(crate) activation: Activation<f32>,
    prepared: Prepared,
}

impl Conv {
    /// With these options.
    pub fn new(options: ConvOptions) -> Self {
        Self {
            options,
            kernel: None,
            activation: Activation::Identity,
            prepared: Prepared::default(),
        }
    }

    /// Says what the lengths of the kernel are; weights of others are refused.
    pub fn kernel(mut self, kernel: Vec<usize>) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Ends with `activation`.
    pub fn activation(mut self, activation: Activation<f32>) -> Self {
        self.activation = activation;
        self
    }

    fn geometry(&self, inputs: &Facts) -> Result<ConvGeometry> {
        let (x, weight) = (required(inputs, 0, "X")?, required(inputs, 1, "W")?);
        if let Some(kernel) = &self.kernel {
            check_shape("kernel of W", kernel, weight.shape.get(2..).unwrap_or(&[]))?;
        }
        ConvGeometry::new(&x.shape, &weight.shape, &self.options)
    }
}

/// The fact of an input that must be there.
pub(super) fn required<'f>(
    inputs: &Facts<'f>,
    index: usize,
    operand: &'static str,
) -> Result<&'f Fact> {
    inputs
        .get(index)
        .copied()
        .flatten()
        .ok_or_else(|| Error::Operand {
            operand,
            expected: "given".to_owned(),
            got: "left out".to_owned(),
        })
}

/// An error unless an input that is there has this type and shape.
pub(super) fn check_operand(
    inputs: &Facts,
    index: usize,
    operand: &'static str,
    dtype: DType,
    shape: &[usize],
) -> Result<()> {
    let Some(fact) = inputs.get(index).copied().flatten() else {
        return Ok(());
    };
    if fact.dtype != dtype {
        return Err(Error::Operand {
            operand,
            expected: dtype.name().to_owned(),
            got: fact.dtype.name().to_owned(),
        });
    }
    check_shape(operand, shape, &fact.shape)
}

/// An error unless X is f32 or f64, W the same, and the bias `channels` of them.
pub(super) fn check_inputs(inputs: &Facts, channels: usize) -> Result<DType> {
    let dtype = required(inputs, 0, "X")?.dtype;
    if !matches!(dtype, DType::F32 | DType::F64) {
        return Err(Error::Operand {
            operand: "X",
            expected: "f32 or f64".to_owned(),
            got: dtype.name().to_owned(),
        });
    }
    let weight = required(inputs, 1, "W")?;
    check_operand(inputs, 1, "W", dtype, &weight.shape)?;
    check_operand(inputs, 2, "B", dtype, &[channels])?;
    Ok(dtype)
}

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.geometry(inputs)?;
        let dtype = check_inputs(inputs, geometry.output_channels())?;
        let shape = geometry.output_shape();
        check_operand(inputs, 3, "residual", dtype, &shape)?;
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let geometry = self.geometry(inputs)?;
        let weight = required(inputs, 1, "W")?;
        if weight.dtype == DType::F64 {
            let plan = ConvPlan::<f64>::new(&geometry, options)?;
            let weights = match &weight.value {
                Some(value) => Weights::Constant(Arc::new(prepare(&plan, value)?)),
                None => Weights::given(),
            };
            return Ok(Box::new(ConvStep::new(plan, weights, self.activation)));
        }
        let plan = ConvPlan::<f32>::new(&geometry, options)?;
        let weights = match &weight.value {
            Some(value) => Weights::Constant(self.prepared.get(
                value,
                |made| plan.takes(Pass::Forward, made),
                || prepare(&plan, value),
            )?),
            None => Weights::given(),
        };
        Ok(Box::new(ConvStep::new(plan, weights, self.activation)))
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

fn prepare<T: Element + Scalar>(plan: &ConvPlan<T>, weight: &Tensor) -> Result<PreparedWeights<T>> {
    match weight.array::<T>() {
        Some(weight) => plan.prepare_for(Pass::Forward, weight),
        None => Err(wrong_type()),
    }
}

/// What a view that has another type than planned would be: a fault of the planner.
pub(super) fn wrong_type() -> Error {
    Error::Operand {
        operand: "an input",
        expected: "of the type planned for".to_owned(),
        got: "another".to_owned(),
    }
}

/// The elements of an input of the type planned for.
pub(super) fn elements<'a, T: Scalar>(
    inputs: &[Option<View<'a>>],
    index: usize,
) -> Result<&'a [T]> {
    let view = inputs.get(index).copied().flatten();
    view.and_then(T::slice).ok_or_else(wrong_type)
}

/// [`elements`] of an input that may be left out.
pub(super) fn optional<'a, T: Scalar>(
    inputs: &[Option<View<'a>>],
    index: usize,
) -> Result<Option<&'a [T]>> {
    match inputs.get(index).copied().flatten() {
        None => Ok(None),
        Some(view) => T::slice(view).map(Some).ok_or_else(wrong_type),
    }
}

/// The weights of a step.
pub(super) enum Weights<T> {
    Constant(Arc<PreparedWeights<T>>),
    /// An input: prepared at every run, in a place that is kept for each thread.
    Given(Mutex<Vec<PreparedWeights<T>>>),
}

impl<T: Element + Scalar> Weights<T> {
    pub(super) fn given() -> Self {
        Self::Given(Mutex::new(Vec::new()))
    }

    /// Calls `run` with the weights, those in `given` where they are no constant.
    pub(super) fn with(
        &self,
        given: Option<View>,
        shape: &[usize],
        update: impl Fn(
            Option<PreparedWeights<T>>,
            &ArrayView<'_, T, IxDyn>,
        ) -> Result<PreparedWeights<T>>,
        run: impl FnOnce(&PreparedWeights<T>) -> Result<()>,
    ) -> Result<()> {
        let places = match self {
            Self::Constant(weights) => return run(weights),
            Self::Given(places) => places,
        };
        let place = || places.lock().unwrap_or_else(PoisonError::into_inner);
        let slice = given.and_then(T::slice).ok_or_else(wrong_type)?;
        let weight = ArrayView::from_shape(IxDyn(shape), slice).map_err(|_| wrong_type())?;
        let held = place().pop();
        let prepared = update(held, &weight)?;
        let done = run(&prepared);
        place().push(prepared);
        done
    }
}

struct ConvStep<T: Element> {
    plan: ConvPlan<T>,
    weights: Weights<T>,
    weight_shape: Vec<usize>,
    activation: Activation<T>,
}

impl<T: Element + Scalar> ConvStep<T> {
    fn new(plan: ConvPlan<T>, weights: Weights<T>, activation: Activation<f32>) -> Self {
        Self {
            weight_shape: plan.geometry().weight_shape(),
            plan,
            weights,
            activation: widened(activation),
        }
    }
}

/// An activation of another element type.
pub(super) fn widened<T: Element>(activation: Activation<f32>) -> Activation<T> {
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

/// Calls `run` with scratch of the type `T`: that which is given, for f32.
pub(super) fn with_scratch<T: Element>(
    scratch: &mut [f32],
    len: usize,
    run: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<()> {
    match T::of_singles(scratch) {
        Some(scratch) => run(scratch),
        None => run(&mut filled(len, T::ZERO)?),
    }
}

impl<T: Element + Scalar> Step for ConvStep<T> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let epilogue = Epilogue {
            bias: optional(inputs, 2)?,
            residual: optional(inputs, 3)?,
            activation: self.activation,
        };
        let x = elements(inputs, 0)?;
        let y = T::slice_mut(&mut outputs[0]).ok_or_else(wrong_type)?;
        let update = |held: Option<PreparedWeights<T>>, weight: &ArrayView<'_, T, IxDyn>| match held
        {
            Some(mut held) => {
                self.plan.update(&mut held, weight)?;
                Ok(held)
            }
            None => self.plan.prepare_for(Pass::Forward, weight),
        };
        self.weights
            .with(inputs[1], &self.weight_shape, update, |weights| {
                with_scratch(scratch, self.plan.scratch_len(Pass::Forward), |scratch| {
                    self.plan
                        .forward_with_scratch(x, weights, &epilogue, y, scratch)
                })
            })
    }

    fn scratch_len(&self) -> usize {
        if T::DTYPE == DType::F32 {
            self.plan.scratch_len(Pass::Forward)
        } else {
            0
        }
    }

    fn multiply_adds(&self) -> u64 {
        u64::try_from(self.plan.geometry().operations() / 2).unwrap_or(u64::MAX)
    }

    fn recipe(&self) -> String {
        self.plan.recipe().to_string()
    }
}
