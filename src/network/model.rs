//! [`Network`]: a graph, and the sessions that it was planned into.
//!
//! ```text
//! key      for every input: its type and shape, and its elements where they decide shapes
//! session  key ──► found among the last ones, or planned
//! run      bind inputs ─► session ─► free buffers ─► run ─► outputs
//! ```

use std::borrow::Borrow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::draft::{Bounds, Draft, Inferred, bytes};
use super::gradient;
use super::graph::{Dim, Graph, Input, ValueId};
use super::operator::Fact;
use super::parts;
use super::passes;
use super::session::{Buffers, Session};
use super::tensor::{Tensor, View};
use crate::error::{Error, Result, sum};
use crate::plan::PlanOptions;

/// Bytes that a network may need where the caller says nothing: 4 GiB, or half the address space.
pub const DEFAULT_MEMORY_LIMIT: usize = match usize::BITS {
    64 => 1 << 32,
    _ => isize::MAX as usize,
};

/// Multiply-adds below which a layer stays on one thread: fewer than elsewhere, since threads stay awake between
/// layers. On two threads MobileNetV2 made 222 images/s with 2²⁰, 235 with 2¹⁹, 248 with 2¹⁸, 245 with 2¹⁷, when
/// a thread still fell asleep at the end of a layer; it has not been measured again.
const SERIAL_BELOW: u128 = 1 << 18;

/// Bytes of constants up to which prepared weights, up to four times as many, stay in a third-level cache of 32 MiB from
/// run to run.
const NEAR_WEIGHTS: usize = 8 << 20;

/// Sessions that a network keeps.
const KEPT: usize = 8;

/// How a network is to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// How its convolutions are; by default with fewer of them on one thread than plans alone have.
    pub plan: PlanOptions,
    /// Most bytes of constants, arenas, outputs and scratch of one run together, and of every single value;
    /// 4 GiB by default. Checked before anything of that size is allocated.
    pub memory_limit: usize,
    /// Whether the graph is rewritten to run faster, as it is by default; results may differ in their last bits.
    pub rewrite: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            plan: PlanOptions::default().serial_below(SERIAL_BELOW),
            memory_limit: DEFAULT_MEMORY_LIMIT,
            rewrite: true,
        }
    }
}

impl NetworkOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how convolutions are planned.
    pub fn plan(mut self, plan: PlanOptions) -> Self {
        self.plan = plan;
        self
    }

    /// Sets the most bytes of one run.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets whether the graph is rewritten to run faster.
    pub fn rewrite(mut self, rewrite: bool) -> Self {
        self.rewrite = rewrite;
        self
    }
}

/// What a session is planned for.
struct Key {
    /// `None` for an input that is left out; elements where they decide shapes.
    inputs: Vec<Option<Fact>>,
}

struct Planned {
    key: Key,
    session: Arc<Session>,
    free: Mutex<Vec<Buffers>>,
}

/// A graph that runs on inputs of any sizes that it takes. Several threads may run it at once.
pub struct Network {
    graph: Graph,
    bounds: Bounds,
    /// The graph without its sizes, all defaults in place.
    common: Draft,
    /// A loss, and the values whose gradients are outputs behind those of the graph.
    gradients: Option<(usize, Vec<usize>)>,
    /// The inputs whose elements decide shapes, as far as planning has met them.
    by_value: Vec<AtomicBool>,
    /// The last one used first.
    sessions: Mutex<Vec<Arc<Planned>>>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Network")
            .field("nodes", &self.graph.nodes.len())
            .finish_non_exhaustive()
    }
}

/// The tensor given for each input; `None` where it is left out.
type Given<'t> = SmallVec<[Option<&'t Tensor>; 8]>;

impl Network {
    /// Checks `graph`.
    ///
    /// # Errors
    /// A graph that contradicts itself; constants beyond the memory limit.
    pub fn new(graph: Graph) -> Result<Self> {
        Self::with_options(graph, NetworkOptions::default())
    }

