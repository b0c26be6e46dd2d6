//! Two Transposes in a row become one.

use std::sync::Arc;

use super::edit::{Uses, operator};
use crate::error::Result;
use crate::network::draft::Draft;
use crate::network::operator::Transpose;

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    for index in 0..draft.nodes.len() {
        let node = &draft.nodes[index];
        let (Some(second), Some(value)) = (operator::<Transpose>(node), node.inputs[0]) else {
            continue;
        };
        // Its input has been joined with what stands before that.
        let Some(before) = Uses::new(draft).maker(value) else {
            continue;
        };
        let before = &draft.nodes[before];
        let (Some(first), Some(from)) = (operator::<Transpose>(before), before.inputs[0]) else {
            continue;
        };
        let joined = first.then(second, draft.fact(from)?.shape.len())?;
        let what = format!("{} after {}", node.name, before.name);
        draft.nodes[index].operator = Arc::new(joined);
        draft.nodes[index].inputs[0] = Some(from);
        draft.note("transposes", what);
    }
    super::unused::run(draft);
    Ok(())
}
