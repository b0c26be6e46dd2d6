//! The graph of a model whose operators are all known: names become values, nodes operators.
//!
//! Every value has one name and is made once; nodes come in an order in which they can run.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::functions::Flat;
use super::operators;
use super::proto::{NodeProto, TensorProto, ValueInfoProto};
use super::reader::NodeReader;
use super::source::Source;
use super::tensor;
use crate::error::{Error, Result};
use crate::network::{DType, Dim, Graph, Node, Tensor, ValueId};

fn wrong(what: String) -> Error {
    Error::Model { what }
}

/// What a node is called in errors: its name, or its first output.
pub(super) fn label(node: &NodeProto) -> &str {
    let outputs = node.output.iter().find(|name| !name.is_empty());
    match (node.name.as_str(), outputs) {
        ("", Some(output)) => output,
        (name, _) => name,
    }
}

/// A graph that grows.
pub(super) struct Builder<'a> {
    source: &'a Source,
    graph: Graph,
    values: HashMap<String, ValueId>,
    node_names: HashSet<String>,
    /// How many names were made up.
    made_up: usize,
}

impl<'a> Builder<'a> {
    pub fn new(source: &'a Source) -> Self {
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
    pub fn values(
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
    pub fn nodes(&mut self, nodes: Vec<Flat>) -> Result<()> {
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
        let name = label(node).to_owned();

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
            let others = through
                .others
                .iter()
                .map(|&other| inputs.get(other).copied().flatten());
            let node = Node {
                name: format!("{name}/{}", through.operator.name()),
                operator: through.operator,
                inputs: [Some(value)].into_iter().chain(others).collect(),
                outputs: vec![Some(id)],
            };
            self.push(node);
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
        self.push(Node {
            name,
            operator,
            inputs,
            outputs,
        });
        Ok(())
    }

    /// A node whose name is made unique.
    fn push(&mut self, mut node: Node) {
        node.name = self.unique(node.name);
        self.graph.push(node);
    }

    /// A name that no node has yet.
    fn unique(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        while !self.node_names.insert(name.clone()) {
            self.made_up += 1;
            name = format!("{wanted}#{}", self.made_up);
        }
        name
    }

    /// What comes out.
    pub fn outputs(mut self, outputs: &[ValueInfoProto]) -> Result<Graph> {
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
