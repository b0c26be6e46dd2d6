//! A graph becomes a file.
//!
//! ```text
//! names made unique ──► sizes of free axes told from others ──► every node written ──► ModelProto ──► bytes, file
//! ```
//!
//! The same graph gives the same bytes. Constants that nothing reads are left out; what a node has beyond its
//! operator in ONNX (the activation of a convolution) stands behind it as a node of its own.

mod names;
mod sizes;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use self::names::Names;
use self::sizes::Sizes;
use super::operators;
use super::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use super::tensor::{encoded, message, number};
use super::writer::{Behind, Extra, NodeWriter};
use crate::error::{Error, Result};
use crate::network::{Fact, Graph, Node, Tensor, ValueId};

/// The version of the file format that is written.
pub const IR_VERSION: i64 = 8;

/// The operator set that is written, where no operator needs a newer one.
pub const OPERATOR_SET: i64 = 17;

/// Protobuf counts the bytes of a message in 31 bits.
const MOST_BYTES: usize = i32::MAX as usize;

/// Writes `graph` to an ONNX file: beside `path` under another name first, so that a file of this name is a whole
/// one, the old or the new.
///
/// # Errors
/// Those of [`export_bytes`]; [`Error::Io`] for a file that cannot be written.
pub fn export(graph: &Graph, path: impl AsRef<Path>) -> Result<()> {
    let bytes = export_bytes(graph)?;
    let path = path.as_ref();
    let failed = |error: std::io::Error| Error::io(path, &error);
    let name = path
        .file_name()
        .ok_or_else(|| failed(std::io::Error::other("no name of a file")))?;
    let mut part = name.to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(part);
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&part);
        failed(error)
    })
}

/// The bytes of an ONNX file with `graph`: operator set [`OPERATOR_SET`], or the first one that has all operators.
///
/// # Errors
/// Operators that have no form in a file, all of them with their nodes ([`Error::UnwritableOperators`]); a graph
/// that contradicts itself, or whose inputs and outputs cannot keep their names; more than 2 GiB.
pub fn export_bytes(graph: &Graph) -> Result<Vec<u8>> {
    graph.check()?;
    let mut writer = Writer {
        graph,
        names: Names::new(graph)?,
        sizes: Sizes::new(graph),
        message: GraphProto {
            name: "network".to_owned(),
            ..GraphProto::default()
        },
        opset: OPERATOR_SET,
        unwritable: Vec::new(),
    };
    for node in graph.nodes() {
        writer.node(node)?;
    }
    if !writer.unwritable.is_empty() {
        return Err(Error::UnwritableOperators {
            list: writer.unwritable,
        });
    }
    writer.interface()?;
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        graph: Some(writer.message),
        opset_import: vec![OperatorSetProto {
            domain: String::new(),
            version: writer.opset,
        }],
        ..ModelProto::default()
    };
    let len = prost::Message::encoded_len(&model);
    if len > MOST_BYTES {
        return Err(Error::Model {
            what: format!("the file would have {len} bytes, at most {MOST_BYTES} are possible"),
        });
    }
    encoded(&model)
}

/// A file that grows.
struct Writer<'g> {
    graph: &'g Graph,
    names: Names<'g>,
    sizes: Sizes<'g>,
    message: GraphProto,
    opset: i64,
    /// Each operator that has no form in a file, with its node.
    unwritable: Vec<String>,
}

