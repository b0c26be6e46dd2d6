//! Sums and activations into the convolution before them, or the product with a constant matrix.
//!
//! ```text
//! Add(product, b)   b a constant with a number for each column: its bias
//! Add(conv(x), r)   r of the same shape, made before: the residual of the convolution, which takes the place of Add
//! Relu, LeakyRelu, Clip, PRelu of one number: its activation
//! ```

use std::sync::Arc;

use super::edit::{Uses, operator};
use crate::conv::Activation;
use crate::error::Result;
use crate::network::draft::{Draft, Node};
use crate::network::operator::{
    Binary, Clip, Conv, ConvTranspose, Linear, MatMul, Operator, Unary, Variadic,
};
use crate::network::tensor::Tensor;

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    for index in 0..draft.nodes.len() {
        let node = &draft.nodes[index];
        let product = operator::<MatMul>(node);
        let facts = draft.facts(&node.inputs)?;
        if let Some(linear) = product.and_then(|product| product.linear(&facts)) {
            draft.nodes[index].operator = Arc::new(linear);
        }
    }
    let mut index = 0;
    while index < draft.nodes.len() {
        // Each leaves node `index` out, so that the next one has its number.
        if !(bias(draft, index)? || residual(draft, index)? || activation(draft, index)?) {
            index += 1;
        }
    }
    Ok(())
}

/// Makes a sum with a constant for each column the bias of the product that made the other term.
fn bias(draft: &mut Draft, index: usize) -> Result<bool> {
    let node = &draft.nodes[index];
    let (true, &[Some(a), Some(b)]) = (operator(node) == Some(&Binary::Add), &node.inputs[..])
    else {
        return Ok(false);
    };
    if draft.fact(a)?.value.is_none() && draft.fact(b)?.value.is_none() {
        return Ok(false);
    }
    let uses = Uses::new(draft);
    let able = |value: usize| {
        let maker = uses.maker(value).filter(|_| uses.only(value, index))?;
        let linear = operator::<Linear>(&draft.nodes[maker])?;
        let plain = linear.activation == Activation::Identity;
        (plain && draft.nodes[maker].inputs.len() == 2).then_some(maker)
    };
    let sides = [(able(a), a, b), (able(b), b, a)];
    let Some((by, from, other)) = sides
        .into_iter()
        .find_map(|(by, from, other)| Some((by?, from, other)))
    else {
        return Ok(false);
    };
    let (made, added) = (draft.fact(from)?, draft.fact(other)?);
    // No more axes than the product, so that the sum has its shape.
    let columns = match (made.shape.last(), added.shape.split_last()) {
        (Some(&columns), Some((&last, before)))
            if last == columns
                && before.len() < made.shape.len()
                && before.iter().all(|&length| length == 1) =>
        {
            columns
        }
        _ => return Ok(false),
    };
    let Some(numbers) = added.value.as_deref().and_then(Tensor::array::<f32>) else {
        return Ok(false);
    };
    let Ok(numbers) = numbers.to_shape(vec![columns]) else {
        return Ok(false);
    };
    let tensor = Arc::new(Tensor::from(numbers.into_owned()));
    let name = format!("{}:bias", draft.nodes[by].name);
    let numbers = draft.constant(name, tensor);
    draft.nodes[by].inputs.push(Some(numbers));
    draft.absorb("bias", index, by);
    Ok(true)
}

/// The activation of a convolution of either direction, or of a product.
fn activation_of(node: &Node) -> Option<Activation<f32>> {
    if let Some(conv) = operator::<Conv>(node) {
        return Some(conv.activation);
    }
    if let Some(linear) = operator::<Linear>(node) {
        return Some(linear.activation);
    }
    operator::<ConvTranspose>(node).map(|conv| conv.activation)
}

