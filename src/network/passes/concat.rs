//! Concat of channels that lie last: the convolutions that make its inputs write them beside each other.
//!
//! ```text
//! a = conv(x), b = conv(y), c = Concat(a, b)
//! c₀ = conv(x) as channels 0..A of c;   c = conv(y) as channels A.. of c₀, in its place
//! ```

use std::sync::Arc;

use super::edit::{Uses, operator};
use crate::error::Result;
use crate::network::draft::Draft;
use crate::network::operator::{Concat, Conv};

/// The input of a convolution that its result is a part of.
const PARTIAL: usize = 4;

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    let mut index = 0;
    while index < draft.nodes.len() {
        match parts(draft, index)? {
            Some(parts) => join(draft, index, parts)?,
            None => index += 1,
        }
    }
    Ok(())
}

/// A convolution and the first channel of its result.
struct Part {
    node: usize,
    first: usize,
}

/// What node `index`, a Concat, joins, in the order in which it is made.
fn parts(draft: &Draft, index: usize) -> Result<Option<Vec<Part>>> {
    let node = &draft.nodes[index];
    let Some(concat) = operator::<Concat>(node) else {
        return Ok(None);
    };
    let rank = draft.fact(node.outputs[0])?.shape.len();
    let last = i64::try_from(rank).is_ok_and(|rank| [-1, rank - 1].contains(&concat.axis()));
    if rank < 3 || !last {
        return Ok(None);
    }
    let uses = Uses::new(draft);
    let (mut first, mut parts) = (0, Vec::with_capacity(node.inputs.len()));
    for &value in node.inputs.iter().flatten() {
        let Some(maker) = uses.maker(value).filter(|_| uses.only(value, index)) else {
            return Ok(None);
        };
        // Depthwise kernels want whole lines to write to.
        let able = operator::<Conv>(&draft.nodes[maker]);
        if !able.is_some_and(|conv| conv.ends_last() && conv.options.groups == 1) {
            return Ok(None);
        }
        parts.push(Part { node: maker, first });
        first += draft.fact(value)?.shape[rank - 1];
    }
    parts.sort_by_key(|part| part.node);
    Ok((!parts.is_empty()).then_some(parts))
}

/// Lets `parts` write to the result of node `index`, which is left out.
fn join(draft: &mut Draft, index: usize, parts: Vec<Part>) -> Result<()> {
    let (name, whole) = (
        draft.nodes[index].name.clone(),
        draft.nodes[index].outputs[0],
    );
    let fact = draft.fact(whole)?.clone();
    let channels = fact.shape.last().copied().unwrap_or(0);
    let (mut before, last) = (None, parts.len() - 1);
    for (at, part) in parts.into_iter().enumerate() {
        let made = if at == last {
            whole
        } else {
            let value = draft.value(format!("{name}:{at}"));
            draft.values[value].fact = Some(fact.clone());
            draft.values[value].turned = draft.values[whole].turned;
            value
        };
        let node = &mut draft.nodes[part.node];
        if let Some(conv) = operator::<Conv>(node).cloned() {
            node.operator = Arc::new(conv.slot(part.first, channels));
        }
        node.inputs.resize(PARTIAL + 1, None);
        node.inputs[PARTIAL] = before;
        node.outputs[0] = made;
        before = Some(made);
        let what = format!("{name} at channel {} from {}", part.first, node.name);
        draft.note("concat", what);
    }
    draft.nodes.remove(index);
    Ok(())
}
