//! [`ConvPlan`]: what is decided once, prepared weights, scratch. The passes are in `forward.rs` and `gradients.rs`.

use std::sync::Arc;

use ndarray::{ArrayRef, Dimension};

use super::arrays::{singles, singles_mut};
use super::epilogue::Epilogue;
#[cfg(feature = "fft")]
use super::fourier::FourierPass;
use super::native::Target;
use super::unfold_gemm::Job;
use super::ways::{DataPass, Native};
use super::weights::{Form, PreparedWeights};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::gemm::{Engine, EngineKind};
use crate::geometry::ConvGeometry;
use crate::parallel::{Lanes, threads_from};
use crate::plan::{Decision, Explanation, Pass, PlanOptions, Recipe, RecipeKind};

/// A convolution whose sizes are checked and whose recipe is chosen: immutable, shared freely by threads.
///
/// Results are bitwise the same for every number of threads: each element is summed in an order that the
/// geometry, the options and the kind of CPU give. With BLAS that holds as far as BLAS itself keeps it for
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
    pub(super) native: Arc<Native>,
    /// Of the forward pass and of backward input.
    #[cfg(feature = "fft")]
    fourier: [Option<Arc<dyn FourierPass<T>>>; 2],
    serial_below: u128,
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
    pub(super) fn form(&self, pass: Pass) -> Option<&Form> {
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

    /// A pass by Fourier transforms, if that is its recipe. Lengths have been checked but for the scratch.
    #[cfg(feature = "fft")]
    pub(super) fn by_fourier(
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
    pub(super) fn by_fourier(
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
    pub(super) fn target(&self, channels: usize) -> Target {
        Target::whole(self.geometry.layout(), channels)
    }

    /// Runs a native pass. Lengths have been checked but for the scratch.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn native(
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
