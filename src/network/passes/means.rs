//! ReduceMean over all pixels is GlobalAveragePool, as which squeeze-and-excitation layers compute several times faster.

use std::sync::Arc;

use super::edit::operator;
use crate::error::Result;
use crate::network::draft::Draft;
use crate::network::operator::{Pool, Reduce};

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    for index in 0..draft.nodes.len() {
        let node = &draft.nodes[index];
        let Some(reduce) = operator::<Reduce>(node) else {
            continue;
        };
        if reduce.is_mean_of_pixels(&draft.facts(&node.inputs)?) {
            let what = format!("{} is GlobalAveragePool", node.name);
            let node = &mut draft.nodes[index];
            node.operator = Arc::new(Pool::global_average());
            node.inputs.truncate(1);
            draft.note("means", what);
        }
    }
    Ok(())
}
