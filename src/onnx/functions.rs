//! Functions of a model, put in the place of the nodes that call them.
//!
//! ```text
//! y = f(x)      f(a) = { t = Relu(a); b = Exp(t) }  ->  b      ──►      call/t = Relu(x); y = Exp(call/t)
//! ```
//!
//! An attribute of a body that refers to one of the function takes the value at the call, or the function's
//! default, or is left out. Calls nest to a bounded depth, so that functions that call themselves end.

use std::collections::HashMap;

use prost::Message;

use super::proto::{AttributeProto, FunctionProto, NodeProto, OperatorSetProto};
use super::source::Source;
use crate::error::{Error, Result};

/// How deep calls may nest.
const MAX_CALLS: usize = 64;

/// A node that is no call, with the version of the standard's operators where it stands.
pub(super) struct Flat {
    pub node: NodeProto,
    /// Absent where the standard's operators are not imported.
    pub opset: Option<i64>,
}

/// The standard's domain has two names.
pub(super) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The version of the standard's operators that is imported.
pub(super) fn standard_version(imports: &[OperatorSetProto]) -> Result<Option<i64>> {
    let mut versions = imports
        .iter()
        .filter(|import| is_standard(&import.domain))
        .map(|import| import.version);
    let first = versions.next();
    match versions.find(|&other| Some(other) != first) {
        Some(other) => Err(Error::Model {
            what: format!(
                "two versions of the operator set are imported: {} and {other}",
                first.unwrap_or_default()
            ),
        }),
        None => Ok(first),
    }
}

type Key<'a> = (&'a str, &'a str, &'a str);

fn key<'a>(domain: &'a str, name: &'a str, overload: &'a str) -> Key<'a> {
    let domain = match is_standard(domain) {
        true => "",
        false => domain,
    };
    (domain, name, overload)
}

/// `nodes` without calls of `functions`.
pub(super) fn inline(
    nodes: Vec<NodeProto>,
    opset: Option<i64>,
    functions: &[FunctionProto],
    source: &Source,
) -> Result<Vec<Flat>> {
    let mut known = HashMap::new();
    for function in functions {
        let name = key(&function.domain, &function.name, &function.overload);
        if known.insert(name, function).is_some() {
            return Err(Error::Model {
                what: format!("function {}::{} is defined twice", name.0, name.1),
            });
        }
    }
    let mut inliner = Inliner {
        known,
        source,
        calls: 0,
        flat: Vec::new(),
    };
    for node in nodes {
        inliner.add(node, opset, 0)?;
    }
    Ok(inliner.flat)
}

struct Inliner<'a> {
    known: HashMap<Key<'a>, &'a FunctionProto>,
    source: &'a Source,
    /// How many calls there were, to tell their values apart.
    calls: usize,
    flat: Vec<Flat>,
}

