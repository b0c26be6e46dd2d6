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
    let failed = |error: std::io::Error| Error::io(path, &error);
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

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, arr1};
    use prost::Message;

    use super::super::proto::{
        AttributeProto, DimensionProto, FunctionProto, NodeProto, OperatorSetProto,
        SparseTensorProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
        ValueInfoProto,
    };
    use super::*;
    use crate::network::{Network, Tensor};

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: op.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            ..NodeProto::default()
        }
    }

    fn with(node: NodeProto, attribute: AttributeProto) -> NodeProto {
        let mut node = node;
        node.attribute.push(attribute);
        node
    }

    fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            i: Some(value),
            ..AttributeProto::default()
        }
    }

    /// An f32 of two elements.
    fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
        let dim = |&size: &i64| DimensionProto {
            dim_value: Some(size),
            dim_param: None,
        };
        let shape = TensorShapeProto {
            dim: dims.iter().map(dim).collect(),
        };
        ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                tensor_type: Some(TensorTypeProto {
                    elem_type: 1,
                    shape: Some(shape),
                }),
            }),
        }
    }

    fn constant(name: &str, values: [f32; 2]) -> TensorProto {
        TensorProto {
            name: name.to_owned(),
            data_type: 1,
            dims: vec![2],
            float_data: values.to_vec(),
            ..TensorProto::default()
        }
    }

    /// x -> `nodes` -> y
    fn model_of(nodes: Vec<NodeProto>) -> ModelProto {
        ModelProto {
            ir_version: 8,
            graph: Some(GraphProto {
                node: nodes,
                input: vec![value("x", &[2])],
                output: vec![value("y", &[2])],
                ..GraphProto::default()
            }),
            opset_import: vec![OperatorSetProto {
                domain: String::new(),
                version: 17,
            }],
            ..ModelProto::default()
        }
    }

    fn read(model: &ModelProto) -> Result<Graph> {
        import_bytes(model.encode_to_vec(), &ImportOptions::new())
    }

    /// What the message says.
    fn refused(model: &ModelProto) -> String {
        read(model).unwrap_err().to_string()
    }

    fn run(model: &ModelProto, inputs: &[(&str, [f32; 2])]) -> Vec<f32> {
        let network = Network::new(read(model).unwrap()).unwrap();
        let tensor = |values: &[f32; 2]| Tensor::from(arr1(values).into_dyn());
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, values)| (*name, tensor(values)))
            .collect();
        let outputs = network.run(&inputs).unwrap();
        let output: &ArrayD<f32> = outputs[0].1.array().unwrap();
        output.iter().copied().collect()
    }

    fn change(model: &ModelProto, change: impl FnOnce(&mut GraphProto)) -> ModelProto {
        let mut model = model.clone();
        change(model.graph.as_mut().unwrap());
        model
    }

    #[test]
    fn equations() {
        let model = |equation: &str| {
            let attribute = AttributeProto {
                name: "equation".to_owned(),
                s: Some(equation.to_owned().into()),
                ..AttributeProto::default()
            };
            model_of(vec![with(node("Einsum", &["x", "x"], &["y"]), attribute)])
        };
        let inputs = [("x", [1.0, 2.0])];
        assert_eq!(run(&model(" i , j -> i "), &inputs), [3.0, 6.0]);
        assert_eq!(run(&model("i,i->i"), &inputs), [1.0, 4.0]);
        let message = refused(&model("i,j->k"));
        let expected = "attribute equation is \"i,j->k\", expected an operand with 'k'";
        assert!(message.contains(expected), "{message}");
        let without = model_of(vec![node("Einsum", &["x"], &["y"])]);
        let message = refused(&without);
        assert!(
            message.contains("attribute equation is absent"),
            "{message}"
        );
    }

    /// Before version 16 the centre of the first pixel is at 0, from then on its corner.
    #[test]
    fn regions_of_every_operator_set() {
        let list = |name: &str, values: &[i64]| TensorProto {
            name: name.to_owned(),
            data_type: 7,
            dims: vec![values.len() as i64],
            int64_data: values.to_vec(),
            ..TensorProto::default()
        };
        let regions = TensorProto {
            dims: vec![1, 4],
            float_data: vec![0.0, 0.0, 2.0, 1.0],
            ..constant("rois", [0.0; 2])
        };
        let mode = |mode: &str| AttributeProto {
            name: "coordinate_transformation_mode".to_owned(),
            s: Some(mode.to_owned().into()),
            ..AttributeProto::default()
        };
        let align = node("RoiAlign", &["image", "rois", "images"], &["regions"]);
        let model = |version: i64, align: NodeProto| {
            let mut model = model_of(vec![
                node("Reshape", &["x", "shape"], &["image"]),
                with(align, int("output_width", 2)),
                node("Reshape", &["regions", "two"], &["y"]),
            ]);
            model.opset_import[0].version = version;
            change(&model, |graph| {
                let lists = [
                    list("shape", &[1, 1, 1, 2]),
                    list("images", &[0]),
                    list("two", &[2]),
                ];
                graph.initializer.extend(lists);
                graph.initializer.push(regions.clone());
            })
        };
        let inputs = [("x", [0.0, 1.0])];
        let old = with(align.clone(), mode("output_half_pixel"));
        assert_eq!(run(&model(10, align.clone()), &inputs), [0.5, 1.0]);
        assert_eq!(run(&model(15, align.clone()), &inputs), [0.5, 1.0]);
        assert_eq!(run(&model(16, align), &inputs), [0.0, 1.0]);
        assert_eq!(run(&model(22, old.clone()), &inputs), [0.5, 1.0]);
        let message = refused(&model(10, old));
        let name = "coordinate_transformation_mode";
        assert!(message.contains(name), "{message}");
    }

    #[test]
    fn nodes_in_any_order() {
        let nodes = vec![
            node("Add", &["a", "b"], &["y"]),
            node("Neg", &["a"], &["b"]),
            node("Exp", &["x"], &["a"]),
        ];
        let model = model_of(nodes);
        assert_eq!(run(&model, &[("x", [0.0, 1.0])]), [0.0, 0.0]);
        let graph = read(&model).unwrap();
        let names: Vec<_> = graph
            .nodes()
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b", "y"]);
    }

    #[test]
    fn nodes_have_names_of_their_own() {
        let twin = |mut node: NodeProto| {
            node.name = "twin".to_owned();
            node
        };
        let nodes = vec![
            twin(node("Exp", &["x"], &["a"])),
            twin(node("Exp", &["a"], &["b"])),
            node("Exp", &["b"], &["y"]),
        ];
        let graph = read(&model_of(nodes)).unwrap();
        let names: Vec<_> = graph
            .nodes()
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(names, ["twin", "twin#1", "y"]);
    }

    /// Before version 4 of the format a constant among the inputs is a constant, afterwards a default.
    #[test]
    fn constants_among_the_inputs() {
        let model = change(&model_of(vec![node("Add", &["x", "w"], &["y"])]), |graph| {
            graph.input.push(value("w", &[2]));
            graph.initializer.push(constant("w", [10.0, 20.0]));
        });
        assert_eq!(run(&model, &[("x", [1.0, 2.0])]), [11.0, 22.0]);
        let both = [("x", [1.0, 2.0]), ("w", [0.0, 5.0])];
        assert_eq!(run(&model, &both), [1.0, 7.0]);
        let old = ModelProto {
            ir_version: 3,
            ..model.clone()
        };
        assert_eq!(run(&old, &[("x", [1.0, 2.0])]), [11.0, 22.0]);
        assert_eq!(read(&old).unwrap().inputs().len(), 1);

        let integers = change(&model, |graph| {
            let declared = graph.input[1].r#type.as_mut().unwrap();
            declared.tensor_type.as_mut().unwrap().elem_type = 7;
        });
        let message = refused(&integers);
        assert!(
            message.contains("type i64 are announced, the constant has f32"),
            "{message}"
        );
        let longer = change(&model, |graph| graph.input[1] = value("w", &[3]));
        let message = refused(&longer);
        assert!(
            message.contains("input \"w\"") && message.contains("[2]"),
            "{message}"
        );
    }

    #[test]
    fn constants_of_nodes() {
        let pair = |attribute: AttributeProto| with(node("Constant", &[], &["c"]), attribute);
        let sum = node("Add", &["x", "c"], &["y"]);
        let base = AttributeProto::default();
        for (attribute, expected) in [
            (
                AttributeProto {
                    name: "value".to_owned(),
                    t: Some(constant("", [1.0, 2.0])),
                    ..base.clone()
                },
                [2.0, 3.0],
            ),
            (
                AttributeProto {
                    name: "value_float".to_owned(),
                    f: Some(4.0),
                    ..base.clone()
                },
                [5.0, 5.0],
            ),
            (
                AttributeProto {
                    name: "value_floats".to_owned(),
                    floats: vec![6.0, 7.0],
                    ..base.clone()
                },
                [7.0, 8.0],
            ),
        ] {
            let model = model_of(vec![pair(attribute), sum.clone()]);
            assert_eq!(run(&model, &[("x", [1.0, 1.0])]), expected);
        }
        let twice = with(pair(int("value_int", 1)), int("value_ints", 1));
        assert!(refused(&model_of(vec![twice, sum])).contains("value_ints is an integer"));
    }

    #[test]
    fn all_operators_that_are_not_there() {
        let nodes = vec![
            NodeProto {
                name: "first".to_owned(),
                ..node("Nothing", &["x"], &["a"])
            },
            node("Exp", &["a"], &["b"]),
            NodeProto {
                domain: "own".to_owned(),
                ..node("Exp", &["b"], &["c"])
            },
            node("Nothing", &["c"], &["y"]),
        ];
        assert_eq!(
            read(&model_of(nodes)).unwrap_err(),
            Error::UnsupportedOperators {
                list: vec!["Nothing (first, y)".to_owned(), "own::Exp (c)".to_owned()]
            }
        );
    }

    #[test]
    fn functions_of_the_model() {
        let function = FunctionProto {
            name: "Twice".to_owned(),
            domain: "own".to_owned(),
            input: vec!["a".to_owned()],
            output: vec!["b".to_owned()],
            node: vec![node("Add", &["a", "a"], &["b"])],
            opset_import: vec![OperatorSetProto {
                domain: String::new(),
                version: 14,
            }],
            ..FunctionProto::default()
        };
        let call = |from: &str, to: &str| NodeProto {
            domain: "own".to_owned(),
            ..node("Twice", &[from], &[to])
        };
        let mut model = model_of(vec![call("x", "t"), call("t", "y")]);
        model.functions.push(function);
        assert_eq!(run(&model, &[("x", [1.0, 2.0])]), [4.0, 8.0]);
    }

    #[test]
    fn models_that_contradict_themselves() {
        let base = model_of(vec![node("Exp", &["x"], &["y"])]);
        let nodes = |nodes: Vec<NodeProto>| model_of(nodes);
        let exp = |from: &str, to: &str| node("Exp", &[from], &[to]);
        for (model, expected) in [
            (
                nodes(vec![exp("z", "y")]),
                "node \"y\" (Exp) reads \"z\", which nothing makes",
            ),
            (nodes(vec![exp("y", "a"), exp("a", "y")]), "cycle"),
            (nodes(vec![exp("x", "y"), exp("x", "y")]), "the name \"y\""),
            (nodes(vec![exp("x", "x"), exp("x", "y")]), "the name \"x\""),
            (nodes(vec![exp("x", "a")]), "nothing makes the output \"y\""),
            (nodes(vec![exp("", "y")]), "missing"),
            (
                change(&base, |graph| graph.output.clear()),
                "without outputs",
            ),
            (
                change(&base, |graph| graph.input.push(value("x", &[2]))),
                "the name \"x\"",
            ),
            (
                change(&base, |graph| graph.input[0].name.clear()),
                "without a name",
            ),
            (
                change(&base, |graph| graph.input[0].r#type = None),
                "input \"x\": no tensor",
            ),
            (
                change(&base, |graph| graph.input[0] = value("x", &[-1])),
                "the size -1",
            ),
            (
                change(&base, |graph| graph.input[0] = value("x", &[1; 65])),
                "65 axes",
            ),
            (
                change(&base, |graph| {
                    graph.initializer = vec![constant("y", [0.0; 2])]
                }),
                "the name \"y\"",
            ),
            (
                change(&base, |graph| {
                    graph.initializer = vec![constant("w", [0.0; 2]); 2]
                }),
                "the name \"w\"",
            ),
            (
                change(&base, |graph| {
                    graph.sparse_initializer = vec![SparseTensorProto::default()];
                }),
                "only dense tensors",
            ),
        ] {
            let message = refused(&model);
            assert!(message.contains(expected), "{message}, expected {expected}");
        }
    }

    #[test]
    fn versions() {
        let base = model_of(vec![node("Exp", &["x"], &["y"])]);
        let sets = |versions: &[i64]| {
            let mut model = base.clone();
            let set = |&version: &i64| OperatorSetProto {
                domain: String::new(),
                version,
            };
            model.opset_import = versions.iter().map(set).collect();
            model
        };
        for version in OPERATOR_SETS.0..=OPERATOR_SETS.1 {
            assert_eq!(run(&sets(&[version]), &[("x", [0.0, 0.0])]), [1.0, 1.0]);
        }
        for (model, expected) in [
            (sets(&[5]), "operator set 5, versions 6 to"),
            (sets(&[99]), "operator set 99"),
            (sets(&[i64::MIN]), "operator set -9223372036854775808"),
            (sets(&[]), "no version of the operator set"),
            (sets(&[13, 14]), "two versions"),
            (
                ModelProto {
                    ir_version: 15,
                    ..base.clone()
                },
                "ir_version is 15",
            ),
            (
                ModelProto {
                    ir_version: -1,
                    ..base.clone()
                },
                "ir_version is -1",
            ),
            (
                ModelProto {
                    graph: None,
                    ..base.clone()
                },
                "without a graph",
            ),
        ] {
            let message = refused(&model);
            assert!(message.contains(expected), "{message}, expected {expected}");
        }
    }

    #[test]
    fn attributes_are_read_or_refused() {
        let leaky = |attribute| model_of(vec![with(node("LeakyRelu", &["x"], &["y"]), attribute)]);
        let alpha = |value: f32| AttributeProto {
            name: "alpha".to_owned(),
            f: Some(value),
            ..AttributeProto::default()
        };
        assert_eq!(run(&leaky(alpha(0.5)), &[("x", [-2.0, 2.0])]), [-1.0, 2.0]);
        let node_twice = with(
            with(node("LeakyRelu", &["x"], &["y"]), alpha(1.0)),
            alpha(1.0),
        );
        for (model, expected) in [
            (leaky(int("beta", 1)), "attribute beta is unknown"),
            (
                leaky(int("alpha", 1)),
                "attribute alpha is an integer, expected a float",
            ),
            (model_of(vec![node_twice]), "attribute alpha is given twice"),
        ] {
            let message = refused(&model);
            assert!(message.contains("node \"y\" (LeakyRelu)"), "{message}");
            assert!(message.contains(expected), "{message}, expected {expected}");
        }
    }

    #[test]
    fn memory_has_a_limit() {
        let model = change(&model_of(vec![node("Add", &["x", "w"], &["y"])]), |graph| {
            graph.initializer.push(TensorProto {
                name: "w".to_owned(),
                data_type: 1,
                dims: vec![1000],
                raw_data: Some(vec![0; 4000].into()),
                ..TensorProto::default()
            });
        });
        let bytes = model.encode_to_vec();
        for (limit, fits) in [
            (bytes.len(), false),
            (bytes.len() + 3000, false),
            (20_000, true),
        ] {
            let graph = import_bytes(bytes.clone(), &ImportOptions::new().memory_limit(limit));
            assert_eq!(graph.is_ok(), fits, "{limit}: {graph:?}");
        }
    }
}
