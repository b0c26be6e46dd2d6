//! A graph of operators: values, and the nodes that make them from others.
//!
//! ```text
//! value   a tensor that is given (input, constant) or made by one node
//! node    operator(inputs…) -> outputs…
//! ```
//!
//! Nodes stand in an order in which every value is made before it is used.

use std::sync::Arc;

use super::operator::Operator;
use super::tensor::{DType, Tensor};

/// A value of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

/// One axis of an input: a size, or a name for one that is decided later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// A size.
    Size(usize),
    /// A size that the caller chooses; equal names have equal sizes. Empty: no name.
    Free(String),
}

/// Something that is given from outside.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its value.
    pub value: ValueId,
    /// The type of its elements.
    pub dtype: DType,
    /// Its axes, where the model says how many.
    pub dims: Option<Vec<Dim>>,
}

/// An operator with its inputs and outputs.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name, unique or made so.
    pub name: String,
    /// What it does.
    pub operator: Arc<dyn Operator>,
    /// What it reads; `None` for an optional input that is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes; `None` for an optional output that nobody wants.
    pub outputs: Vec<Option<ValueId>>,
}

/// A network as it was read or built.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The name of each value.
    pub(crate) names: Vec<String>,
    /// The value of each constant.
    pub(crate) constants: Vec<Option<Arc<Tensor>>>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) nodes: Vec<Node>,
}
