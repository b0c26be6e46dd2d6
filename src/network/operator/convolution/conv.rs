//! Conv: `Y = activation(conv(X, W) + B + R)`.
//!
//! ```text
//! X [N, C, in…]   W [O, C/g, kernel…]   B [O]   R as Y, a sum that ends here   ->   Y [N, O, out…]
//! ```
//!
//! R and the activation come from nodes that followed. Weights that are constant are prepared once. Y may lie in
//! another layout than X, and may be some of the channels of a larger batch P, which then is a fifth input and the
//! output: what Concat would have joined is written beside each other.

use std::sync::Arc;

use ndarray::{ArrayRef, IxDyn};

use super::backward::{ConvBackwardInput, ConvBackwardWeight};
use super::step::{PARTIAL, Plan, Shared, check_inputs, step};
use super::taps::Cuts;
use super::weights::Prepares;
use crate::conv::{Activation, ConvPlan, Epilogue, PreparedWeights, Target};
use crate::element::Element;
use crate::error::{Result, check_shape};
use crate::geometry::{Axis, ConvGeometry, ConvOptions, Layout};
use crate::network::gradient::Backward;
use crate::network::operator::check::{has_shape, has_type, optional, required};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::DType;
use crate::plan::{Pass, PlanOptions};

/// A convolution with any strides, dilations, groups and padding, of one to three axes; f32 or f64.
#[derive(Clone, Debug)]
pub struct Conv {
    pub(crate) options: ConvOptions,
    pub(crate) kernel: Option<Vec<usize>>,
    pub(crate) activation: Activation<f32>,
    /// The layout of Y, where it is not that of X.
    pub(crate) output: Option<Layout>,
    /// The first channel of Y in P, and the channels of P.
    pub(crate) slot: Option<(usize, usize)>,
    shared: Shared,
    pub(super) cuts: Cuts,
}

