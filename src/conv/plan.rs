//! [`ConvPlan`]: checks lengths, hands out scratch, runs the recipe.

use ndarray::{Array, ArrayRef, Dimension, IxDyn};

use super::epilogue::{Epilogue, epilogue_over};
use super::reference;
use super::unfold_gemm::Job;
use super::weights::{Form, PreparedWeights};
use crate::element::{Element, filled, standard};
use crate::error::{Error, Result, check_len, check_shape};
use crate::gemm::{Engine, EngineKind};
use crate::geometry::ConvGeometry;
use crate::parallel::{Lanes, threads_from};
use crate::plan::{Decision, Explanation, Pass, PlanOptions, Recipe, RecipeKind};

/// A convolution whose sizes are checked and whose recipe is chosen: immutable, shared freely by threads.
///
/// Results are bitwise the same for every number of threads. With BLAS that holds as far as BLAS itself
/// keeps it for one thread.
///
/// ```
/// use gemmconv::{Activation, ConvGeometry, ConvOptions, ConvPlan, Epilogue, PlanOptions};
/// use ndarray::{Array1, Array4};
///
/// let geometry = ConvGeometry::new(&[8, 3, 32, 32], &[16, 3, 5, 5], &ConvOptions::new().stride(2).padding(2))?;
/// let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new())?;
/// let weights = plan.prepare(&Array4::from_elem((16, 3, 5, 5), 0.1))?;
/// let bias = [0.5; 16];
/// let y = plan.forward(
///     &Array4::from_elem((8, 3, 32, 32), 1.0),
///     &weights,
///     &Epilogue::none().bias(&bias).activation(Activation::Relu),
/// )?;
/// assert_eq!(y.dim(), (8, 16, 16, 16));
/// # Ok::<(), gemmconv::Error>(())
/// ```
#[derive(Debug)]
pub struct ConvPlan<T: Element> {
    pub(super) geometry: ConvGeometry,
    pub(super) decision: Decision,
    pub(super) engine_kind: EngineKind,
    engine: &'static dyn Engine<T>,
    pub(super) form: Form,
    forced: bool,
    serial_below: u128,
}

impl<T: Element> Clone for ConvPlan<T> {
    fn clone(&self) -> Self {
        Self {
            geometry: self.geometry.clone(),
            decision: self.decision.clone(),
            ..*self
        }
    }
}

impl<T: Element> ConvPlan<T> {
    /// Plans `geometry`.
    ///
    /// # Errors
    /// An engine that is not compiled in or whose integers are too small; more memory than the budget.
    pub fn new(geometry: &ConvGeometry, options: &PlanOptions) -> Result<Self> {
        let engine = options.engine.engine::<T>()?;
        let decision = Decision::new(geometry, options, engine)?;
        let form = Form::of(geometry, decision.recipe(Pass::Forward).kind());
        Ok(Self {
            geometry: geometry.clone(),
            decision,
            engine_kind: options.engine,
            engine,
            form,
            forced: options.recipe.is_some(),
            serial_below: options.serial_below,
        })
    }

    /// The sizes.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The recipe of the forward pass.
    pub fn recipe(&self) -> RecipeKind {
        self.decision.recipe(Pass::Forward).kind()
    }

    /// The recipe of one pass, with its numbers.
    pub fn recipe_of(&self, pass: Pass) -> &Recipe {
        self.decision.recipe(pass)
    }

    /// What will be done in one pass, and why.
    pub fn explain(&self, pass: Pass) -> Explanation {
        self.decision
            .explain(&self.geometry, pass, self.engine_kind.name(), self.forced)
    }

    /// Elements of scratch for `pass` on the rayon pool in force at this call.
    ///
    /// A pass takes any scratch that holds one thread's share; more of it lets more threads work.
    pub fn scratch_len(&self, pass: Pass) -> usize {
        self.shared_len(pass) + self.decision.lane_len(pass) * self.threads()
    }

    /// Elements of scratch without which `pass` cannot run.
    pub fn min_scratch_len(&self, pass: Pass) -> usize {
        self.shared_len(pass) + self.decision.lane_len(pass)
    }

    fn shared_len(&self, pass: Pass) -> usize {
        self.decision.shared_len(pass)
    }

    /// `[images, channels, elements]` of the output.
    pub(super) fn output_planes(&self) -> [usize; 3] {
        [
            self.geometry.batch(),
            self.geometry.output_channels(),
            self.geometry.positions(),
        ]
    }

    /// Whether a loop over `elements` is worth a second thread.
    pub(super) fn parallel_over(&self, elements: usize) -> bool {
        threads_from(elements as u128, self.serial_below) > 1
    }

    /// The threads that one pass may use now.
    fn threads(&self) -> usize {
        threads_from(self.geometry.operations() / 2, self.serial_below)
    }

    /// Puts `weight`, `[O, C/g, kernel…]`, in the form this plan multiplies with.
    ///
    /// # Errors
    /// A weight of another shape than the geometry's.
    pub fn prepare<D: Dimension>(&self, weight: &ArrayRef<T, D>) -> Result<PreparedWeights<T>> {
        PreparedWeights::new(&self.geometry, self.form, weight)
    }

    /// Replaces prepared weights in place, as training does after each step.
    ///
    /// # Errors
    /// Weights of another shape, or prepared for another form.
    pub fn update<D: Dimension>(
        &self,
        prepared: &mut PreparedWeights<T>,
        weight: &ArrayRef<T, D>,
    ) -> Result<()> {
        prepared.check(&self.geometry, self.form)?;
        prepared.update(&self.geometry, weight)
    }

