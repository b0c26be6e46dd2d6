//! What planning works on: the nodes of a graph, the facts known of its values, and what the passes changed.
//!
//! ```text
//! without sizes   facts of constants only: what depends on nothing else is computed once for all sessions
//! infer           for each node in order:  facts = infer(facts of its inputs)
//!                                          all inputs constant and the result small?  run it now
//!                                          else keep it
//! ```
//!
//! So arithmetic on shapes vanishes. Where an input whose elements decide shapes is not constant, the inputs of
//! the graph that it comes from are named: the caller plans again with their elements known.

use std::sync::Arc;

use super::graph::Graph;
use super::operator::{Fact, Facts, Operator};
use super::tensor::{Tensor, View, ViewMut};
use crate::element::filled;
use crate::error::{Error, Result, product, sum};
use crate::plan::PlanOptions;

/// Most axes of a value.
const MOST_AXES: usize = 64;

/// Bytes that a node run at planning may make; beyond it, four times what it reads.
const FOLDED: usize = 64 << 20;

/// A value with its name.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub name: String,
    /// Unknown until it is inferred, and for optional outputs.
    pub fact: Option<Fact>,
    /// Whether it lies with its channels last, against the model.
    pub turned: bool,
}

/// A node between values, which are counted as in the graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub name: String,
    pub operator: Arc<dyn Operator>,
    pub inputs: Vec<Option<usize>>,
    /// One for everything that `infer` tells of.
    pub outputs: Vec<usize>,
}

/// Something that a pass did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pass.
    pub pass: &'static str,
    /// The node, and what became of it.
    pub what: String,
}

/// See the file head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub values: Vec<Value>,
    pub nodes: Vec<Node>,
    /// The values that are given, in the order of the graph's inputs.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    pub changes: Vec<Change>,
    /// Bytes of what was constant and computed.
    folded_bytes: usize,
}

/// What planning ends with.
pub(crate) enum Inferred {
    Draft(Draft),
    /// Inputs of the graph whose elements must be known.
    Wanted(Vec<usize>),
}

/// How planning computes what is constant.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub plan: PlanOptions,
    /// Most bytes of a value.
    pub limit: usize,
    /// Whether the passes may change how something is computed.
    pub rewrite: bool,
}

impl Graph {
    /// What is known of every value where `inputs` is known of the graph's inputs; nothing is rewritten.
    #[cfg(feature = "onnx")]
    pub(crate) fn facts(&self, inputs: &[Fact], limit: usize) -> Result<Vec<Option<Fact>>> {
        let bounds = Bounds {
            plan: PlanOptions::default(),
            limit,
            rewrite: false,
        };
        match Draft::new(self, |_| true).infer(inputs, &bounds)? {
            Inferred::Draft(draft) => {
                let values = draft.values.into_iter().take(self.names.len());
                Ok(values.map(|value| value.fact).collect())
            }
            Inferred::Wanted(_) => Err(Error::Model {
                what: "elements of inputs decide shapes".to_owned(),
            }),
        }
    }
}

impl Draft {
    /// The nodes of `graph`. An input with a default is a constant unless it is `given`.
    pub fn new(graph: &Graph, given: impl Fn(usize) -> bool) -> Self {
        let mut draft = Self {
            values: (graph.names.iter().zip(&graph.constants))
                .map(|(name, constant)| Value {
                    name: name.clone(),
                    fact: constant.clone().map(Fact::constant),
                    turned: false,
                })
                .collect(),
            nodes: Vec::with_capacity(graph.nodes.len()),
            inputs: graph.inputs.iter().map(|input| input.value.0).collect(),
            outputs: graph.outputs.iter().map(|output| output.0).collect(),
            changes: Vec::new(),
            folded_bytes: 0,
        };
        for (index, &value) in draft.inputs.iter().enumerate() {
            if given(index) {
                draft.values[value].fact = None;
            }
        }
        for node in &graph.nodes {
            let outputs = node.outputs.iter().enumerate();
            let outputs = outputs
                .map(|(index, output)| match output {
                    Some(value) => value.0,
                    None => draft.value(format!("{}:{index}", node.name)),
                })
                .collect();
            draft.nodes.push(Node {
                name: node.name.clone(),
                operator: node.operator.clone(),
                inputs: node
                    .inputs
                    .iter()
                    .map(|input| input.map(|value| value.0))
                    .collect(),
                outputs,
            });
        }
        draft
    }

