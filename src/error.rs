//! The one error type: every variant carries what was expected and what came.
//!
//! Whatever can be wrong is found before work starts, while a geometry or a plan is built.
//! Running a plan can fail only on a buffer of the wrong shape or length.

use thiserror::Error;

/// What can be wrong with a request.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has the wrong number of axes.
    #[error("{what} has {got} axes, expected {expected}")]
    Rank {
        /// Which array.
        what: &'static str,
        /// How many axes it should have.
        expected: usize,
        /// How many it has.
        got: usize,
    },
    /// An array has the right number of axes and the wrong lengths.
    #[error("{what} has shape {got:?}, expected {expected:?}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        got: Vec<usize>,
    },
    /// A slice has the wrong length.
    #[error("{what} holds {got} elements, expected {expected}")]
    BufferLength {
        /// Which buffer.
        what: &'static str,
        /// How many elements it should hold.
        expected: usize,
        /// How many it holds.
        got: usize,
    },
    /// A per-axis option lists values for another number of axes than the image has.
    #[error("{option} lists {got} values for {expected} spatial axes")]
    OptionRank {
        /// Which option.
        option: &'static str,
        /// The number of spatial axes.
        expected: usize,
        /// The number of values.
        got: usize,
    },
    /// More or fewer spatial axes than the one to three that are computed.
    #[error("{got} spatial axes: one, two or three are computed")]
    SpatialRank {
        /// The number of spatial axes asked for.
        got: usize,
    },
    /// A number that must be at least one is zero.
    #[error("{what} is zero on axis {axis}")]
    Zero {
        /// Kernel, stride or dilation.
        what: &'static str,
        /// The spatial axis, counted from 0.
        axis: usize,
    },
    /// Training came to a loss that is no number.
    #[cfg(feature = "train")]
    #[error("the loss of step {step} is {loss}{}{}", NotFinite::first(.layer), NotFinite::saved(.checkpoint))]
    NotFinite {
        /// The step, counted from 1; it has changed nothing.
        step: u64,
        /// NaN or infinite.
        loss: f32,
        /// Where the first values are that are not finite: `come out of conv1 (Conv)`.
        layer: Option<String>,
        /// The newest checkpoint.
        checkpoint: Option<std::path::PathBuf>,
    },
    /// A count that must be at least one is zero.
    #[error("the number of {what} is zero")]
    ZeroCount {
        /// Groups, input channels or output channels.
        what: &'static str,
    },
    /// The dilated kernel does not fit into the padded input.
    #[error("kernel extent {extent} exceeds padded input {padded} on axis {axis}")]
    KernelTooLarge {
        /// The spatial axis, counted from 0.
        axis: usize,
        /// dilation · (kernel − 1) + 1.
        extent: usize,
        /// pad before + input + pad after.
        padded: usize,
    },
    /// A padding content that reads from the image is asked for more than the image holds.
    #[error(
        "{mode} padding of {pad} needs more than the {input} input elements on axis {axis}: at most {limit}"
    )]
    PaddingTooLarge {
        /// The padding content.
        mode: &'static str,
        /// The spatial axis, counted from 0.
        axis: usize,
        /// The padding asked for.
        pad: usize,
        /// The input length.
        input: usize,
        /// The most that is possible.
        limit: usize,
    },
    /// The number of groups does not divide a number of channels.
    #[error("{groups} groups do not divide {channels} {what}")]
    Groups {
        /// Input or output channels.
        what: &'static str,
        /// How many there are.
        channels: usize,
        /// The number of groups.
        groups: usize,
    },
    /// The channels fit the other memory layout, not the one that was given.
    #[error(
        "{what} of shape {shape:?} read as {given} has {got} channels, expected {expected}; as {other} it would fit"
    )]
    LayoutMismatch {
        /// Which array.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The layout the caller gave.
        given: &'static str,
        /// The layout that would fit.
        other: &'static str,
        /// The channels wanted.
        expected: usize,
        /// The channels found.
        got: usize,
    },
    /// Prepared weights were made for a plan that orders them otherwise.
    #[error("the weights were prepared for {got}, this plan wants them for {expected}")]
    PreparedWeights {
        /// The order that the plan multiplies with.
        expected: &'static str,
        /// The order that the weights are in.
        got: &'static str,
    },
    /// An output size that the geometry cannot have.
    #[error("output size {got} on axis {axis} is outside {min}..={max}")]
    OutputSize {
        /// The spatial axis, counted from 0.
        axis: usize,
        /// The size asked for.
        got: usize,
        /// The smallest that is possible.
        min: usize,
        /// The largest that is possible.
        max: usize,
    },
    /// Output padding of a transposed convolution must be below stride or dilation.
    #[error(
        "output padding {got} on axis {axis} must be below {limit}, the larger of stride and dilation"
    )]
    OutputPadding {
        /// The spatial axis, counted from 0.
        axis: usize,
        /// The output padding asked for.
        got: usize,
        /// max(stride, dilation).
        limit: usize,
    },
    /// Two options that exclude each other.
    #[error("{first} and {second} exclude each other")]
    OptionConflict {
        /// One option.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A padded window could lie wholly in the padding.
    #[error("pooling padding {pad} on axis {axis} must be below the window extent {extent}")]
    PoolPadding {
        /// The spatial axis, counted from 0.
        axis: usize,
        /// The padding asked for.
        pad: usize,
        /// dilation · (window − 1) + 1.
        extent: usize,
    },
    /// An index points outside the plane it is to be written to.
    #[error("index {index} at position {position} is outside a plane of {limit} elements")]
    Index {
        /// The index found.
        index: usize,
        /// Where in the index array.
        position: usize,
        /// The number of elements of the plane.
        limit: usize,
    },
    /// A parameter outside its range.
    #[error("{what} is {got}, expected {expected}")]
    Parameter {
        /// Which parameter.
        what: &'static str,
        /// What came.
        got: f64,
        /// The range in words.
        expected: &'static str,
    },
    /// A size does not fit the machine's integers or its address space.
    #[error("the size of {what} does not fit the address space")]
    Overflow {
        /// What was to be computed.
        what: &'static str,
    },
    /// The work would need more memory than the caller allows.
    #[error("{needed} bytes are needed, the memory budget is {budget}")]
    MemoryBudget {
        /// Bytes of input, output, weights and their prepared forms, scratch and tables.
        needed: usize,
        /// The budget in bytes.
        budget: usize,
    },
    /// The allocator refused.
    #[error("could not allocate {bytes} bytes")]
    Allocation {
        /// How many bytes were asked for.
        bytes: usize,
    },
    /// A matrix dimension does not fit the engine's integer type.
    #[error("{engine} takes dimensions up to {limit}, got {got}")]
    EngineDimension {
        /// Which engine.
        engine: &'static str,
        /// The dimension.
        got: usize,
        /// The largest it takes.
        limit: usize,
    },
    /// The engine was not compiled in.
    #[error("engine {engine} is not compiled in; build with feature `{feature}`")]
    EngineMissing {
        /// Which engine.
        engine: &'static str,
        /// The Cargo feature that brings it.
        feature: &'static str,
    },
    /// An input of an operator that it cannot take.
    #[error("{operand} is {got}, expected {expected}")]
    Operand {
        /// Which input, by its name in the operator's specification.
        operand: &'static str,
        /// What it takes.
        expected: String,
        /// What came.
        got: String,
    },
    /// An attribute of an operator with a value that it cannot have.
    #[error("attribute {name} is {got}, expected {expected}")]
    Attribute {
        /// Which attribute.
        name: String,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// An input that a network needs was not given.
    #[error("input {input:?} is missing")]
    InputMissing {
        /// Its name.
        input: String,
    },
    /// An input was given that the network does not have.
    #[error("there is no input {input:?}; the inputs are {}", known.join(", "))]
    InputUnknown {
        /// The name that came.
        input: String,
        /// The inputs that there are.
        known: Vec<String>,
    },
    /// An input was given twice.
    #[error("input {input:?} is given twice")]
    InputTwice {
        /// Its name.
        input: String,
    },
    /// An input of another element type.
    #[error("input {input:?} has elements of type {got}, expected {expected}")]
    InputType {
        /// Its name.
        input: String,
        /// The type that the network takes.
        expected: &'static str,
        /// The type that came.
        got: &'static str,
    },
    /// An input with another number of axes.
    #[error("input {input:?} of shape {got:?} has {} axes, expected {expected}", got.len())]
    InputRank {
        /// Its name.
        input: String,
        /// How many axes the network takes.
        expected: usize,
        /// The shape that came.
        got: Vec<usize>,
    },
    /// An input with another size on an axis.
    #[error("input {input:?} has size {got} on axis {axis}, expected {expected}{reason}")]
    InputSize {
        /// Its name.
        input: String,
        /// The axis, counted from 0.
        axis: usize,
        /// The size that the network takes.
        expected: usize,
        /// The size that came.
        got: usize,
        /// Where the expected size comes from, if not from the model: a name and the input that set it.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {what}")]
    Io {
        /// Which file.
        path: String,
        /// The kind of failure.
        kind: std::io::ErrorKind,
        /// What the system says.
        what: String,
    },
    /// A line of text with a part that means nothing.
    #[error("{what} {text:?}: {part:?} is not understood, expected {expected}")]
    Text {
        /// What the line stands for.
        what: &'static str,
        /// The line.
        text: String,
        /// The part.
        part: String,
        /// Lines that are understood.
        expected: &'static str,
    },
    /// Tensors of a file that are not those that were expected.
    #[error("{} tensors differ: {}", list.len(), list.join("; "))]
    Tensors {
        /// Every difference, with names, shapes and types.
        list: Vec<String>,
    },
    /// Bytes that are not the picture, the array or the list that they should be.
    #[error("{what}")]
    Data {
        /// What is wrong, with the numbers.
        what: String,
    },
    /// An example of a class that there is not.
    #[error("example {example} has the label {label}, expected 0 to {}", classes.saturating_sub(1))]
    Label {
        /// Which example, counted from 0.
        example: usize,
        /// Its label.
        label: i128,
        /// How many classes there are.
        classes: usize,
    },
    /// A class without examples.
    #[error("class {class:?} has no example among {examples}")]
    EmptyClass {
        /// Its name.
        class: String,
        /// How many examples the other classes have.
        examples: usize,
    },
    /// Something is wrong at a place of a file.
    #[error("{place}: {source}")]
    At {
        /// The file, or the part of it.
        place: String,
        /// What is wrong.
        source: Box<Error>,
    },
    /// Something is wrong at a node of a graph.
    #[error("node {node:?} ({operator}): {source}")]
    Node {
        /// The name of the node.
        node: String,
        /// What it does.
        operator: String,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A graph or a model file that contradicts itself.
    #[error("{what}")]
    Model {
        /// What is wrong, with the names and numbers.
        what: String,
    },
    /// A model with operators that are not there.
    #[error("unsupported operators: {}", list.join(", "))]
    UnsupportedOperators {
        /// Each operator with the nodes that it stands in.
        list: Vec<String>,
    },
    /// A graph with operators that have no form in a file.
    #[error("operators that cannot be written: {}", list.join(", "))]
    UnwritableOperators {
        /// Each operator with its node, and why where it is not the operator as such.
        list: Vec<String>,
    },
    /// A forced recipe or option cannot do what is asked.
    #[error("{what} is not possible: {wanted}")]
    Unsupported {
        /// What was asked to do it.
        what: &'static str,
        /// What stands against it.
        wanted: &'static str,
    },
}

impl Error {
    /// This error at a place.
    #[cfg(any(feature = "infer", feature = "onnx"))]
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        Self::At {
            place: place.into(),
            source: Box::new(self),
        }
    }
}

/// A fallible result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// `a · b · …` or the error that names what was to be computed.
pub(crate) fn product(what: &'static str, factors: &[usize]) -> Result<usize> {
    factors
        .iter()
        .try_fold(1usize, |product, &factor| product.checked_mul(factor))
        .filter(|&product| product <= isize::MAX as usize)
        .ok_or(Error::Overflow { what })
}

/// `a + b + …` or the error that names what was to be computed.
pub(crate) fn sum(what: &'static str, terms: &[usize]) -> Result<usize> {
    terms
        .iter()
        .try_fold(0usize, |sum, &term| sum.checked_add(term))
        .filter(|&sum| sum <= isize::MAX as usize)
        .ok_or(Error::Overflow { what })
}

/// An error unless an array has the shape that it must have.
pub(crate) fn check_shape(what: &'static str, expected: &[usize], got: &[usize]) -> Result<()> {
    if expected.len() != got.len() {
        return Err(Error::Rank {
            what,
            expected: expected.len(),
            got: got.len(),
        });
    }
    if expected != got {
        return Err(Error::Shape {
            what,
            expected: expected.to_vec(),
            got: got.to_vec(),
        });
    }
    Ok(())
}

/// An error unless a buffer has the length that it must have.
pub(crate) fn check_len(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected != got {
        return Err(Error::BufferLength {
            what,
            expected,
            got,
        });
    }
    Ok(())
}

#[cfg(any(feature = "onnx", feature = "infer"))]
impl Error {
    /// What the system says about a file.
    pub(crate) fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            kind: error.kind(),
            what: error.to_string(),
        }
    }
}

/// The words of [`Error::NotFinite`].
#[cfg(feature = "train")]
struct NotFinite;

#[cfg(feature = "train")]
impl NotFinite {
    fn first(layer: &Option<String>) -> String {
        let told = layer.as_ref();
        told.map_or(String::new(), |layer| {
            format!("; the first values that are not finite {layer}")
        })
    }

    fn saved(checkpoint: &Option<std::path::PathBuf>) -> String {
        let told = checkpoint.as_ref();
        told.map_or(String::new(), |path| {
            format!("; the newest checkpoint is {}", path.display())
        })
    }
}
