//! Gradients as nodes: how a loss changes with every value, computed by operators behind those of the graph.
//!
//! ```text
//! d v = ∂ loss / ∂ v                             d loss = 1
//! for each node, the last first, if the loss depends on it and it on what is asked for:
//!     operator.gradient:   nodes that make d inputs from d outputs, inputs and outputs
//! several nodes read v:    d v is the Sum of what each of them gives
//! ```
//!
//! So the way back is planned as the way there is: one arena, one layout, the same passes. (Linnainmaa 1970; as nodes of
//! the same graph: Theano, Bergstra et al. 2010.)

use std::sync::Arc;

use ndarray::Array1;

use super::draft::{Bounds, Draft, Node};
use super::graph::ValueId;
use super::operator::{Fact, Operator, Reduce, ReduceKind, Reshape, Variadic};
use super::tensor::{DType, Tensor};
use crate::error::{Error, Result};

/// A node whose gradient is asked for: what it reads and makes, and where the answer goes.
pub struct Backward<'d> {
    draft: &'d mut Draft,
    bounds: &'d Bounds,
    node: Node,
    d_outputs: Vec<Option<ValueId>>,
    wanted: Vec<bool>,
    given: Vec<(usize, ValueId)>,
}

impl Backward<'_> {
    /// Input `index`, which is there.
    ///
    /// # Errors
    /// It is not.
    pub fn input(&self, index: usize) -> Result<ValueId> {
        let input = self.node.inputs.get(index).copied().flatten();
        input.map(ValueId).ok_or_else(|| self.missing("input"))
    }

    /// What is known of input `index`; `None` where it is left out.
    pub fn input_fact(&self, index: usize) -> Option<&Fact> {
        let input = self.node.inputs.get(index).copied().flatten()?;
        self.draft.values[input].fact.as_ref()
    }

    /// Output `index`, which is there.
    ///
    /// # Errors
    /// It is not.
    pub fn output(&self, index: usize) -> Result<ValueId> {
        let output = self.node.outputs.get(index).copied();
        output.map(ValueId).ok_or_else(|| self.missing("output"))
    }

    /// What is known of output `index`.
    pub fn output_fact(&self, index: usize) -> Option<&Fact> {
        let output = *self.node.outputs.get(index)?;
        self.draft.values[output].fact.as_ref()
    }

    /// The gradient of the first output, which is there where [`Operator::gradient`] is called for operators of one
    /// differentiable output.
    ///
    /// # Errors
    /// The loss depends on another output only.
    pub fn d_output(&self) -> Result<ValueId> {
        self.d_output_of(0)
            .ok_or_else(|| self.missing("gradient of the output"))
    }

    /// The gradient of output `index`; `None` where the loss does not depend on it.
    pub fn d_output_of(&self, index: usize) -> Option<ValueId> {
        self.d_outputs.get(index).copied().flatten()
    }

    /// Whether the gradient of input `index` is asked for.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index) == Some(&true)
    }

    /// What is known of a value, of one that was just made for instance.
    ///
    /// # Errors
    /// Nothing.
    pub fn fact(&self, value: ValueId) -> Result<&Fact> {
        self.draft.fact(value.0)
    }

    /// A constant for the nodes to come.
    pub fn constant(&mut self, value: impl Into<Arc<Tensor>>) -> ValueId {
        let name = format!("{}:constant", self.node.name);
        ValueId(self.draft.constant(name, value.into()))
    }

    /// Adds a node and gives its first output.
    ///
    /// # Errors
    /// The operator does not take such inputs.
    pub fn node(&mut self, operator: impl Operator, inputs: &[ValueId]) -> Result<ValueId> {
        let outputs = self.nodes(operator, inputs)?;
        outputs
            .first()
            .copied()
            .ok_or_else(|| self.missing("output"))
    }

    /// Adds a node and gives its outputs.
    ///
    /// # Errors
    /// The operator does not take such inputs.
    pub fn nodes(&mut self, operator: impl Operator, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let name = format!("{}:{}", self.node.name, operator.name());
        let inputs = inputs.iter().map(|input| Some(input.0)).collect();
        let outputs = self
            .draft
            .append(name, Arc::new(operator), inputs, self.bounds)?;
        Ok(outputs.into_iter().map(ValueId).collect())
    }

    /// `value` summed over the axes along which `shape` was broadcast to its own; `value` itself where there are none.
    ///
    /// # Errors
    /// Shapes that do not broadcast.
    pub fn sum_to(&mut self, value: ValueId, shape: &[usize]) -> Result<ValueId> {
        let from = self.fact(value)?.shape.clone();
        if from == shape {
            return Ok(value);
        }
        let more = from.len().saturating_sub(shape.len());
        let spread = |&axis: &usize| axis < more || shape[axis - more] != from[axis];
        let axes: Array1<i64> = (0..from.len())
            .filter(spread)
            .filter_map(|axis| i64::try_from(axis).ok())
            .collect();
        let axes = self.constant(Tensor::from(axes.into_dyn()));
        let sum = self.node(Reduce::new(ReduceKind::Sum, true), &[value, axes])?;
        self.reshape(sum, shape)
    }

    /// `value` with another shape of as many elements; itself where it has that shape.
    ///
    /// # Errors
    /// Another number of elements.
    pub fn reshape(&mut self, value: ValueId, shape: &[usize]) -> Result<ValueId> {
        match self.fact(value)?.shape == shape {
            true => Ok(value),
            false => self.node(Reshape::to(shape), &[value]),
        }
    }

    /// Says that `gradient` is (a summand of) the gradient of input `index`. Dropped where nobody asked.
    ///
    /// # Errors
    /// It has another shape or type than the input.
    pub fn give(&mut self, index: usize, gradient: ValueId) -> Result<()> {
        if !self.wants(index) {
            return Ok(());
        }
        let (input, made) = (self.input(index)?, self.draft.fact(gradient.0)?);
        let fact = self.draft.fact(input.0)?;
        if (fact.dtype, &fact.shape) != (made.dtype, &made.shape) {
            return Err(Error::Operand {
                operand: "a gradient",
                expected: format!("{} of shape {:?}", fact.dtype.name(), fact.shape),
                got: format!("{} of shape {:?}", made.dtype.name(), made.shape),
            });
        }
        self.given.push((index, gradient));
        Ok(())
    }

    /// The error of an operator that cannot be differentiated.
    pub fn unsupported(&self) -> Error {
        Error::Unsupported {
            what: self.node.operator.name(),
            wanted: "a gradient, which it has none of",
        }
    }

    fn missing(&self, what: &str) -> Error {
        Error::Model {
            what: format!("{:?} has no such {what}", self.node.name),
        }
    }
}

