//! ConvTranspose: `Y = activation(convᵀ(X, W) + B + R)`.
//!
//! ```text
//! X [N, I, in…]   W [I, O/g, kernel…]   B [O]   ->   Y [N, O, out…]
//! full    = (in − 1) · stride + dilation · (kernel − 1) + 1 + output padding
//! out     = full − cut, the cut given for both sides of each axis
//! wished  an output size: cut = full − out, halved, the odd element at the end (at the beginning unless the
//!         padding is `SameUpper`); a size above `full` lengthens the end
//! ```

use std::sync::Arc;

use ndarray::{Array1, ArrayRef, IxDyn};

use super::backward::ConvBackwardWeight;
use super::conv::{Conv, check_kernel};
use super::step::{Plan, Shared, check_inputs, step};
use super::weights::Prepares;
use crate::conv::{Activation, Epilogue, PreparedWeights, TransposedPlan};
use crate::element::Element;
use crate::error::{Error, Result, product, sum};
use crate::geometry::{
    Axis, ConvOptions, Layout, Padding, PerAxis, TransposedGeometry, TransposedOptions,
};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::check::required;
use crate::network::operator::{Fact, Facts, Operator, Reduce, ReduceKind, Step};
use crate::network::tensor::{DType, Tensor};
use crate::plan::{Pass, PlanOptions};

/// A transposed convolution of one to three axes; f32 or f64.
#[derive(Clone, Debug)]
pub struct ConvTranspose {
    pub(crate) options: TransposedOptions,
    pub(crate) kernel: Option<Vec<usize>>,
    pub(crate) wished: Option<Vec<usize>>,
    pub(crate) activation: Activation<f32>,
    shared: Shared,
}

impl ConvTranspose {
    /// With these options.
    pub fn new(options: TransposedOptions) -> Self {
        Self {
            options,
            kernel: None,
            wished: None,
            activation: Activation::Identity,
            shared: Shared::default(),
        }
    }

    /// Says what the lengths of the kernel are; weights of others are refused.
    pub fn kernel(mut self, kernel: Vec<usize>) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Cuts as much as gives this output, whatever padding is asked for; see the file head.
    pub fn output_shape(mut self, spatial: Vec<usize>) -> Self {
        self.wished = Some(spatial);
        self
    }

    /// Ends with `activation`.
    pub fn activation(mut self, activation: Activation<f32>) -> Self {
        self.activation = activation;
        self
    }

    fn geometry(&self, inputs: &Facts) -> Result<TransposedGeometry> {
        let (x, weight) = (required(inputs, 0, "X")?, required(inputs, 1, "W")?);
        check_kernel(self.kernel.as_deref(), weight)?;
        match &self.wished {
            None => TransposedGeometry::new(&x.shape, &weight.shape, &self.options),
            Some(wished) => {
                let options = self.cut(&x.shape, &weight.shape, wished)?;
                TransposedGeometry::new(&x.shape, &weight.shape, &options)
            }
        }
    }

    /// The options whose cut gives an output of the lengths `wished`.
    fn cut(&self, x: &[usize], weight: &[usize], wished: &[usize]) -> Result<TransposedOptions> {
        const WHAT: &str = "transposed output";
        let options = &self.options;
        if x.len() < 3 {
            return Err(Error::SpatialRank {
                got: x.len().saturating_sub(2),
            });
        }
        let (_, _, input) = options.layout.parts(x);
        let (rank, kernel) = (input.len(), weight.get(2..).unwrap_or(&[]));
        if wished.len() != rank || kernel.len() != rank {
            return Err(Error::OptionRank {
                option: "output shape",
                expected: rank,
                got: wished.len(),
            });
        }
        let mut pads = Vec::with_capacity(rank);
        for axis in 0..rank {
            let stride = options.stride.get("stride", rank, axis)?;
            let dilation = options.dilation.get("dilation", rank, axis)?;
            let extra = options.output_padding.get("output padding", rank, axis)?;
            let steps = product(WHAT, &[input[axis].saturating_sub(1), stride])?;
            let reach = product(WHAT, &[kernel[axis].saturating_sub(1), dilation])?;
            let full = sum(WHAT, &[steps, reach, 1, extra])?;
            let cut = full.saturating_sub(wished[axis]);
            pads.push(match options.padding {
                Padding::SameUpper => (cut / 2, cut.div_ceil(2)),
                _ => (cut.div_ceil(2), cut / 2),
            });
        }
        Ok(TransposedOptions {
            padding: Padding::Explicit(PerAxis::list(&pads)),
            output_padding: PerAxis::all(0),
            output_size: Some(PerAxis::list(wished)),
            ..options.clone()
        })
    }
}

