//! [`Session`]: a network for inputs of given sizes, ready to run.
//!
//! ```text
//! for each step:  cut its pieces out of the stores (arenas and outputs)
//!                 run(inputs, outputs, scratch)
//! ```
//!
//! Where a network computes every image by itself, a batch goes through it in equal parts, a few images each, so that
//! what a layer makes is still in the cache when the next one reads it. Threads take different parts:
//!
//! ```text
//! part:    0  1  2  3 | 4  5  6  7        steps planned for the images of one part
//! lane:        0      |     1             an arena and scratch each; as many as there are threads, or parts
//! ```
//!
//! A session is immutable and shared; what a run writes is in [`Buffers`], one for each caller that runs.
//! A run allocates nothing.

use std::ops::Range;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::draft::{Bounds, Change, Draft, bytes};
#[cfg(feature = "train")]
use super::lane::has_not_finite;
use super::lane::{LISTED, Lane, Planned, copies, copy, other_buffers, plan_step};
use super::layout::{Place, Stores};
use super::operator::Fact;
use super::tensor::{DType, Tensor, View, ViewMut};
use crate::element::filled;
use crate::error::{Error, Result, check_len, product, sum};
use crate::parallel::{awake, join, threads, within};

/// What a run writes: arenas, outputs and scratch.
#[derive(Debug)]
pub struct Buffers {
    /// One at least.
    lanes: Vec<Lane>,
    /// The outputs of all parts, where there are several.
    joined: Vec<Tensor>,
    arenas: usize,
    /// The threads that lanes and scratch are for.
    threads: usize,
    /// What [`Session::profile`] runs in: a lane with scratch for so many threads.
    profiled: Option<(usize, Lane)>,
}

impl Buffers {
    /// What the last run made, in the order of the network's outputs.
    pub fn outputs(&self) -> &[Tensor] {
        match (self.joined.is_empty(), self.lanes.first()) {
            (true, Some(lane)) => &lane.stores[self.arenas..],
            _ => &self.joined,
        }
    }
}

#[cfg(feature = "train")]
impl Buffers {
    /// [`outputs`](Self::outputs), to be changed until the next run.
    pub(crate) fn outputs_mut(&mut self) -> &mut [Tensor] {
        match (self.joined.is_empty(), self.lanes.first_mut()) {
            (true, Some(lane)) => &mut lane.stores[self.arenas..],
            _ => &mut self.joined,
        }
    }
}

/// The outputs of some parts.
type Joined<'b> = SmallVec<[ViewMut<'b>; 4]>;

/// See the file head.
pub struct Session {
    pub(super) draft: Draft,
    pub(super) planned: Vec<Planned>,
    arenas: Vec<(DType, usize)>,
    outputs: Vec<(DType, Vec<usize>)>,
    /// Outputs that no step writes to their store.
    copies: Vec<(Place, usize)>,
    /// Bytes of a lane's arenas.
    arena_bytes: usize,
    /// Bytes of what a part makes.
    activation_bytes: usize,
    /// Parts of the batch. The draft, the steps and `outputs` are those of one part.
    pub(super) parts: usize,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("nodes", &self.draft.nodes.len())
            .field("arena_bytes", &self.arena_bytes)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes `draft`, which is inferred for one of so many parts of the batch, ready to run.
    pub(crate) fn new(draft: Draft, parts: usize, bounds: &Bounds) -> Result<Self> {
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
            parts,
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
        let lanes = self.lanes();
        let scratch = self.scratch_len().saturating_mul(size_of::<f32>());
        let mut terms = vec![
            product("arenas", &[self.arena_bytes, lanes])?,
            product("scratch", &[scratch, lanes])?,
        ];
        let outputs = match self.parts {
            1 => 1,
            parts => sum("outputs", &[parts, lanes])?,
        };
        for (dtype, shape) in &self.outputs {
            let part = bytes(&Fact::new(*dtype, shape.clone()))?;
            terms.push(product("outputs", &[part, outputs])?);
        }
        for value in &self.draft.values {
            if let Some(fact) = value.fact.as_ref().filter(|fact| fact.value.is_some()) {
                terms.push(bytes(fact)?);
            }
        }
        sum("network", &terms)
    }

    /// Lanes on the rayon pool in force.
    fn lanes(&self) -> usize {
        self.parts.min(threads())
    }

    /// The threads that each lane has for itself.
    fn share(&self) -> usize {
        threads().div_ceil(self.lanes())
    }

    /// Elements of scratch of a lane.
    fn scratch_len(&self) -> usize {
        within(self.share(), || self.steps_scratch())
    }

    /// Elements of scratch for all threads.
    fn steps_scratch(&self) -> usize {
        let steps = self.planned.iter();
        let each = steps.map(|planned| planned.step.scratch_len());
        each.max().unwrap_or(0)
    }

