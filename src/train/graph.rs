//! The graph of a training step, made from that of a model.
//!
//! ```text
//! model                                       step
//! images ─► … ─► scores ─► softmax            images ─► … ─► scores ─┐
//!           weights constant                            classes ─────┴─► loss
//!           BatchNormalization                weights are inputs, unless frozen
//!           Dropout                           BatchNormTraining, DropoutTraining with a seed as input
//! ```

use std::sync::Arc;

use super::model::{Model, operator};
use crate::error::{Error, Result};
use crate::network::{
    BatchNormTraining, BatchNormalization, CrossEntropy, DType, Dim, Dropout, DropoutTraining,
    Graph, Node, Reshape, Softmax, SoftmaxKind, ValueId,
};

/// What an input of the graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Images,
    Classes,
    /// One number of type i64 that decides what is dropped.
    Seed,
    /// Of the parameters of the model.
    Parameter(usize),
}

/// See the file head.
#[derive(Debug)]
pub(super) struct Training {
    pub graph: Graph,
    /// For each input of the graph what it is.
    pub roles: Vec<Role>,
    pub loss: ValueId,
    /// The parameters that learn, in the order of the gradients.
    pub learning: Vec<usize>,
    /// For each pair of outputs behind loss and scores the pair of statistics that follows it.
    pub following: Vec<[usize; 2]>,
}

fn wrong(what: String) -> Error {
    Error::Model { what }
}

/// The scores that the first output of a graph is made of: what a last softmax reads.
pub fn scores(graph: &Graph) -> Result<ValueId> {
    let first = graph.outputs().first().copied();
    let output = first.ok_or_else(|| wrong("the model has no output".to_owned()))?;
    let mut at = output;
    loop {
        let made = |node: &&Node| node.outputs.first() == Some(&Some(at));
        let Some(node) = graph.nodes().iter().find(made) else {
            return Ok(output);
        };
        let Some(&Some(before)) = node.inputs.first() else {
            return Ok(output);
        };
        if operator(&node.operator).is_some_and(Reshape::is_identity) {
            at = before;
            continue;
        }
        let last = operator::<Softmax>(&node.operator);
        let is_softmax = last.is_some_and(|softmax| softmax.kind != SoftmaxKind::Hardmax);
        return Ok(if is_softmax { before } else { output });
    }
}

impl Training {
    pub fn new(model: &Model, loss: CrossEntropy) -> Result<Self> {
        let mut graph = model.original().clone();
        let scores = scores(&graph)?;
        let reached = reached(&graph, scores);
        let mut roles = Vec::new();
        for input in graph.inputs() {
            let parameter = |held: &super::Parameter| held.value == input.value;
            roles.push(match model.parameters().iter().position(parameter) {
                Some(index) => Some(Role::Parameter(index)),
                None if graph.constant_of(input.value).is_some() => None,
                None if input.dtype == DType::F32 && !roles.contains(&Some(Role::Images)) => {
                    Some(Role::Images)
                }
                None => {
                    return Err(wrong(format!(
                        "a model that learns takes one batch of images, this one needs {:?} too",
                        graph.name(input.value)
                    )));
                }
            });
        }
        if !roles.contains(&Some(Role::Images)) {
            return Err(wrong("the model takes no images".to_owned()));
        }
        // Files may fix the size of the batch.
        free_batch(&mut graph);
        // Inputs with defaults are constants here, parameters are inputs behind the others.
        let images = roles.iter().position(|role| *role == Some(Role::Images));
        graph.keep_inputs(|index| Some(index) == images);
        let mut made = Self {
            roles: vec![Role::Images],
            loss: scores,
            learning: Vec::new(),
            following: Vec::new(),
            graph,
        };
        made.give_parameters(model, &reached)?;
        made.train_nodes(model, &reached)?;
        let classes = made.graph.input("classes", DType::I64, None);
        made.roles.push(Role::Classes);
        let node = made.graph.node("loss", loss, &[scores, classes]);
        made.loss = node;
        let statistics = std::mem::take(&mut made.graph.outputs);
        made.graph.output(node);
        made.graph.output(scores);
        made.graph.outputs.extend(statistics);
        Ok(made)
    }

    /// Makes inputs of the parameters that learn, and constants of the others.
    fn give_parameters(&mut self, model: &Model, reached: &[bool]) -> Result<()> {
        for (index, parameter) in model.parameters().iter().enumerate() {
            let value = parameter.value;
            if parameter.frozen || !reached[value.0] {
                self.graph.set_constant(value, parameter.tensor.clone());
                continue;
            }
            let shape = parameter.tensor.shape().iter();
            let dims = shape.map(|&size| Dim::Size(size)).collect();
            self.graph.constants[value.0] = None;
            self.graph.give(value, DType::F32, Some(dims));
            self.roles.push(Role::Parameter(index));
            self.learning.push(index);
        }
        if self.learning.is_empty() {
            return Err(wrong("every parameter is frozen".to_owned()));
        }
        Ok(())
    }

