//! [`Session`]: a network for inputs of given sizes, ready to run.
//!
//! ```text
//! for each step:  cut its pieces out of the stores (arenas and outputs)
//!                 run(inputs, outputs, scratch)
//! ```
//!
//! A session is immutable and shared; what a run writes is in [`Buffers`], one for each thread that runs.
//! A run allocates nothing.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::draft::{Bounds, Change, Draft, bytes};
use super::layout::{Place, Stores};
use super::operator::Step;
use super::tensor::{DType, Tensor, View, ViewMut};
use crate::element::filled;
use crate::error::{Error, Result, check_len, sum};

/// Inputs or outputs of a step that need no allocation to be listed.
const LISTED: usize = 32;

/// What a run writes: arenas, outputs and scratch.
#[derive(Debug)]
pub struct Buffers {
    /// The arenas, then the outputs.
    stores: Vec<Tensor>,
    /// Elements before the first cache line of each store.
    skips: Vec<usize>,
    arenas: usize,
    scratch: Vec<f32>,
    /// The threads that the scratch is for.
    threads: usize,
}

impl Buffers {
    /// What the last run made, in the order of the network's outputs.
    pub fn outputs(&self) -> &[Tensor] {
        &self.stores[self.arenas..]
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

/// See the file head.
pub struct Session {
    pub(super) draft: Draft,
    pub(super) planned: Vec<Planned>,
    arenas: Vec<(DType, usize)>,
    outputs: Vec<(DType, Vec<usize>)>,
    /// Outputs that no step writes to their store.
    copies: Vec<(Place, usize)>,
    arena_bytes: usize,
    activation_bytes: usize,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("nodes", &self.draft.nodes.len())
            .field("arena_bytes", &self.arena_bytes)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes `draft`, which is inferred, ready to run.
    pub(crate) fn new(draft: Draft, bounds: &Bounds) -> Result<Self> {
        let mut steps = Vec::with_capacity(draft.nodes.len());
        let mut activation_bytes = 0usize;
        for node in &draft.nodes {
            let facts = draft.facts(&node.inputs)?;
            let step = node.operator.step(&facts, &bounds.plan);
            steps.push(step.map_err(|source| node.fails(source))?);
            for &value in &node.outputs {
                activation_bytes = activation_bytes.saturating_add(bytes(draft.fact(value)?)?);
            }
        }
        let stores = Stores::new(&draft, &steps)?;
        let arena_bytes = stores.arena_bytes()?;
        let planned = steps
            .into_iter()
            .enumerate()
            .map(|(node, step)| plan_step(&draft, &stores, node, step))
            .collect();
        let session = Self {
            copies: copies(&draft, &stores),
            draft,
            planned,
            arenas: stores.arenas,
            outputs: stores.outputs,
            arena_bytes,
            activation_bytes,
        };
        let needed = session.needed()?;
        if needed > bounds.limit {
            return Err(Error::MemoryBudget {
                needed,
                budget: bounds.limit,
            });
        }
        Ok(session)
    }

    /// Bytes of arenas, outputs, scratch and constants.
    fn needed(&self) -> Result<usize> {
        let mut terms = vec![self.arena_bytes, self.scratch_len().saturating_mul(4)];
        for (dtype, shape) in &self.outputs {
            terms.push(bytes(&super::operator::Fact::new(*dtype, shape.clone()))?);
        }
        for value in &self.draft.values {
            if let Some(fact) = value.fact.as_ref().filter(|fact| fact.value.is_some()) {
                terms.push(bytes(fact)?);
            }
        }
        sum("network", &terms)
    }

    /// Elements of scratch on the rayon pool in force.
    fn scratch_len(&self) -> usize {
        let each = self
            .planned
            .iter()
            .map(|planned| planned.step.scratch_len());
        each.max().unwrap_or(0)
    }

    /// Bytes of the arenas that each thread which runs has.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Type and shape of each output.
    pub fn output_facts(&self) -> impl Iterator<Item = (DType, &[usize])> {
        let outputs = self.outputs.iter();
        outputs.map(|(dtype, shape)| (*dtype, shape.as_slice()))
    }

    /// Bytes of all that the steps write, if nothing shared a place.
    pub fn activation_bytes(&self) -> usize {
        self.activation_bytes
    }

    /// What was done to the graph before it was made ready, in the order of the passes.
    pub fn changes(&self) -> &[Change] {
        &self.draft.changes
    }

    /// Buffers for one thread.
    ///
    /// # Errors
    /// No memory for them.
    pub fn buffers(&self) -> Result<Buffers> {
        let mut stores = Vec::with_capacity(self.arenas.len() + self.outputs.len());
        for &(dtype, len) in &self.arenas {
            let line = super::tensor::LINE / dtype.bytes();
            stores.push(Tensor::zeros(dtype, &[sum("arena", &[len, line])?])?);
        }
        for (dtype, shape) in &self.outputs {
            stores.push(Tensor::zeros(*dtype, shape)?);
        }
        let arenas = self.arenas.len();
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
        Ok(Buffers {
            stores,
            skips,
            arenas,
            scratch: Vec::new(),
            threads: 0,
        })
    }

    /// Runs on `inputs`, in the order of the network's inputs; the outputs are then in `buffers`. An input that is
    /// left out stands here with what it has then.
    ///
    /// Called from outside the rayon pool, the work is handed to the pool as a whole. Where the buffers ran on as
    /// many threads before, nothing is allocated.
    ///
    /// # Errors
    /// Inputs of other types or lengths than planned; buffers of another session.
    pub fn run(&self, inputs: &[View], buffers: &mut Buffers) -> Result<()> {
        self.run_with(inputs, buffers, |_| {})
    }

    /// [`run`](Self::run), and how long each of the [layers](Self::layers) took.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn profile(&self, inputs: &[View], buffers: &mut Buffers) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(self.planned.len());
        let mut last = Instant::now();
        self.run_with(inputs, buffers, |step| {
            let now = Instant::now();
            if step > 0 {
                times.push(now - last);
            }
            last = now;
        })?;
        Ok(times)
    }

    /// Calls `at` with 0 before the first step, and with its number, counted from 1, after each.
    fn run_with(
        &self,
        inputs: &[View],
        buffers: &mut Buffers,
        at: impl FnMut(usize) + Send,
    ) -> Result<()> {
        self.check(inputs, buffers)?;
        if rayon::current_thread_index().is_none() && rayon::current_num_threads() > 1 {
            rayon::scope(|_| self.run_here(inputs, buffers, at))
        } else {
            self.run_here(inputs, buffers, at)
        }
    }

    fn check(&self, inputs: &[View], buffers: &Buffers) -> Result<()> {
        check_len("inputs", self.draft.inputs.len(), inputs.len())?;
        for (&value, view) in self.draft.inputs.iter().zip(inputs) {
            let fact = self.draft.fact(value)?;
            if fact.dtype != view.dtype() {
                return Err(Error::InputType {
                    input: self.draft.values[value].name.clone(),
                    expected: fact.dtype.name(),
                    got: view.dtype().name(),
                });
            }
            check_len("input", fact.shape.iter().product(), view.len())?;
        }
        check_len("buffers", self.arenas.len(), buffers.arenas)?;
        check_len(
            "buffers",
            self.arenas.len() + self.outputs.len(),
            buffers.stores.len(),
        )?;
        let stores = self.arenas.iter().zip(&buffers.stores).zip(&buffers.skips);
        for ((&(dtype, len), store), skip) in stores {
            if store.dtype() != dtype || store.len() < len + skip {
                return Err(other_buffers());
            }
        }
        let outputs = self.outputs.iter().zip(buffers.outputs());
        for ((dtype, shape), output) in outputs {
            if output.dtype() != *dtype || output.shape() != shape {
                return Err(other_buffers());
            }
        }
        Ok(())
    }

    fn run_here(
        &self,
        inputs: &[View],
        buffers: &mut Buffers,
        mut at: impl FnMut(usize),
    ) -> Result<()> {
        let threads = rayon::current_num_threads();
        if buffers.threads != threads {
            buffers.scratch = filled(self.scratch_len(), 0.0)?;
            buffers.threads = threads;
        }
        at(0);
        for (step, planned) in self.planned.iter().enumerate() {
            let done = planned.run(inputs, buffers);
            done.map_err(|source| self.draft.nodes[planned.node].fails(source))?;
            at(step + 1);
        }
        for (place, output) in &self.copies {
            copy(place, *output + self.arenas.len(), inputs, buffers)?;
        }
        Ok(())
    }
}

fn other_buffers() -> Error {
    Error::Operand {
        operand: "buffers",
        expected: "those of this session".to_owned(),
        got: "those of another".to_owned(),
    }
}

impl Planned {
    fn run(&self, given: &[View], buffers: &mut Buffers) -> Result<()> {
        let mut reads = SmallVec::<[View; LISTED]>::new();
        let mut writes = SmallVec::<[(usize, ViewMut); 4]>::new();
        let mut cuts = self.cuts.iter().peekable();
        let stores = buffers.stores.iter_mut().zip(&buffers.skips);
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
        self.step.run(&inputs, &mut outputs, &mut buffers.scratch)
    }
}

/// A step with the pieces that it reads and writes, in the order of the stores.
fn plan_step(draft: &Draft, stores: &Stores, index: usize, step: Box<dyn Step>) -> Planned {
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
fn copies(draft: &Draft, stores: &Stores) -> Vec<(Place, usize)> {
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
fn copy(place: &Place, to: usize, given: &[View], buffers: &mut Buffers) -> Result<()> {
    match *place {
        Place::Constant(ref tensor) => buffers.stores[to].view_mut().copy_from(tensor.view()),
        Place::Given(input) => buffers.stores[to].view_mut().copy_from(given[input]),
        Place::Store { store, offset, len } => {
            let skip = buffers.skips.get(store).copied().unwrap_or(0);
            let [from, to] =
                (buffers.stores.get_disjoint_mut([store, to])).map_err(|_| other_buffers())?;
            let (_, from) = from.view_mut().split_at(skip + offset);
            to.view_mut().copy_from(from.split_at(len).0.into_view())
        }
    }
}
