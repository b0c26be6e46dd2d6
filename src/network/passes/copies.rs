//! Nodes that only copy are left out: Identity, Dropout outside training, a Reshape to the shape that is there.

use super::edit::{Uses, operator};
use crate::error::Result;
use crate::network::draft::{Draft, Node};
use crate::network::operator::{Reshape, Transpose};

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    let mut index = 0;
    while index < draft.nodes.len() {
        if !copies(draft, &draft.nodes[index])? {
            index += 1;
            continue;
        }
        let node = draft.nodes[index].clone();
        let (Some(&Some(from)), Some(&to)) = (node.inputs.first(), node.outputs.first()) else {
            index += 1;
            continue;
        };
        if draft.outputs.contains(&to) {
            // What the caller wants keeps its name: the maker of the source makes it instead.
            let uses = Uses::new(draft);
            let maker = uses.maker(from).filter(|_| !draft.outputs.contains(&from));
            let Some(maker) = maker else {
                index += 1;
                continue;
            };
            draft.replace(from, to);
            for output in &mut draft.nodes[maker].outputs {
                if *output == from {
                    *output = to;
                }
            }
        } else {
            draft.replace(to, from);
        }
        draft.note(
            "copies",
            format!("{} ({})", node.name, node.operator.name()),
        );
        draft.nodes.remove(index);
    }
    Ok(())
}

/// Whether the outputs of `node` are its first input, shape and all.
fn copies(draft: &Draft, node: &Node) -> Result<bool> {
    if node.outputs.len() != 1 {
        return Ok(false);
    }
    let facts = draft.facts(&node.inputs)?;
    let Some(Some(from)) = facts.first() else {
        return Ok(false);
    };
    let to = draft.fact(node.outputs[0])?;
    let same = from.shape == to.shape && from.dtype == to.dtype;
    let still =
        operator::<Transpose>(node).is_some_and(|operator| operator.moves_nothing(&from.shape));
    Ok(same && (still || operator::<Reshape>(node).is_some()))
}