impl Inliner<'_> {
    fn add(&mut self, node: NodeProto, opset: Option<i64>, depth: usize) -> Result<()> {
        let name = key(&node.domain, &node.op_type, &node.overload);
        let Some(&function) = self.known.get(&name) else {
            self.flat.push(Flat { node, opset });
            return Ok(());
        };
        self.call(&node, function, depth)
            .map_err(|error| match depth {
                0 => error.at(format!("node {:?}, function {}", node.name, function.name)),
                _ => error,
            })
    }

    fn call(&mut self, node: &NodeProto, function: &FunctionProto, depth: usize) -> Result<()> {
        if depth >= MAX_CALLS {
            return Err(Error::Model {
                what: format!("calls of functions are nested deeper than {MAX_CALLS}"),
            });
        }
        for (what, given, most) in [
            ("inputs", node.input.len(), function.input.len()),
            ("outputs", node.output.len(), function.output.len()),
        ] {
            if given > most {
                return Err(Error::Model {
                    what: format!("{given} {what}, it has {most}"),
                });
            }
        }
        self.calls += 1;
        let prefix = match node.name.as_str() {
            "" => format!("{}#{}", function.name, self.calls),
            name => format!("{name}#{}", self.calls),
        };
        let mut names = HashMap::new();
        // An input that is left out keeps the empty name.
        for (at, formal) in function.input.iter().enumerate() {
            let actual = node.input.get(at).cloned().unwrap_or_default();
            names.insert(formal.as_str(), actual);
        }
        for (formal, actual) in function.output.iter().zip(&node.output) {
            if !actual.is_empty() {
                names.insert(formal, actual.clone());
            }
        }
        let opset = standard_version(&function.opset_import)?;
        for inner in &function.node {
            let values = inner.input.len() + inner.output.len() + 1;
            let names_len = values.saturating_mul(prefix.len() + 2 * size_of::<String>());
            let message = inner.encoded_len().saturating_mul(4);
            self.source.claim(message.saturating_add(names_len))?;
            let renamed = |name: &String| match names.get(name.as_str()) {
                Some(actual) => actual.clone(),
                None if name.is_empty() => String::new(),
                None => format!("{prefix}/{name}"),
            };
            let body = NodeProto {
                input: inner.input.iter().map(renamed).collect(),
                output: inner.output.iter().map(renamed).collect(),
                name: match inner.name.as_str() {
                    "" => String::new(),
                    name => format!("{prefix}/{name}"),
                },
                op_type: inner.op_type.clone(),
                attribute: attributes(inner, node, function)?,
                domain: inner.domain.clone(),
                overload: inner.overload.clone(),
            };
            self.add(body, opset, depth + 1)?;
        }
        Ok(())
    }
}

