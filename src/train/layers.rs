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

use std::collections::HashMap;

use fastrand::Rng;
use ndarray::{ArrayD, IxDyn};

use super::initialise::{Fan, Gain, Initialiser};
use crate::error::{Error, Result, product};
use crate::geometry::{ConvOptions, Padding, PerAxis, PoolOptions, TransposedOptions};
use crate::network::{
    BatchNormalization, Binary, Concat, Conv, ConvTranspose, DType, Dim, Dropout, Fact, Gemm,
    Graph, LocallyConnected, Operator, Pool, Reshape, Softmax, SoftmaxKind, Tensor, Unary, ValueId,
};

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

/// Two ways whose results are added: `body(x) + shortcut(x)`. (He et al. 2016.)
pub struct Residual {
    body: Sequential,
    shortcut: Sequential,
}

impl Residual {
    /// `body(x) + x`
    pub fn new(body: Sequential) -> Self {
        Self {
            body,
            shortcut: Sequential::new(),
        }
    }

    /// Sets what x goes through beside the body.
    pub fn shortcut(mut self, shortcut: Sequential) -> Self {
        self.shortcut = shortcut;
        self
    }
}

impl Layer for Residual {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let made = self.body.add(build, x)?;
        let beside = self.shortcut.add(build, x)?;
        let name = build.name("add");
        let (left, right) = (build.shape(made)?, build.shape(beside)?);
        if left != right {
            return Err(Error::Shape {
                what: "the shortcut of a residual block",
                expected: left.to_vec(),
                got: right.to_vec(),
            });
        }
        build.node(name, Binary::Add, &[made, beside])
    }
}

/// Branches beside each other, whose channels are put together: an Inception block. (Szegedy et al. 2015.)
#[derive(Default)]
pub struct Parallel {
    branches: Vec<Sequential>,
}

impl Parallel {
    /// No branches.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more branch.
    pub fn branch(mut self, layers: Sequential) -> Self {
        self.branches.push(layers);
        self
    }
}

impl Layer for Parallel {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let branches = self.branches.iter();
        let made = branches
            .map(|branch| branch.add(build, x))
            .collect::<Result<Vec<_>>>()?;
        let name = build.name("concat");
        build.node(name, Concat::new(1), &made)
    }
}

/// A convolution; its name is `convN`, its parameters `convN.weight` and `convN.bias`.
#[derive(Clone, Debug)]
pub struct ConvLayer {
    outputs: Option<usize>,
    kernel: PerAxis,
    options: ConvOptions,
    depthwise: bool,
    /// Whether every position has a kernel of its own.
    local: bool,
    bias: bool,
    weights: Initialiser,
}

/// A convolution of `outputs` channels.
pub fn conv(outputs: usize, kernel: impl Into<PerAxis>) -> ConvLayer {
    ConvLayer {
        outputs: Some(outputs),
        kernel: kernel.into(),
        options: ConvOptions::new(),
        depthwise: false,
        local: false,
        bias: true,
        weights: Initialiser::KaimingNormal(Fan::In, Gain::Relu),
    }
}

/// A convolution of each channel by itself.
pub fn depthwise(kernel: impl Into<PerAxis>) -> ConvLayer {
    ConvLayer {
        outputs: None,
        depthwise: true,
        ..conv(1, kernel)
    }
}

/// A layer of `outputs` channels with a kernel of its own at every position. ONNX has no operator for it.
pub fn locally_connected(outputs: usize, kernel: impl Into<PerAxis>) -> ConvLayer {
    ConvLayer {
        local: true,
        ..conv(outputs, kernel)
    }
}

