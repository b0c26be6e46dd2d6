//! BatchNormalization, and arithmetic with a number for each channel, into the convolution before it.
//!
//! ```text
//! a (W x + b) + c = (a W) x + (a b + c)      a, c numbers of each channel that comes out
//! BatchNormalization   a = scale / √(variance + epsilon)   c = B − a mean
//! Add, Sub, Mul, Div   with a constant [C, 1, …] or one number
//! ```
//!
//! Computed in f64 and rounded once.

use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewMutD, Axis, IxDyn};

use super::edit::{Uses, operator};
use crate::conv::Activation;
use crate::element::Element;
use crate::error::Result;
use crate::network::draft::{Draft, Node};
use crate::network::operator::{BatchNormalization, Binary, Conv, ConvTranspose};
use crate::network::tensor::{Scalar, Tensor};

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    let mut index = 0;
    while index < draft.nodes.len() {
        match found(draft, index) {
            Some((by, weight, bias)) => {
                let name = draft.nodes[by].name.clone();
                let weight = draft.constant(format!("{name}:weight"), Arc::new(weight));
                let bias = draft.constant(format!("{name}:bias"), Arc::new(bias));
                draft.nodes[by].inputs.truncate(1);
                draft.nodes[by].inputs.extend([Some(weight), Some(bias)]);
                draft.absorb("scale_shift", index, by);
            }
            None => index += 1,
        }
    }
    Ok(())
}

/// The convolution before node `index`, which scales and shifts, and its weights and bias with that in them.
fn found(draft: &Draft, index: usize) -> Option<(usize, Tensor, Tensor)> {
    let node = &draft.nodes[index];
    let normal = operator::<BatchNormalization>(node).is_some();
    let binary = operator::<Binary>(node).is_some();
    if !normal && !binary {
        return None;
    }
    let uses = Uses::new(draft);
    let candidates = node
        .inputs
        .iter()
        .take(if normal { 1 } else { 2 })
        .enumerate();
    for (side, from) in candidates {
        let Some(by) = from.and_then(|from| uses.maker(from).filter(|_| uses.only(from, index)))
        else {
            continue;
        };
        let Some(layer) = Layer::of(draft, &draft.nodes[by]) else {
            continue;
        };
        let line = if normal {
            normalisation(draft, node, layer.channels)
        } else {
            arithmetic(draft, node, side, &layer)
        };
        let (weight, bias) = match layer.weight {
            Tensor::F32(_) => layer.after::<f32>(line?),
            Tensor::F64(_) => layer.after::<f64>(line?),
            _ => None,
        }?;
        return Some((by, weight, bias));
    }
    None
}

/// a and c of every channel.
type Line = (Vec<f64>, Vec<f64>);

/// What a BatchNormalization does; `None` where its numbers are not constant or not as many as they should be.
fn normalisation(draft: &Draft, node: &Node, channels: usize) -> Option<Line> {
    let epsilon = operator::<BatchNormalization>(node)?.fixed()?;
    let input = |index: usize| {
        let value = node.inputs.get(index).copied().flatten()?;
        numbers(constant(draft, value)?).filter(|values| values.len() == channels)
    };
    let (scale, shift, mean, variance) = (input(1)?, input(2)?, input(3)?, input(4)?);
    let slope: Vec<f64> = (scale.iter().zip(&variance))
        .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
        .collect();
    let offset = (0..channels).map(|at| shift[at] - mean[at] * slope[at]);
    let offset = offset.collect();
    Some((slope, offset))
}

/// What arithmetic with a constant does to the result of `layer`, which is input `side` of the node.
fn arithmetic(draft: &Draft, node: &Node, side: usize, layer: &Layer) -> Option<Line> {
    let other = constant(draft, node.inputs.get(1 - side).copied().flatten()?)?;
    if other.dtype() != layer.weight.dtype() {
        return None;
    }
    let by_channel = channel_values(other, layer.weight.shape().len(), layer.channels)?;
    let ones = || vec![1.0; layer.channels];
    let zeros = || vec![0.0; layer.channels];
    let each = |f: fn(f64) -> f64| by_channel.iter().map(|&value| f(value)).collect();
    Some(match (operator::<Binary>(node)?, side) {
        (Binary::Add, _) => (ones(), by_channel),
        (Binary::Sub, 0) => (ones(), each(|value| -value)),
        (Binary::Sub, _) => (vec![-1.0; layer.channels], by_channel),
        (Binary::Mul, _) => (by_channel, zeros()),
        (Binary::Div, 0) => (each(|value| 1.0 / value), zeros()),
        _ => return None,
    })
}

