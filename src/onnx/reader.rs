//! A node of a model on its way to an operator.
//!
//! ```text
//! NodeProto ──► build(&NodeReader) ──► operator, and: inputs that were attributes in old versions,
//!                                                    operators to stand before and after it
//! ```
//!
//! Each attribute is asked for by name and type; a default stands for one that is absent. What nobody asked for
//! is an error afterwards: an attribute that is unknown is never passed over.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::sync::Arc;

use super::proto::{AttributeProto, NodeProto, attribute_kind as kind};
use super::source::Source;
use crate::error::{Error, Result};
use crate::network::{DType, Operator, Tensor};

/// What a node reads and writes beyond what its message says.
#[derive(Debug, Default)]
pub(super) struct Rewrite {
    /// Constants in the place of inputs.
    pub inputs: Vec<(usize, Tensor)>,
    /// Operators that inputs go through first.
    pub before: Vec<Through>,
}

/// An operator that a value goes through.
#[derive(Debug)]
pub(super) struct Through {
    /// The number of the input.
    pub index: usize,
    pub operator: Arc<dyn Operator>,
    /// Inputs of the node that are further inputs of the operator.
    pub others: Vec<usize>,
}

/// A node whose operator is being made.
pub(super) struct NodeReader<'a> {
    node: &'a NodeProto,
    opset: i64,
    source: &'a Source,
    /// Which attributes were asked for.
    asked: Vec<Cell<bool>>,
    rewrite: RefCell<Rewrite>,
}

/// The error of an attribute.
fn wrong(name: &str, expected: impl Display, got: impl Display) -> Error {
    Error::Attribute {
        name: name.to_owned(),
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

/// The kind of an attribute; files of the first versions leave it out.
fn kind_of(attribute: &AttributeProto) -> i32 {
    let found = [
        (attribute.f.is_some(), kind::FLOAT),
        (attribute.i.is_some(), kind::INT),
        (attribute.s.is_some(), kind::STRING),
        (attribute.t.is_some(), kind::TENSOR),
        (attribute.g.is_some(), kind::GRAPH),
        (!attribute.floats.is_empty(), kind::FLOATS),
        (!attribute.ints.is_empty(), kind::INTS),
        (!attribute.strings.is_empty(), kind::STRINGS),
    ];
    match attribute.kind {
        kind::UNDEFINED => {
            let first = found.iter().find(|&&(present, _)| present);
            first.map_or(kind::UNDEFINED, |&(_, kind)| kind)
        }
        known => known,
    }
}

fn kind_name(number: i32) -> String {
    match number {
        kind::FLOAT => "a float".to_owned(),
        kind::INT => "an integer".to_owned(),
        kind::STRING => "a string".to_owned(),
        kind::TENSOR => "a tensor".to_owned(),
        kind::GRAPH => "a graph".to_owned(),
        kind::FLOATS => "floats".to_owned(),
        kind::INTS => "integers".to_owned(),
        kind::STRINGS => "strings".to_owned(),
        other => format!("of kind {other}"),
    }
}

#[allow(
    dead_code,
    reason = "the families of operators use different parts of it"
)]
impl<'a> NodeReader<'a> {
    /// Fails where the node has two attributes of one name.
    pub fn new(node: &'a NodeProto, opset: i64, source: &'a Source) -> Result<Self> {
        for (at, attribute) in node.attribute.iter().enumerate() {
            let name = &attribute.name;
            if node.attribute[..at].iter().any(|other| other.name == *name) {
                return Err(wrong(name, "given once", "given twice"));
            }
        }
        Ok(Self {
            node,
            opset,
            source,
            asked: vec![Cell::new(false); node.attribute.len()],
            rewrite: RefCell::default(),
        })
    }

    /// Fails on attributes that were not asked for; otherwise what was changed.
    pub fn finish(self) -> Result<Rewrite> {
        let mut pairs = self.node.attribute.iter().zip(&self.asked);
        if let Some((attribute, _)) = pairs.find(|(_, asked)| !asked.get()) {
            let expected = format!(
                "an attribute of {} in operator set {}",
                self.node.op_type, self.opset
            );
            return Err(wrong(&attribute.name, expected, "unknown"));
        }
        Ok(self.rewrite.into_inner())
    }