    /// [`new`](Self::new) with other options.
    ///
    /// # Errors
    /// Those of `new`.
    pub fn with_options(graph: Graph, options: NetworkOptions) -> Result<Self> {
        graph.check()?;
        let constants = graph.constants.iter().flatten();
        let held = constants
            .map(|constant| bytes(&Fact::new(constant.dtype(), constant.shape())))
            .collect::<Result<Vec<_>>>()?;
        let needed = sum("constants", &held)?;
        if needed > options.memory_limit {
            return Err(Error::MemoryBudget {
                needed,
                budget: options.memory_limit,
            });
        }
        let mut plan = options.plan;
        plan.memory_budget = plan.memory_budget.min(options.memory_limit);
        plan.weights_far |= needed > NEAR_WEIGHTS;
        let bounds = Bounds {
            plan,
            limit: options.memory_limit,
            rewrite: options.rewrite,
        };
        let common = Self::common(&graph, |_| false, &bounds)?;
        let mut graph = graph;
        if graph
            .inputs
            .iter()
            .all(|input| graph.constant_of(input.value).is_none())
        {
            // What is still needed of them is in the draft.
            graph
                .constants
                .iter_mut()
                .for_each(|constant| *constant = None);
        }
        Ok(Self {
            by_value: graph
                .inputs
                .iter()
                .map(|_| AtomicBool::new(false))
                .collect(),
            graph,
            bounds,
            common,
            gradients: None,
            sessions: Mutex::new(Vec::new()),
        })
    }

    /// A network that computes, behind the outputs of `graph`, the gradients of `loss` in the values `of`, in their
    /// order; each has the shape of its value and the name `d NAME`. `loss`, of one element, is an output of the
    /// graph; `of` are inputs of it, or values that are computed.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); a loss that is no output. An operator without a gradient, and a value that the
    /// loss does not depend on, are found when the first run is planned.
    pub fn with_gradients(
        graph: Graph,
        loss: ValueId,
        of: &[ValueId],
        options: NetworkOptions,
    ) -> Result<Self> {
        if !graph.outputs.contains(&loss) {
            return Err(Error::Model {
                what: format!("the loss {:?} is no output of the graph", graph.name(loss)),
            });
        }
        let mut graph = graph;
        for node in &mut graph.nodes {
            if let Some(keeping) = node.operator.keeping() {
                node.operator = keeping;
            }
        }
        let of = of.iter().map(|value| value.0).collect();
        let mut network = Self::with_options(graph, options)?;
        network.gradients = Some((loss.0, of));
        Ok(network)
    }

    /// What all sessions share where the inputs for which `given` is true replace their defaults.
    fn common(graph: &Graph, given: impl Fn(usize) -> bool, bounds: &Bounds) -> Result<Draft> {
        let required = |input: usize| graph.constant_of(graph.inputs[input].value).is_none();
        let mut draft = Draft::new(graph, |input| required(input) || given(input));
        draft.fold(bounds)?;
        passes::without_sizes(&mut draft, bounds)?;
        Ok(draft)
    }

    /// The graph; its constants may have been given up for what became of them.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The outputs for `inputs`, each with its name.
    ///
    /// # Errors
    /// Inputs that are missing, unknown, or of other types and sizes; whatever a node finds wrong with the sizes;
    /// more memory than the limit.
    pub fn run<S, T>(&self, inputs: &[(S, T)]) -> Result<Vec<(String, Tensor)>>
    where
        S: AsRef<str>,
        T: Borrow<Tensor>,
    {
        let given = self.given(inputs)?;
        let planned = self.planned(&given)?;
        let free = locked(&planned.free).pop();
        let mut buffers = match free {
            Some(buffers) => buffers,
            None => planned.session.buffers()?,
        };
        planned.session.run(&self.views(&given)?, &mut buffers)?;
        let names = self.output_names();
        let outputs = names.zip(buffers.outputs().iter().cloned()).collect();
        locked(&planned.free).push(buffers);
        Ok(outputs)
    }

    /// The names of what comes out, gradients behind the outputs of the graph.
    pub fn output_names(&self) -> impl Iterator<Item = String> {
        let outputs = self.graph.outputs.iter();
        let outputs = outputs.map(|&output| self.graph.name(output).to_owned());
        let gradients = self.gradients.iter().flat_map(|(_, of)| of);
        let gradient = |&value: &usize| format!("d {}", self.graph.name(ValueId(value)));
        outputs.chain(gradients.map(gradient))
    }

    /// The session for inputs like these: planned now, or before.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn session<S, T>(&self, inputs: &[(S, T)]) -> Result<Arc<Session>>
    where
        S: AsRef<str>,
        T: Borrow<Tensor>,
    {
        Ok(self.planned(&self.given(inputs)?)?.session.clone())
    }

