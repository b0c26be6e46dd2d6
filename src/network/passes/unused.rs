//! Nodes that nothing reads are dropped.

use crate::network::draft::Draft;

pub(super) fn run(draft: &mut Draft) {
    let mut wanted = vec![false; draft.values.len()];
    for &value in &draft.outputs {
        wanted[value] = true;
    }
    let mut kept = Vec::with_capacity(draft.nodes.len());
    for node in std::mem::take(&mut draft.nodes).into_iter().rev() {
        if node.outputs.iter().any(|&value| wanted[value]) {
            for &value in node.inputs.iter().flatten() {
                wanted[value] = true;
            }
            kept.push(node);
        } else {
            draft.note(
                "unused",
                format!("{} ({})", node.name, node.operator.name()),
            );
        }
    }
    kept.reverse();
    draft.nodes = kept;
    // Constants that nothing reads any more need no memory.
    let given = draft.inputs.clone();
    for (index, value) in draft.values.iter_mut().enumerate() {
        if !wanted[index]
            && !given.contains(&index)
            && let Some(fact) = &mut value.fact
        {
            fact.value = None;
        }
    }
}
