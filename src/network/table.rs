//! What a session consists of, for tables.

use super::draft::Value;
use super::operator::Fact;
use super::session::Session;
use super::tensor::DType;
use crate::geometry::Axis;

/// A step of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<'s> {
    /// The name of the node; of the first where several became one.
    pub name: &'s str,
    /// The operator that it runs as.
    pub operator: &'static str,
    /// The names of what it reads and is not constant.
    pub inputs: Vec<&'s str>,
    /// What it makes.
    pub outputs: Vec<LayerOutput<'s>>,
    /// Elements of the constants that it reads, where they are floats.
    pub parameters: u64,
    /// Multiply-adds of one run.
    pub multiply_adds: u64,
    /// The way it is computed; empty where there is but one.
    pub recipe: String,
    /// Bytes of scratch on the rayon pool in force.
    pub scratch_bytes: usize,
    /// What an output element reads of the pixels of each input, an axis each; none where it reads them one by one.
    /// Absent where that has no meaning.
    pub window: Option<Vec<Axis>>,
}

/// A value that a step makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerOutput<'s> {
    /// Its name in the model.
    pub name: &'s str,
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape in the model.
    pub shape: Vec<usize>,
    /// Whether it lies in memory with its channels last.
    pub channels_last: bool,
}

impl Session {
    /// The steps in the order in which they run.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        self.planned.iter().map(|planned| {
            let node = &self.draft.nodes[planned.node];
            let value = |&value: &usize| &self.draft.values[value];
            let read = || node.inputs.iter().flatten().map(value);
            let constant = |value: &Value| {
                let fact = value.fact.as_ref()?;
                fact.value.as_ref().map(|_| fact.clone())
            };
            let parameters = read()
                .filter_map(constant)
                .filter(|fact| is_float(fact.dtype));
            let facts = self.draft.facts(&node.inputs).ok();
            Layer {
                name: &node.name,
                operator: node.operator.name(),
                inputs: read()
                    .filter(|value| constant(value).is_none())
                    .map(|value| value.name.as_str())
                    .collect(),
                outputs: node
                    .outputs
                    .iter()
                    .map(value)
                    .filter_map(|value| self.output(value))
                    .collect(),
                parameters: parameters.map(|fact| elements(&fact)).sum(),
                multiply_adds: planned.step.multiply_adds() * self.parts as u64,
                recipe: planned.step.recipe(),
                scratch_bytes: planned.step.scratch_len() * size_of::<f32>(),
                window: facts.and_then(|facts| node.operator.window(&facts)),
            }
        })
    }

    fn output<'s>(&self, value: &'s Value) -> Option<LayerOutput<'s>> {
        let fact = value.fact.as_ref()?;
        let mut shape = self.whole(&fact.shape);
        if value.turned {
            shape[1..].rotate_right(1);
        }
        Some(LayerOutput {
            name: &value.name,
            dtype: fact.dtype,
            shape,
            channels_last: value.turned,
        })
    }
}

fn elements(fact: &Fact) -> u64 {
    fact.shape.iter().map(|&length| length as u64).product()
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::Bf16)
}