impl Operator for ConvTranspose {
    fn name(&self) -> &'static str {
        "ConvTranspose"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.geometry(inputs)?;
        let shape = geometry.output_shape();
        let dtype = check_inputs(inputs, geometry.output_channels(), &shape)?;
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let geometry = self.geometry(inputs)?;
        let change = required(inputs, 1, "W")?.value.is_none();
        let options = &options.clone().weights_change(change);
        if required(inputs, 0, "X")?.dtype == DType::F64 {
            let plan = TransposedPlan::<f64>::forward_only(&geometry, options)?;
            return step(plan, inputs, &self.shared, self.activation, None);
        }
        let plan = TransposedPlan::<f32>::forward_only(&geometry, options)?;
        step(plan, inputs, &self.shared, self.activation, None)
    }

    /// It is the gradient of the input of a convolution with the same weight, its twin. So dX is what the twin makes of
    /// dY, and dW the gradient of the twin's weight for the input dY and the output gradient X.
    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        if self.activation != Activation::Identity {
            return Err(backward.unsupported());
        }
        let dy = backward.d_output()?;
        let (x, weight) = (backward.input(0)?, backward.input(1)?);
        let facts = [x, weight].map(|value| backward.fact(value).cloned());
        let [Ok(x_fact), Ok(weight_fact)] = facts else {
            return Err(backward.unsupported());
        };
        let geometry = self.geometry(&[Some(&x_fact), Some(&weight_fact)])?;
        let axes = geometry.twin().axes();
        let rank = x_fact.shape.len().saturating_sub(2);
        let axes = &axes[axes.len().saturating_sub(rank)..];
        let pads: Vec<_> = axes.iter().map(Axis::pad).collect();
        let twin = ConvOptions::new()
            .stride(self.options.stride)
            .dilation(self.options.dilation)
            .padding(Padding::Explicit(PerAxis::list(&pads)))
            .groups(self.options.groups)
            .layout(self.options.layout);
        if backward.wants(0) {
            let gradient = backward.node(Conv::new(twin.clone()), &[dy, weight])?;
            backward.give(0, gradient)?;
        }
        if backward.wants(1) {
            let operator = ConvBackwardWeight::new(twin, weight_fact.shape.clone(), false);
            let gradient = backward.node(operator, &[dy, x])?;
            backward.give(1, gradient)?;
        }
        if backward.wants(2) {
            let axes = (0..x_fact.shape.len()).filter(|&axis| axis != 1);
            let axes: Array1<i64> = axes.filter_map(|axis| i64::try_from(axis).ok()).collect();
            let axes = backward.constant(Tensor::from(axes.into_dyn()));
            let gradient = backward.node(Reduce::new(ReduceKind::Sum, false), &[dy, axes])?;
            backward.give(2, gradient)?;
        }
        if backward.wants(3) {
            backward.give(3, dy)?;
        }
        Ok(())
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

impl<T: Element> Prepares<T> for TransposedPlan<T> {
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

impl<T: Element> Plan<T> for TransposedPlan<T> {
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

    fn output(&self) -> ([usize; 3], Layout) {
        let patch = self.geometry().twin().patch();
        (
            [patch.batch(), patch.channels(), patch.pixels()],
            patch.layout(),
        )
    }

