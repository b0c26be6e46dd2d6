//! Conv: `Y = activation(conv(X, W) + B + R)`.
//!
//! ```text
//! X [N, C, in…]   W [O, C/g, kernel…]   B [O]   R as Y, a sum that ends here   ->   Y [N, O, out…]
//! ```
//!
//! R and the activation come from nodes that followed. Weights that are constant are prepared once.

use std::sync::Arc;

use ndarray::{ArrayRef, IxDyn};

use super::step::{Plan, Shared, check_inputs, step};
use super::weights::Prepares;
use crate::conv::{Activation, ConvPlan, Epilogue, PreparedWeights};
use crate::element::Element;
use crate::error::{Result, check_shape};
use crate::geometry::{ConvGeometry, ConvOptions, Layout};
use crate::network::operator::check::required;
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::DType;
use crate::plan::{Pass, PlanOptions};

/// A convolution with any strides, dilations, groups and padding, of one to three axes; f32 or f64.
#[derive(Clone, Debug)]
pub struct Conv {
    pub(crate) options: ConvOptions,
    kernel: Option<Vec<usize>>,
    pub(crate) activation: Activation<f32>,
    shared: Shared,
}

impl Conv {
    /// With these options.
    pub fn new(options: ConvOptions) -> Self {
        Self {
            options,
            kernel: None,
            activation: Activation::Identity,
            shared: Shared::default(),
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
        check_kernel(self.kernel.as_deref(), weight)?;
        ConvGeometry::new(&x.shape, &weight.shape, &self.options)
    }
}

/// The lengths of the kernel are those that were said.
pub(super) fn check_kernel(said: Option<&[usize]>, weight: &Fact) -> Result<()> {
    match said {
        Some(kernel) => check_shape("kernel of W", kernel, weight.shape.get(2..).unwrap_or(&[])),
        None => Ok(()),
    }
}

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.geometry(inputs)?;
        let shape = geometry.output_shape();
        let dtype = check_inputs(inputs, geometry.output_channels(), &shape)?;
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let geometry = self.geometry(inputs)?;
        if required(inputs, 0, "X")?.dtype == DType::F64 {
            let plan = ConvPlan::<f64>::new(&geometry, options)?;
            return step(plan, inputs, &self.shared, self.activation);
        }
        let plan = ConvPlan::<f32>::new(&geometry, options)?;
        step(plan, inputs, &self.shared, self.activation)
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

impl<T: Element> Prepares<T> for ConvPlan<T> {
    fn prepare(&self, weight: &ArrayRef<T, IxDyn>) -> Result<PreparedWeights<T>> {
        self.prepare_for(Pass::Forward, weight)
    }

    fn update(&self, held: &mut PreparedWeights<T>, weight: &ArrayRef<T, IxDyn>) -> Result<()> {
        self.update(held, weight)
    }

    fn takes(&self, prepared: &PreparedWeights<T>) -> bool {
        self.takes(Pass::Forward, prepared)
    }
}

impl<T: Element> Plan<T> for ConvPlan<T> {
    fn run(
        &self,
        x: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        self.forward_with_scratch(x, weights, epilogue, y, scratch)
    }

    fn scratch_len(&self) -> usize {
        self.scratch_len(Pass::Forward)
    }

    fn operations(&self) -> u128 {
        self.geometry().operations()
    }

    fn recipe(&self) -> String {
        self.recipe().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, run};

    #[test]
    fn a_kernel_of_one_tap_by_hand() {
        let x = floats(&[1, 2, 2], [1.0, 2.0, 3.0, 4.0]);
        let w = floats(&[1, 2, 1], [10.0, 1.0]);
        let bias = floats(&[1], [0.5]);
        let outputs = run(&Conv::new(ConvOptions::new()), &[x, w, bias]).unwrap();
        assert_eq!(outputs[0], floats(&[1, 1, 2], [13.5, 24.5]));
    }

    #[test]
    fn residual_and_activation_come_last() {
        let x = floats(&[1, 1, 3], [1.0, -2.0, 3.0]);
        let w = floats(&[1, 1, 1], [2.0]);
        let residual = floats(&[1, 1, 3], [-5.0, 5.0, 1.0]);
        let conv = Conv::new(ConvOptions::new()).activation(Activation::Relu);
        let outputs = run(&conv, &[x, w, floats(&[1], [1.0]), residual]).unwrap();
        assert_eq!(outputs[0], floats(&[1, 1, 3], [0.0, 2.0, 8.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let conv = Conv::new(ConvOptions::new()).kernel(vec![3, 3]);
        let x = fact(&[1, 3, 8, 8]);
        assert!(infer(&conv, &[&x]).is_err());
        assert!(infer(&conv, &[&x, &fact(&[4, 3, 2, 2])]).is_err());
        assert!(infer(&conv, &[&x, &fact(&[4, 3])]).is_err());
        let w = fact(&[4, 3, 3, 3]);
        assert!(infer(&conv, &[&x, &w, &fact(&[5])]).is_err());
        assert!(infer(&conv, &[&x, &w, &fact(&[4]), &fact(&[1, 4, 8, 8])]).is_err());
        assert!(infer(&conv, &[&x, &Fact::new(DType::F64, [4, 3, 3, 3])]).is_err());
        let integers = Fact::new(DType::I32, [1, 3, 8, 8]);
        assert!(infer(&conv, &[&integers, &Fact::new(DType::I32, [4, 3, 3, 3])]).is_err());
        assert_eq!(infer(&conv, &[&x, &w]).unwrap()[0].shape, [1, 4, 6, 6]);
    }
}