    /// The session for inputs of these shapes; where elements decide shapes, they count as zeros.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn session_for<S: AsRef<str>>(&self, shapes: &[(S, Vec<usize>)]) -> Result<Arc<Session>> {
        let mut inputs = Vec::with_capacity(shapes.len());
        for (name, shape) in shapes {
            let mut known = self.graph.inputs.iter();
            let Some(input) = known.find(|input| self.graph.name(input.value) == name.as_ref())
            else {
                return Err(self.graph.unknown_input(name.as_ref()));
            };
            let needed = bytes(&Fact::new(input.dtype, shape.clone()))?;
            if needed > self.bounds.limit {
                return Err(Error::MemoryBudget {
                    needed,
                    budget: self.bounds.limit,
                });
            }
            inputs.push((name, Tensor::zeros(input.dtype, shape)?));
        }
        self.session(&inputs)
    }

    /// The tensors by input.
    fn given<'t, S, T>(&self, inputs: &'t [(S, T)]) -> Result<Given<'t>>
    where
        S: AsRef<str>,
        T: Borrow<Tensor>,
    {
        let mut given: Given<'t> = self.graph.inputs.iter().map(|_| None).collect();
        for (name, tensor) in inputs {
            let name = name.as_ref();
            let mut known = self.graph.inputs.iter();
            let Some(index) = known.position(|input| self.graph.name(input.value) == name) else {
                return Err(self.graph.unknown_input(name));
            };
            if given[index].replace(tensor.borrow()).is_some() {
                return Err(Error::InputTwice {
                    input: name.to_owned(),
                });
            }
        }
        self.check(&given)?;
        Ok(given)
    }

    /// Types and sizes are those of the graph; axes of equal names have equal sizes.
    fn check(&self, given: &Given<'_>) -> Result<()> {
        let mut bound: SmallVec<[(&str, usize, &str); 4]> = SmallVec::new();
        for (input, tensor) in self.graph.inputs.iter().zip(given) {
            let name = self.graph.name(input.value);
            match tensor {
                Some(tensor) => check_input(name, input, tensor, &mut bound)?,
                None if self.graph.constant_of(input.value).is_some() => {}
                None => {
                    return Err(Error::InputMissing {
                        input: name.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The elements of every input, as a session takes them.
    fn views<'t>(&'t self, given: &Given<'t>) -> Result<SmallVec<[View<'t>; 8]>> {
        let inputs = self.graph.inputs.iter().zip(given);
        inputs
            .map(
                |(input, tensor)| match (tensor, self.graph.constant_of(input.value)) {
                    (Some(tensor), _) => Ok(tensor.view()),
                    (None, Some(default)) => Ok(default.view()),
                    (None, None) => Err(Error::InputMissing {
                        input: self.graph.name(input.value).to_owned(),
                    }),
                },
            )
            .collect()
    }

    fn planned(&self, given: &Given<'_>) -> Result<Arc<Planned>> {
        loop {
            {
                let mut sessions = locked(&self.sessions);
                if let Some(found) = sessions.iter().position(|held| held.key.fits(given)) {
                    sessions[..=found].rotate_right(1);
                    return Ok(sessions[0].clone());
                }
            }
            let facts = self.facts(given);
            match self.infer(given, &facts)? {
                Inferred::Wanted(inputs) => {
                    for input in inputs {
                        self.by_value[input].store(true, Relaxed);
                    }
                }
                Inferred::Draft(mut draft) => {
                    let parts = match self.part(given, &facts, &draft)? {
                        Some((part, parts)) => {
                            draft = part;
                            parts
                        }
                        None => 1,
                    };
                    if let Some((loss, of)) = &self.gradients {
                        let more = gradient::differentiate(&mut draft, *loss, of, &self.bounds)?;
                        draft.outputs.extend(more);
                    }
                    passes::with_sizes(&mut draft, &self.bounds)?;
                    let session = Session::new(draft, parts, &self.bounds)?;
                    let inputs = facts.into_iter().zip(given);
                    let key = Key {
                        inputs: inputs.map(|(fact, tensor)| tensor.map(|_| fact)).collect(),
                    };
                    let planned = Arc::new(Planned {
                        key,
                        session: Arc::new(session),
                        free: Mutex::new(Vec::new()),
                    });
                    let mut sessions = locked(&self.sessions);
                    // Another thread may have planned the same meanwhile.
                    if let Some(found) = sessions.iter().find(|held| held.key.fits(given)) {
                        return Ok(found.clone());
                    }
                    sessions.truncate(KEPT - 1);
                    sessions.insert(0, planned.clone());
                    return Ok(planned);
                }
            }
        }
    }

    /// A part of the batch that `whole` is inferred for, and how many there are, where it goes through in parts.
    fn part(
        &self,
        given: &Given<'_>,
        facts: &[Fact],
        whole: &Draft,
    ) -> Result<Option<(Draft, usize)>> {
        // Gradients of weights are sums over the batch.
        if !self.bounds.rewrite || self.gradients.is_some() {
            return Ok(None);
        }
        let Some(images) = parts::images(whole)? else {
            return Ok(None);
        };
        let mut facts = facts.to_vec();
        let mut count = 1;
        let batched = |fact: &&mut Fact| fact.value.is_none();
        for fact in facts.iter_mut().filter(batched) {
            count = fact.shape[0] / images;
            fact.shape[0] = images;
        }
        // A model may hold the size of its batch somewhere.
        Ok(match self.infer(given, &facts) {
            Ok(Inferred::Draft(part)) if parts::is_part(whole, &part, images) => {
                Some((part, count))
            }
            _ => None,
        })
    }

    fn infer(&self, given: &Given<'_>, facts: &[Fact]) -> Result<Inferred> {
        let constant = |index: usize| self.graph.constant_of(self.graph.inputs[index].value);
        let replaced = |index: usize| given[index].is_some() && constant(index).is_some();
        if (0..given.len()).any(replaced) {
            let draft = Self::common(&self.graph, replaced, &self.bounds)?;
            return draft.infer(facts, &self.bounds);
        }
        self.common.infer(facts, &self.bounds)
    }

    /// What is known of the inputs.
    fn facts(&self, given: &Given<'_>) -> Vec<Fact> {
        let inputs = self.graph.inputs.iter().zip(given).zip(&self.by_value);
        inputs
            .map(|((input, tensor), by_value)| match tensor {
                Some(tensor) if by_value.load(Relaxed) => {
                    Fact::constant(Arc::new((*tensor).clone()))
                }
                Some(tensor) => Fact::new(tensor.dtype(), tensor.shape()),
                None => match self.graph.constant_of(input.value) {
                    Some(default) => Fact::constant(default.clone()),
                    None => Fact::new(input.dtype, []),
                },
            })
            .collect()
    }
}

impl Key {
    /// Whether `given` is what the session was planned for.
    fn fits(&self, given: &Given<'_>) -> bool {
        let mut inputs = self.inputs.iter().zip(given);
        inputs.all(|(fact, tensor)| match (fact, tensor) {
            (None, None) => true,
            (Some(fact), Some(tensor)) => {
                fact.dtype == tensor.dtype()
                    && fact.shape == tensor.shape()
                    && fact
                        .value
                        .as_ref()
                        .is_none_or(|value| value.as_ref() == *tensor)
            }
            _ => false,
        })
    }
}

/// One input against the graph; `bound` collects the sizes of named axes and the inputs that they come from.
fn check_input<'g>(
    name: &'g str,
    input: &'g Input,
    tensor: &Tensor,
    bound: &mut SmallVec<[(&'g str, usize, &'g str); 4]>,
) -> Result<()> {
    if tensor.dtype() != input.dtype {
        return Err(Error::InputType {
            input: name.to_owned(),
            expected: input.dtype.name(),
            got: tensor.dtype().name(),
        });
    }
    let Some(dims) = &input.dims else {
        return Ok(());
    };
    if dims.len() != tensor.shape().len() {
        return Err(Error::InputRank {
            input: name.to_owned(),
            expected: dims.len(),
            got: tensor.shape().to_vec(),
        });
    }
    for (axis, (dim, &got)) in dims.iter().zip(tensor.shape()).enumerate() {
        let (expected, reason) = match dim {
            Dim::Size(size) => (*size, String::new()),
            Dim::Free(free) if free.is_empty() => continue,
            Dim::Free(free) => match bound.iter().find(|(known, ..)| known == free) {
                None => {
                    bound.push((free, got, name));
                    continue;
                }
                Some((_, size, from)) if *size != got => {
                    (*size, format!(", which is {free:?} of input {from:?}"))
                }
                Some(_) => continue,
            },
        };
        if got != expected {
            return Err(Error::InputSize {
                input: name.to_owned(),
                axis,
                expected,
                got,
                reason,
            });
        }
    }
    Ok(())
}

/// What a mutex holds: a panic elsewhere leaves nothing half done in it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
