//! Locally connected layers, and their gradients: a kernel of its own at every position.
//!
//! ```text
//! X [N, C, in…]   W [P, O, K]   B [P, O]   ->   Y [N, O, out…]           K = C/g · taps, P the positions of Y
//! dY, W -> dX                   X, dY -> dW [P, O, K],  dB [P, O]
//! ```
//!
//! Each run of a step allocates: the weights outweigh everything else (see [`LocalPlan`]).

use ndarray::{Array, ArrayView, Dimension, Ix2, Ix3, IxDyn};

use crate::conv::LocalPlan;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, ConvOptions};
use crate::network::gradient::Backward;
use crate::network::operator::check::{
    at_most, has_shape, has_type, optional, read, required, write,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// A locally connected layer of one to three axes, channels first; f32 or f64.
#[derive(Clone, Debug)]
pub struct LocallyConnected {
    layer: Layer,
}

/// What a layer and its gradients have in common.
#[derive(Clone, Debug)]
struct Layer {
    options: ConvOptions,
    kernel: Vec<usize>,
}

impl Layer {
    /// Of images of this shape, with `outputs` channels behind them.
    fn geometry(&self, x: &[usize], outputs: usize) -> Result<ConvGeometry> {
        let channels = x.get(1).copied().unwrap_or(0);
        let inputs = channels.checked_div(self.options.groups).unwrap_or(0);
        let shape = [&[outputs, inputs], &self.kernel[..]].concat();
        ConvGeometry::new(x, &shape, &self.options)
    }
}

/// The channels of the result that a weight `[P, O, K]` has.
fn outputs(weight: &Fact) -> Result<usize> {
    match weight.shape[..] {
        [_, outputs, _] => Ok(outputs),
        _ => Err(Error::Rank {
            what: "W",
            expected: 3,
            got: weight.shape.len(),
        }),
    }
}

fn weight_shape(geometry: &ConvGeometry) -> [usize; 3] {
    let (positions, outputs) = (geometry.positions(), geometry.output_channels());
    [positions, outputs, geometry.patch_len()]
}

impl LocallyConnected {
    /// With kernels of these lengths.
    pub fn new(kernel: impl Into<Vec<usize>>, options: ConvOptions) -> Self {
        Self {
            layer: Layer {
                options,
                kernel: kernel.into(),
            },
        }
    }

    /// The sizes of the layer behind images of shape `x`.
    ///
    /// # Errors
    /// Sizes that make no convolution.
    pub fn geometry(&self, x: &[usize], outputs: usize) -> Result<ConvGeometry> {
        self.layer.geometry(x, outputs)
    }

    fn checked(&self, inputs: &Facts) -> Result<ConvGeometry> {
        at_most(inputs, 3)?;
        let (x, weight) = (required(inputs, 0, "X")?, required(inputs, 1, "W")?);
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_type(weight, "W", &[x.dtype])?;
        let geometry = self.layer.geometry(&x.shape, outputs(weight)?)?;
        let shape = weight_shape(&geometry);
        has_shape(weight, "W", &shape)?;
        if let Some(bias) = optional(inputs, 2) {
            has_type(bias, "B", &[x.dtype])?;
            has_shape(bias, "B", &shape[..2])?;
        }
        Ok(geometry)
    }
}

impl Operator for LocallyConnected {
    fn name(&self) -> &'static str {
        "LocallyConnected"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.checked(inputs)?;
        let dtype = required(inputs, 0, "X")?.dtype;
        Ok(vec![Fact::new(dtype, geometry.output_shape())])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let dtype = required(inputs, 0, "X")?.dtype;
        LocalStep::boxed(&self.checked(inputs)?, dtype, options, Pass::Forward)
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        batched.first() == Some(&true) && batched.iter().skip(1).all(|&batched| !batched)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (x, dy) = (backward.input(0)?, backward.d_output()?);
        let (shape, weight) = (backward.fact(x)?.shape.clone(), backward.input(1)?);
        if backward.wants(1) || backward.wants(2) {
            let operator = LocallyConnectedBackwardWeight {
                layer: self.layer.clone(),
                bias: backward.wants(2),
            };
            let made = backward.nodes(operator, &[x, dy])?;
            for (input, gradient) in [1, 2].into_iter().zip(made) {
                backward.give(input, gradient)?;
            }
        }
        if backward.wants(0) {
            let operator = LocallyConnectedBackwardInput {
                layer: self.layer.clone(),
                input: shape,
            };
            let gradient = backward.node(operator, &[dy, weight])?;
            backward.give(0, gradient)?;
        }
        Ok(())
    }
}

