//! Architectures, written as they are read.
//!
//! ```text
//! Sequential::new()
//!     .then(conv(16, 3).padding(1)).then(relu())
//!     .then(Residual::new(Sequential::new().then(conv(16, 3).padding(1)).then(relu())))
//!     .then(flatten()).then(linear(10))
//!     .graph(&[1, 28, 28], seed)
//! ```
//!
//! A [`Layer`] adds nodes behind a value of a graph that is being [built](Build); shapes are known while it is, so that
//! a layer is told only what comes out of it. Weights are drawn from one seed, in the order of the layers.

mod blocks;
mod conv;
mod simple;

use std::collections::HashMap;

use fastrand::Rng;
use ndarray::{ArrayD, IxDyn};

pub use self::blocks::{Parallel, Residual, separable};
pub use self::conv::{
    ConvLayer, TransposedLayer, conv, conv_transpose, depthwise, locally_connected,
};
pub use self::simple::{
    BatchNorm, DropoutLayer, Linear, Plain, activation, average_pool, batch_norm, dropout, flatten,
    global_average, linear, max_pool, relu, softmax,
};
use super::initialise::Initialiser;
use crate::error::{Error, Result, product};
use crate::network::{DType, Dim, Fact, Graph, Operator, Reshape, Tensor, ValueId};

/// A part of an architecture.
pub trait Layer {
    /// Adds it behind `x`; what comes out.
    ///
    /// # Errors
    /// `x` has a shape that it does not take.
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId>;
}

/// A graph while layers are added to it.
#[derive(Debug)]
pub struct Build {
    graph: Graph,
    /// For a batch of one.
    shapes: HashMap<ValueId, Vec<usize>>,
    /// How many layers have had each name.
    named: HashMap<String, usize>,
    random: Rng,
}

impl Build {
    /// The shape of a value for a batch of one, `[1, C, …]`.
    ///
    /// # Errors
    /// A value of another graph.
    pub fn shape(&self, value: ValueId) -> Result<&[usize]> {
        let shape = self.shapes.get(&value);
        shape.map(Vec::as_slice).ok_or_else(|| Error::Model {
            what: format!(
                "the value {:?} is not of this graph",
                self.graph.name(value)
            ),
        })
    }

    /// The channels of a value.
    ///
    /// # Errors
    /// A value without channels.
    pub fn channels(&self, value: ValueId) -> Result<usize> {
        match self.shape(value)? {
            [_, channels, ..] => Ok(*channels),
            shape => Err(Error::Rank {
                what: "the input of a layer",
                expected: 2,
                got: shape.len(),
            }),
        }
    }

    /// A name for a layer: `conv1`, `conv2`, ….
    pub fn name(&mut self, kind: &str) -> String {
        let count = self.named.entry(kind.to_owned()).or_insert(0);
        *count += 1;
        format!("{kind}{count}")
    }

    /// A constant of f32 that is drawn.
    ///
    /// # Errors
    /// A shape that the initialiser does not take, or that does not fit in memory.
    pub fn weight(&mut self, name: String, shape: &[usize], from: Initialiser) -> Result<ValueId> {
        self.weight_like(name, shape, shape, from)
    }

    /// A constant of f32 that is drawn as one of another shape of as many elements is, `[outputs, inputs, taps…]`.
    fn weight_like(
        &mut self,
        name: String,
        shape: &[usize],
        drawn: &[usize],
        from: Initialiser,
    ) -> Result<ValueId> {
        let mut values = crate::element::filled(product("a weight", shape)?, 0.0f32)?;
        from.fill(&mut values, drawn, &mut self.random)?;
        let array = ArrayD::from_shape_vec(IxDyn(shape), values);
        let array = array.map_err(|_| Error::Overflow { what: "a weight" })?;
        let value = self.graph.constant(name, Tensor::from(array));
        self.shapes.insert(value, shape.to_vec());
        Ok(value)
    }

    /// A constant of f32 of one value.
    ///
    /// # Errors
    /// It does not fit in memory.
    pub fn filled(&mut self, name: String, len: usize, value: f32) -> Result<ValueId> {
        self.weight(name, &[len], Initialiser::Constant(value))
    }

    /// An operator of one output.
    ///
    /// # Errors
    /// Inputs that it does not take.
    pub fn node(
        &mut self,
        name: impl Into<String>,
        operator: impl Operator,
        inputs: &[ValueId],
    ) -> Result<ValueId> {
        let name = name.into();
        let mut facts = Vec::with_capacity(inputs.len());
        for &input in inputs {
            facts.push(match self.graph.constant_of(input) {
                Some(constant) => Fact::constant(constant.clone()),
                None => Fact::new(DType::F32, self.shape(input)?),
            });
        }
        let facts: Vec<Option<&Fact>> = facts.iter().map(Some).collect();
        let made = operator.infer(&facts).map_err(|source| Error::Node {
            node: name.clone(),
            operator: operator.name().to_owned(),
            source: Box::new(source),
        })?;
        let value = self.graph.node(name, operator, inputs);
        if let Some(made) = made.into_iter().next() {
            self.shapes.insert(value, made.shape);
        }
        Ok(value)
    }
}

/// Layers one behind the other.
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Layer>>,
}

impl Sequential {
    /// No layers.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more layer.
    pub fn then(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// The graph for images of the shape `input`, `[C, …]`, of any number at a time, with weights drawn from `seed`.
    /// The input is called `image`, the output `scores`.
    ///
    /// # Errors
    /// Layers that do not fit, each with its name and the numbers.
    pub fn graph(&self, input: &[usize], seed: u64) -> Result<Graph> {
        let mut build = Build {
            graph: Graph::new(),
            shapes: HashMap::new(),
            named: HashMap::new(),
            random: Rng::with_seed(seed),
        };
        let dims = [Dim::Free("N".to_owned())].into_iter();
        let dims = dims.chain(input.iter().map(|&size| Dim::Size(size)));
        let x = build.graph.input("image", DType::F32, Some(dims.collect()));
        build.shapes.insert(x, [&[1], input].concat());
        let made = self.add(&mut build, x)?;
        let scores = build.node("scores", Reshape::identity(), &[made])?;
        build.graph.output(scores);
        Ok(build.graph)
    }
}

impl Layer for Sequential {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        (self.layers.iter()).try_fold(x, |value, layer| layer.add(build, value))
    }
}
