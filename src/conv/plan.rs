//! [`ConvPlan`]: checks lengths, hands out scratch, runs the recipe.

use std::sync::Arc;

use ndarray::{Array, ArrayRef, Dimension, IxDyn};

use super::epilogue::{Epilogue, epilogue_over};
#[cfg(feature = "fft")]
use super::fourier::{FourierPass, Kernels};
use super::native::{
    Correlation, Finale, OuterSum, Sweep, Target, WeightGradient, Winograd, WinogradWeight,
};
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
/// Results are bitwise the same for every number of threads: each element is summed in an order that the
/// geometry, the options and the instruction set give. With BLAS that holds as far as BLAS itself keeps it for
/// one thread.
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
    native: Arc<Native>,
    /// Of the forward pass and of backward input.
    #[cfg(feature = "fft")]
    fourier: [Option<Arc<dyn FourierPass<T>>>; 2],
    serial_below: u128,
}

/// The tables of the native recipes, and what the passes want of the weights.
#[derive(Debug)]
struct Native {
    forward: Option<DataPass>,
    backward_input: Option<DataPass>,
    backward_weight: Option<WeightPass>,
    /// Of the forward pass and of backward input.
    forms: [Form; 2],
}

/// The native ways to a result or to the gradient of the input.
#[derive(Debug)]
enum DataPass {
    Sweep(Box<Sweep>),
    Winograd(Box<Winograd>),
}

impl DataPass {
    /// The tables of `recipe`, if it is native.
    fn new(geometry: &ConvGeometry, pass: Pass, recipe: &Recipe) -> Result<Option<Self>> {
        Ok(match (recipe, recipe.blocks()) {
            (Recipe::Winograd(tiles), _) => {
                let winograd = Winograd::new(geometry, pass, tiles)?;
                Some(Self::Winograd(Box::new(winograd)))
            }
            (_, Some(blocks)) => {
                let sweep = Sweep::new(geometry, pass, blocks)?;
                Some(Self::Sweep(Box::new(sweep)))
            }
            _ => None,
        })
    }

    /// The taps of every phase, in the order of the weights, where they are not transformed.
    fn taps(&self) -> Option<Vec<Vec<usize>>> {
        match self {
            Self::Sweep(sweep) => Some(sweep.taps()),
            Self::Winograd(_) => None,
        }
    }

    fn run(
        &self,
        x: &[f32],
        weights: &[f32],
        finale: Finale<'_>,
        y: (&mut [f32], Target),
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        match self {
            Self::Sweep(sweep) => sweep.run(x, weights, finale, y, lanes, threads),
            Self::Winograd(winograd) => winograd.run(x, weights, finale, y, lanes, threads),
        }
    }
}

/// The native ways to the gradient of the weights.
#[derive(Debug)]
enum WeightPass {
    Correlation(Correlation),
    OuterSum(OuterSum),
    Winograd(Box<WinogradWeight>),
}

impl WeightPass {
    fn run(
        &self,
        gradient: WeightGradient<'_>,
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        match self {
            Self::Correlation(sum) => sum.run(gradient, lanes, threads),
            Self::OuterSum(sum) => sum.run(gradient, lanes, threads),
            Self::Winograd(sum) => sum.run(gradient, lanes, threads),
        }
    }

    /// The tables of `recipe`, if it is native.
    fn new(geometry: &ConvGeometry, recipe: &Recipe) -> Result<Option<Self>> {
        Ok(match (recipe, recipe.blocks()) {
            (Recipe::WinogradWeight(parts), _) => Some(Self::Winograd(Box::new(
                WinogradWeight::new(geometry, parts)?,
            ))),
            (_, Some(blocks)) if blocks.outer => {
                Some(Self::OuterSum(OuterSum::new(geometry, blocks)?))
            }
            (_, Some(blocks)) => Some(Self::Correlation(Correlation::new(geometry, blocks)?)),
            _ => None,
        })
    }
}

