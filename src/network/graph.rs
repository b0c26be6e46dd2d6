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
use crate::error::{Error, Result};

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

impl Graph {
    /// No values, no nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value that nothing makes yet: an output of a [`Node`] to be [pushed](Self::push).
    pub fn value(&mut self, name: impl Into<String>) -> ValueId {
        self.names.push(name.into());
        self.constants.push(None);
        ValueId(self.names.len() - 1)
    }

    /// Something that the caller gives to every run.
    pub fn input(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        dims: Option<Vec<Dim>>,
    ) -> ValueId {
        let value = self.value(name);
        self.inputs.push(Input { value, dtype, dims });
        value
    }

    /// An input that may be left out: then it has this value.
    pub fn default_input(
        &mut self,
        name: impl Into<String>,
        value: impl Into<Arc<Tensor>>,
    ) -> ValueId {
        let tensor = value.into();
        let dims = tensor.shape().iter().map(|&size| Dim::Size(size)).collect();
        let value = self.input(name, tensor.dtype(), Some(dims));
        self.constants[value.0] = Some(tensor);
        value
    }

    /// A value that never changes.
    pub fn constant(&mut self, name: impl Into<String>, value: impl Into<Arc<Tensor>>) -> ValueId {
        let id = self.value(name);
        self.constants[id.0] = Some(value.into());
        id
    }

    /// Replaces the value of a constant.
    #[cfg(feature = "train")]
    pub(crate) fn set_constant(&mut self, value: ValueId, tensor: impl Into<Arc<Tensor>>) {
        self.constants[value.0] = Some(tensor.into());
    }

    /// Makes an input of a value.
    #[cfg(feature = "train")]
    pub(crate) fn give(&mut self, value: ValueId, dtype: DType, dims: Option<Vec<Dim>>) {
        self.inputs.push(Input { value, dtype, dims });
    }

    /// Leaves out the inputs for which `keep` is false.
    #[cfg(feature = "train")]
    pub(crate) fn keep_inputs(&mut self, keep: impl Fn(usize) -> bool) {
        let mut index = 0;
        self.inputs.retain(|_| {
            index += 1;
            keep(index - 1)
        });
    }

    /// An operator of one output, which gets the name of the node.
    pub fn node(
        &mut self,
        name: impl Into<String>,
        operator: impl Operator,
        inputs: &[ValueId],
    ) -> ValueId {
        let name = name.into();
        let output = self.value(name.clone());
        self.push(Node {
            name,
            operator: Arc::new(operator),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(output)],
        });
        output
    }

    /// An operator with any inputs and outputs. Nodes are pushed in an order in which they can run.
    pub fn push(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// A value that the caller wants, in the order of the calls.
    pub fn output(&mut self, value: ValueId) {
        self.outputs.push(value);
    }

    /// Makes the values of these names the outputs, in this order: an activation in the middle, for instance.
    ///
    /// # Errors
    /// A name that no value has.
    pub fn set_outputs<S: AsRef<str>>(&mut self, names: &[S]) -> Result<()> {
        let find = |name: &S| {
            let name = name.as_ref();
            let found = self.names.iter().position(|known| known == name);
            found.map(ValueId).ok_or_else(|| Error::Model {
                what: format!(
                    "there is no value {name:?}; the outputs are {}",
                    self.outputs
                        .iter()
                        .map(|&output| self.name(output))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            })
        };
        self.outputs = names.iter().map(find).collect::<Result<_>>()?;
        Ok(())
    }

    /// Replaces what is known of the axes of an input, a batch size that a file fixed for instance.
    ///
    /// # Errors
    /// No such input.
    pub fn set_dims(&mut self, input: &str, dims: Option<Vec<Dim>>) -> Result<()> {
        let names = &self.names;
        let found = self
            .inputs
            .iter_mut()
            .find(|given| names.get(given.value.0).is_some_and(|name| name == input));
        match found {
            Some(given) => given.dims = dims,
            None => return Err(self.unknown_input(input)),
        }
        Ok(())
    }

    /// The error for an input that is not there.
    pub(crate) fn unknown_input(&self, input: &str) -> Error {
        Error::InputUnknown {
            input: input.to_owned(),
            known: self
                .inputs
                .iter()
                .map(|input| self.name(input.value).to_owned())
                .collect(),
        }
    }

    /// The name of a value; empty where there is no such value.
    pub fn name(&self, value: ValueId) -> &str {
        self.names.get(value.0).map_or("", String::as_str)
    }

    /// What is given to every run, or may be.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The values that come out.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The operators, in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A value that never changes, or that an input has when it is left out.
    pub fn constant_of(&self, value: ValueId) -> Option<&Arc<Tensor>> {
        self.constants.get(value.0)?.as_ref()
    }

    /// Every value is there, made once and before it is used; names of inputs and outputs are unique.
    ///
    /// # Errors
    /// [`Error::Model`] with the names.
    pub fn check(&self) -> Result<()> {
        let mut known: Vec<bool> = self.constants.iter().map(Option::is_some).collect();
        let known_len = known.len();
        let missing = |value: ValueId, user: &str| Error::Model {
            what: format!(
                "{user} refers to value {} of {known_len}, which is not there",
                value.0
            ),
        };
        for input in &self.inputs {
            let slot = known
                .get_mut(input.value.0)
                .ok_or_else(|| missing(input.value, "an input"))?;
            *slot = true;
        }
        self.check_unique("input", self.inputs.iter().map(|input| input.value))?;
        for node in &self.nodes {
            for &value in node.inputs.iter().flatten() {
                let made = *known
                    .get(value.0)
                    .ok_or_else(|| missing(value, &format!("node {:?}", node.name)))?;
                if !made {
                    return Err(Error::Model {
                        what: format!(
                            "node {:?} reads {:?}, which nothing makes before it",
                            node.name,
                            self.name(value)
                        ),
                    });
                }
            }
            for &value in node.outputs.iter().flatten() {
                let made = known
                    .get_mut(value.0)
                    .ok_or_else(|| missing(value, &format!("node {:?}", node.name)))?;
                if std::mem::replace(made, true) {
                    return Err(Error::Model {
                        what: format!(
                            "node {:?} makes {:?}, which exists already",
                            node.name,
                            self.name(value)
                        ),
                    });
                }
            }
        }
        for &value in &self.outputs {
            let made = *known
                .get(value.0)
                .ok_or_else(|| missing(value, "an output"))?;
            if !made {
                return Err(Error::Model {
                    what: format!("nothing makes the output {:?}", self.name(value)),
                });
            }
        }
        self.check_unique("output", self.outputs.iter().copied())
    }

    fn check_unique(&self, what: &str, values: impl Iterator<Item = ValueId>) -> Result<()> {
        let mut names: Vec<&str> = values.map(|value| self.name(value)).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Model {
                what: format!("two {what}s have the name {:?}", pair[0]),
            }),
            None => Ok(()),
        }
    }
}