/// Makes a sum of two part of the convolution, or the product, that made one of them.
fn residual(draft: &mut Draft, index: usize) -> Result<bool> {
    let node = &draft.nodes[index];
    let sum = operator(node) == Some(&Binary::Add) || operator(node) == Some(&Variadic::Sum);
    let (true, &[Some(a), Some(b)]) = (sum, &node.inputs[..]) else {
        return Ok(false);
    };
    let uses = Uses::new(draft);
    let able = |value: usize| {
        let maker = uses.maker(value).filter(|_| uses.only(value, index))?;
        let node = &draft.nodes[maker];
        let plain = activation_of(node) == Some(Activation::Identity) && node.inputs.len() <= 3;
        plain.then_some(maker)
    };
    // The later one, so that the other does not wait.
    let Some((by, other)) = [(able(a), b), (able(b), a)]
        .into_iter()
        .filter_map(|(by, other)| Some((by?, other)))
        .max_by_key(|&(by, _)| by)
    else {
        return Ok(false);
    };
    let (made, added) = (draft.fact(node.outputs[0])?, draft.fact(other)?);
    let from = draft.fact(draft.nodes[by].outputs[0])?;
    if added.shape != made.shape || from.shape != made.shape || added.dtype != made.dtype {
        return Ok(false);
    }
    let mut conv = draft.nodes[by].clone();
    conv.inputs.resize(3, None);
    conv.inputs.push(Some(other));
    conv.outputs.clone_from(&node.outputs);
    let what = format!(
        "{} ({}) into {}",
        node.name,
        node.operator.name(),
        conv.name
    );
    draft.note("residual", what);
    draft.nodes[index] = conv;
    draft.nodes.remove(by);
    Ok(true)
}

/// Makes an activation part of the convolution, or the product, before it.
fn activation(draft: &mut Draft, index: usize) -> Result<bool> {
    let node = &draft.nodes[index];
    let Some(activation) = known(draft, node)? else {
        return Ok(false);
    };
    let uses = Uses::new(draft);
    let maker = node.inputs[0].and_then(|from| uses.maker(from).filter(|_| uses.only(from, index)));
    let Some(by) = maker else {
        return Ok(false);
    };
    if activation_of(&draft.nodes[by]) != Some(Activation::Identity) {
        return Ok(false);
    }
    let by_node = &draft.nodes[by];
    let ended: Arc<dyn Operator> = if let Some(conv) = operator::<Conv>(by_node) {
        Arc::new(conv.clone().activation(activation))
    } else if let Some(conv) = operator::<ConvTranspose>(by_node) {
        Arc::new(conv.clone().activation(activation))
    } else if let Some(linear) = operator::<Linear>(by_node) {
        Arc::new(linear.clone().activation(activation))
    } else {
        return Ok(false);
    };
    draft.nodes[by].operator = ended;
    draft.absorb("activation", index, by);
    Ok(true)
}

/// The activation that a node is, if the epilogue of a convolution knows it.
fn known(draft: &Draft, node: &Node) -> Result<Option<Activation<f32>>> {
    let facts = draft.facts(&node.inputs)?;
    if let Some(unary) = operator::<Unary>(node) {
        return Ok(match unary {
            Unary::Relu => Some(Activation::Relu),
            Unary::LeakyRelu { alpha } => Some(Activation::LeakyRelu { slope: *alpha }),
            _ => None,
        });
    }
    if operator::<Clip>(node).is_some() {
        let bounds = Clip::bounds(&facts).filter(|(low, high)| !low.is_nan() && !high.is_nan());
        return Ok(bounds.map(|(low, high)| Activation::Clamp { low, high }));
    }
    if operator(node) == Some(&Binary::PRelu) {
        let slope = facts.get(1).copied().flatten();
        let slope = slope.and_then(|fact| fact.value.as_deref()?.array::<f32>());
        let slope = slope.filter(|slope| slope.len() == 1);
        // A slope of more axes would give the result more axes.
        let same =
            slope.is_some_and(|slope| facts[0].is_some_and(|x| slope.ndim() <= x.shape.len()));
        return Ok(slope.filter(|_| same).and_then(|slope| {
            Some(Activation::LeakyRelu {
                slope: *slope.first()?,
            })
        }));
    }
    Ok(None)
}
