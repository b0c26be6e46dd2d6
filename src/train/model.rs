//! [`Model`]: a graph whose weights can change.
//!
//! ```text
//! parameter    a constant that a convolution, a product of matrices, a bias or a normalisation learns
//! statistic    mean and variance that a batch normalisation follows
//! graph()      the graph with what both are now: to run, to save, to export
//! ```

use std::any::Any;
use std::sync::Arc;

use ndarray::ArrayD;

use super::weights::{Target, Weights};
use crate::element::filled;
use crate::error::{Error, Result};
use crate::network::{
    BatchNormalization, Binary, Conv, ConvTranspose, DType, Gemm, Graph, GroupNormalization,
    InstanceNormalization, LayerNormalization, LocallyConnected, MatMul, Operator, Reshape, Tensor,
    Transpose, ValueId,
};

/// A tensor that gradients change.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub(super) value: ValueId,
    /// Its name in the graph.
    pub name: String,
    /// What it is now, f32.
    pub tensor: Tensor,
    /// Whether it stays as it is.
    pub frozen: bool,
}

/// The mean or the variance of a batch normalisation: it follows those of the batches.
#[derive(Clone, Debug)]
pub struct Statistic {
    pub(super) value: ValueId,
    /// Its name in the graph.
    pub name: String,
    /// What it is now, f32.
    pub tensor: Tensor,
}

/// See the file head.
#[derive(Clone, Debug)]
pub struct Model {
    graph: Graph,
    parameters: Vec<Parameter>,
    statistics: Vec<Statistic>,
}

/// `operator`, if it is a `T`.
pub(super) fn operator<T: Operator>(operator: &Arc<dyn Operator>) -> Option<&T> {
    (operator.as_ref() as &dyn Any).downcast_ref()
}

fn is<T: Operator>(node: &Arc<dyn Operator>) -> bool {
    operator::<T>(node).is_some()
}

/// The inputs of an operator that are learned where they are constants, and those that are statistics.
fn learned(node: &Arc<dyn Operator>) -> (&'static [usize], &'static [usize]) {
    if is::<BatchNormalization>(node) {
        return (&[1, 2], &[3, 4]);
    }
    let scaled = is::<InstanceNormalization>(node)
        || is::<GroupNormalization>(node)
        || is::<LayerNormalization>(node);
    let inputs: &'static [usize] = if scaled
        || is::<Conv>(node)
        || is::<ConvTranspose>(node)
        || is::<LocallyConnected>(node)
    {
        &[1, 2]
    } else if is::<Gemm>(node) {
        &[0, 1, 2]
    } else if is::<MatMul>(node) || operator(node) == Some(&Binary::Add) {
        // A bias is a sum of its own where a file has no convolution with one.
        &[0, 1]
    } else if operator(node) == Some(&Binary::PRelu) {
        &[1]
    } else {
        &[]
    };
    (inputs, &[])
}

impl Model {
    /// The constants of `graph` that can be learned, in the order in which it reads them.
    ///
    /// # Errors
    /// A graph that contradicts itself, or in which nothing can be learned.
    pub fn new(graph: Graph) -> Result<Self> {
        graph.check()?;
        let mut model = Self {
            graph,
            parameters: Vec::new(),
            statistics: Vec::new(),
        };
        for node in model.graph.nodes().to_vec() {
            let (parameters, statistics) = learned(&node.operator);
            let input = |index: usize| node.inputs.get(index).copied().flatten();
            for value in parameters.iter().filter_map(|&index| input(index)) {
                let known = |parameter: &Parameter| parameter.value;
                if let Some((value, tensor)) = model.constant(value)
                    && !model
                        .parameters
                        .iter()
                        .map(known)
                        .any(|known| known == value)
                {
                    let parameter = Parameter {
                        value,
                        name: model.graph.name(value).to_owned(),
                        tensor,
                        frozen: false,
                    };
                    model.parameters.push(parameter);
                }
            }
            for value in statistics.iter().filter_map(|&index| input(index)) {
                if let Some((value, tensor)) = model.constant(value) {
                    let name = model.graph.name(value).to_owned();
                    model.statistics.push(Statistic {
                        value,
                        name,
                        tensor,
                    });
                }
            }
        }
        if model.parameters.is_empty() {
            return Err(Error::Model {
                what: "there is nothing to learn: no weight of type f32 is constant".to_owned(),
            });
        }
        Ok(model)
    }

