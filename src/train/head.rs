//! Another last layer, for other classes: what is learned from many pictures serves for few.
//!
//! ```text
//! … ─► features ─► Gemm, MatMul (+ Add) or Conv ─► (pool, flatten, …) ─► scores [N, classes] ─► (softmax)
//!                  drawn anew for other classes
//! ```

use std::sync::Arc;

use fastrand::Rng;
use ndarray::{Array1, ArrayD, IxDyn};

use super::graph::scores;
use super::initialise::Initialiser;
use super::model::operator;
use crate::element::filled;
use crate::error::{Error, Result, product};
use crate::network::{
    Binary, Clip, Conv, Dropout, Gemm, Graph, MatMul, Node, Pool, Reshape, Softmax, Tensor, Unary,
    ValueId,
};

/// `graph` with a last layer of so many `classes`, whose weights are drawn from `seed` as PyTorch does it, and whose
/// bias begins at 0.
///
/// # Errors
/// No such layer is found behind the scores.
pub fn replace_head(graph: &Graph, classes: usize, seed: u64) -> Result<Graph> {
    let mut head = Head {
        graph: graph.clone(),
        classes,
        random: Rng::with_seed(seed),
        biases: Vec::new(),
        shapes: Vec::new(),
    };
    let mut at = scores(graph)?;
    loop {
        let made = |node: &&Node| node.outputs.first() == Some(&Some(at));
        let node = graph.nodes().iter().find(made);
        let node = node.ok_or_else(|| unknown(graph.name(at), "nothing makes it"))?;
        match head.behind(node)? {
            Some(before) => at = before,
            None => return Ok(head.graph),
        }
    }
}

/// Lets the scores of `graph`, `[N, classes, 1, …]`, be `[N, classes]`: some networks end in a pooling.
///
/// # Errors
/// A graph without outputs.
pub fn flatten_scores(graph: &mut Graph) -> Result<()> {
    let scores = scores(graph)?;
    let flat = graph.value(format!("{}:flat", graph.name(scores)));
    let made = |node: &Node| node.outputs.contains(&Some(scores));
    let behind = graph
        .nodes
        .iter()
        .position(made)
        .map_or(0, |maker| maker + 1);
    // A softmax, or what only copies, takes either shape; other readers keep theirs.
    let takes = |node: &Node| {
        operator::<Softmax>(&node.operator).is_some()
            || operator::<Reshape>(&node.operator).is_some_and(Reshape::is_identity)
    };
    for node in graph.nodes[behind..].iter_mut().filter(|node| takes(node)) {
        for input in node
            .inputs
            .iter_mut()
            .filter(|input| **input == Some(scores))
        {
            *input = Some(flat);
        }
    }
    for output in &mut graph.outputs {
        if *output == scores {
            *output = flat;
        }
    }
    let node = Node {
        name: graph.name(flat).to_owned(),
        operator: Arc::new(Reshape::flatten(1)),
        inputs: vec![Some(scores)],
        outputs: vec![Some(flat)],
    };
    graph.nodes.insert(behind, node);
    Ok(())
}

fn unknown(name: &str, why: &str) -> Error {
    Error::Model {
        what: format!("no layer is found whose outputs are the classes: at {name:?}, {why}"),
    }
}

struct Head {
    graph: Graph,
    classes: usize,
    random: Rng,
    /// Constants that were added behind the layer.
    biases: Vec<ValueId>,
    /// Constants that may say the number of classes.
    shapes: Vec<ValueId>,
}