impl ConvLayer {
    /// Sets the padding.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.options = self.options.padding(padding);
        self
    }

    /// Sets the stride.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.options = self.options.stride(stride);
        self
    }

    /// Sets the dilation.
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.options = self.options.dilation(dilation);
        self
    }

    /// Sets the groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.options = self.options.groups(groups);
        self
    }

    /// Leaves the bias out, as before a batch normalisation.
    pub fn no_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Sets how the weights begin; Kaiming normal for a ReLU unless told otherwise, the bias at 0.
    pub fn weights(mut self, from: Initialiser) -> Self {
        self.weights = from;
        self
    }

    /// The layer with a kernel of its own at every position.
    fn add_local(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let kernel = taps(&self.kernel, spatial(build, x)?)?;
        let outputs = self.outputs.unwrap_or(build.channels(x)?);
        let operator = LocallyConnected::new(kernel, self.options.clone());
        let geometry = operator.geometry(build.shape(x)?, outputs)?;
        let (positions, patch) = (geometry.positions(), geometry.patch_len());
        let neurons = product("a locally connected layer", &[positions, outputs])?;
        let name = build.name("local");
        let (shape, drawn) = ([positions, outputs, patch], [neurons, patch]);
        let weight = format!("{name}.weight");
        let mut given = vec![x, build.weight_like(weight, &shape, &drawn, self.weights)?];
        if self.bias {
            let bias = format!("{name}.bias");
            given.push(build.weight(bias, &shape[..2], Initialiser::Constant(0.0))?);
        }
        build.node(name, operator, &given)
    }
}

/// The axes behind batch and channels.
fn spatial(build: &Build, x: ValueId) -> Result<usize> {
    Ok(build.shape(x)?.len().saturating_sub(2))
}

/// The kernel for an input of so many spatial axes.
fn taps(kernel: &PerAxis, rank: usize) -> Result<Vec<usize>> {
    (0..rank)
        .map(|axis| kernel.get("kernel size", rank, axis))
        .collect()
}

impl Layer for ConvLayer {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        if self.local {
            return self.add_local(build, x);
        }
        let channels = build.channels(x)?;
        let mut options = self.options.clone();
        if self.depthwise {
            options.groups = channels;
        }
        let outputs = self.outputs.unwrap_or(channels);
        let inputs = match channels.checked_rem(options.groups) {
            Some(0) => channels / options.groups,
            // The plan finds and says what is wrong.
            _ => channels,
        };
        let name = build.name("conv");
        let kernel = taps(&self.kernel, spatial(build, x)?)?;
        let shape = [&[outputs, inputs], &kernel[..]].concat();
        let mut given = vec![x];
        given.push(build.weight(format!("{name}.weight"), &shape, self.weights)?);
        if self.bias {
            given.push(build.filled(format!("{name}.bias"), outputs, 0.0)?);
        }
        build.node(name, Conv::new(options), &given)
    }
}

/// A depthwise convolution and one of a single tap behind it, each followed by a batch normalisation and a ReLU.
/// (Howard et al. 2017.)
pub fn separable(outputs: usize, kernel: usize, stride: usize) -> Sequential {
    let first = depthwise(kernel)
        .stride(stride)
        .padding(kernel / 2)
        .no_bias();
    let second = conv(outputs, 1).no_bias();
    Sequential::new()
        .then(first)
        .then(batch_norm())
        .then(relu())
        .then(second)
        .then(batch_norm())
        .then(relu())
}

/// A transposed convolution; its parameters are `deconvN.weight`, `[C, O/g, kernel…]`, and `deconvN.bias`.
#[derive(Clone, Debug)]
pub struct TransposedLayer {
    outputs: usize,
    kernel: PerAxis,
    options: TransposedOptions,
}

/// A transposed convolution of `outputs` channels.
pub fn conv_transpose(outputs: usize, kernel: impl Into<PerAxis>) -> TransposedLayer {
    TransposedLayer {
        outputs,
        kernel: kernel.into(),
        options: TransposedOptions::new(),
    }
}

impl TransposedLayer {
    /// Sets stride, padding and the rest.
    pub fn options(mut self, options: TransposedOptions) -> Self {
        self.options = options;
        self
    }
}

impl Layer for TransposedLayer {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let groups = self.options.groups.max(1);
        let name = build.name("deconv");
        let kernel = taps(&self.kernel, spatial(build, x)?)?;
        let shape = [&[build.channels(x)?, self.outputs / groups], &kernel[..]].concat();
        let from = Initialiser::KaimingNormal(Fan::In, Gain::Relu);
        let weight = build.weight(format!("{name}.weight"), &shape, from)?;
        let bias = build.filled(format!("{name}.bias"), self.outputs, 0.0)?;
        build.node(
            name,
            ConvTranspose::new(self.options.clone()),
            &[x, weight, bias],
        )
    }
}