impl Writer<'_> {
    /// One node, unless nobody can read what it makes.
    fn node(&mut self, node: &Node) -> Result<()> {
        if node.outputs.iter().all(Option::is_none) {
            return Ok(());
        }
        let facts = node.inputs.iter().map(|input| self.sizes.fact((*input)?));
        let facts: Vec<Option<Fact>> = facts.collect();
        let given = node.inputs.iter().map(Option::is_some).collect();
        let mut writer = NodeWriter::new(given, facts.iter().map(Option::as_ref).collect());
        let operator = node.operator.as_ref();
        let reason = match operators::write(operator, &mut writer) {
            Some(Ok(())) => None,
            Some(Err(reason)) => Some(format!(": {reason}")),
            None => Some(String::new()),
        };
        if let Some(reason) = reason {
            let what = format!("{} ({}){reason}", operator.name(), node.name);
            self.unwritable.push(what);
            return Ok(());
        }
        self.opset = self.opset.max(writer.opset);
        let NodeWriter {
            attributes,
            inputs: constants,
            behind,
            ..
        } = writer;

        let mut inputs = Vec::new();
        for &input in &node.inputs {
            inputs.push(self.read(input)?);
        }
        for (index, tensor) in constants {
            if inputs.len() <= index {
                inputs.resize(index + 1, String::new());
            }
            inputs[index] = self.constant(format!("{}/input{index}", node.name), &tensor)?;
        }
        let outputs = node.outputs.iter().map(|output| match output {
            Some(value) => self.names.of(*value),
            None => String::new(),
        });
        let mut chain = vec![NodeProto {
            op_type: operator.name().to_owned(),
            name: node.name.clone(),
            output: outputs.collect(),
            attribute: attributes,
            ..NodeProto::default()
        }];
        for behind in behind {
            let Some(before) = chain.last_mut() else {
                break;
            };
            let next = self.behind(node, behind, &mut inputs, before)?;
            chain.push(next);
        }
        chain[0].input = inputs;
        chain.into_iter().for_each(|node| self.push(node));
        Ok(())
    }

    /// An operator behind a node: it takes over the output of the one `before`, and what it reads of `inputs`.
    fn behind(
        &mut self,
        node: &Node,
        behind: Behind,
        inputs: &mut [String],
        before: &mut NodeProto,
    ) -> Result<NodeProto> {
        let name = format!("{}/{}", node.name, behind.op_type);
        let between = self
            .names
            .fresh(format!("{}/{}", node.name, before.op_type));
        let output = std::mem::replace(&mut before.output[0], between.clone());
        let mut input = vec![between];
        for (index, extra) in behind.inputs.into_iter().enumerate() {
            input.push(match extra {
                Extra::Moved(input) => std::mem::take(&mut inputs[input]),
                Extra::Constant(tensor) => {
                    self.constant(format!("{name}/input{}", index + 1), &tensor)?
                }
            });
        }
        Ok(NodeProto {
            op_type: behind.op_type.to_owned(),
            name,
            input,
            output: vec![output],
            attribute: behind.attributes,
            ..NodeProto::default()
        })
    }

    /// A node with a name of its own, without inputs and outputs that are left out at its end.
    fn push(&mut self, mut node: NodeProto) {
        let first = node.output.iter().find(|name| !name.is_empty());
        if let (true, Some(first)) = (node.name.is_empty(), first) {
            node.name.clone_from(first);
        }
        node.name = self.names.of_node(node.name);
        for names in [&mut node.input, &mut node.output] {
            let given = names.iter().rposition(|name| !name.is_empty());
            names.truncate(given.map_or(0, |last| last + 1));
        }
        self.message.node.push(node);
    }

    /// The name of an input; a constant that is met for the first time gets its place in the file.
    fn read(&mut self, input: Option<ValueId>) -> Result<String> {
        let Some(value) = input else {
            return Ok(String::new());
        };
        let name = self.names.of(value);
        if let Some(tensor) = self.graph.constant_of(value)
            && self.names.first(value)
        {
            self.message.initializer.push(message(&name, tensor)?);
        }
        Ok(name)
    }

    /// A constant that the graph does not have.
    fn constant(&mut self, wanted: String, tensor: &Tensor) -> Result<String> {
        let name = self.names.fresh(wanted);
        self.message.initializer.push(message(&name, tensor)?);
        Ok(name)
    }

    /// What goes in and what comes out.
    fn interface(&mut self) -> Result<()> {
        for input in self.graph.inputs() {
            let name = self.read(Some(input.value))?;
            let shape = input.dims.as_deref().map(sizes::written).transpose()?;
            let r#type = Some(declared(number(input.dtype), shape));
            self.message.input.push(ValueInfoProto { name, r#type });
        }
        for &output in self.graph.outputs() {
            let name = self.read(Some(output))?;
            let known = self.sizes.output(output)?;
            let r#type = known.map(|(dtype, shape)| declared(number(dtype), Some(shape)));
            self.message.output.push(ValueInfoProto { name, r#type });
        }
        Ok(())
    }
}

fn declared(elem_type: i32, shape: Option<TensorShapeProto>) -> TypeProto {
    TypeProto {
        tensor_type: Some(TensorTypeProto { elem_type, shape }),
    }
}