/// The gradient of the input of a locally connected layer: inputs dY, W.
#[derive(Clone, Debug)]
pub struct LocallyConnectedBackwardInput {
    layer: Layer,
    /// The shape of X.
    input: Vec<usize>,
}

impl LocallyConnectedBackwardInput {
    fn checked(&self, inputs: &Facts) -> Result<ConvGeometry> {
        at_most(inputs, 2)?;
        let (dy, weight) = (required(inputs, 0, "dY")?, required(inputs, 1, "W")?);
        has_type(dy, "dY", &[DType::F32, DType::F64])?;
        has_type(weight, "W", &[dy.dtype])?;
        let geometry = self.layer.geometry(&self.input, outputs(weight)?)?;
        has_shape(weight, "W", &weight_shape(&geometry))?;
        has_shape(dy, "dY", &geometry.output_shape())?;
        Ok(geometry)
    }
}

impl Operator for LocallyConnectedBackwardInput {
    fn name(&self) -> &'static str {
        "LocallyConnectedBackwardInput"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        self.checked(inputs)?;
        let dtype = required(inputs, 0, "dY")?.dtype;
        Ok(vec![Fact::new(dtype, self.input.clone())])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let dtype = required(inputs, 0, "dY")?.dtype;
        LocalStep::boxed(&self.checked(inputs)?, dtype, options, Pass::BackwardInput)
    }
}

/// The gradient of the weight of a locally connected layer, and of its bias: inputs X, dY.
#[derive(Clone, Debug)]
pub struct LocallyConnectedBackwardWeight {
    layer: Layer,
    bias: bool,
}

impl LocallyConnectedBackwardWeight {
    fn checked(&self, inputs: &Facts) -> Result<ConvGeometry> {
        at_most(inputs, 2)?;
        let (x, dy) = (required(inputs, 0, "X")?, required(inputs, 1, "dY")?);
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_type(dy, "dY", &[x.dtype])?;
        let outputs = dy.shape.get(1).copied().unwrap_or(0);
        let geometry = self.layer.geometry(&x.shape, outputs)?;
        has_shape(dy, "dY", &geometry.output_shape())?;
        Ok(geometry)
    }
}

impl Operator for LocallyConnectedBackwardWeight {
    fn name(&self) -> &'static str {
        "LocallyConnectedBackwardWeight"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.checked(inputs)?;
        let dtype = required(inputs, 0, "X")?.dtype;
        let shape = weight_shape(&geometry);
        let mut made = vec![Fact::new(dtype, shape)];
        if self.bias {
            made.push(Fact::new(dtype, &shape[..2]));
        }
        Ok(made)
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let dtype = required(inputs, 0, "X")?.dtype;
        LocalStep::boxed(&self.checked(inputs)?, dtype, options, Pass::BackwardWeight)
    }
}

/// What a step makes.
#[derive(Clone, Copy)]
enum Pass {
    Forward,
    BackwardInput,
    BackwardWeight,
}

struct LocalStep<T: Element> {
    plan: LocalPlan<T>,
    pass: Pass,
}

impl LocalStep<f32> {
    fn boxed(
        geometry: &ConvGeometry,
        dtype: DType,
        options: &PlanOptions,
        pass: Pass,
    ) -> Result<Box<dyn Step>> {
        Ok(match dtype {
            DType::F64 => Box::new(LocalStep::<f64> {
                plan: LocalPlan::new(geometry, options)?,
                pass,
            }),
            _ => Box::new(Self {
                plan: LocalPlan::new(geometry, options)?,
                pass,
            }),
        })
    }
}

/// An input as an array of its shape.
fn array<'a, T: Scalar, D: Dimension>(
    inputs: &[Option<View<'a>>],
    index: usize,
    shape: &[usize],
) -> Result<ArrayView<'a, T, D>> {
    let overflow = Error::Overflow { what: "an input" };
    let view = ArrayView::from_shape(IxDyn(shape), read::<T>(inputs, index)?);
    view.and_then(|view| view.into_dimensionality())
        .map_err(|_| overflow)
}

/// Output `index` ← `made`.
fn give<T: Element + Scalar, D: Dimension>(
    outputs: &mut [ViewMut],
    index: usize,
    made: &Array<T, D>,
) -> Result<()> {
    let place = write::<T>(outputs, index)?;
    place
        .iter_mut()
        .zip(made)
        .for_each(|(to, &from)| *to = from);
    Ok(())
}

