//! What a session consists of, for tables.

use super::session::Session;
use super::tensor::DType;

/// A step of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<'s> {
    /// The name of the node; of the first where several became one.
    pub name: &'s str,
    /// The operator that it runs as.
    pub operator: &'static str,
    /// The type of the elements of its first output.
    pub dtype: DType,
    /// The shape of its first output, as in the model.
    pub shape: Vec<usize>,
    /// Whether that lies in memory with its channels last.
    pub channels_last: bool,
    /// Constant elements that it reads.
    pub parameters: u64,
    /// Multiply-adds of one run.
    pub multiply_adds: u64,
    /// The way it is computed; empty where there is but one.
    pub recipe: String,
    /// Bytes of scratch on the rayon pool in force.
    pub scratch_bytes: usize,
}

impl Session {
    /// The steps in the order in which they run.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        self.planned.iter().map(|planned| {
            let node = &self.draft.nodes[planned.node];
            let value = node.outputs.first().map(|&value| &self.draft.values[value]);
            let fact = value.and_then(|value| value.fact.as_ref());
            let channels_last = value.is_some_and(|value| value.turned);
            let mut shape = fact.map_or_else(Vec::new, |fact| fact.shape.clone());
            if channels_last {
                shape[1..].rotate_right(1);
            }
            let facts = node.inputs.iter().flatten();
            let constants =
                facts.filter_map(|&value| self.draft.values[value].fact.as_ref()?.value.as_ref());
            Layer {
                name: &node.name,
                operator: node.operator.name(),
                dtype: fact.map_or(DType::F32, |fact| fact.dtype),
                shape,
                channels_last,
                parameters: constants.map(|constant| constant.len() as u64).sum(),
                multiply_adds: planned.step.multiply_adds(),
                recipe: planned.step.recipe(),
                scratch_bytes: planned.step.scratch_len() * size_of::<f32>(),
            }
        })
    }
}