    /// Puts operators that behave as in training in the place of those that do not.
    fn train_nodes(&mut self, model: &Model, reached: &[bool]) -> Result<()> {
        self.graph.outputs.clear();
        let mut seed = None;
        for index in 0..self.graph.nodes.len() {
            let node = &self.graph.nodes[index];
            if !node.outputs.iter().flatten().any(|value| reached[value.0]) {
                continue;
            }
            if let Some(epsilon) = operator(&node.operator).and_then(BatchNormalization::fixed) {
                self.train_batch_norm(model, index, epsilon);
            } else if operator::<Dropout>(&node.operator).is_some() {
                let ratio = match node.inputs.get(1).copied().flatten() {
                    Some(ratio) => self.constant_number(ratio),
                    None => Some(0.5),
                };
                let ratio = ratio.ok_or_else(|| {
                    wrong(format!("the ratio of {:?} is not constant", node.name))
                })?;
                let seed = *seed.get_or_insert_with(|| {
                    self.roles.push(Role::Seed);
                    self.graph.input("seed", DType::I64, Some(vec![]))
                });
                let node = &mut self.graph.nodes[index];
                node.inputs.truncate(1);
                node.inputs.push(Some(seed));
                node.outputs.truncate(1);
                // Layers drop by numbers of their own.
                node.operator = Arc::new(DropoutTraining::new(ratio, index as u64));
            }
        }
        Ok(())
    }

    /// The batch normalisation of node `index` takes mean and variance from the batch, unless what it learns is
    /// frozen.
    fn train_batch_norm(&mut self, model: &Model, index: usize, epsilon: f64) {
        let node = &mut self.graph.nodes[index];
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let statistic = |index: usize| {
            let value = input(index)?;
            let mut held = model.statistics().iter();
            held.position(|statistic| statistic.value == value)
        };
        let (Some(mean), Some(variance)) = (statistic(3), statistic(4)) else {
            return;
        };
        let learns = |index: usize| {
            let mut parameters = self.learning.iter();
            let value = input(index);
            parameters.any(|&known| Some(model.parameters()[known].value) == value)
        };
        if !learns(1) && !learns(2) {
            return;
        }
        node.inputs.truncate(3);
        node.outputs.truncate(1);
        node.operator = Arc::new(BatchNormTraining::new(epsilon as f32));
        let name = node.name.clone();
        for what in ["mean", "variance"] {
            let value = self.graph.value(format!("{name}:batch {what}"));
            self.graph.nodes[index].outputs.push(Some(value));
            self.graph.output(value);
        }
        self.following.push([mean, variance]);
    }

    /// The one number that a constant is.
    fn constant_number(&self, value: ValueId) -> Option<f64> {
        let tensor = self.graph.constant_of(value)?;
        match tensor.as_ref() {
            crate::network::Tensor::F32(array) => array.first().map(|&ratio| ratio.into()),
            crate::network::Tensor::F64(array) => array.first().copied(),
            _ => None,
        }
    }
}

/// The name of the one input that a graph must be given: images.
///
/// # Errors
/// None, or several.
pub fn images_input(graph: &Graph) -> Result<String> {
    let mut wanted = graph
        .inputs()
        .iter()
        .filter(|input| graph.constant_of(input.value).is_none());
    match (wanted.next(), wanted.next()) {
        (Some(images), None) => Ok(graph.name(images.value).to_owned()),
        (None, _) => Err(wrong("the model takes no images".to_owned())),
        (Some(_), Some(other)) => Err(wrong(format!(
            "a model that learns takes one batch of images, this one needs {:?} too",
            graph.name(other.value)
        ))),
    }
}

/// Makes the first axis of every input that must be given free: files may fix the size of the batch.
pub fn free_batch(graph: &mut Graph) {
    for input in &mut graph.inputs {
        if let Some([batch @ Dim::Size(_), ..]) = input.dims.as_deref_mut()
            && graph.constants[input.value.0].is_none()
        {
            *batch = Dim::Free("N".to_owned());
        }
    }
}

/// For each value whether `output` is computed from it.
fn reached(graph: &Graph, output: ValueId) -> Vec<bool> {
    let mut reached = vec![false; graph.names.len()];
    reached[output.0] = true;
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().flatten().any(|value| reached[value.0]) {
            for value in node.inputs.iter().flatten() {
                reached[value.0] = true;
            }
        }
    }
    reached
}