/// The numbers of a constant that is broadcast along all axes of `rank` but that of the channels.
fn channel_values(tensor: &Tensor, rank: usize, channels: usize) -> Option<Vec<f64>> {
    let missing = rank.checked_sub(tensor.shape().len())?;
    let mut shape = tensor.shape().iter().enumerate();
    let along = |axis: usize, size: usize| size == 1 || axis + missing == 1 && size == channels;
    if !shape.all(|(axis, &size)| along(axis, size)) {
        return None;
    }
    let values = numbers(tensor)?;
    match values[..] {
        [value] => Some(vec![value; channels]),
        _ => Some(values),
    }
}

fn constant(draft: &Draft, value: usize) -> Option<&Tensor> {
    draft.values[value].fact.as_ref()?.value.as_deref()
}

/// The elements of a tensor of floats.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor {
        Tensor::F32(array) => Some(array.iter().map(|&value| value.into()).collect()),
        Tensor::F64(array) => Some(array.iter().copied().collect()),
        _ => None,
    }
}

/// A convolution with constant weights, that ends with its bias.
struct Layer<'d> {
    weight: &'d Tensor,
    bias: Option<&'d Tensor>,
    groups: usize,
    channels: usize,
    transposed: bool,
}

impl<'d> Layer<'d> {
    fn of(draft: &'d Draft, node: &Node) -> Option<Self> {
        let (groups, activation, transposed) = match (operator::<Conv>(node), operator(node)) {
            (Some(conv), _) => (conv.options.groups, conv.activation, false),
            (
                None,
                Some(ConvTranspose {
                    options,
                    activation,
                    ..
                }),
            ) => (options.groups, *activation, true),
            (None, None) => return None,
        };
        if node.inputs.len() > 3 || activation != Activation::Identity {
            return None;
        }
        let weight = constant(draft, node.inputs.get(1).copied().flatten()?)?;
        let bias = match node.inputs.get(2).copied().flatten() {
            Some(bias) => Some(constant(draft, bias)?),
            None => None,
        };
        let (first, second) = match weight.shape() {
            [first, second, _, ..] if groups > 0 => (*first, *second),
            _ => return None,
        };
        let channels = if transposed {
            second.checked_mul(groups)?
        } else {
            first
        };
        // Whatever does not fit is left for planning to find.
        let fits = first > 0 && second > 0 && first % groups == 0;
        fits.then_some(Self {
            weight,
            bias,
            groups,
            channels,
            transposed,
        })
    }

    /// Weight and bias with `line` after them.
    fn after<T: Element + Scalar>(&self, (slope, offset): Line) -> Option<(Tensor, Tensor)>
    where
        Tensor: From<ArrayD<T>>,
    {
        let bias = match self.bias {
            Some(bias) => numbers(bias).filter(|values| values.len() == self.channels)?,
            None => vec![0.0; self.channels],
        };
        let mut weight = self.weight.array::<T>()?.clone();
        let times = |mut part: ArrayViewMutD<T>, channel: usize| {
            part.mapv_inplace(|value| T::from_f64(value.to_f64() * slope[channel]));
        };
        let (first, second) = (weight.shape()[0], weight.shape()[1]);
        for (outer, mut part) in weight.axis_iter_mut(Axis(0)).enumerate() {
            if self.transposed {
                // [I, O/g, …]: the inputs of a group go to the outputs of that group.
                let group = outer / (first / self.groups);
                for (inner, part) in part.axis_iter_mut(Axis(0)).enumerate() {
                    times(part, group * second + inner);
                }
            } else {
                times(part, outer);
            }
        }
        let bias = (0..self.channels).map(|at| T::from_f64(bias[at] * slope[at] + offset[at]));
        let bias = ArrayD::from_shape_vec(IxDyn(&[self.channels]), bias.collect()).ok()?;
        Some((weight.into(), bias.into()))
    }
}
