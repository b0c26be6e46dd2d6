//! Which buffer every value of a draft lies in.
//!
//! ```text
//! for each step in order:
//!     input offered, in the arena and read by no later step?  the first output takes its buffer
//!     else a new buffer from this step to the last that reads it
//! ```
//!
//! Values that the caller wants have stores of their own, beside the arenas.

use std::sync::Arc;

use super::draft::{Draft, Node};
use super::memory::{Lifetime, Placement};
use super::operator::Step;
use super::tensor::{DType, Tensor};
use crate::error::{Result, product};

/// Where the elements of a value are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Constant(Arc<Tensor>),
    /// An input of the network, by number.
    Given(usize),
    /// A part of a store.
    Store {
        store: usize,
        offset: usize,
        len: usize,
    },
}

/// All stores, and where each value of the draft is; `None` for those that nothing makes.
#[derive(Debug)]
pub(crate) struct Stores {
    /// Type and length of the arenas.
    pub arenas: Vec<(DType, usize)>,
    /// Type and shape of the stores after the arenas, one for each output.
    pub outputs: Vec<(DType, Vec<usize>)>,
    pub places: Vec<Option<Place>>,
    /// For every node, whether its first output took the place of an input, and of which.
    pub taken: Vec<Option<usize>>,
}

/// Buffers while they are assigned.
struct Assignment<'d> {
    draft: &'d Draft,
    /// The last step that reads each value; the number of steps for what the caller wants.
    last_read: Vec<usize>,
    buffer_of: Vec<Option<usize>>,
    buffers: Vec<Lifetime>,
    /// The output whose store a buffer is.
    home: Vec<Option<usize>>,
}

impl Stores {
    /// Assigns the values of `draft`, whose nodes run as `steps`.
    pub fn new(draft: &Draft, steps: &[Box<dyn Step>]) -> Result<Self> {
        let mut assignment = Assignment::new(draft);
        let mut taken = Vec::with_capacity(steps.len());
        for (index, (node, step)) in draft.nodes.iter().zip(steps).enumerate() {
            taken.push(assignment.node(index, node, step.as_ref())?);
        }
        let Assignment {
            buffer_of,
            buffers,
            home,
            ..
        } = assignment;
        let kept: Vec<usize> = (0..buffers.len())
            .filter(|&buffer| home[buffer].is_none())
            .collect();
        let lifetimes: Vec<Lifetime> = kept.iter().map(|&buffer| buffers[buffer]).collect();
        let placement = Placement::new(&lifetimes)?;
        let mut offsets = vec![0; buffers.len()];
        for (&buffer, &offset) in kept.iter().zip(&placement.offsets) {
            offsets[buffer] = offset;
        }
        let place = |value: usize| {
            let fact = draft.values[value].fact.as_ref()?;
            if let Some(constant) = &fact.value {
                return Some(Place::Constant(constant.clone()));
            }
            if let Some(input) = draft.inputs.iter().position(|&input| input == value) {
                return Some(Place::Given(input));
            }
            let buffer = buffer_of[value]?;
            let (dtype, len) = (buffers[buffer].dtype, buffers[buffer].len);
            let store = match home[buffer] {
                Some(output) => placement.arenas.len() + output,
                None => placement.arenas.iter().position(|arena| arena.0 == dtype)?,
            };
            Some(Place::Store {
                store,
                offset: offsets[buffer],
                len,
            })
        };
        Ok(Self {
            places: (0..draft.values.len()).map(place).collect(),
            outputs: draft
                .outputs
                .iter()
                .map(|&value| {
                    let fact = draft.fact(value)?;
                    Ok((fact.dtype, fact.shape.clone()))
                })
                .collect::<Result<_>>()?,
            arenas: placement.arenas,
            taken,
        })
    }

    /// Bytes of the arenas.
    pub fn arena_bytes(&self) -> Result<usize> {
        Placement {
            offsets: Vec::new(),
            arenas: self.arenas.clone(),
        }
        .bytes()
    }
}

impl<'d> Assignment<'d> {
    fn new(draft: &'d Draft) -> Self {
        let mut last_read = vec![0; draft.values.len()];
        for (index, node) in draft.nodes.iter().enumerate() {
            for &value in node.inputs.iter().flatten() {
                last_read[value] = index;
            }
        }
        for &value in &draft.outputs {
            last_read[value] = draft.nodes.len();
        }
        Self {
            draft,
            last_read,
            buffer_of: vec![None; draft.values.len()],
            buffers: Vec::new(),
            home: Vec::new(),
        }
    }

    /// Buffers for what a node makes; the input whose place is taken.
    fn node(&mut self, index: usize, node: &Node, step: &dyn Step) -> Result<Option<usize>> {
        let taken = match step.in_place() {
            Some(offered) => self.offer(index, node, offered)?,
            None => None,
        };
        for (number, &value) in node.outputs.iter().enumerate() {
            let reused = taken.filter(|_| number == 0);
            let buffer = match reused {
                Some(input) => node.inputs[input].and_then(|value| self.buffer_of[value]),
                None => None,
            };
            let buffer = match buffer {
                Some(buffer) => buffer,
                None => {
                    let fact = self.draft.fact(value)?;
                    self.buffers.push(Lifetime {
                        dtype: fact.dtype,
                        len: product("a value", &fact.shape)?,
                        first: index,
                        last: index,
                    });
                    self.home.push(None);
                    self.buffers.len() - 1
                }
            };
            self.buffer_of[value] = Some(buffer);
            let last = &mut self.buffers[buffer].last;
            *last = (*last).max(self.last_read[value]);
            if self.home[buffer].is_none() {
                self.home[buffer] = self
                    .draft
                    .outputs
                    .iter()
                    .position(|&output| output == value);
            }
        }
        Ok(taken)
    }

    /// `offered`, where the first output may take the place of that input.
    fn offer(&self, index: usize, node: &Node, offered: usize) -> Result<Option<usize>> {
        let Some(value) = node.inputs.get(offered).copied().flatten() else {
            return Ok(None);
        };
        let readers = node.inputs.iter().flatten().filter(|&&read| read == value);
        let Some(buffer) = self.buffer_of[value].filter(|_| readers.count() == 1) else {
            return Ok(None);
        };
        let Some(&output) = node.outputs.first() else {
            return Ok(None);
        };
        let (made, held) = (self.draft.fact(output)?, &self.buffers[buffer]);
        let fits = made.dtype == held.dtype && product("a value", &made.shape)? == held.len;
        Ok((fits && held.last == index).then_some(offered))
    }
}
