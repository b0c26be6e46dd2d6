//! An operator on its way to a node of a file.
//!
//! ```text
//! operator ──► write(&mut NodeWriter) ──► attributes, inputs that are constants, operators behind it
//! ```
//!
//! Attributes that have their default are left out. What has no form in a file ends the writing with a reason.

use prost::bytes::Bytes;

use super::proto::{AttributeProto, attribute_kind as kind};
use super::tensor::message;
use crate::network::{Fact, Operator, Tensor};

/// Done, or why it has no form in a file.
pub(super) type Written = std::result::Result<(), String>;

/// An operator that can stand in a file.
pub(super) trait Write: Operator {
    /// Gives `node` what it consists of; its operator is the one of [`Operator::name`].
    fn write(&self, node: &mut NodeWriter) -> Written;
}

/// An input of an operator that stands behind another one.
#[derive(Debug)]
pub(super) enum Extra {
    /// An input of the operator before it, which no longer reads it.
    Moved(usize),
    Constant(Tensor),
}

/// An operator through which the first output goes.
#[derive(Debug)]
pub(super) struct Behind {
    pub op_type: &'static str,
    pub attributes: Vec<AttributeProto>,
    pub inputs: Vec<Extra>,
}

/// A node whose operator is being written.
pub(super) struct NodeWriter<'a> {
    /// Whether each input is there, and what is known of it.
    given: Vec<bool>,
    facts: Vec<Option<&'a Fact>>,
    pub attributes: Vec<AttributeProto>,
    /// Constants in the place of inputs.
    pub inputs: Vec<(usize, Tensor)>,
    pub behind: Vec<Behind>,
    /// The first operator set that has all of it.
    pub opset: i64,
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        kind,
        ..AttributeProto::default()
    }
}

/// An attribute that is a number.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        f: Some(value),
        ..attribute(name, kind::FLOAT)
    }
}

impl<'a> NodeWriter<'a> {
    /// For a node that has these inputs, known as far as `facts` says.
    pub fn new(given: Vec<bool>, facts: Vec<Option<&'a Fact>>) -> Self {
        Self {
            given,
            facts,
            attributes: Vec::new(),
            inputs: Vec::new(),
            behind: Vec::new(),
            opset: 0,
        }
    }

    /// Whether an input is there.
    pub fn has_input(&self, index: usize) -> bool {
        self.given.get(index) == Some(&true)
    }

    /// What is known of an input, its shape for some sizes of what is free.
    pub fn fact(&self, index: usize) -> Option<&'a Fact> {
        self.facts.get(index).copied().flatten()
    }

    /// Needs this operator set.
    pub fn since(&mut self, opset: i64) {
        self.opset = self.opset.max(opset);
    }

    pub fn float(&mut self, name: &str, value: f32) {
        self.attributes.push(float(name, value));
    }

    pub fn int(&mut self, name: &str, value: i64) {
        self.attributes.push(AttributeProto {
            i: Some(value),
            ..attribute(name, kind::INT)
        });
    }

    /// 1 where it is set; 0 is the default.
    pub fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.int(name, 1);
        }
    }

    pub fn string(&mut self, name: &str, value: &str) {
        self.attributes.push(AttributeProto {
            s: Some(Bytes::copy_from_slice(value.as_bytes())),
            ..attribute(name, kind::STRING)
        });
    }

    pub fn sizes(&mut self, name: &str, values: &[usize]) -> Written {
        let ints = values.iter().map(|&value| int(name, value));
        self.attributes.push(AttributeProto {
            ints: ints.collect::<std::result::Result<_, _>>()?,
            ..attribute(name, kind::INTS)
        });
        Ok(())
    }

    pub fn ints(&mut self, name: &str, values: &[i64]) {
        self.attributes.push(AttributeProto {
            ints: values.to_vec(),
            ..attribute(name, kind::INTS)
        });
    }

    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> Written {
        let message = message("", tensor).map_err(|error| error.to_string())?;
        self.attributes.push(AttributeProto {
            t: Some(message),
            ..attribute(name, kind::TENSOR)
        });
        Ok(())
    }

    /// A size, where it is not the default.
    pub fn size(&mut self, name: &str, value: usize, default: usize) -> Written {
        if value != default {
            self.int(name, int(name, value)?);
        }
        Ok(())
    }

    /// Puts a constant in the place of an input.
    pub fn set_input(&mut self, index: usize, tensor: impl Into<Tensor>) {
        self.inputs.push((index, tensor.into()));
    }

    /// Lets the first output go through another operator.
    pub fn then(
        &mut self,
        op_type: &'static str,
        attributes: Vec<AttributeProto>,
        inputs: Vec<Extra>,
    ) {
        self.behind.push(Behind {
            op_type,
            attributes,
            inputs,
        });
    }
}

fn int(name: &str, value: usize) -> std::result::Result<i64, String> {
    i64::try_from(value).map_err(|_| format!("{name} of {value}"))
}