/// The attributes of `inner`, in the body of `function`, which `call` calls.
fn attributes(
    inner: &NodeProto,
    call: &NodeProto,
    function: &FunctionProto,
) -> Result<Vec<AttributeProto>> {
    let mut attributes = Vec::new();
    for attribute in &inner.attribute {
        let wanted = &attribute.ref_attr_name;
        if wanted.is_empty() {
            attributes.push(attribute.clone());
            continue;
        }
        let named = |candidate: &&AttributeProto| candidate.name == *wanted;
        let given = call.attribute.iter().find(named);
        let default = function.attribute_proto.iter().find(named);
        match given.or(default) {
            Some(value) => attributes.push(AttributeProto {
                name: attribute.name.clone(),
                ..value.clone()
            }),
            None if function.attribute.contains(wanted) => {}
            None => {
                return Err(Error::Model {
                    what: format!(
                        "attribute {} refers to {wanted}, which the function does not have",
                        attribute.name
                    ),
                });
            }
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: op.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            ..NodeProto::default()
        }
    }

    fn call(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            domain: "own".to_owned(),
            ..node(op, inputs, outputs)
        }
    }

    fn function(
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        body: Vec<NodeProto>,
    ) -> FunctionProto {
        FunctionProto {
            name: name.to_owned(),
            domain: "own".to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            node: body,
            opset_import: vec![OperatorSetProto {
                domain: "ai.onnx".to_owned(),
                version: 18,
            }],
            ..FunctionProto::default()
        }
    }

    fn attribute(name: &str, value: i64, refers_to: &str) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            i: Some(value),
            ref_attr_name: refers_to.to_owned(),
            ..AttributeProto::default()
        }
    }

    fn flat(nodes: Vec<NodeProto>, functions: &[FunctionProto]) -> Result<Vec<Flat>> {
        inline(nodes, Some(20), functions, &Source::new(None, 1 << 20))
    }

    /// `op(inputs) outputs` of each node.
    fn listing(flat: &[Flat]) -> Vec<String> {
        flat.iter()
            .map(|Flat { node, opset }| {
                let (inputs, outputs) = (node.input.join(","), node.output.join(","));
                format!("{}({inputs}) {outputs} {}", node.op_type, opset.unwrap())
            })
            .collect()
    }

    #[test]
    fn a_call_becomes_the_body() {
        let body = vec![
            node("Relu", &["a"], &["t"]),
            node("Clip", &["t", "", "b"], &["c"]),
        ];
        let functions = [function("F", &["a", "b"], &["c", "t"], body)];
        let nodes = vec![
            call("F", &["x", "m"], &["y"]),
            call("F", &["y"], &["z", "u"]),
            node("Exp", &["z"], &["t"]),
        ];
        assert_eq!(
            listing(&flat(nodes, &functions).unwrap()),
            [
                "Relu(x) F#1/t 18",
                "Clip(F#1/t,,m) y 18",
                "Relu(y) u 18",
                "Clip(u,,) z 18",
                "Exp(z) t 20",
            ]
        );
    }

    #[test]
    fn attributes_of_the_call_and_defaults() {
        let inner = NodeProto {
            attribute: vec![
                attribute("axis", 0, "along"),
                attribute("keepdims", 0, "keep"),
                attribute("largest", 0, "absent"),
                attribute("sorted", 1, ""),
            ],
            ..node("TopK", &["a"], &["b"])
        };
        let functions = [FunctionProto {
            attribute: vec!["along".to_owned(), "absent".to_owned()],
            attribute_proto: vec![attribute("keep", 7, "")],
            ..function("F", &["a"], &["b"], vec![inner])
        }];
        let caller = NodeProto {
            attribute: vec![attribute("along", 3, "")],
            ..call("F", &["x"], &["y"])
        };
        let flat = flat(vec![caller], &functions).unwrap();
        let found: Vec<_> = flat[0]
            .node
            .attribute
            .iter()
            .map(|attribute| (attribute.name.as_str(), attribute.i.unwrap()))
            .collect();
        assert_eq!(found, [("axis", 3), ("keepdims", 7), ("sorted", 1)]);
    }

    #[test]
    fn functions_call_functions() {
        let inner = function("G", &["a"], &["b"], vec![node("Exp", &["a"], &["b"])]);
        let body = vec![call("G", &["a"], &["t"]), call("G", &["t"], &["b"])];
        let outer = function("F", &["a"], &["b"], body);
        let nodes = vec![NodeProto {
            name: "n".to_owned(),
            ..call("F", &["x"], &["y"])
        }];
        assert_eq!(
            listing(&flat(nodes, &[outer, inner]).unwrap()),
            ["Exp(x) n#1/t 18", "Exp(n#1/t) y 18"]
        );
    }

    #[test]
    fn calls_without_end_and_without_number() {
        let endless = function("F", &["a"], &["b"], vec![call("F", &["a"], &["b"])]);
        let error = flat(vec![call("F", &["x"], &["y"])], &[endless])
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("nested deeper than 64"),
            "{error}"
        );

        // Each function calls the next twice: 2^40 nodes.
        let functions: Vec<_> = (0..40)
            .map(|level| {
                let next = format!("F{}", level + 1);
                let body = vec![call(&next, &["a"], &["t"]), call(&next, &["t"], &["b"])];
                function(&format!("F{level}"), &["a"], &["b"], body)
            })
            .collect();
        let error = flat(vec![call("F0", &["x"], &["y"])], &functions)
            .err()
            .unwrap();
        assert!(error.to_string().contains("memory budget"), "{error}");
    }

    #[test]
    fn wrong_calls() {
        let one = || function("F", &["a"], &["b"], vec![node("Exp", &["a"], &["b"])]);
        for (nodes, functions, expected) in [
            (
                vec![call("F", &["x", "x"], &["y"])],
                vec![one()],
                "2 inputs, it has 1",
            ),
            (
                vec![call("F", &["x"], &["y", "z"])],
                vec![one()],
                "2 outputs, it has 1",
            ),
            (vec![], vec![one(), one()], "own::F is defined twice"),
        ] {
            let error = flat(nodes, &functions).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let inner = NodeProto {
            attribute: vec![attribute("axis", 0, "nowhere")],
            ..node("Exp", &["a"], &["b"])
        };
        let functions = [function("F", &["a"], &["b"], vec![inner])];
        let error = flat(vec![call("F", &["x"], &["y"])], &functions)
            .err()
            .unwrap();
        assert!(error.to_string().contains("refers to nowhere"), "{error}");
    }
}
