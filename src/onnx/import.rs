//! A model becomes a graph: everything has one name, is made once and before it is used.
//!
//! ```text
//! versions ──► calls inlined ──► every operator known? ──► nodes in order ──► inputs, constants, operators
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::functions::{Flat, inline, is_standard, standard_version};
use super::operators;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::reader::{NodeReader, Through};
use super::source::Source;
use super::tensor;
use super::wire;
use crate::element::reserved;
use crate::error::{Error, Result};
use crate::network::{DType, Dim, Graph, Node, Tensor, ValueId};

/// Memory that reading a model may take where the caller says nothing: 4 GiB, or half the address space.
pub const DEFAULT_MEMORY_LIMIT: usize = match usize::BITS {
    64 => 1 << 32,
    _ => isize::MAX as usize,
};

/// The oldest and the newest operator set that are read.
pub const OPERATOR_SETS: (i64, i64) = (6, 28);

/// The oldest and the newest version of the file format that are read.
const IR_VERSIONS: (i64, i64) = (1, 14);

/// From this version on, a constant that is also an input is a default that may be replaced.
const IR_WITH_DEFAULTS: i64 = 4;

/// How a model is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The most bytes that the file, its messages and its tensors may take, together.
    pub memory_limit: usize,
    /// The folder whose files tensors may refer to. Absent: the folder of the model, and none for a model that
    /// comes from memory.
    pub external_data: Option<PathBuf>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            memory_limit: DEFAULT_MEMORY_LIMIT,
            external_data: None,
        }
    }
}

impl ImportOptions {
    /// [`DEFAULT_MEMORY_LIMIT`], and files beside the model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`memory_limit`](Self::memory_limit).
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets [`external_data`](Self::external_data).
    #[must_use]
    pub fn external_data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.external_data = Some(folder.into());
        self
    }
}

/// Reads the network in an ONNX file.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read; otherwise what is wrong with the model, [at](Error::At) its
/// path: no ONNX ([`Error::Model`]), operators that are not there, all of them
/// ([`Error::UnsupportedOperators`]), a [node](Error::Node) with attributes that it cannot have, or more memory
/// than is allowed ([`Error::MemoryBudget`]).
pub fn import(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Graph> {
    let path = path.as_ref();
    let place = || path.display().to_string();
    let folder = match &options.external_data {
        Some(folder) => folder.clone(),
        None => match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        },
    };
    let bytes = read(path, options.memory_limit).map_err(|error| match error {
        error @ Error::Io { .. } => error,
        error => error.at(place()),
    })?;
    let source = Source::new(Some(folder), options.memory_limit);
    model(bytes, &source).map_err(|error| error.at(place()))
}

/// Reads the network in the bytes of an ONNX file.
///
/// # Errors
/// As [`import`].
pub fn import_bytes(bytes: impl Into<Vec<u8>>, options: &ImportOptions) -> Result<Graph> {
    let source = Source::new(options.external_data.clone(), options.memory_limit);
    model(bytes.into(), &source)
}

/// The bytes of a regular file of at most `limit` bytes.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::Io {
        path: path.display().to_string(),
        kind: error.kind(),
        what: error.to_string(),
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other("no regular file")));
    }
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if len > limit {
        return Err(Error::MemoryBudget {
            needed: len,
            budget: limit,
        });
    }
    let mut bytes = reserved(len)?;
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(metadata.len())
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

fn wrong(what: String) -> Error {
    Error::Model { what }
}

fn model(bytes: Vec<u8>, source: &Source) -> Result<Graph> {
    let model: ModelProto = wire::decode(bytes.into(), source)?;
    let (oldest, newest) = IR_VERSIONS;
    if !(oldest..=newest).contains(&model.ir_version) {
        return Err(wrong(format!(
            "ir_version is {}, versions {oldest} to {newest} are read",
            model.ir_version
        )));
    }
    let graph = model
        .graph
        .ok_or_else(|| wrong("a model without a graph".to_owned()))?;
    let opset = standard_version(&model.opset_import)?;
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |values| &values.name);
        return Err(wrong(format!(
            "sparse tensor {name:?}: only dense tensors are read"
        )));
    }
    let GraphProto {
        node,
        initializer,
        input,
        output,
        ..
    } = graph;
    let nodes = inline(node, opset, &model.functions, source)?;
    check_operators(&nodes)?;
    let defaults = model.ir_version >= IR_WITH_DEFAULTS;
    let mut builder = Builder::new(source);
    builder.values(initializer, &input, defaults)?;
    builder.nodes(nodes)?;
    builder.outputs(&output)
}