    /// Bytes of the arenas of a run on the rayon pool in force.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes.saturating_mul(self.lanes())
    }

    /// Type and shape of each output.
    pub fn output_facts(&self) -> impl Iterator<Item = (DType, Vec<usize>)> {
        let outputs = self.outputs.iter();
        outputs.map(|(dtype, shape)| (*dtype, self.whole(shape)))
    }

    /// The shape of all parts of a value together.
    pub(super) fn whole(&self, part: &[usize]) -> Vec<usize> {
        let mut shape = part.to_vec();
        if let (Some(images), true) = (shape.first_mut(), self.parts > 1) {
            // The whole was a size before it was cut.
            *images = images.saturating_mul(self.parts);
        }
        shape
    }

    /// Images that go through the network together, where it computes each by itself and they are not all.
    pub fn part(&self) -> Option<usize> {
        let first = self.outputs.first().filter(|_| self.parts > 1);
        first.and_then(|(_, shape)| shape.first().copied())
    }

    /// Bytes of all that the steps write, if nothing shared a place.
    pub fn activation_bytes(&self) -> usize {
        self.activation_bytes.saturating_mul(self.parts)
    }

    /// What was done to the graph before it was made ready, in the order of the passes.
    pub fn changes(&self) -> &[Change] {
        &self.draft.changes
    }

    /// Buffers for one caller.
    ///
    /// # Errors
    /// No memory for them.
    pub fn buffers(&self) -> Result<Buffers> {
        let mut joined = Vec::new();
        if self.parts > 1 {
            for (dtype, shape) in self.output_facts() {
                joined.push(Tensor::zeros(dtype, &shape)?);
            }
        }
        Ok(Buffers {
            lanes: vec![self.lane()?],
            joined,
            arenas: self.arenas.len(),
            threads: 0,
            profiled: None,
        })
    }

    /// A lane, as yet without scratch.
    fn lane(&self) -> Result<Lane> {
        Lane::new(&self.arenas, &self.outputs)
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
        self.check(inputs, buffers)?;
        in_pool(|| {
            self.size(buffers)?;
            let lanes = buffers.lanes.as_mut_slice();
            let [lane] = lanes else {
                let outputs = buffers.joined.iter_mut().map(Tensor::view_mut).collect();
                return self.divide(inputs, lanes, outputs, 0..self.parts);
            };
            if self.parts == 1 {
                return self.run_part(inputs, lane, |_| {});
            }
            let outputs = buffers.joined.iter_mut().map(Tensor::view_mut).collect();
            self.run_parts(inputs, lane, outputs, 0..self.parts, |_| {})
        })
    }

    /// [`run`](Self::run), and how long each of the [layers](Self::layers) took: for all parts together, each of them on
    /// all threads. Keeps arenas and scratch of its own in `buffers`: new ones would cost the layers their first touch.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn profile(&self, inputs: &[View], buffers: &mut Buffers) -> Result<Vec<Duration>> {
        self.check(inputs, buffers)?;
        let mut times = vec![Duration::ZERO; self.planned.len()];
        let mut last = Instant::now();
        let at = |step: usize| {
            let now = Instant::now();
            if let Some(step) = step.checked_sub(1) {
                times[step] += now - last;
            }
            last = now;
        };
        in_pool(|| {
            let kept = buffers.profiled.take();
            let mut lane = match kept.filter(|(made_for, _)| *made_for == threads()) {
                Some((_, lane)) => lane,
                None => {
                    let mut lane = self.lane()?;
                    lane.scratch = filled(self.steps_scratch(), 0.0)?;
                    lane
                }
            };
            if self.parts > 1 {
                let outputs = buffers.joined.iter_mut().map(Tensor::view_mut).collect();
                self.run_parts(inputs, &mut lane, outputs, 0..self.parts, at)?;
            } else {
                self.run_part(inputs, &mut lane, at)?;
                // The outputs are those of the last run.
                std::mem::swap(&mut buffers.lanes[0].stores, &mut lane.stores);
                std::mem::swap(&mut buffers.lanes[0].skips, &mut lane.skips);
            }
            buffers.profiled = Some((threads(), lane));
            Ok(())
        })?;
        Ok(times)
    }

    /// Runs again, and tells where the first number is that is not finite: in an input, or in what a node makes; `None`
    /// where there is none. For a session of one part.
    #[cfg(feature = "train")]
    pub(crate) fn find_not_finite(
        &self,
        inputs: &[View],
        buffers: &mut Buffers,
    ) -> Result<Option<String>> {
        self.check(inputs, buffers)?;
        for (&value, input) in self.draft.inputs.iter().zip(inputs) {
            if has_not_finite(*input) {
                let name = &self.draft.values[value].name;
                return Ok(Some(format!("are in the input {name:?}")));
            }
        }
        in_pool(|| {
            self.size(buffers)?;
            let lane = &mut buffers.lanes[0];
            for planned in &self.planned {
                let node = &self.draft.nodes[planned.node];
                let done = planned.run(inputs, lane);
                done.map_err(|source| node.fails(source))?;
                if planned.writes_not_finite(lane) {
                    let operator = node.operator.name();
                    return Ok(Some(format!("come out of {} ({operator})", node.name)));
                }
            }
            Ok(None)
        })
    }

    /// Lanes and scratch for the threads of the pool in force.
    fn size(&self, buffers: &mut Buffers) -> Result<()> {
        if buffers.threads == threads() {
            return Ok(());
        }
        buffers.threads = 0;
        buffers.lanes.truncate(self.lanes());
        while buffers.lanes.len() < self.lanes() {
            buffers.lanes.push(self.lane()?);
        }
        for lane in &mut buffers.lanes {
            lane.scratch = filled(self.scratch_len(), 0.0)?;
        }
        buffers.threads = threads();
        Ok(())
    }

    /// The parts `parts` on several lanes at once; `outputs` are theirs.
    fn divide(
        &self,
        inputs: &[View],
        lanes: &mut [Lane],
        outputs: Joined,
        parts: Range<usize>,
    ) -> Result<()> {
        if let [lane] = lanes {
            let run = || self.run_parts(inputs, lane, outputs, parts, |_| {});
            return within(self.share(), run);
        }
        let half = lanes.len() / 2;
        let count = parts.len() * half / lanes.len();
        let middle = parts.start + count;
        let (left, right) = lanes.split_at_mut(half);
        let (mut before, mut after) = (Joined::new(), Joined::new());
        for (output, (_, shape)) in outputs.into_iter().zip(&self.outputs) {
            let (first, second) = output.split_at(shape.iter().product::<usize>() * count);
            before.push(first);
            after.push(second);
        }
        let (first, second) = join(
            || self.divide(inputs, left, before, parts.start..middle),
            || self.divide(inputs, right, after, middle..parts.end),
        );
        first.and(second)
    }

    /// The parts `parts`, one after another; `outputs` are theirs.
    fn run_parts(
        &self,
        inputs: &[View],
        lane: &mut Lane,
        mut outputs: Joined,
        parts: Range<usize>,
        mut at: impl FnMut(usize),
    ) -> Result<()> {
        for part in parts {
            let mut given = SmallVec::<[View; LISTED]>::new();
            for (&value, input) in self.draft.inputs.iter().zip(inputs) {
                let fact = self.draft.fact(value)?;
                let len = fact.shape.iter().product::<usize>();
                given.push(match fact.value {
                    Some(_) => *input,
                    None => input.part(part * len, len),
                });
            }
            self.run_part(&given, lane, &mut at)?;
            let made = &lane.stores[self.arenas.len()..];
            for (output, made) in outputs.iter_mut().zip(made) {
                let all = std::mem::replace(output, ViewMut::F32(&mut []));
                let (mut place, rest) = all.split_at(made.len());
                place.copy_from(made.view())?;
                *output = rest;
            }
        }
        Ok(())
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
            let parts = if fact.value.is_some() { 1 } else { self.parts };
            let len = fact.shape.iter().product::<usize>() * parts;
            check_len("input", len, view.len())?;
        }
        check_len("buffers", self.arenas.len(), buffers.arenas)?;
        let outputs = buffers.outputs();
        check_len("buffers", self.outputs.len(), outputs.len())?;
        for ((dtype, part), output) in self.outputs.iter().zip(outputs) {
            let lengths = part.iter().enumerate();
            let whole = lengths.map(|(axis, &length)| match axis {
                0 => length * self.parts,
                _ => length,
            });
            if output.dtype() != *dtype || !output.shape().iter().copied().eq(whole) {
                return Err(other_buffers());
            }
        }
        for lane in &buffers.lanes {
            lane.check(&self.arenas, &self.outputs)?;
        }
        Ok(())
    }

    /// All steps, on a part of the batch. Calls `at` with 0 before the first one, and with its number, counted from 1,
    /// after each.
    fn run_part(&self, inputs: &[View], lane: &mut Lane, mut at: impl FnMut(usize)) -> Result<()> {
        at(0);
        for (step, planned) in self.planned.iter().enumerate() {
            let done = planned.run(inputs, lane);
            done.map_err(|source| self.draft.nodes[planned.node].fails(source))?;
            at(step + 1);
        }
        for (place, output) in &self.copies {
            copy(place, *output + self.arenas.len(), inputs, lane)?;
        }
        Ok(())
    }
}

/// Runs `work` inside the rayon pool in force, whose other threads stay awake.
fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    match (threads(), rayon::current_thread_index()) {
        (1, _) => work(),
        (_, Some(_)) => awake(work),
        (_, None) => rayon::scope(|_| awake(work)),
    }
}
