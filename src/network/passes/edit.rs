//! What the passes ask of a draft.

use std::any::Any;

use crate::network::draft::{Change, Draft, Node};
use crate::network::operator::Operator;

/// Who makes and who reads each value.
pub(super) struct Uses {
    makers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl Uses {
    pub fn new(draft: &Draft) -> Self {
        let mut uses = Self {
            makers: vec![None; draft.values.len()],
            readers: vec![Vec::new(); draft.values.len()],
        };
        for (index, node) in draft.nodes.iter().enumerate() {
            for &value in node.inputs.iter().flatten() {
                uses.readers[value].push(index);
            }
            for &value in &node.outputs {
                uses.makers[value] = Some(index);
            }
        }
        // The caller reads too: the node after the last.
        for &value in &draft.outputs {
            uses.readers[value].push(draft.nodes.len());
        }
        uses
    }

    /// The node that makes `value`.
    pub fn maker(&self, value: usize) -> Option<usize> {
        self.makers[value]
    }

    /// Whether node `reader` alone reads `value`, once.
    pub fn only(&self, value: usize, reader: usize) -> bool {
        self.readers[value] == [reader]
    }
}

/// The operator of `node`, if it is a `T`.
pub(super) fn operator<T: Operator>(node: &Node) -> Option<&T> {
    (node.operator.as_ref() as &dyn Any).downcast_ref()
}

impl Draft {
    /// Lets everything that reads `from` read `to`.
    pub(super) fn replace(&mut self, from: usize, to: usize) {
        let inputs = self
            .nodes
            .iter_mut()
            .flat_map(|node| node.inputs.iter_mut().flatten());
        for value in inputs.chain(&mut self.outputs) {
            if *value == from {
                *value = to;
            }
        }
    }

    /// Writes down a change.
    pub(super) fn note(&mut self, pass: &'static str, what: String) {
        self.changes.push(Change { pass, what });
    }

    /// Leaves out node `index`, whose first output is `value`: `by`, the node that makes the values that it read,
    /// makes `value` itself.
    pub(super) fn absorb(&mut self, pass: &'static str, index: usize, by: usize) {
        let node = self.nodes[index].clone();
        self.nodes[by].outputs[0] = node.outputs[0];
        self.note(
            pass,
            format!(
                "{} ({}) into {}",
                node.name,
                node.operator.name(),
                self.nodes[by].name
            ),
        );
        self.nodes.remove(index);
    }
}