/// Fails with all operators that are not there.
fn check_operators(nodes: &[Flat]) -> Result<()> {
    let (oldest, newest) = OPERATOR_SETS;
    // Each operator with its nodes, in the order of the file.
    let mut missing: Vec<(String, Vec<&str>)> = Vec::new();
    let mut seen = HashMap::new();
    for Flat { node, opset } in nodes {
        let standard = is_standard(&node.domain);
        if !standard || !operators::is_known(&node.op_type) {
            let domain = match standard {
                true => String::new(),
                false => format!("{}::", node.domain),
            };
            let name = format!("{domain}{}", node.op_type);
            let at = *seen.entry(name.clone()).or_insert(missing.len());
            if at == missing.len() {
                missing.push((name, Vec::new()));
            }
            missing[at].1.push(label(node));
            continue;
        }
        match opset {
            None => {
                return Err(wrong(format!(
                    "node {:?} ({}): no version of the operator set is imported",
                    label(node),
                    node.op_type
                )));
            }
            Some(version) if !(oldest..=newest).contains(version) => {
                return Err(wrong(format!(
                    "operator set {version}, versions {oldest} to {newest} are read"
                )));
            }
            Some(_) => {}
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::UnsupportedOperators {
            list: missing
                .into_iter()
                .map(|(name, nodes)| format!("{name} ({})", nodes.join(", ")))
                .collect(),
        }),
    }
}

/// What a node is called in errors: its name, or its first output.
fn label(node: &NodeProto) -> &str {
    let outputs = node.output.iter().find(|name| !name.is_empty());
    match (node.name.as_str(), outputs) {
        ("", Some(output)) => output,
        (name, _) => name,
    }
}