impl<T: Element + Scalar> Step for LocalStep<T> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let geometry = self.plan.geometry();
        let (x, y) = (geometry.input_shape(), geometry.output_shape());
        let weight = self.plan.weight_shape();
        match self.pass {
            Pass::Forward => {
                let x = array::<T, IxDyn>(inputs, 0, &x)?;
                let bias = match inputs.get(2) {
                    Some(Some(_)) => Some(array::<T, Ix2>(inputs, 2, &weight[..2])?),
                    _ => None,
                };
                let weight = array::<T, Ix3>(inputs, 1, &weight)?;
                let made = self.plan.forward(&x, &weight, bias.as_deref())?;
                give(outputs, 0, &made)
            }
            Pass::BackwardInput => {
                let dy = array::<T, IxDyn>(inputs, 0, &y)?;
                let weight = array::<T, Ix3>(inputs, 1, &weight)?;
                give(outputs, 0, &self.plan.backward_input(&weight, &dy)?)
            }
            Pass::BackwardWeight => {
                let x = array::<T, IxDyn>(inputs, 0, &x)?;
                let dy = array::<T, IxDyn>(inputs, 1, &y)?;
                give(outputs, 0, &self.plan.backward_weight(&x, &dy)?)?;
                match outputs.len() {
                    1 => Ok(()),
                    _ => give(outputs, 1, &self.plan.backward_bias(&dy)?),
                }
            }
        }
    }

    fn multiply_adds(&self) -> u64 {
        u64::try_from(self.plan.geometry().operations() / 2).unwrap_or(u64::MAX)
    }

    fn recipe(&self) -> String {
        "unfold".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{check_gradient, doubles, fact, floats, infer, run};

    #[test]
    fn by_hand() {
        let x = floats(&[2, 1, 3], [1.0, 2.0, 3.0, -1.0, 0.0, 5.0]);
        // A kernel [1, 10] at the first position, [−1, 2] at the second.
        let w = floats(&[2, 1, 2], [1.0, 10.0, -1.0, 2.0]);
        let bias = floats(&[2, 1], [0.5, -0.5]);
        let operator = LocallyConnected::new([2], ConvOptions::new());
        let made = run(&operator, &[x, w, bias]).unwrap();
        assert_eq!(made[0], floats(&[2, 1, 2], [21.5, 3.5, -0.5, 9.5]));
    }

    #[test]
    fn central_differences() {
        for (x, kernel, outputs, options) in [
            (&[2, 3, 5][..], &[3][..], 2, ConvOptions::new().padding(1)),
            (&[2, 2, 4, 5], &[3, 2], 3, ConvOptions::new().stride(2)),
            (&[1, 4, 4, 3], &[2, 2], 2, ConvOptions::new().groups(2)),
            (&[2, 1, 5, 4], &[2, 2], 1, ConvOptions::new().dilation(2)),
        ] {
            let operator = LocallyConnected::new(kernel, options);
            let shape = weight_shape(&operator.geometry(x, outputs).unwrap());
            let x = doubles(x, 1, -1.0, 1.0);
            let (w, b) = (
                doubles(&shape, 2, -1.0, 1.0),
                doubles(&shape[..2], 3, -1.0, 1.0),
            );
            check_gradient(operator.clone(), &[x.clone(), w.clone(), b], &[0, 1, 2]);
            check_gradient(operator.clone(), &[x.clone(), w.clone()], &[0, 1]);
            check_gradient(operator, &[x, w], &[1]);
        }
    }

    #[test]
    fn weights_of_other_shapes_are_refused() {
        let operator = LocallyConnected::new([2, 2], ConvOptions::new());
        let x = fact(&[1, 3, 4, 4]);
        assert!(infer(&operator, &[&x, &fact(&[9, 5, 12])]).is_ok());
        let error = infer(&operator, &[&x, &fact(&[8, 5, 12])]).unwrap_err();
        assert!(error.to_string().contains("[9, 5, 12]"), "{error}");
        assert!(infer(&operator, &[&x, &fact(&[9, 5, 3, 2, 2])]).is_err());
        assert!(infer(&operator, &[&x, &fact(&[9, 5, 12]), &fact(&[5])]).is_err());
        assert!(infer(&operator, &[&fact(&[1, 3, 1, 4]), &fact(&[9, 5, 12])]).is_err());
    }
}