    fn scratch_len(&self) -> usize {
        self.scratch_len(Pass::Forward)
    }

    fn operations(&self) -> u128 {
        self.geometry().twin().operations()
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
    fn what_an_input_spreads_by_hand() {
        let x = floats(&[1, 1, 2], [1.0, 2.0]);
        let w = floats(&[1, 1, 3], [1.0, 10.0, 100.0]);
        let bias = floats(&[1], [0.5]);
        let layer = ConvTranspose::new(TransposedOptions::new().stride(2));
        let outputs = run(&layer, &[x, w, bias]).unwrap();
        assert_eq!(
            outputs[0],
            floats(&[1, 1, 5], [1.5, 10.5, 102.5, 20.5, 200.5])
        );
    }

    #[test]
    fn output_sizes_that_are_wished() {
        let (x, w) = (fact(&[1, 1, 3, 3]), fact(&[1, 2, 3, 3]));
        let options = || TransposedOptions::new().stride([3, 2]);
        let shape =
            |layer: &ConvTranspose| Ok::<_, Error>(infer(layer, &[&x, &w])?[0].shape.clone());
        let layer = ConvTranspose::new(options());
        assert_eq!(shape(&layer).unwrap(), [1, 2, 9, 7]);
        assert_eq!(
            shape(&layer.clone().output_shape(vec![10, 8])).unwrap(),
            [1, 2, 10, 8]
        );
        assert_eq!(
            shape(&layer.clone().output_shape(vec![8, 4])).unwrap(),
            [1, 2, 8, 4]
        );
        for wrong in [
            vec![0, 8],
            vec![10],
            vec![13, 8],
            vec![1 << 62, 8],
            vec![usize::MAX; 2],
        ] {
            assert!(shape(&layer.clone().output_shape(wrong)).is_err());
        }
        let padded = ConvTranspose::new(options().output_padding(1));
        assert_eq!(
            shape(&padded.output_shape(vec![10, 8])).unwrap(),
            [1, 2, 10, 8]
        );
    }

    #[test]
    fn the_odd_element_is_cut_where_the_padding_says() {
        let x = || floats(&[1, 1, 2], [1.0, 2.0]);
        let w = || floats(&[1, 1, 3], [1.0, 10.0, 100.0]);
        let cut = |padding| {
            let options = TransposedOptions::new().stride(2).padding(padding);
            let layer = ConvTranspose::new(options).output_shape(vec![4]);
            run(&layer, &[x(), w()]).unwrap().remove(0)
        };
        assert_eq!(
            cut(Padding::SameUpper),
            floats(&[1, 1, 4], [1.0, 10.0, 102.0, 20.0])
        );
        assert_eq!(
            cut(Padding::Valid),
            floats(&[1, 1, 4], [10.0, 102.0, 20.0, 200.0])
        );
    }

    #[test]
    fn central_differences() {
        use crate::network::operator::testing::{check_gradient, doubles};
        let cases = [
            (TransposedOptions::new(), [2, 3, 4, 3], [3, 2, 3, 3]),
            (
                TransposedOptions::new()
                    .stride(2)
                    .padding(1)
                    .output_padding(1),
                [2, 3, 4, 3],
                [3, 2, 3, 3],
            ),
            (
                TransposedOptions::new()
                    .stride([2, 3])
                    .dilation(2)
                    .groups(2),
                [1, 4, 3, 3],
                [4, 2, 2, 3],
            ),
        ];
        for (options, x, w) in cases {
            let outputs = w[1] * options.groups;
            let (x, bias) = (doubles(&x, 1, -1.0, 1.0), doubles(&[outputs], 3, -1.0, 1.0));
            let w = doubles(&w, 2, -1.0, 1.0);
            check_gradient(ConvTranspose::new(options), &[x, w, bias], &[0, 1, 2]);
        }
    }
}