    /// Computes what depends on constants alone.
    pub fn fold(&mut self, bounds: &Bounds) -> Result<()> {
        for node in std::mem::take(&mut self.nodes) {
            let known =
                |input: &Option<usize>| input.is_none_or(|value| self.values[value].fact.is_some());
            if node.inputs.iter().all(known) {
                self.infer_node(node, bounds)?;
            } else {
                self.nodes.push(node);
            }
        }
        // What is known of values that remain to be computed was not meant to be.
        for node in &self.nodes {
            for &output in &node.outputs {
                self.values[output].fact = None;
            }
        }
        Ok(())
    }

    /// The same for `inputs`, the facts of the graph's inputs.
    pub fn infer(&self, inputs: &[Fact], bounds: &Bounds) -> Result<Inferred> {
        let mut draft = Self {
            nodes: Vec::with_capacity(self.nodes.len()),
            ..self.clone()
        };
        for (&value, fact) in draft.inputs.iter().zip(inputs) {
            draft.values[value].fact = Some(fact.clone());
        }
        for node in &self.nodes {
            if let Some(value) = draft.unknown(node) {
                let wanted = draft.sources(value);
                if !wanted.is_empty() {
                    return Ok(Inferred::Wanted(wanted));
                }
                return Err(node.fails(Error::Operand {
                    operand: "an input that decides shapes",
                    expected: "known before the run".to_owned(),
                    got: format!("{:?}, which is computed", draft.values[value].name),
                }));
            }
            draft.infer_node(node.clone(), bounds)?;
        }
        Ok(Inferred::Draft(draft))
    }