/// Adds to `draft`, which is inferred, the nodes that make the gradients of `loss`, a number, in the values `of`;
/// these gradients.
pub(super) fn differentiate(
    draft: &mut Draft,
    loss: usize,
    of: &[usize],
    bounds: &Bounds,
) -> Result<Vec<usize>> {
    let fact = draft.fact(loss)?;
    let (dtype, shape) = (fact.dtype, fact.shape.clone());
    if !matches!(dtype, DType::F32 | DType::F64) || shape.iter().any(|&size| size != 1) {
        return Err(Error::Operand {
            operand: "the loss",
            expected: "one number of type f32 or f64".to_owned(),
            got: format!("{} of shape {shape:?}", dtype.name()),
        });
    }
    let forward = draft.nodes.clone();
    let depends = depends(draft, &forward, of);
    if !depends[loss] {
        return Err(independent(draft, loss));
    }
    let mut gradients = Gradients {
        given: vec![Vec::new(); draft.values.len()],
    };
    let one = draft.constant("d loss".to_owned(), Arc::new(one(dtype, &shape)?));
    gradients.given[loss].push(one);
    for node in forward.into_iter().rev() {
        let asked = |value: &Option<usize>| value.is_some_and(|value| depends[value]);
        let wanted: Vec<bool> = node.inputs.iter().map(asked).collect();
        if !wanted.contains(&true) {
            continue;
        }
        let mut d_outputs = Vec::with_capacity(node.outputs.len());
        for &output in &node.outputs {
            d_outputs.push(gradients.total(draft, output, bounds)?.map(ValueId));
        }
        if d_outputs.iter().all(Option::is_none) {
            continue;
        }
        let operator = node.operator.clone();
        let mut backward = Backward {
            draft,
            bounds,
            d_outputs,
            wanted,
            given: Vec::new(),
            node,
        };
        let done = operator.gradient(&mut backward);
        done.map_err(|source| match source {
            // It is a node of the gradient that failed, and says so.
            Error::Node { .. } => source,
            source => backward.node.fails(source),
        })?;
        let Backward { given, node, .. } = backward;
        for (index, gradient) in given {
            if let Some(input) = node.inputs[index] {
                gradients.given[input].push(gradient.0);
            }
        }
    }
    let total = |&value: &usize| match gradients.total(draft, value, bounds)? {
        Some(gradient) => Ok(gradient),
        None => Err(independent(draft, value)),
    };
    of.iter().map(total).collect()
}

/// The summands of the gradient of each value of the graph.
struct Gradients {
    given: Vec<Vec<usize>>,
}

impl Gradients {
    /// The gradient of `value`; `None` where the loss does not depend on it.
    fn total(&mut self, draft: &mut Draft, value: usize, bounds: &Bounds) -> Result<Option<usize>> {
        let summands = &mut self.given[value];
        if summands.len() > 1 {
            let name = format!("{}:gradient", draft.values[value].name);
            let inputs = summands.iter().copied().map(Some).collect();
            let sum = draft.append(name, Arc::new(Variadic::Sum), inputs, bounds)?;
            *summands = sum;
        }
        Ok(summands.first().copied())
    }
}

/// For each value whether it is one of `of`, or is computed from one.
fn depends(draft: &Draft, nodes: &[Node], of: &[usize]) -> Vec<bool> {
    let mut depends = vec![false; draft.values.len()];
    for &value in of {
        depends[value] = true;
    }
    for node in nodes {
        if node.inputs.iter().flatten().any(|&input| depends[input]) {
            for &output in &node.outputs {
                let fact = draft.values[output].fact.as_ref();
                depends[output] =
                    fact.is_some_and(|fact| matches!(fact.dtype, DType::F32 | DType::F64));
            }
        }
    }
    depends
}

fn independent(draft: &Draft, value: usize) -> Error {
    Error::Model {
        what: format!("the loss does not depend on {:?}", draft.values[value].name),
    }
}

fn one(dtype: DType, shape: &[usize]) -> Result<Tensor> {
    Ok(match dtype {
        DType::F64 => ndarray::ArrayD::<f64>::ones(shape).into(),
        _ => ndarray::ArrayD::<f32>::ones(shape).into(),
    })
}