impl Native {
    fn new(geometry: &ConvGeometry, decision: &Decision) -> Result<Self> {
        let way = |pass| DataPass::new(geometry, pass, decision.recipe(pass));
        let (forward, backward_input) = (way(Pass::Forward)?, way(Pass::BackwardInput)?);
        let form = |pass, way: &Option<DataPass>| {
            let taps = way.as_ref().and_then(DataPass::taps);
            Form::of(geometry, pass, decision.recipe(pass), taps)
        };
        #[cfg(feature = "fft")]
        let form = |pass, way: &Option<DataPass>| match decision.recipe(pass) {
            Recipe::Fft(tiles) => {
                Kernels::new(geometry, pass, tiles).map(|kernels| Form::Fourier(Arc::new(kernels)))
            }
            _ => Ok(form(pass, way)),
        };
        #[cfg(not(feature = "fft"))]
        let form = |pass, way: &Option<DataPass>| Ok::<_, Error>(form(pass, way));
        let backward_weight = decision.recipe(Pass::BackwardWeight);
        Ok(Self {
            forms: [
                form(Pass::Forward, &forward)?,
                form(Pass::BackwardInput, &backward_input)?,
            ],
            forward,
            backward_input,
            backward_weight: WeightPass::new(geometry, backward_weight)?,
        })
    }
}

impl<T: Element> Clone for ConvPlan<T> {
    fn clone(&self) -> Self {
        Self {
            geometry: self.geometry.clone(),
            decision: self.decision.clone(),
            native: self.native.clone(),
            #[cfg(feature = "fft")]
            fourier: self.fourier.clone(),
            ..*self
        }
    }
}

impl<T: Element> ConvPlan<T> {
    /// Plans `geometry`.
    ///
    /// # Errors
    /// A forced recipe that cannot do the forward pass; an engine that is not compiled in, or whose integers are too
    /// small where it is needed; more memory than the budget.
    pub fn new(geometry: &ConvGeometry, options: &PlanOptions) -> Result<Self> {
        Self::for_passes(geometry, options, &Pass::ALL)
    }

    /// [`new`](Self::new) with tables for some passes only; the loops do the others.
    pub(crate) fn for_passes(
        geometry: &ConvGeometry,
        options: &PlanOptions,
        passes: &[Pass],
    ) -> Result<Self> {
        let engine = options.engine.engine::<T>()?;
        let decision = Decision::new(geometry, options, engine, passes)?;
        let native = Arc::new(Native::new(geometry, &decision)?);
        #[cfg(feature = "fft")]
        let fourier = {
            let way = |pass| match decision.recipe(pass) {
                Recipe::Fft(tiles) => super::fourier::pass(geometry, pass, tiles, engine).map(Some),
                _ => Ok(None),
            };
            [way(Pass::Forward)?, way(Pass::BackwardInput)?]
        };
        Ok(Self {
            #[cfg(feature = "fft")]
            fourier,
            geometry: geometry.clone(),
            decision,
            engine_kind: options.engine,
            engine,
            native,
            serial_below: options.serial_below,
        })
    }

    /// The sizes.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The recipe of the forward pass; the gradients may have others, see [`recipe_of`](Self::recipe_of).
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
            .explain(&self.geometry, pass, self.engine_kind.name())
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
    pub(super) fn threads(&self) -> usize {
        let work = self.geometry.operations() / 2;
        let depthwise = self.geometry.channels_per_group() == 1 && self.geometry.groups() > 1;
        // One multiply-add for each number that is loaded: they take several times as long.
        let work = if depthwise { 4 * work } else { work };
        threads_from(work, self.serial_below)
    }

    /// Puts `weight`, `[O, C/g, kernel…]`, in the forms this plan multiplies with, forward and backward.
    ///
    /// # Errors
    /// A weight of another shape than the geometry's; no memory for the forms.
    pub fn prepare<D: Dimension>(&self, weight: &ArrayRef<T, D>) -> Result<PreparedWeights<T>> {
        PreparedWeights::new(&self.geometry, &self.native.forms, weight)
    }

    /// [`prepare`](Self::prepare) for one pass alone, which takes less memory and time. Backward weight reads no
    /// weights: for it nothing but the shape is kept.
    ///
    /// # Errors
    /// Those of `prepare`.
    pub fn prepare_for<D: Dimension>(
        &self,
        pass: Pass,
        weight: &ArrayRef<T, D>,
    ) -> Result<PreparedWeights<T>> {
        PreparedWeights::new(&self.geometry, self.form(pass), weight)
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
        prepared.update(&self.geometry, &self.native.forms, weight)
    }

