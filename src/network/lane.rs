//! The steps of a session, and what they are computed in.
//!
//! ```text
//! lane      stores: arenas, then outputs        scratch
//! planned   a step, and the pieces (cuts) of the stores that it reads and writes
//! ```
//!
//! For each step the stores are cut at its pieces, so that inputs and outputs are slices that cannot overlap.

use smallvec::SmallVec;

use super::draft::Draft;
use super::layout::{Place, Stores};
use super::operator::Step;
use super::tensor::{DType, Tensor, View, ViewMut};
use crate::element::LINE;
use crate::error::{Error, Result, check_len, sum};

/// Inputs or outputs of a step that need no allocation to be listed.
pub(super) const LISTED: usize = 32;

/// What the parts of one thread are computed in, one after another.
#[derive(Debug)]
pub(super) struct Lane {
    /// The arenas, then the outputs.
    pub stores: Vec<Tensor>,
    /// Elements before the first cache line of each store.
    pub skips: Vec<usize>,
    pub scratch: Vec<f32>,
}

impl Lane {
    /// For arenas of these types and lengths and outputs of these types and shapes, as yet without scratch.
    pub fn new(arenas: &[(DType, usize)], outputs: &[(DType, Vec<usize>)]) -> Result<Self> {
        let mut stores = Vec::with_capacity(arenas.len() + outputs.len());
        for &(dtype, len) in arenas {
            let line = LINE / dtype.bytes();
            stores.push(Tensor::zeros(dtype, &[sum("arena", &[len, line])?])?);
        }
        for (dtype, shape) in outputs {
            stores.push(Tensor::zeros(*dtype, shape)?);
        }
        let arenas = arenas.len();
        let skips = stores
            .iter()
            .enumerate()
            .map(|(index, store)| {
                if index < arenas {
                    store.skip_to_line()
                } else {
                    0
                }
            })
            .collect();
        Ok(Self {
            stores,
            skips,
            scratch: Vec::new(),
        })
    }

    /// An error unless it is one for these.
    pub fn check(&self, arenas: &[(DType, usize)], outputs: &[(DType, Vec<usize>)]) -> Result<()> {
        check_len("buffers", arenas.len() + outputs.len(), self.stores.len())?;
        let stores = arenas.iter().zip(&self.stores).zip(&self.skips);
        for ((&(dtype, len), store), skip) in stores {
            if store.dtype() != dtype || store.len() < len + skip {
                return Err(other_buffers());
            }
        }
        for ((dtype, shape), output) in outputs.iter().zip(&self.stores[arenas.len()..]) {
            if output.dtype() != *dtype || output.shape() != shape {
                return Err(other_buffers());
            }
        }
        Ok(())
    }
}

/// A part of a store that a step reads, or writes as the output of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    store: usize,
    offset: usize,
    len: usize,
    written: Option<usize>,
}

/// Where a step reads.
#[derive(Debug)]
enum Source {
    Constant(std::sync::Arc<Tensor>),
    Given(usize),
    /// A cut, counted among those that are read.
    Read(usize),
}

/// A step and its places.
pub(super) struct Planned {
    pub node: usize,
    pub step: Box<dyn Step>,
    inputs: Vec<Option<Source>>,
    cuts: Vec<Cut>,
}

impl Planned {
    /// Whether one of the numbers that it has just written is not finite.
    #[cfg(feature = "train")]
    pub fn writes_not_finite(&self, lane: &Lane) -> bool {
        self.cuts
            .iter()
            .filter(|cut| cut.written.is_some())
            .any(|cut| {
                let begin = cut.offset + lane.skips[cut.store];
                has_not_finite(lane.stores[cut.store].view().part(begin, cut.len))
            })
    }