struct Builder<'a> {
    source: &'a Source,
    graph: Graph,
    values: HashMap<String, ValueId>,
    node_names: HashSet<String>,
    /// How many names were made up.
    made_up: usize,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Source) -> Self {
        Self {
            source,
            graph: Graph::new(),
            values: HashMap::new(),
            node_names: HashSet::new(),
            made_up: 0,
        }
    }

    /// Notes the value of a name that must be new.
    fn name(&mut self, name: &str, value: ValueId) -> Result<()> {
        match self.values.insert(name.to_owned(), value) {
            _ if name.is_empty() => Err(wrong("a value without a name".to_owned())),
            None => Ok(()),
            Some(_) => Err(wrong(format!("two values have the name {name:?}"))),
        }
    }

    /// Inputs and constants.
    fn values(
        &mut self,
        initializers: Vec<TensorProto>,
        inputs: &[ValueInfoProto],
        defaults: bool,
    ) -> Result<()> {
        let declared: HashSet<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        let mut given = HashMap::new();
        for proto in initializers {
            let tensor = tensor::tensor(&proto, self.source)?;
            if !declared.contains(proto.name.as_str()) {
                let value = self.graph.constant(&proto.name, tensor);
                self.name(&proto.name, value)?;
            } else if let Some(_first) = given.insert(proto.name.clone(), tensor) {
                return Err(wrong(format!("two values have the name {:?}", proto.name)));
            }
        }
        for input in inputs {
            let at = |error: Error| error.at(format!("input {:?}", input.name));
            let (dtype, dims) = declaration(input).map_err(at)?;
            let value = match given.remove(&input.name) {
                None => self.graph.input(&input.name, dtype, dims),
                Some(tensor) => {
                    check_default(&tensor, dtype, dims.as_deref()).map_err(at)?;
                    match defaults {
                        true => self.graph.default_input(&input.name, tensor),
                        false => self.graph.constant(&input.name, tensor),
                    }
                }
            };
            self.name(&input.name, value)?;
        }
        Ok(())
    }

    /// The operators, in an order in which they can run.
    fn nodes(&mut self, nodes: Vec<Flat>) -> Result<()> {
        for at in self.order(&nodes)? {
            let Flat { node, opset } = &nodes[at];
            let opset = opset.expect("checked with the operators");
            self.node(node, opset).map_err(|error| Error::Node {
                node: label(node).to_owned(),
                operator: node.op_type.clone(),
                source: Box::new(error),
            })?;
        }
        Ok(())
    }

    /// The order of the file where that is one in which the nodes can run, else the nearest to it.
    fn order(&self, nodes: &[Flat]) -> Result<Vec<usize>> {
        let mut makers = HashMap::new();
        for (at, Flat { node, .. }) in nodes.iter().enumerate() {
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                let twice = makers.insert(name.as_str(), at).is_some();
                if twice || self.values.contains_key(name) {
                    return Err(wrong(format!(
                        "two values have the name {name:?}; the second is made by node {:?} ({})",
                        label(node),
                        node.op_type
                    )));
                }
            }
        }
        let mut users = vec![Vec::new(); nodes.len()];
        let mut waits = vec![0usize; nodes.len()];
        for (at, Flat { node, .. }) in nodes.iter().enumerate() {
            for name in node.input.iter().filter(|name| !name.is_empty()) {
                match makers.get(name.as_str()) {
                    Some(&maker) => {
                        users[maker].push(at);
                        waits[at] += 1;
                    }
                    None if self.values.contains_key(name) => {}
                    None => {
                        return Err(wrong(format!(
                            "node {:?} ({}) reads {name:?}, which nothing makes",
                            label(node),
                            node.op_type
                        )));
                    }
                }
            }
        }
        let ready = (0..nodes.len()).filter(|&at| waits[at] == 0);
        let mut ready: BTreeSet<usize> = ready.collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(at) = ready.pop_first() {
            order.push(at);
            for &user in &users[at] {
                waits[user] -= 1;
                if waits[user] == 0 {
                    ready.insert(user);
                }
            }
        }
        match (0..nodes.len()).find(|&at| waits[at] > 0) {
            None => Ok(order),
            Some(at) => Err(wrong(format!(
                "the graph has a cycle; node {:?} ({}) waits for it",
                label(&nodes[at].node),
                nodes[at].node.op_type
            ))),
        }
    }

    /// One node, with what its operator wants before and after it.
    fn node(&mut self, node: &NodeProto, opset: i64) -> Result<()> {
        let reader = NodeReader::new(node, opset, self.source)?;
        if node.op_type == "Constant" {
            let value = operators::constant(&reader)?;
            reader.finish()?;
            let [name] = node.output.as_slice() else {
                return Err(wrong(format!("{} outputs, expected 1", node.output.len())));
            };
            let id = self.graph.constant(name, value);
            return self.name(name, id);
        }
        let build = operators::find(&node.op_type).expect("checked with the operators");
        let operator = build(&reader)?;
        let rewrite = reader.finish()?;
        let name = self.node_name(node);

        let given = |name: &String| match name.is_empty() {
            true => None,
            false => self.values.get(name).copied(),
        };
        let mut inputs: Vec<_> = node.input.iter().map(given).collect();
        for (index, tensor) in rewrite.inputs {
            let id = self.graph.constant(format!("{name}/input{index}"), tensor);
            if inputs.len() <= index {
                inputs.resize(index + 1, None);
            }
            inputs[index] = Some(id);
        }
        for through in rewrite.before {
            let index = through.index;
            let Some(&Some(value)) = inputs.get(index) else {
                continue; // an optional input that is left out
            };
            let id = self.graph.value(format!("{name}/input{index}"));
            self.through(&name, through, value, id);
            inputs[index] = Some(id);
        }
        let mut outputs = Vec::new();
        for output in &node.output {
            outputs.push(match output.is_empty() {
                true => None,
                false => {
                    let id = self.graph.value(output);
                    self.name(output, id)?;
                    Some(id)
                }
            });
        }
        let mut last = Vec::new();
        for through in rewrite.after {
            let index = through.index;
            if let Some(&Some(value)) = outputs.get(index) {
                let id = self.graph.value(format!("{name}/output{index}"));
                outputs[index] = Some(id);
                last.push((through, id, value));
            }
        }
        self.graph.push(Node {
            name: name.clone(),
            operator,
            inputs,
            outputs,
        });
        // The one that was asked for last stands nearest to the node.
        for (through, from, to) in last.into_iter().rev() {
            self.through(&name, through, from, to);
        }
        Ok(())
    }

    /// A node of one output whose first input is `from`.
    fn through(&mut self, name: &str, through: Through, from: ValueId, to: ValueId) {
        let Through {
            operator,
            constants,
            ..
        } = through;
        let name = self.unique(format!("{name}/{}", operator.name()));
        let mut inputs = vec![Some(from)];
        for (at, tensor) in constants.into_iter().enumerate() {
            inputs.push(Some(
                self.graph
                    .constant(format!("{name}/input{}", at + 1), tensor),
            ));
        }
        self.graph.push(Node {
            name,
            operator,
            inputs,
            outputs: vec![Some(to)],
        });
    }

    /// The name of a node, made up where it has none or one that is taken.
    fn node_name(&mut self, node: &NodeProto) -> String {
        self.unique(label(node).to_owned())
    }

    fn unique(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        while !self.node_names.insert(name.clone()) {
            self.made_up += 1;
            name = format!("{wanted}#{}", self.made_up);
        }
        name
    }

    /// What comes out.
    fn outputs(mut self, outputs: &[ValueInfoProto]) -> Result<Graph> {
        if outputs.is_empty() {
            return Err(wrong("a graph without outputs".to_owned()));
        }
        for output in outputs {
            let Some(&value) = self.values.get(&output.name) else {
                return Err(wrong(format!("nothing makes the output {:?}", output.name)));
            };
            self.graph.output(value);
        }
        self.graph.check()?;
        Ok(self.graph)
    }
}

