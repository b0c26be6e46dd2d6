//! BatchNormalization into the convolution before it.
//!
//! ```text
//! a (W x + b) + c = (a W) x + (a b + c)      a, c numbers of each channel that comes out
//! ```
//!
//! Computed in f64 and rounded once.

use std::sync::Arc;

use ndarray::{ArrayD, Axis, IxDyn};

use super::edit::{Uses, operator};
use crate::conv::Activation;
use crate::element::Element;
use crate::error::Result;
use crate::network::draft::{Draft, Node};
use crate::network::operator::{BatchNormalization, Conv, ConvTranspose};
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
                draft.absorb("batch_norm", index, by);
            }
            None => index += 1,
        }
    }
    Ok(())
}

/// The convolution before node `index`, a BatchNormalization, and its weights and bias with that in them.
fn found(draft: &Draft, index: usize) -> Option<(usize, Tensor, Tensor)> {
    let node = &draft.nodes[index];
    let epsilon = operator::<BatchNormalization>(node)?.fixed()?;
    let from = node.inputs[0]?;
    let uses = Uses::new(draft);
    let by = uses.maker(from).filter(|_| uses.only(from, index))?;
    let groups = groups(&draft.nodes[by])?;
    let inputs = &draft.nodes[by].inputs;
    let weight = constant(draft, inputs[1]?)?;
    let bias = match inputs.get(2).copied().flatten() {
        Some(bias) => Some(constant(draft, bias)?),
        None => None,
    };
    let mut four = [None; 4];
    for (slot, &input) in four.iter_mut().zip(&node.inputs[1..]) {
        *slot = Some(constant(draft, input?)?);
    }
    let four = [four[0]?, four[1]?, four[2]?, four[3]?];
    let transposed = operator::<ConvTranspose>(&draft.nodes[by]).is_some();
    let (weight, bias) = match weight {
        Tensor::F32(_) => scaled::<f32>(weight, bias, four, epsilon, groups, transposed)?,
        Tensor::F64(_) => scaled::<f64>(weight, bias, four, epsilon, groups, transposed)?,
        _ => return None,
    };
    Some((by, weight, bias))
}

/// The groups of a convolution that ends with its bias.
fn groups(node: &Node) -> Option<usize> {
    if node.inputs.len() > 3 {
        return None;
    }
    if let Some(conv) = operator::<Conv>(node) {
        return (conv.activation == Activation::Identity).then_some(conv.options.groups);
    }
    let conv = operator::<ConvTranspose>(node)?;
    (conv.activation == Activation::Identity).then_some(conv.options.groups)
}

fn constant(draft: &Draft, value: usize) -> Option<&Tensor> {
    draft.values[value].fact.as_ref()?.value.as_deref()
}

/// `weight` and `bias` after scale, B, mean and variance; `None` where the lengths do not fit, which planning
/// will find.
fn scaled<T: Element + Scalar>(
    weight: &Tensor,
    bias: Option<&Tensor>,
    four: [&Tensor; 4],
    epsilon: f64,
    groups: usize,
    transposed: bool,
) -> Option<(Tensor, Tensor)>
where
    Tensor: From<ArrayD<T>>,
{
    let weight = weight.array::<T>()?;
    if weight.ndim() < 3 || groups == 0 {
        return None;
    }
    let (first, second) = (weight.shape()[0], weight.shape()[1]);
    let channels = if transposed {
        second.checked_mul(groups)?
    } else {
        first
    };
    let listed = |tensor: &Tensor| {
        let values = T::slice(tensor.view()).filter(|values| values.len() == channels)?;
        Some(
            values
                .iter()
                .map(|value| value.to_f64())
                .collect::<Vec<f64>>(),
        )
    };
    let [scale, shift, mean, variance] = [
        listed(four[0])?,
        listed(four[1])?,
        listed(four[2])?,
        listed(four[3])?,
    ];
    let bias = match bias {
        Some(bias) => listed(bias)?,
        None => vec![0.0; channels],
    };
    let slope: Vec<f64> = (scale.iter().zip(&variance))
        .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
        .collect();
    let mut weight = weight.clone();
    let times = |mut part: ndarray::ArrayViewMutD<T>, channel: usize| {
        part.mapv_inplace(|value| T::from_f64(value.to_f64() * slope[channel]));
    };
    for (outer, mut part) in weight.axis_iter_mut(Axis(0)).enumerate() {
        if transposed {
            // [I, O/g, …]: the inputs of a group go to the outputs of that group.
            let group = outer / first.div_ceil(groups).max(1);
            for (inner, part) in part.axis_iter_mut(Axis(0)).enumerate() {
                times(part, (group * second + inner).min(channels - 1));
            }
        } else {
            times(part, outer);
        }
    }
    let bias = (0..channels)
        .map(|channel| {
            T::from_f64((bias[channel] - mean[channel]) * slope[channel] + shift[channel])
        })
        .collect();
    let bias = ArrayD::from_shape_vec(IxDyn(&[channels]), bias).ok()?;
    Some((weight.into(), bias.into()))
}