    /// The constant of type f32 that `value` is, or is a rearrangement of.
    fn constant(&self, value: ValueId) -> Option<(ValueId, Tensor)> {
        let mut value = value;
        loop {
            if let Some(tensor) = self.graph.constant_of(value) {
                let found = tensor.dtype() == DType::F32 && !tensor.is_empty();
                return found.then(|| (value, tensor.as_ref().clone()));
            }
            let made = |node: &&crate::network::Node| node.outputs.contains(&Some(value));
            let node = self.graph.nodes().iter().find(made)?;
            if !is::<Reshape>(&node.operator) && !is::<Transpose>(&node.operator) {
                return None;
            }
            value = node.inputs.first().copied().flatten()?;
        }
    }

    /// What is learned.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// What is learned, to be changed.
    pub(super) fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// Means and variances of batch normalisations, in pairs.
    pub fn statistics(&self) -> &[Statistic] {
        &self.statistics
    }

    pub(super) fn statistics_mut(&mut self) -> &mut [Statistic] {
        &mut self.statistics
    }

    /// The numbers that are learned.
    pub fn count(&self) -> usize {
        let lengths = self.parameters.iter();
        lengths.map(|parameter| parameter.tensor.len()).sum()
    }

    /// Parameters and statistics by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|parameter| (parameter.name.as_str(), &parameter.tensor));
        let statistics = self.statistics.iter();
        parameters.chain(statistics.map(|held| (held.name.as_str(), &held.tensor)))
    }

    /// Replaces a parameter or a statistic.
    ///
    /// # Errors
    /// No tensor has this name; another type or shape than it has.
    pub fn set(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        let parameters = self.parameters.iter_mut();
        let parameters = parameters.map(|parameter| (&parameter.name, &mut parameter.tensor));
        let statistics = self.statistics.iter_mut();
        let statistics = statistics.map(|held| (&held.name, &mut held.tensor));
        let mut all = parameters.chain(statistics);
        let Some((_, held)) = all.find(|(known, _)| *known == name) else {
            return Err(Error::Model {
                what: format!("nothing that is learned has the name {name:?}"),
            });
        };
        if (held.dtype(), held.shape()) != (tensor.dtype(), tensor.shape()) {
            return Err(Error::Model {
                what: format!(
                    "{name:?} is {} of shape {:?}, not {} of shape {:?}",
                    held.dtype().name(),
                    held.shape(),
                    tensor.dtype().name(),
                    tensor.shape()
                ),
            });
        }
        *held = tensor;
        Ok(())
    }

    /// Takes all parameters and statistics from a file.
    ///
    /// # Errors
    /// A file of another model, with all that differs.
    pub fn load(&mut self, weights: &Weights) -> Result<()> {
        let shapes: Vec<(String, Vec<usize>)> = (self.tensors())
            .map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec()))
            .collect();
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(shapes.len());
        for (_, tensor) in self.tensors() {
            values.push(filled(tensor.len(), 0.0)?);
        }
        let targets = shapes.iter().zip(&mut values);
        let mut targets: Vec<Target> = targets
            .map(|((name, shape), values)| Target {
                name,
                shape,
                values,
            })
            .collect();
        weights.load_into(&mut targets)?;
        for ((name, shape), values) in shapes.into_iter().zip(values) {
            let array = ArrayD::from_shape_vec(shape, values);
            let array = array.map_err(|_| Error::Overflow { what: "a weight" })?;
            self.set(&name, array.into())?;
        }
        Ok(())
    }

    /// Keeps the parameters whose names begin with `prefix` as they are; how many there are.
    ///
    /// # Errors
    /// No name begins like that.
    pub fn freeze(&mut self, prefix: &str) -> Result<usize> {
        let named = self.parameters.iter_mut();
        let mut count = 0;
        for parameter in named.filter(|parameter| parameter.name.starts_with(prefix)) {
            parameter.frozen = true;
            count += 1;
        }
        if count == 0 {
            let names: Vec<&str> = (self.parameters.iter())
                .map(|parameter| parameter.name.as_str())
                .collect();
            return Err(Error::Model {
                what: format!(
                    "no parameter's name begins with {prefix:?}; there are {}",
                    names.join(", ")
                ),
            });
        }
        Ok(count)
    }

    /// The graph as it was given, with the weights of then.
    pub(super) fn original(&self) -> &Graph {
        &self.graph
    }

    /// The graph with the parameters and statistics of now.
    pub fn graph(&self) -> Graph {
        let mut graph = self.graph.clone();
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|parameter| (parameter.value, &parameter.tensor));
        let statistics = self
            .statistics
            .iter()
            .map(|held| (held.value, &held.tensor));
        for (value, tensor) in parameters.chain(statistics) {
            graph.set_constant(value, tensor.clone());
        }
        graph
    }
}
