//! The layout of the whole graph: channels last wherever convolutions are.
//!
//! ```text
//! can      operators that have a form for channels last
//! turned   those of them that hang together with a convolution
//! then     as long as it saves bytes: a turned node that is no convolution is left as it was
//! ```
//!
//! Where a turned node meets one that is not, and at inputs and outputs, a Transpose stands between, one for each
//! value and direction; convolutions need none, for they can read one layout and write the other. Constants are turned
//! at once; weights keep their order.

use std::collections::HashMap;
use std::sync::Arc;

use super::edit::{self, operator};
use crate::error::Result;
use crate::geometry::Layout as Memory;
use crate::geometry::Layout::{ChannelsFirst, ChannelsLast};
use crate::network::draft::{Bounds, Draft, Node, bytes, fold, infer};
use crate::network::operator::{
    Conv, ConvBackwardInput, ConvBackwardWeight, ConvTranspose, Fact, Operator, Transpose,
};

pub(super) fn run(draft: &mut Draft, bounds: &Bounds) -> Result<()> {
    let mut layout = Layout::new(draft, bounds)?;
    layout.hang_together(draft);
    layout.save(draft);
    if layout.turned.iter().any(Option::is_some) {
        Rewrite::new(draft, &layout).run(layout, bounds)?;
    }
    Ok(())
}

/// Whether the elements of a value of this shape come in another order when they are turned.
fn has_pixels(fact: &Fact) -> bool {
    fact.shape.len() >= 3
}

/// The shape of a value with its channels last.
fn turned_shape(shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if shape.len() >= 3 {
        shape[1..].rotate_left(1);
    }
    shape
}

/// Which nodes are turned.
struct Layout {
    /// The operator of each node with the channels last.
    turned: Vec<Option<Arc<dyn Operator>>>,
    /// Bytes of each value that would have to be turned; 0 for others.
    bytes: Vec<usize>,
}

impl Layout {
    fn new(draft: &Draft, bounds: &Bounds) -> Result<Self> {
        let mut turned = Vec::with_capacity(draft.nodes.len());
        for node in &draft.nodes {
            turned.push(last(draft, node, bounds)?);
        }
        let size = |index: usize| {
            let fact = draft.values[index].fact.as_ref();
            let moved = fact.filter(|fact| has_pixels(fact) && fact.value.is_none());
            moved.map_or(Ok(0), bytes)
        };
        let mut bytes = (0..draft.values.len())
            .map(size)
            .collect::<Result<Vec<_>>>()?;
        for node in &draft.nodes {
            for &index in node.operator.weights() {
                if let Some(weight) = node.inputs.get(index).copied().flatten() {
                    bytes[weight] = 0;
                }
            }
            for &index in node.operator.weight_gradients() {
                if let Some(&gradient) = node.outputs.get(index) {
                    bytes[gradient] = 0;
                }
            }
        }
        Ok(Self { turned, bytes })
    }

    /// Leaves alone what no convolution is reached from.
    fn hang_together(&mut self, draft: &Draft) {
        let mut reached: Vec<bool> = draft.nodes.iter().map(is_conv).collect();
        for (reached, turned) in reached.iter_mut().zip(&self.turned) {
            *reached &= turned.is_some();
        }
        let mut touched = vec![false; draft.values.len()];
        loop {
            let mut grown = false;
            for (index, node) in draft.nodes.iter().enumerate() {
                let values = || node.inputs.iter().flatten().chain(&node.outputs).copied();
                let moved = |value: usize| self.bytes[value] > 0;
                if !reached[index] && self.turned[index].is_some() {
                    reached[index] = values().any(|value| moved(value) && touched[value]);
                }
                if reached[index] {
                    for value in values().filter(|&value| moved(value)) {
                        grown |= !std::mem::replace(&mut touched[value], true);
                    }
                }
            }
            if !grown {
                break;
            }
        }
        for (turned, reached) in self.turned.iter_mut().zip(reached) {
            if !reached {
                *turned = None;
            }
        }
    }

