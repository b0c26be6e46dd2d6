//! ReduceMean over all pixels is GlobalAveragePool, which is quicker where channels are last: with 22 of them RegNetZ
//! went from 30 to 32.6 images/s.

use super::edit::operator;
use crate::error::Result;
use crate::network::draft::Draft;
use crate::network::operator::{Operator, Pool, Reduce};

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    for index in 0..draft.nodes.len() {
        let node = &draft.nodes[index];
        let Some(reduce) = operator::<Reduce>(node) else {
            continue;
        };
        let facts = draft.facts(&node.inputs)?;
        if !reduce.is_mean_of_turned_pixels(&facts) {
            continue;
        }
        if let Some(pool) = Pool::global_average().channels_last(&facts[..1]) {
            let what = format!("{} is {}", node.name, pool.name());
            let node = &mut draft.nodes[index];
            node.operator = pool;
            node.inputs.truncate(1);
            draft.note("means", what);
        }
    }
    Ok(())
}