impl Conv {
    /// With these options.
    pub fn new(options: ConvOptions) -> Self {
        Self {
            options,
            kernel: None,
            activation: Activation::Identity,
            output: None,
            slot: None,
            shared: Shared::default(),
            cuts: Cuts::default(),
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

    /// The same with its result in this layout.
    pub(crate) fn output(mut self, layout: Layout) -> Self {
        self.output = Some(layout);
        self
    }

    /// The same as channels `first..` of `channels`.
    pub(crate) fn slot(mut self, first: usize, channels: usize) -> Self {
        self.slot = Some((first, channels));
        self
    }

    /// Whether the result is a batch for itself, with its channels last.
    pub(crate) fn ends_last(&self) -> bool {
        self.slot.is_none() && self.output.unwrap_or(self.options.layout) == Layout::ChannelsLast
    }

    /// Where the result lies, if not as the plan has it; and its shape there, and that of the residual.
    fn target(&self, geometry: &ConvGeometry) -> (Option<Target>, Vec<usize>, Vec<usize>) {
        let own = geometry.layout();
        let (layout, channels) = (self.output.unwrap_or(own), geometry.output_channels());
        let spatial = geometry.patch().outputs();
        let shape = |channels: usize| layout.shape(geometry.batch(), channels, &spatial);
        let alone = Target::whole(layout, channels);
        let target = match self.slot {
            Some((first, channels)) => Target {
                layout,
                first,
                channels,
            },
            None => alone,
        };
        let plain = target == alone && layout == own;
        (
            (!plain).then_some(target),
            shape(target.channels),
            shape(channels),
        )
    }

    pub(super) fn geometry(&self, inputs: &Facts) -> Result<ConvGeometry> {
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
        let (_, shape, own) = self.target(&geometry);
        let dtype = check_inputs(inputs, geometry.output_channels(), &own)?;
        if let Some(partial) = optional(inputs, PARTIAL) {
            has_type(partial, "the partial result", &[dtype])?;
            has_shape(partial, "the partial result", &shape)?;
        }
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        // The weights and the bias are not; a residual is.
        batched.first() == Some(&true) && batched.iter().skip(1).take(2).all(|&batched| !batched)
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let geometry = self.geometry(inputs)?;
        let change = required(inputs, 1, "W")?.value.is_none();
        let options = &options.clone().weights_change(change);
        let (target, ..) = self.target(&geometry);
        if required(inputs, 0, "X")?.dtype == DType::F64 {
            let plan = ConvPlan::<f64>::for_passes(&geometry, options, &[Pass::Forward])?;
            return step(plan, inputs, &self.shared, self.activation, target);
        }
        let plan = ConvPlan::<f32>::for_passes(&geometry, options, &[Pass::Forward])?;
        step(plan, inputs, &self.shared, self.activation, target)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        if self.activation != Activation::Identity || self.output.is_some() || self.slot.is_some() {
            // Passes make such ones, after the gradients are there.
            return Err(backward.unsupported());
        }
        let dy = backward.d_output()?;
        let (x, weight) = (backward.input(0)?, backward.input(1)?);
        if backward.wants(1) || backward.wants(2) {
            let shape = backward.fact(weight)?.shape.clone();
            let operator = ConvBackwardWeight::new(self.options.clone(), shape, backward.wants(2));
            let made = backward.nodes(operator, &[x, dy])?;
            for (input, gradient) in [1, 2].into_iter().zip(made) {
                backward.give(input, gradient)?;
            }
        }
        if backward.wants(0) {
            let shape = &backward.fact(x)?.shape;
            let spatial = self.options.layout.parts(shape).2.to_vec();
            let operator = ConvBackwardInput::new(self.options.clone(), spatial);
            let gradient = backward.node(operator, &[dy, weight])?;
            backward.give(0, gradient)?;
        }
        if backward.wants(3) {
            backward.give(3, dy)?;
        }
        Ok(())
    }

    fn window(&self, inputs: &Facts) -> Option<Vec<Axis>> {
        Some(self.geometry(inputs).ok()?.axes().to_vec())
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

    fn run_to(
        &self,
        x: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        y: (&mut [T], Target),
        scratch: &mut [T],
    ) -> Result<()> {
        self.forward_to(x, weights, epilogue, y, scratch)
    }

    fn has_targets(&self) -> bool {
        self.has_targets()
    }

    fn output(&self) -> ([usize; 3], Layout) {
        let geometry = self.geometry();
        let shape = [
            geometry.batch(),
            geometry.output_channels(),
            geometry.positions(),
        ];
        (shape, geometry.layout())
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
    use crate::network::operator::testing::{fact, floats, infer, run, run_with};
    use crate::plan::RecipeKind;

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

    /// Results among other channels and in the other layout, by every recipe that can be asked for.
    #[test]
    fn parts_of_a_batch_in_either_layout() {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let numbers = |shape: &[usize], seed: u64| {
            let mut random = fastrand::Rng::with_seed(seed);
            let values = (0..count(shape)).map(|_| random.f32() - 0.5);
            floats(shape, values.collect::<Vec<_>>())
        };
        let layouts = [Layout::ChannelsFirst, Layout::ChannelsLast];
        for (from, to) in layouts
            .into_iter()
            .flat_map(|from| layouts.map(|to| (from, to)))
        {
            for recipe in [None, Some(RecipeKind::Unfold), Some(RecipeKind::WinogradF4)] {
                let options = match recipe {
                    Some(recipe) => PlanOptions::new().recipe(recipe),
                    None => PlanOptions::new(),
                };
                let conv = Conv::new(ConvOptions::new().padding(1).layout(from))
                    .activation(Activation::Relu);
                let x = numbers(&from.shape(2, 5, &[7, 6]), 1);
                let (w, bias) = (numbers(&[4, 5, 3, 3], 2), numbers(&[4], 3));
                let residual = |layout: Layout| numbers(&layout.shape(2, 4, &[7, 6]), 4);
                let plain = [x.clone(), w.clone(), bias.clone(), residual(from)];
                let expected = run_with(&conv, &plain, &options).unwrap().remove(0);
                let expected = expected.array::<f32>().unwrap();
                let partial = numbers(&to.shape(2, 9, &[7, 6]), 5);
                // The residual in the layout of the result.
                let turn = |array: &ndarray::ArrayD<f32>| match (from, to) {
                    (Layout::ChannelsFirst, Layout::ChannelsLast) => array
                        .view()
                        .permuted_axes(vec![0, 2, 3, 1])
                        .as_standard_layout()
                        .into_owned(),
                    (Layout::ChannelsLast, Layout::ChannelsFirst) => array
                        .view()
                        .permuted_axes(vec![0, 3, 1, 2])
                        .as_standard_layout()
                        .into_owned(),
                    _ => array.clone(),
                };
                let turned = turn(residual(from).array().unwrap()).into();
                let part = conv.clone().output(to).slot(3, 9);
                let inputs = [x, w, bias, turned, partial.clone()];
                let got = run_with(&part, &inputs, &options).unwrap().remove(0);
                let (got, partial) = (got.array::<f32>().unwrap(), partial.array::<f32>().unwrap());
                let axis = if to == Layout::ChannelsLast { 3 } else { 1 };
                for channel in 0..9 {
                    let got = got.index_axis(ndarray::Axis(axis), channel);
                    if (3..7).contains(&channel) {
                        let expected = turn(expected);
                        let expected = expected.index_axis(ndarray::Axis(axis), channel - 3);
                        let most = (&got - &expected)
                            .iter()
                            .fold(0.0f32, |most, d| most.max(d.abs()));
                        assert!(most < 1e-5, "{from:?} {to:?} {recipe:?}: {most}");
                    } else {
                        assert_eq!(got, partial.index_axis(ndarray::Axis(axis), channel));
                    }
                }
            }
        }
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