impl Head {
    /// Replaces the weights of `node` if it is the layer (`None`), or tells what it reads.
    fn behind(&mut self, node: &Node) -> Result<Option<ValueId>> {
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let constant =
            |value: Option<ValueId>| value.filter(|&value| self.graph.constant_of(value).is_some());
        let refused = |why: &str| Err(unknown(&node.name, why));
        if let Some(gemm) = operator::<Gemm>(&node.operator) {
            let Some(weight) = constant(input(1)) else {
                return refused("its weight is no constant");
            };
            let bias = constant(input(2));
            self.weight(weight, usize::from(!gemm.transpose_b))?;
            self.zeros(bias.into_iter().collect())?;
            return Ok(None);
        }
        if operator::<MatMul>(&node.operator).is_some() {
            let Some(weight) = constant(input(1)) else {
                return refused("its weight is no constant");
            };
            let last = self.shape(weight).len().saturating_sub(1);
            self.weight(weight, last)?;
            self.zeros(Vec::new())?;
            return Ok(None);
        }
        if let Some(conv) = operator::<Conv>(&node.operator) {
            let Some(weight) = constant(input(1)).filter(|_| conv.options.groups == 1) else {
                return refused("it has groups, or its weight is no constant");
            };
            let bias = constant(input(2));
            self.weight(weight, 0)?;
            self.zeros(bias.into_iter().collect())?;
            return Ok(None);
        }
        if operator(&node.operator) == Some(&Binary::Add) {
            let sides = [(input(0), input(1)), (input(1), input(0))];
            let mut found = sides
                .into_iter()
                .filter_map(|(bias, other)| Some((constant(bias)?, other?)));
            return match found.next() {
                Some((bias, other)) => {
                    self.biases.push(bias);
                    Ok(Some(other))
                }
                None => refused("it adds two things that are computed"),
            };
        }
        let passes = operator::<Pool>(&node.operator).is_some()
            || operator::<Unary>(&node.operator).is_some()
            || operator::<Clip>(&node.operator).is_some()
            || operator::<Dropout>(&node.operator).is_some()
            || operator::<Reshape>(&node.operator).is_some();
        if !passes {
            return refused(&format!("{} stands there", node.operator.name()));
        }
        if operator::<Reshape>(&node.operator).is_some() {
            self.shapes.extend(constant(input(1)));
        }
        match input(0) {
            Some(before) => Ok(Some(before)),
            None => refused("it reads nothing"),
        }
    }

    fn shape(&self, value: ValueId) -> Vec<usize> {
        let tensor = self.graph.constant_of(value);
        tensor.map_or(Vec::new(), |tensor| tensor.shape().to_vec())
    }

    /// New weights, whose outputs are counted along `axis`.
    fn weight(&mut self, value: ValueId, axis: usize) -> Result<()> {
        let mut shape = self.shape(value);
        let Some(outputs) = shape.get_mut(axis) else {
            return Err(unknown(self.graph.name(value), "it is no matrix"));
        };
        let before = std::mem::replace(outputs, self.classes);
        // Drawn as [outputs, inputs, …], whatever the order they lie in.
        let mut order = shape.clone();
        order.swap(0, axis);
        let mut values = filled(product("a weight", &shape)?, 0.0f32)?;
        Initialiser::PyTorch.fill(&mut values, &order, &mut self.random)?;
        let drawn = ArrayD::from_shape_vec(IxDyn(&shape), values);
        let drawn = drawn.map_err(|_| Error::Overflow { what: "a weight" })?;
        self.graph.set_constant(value, Tensor::from(drawn));
        self.resize_shapes(before);
        Ok(())
    }

    /// Shapes behind the layer that end in the number of classes of before end in the new one.
    fn resize_shapes(&mut self, before: usize) {
        for value in std::mem::take(&mut self.shapes) {
            let sizes = self
                .graph
                .constant_of(value)
                .and_then(|shape| shape.integers());
            let Some(mut sizes) = sizes else { continue };
            if let Some(last) = sizes.last_mut()
                && usize::try_from(*last) == Ok(before)
            {
                *last = i64::try_from(self.classes).unwrap_or(i64::MAX);
                let sizes = Array1::from(sizes).into_dyn();
                self.graph
                    .set_constant(value, Arc::new(Tensor::from(sizes)));
            }
        }
    }

    /// Biases of the layer, these and those that were added behind it, begin at 0.
    fn zeros(&mut self, mut biases: Vec<ValueId>) -> Result<()> {
        biases.append(&mut self.biases);
        for bias in biases {
            let zeros = filled(self.classes, 0.0f32)?;
            let zeros = Tensor::from(Array1::from(zeros).into_dyn());
            self.graph.set_constant(bias, zeros);
        }
        Ok(())
    }
}