    /// The form of the weights in `pass`, which may read none.
    fn form(&self, pass: Pass) -> Option<&Form> {
        let [forward, backward_input] = &self.native.forms;
        match pass {
            Pass::Forward => Some(forward),
            Pass::BackwardInput => Some(backward_input),
            Pass::BackwardWeight => None,
        }
    }

    /// Whether `prepared` is in the form that `pass` reads.
    #[cfg(feature = "network")]
    pub(crate) fn takes(&self, pass: Pass, prepared: &PreparedWeights<T>) -> bool {
        self.weights(pass, prepared).is_ok()
    }

    /// `prepared` as `pass` reads it.
    pub(super) fn weights<'w>(
        &self,
        pass: Pass,
        prepared: &'w PreparedWeights<T>,
    ) -> Result<&'w [T]> {
        match self.form(pass) {
            Some(form) => prepared.check(&self.geometry, form),
            None => Ok(&[]),
        }
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
        self.forward_raw(x, self.weights(Pass::Forward, weights)?, epilogue)
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
        if self.form(Pass::Forward).is_some_and(Form::is_given) {
            check_shape("weight", &self.geometry.weight_shape(), weight.shape())?;
            return self.forward_raw(x, &standard(weight)?, epilogue);
        }
        self.forward(x, &self.prepare_for(Pass::Forward, weight)?, epilogue)
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
    /// Depthwise layers are up to half as fast again where `x` and `y` begin with a cache line.
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
            self.weights(Pass::Forward, weights)?,
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
        if let Some(way) = &self.native.forward {
            let y = (y, self.target(self.geometry.output_channels()));
            return self.native(way, Pass::Forward, x, weights, epilogue, y, scratch);
        }
        if let Some(done) = self.by_fourier(Pass::Forward, x, weights, epilogue, y, scratch) {
            return done;
        }
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

    /// A pass by Fourier transforms, if that is its recipe. Lengths have been checked but for the scratch.
    #[cfg(feature = "fft")]
    fn by_fourier(
        &self,
        pass: Pass,
        x: &[T],
        weights: &[T],
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) -> Option<Result<()>> {
        let way = self.fourier.get(pass as usize)?.as_ref()?;
        let _one_thread = self.engine_kind.one_thread();
        let run = |(_, lanes): (_, Lanes<'_, T>)| {
            way.run(x, weights, epilogue, y, &lanes, self.threads())
        };
        Some(self.lanes(pass, scratch).and_then(run))
    }

    /// No pass is by Fourier transforms.
    #[cfg(not(feature = "fft"))]
    fn by_fourier(
        &self,
        _: Pass,
        _: &[T],
        _: &[T],
        _: &Epilogue<'_, T>,
        _: &mut [T],
        _: &mut [T],
    ) -> Option<Result<()>> {
        None
    }

    /// A result of `channels` channels for itself, in the layout of the geometry.
    fn target(&self, channels: usize) -> Target {
        Target::whole(self.geometry.layout(), channels)
    }

    /// Whether [`forward_to`](Self::forward_to) works: the recipe is native.
    #[cfg(feature = "network")]
    pub(crate) fn has_targets(&self) -> bool {
        self.native.forward.is_some()
    }

    /// [`forward_with_scratch`](Self::forward_with_scratch) into channels of a larger batch, or into another layout;
    /// a residual lies as a whole batch in that layout.
    ///
    /// # Errors
    /// Those of `forward_with_scratch`; a recipe that is not native.
    #[cfg(feature = "network")]
    pub(crate) fn forward_to(
        &self,
        x: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        (y, target): (&mut [T], Target),
        scratch: &mut [T],
    ) -> Result<()> {
        let Some(way) = &self.native.forward else {
            return Err(Error::Unsupported {
                what: "a part of a batch as the result",
                wanted: "the recipe is not native",
            });
        };
        let weights = self.weights(Pass::Forward, weights)?;
        check_len("input", self.geometry.input_len(), x.len())?;
        epilogue.check(self.geometry.output_channels(), self.geometry.output_len())?;
        // The length of `y` is checked where it is viewed.
        self.native(
            way,
            Pass::Forward,
            x,
            weights,
            epilogue,
            (y, target),
            scratch,
        )
    }

    /// Runs a native pass. Lengths have been checked but for the scratch.
    #[allow(clippy::too_many_arguments)]
    fn native(
        &self,
        way: &DataPass,
        pass: Pass,
        x: &[T],
        weights: &[T],
        epilogue: &Epilogue<'_, T>,
        (y, target): (&mut [T], Target),
        scratch: &mut [T],
    ) -> Result<()> {
        let (_, lanes) = self.lanes(pass, singles_mut(scratch)?)?;
        way.run(
            singles(x)?,
            singles(weights)?,
            epilogue.finale()?,
            (singles_mut(y)?, target),
            &lanes,
            self.threads(),
        )
    }

    /// Backward input by a native recipe or Fourier transforms, with an epilogue of the input's shape; `None` where
    /// another runs.
    pub(super) fn native_backward_input(
        &self,
        d_output: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        d_input: &mut [T],
        scratch: &mut [T],
    ) -> Option<Result<()>> {
        let pass = Pass::BackwardInput;
        if let Recipe::Fft(_) = self.decision.recipe(pass) {
            return match self.weights(pass, weights) {
                Ok(data) => self.by_fourier(pass, d_output, data, epilogue, d_input, scratch),
                Err(error) => Some(Err(error)),
            };
        }
        let way = self.native.backward_input.as_ref()?;
        let run = || {
            let data = self.weights(pass, weights)?;
            match way {
                DataPass::Sweep(sweep) if !weights.is_finite() => {
                    self.lanes(pass, scratch)?;
                    let (dy, data, dx) =
                        (singles(d_output)?, singles(data)?, singles_mut(d_input)?);
                    sweep.run_exact(dy, data, &epilogue.finale()?, dx, self.threads())
                }
                _ => {
                    let dx = (d_input, self.target(self.geometry.input_channels()));
                    self.native(way, pass, d_output, data, epilogue, dx, scratch)
                }
            }
        };
        Some(run())
    }

    /// Backward weight and bias by a native recipe; `None` where another runs.
    pub(super) fn native_backward_weight(
        &self,
        x: &[T],
        d_output: &[T],
        d_weight: &mut [T],
        d_bias: Option<&mut [T]>,
        scratch: &mut [T],
    ) -> Option<Result<()>> {
        let pass = self.native.backward_weight.as_ref()?;
        let run = || {
            let (slots, lanes) = self.lanes(Pass::BackwardWeight, singles_mut(scratch)?)?;
            let gradient = WeightGradient {
                x: singles(x)?,
                dy: singles(d_output)?,
                dw: singles_mut(d_weight)?,
                db: d_bias.map(singles_mut).transpose()?,
            };
            let [batch, outputs, _] = self.output_planes();
            match self.decision.shares() {
                1 => pass.run(gradient, &lanes, self.threads()),
                shares => gradient.in_shares([batch, shares], outputs, slots, &|share| {
                    pass.run(share, &lanes, 1)
                }),
            }
        };
        Some(run())
    }

    /// The tiled products of `pass`, unless the reference loops run.
    pub(super) fn job(&self, pass: Pass) -> Option<Job<'_, T>> {
        match self.decision.recipe(pass) {
            Recipe::Unfold(tiles) => Some(Job {
                geometry: &self.geometry,
                tiles,
                engine: self.engine,
                parallel: self.threads() > 1,
            }),
            _ => None,
        }
    }

    /// `scratch` as the block that all threads share and the lanes that each has alone.
    pub(super) fn lanes<'s, E>(
        &self,
        pass: Pass,
        scratch: &'s mut [E],
    ) -> Result<(&'s mut [E], Lanes<'s, E>)> {
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

/// `values` as f32, which a native recipe computes with; no plan of another type has one.
pub(super) fn singles<T: Element>(values: &[T]) -> Result<&[f32]> {
    T::singles(values).ok_or(NOT_SINGLE)
}

/// [`singles`] to write to.
pub(super) fn singles_mut<T: Element>(values: &mut [T]) -> Result<&mut [f32]> {
    T::singles_mut(values).ok_or(NOT_SINGLE)
}

const NOT_SINGLE: Error = Error::Unsupported {
    what: "a native recipe",
    wanted: "the elements are not f32",
};
