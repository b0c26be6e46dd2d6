//! A file becomes a graph.
//!
//! ```text
//! versions ──► calls inlined ──► every operator known? ──► nodes in order ──► inputs, constants, operators
//! ```

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::builder::{Builder, label};
use super::functions::{Flat, inline, is_standard, standard_version};
use super::operators;
use super::proto::{GraphProto, ModelProto};
use super::source::Source;
use super::wire;
use crate::element::reserved;
use crate::error::{Error, Result};
use crate::network::Graph;

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