    /// The version of the operator set.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The name of the operator in ONNX.
    pub fn op_type(&self) -> &'a str {
        &self.node.op_type
    }

    /// The number of inputs, those left out in between counted.
    pub fn inputs(&self) -> usize {
        let names = &self.node.input;
        names
            .iter()
            .rposition(|name| !name.is_empty())
            .map_or(0, |last| last + 1)
    }

    /// Whether an input is given.
    pub fn has_input(&self, index: usize) -> bool {
        self.node
            .input
            .get(index)
            .is_some_and(|name| !name.is_empty())
    }

    /// The number of outputs, those left out in between counted.
    pub fn outputs(&self) -> usize {
        let names = &self.node.output;
        names
            .iter()
            .rposition(|name| !name.is_empty())
            .map_or(0, |last| last + 1)
    }

    /// Whether an output is wanted.
    pub fn has_output(&self, index: usize) -> bool {
        self.node
            .output
            .get(index)
            .is_some_and(|name| !name.is_empty())
    }

    /// Fails unless the first `required` inputs are given and no more than `most` in all.
    pub fn expect_inputs(&self, required: usize, most: usize) -> Result<()> {
        if let Some(missing) = (0..required).find(|&index| !self.has_input(index)) {
            return Err(Error::Operand {
                operand: "an input",
                expected: format!("given: the first {required} are required"),
                got: format!("missing: number {}", missing + 1),
            });
        }
        if self.inputs() > most {
            return Err(Error::Operand {
                operand: "the number of inputs",
                expected: format!("at most {most}"),
                got: self.inputs().to_string(),
            });
        }
        Ok(())
    }

    /// Fails where more than `most` outputs are wanted.
    pub fn expect_outputs(&self, most: usize) -> Result<()> {
        if self.outputs() > most {
            return Err(Error::Operand {
                operand: "the number of outputs",
                expected: format!("at most {most}"),
                got: self.outputs().to_string(),
            });
        }
        Ok(())
    }

    /// The attribute `name` if it is there, of the kind `wanted`.
    fn find(&self, name: &str, wanted: i32) -> Result<Option<&'a AttributeProto>> {
        let at = self
            .node
            .attribute
            .iter()
            .position(|attribute| attribute.name == name);
        let Some(at) = at else {
            return Ok(None);
        };
        self.asked[at].set(true);
        let attribute = &self.node.attribute[at];
        let found = kind_of(attribute);
        // An empty list without a kind is a list of anything.
        if found != wanted && !(found == kind::UNDEFINED && wanted >= kind::FLOATS) {
            return Err(wrong(name, kind_name(wanted), kind_name(found)));
        }
        Ok(Some(attribute))
    }

    /// Whether the attribute is there.
    pub fn has(&self, name: &str) -> bool {
        self.node
            .attribute
            .iter()
            .any(|attribute| attribute.name == name)
    }

    /// Passes over attributes that do not change what is computed.
    pub fn ignore(&self, names: &[&str]) {
        for (attribute, asked) in self.node.attribute.iter().zip(&self.asked) {
            if names.contains(&attribute.name.as_str()) {
                asked.set(true);
            }
        }
    }

    /// An integer, if it is there.
    pub fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        let attribute = self.find(name, kind::INT)?;
        Ok(attribute.map(|attribute| attribute.i.unwrap_or(0)))
    }

    /// An integer.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.optional_int(name)?.unwrap_or(default))
    }

    /// An integer that must be there.
    pub fn required_int(&self, name: &str) -> Result<i64> {
        self.optional_int(name)?
            .ok_or_else(|| wrong(name, "an integer", "absent"))
    }

    /// An integer that cannot be negative.
    pub fn size(&self, name: &str, default: usize) -> Result<usize> {
        match self.optional_int(name)? {
            None => Ok(default),
            Some(value) => usize::try_from(value).map_err(|_| wrong(name, "0 or more", value)),
        }
    }

    /// 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.optional_int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(wrong(name, "0 or 1", other)),
        }
    }

    /// A float, if it is there.
    pub fn optional_float(&self, name: &str) -> Result<Option<f32>> {
        let attribute = self.find(name, kind::FLOAT)?;
        Ok(attribute.map(|attribute| attribute.f.unwrap_or(0.0)))
    }

    /// A float.
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }

    /// Integers, if they are there.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let attribute = self.find(name, kind::INTS)?;
        Ok(attribute.map(|attribute| attribute.ints.clone()))
    }

    /// Integers that must be there.
    pub fn required_ints(&self, name: &str) -> Result<Vec<i64>> {
        self.ints(name)?
            .ok_or_else(|| wrong(name, "integers", "absent"))
    }

    /// Integers that cannot be negative, if they are there.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(values) = self.ints(name)? else {
            return Ok(None);
        };
        let sizes = values.iter().map(|&value| usize::try_from(value).ok());
        match sizes.collect() {
            Some(sizes) => Ok(Some(sizes)),
            None => Err(wrong(name, "0 or more each", format!("{values:?}"))),
        }
    }

    /// Floats, if they are there.
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let attribute = self.find(name, kind::FLOATS)?;
        Ok(attribute.map(|attribute| attribute.floats.clone()))
    }

    /// A string, if it is there.
    pub fn optional_string(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(attribute) = self.find(name, kind::STRING)? else {
            return Ok(None);
        };
        let bytes = attribute.s.as_deref().unwrap_or_default();
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| wrong(name, "a string", format!("the bytes {bytes:?}")))
    }

    /// A string that must be there.
    pub fn required_string(&self, name: &str) -> Result<&'a str> {
        self.optional_string(name)?
            .ok_or_else(|| wrong(name, "a string", "absent"))
    }

    /// A string.
    pub fn string(&self, name: &str, default: &'a str) -> Result<&'a str> {
        Ok(self.optional_string(name)?.unwrap_or(default))
    }

    /// What the string stands for; the first choice where it is absent.
    pub fn choice<T: Clone>(&self, name: &str, choices: &[(&str, T)]) -> Result<T> {
        let Some(word) = self.optional_string(name)? else {
            return Ok(choices[0].1.clone());
        };
        let found = choices.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| value.clone()).ok_or_else(|| {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            wrong(name, known.join(", "), format!("{word:?}"))
        })
    }

    /// A tensor, if it is there.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        let attribute = self.find(name, kind::TENSOR)?;
        let proto = attribute.and_then(|attribute| attribute.t.as_ref());
        match (attribute, proto) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(wrong(name, "a tensor", "empty")),
            (Some(_), Some(proto)) => super::tensor::tensor(proto, self.source).map(Some),
        }
    }

    /// An element type, if it is there.
    pub fn dtype(&self, name: &str) -> Result<Option<DType>> {
        let Some(number) = self.optional_int(name)? else {
            return Ok(None);
        };
        super::tensor::dtype(number)
            .map(Some)
            .map_err(|error| wrong(name, "an element type", error))
    }

    /// Puts a constant in the place of input `index`: what is an input today was an attribute once.
    ///
    /// Fails where the node has that input too.
    pub fn set_input(&self, index: usize, value: impl Into<Tensor>) -> Result<()> {
        if self.has_input(index) {
            return Err(Error::Operand {
                operand: "an input",
                expected: format!("absent: it is an attribute in operator set {}", self.opset),
                got: format!("{:?}", self.node.input[index]),
            });
        }
        self.rewrite.borrow_mut().inputs.push((index, value.into()));
        Ok(())
    }

    /// [`set_input`](Self::set_input) with a list of integers, as i64 of one axis.
    pub fn set_integers(&self, index: usize, values: Vec<i64>) -> Result<()> {
        self.set_input(index, ndarray::Array1::from(values).into_dyn())
    }

    /// [`set_input`](Self::set_input) with the integers of an attribute, if it is there.
    pub fn ints_as_input(&self, name: &str, index: usize) -> Result<()> {
        match self.ints(name)? {
            Some(values) => self.set_integers(index, values),
            None => Ok(()),
        }
    }

    /// Sends input `index` through `operator`, whose further inputs are `others` of the node, before this one.
    pub fn before(&self, index: usize, operator: Arc<dyn Operator>, others: &[usize]) {
        self.rewrite.borrow_mut().before.push(Through {
            index,
            operator,
            others: others.to_vec(),
        });
    }
}