/// The element type and the axes that a model says an input has.
fn declaration(input: &ValueInfoProto) -> Result<(DType, Option<Vec<Dim>>)> {
    let tensor = input
        .r#type
        .as_ref()
        .and_then(|r#type| r#type.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| wrong("no tensor; only tensors are taken".to_owned()))?;
    let dtype = tensor::dtype(tensor.elem_type.into())?;
    let Some(shape) = &tensor.shape else {
        return Ok((dtype, None));
    };
    tensor::check_rank(shape.dim.len())?;
    let mut dims = Vec::new();
    for dim in &shape.dim {
        dims.push(match (dim.dim_value, &dim.dim_param) {
            (Some(size), _) => Dim::Size(
                usize::try_from(size).map_err(|_| wrong(format!("the size {size} of an axis")))?,
            ),
            (None, name) => Dim::Free(name.clone().unwrap_or_default()),
        });
    }
    Ok((dtype, Some(dims)))
}

/// Fails where a default is not what is said of its input.
fn check_default(tensor: &Tensor, dtype: DType, dims: Option<&[Dim]>) -> Result<()> {
    if tensor.dtype() != dtype {
        return Err(wrong(format!(
            "elements of type {} are announced, the constant has {}",
            dtype.name(),
            tensor.dtype().name()
        )));
    }
    let fits = dims.is_none_or(|dims| {
        let mut pairs = dims.iter().zip(tensor.shape());
        dims.len() == tensor.shape().len()
            && pairs.all(|(dim, &size)| match dim {
                Dim::Size(said) => *said == size,
                Dim::Free(_) => true,
            })
    });
    match fits {
        true => Ok(()),
        false => Err(wrong(format!(
            "the shape {dims:?} is announced, the constant has {:?}",
            tensor.shape()
        ))),
    }
}