    /// Computes it in `lane`, where all that came before it was.
    pub fn run(&self, given: &[View], lane: &mut Lane) -> Result<()> {
        let mut reads = SmallVec::<[View; LISTED]>::new();
        let mut writes = SmallVec::<[(usize, ViewMut); 4]>::new();
        let mut cuts = self.cuts.iter().peekable();
        let stores = lane.stores.iter_mut().zip(&lane.skips);
        for (index, (store, &skip)) in stores.enumerate() {
            if cuts.peek().is_none_or(|cut| cut.store != index) {
                continue;
            }
            let (_, mut rest) = store.view_mut().split_at(skip);
            let mut at = 0;
            while let Some(cut) = cuts.next_if(|cut| cut.store == index) {
                let (piece, after) = rest.split_at(cut.offset - at).1.split_at(cut.len);
                (rest, at) = (after, cut.offset + cut.len);
                match cut.written {
                    Some(output) => writes.push((output, piece)),
                    None => reads.push(piece.into_view()),
                }
            }
        }
        writes.sort_unstable_by_key(|&(output, _)| output);
        let mut outputs: SmallVec<[ViewMut; 4]> =
            writes.into_iter().map(|(_, view)| view).collect();
        let inputs: SmallVec<[Option<View>; LISTED]> = self
            .inputs
            .iter()
            .map(|source| {
                source.as_ref().map(|source| match source {
                    Source::Constant(tensor) => tensor.view(),
                    Source::Given(input) => given[*input],
                    Source::Read(read) => reads[*read],
                })
            })
            .collect();
        self.step.run(&inputs, &mut outputs, &mut lane.scratch)
    }
}

/// A step with the pieces that it reads and writes, in the order of the stores.
pub(super) fn plan_step(
    draft: &Draft,
    stores: &Stores,
    index: usize,
    step: Box<dyn Step>,
) -> Planned {
    let node = &draft.nodes[index];
    let mut cuts: Vec<Cut> = Vec::new();
    let cut = |place: &Place, written| match *place {
        Place::Store { store, offset, len } => Some(Cut {
            store,
            offset,
            len,
            written,
        }),
        _ => None,
    };
    for (number, &value) in node.outputs.iter().enumerate() {
        cuts.extend(
            stores.places[value]
                .as_ref()
                .and_then(|place| cut(place, Some(number))),
        );
    }
    let read = |number: usize| match node.inputs[number] {
        Some(value) if stores.taken[index] != Some(number) => stores.places[value].as_ref(),
        _ => None,
    };
    for number in 0..node.inputs.len() {
        let new = read(number).and_then(|place| cut(place, None));
        cuts.extend(new.filter(|new| !cuts.contains(new)));
    }
    // Empty ones first where several begin at one place.
    cuts.sort_unstable();
    let reads: Vec<Cut> = cuts
        .iter()
        .filter(|cut| cut.written.is_none())
        .copied()
        .collect();
    let source = |number| {
        read(number).map(|place| match place {
            Place::Constant(tensor) => Source::Constant(tensor.clone()),
            Place::Given(input) => Source::Given(*input),
            Place::Store { .. } => {
                let at = reads
                    .iter()
                    .position(|&held| Some(held) == cut(place, None));
                Source::Read(at.unwrap_or(usize::MAX))
            }
        })
    };
    Planned {
        node: index,
        inputs: (0..node.inputs.len()).map(source).collect(),
        step,
        cuts,
    }
}

/// The outputs that must be copied to their stores after the last step.
pub(super) fn copies(draft: &Draft, stores: &Stores) -> Vec<(Place, usize)> {
    let place = |output: usize| stores.places[draft.outputs[output]].clone();
    let at_home = |place: &Place, output: usize| match place {
        Place::Store { store, .. } => *store == stores.arenas.len() + output,
        _ => false,
    };
    (0..draft.outputs.len())
        .filter_map(|output| Some((place(output)?, output)))
        .filter(|(place, output)| !at_home(place, *output))
        .collect()
}

/// Copies what is at `place` to a store.
pub(super) fn copy(place: &Place, to: usize, given: &[View], lane: &mut Lane) -> Result<()> {
    match *place {
        Place::Constant(ref tensor) => lane.stores[to].view_mut().copy_from(tensor.view()),
        Place::Given(input) => lane.stores[to].view_mut().copy_from(given[input]),
        Place::Store { store, offset, len } => {
            let skip = lane.skips.get(store).copied().unwrap_or(0);
            let [from, to] =
                (lane.stores.get_disjoint_mut([store, to])).map_err(|_| other_buffers())?;
            let (_, from) = from.view_mut().split_at(skip + offset);
            to.view_mut().copy_from(from.split_at(len).0.into_view())
        }
    }
}

/// Whether a float is not finite.
#[cfg(feature = "train")]
pub(super) fn has_not_finite(view: View) -> bool {
    match view {
        View::F32(slice) => slice.iter().any(|value| !value.is_finite()),
        View::F64(slice) => slice.iter().any(|value| !value.is_finite()),
        _ => false,
    }
}

/// The error of buffers that are not those of a session.
pub(super) fn other_buffers() -> Error {
    Error::Operand {
        operand: "buffers",
        expected: "those of this session".to_owned(),
        got: "those of another".to_owned(),
    }
}