    /// Infers a node, computes it if it is constant, and keeps it otherwise.
    fn infer_node(&mut self, mut node: Node, bounds: &Bounds) -> Result<()> {
        let facts = self
            .facts(&node.inputs)
            .map_err(|error| node.fails(error))?;
        let made = infer(node.operator.as_ref(), &facts, bounds.limit)
            .and_then(|made| fold(node.operator.as_ref(), &facts, made, &bounds.plan))
            .map_err(|error| node.fails(error))?;
        if made.len() < node.outputs.len() {
            return Err(node.fails(Error::Model {
                what: format!(
                    "{} outputs are wanted, there are {}",
                    node.outputs.len(),
                    made.len()
                ),
            }));
        }
        for index in node.outputs.len()..made.len() {
            node.outputs
                .push(self.value(format!("{}:{index}", node.name)));
        }
        let constant = made.iter().all(|fact| fact.value.is_some());
        for (&value, fact) in node.outputs.iter().zip(made) {
            self.values[value].fact = Some(fact);
        }
        if constant {
            self.count_folded(&node, bounds)?;
            self.changes.push(Change {
                pass: "fold",
                what: format!("{} ({})", node.name, node.operator.name()),
            });
        } else {
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Adds a node; what it makes.
    pub fn append(
        &mut self,
        name: String,
        operator: Arc<dyn Operator>,
        inputs: Vec<Option<usize>>,
        bounds: &Bounds,
    ) -> Result<Vec<usize>> {
        let first = self.values.len();
        let node = Node {
            name,
            operator,
            inputs,
            outputs: Vec::new(),
        };
        self.infer_node(node, bounds)?;
        Ok((first..self.values.len()).collect())
    }

    /// Many small constants may be too much together.
    fn count_folded(&mut self, node: &Node, bounds: &Bounds) -> Result<()> {
        for &value in &node.outputs {
            let more = bytes(self.fact(value)?)?;
            self.folded_bytes = sum("constants", &[self.folded_bytes, more])?;
        }
        if self.folded_bytes > bounds.limit {
            return Err(node.fails(Error::MemoryBudget {
                needed: self.folded_bytes,
                budget: bounds.limit,
            }));
        }
        Ok(())
    }

    /// A new value.
    pub fn value(&mut self, name: String) -> usize {
        self.values.push(Value {
            name,
            fact: None,
            turned: false,
        });
        self.values.len() - 1
    }

    /// A new constant.
    pub fn constant(&mut self, name: String, tensor: Arc<Tensor>) -> usize {
        let value = self.value(name);
        self.values[value].fact = Some(Fact::constant(tensor));
        value
    }

    /// What is known of a value that is inferred.
    pub fn fact(&self, value: usize) -> Result<&Fact> {
        self.values[value]
            .fact
            .as_ref()
            .ok_or_else(|| Error::Model {
                what: format!(
                    "{:?} is used before it is made, or is not made at all",
                    self.values[value].name
                ),
            })
    }

    /// The facts of the inputs of a node.
    pub fn facts(&self, inputs: &[Option<usize>]) -> Result<Vec<Option<&Fact>>> {
        inputs
            .iter()
            .map(|input| input.map(|value| self.fact(value)).transpose())
            .collect()
    }

    /// An input of `node` that decides shapes and whose elements are unknown.
    fn unknown(&self, node: &Node) -> Option<usize> {
        let deciding = node.operator.shape_inputs().iter();
        let mut values = deciding.filter_map(|&index| node.inputs.get(index).copied().flatten());
        values.find(|&value| {
            let fact = self.values[value].fact.as_ref();
            fact.is_some_and(|fact| fact.value.is_none())
        })
    }

    /// The inputs of the graph, by number, that `value` is computed from and whose elements are unknown.
    fn sources(&self, value: usize) -> Vec<usize> {
        let mut seen = vec![false; self.values.len()];
        seen[value] = true;
        for node in self.nodes.iter().rev() {
            if node.outputs.iter().any(|&output| seen[output]) {
                for &input in node.inputs.iter().flatten() {
                    seen[input] = true;
                }
            }
        }
        let unknown = |value: usize| {
            let fact = self.values[value].fact.as_ref();
            seen[value] && fact.is_some_and(|fact| fact.value.is_none())
        };
        (0..self.inputs.len())
            .filter(|&index| unknown(self.inputs[index]))
            .collect()
    }
}

impl Node {
    /// `source` at this node.
    pub fn fails(&self, source: Error) -> Error {
        Error::Node {
            node: self.name.clone(),
            operator: self.operator.name().to_owned(),
            source: Box::new(source),
        }
    }
}

/// What comes out of an operator, within bounds.
pub(crate) fn infer(operator: &dyn Operator, facts: &Facts, limit: usize) -> Result<Vec<Fact>> {
    let made = operator.infer(facts)?;
    for fact in &made {
        if fact.shape.len() > MOST_AXES {
            return Err(Error::Rank {
                what: "an output",
                expected: MOST_AXES,
                got: fact.shape.len(),
            });
        }
        let needed = bytes(fact)?;
        if needed > limit {
            return Err(Error::MemoryBudget {
                needed,
                budget: limit,
            });
        }
    }
    Ok(made)
}

/// Bytes of a value.
pub(crate) fn bytes(fact: &Fact) -> Result<usize> {
    product("a value", &[fact.dtype.bytes()])?;
    let len = product("a value", &fact.shape)?;
    product("a value", &[len, fact.dtype.bytes()])
}

/// `made` with values, where every input is constant and the result is not too large.
pub(crate) fn fold(
    operator: &dyn Operator,
    facts: &Facts,
    mut made: Vec<Fact>,
    options: &PlanOptions,
) -> Result<Vec<Fact>> {
    if made.iter().all(|fact| fact.value.is_some()) {
        return Ok(made);
    }
    let Some(values) = constants(facts) else {
        return Ok(made);
    };
    let read = sum(
        "folded inputs",
        &facts
            .iter()
            .flatten()
            .map(|fact| bytes(fact))
            .collect::<Result<Vec<_>>>()?,
    )?;
    let written = sum(
        "folded outputs",
        &made.iter().map(bytes).collect::<Result<Vec<_>>>()?,
    )?;
    if written > FOLDED.max(read.saturating_mul(4)) {
        return Ok(made);
    }
    let step = operator.step(facts, options)?;
    let mut results = made
        .iter()
        .map(|fact| Tensor::zeros(fact.dtype, &fact.shape))
        .collect::<Result<Vec<_>>>()?;
    let mut scratch = filled(step.scratch_len(), 0.0f32)?;
    let inputs: Vec<Option<View>> = values
        .iter()
        .map(|value| value.as_ref().map(|tensor| tensor.view()))
        .collect();
    {
        let mut outputs: Vec<ViewMut> = results.iter_mut().map(Tensor::view_mut).collect();
        step.run(&inputs, &mut outputs, &mut scratch)?;
    }
    for (fact, result) in made.iter_mut().zip(results) {
        fact.value = Some(Arc::new(result));
    }
    Ok(made)
}

/// The values of all inputs, where they are constant.
fn constants(facts: &Facts) -> Option<Vec<Option<Arc<Tensor>>>> {
    facts
        .iter()
        .map(|fact| match fact {
            None => Some(None),
            Some(fact) => fact.value.clone().map(Some),
        })
        .collect()
}
