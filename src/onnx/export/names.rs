//! Every value and every node has a name of its own in a file; those of inputs and outputs are kept, others are made
//! unique.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::network::{Graph, ValueId};

/// The names of the values of a graph.
pub(super) struct Names<'g> {
    graph: &'g Graph,
    /// By value; empty until it is met.
    given: Vec<String>,
    used: HashSet<String>,
    /// Names of nodes.
    nodes: HashSet<String>,
    /// The constants that were met.
    held: HashSet<ValueId>,
}

impl<'g> Names<'g> {
    /// The names of inputs and outputs.
    ///
    /// Fails where one has none, or two the same.
    pub fn new(graph: &'g Graph) -> Result<Self> {
        let mut names = Self {
            graph,
            given: vec![String::new(); graph.names.len()],
            used: HashSet::new(),
            nodes: HashSet::new(),
            held: HashSet::new(),
        };
        let inputs = graph.inputs().iter().map(|input| input.value);
        for value in inputs.chain(graph.outputs().iter().copied()) {
            let name = graph.name(value);
            let known = std::mem::replace(&mut names.given[value.0], name.to_owned());
            if name.is_empty() || (known.is_empty() && !names.used.insert(name.to_owned())) {
                return Err(Error::Model {
                    what: format!("{name:?} is no name for an input or output of its own"),
                });
            }
        }
        Ok(names)
    }

    /// The name of a value.
    pub fn of(&mut self, value: ValueId) -> String {
        if self.given[value.0].is_empty() {
            self.given[value.0] = self.fresh(self.graph.name(value).to_owned());
        }
        self.given[value.0].clone()
    }

    /// A name that no value has: the wanted one, or that with a number.
    pub fn fresh(&mut self, wanted: String) -> String {
        unique(&mut self.used, wanted)
    }

    /// A name that no node has: the wanted one, or that with a number.
    pub fn of_node(&mut self, wanted: String) -> String {
        unique(&mut self.nodes, wanted)
    }

    /// Whether a constant is met for the first time.
    pub fn first(&mut self, value: ValueId) -> bool {
        self.held.insert(value)
    }
}

fn unique(used: &mut HashSet<String>, wanted: String) -> String {
    let mut name = wanted.clone();
    let mut number = 0;
    while name.is_empty() || !used.insert(name.clone()) {
        number += 1;
        name = format!("{wanted}#{number}");
    }
    name
}