    /// Y = conv(X, W), then the epilogue. `x` has the geometry's input shape, any strides.
    ///
    /// # Errors
    /// Shapes or lengths that do not fit the geometry; no memory for the output or the scratch.
    pub fn forward<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
    ) -> Result<Array<T, D>> {
        self.forward_raw(x, weights.check(&self.geometry, self.form)?, epilogue)
    }

    /// [`forward`](Self::forward) with weights already in order.
    fn forward_raw<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        weights: &[T],
        epilogue: &Epilogue<'_, T>,
    ) -> Result<Array<T, D>> {
        check_shape("input", &self.geometry.input_shape(), x.shape())?;
        let mut y = filled(self.geometry.output_len(), T::ZERO)?;
        let mut scratch = filled(self.scratch_len(Pass::Forward), T::ZERO)?;
        self.run_forward(&standard(x)?, weights, epilogue, &mut y, &mut scratch)?;
        array(&self.geometry.output_shape(), y)
    }

    /// One call with weights as they are given: prepared only where their order must change.
    pub(super) fn forward_given<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        weight: &ArrayRef<T, D>,
        epilogue: &Epilogue<'_, T>,
    ) -> Result<Array<T, D>> {
        if self.form.is_given() {
            check_shape("weight", &self.geometry.weight_shape(), weight.shape())?;
            return self.forward_raw(x, &standard(weight)?, epilogue);
        }
        self.forward(x, &self.prepare(weight)?, epilogue)
    }

    /// [`forward`](Self::forward) into the caller's array.
    ///
    /// # Errors
    /// Those of `forward`; an output of another shape.
    pub fn forward_into<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        y: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        check_shape("input", &self.geometry.input_shape(), x.shape())?;
        check_shape("output", &self.geometry.output_shape(), y.shape())?;
        let mut scratch = filled(self.scratch_len(Pass::Forward), T::ZERO)?;
        in_standard(y, |y| {
            self.forward_with_scratch(&standard(x)?, weights, epilogue, y, &mut scratch)
        })
    }

    /// [`forward`](Self::forward) on slices in standard layout. Allocates nothing; `scratch` is garbage afterwards.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry; scratch below [`min_scratch_len`](Self::min_scratch_len).
    pub fn forward_with_scratch(
        &self,
        x: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        self.run_forward(
            x,
            weights.check(&self.geometry, self.form)?,
            epilogue,
            y,
            scratch,
        )
    }

    fn run_forward(
        &self,
        x: &[T],
        weights: &[T],
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        check_len("input", self.geometry.input_len(), x.len())?;
        check_len("output", self.geometry.output_len(), y.len())?;
        epilogue.check(self.geometry.output_channels(), y.len())?;
        match self.job(Pass::Forward) {
            Some(job) => {
                let _one_thread = self.engine_kind.one_thread();
                let (_, lanes) = self.lanes(Pass::Forward, scratch)?;
                job.forward(x, weights, epilogue, y, &lanes)
            }
            None => {
                reference::forward(&self.geometry, x, weights, None, y);
                epilogue_over(
                    self.geometry.layout(),
                    self.output_planes(),
                    epilogue,
                    y,
                    false,
                )
            }
        }
    }

    /// The tiled products of `pass`, unless the reference loops run.
    pub(super) fn job(&self, pass: Pass) -> Option<Job<'_, T>> {
        match self.decision.recipe(pass) {
            Recipe::Naive => None,
            Recipe::Unfold(tiles) => Some(Job {
                geometry: &self.geometry,
                tiles,
                engine: self.engine,
                parallel: self.threads() > 1,
            }),
        }
    }

    /// `scratch` as the block that all threads share and the lanes that each has alone.
    pub(super) fn lanes<'s>(
        &self,
        pass: Pass,
        scratch: &'s mut [T],
    ) -> Result<(&'s mut [T], Lanes<'s, T>)> {
        let (shared, lane) = (self.shared_len(pass), self.decision.lane_len(pass));
        if scratch.len() < shared + lane {
            return Err(Error::BufferLength {
                what: "scratch",
                expected: shared + lane,
                got: scratch.len(),
            });
        }
        let (shared, rest) = scratch.split_at_mut(shared);
        Ok((shared, Lanes::new(rest, lane, self.threads())))
    }
}

/// `data` as an array of `shape`, of whichever dimension type the caller works with.
pub(super) fn array<T, D: Dimension>(shape: &[usize], data: Vec<T>) -> Result<Array<T, D>> {
    Array::from_shape_vec(IxDyn(shape), data)
        .and_then(Array::into_dimensionality)
        .map_err(|_| Error::Rank {
            what: "result",
            expected: shape.len(),
            got: D::NDIM.unwrap_or(0),
        })
}

/// Lets `write` fill `array` in standard order, in place where it lies so.
pub(super) fn in_standard<T: Element, D: Dimension>(
    array: &mut ArrayRef<T, D>,
    write: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<()> {
    if let Some(slice) = array.as_slice_mut() {
        return write(slice);
    }
    let mut data = filled(array.len(), T::ZERO)?;
    write(&mut data)?;
    for (slot, value) in array.iter_mut().zip(data) {
        *slot = value;
    }
    Ok(())
}