/// A product with a matrix `[outputs, inputs]`, and a bias: `linearN.weight`, `linearN.bias`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    outputs: usize,
    weights: Initialiser,
}

/// All inputs to each of `outputs`.
pub fn linear(outputs: usize) -> Linear {
    Linear {
        outputs,
        weights: Initialiser::KaimingNormal(Fan::In, Gain::Relu),
    }
}

impl Linear {
    /// Sets how the weights begin.
    pub fn weights(mut self, from: Initialiser) -> Self {
        self.weights = from;
        self
    }
}

impl Layer for Linear {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let inputs = build.channels(x)?;
        let name = build.name("linear");
        let shape = [self.outputs, inputs];
        let weight = build.weight(format!("{name}.weight"), &shape, self.weights)?;
        let bias = build.filled(format!("{name}.bias"), self.outputs, 0.0)?;
        build.node(name, Gemm::new(1.0, 1.0, false, true), &[x, weight, bias])
    }
}

/// A batch normalisation: `normN.weight`, `normN.bias`, `normN.mean`, `normN.variance`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    epsilon: f32,
}

/// Each channel to mean 0 and variance 1, then scaled and shifted. (Ioffe and Szegedy 2015.)
pub fn batch_norm() -> BatchNorm {
    BatchNorm { epsilon: 1e-5 }
}

impl BatchNorm {
    /// Sets what is added to the variance; 1e-5 by default.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.epsilon = epsilon;
        self
    }
}

impl Layer for BatchNorm {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let channels = build.channels(x)?;
        let name = build.name("norm");
        let mut inputs = vec![x];
        for (what, value) in [
            ("weight", 1.0),
            ("bias", 0.0),
            ("mean", 0.0),
            ("variance", 1.0),
        ] {
            inputs.push(build.filled(format!("{name}.{what}"), channels, value)?);
        }
        build.node(name, BatchNormalization::new(self.epsilon), &inputs)
    }
}

/// Some numbers are replaced by zeros while the network learns.
#[derive(Clone, Copy, Debug)]
pub struct DropoutLayer(f32);

/// Drops this share of what comes in while the network learns. (Srivastava et al. 2014.)
pub fn dropout(ratio: f32) -> DropoutLayer {
    DropoutLayer(ratio)
}

impl Layer for DropoutLayer {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let name = build.name("dropout");
        let ratio = Tensor::from(ArrayD::from_elem(IxDyn(&[]), self.0));
        let ratio = build.graph.constant(format!("{name}.ratio"), ratio);
        build.node(name, Dropout::new(None, false), &[x, ratio])
    }
}

/// A layer that is one operator and learns nothing.
#[derive(Clone, Debug)]
pub struct Plain<O> {
    name: &'static str,
    operator: O,
}

impl<O: Operator + Clone> Layer for Plain<O> {
    fn add(&self, build: &mut Build, x: ValueId) -> Result<ValueId> {
        let name = build.name(self.name);
        build.node(name, self.operator.clone(), &[x])
    }
}

/// A function of each element.
pub fn activation(function: Unary) -> Plain<Unary> {
    Plain {
        name: "activation",
        operator: function,
    }
}

/// max(x, 0)
pub fn relu() -> Plain<Unary> {
    Plain {
        name: "relu",
        operator: Unary::Relu,
    }
}

/// The maximum of every window.
pub fn max_pool(windows: PoolOptions) -> Plain<Pool> {
    Plain {
        name: "pool",
        operator: Pool::max(windows),
    }
}

/// The average of every window.
pub fn average_pool(windows: PoolOptions) -> Plain<Pool> {
    Plain {
        name: "pool",
        operator: Pool::average(windows),
    }
}

/// The average of every channel, with spatial axes of one element.
pub fn global_average() -> Plain<Pool> {
    Plain {
        name: "pool",
        operator: Pool::global_average(),
    }
}

/// All elements of an image in one axis.
pub fn flatten() -> Plain<Reshape> {
    Plain {
        name: "flatten",
        operator: Reshape::flatten(1),
    }
}

/// Scores to probabilities. Nothing that learns needs it: the loss takes scores.
pub fn softmax() -> Plain<Softmax> {
    Plain {
        name: "softmax",
        operator: Softmax::new(SoftmaxKind::Softmax, -1),
    }
}
