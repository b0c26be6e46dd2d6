//! Which axes of an output follow from which axes of the inputs.
//!
//! ```text
//! image [N, 3, h, w] as [2, 3, 224, 256] and as [3, 3, 256, 288]:   y [2, 8, 28, 32] and [3, 8, 32, 36]
//! the same size twice: fixed    the two sizes of a name: that name    others: depends on something, unnamed
//! ```
//!
//! Shapes are inferred twice, with numbers of which no two names have the same pair. Where that fails (an axis
//! that must be small, elements of inputs that decide shapes), the axes of outputs have no sizes, and where it
//! fails twice, outputs have nothing but a name.

use crate::error::{Error, Result};
use crate::network::{DEFAULT_MEMORY_LIMIT, DType, Dim, Fact, Graph, Input, ValueId};
use crate::onnx::proto::{DimensionProto, TensorShapeProto};

/// What is known of the values of a graph, for two choices of what is free.
pub(super) struct Sizes<'g> {
    graph: &'g Graph,
    /// The names of free axes, with both sizes.
    names: Vec<(&'g str, [usize; 2])>,
    facts: [Option<Vec<Option<Fact>>>; 2],
}

impl<'g> Sizes<'g> {
    pub fn new(graph: &'g Graph) -> Self {
        let mut sizes = Self {
            graph,
            names: Vec::new(),
            facts: [None, None],
        };
        let inputs: Option<Vec<_>> = graph
            .inputs()
            .iter()
            .map(|input| sizes.pair(input))
            .collect();
        if let Some(inputs) = inputs {
            let (first, second): (Vec<_>, Vec<_>) = inputs.into_iter().map(<_>::from).unzip();
            sizes.facts =
                [first, second].map(|inputs| graph.facts(&inputs, DEFAULT_MEMORY_LIMIT).ok());
        }
        sizes
    }

    /// Two facts for an input, where it is known how many axes it has.
    fn pair(&mut self, input: &'g Input) -> Option<[Fact; 2]> {
        let mut shapes = [Vec::new(), Vec::new()];
        for (axis, dim) in input.dims.as_ref()?.iter().enumerate() {
            let pair = match dim {
                Dim::Size(size) => [*size; 2],
                Dim::Free(name) => self.free(name, axis),
            };
            for (shape, size) in shapes.iter_mut().zip(pair) {
                shape.push(size);
            }
        }
        Some(shapes.map(|shape| Fact::new(input.dtype, shape)))
    }

    /// The sizes of a free axis: a few images, or more pixels than networks make smaller.
    fn free(&mut self, name: &'g str, axis: usize) -> [usize; 2] {
        let known = self
            .names
            .iter()
            .find(|(known, _)| !name.is_empty() && *known == name);
        if let Some(&(_, pair)) = known {
            return pair;
        }
        let count = self.names.len();
        let pair = match axis {
            0 => [2 + count, 3 + count],
            _ => [224 + 32 * count, 256 + 32 * count],
        };
        self.names.push((name, pair));
        pair
    }

    /// What is known of a value for one choice.
    pub fn fact(&self, value: ValueId) -> Option<Fact> {
        let inferred = self.facts.iter().flatten().next();
        match inferred {
            Some(facts) => facts.get(value.0)?.clone(),
            None => self.graph.constant_of(value).cloned().map(Fact::constant),
        }
    }

    /// The type and the axes of an output, as far as they are known.
    pub fn output(&self, value: ValueId) -> Result<Option<(DType, TensorShapeProto)>> {
        let Some(fact) = self.fact(value) else {
            return Ok(None);
        };
        let both = self.facts.each_ref().map(|facts| {
            let fact = facts.as_ref()?.get(value.0)?.as_ref()?;
            Some(&fact.shape)
        });
        let dims: Vec<Dim> = match both {
            [Some(first), Some(second)] if first.len() == second.len() => {
                let pairs = first.iter().zip(second);
                pairs
                    .map(|(&first, &second)| self.dim([first, second]))
                    .collect()
            }
            _ => vec![Dim::Free(String::new()); fact.shape.len()],
        };
        Ok(Some((fact.dtype, written(&dims)?)))
    }

    fn dim(&self, pair: [usize; 2]) -> Dim {
        if pair[0] == pair[1] {
            return Dim::Size(pair[0]);
        }
        let named = self.names.iter().find(|(_, known)| *known == pair);
        Dim::Free(named.map_or("", |(name, _)| name).to_owned())
    }
}

/// The message of a shape.
pub(super) fn written(dims: &[Dim]) -> Result<TensorShapeProto> {
    let dims = dims.iter().map(|dim| {
        Ok(match dim {
            Dim::Size(size) => DimensionProto {
                dim_value: Some(i64::try_from(*size).map_err(|_| Error::Overflow {
                    what: "an axis of an input",
                })?),
                dim_param: None,
            },
            Dim::Free(name) => DimensionProto {
                dim_value: None,
                dim_param: Some(name.clone()).filter(|name| !name.is_empty()),
            },
        })
    });
    Ok(TensorShapeProto {
        dim: dims.collect::<Result<_>>()?,
    })
}