    /// Leaves alone what is cheaper left alone.
    fn save(&mut self, draft: &Draft) {
        let mut readers = vec![Vec::new(); draft.values.len()];
        let mut makers = vec![None; draft.values.len()];
        for (index, node) in draft.nodes.iter().enumerate() {
            for &value in node.inputs.iter().flatten() {
                readers[value].push(index);
            }
            for &value in &node.outputs {
                makers[value] = Some(index);
            }
        }
        let cost = |layout: &Self, value: usize| {
            let is_turned = |node: usize| layout.turned[node].is_some();
            let made = makers[value].is_some_and(is_turned);
            let differs = readers[value]
                .iter()
                .any(|&reader| is_turned(reader) != made)
                || made && draft.outputs.contains(&value);
            if differs { layout.bytes[value] } else { 0 }
        };
        let around = |layout: &Self, node: &Node| -> usize {
            let values = node.inputs.iter().flatten().chain(&node.outputs);
            values.fold(0usize, |sum, &value| {
                sum.saturating_add(cost(layout, value))
            })
        };
        loop {
            let mut changed = false;
            for (index, node) in draft.nodes.iter().enumerate() {
                if self.turned[index].is_none() || is_conv(node) {
                    continue;
                }
                let before = around(self, node);
                let operator = self.turned[index].take();
                if around(self, node) >= before {
                    self.turned[index] = operator;
                } else {
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }
}

fn is_conv(node: &Node) -> bool {
    operator::<Conv>(node).is_some()
        || operator::<ConvTranspose>(node).is_some()
        || operator::<ConvBackwardInput>(node).is_some()
        || operator::<ConvBackwardWeight>(node).is_some()
}

/// The operator of `node` with the channels last, if it then makes the same values turned.
fn last(draft: &Draft, node: &Node, bounds: &Bounds) -> Result<Option<Arc<dyn Operator>>> {
    let facts = draft.facts(&node.inputs)?;
    let outputs: Vec<&Fact> = node
        .outputs
        .iter()
        .map(|&value| draft.fact(value))
        .collect::<Result<_>>()?;
    if !facts
        .iter()
        .flatten()
        .chain(&outputs)
        .any(|fact| has_pixels(fact))
    {
        return Ok(None);
    }
    let Some(operator) = node.operator.channels_last(&facts) else {
        return Ok(None);
    };
    let mut turned: Vec<Option<Fact>> = Vec::with_capacity(facts.len());
    for (index, fact) in facts.iter().enumerate() {
        turned.push(match fact {
            Some(fact) if !node.operator.weights().contains(&index) => {
                Some(turned_fact(fact, bounds)?)
            }
            fact => fact.cloned(),
        });
    }
    let turned: Vec<Option<&Fact>> = turned.iter().map(Option::as_ref).collect();
    let made = infer(operator.as_ref(), &turned, bounds.limit);
    let fits = made.is_ok_and(|made| {
        made.len() == outputs.len()
            && made
                .iter()
                .zip(&outputs)
                .enumerate()
                .all(|(index, (made, output))| {
                    let still = node.operator.weight_gradients().contains(&index);
                    made.dtype == output.dtype
                        && match still {
                            true => made.shape == output.shape,
                            false => made.shape == turned_shape(&output.shape),
                        }
                })
    });
    Ok(fits.then_some(operator))
}

/// The fact of a value that is turned; constants are turned with it.
fn turned_fact(fact: &Fact, bounds: &Bounds) -> Result<Fact> {
    let rank = fact.shape.len();
    if rank < 3 {
        return Ok(fact.clone());
    }
    let made = Fact::new(fact.dtype, turned_shape(&fact.shape));
    if fact.value.is_none() {
        return Ok(made);
    }
    let turn = Transpose::to_channels_last(rank);
    let mut made = fold(&turn, &[Some(fact)], vec![made], &bounds.plan)?;
    Ok(made.remove(0))
}

/// The draft while its nodes are turned.
struct Rewrite<'d> {
    draft: &'d mut Draft,
    /// For a value with its channels first: the one with them last, and the other way round.
    last: HashMap<usize, usize>,
    first: HashMap<usize, usize>,
    /// Values that convolutions alone read as images.
    by_conv: Vec<bool>,
    /// Values that no turned node reads.
    by_plain: Vec<bool>,
}

impl<'d> Rewrite<'d> {
    fn new(draft: &'d mut Draft, layout: &Layout) -> Self {
        let mut by_conv = vec![true; draft.values.len()];
        let mut by_plain = vec![true; draft.values.len()];
        for (node, turned) in draft.nodes.iter().zip(&layout.turned) {
            let conv = operator::<Conv>(node).is_some_and(|conv| conv.options.groups == 1);
            // What the model turns itself may be turned back.
            let turn = operator::<Transpose>(node).is_some();
            if turn {
                by_conv[node.outputs[0]] = false;
            }
            for (index, &value) in node.inputs.iter().enumerate() {
                if let Some(value) = value {
                    by_conv[value] &= turned.is_none() || conv && index == 0;
                    by_plain[value] &= turned.is_none() && !turn;
                }
            }
        }
        Self {
            draft,
            last: HashMap::new(),
            first: HashMap::new(),
            by_conv,
            by_plain,
        }
    }

    /// Values that a turned node makes are known by their number of before; those are only made where they are read.
    fn run(mut self, layout: Layout, bounds: &Bounds) -> Result<()> {
        let nodes = std::mem::take(&mut self.draft.nodes);
        let mut count = 0;
        for (mut node, operator) in nodes.into_iter().zip(layout.turned) {
            let Some(operator) = operator else {
                for value in node.inputs.iter_mut().flatten() {
                    self.channels_first(*value)?;
                }
                self.draft.nodes.push(node);
                continue;
            };
            count += 1;
            let (reads, writes) = self.layouts(&node);
            let weights = node.operator.weights();
            for (index, input) in node.inputs.iter_mut().enumerate() {
                let stays = weights.contains(&index) || index == 0 && reads == ChannelsFirst;
                if let Some(value) = input.filter(|_| !stays) {
                    *input = Some(self.channels_last(value, bounds)?);
                }
            }
            if writes == ChannelsLast {
                let still = node.operator.weight_gradients();
                for (index, output) in node.outputs.iter_mut().enumerate() {
                    if !still.contains(&index) {
                        *output = self.turned_value(*output, bounds)?;
                    }
                }
            }
            node.operator = match edit::operator::<Conv>(&node) {
                Some(conv) if reads == ChannelsFirst => Arc::new(conv.clone().output(writes)),
                Some(conv) if writes == ChannelsFirst => {
                    let mut conv = conv.clone();
                    conv.options.layout = ChannelsLast;
                    Arc::new(conv.output(writes))
                }
                _ => operator,
            };
            self.draft.nodes.push(node);
        }
        for value in self.draft.outputs.clone() {
            self.channels_first(value)?;
        }
        self.draft.note("channels_last", format!("{count} nodes"));
        Ok(())
    }

    /// The layouts in which a turned node reads its first input and writes: a convolution may keep one of them.
    fn layouts(&self, node: &Node) -> (Memory, Memory) {
        let (Some(conv), Some(x)) = (operator::<Conv>(node), node.inputs[0]) else {
            return (ChannelsLast, ChannelsLast);
        };
        let y = node.outputs[0];
        let residual = node.inputs.get(3).is_some_and(Option::is_some);
        let as_it_is = !self.last.contains_key(&x) && self.by_conv[x] && conv.options.groups == 1;
        if as_it_is
            && self.draft.values[x]
                .fact
                .as_ref()
                .is_some_and(|fact| fact.value.is_none())
        {
            return (ChannelsFirst, ChannelsLast);
        }
        if self.by_plain[y] && !residual && conv.options.groups == 1 {
            return (ChannelsLast, ChannelsFirst);
        }
        (ChannelsLast, ChannelsLast)
    }

    /// The value that a turned node makes instead of `value`.
    fn turned_value(&mut self, value: usize, bounds: &Bounds) -> Result<usize> {
        let fact = self.draft.fact(value)?.clone();
        if !has_pixels(&fact) {
            return Ok(value);
        }
        let name = format!("{}:channels_last", self.draft.values[value].name);
        let turned = self.draft.value(name);
        self.draft.values[turned].fact = Some(turned_fact(&fact, bounds)?);
        self.draft.values[turned].turned = true;
        self.last.insert(value, turned);
        self.first.insert(turned, value);
        Ok(turned)
    }

    /// `value` with its channels last, turned here if it is not yet.
    fn channels_last(&mut self, value: usize, bounds: &Bounds) -> Result<usize> {
        if let Some(&turned) = self.last.get(&value) {
            return Ok(turned);
        }
        let turned = self.turned_value(value, bounds)?;
        if turned != value {
            // Both are there now.
            self.first.remove(&turned);
            let fact = self.draft.fact(turned)?;
            if fact.value.is_none() {
                let rank = fact.shape.len();
                self.turn(Transpose::to_channels_last(rank), value, turned);
            }
        }
        Ok(turned)
    }

    /// Makes `value` with its channels first, if it is there only with them last.
    fn channels_first(&mut self, value: usize) -> Result<()> {
        let Some(&turned) = self.last.get(&value) else {
            return Ok(());
        };
        if self.first.remove(&turned).is_some() {
            let rank = self.draft.fact(value)?.shape.len();
            self.turn(Transpose::to_channels_first(rank), turned, value);
        }
        Ok(())
    }

    fn turn(&mut self, turn: Transpose, from: usize, to: usize) {
        self.draft.nodes.push(Node {
            name: format!("{}:turn", self.draft.values[to].name),
            operator: Arc::new(turn),
            inputs: vec![Some(from)],
            outputs: vec![to],
        });
    }
}
