//! Transposed convolution: its twin's passes under other names.
//!
//! ```text
//! y  = twin.backward_input(w, x) + b        dx = twin.forward(dy, w)
//! dw = twin.backward_weight(dy, x)          db = sums of dy
//! ```

use ndarray::{Array, ArrayRef, Dimension};

use super::arrays::{array, in_standard};
use super::epilogue::{Epilogue, epilogue_over};
use super::gradients::{Gradients, Wanted};
use super::plan::ConvPlan;
use super::sums::channel_sums;
use super::weights::PreparedWeights;
use crate::element::{Element, filled, standard};
use crate::error::{Result, check_len, check_shape};
use crate::geometry::TransposedGeometry;
use crate::plan::{Explanation, Pass, PlanOptions, RecipeKind};

/// A transposed convolution whose sizes are checked and whose recipe is chosen.
#[derive(Clone, Debug)]
pub struct TransposedPlan<T: Element> {
    geometry: TransposedGeometry,
    twin: ConvPlan<T>,
}

/// The pass of the twin that does the work of `pass`.
fn twin_pass(pass: Pass) -> Pass {
    match pass {
        Pass::Forward => Pass::BackwardInput,
        Pass::BackwardInput => Pass::Forward,
        Pass::BackwardWeight => Pass::BackwardWeight,
    }
}

impl<T: Element> TransposedPlan<T> {
    /// Plans `geometry`.
    ///
    /// # Errors
    /// Those of [`ConvPlan::new`].
    pub fn new(geometry: &TransposedGeometry, options: &PlanOptions) -> Result<Self> {
        Ok(Self {
            geometry: geometry.clone(),
            twin: ConvPlan::new(geometry.twin(), options)?,
        })
    }

    /// [`new`](Self::new) with tables for the forward pass only.
    #[cfg(feature = "network")]
    pub(crate) fn forward_only(
        geometry: &TransposedGeometry,
        options: &PlanOptions,
    ) -> Result<Self> {
        Ok(Self {
            geometry: geometry.clone(),
            twin: ConvPlan::for_passes(geometry.twin(), options, &[twin_pass(Pass::Forward)])?,
        })
    }

    /// The sizes.
    pub fn geometry(&self) -> &TransposedGeometry {
        &self.geometry
    }

    /// What will be done in one pass, in the words of the twin.
    pub fn explain(&self, pass: Pass) -> Explanation {
        self.twin.explain(twin_pass(pass))
    }

    /// Elements of scratch for `pass` on the rayon pool in force at this call.
    pub fn scratch_len(&self, pass: Pass) -> usize {
        self.twin.scratch_len(twin_pass(pass))
    }

    /// Elements of scratch without which `pass` cannot run.
    pub fn min_scratch_len(&self, pass: Pass) -> usize {
        self.twin.min_scratch_len(twin_pass(pass))
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
        self.twin.update(prepared, weight)
    }

    /// Puts `weight`, `[I, O/g, kernel…]`, in the form this plan multiplies with.
    ///
    /// # Errors
    /// A weight of another shape than the geometry's.
    pub fn prepare<D: Dimension>(&self, weight: &ArrayRef<T, D>) -> Result<PreparedWeights<T>> {
        self.twin.prepare(weight)
    }

    /// [`prepare`](Self::prepare) for one pass alone, as [`ConvPlan::prepare_for`].
    ///
    /// # Errors
    /// Those of `prepare`.
    pub fn prepare_for<D: Dimension>(
        &self,
        pass: Pass,
        weight: &ArrayRef<T, D>,
    ) -> Result<PreparedWeights<T>> {
        self.twin.prepare_for(twin_pass(pass), weight)
    }

    /// Whether `prepared` is in the form that `pass` reads.
    #[cfg(feature = "network")]
    pub(crate) fn takes(&self, pass: Pass, prepared: &PreparedWeights<T>) -> bool {
        self.twin.takes(twin_pass(pass), prepared)
    }

    /// The recipe of the forward pass.
    pub fn recipe(&self) -> RecipeKind {
        self.twin.recipe_of(twin_pass(Pass::Forward)).kind()
    }

    /// Y = fold(Wᵀ · X), then the epilogue.
    ///
    /// # Errors
    /// Shapes or lengths that do not fit the geometry; no memory for the output or the scratch.
    pub fn forward<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
    ) -> Result<Array<T, D>> {
        check_shape("input", &self.geometry.input_shape(), x.shape())?;
        let mut y = filled(self.twin.geometry().input_len(), T::ZERO)?;
        let mut scratch = filled(self.scratch_len(Pass::Forward), T::ZERO)?;
        self.forward_with_scratch(&standard(x)?, weights, epilogue, &mut y, &mut scratch)?;
        array(&self.geometry.output_shape(), y)
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

    /// [`forward`](Self::forward) on slices in standard layout. Allocates nothing.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry; too little scratch.
    pub fn forward_with_scratch(
        &self,
        x: &[T],
        weights: &PreparedWeights<T>,
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        let patch = self.twin.geometry().patch();
        check_len("input", self.twin.geometry().output_len(), x.len())?;
        check_len("output", patch.input_len(), y.len())?;
        epilogue.check(patch.channels(), patch.input_len())?;
        let native = self
            .twin
            .native_backward_input(x, weights, epilogue, y, scratch);
        if let Some(done) = native {
            return done;
        }
        self.twin
            .backward_input_with_scratch(x, weights, y, scratch)?;
        let shape = [patch.batch(), patch.channels(), patch.pixels()];
        let parallel = self.twin.parallel_over(y.len());
        epilogue_over(patch.layout(), shape, epilogue, y, parallel)
    }

    /// The gradient of the input, the twin's forward pass on dY.
    ///
    /// # Errors
    /// Shapes that do not fit the geometry; no memory for the result or the scratch.
    pub fn backward_input<D: Dimension>(
        &self,
        weights: &PreparedWeights<T>,
        d_output: &ArrayRef<T, D>,
    ) -> Result<Array<T, D>> {
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        self.twin.forward(d_output, weights, &Epilogue::none())
    }

    /// [`backward_input`](Self::backward_input) into the caller's array.
    ///
    /// # Errors
    /// Those of `backward_input`; a result of another shape than the input's.
    pub fn backward_input_into<D: Dimension>(
        &self,
        weights: &PreparedWeights<T>,
        d_output: &ArrayRef<T, D>,
        d_input: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        check_shape(
            "input gradient",
            &self.geometry.input_shape(),
            d_input.shape(),
        )?;
        self.twin
            .forward_into(d_output, weights, &Epilogue::none(), d_input)
    }

    /// [`backward_input`](Self::backward_input) on slices in standard layout. Allocates nothing.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry; too little scratch.
    pub fn backward_input_with_scratch(
        &self,
        d_output: &[T],
        weights: &PreparedWeights<T>,
        d_input: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        self.twin
            .forward_with_scratch(d_output, weights, &Epilogue::none(), d_input, scratch)
    }

    /// The gradient of the weight, `[I, O/g, kernel…]`.
    ///
    /// # Errors
    /// Shapes that do not fit the geometry; no memory for the result or the scratch.
    pub fn backward_weight<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        d_output: &ArrayRef<T, D>,
    ) -> Result<Array<T, D>> {
        check_shape("input", &self.geometry.input_shape(), x.shape())?;
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        self.twin.backward_weight(d_output, x)
    }

    /// [`backward_weight`](Self::backward_weight) into the caller's array.
    ///
    /// # Errors
    /// Those of `backward_weight`; a result of another shape than the weight's.
    pub fn backward_weight_into<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        d_output: &ArrayRef<T, D>,
        d_weight: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        check_shape("input", &self.geometry.input_shape(), x.shape())?;
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        self.twin.backward_weight_into(d_output, x, d_weight)
    }

    /// [`backward_weight`](Self::backward_weight), and the bias gradient beside it, on slices in standard
    /// layout. Allocates nothing.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry; too little scratch.
    pub fn backward_weight_with_scratch(
        &self,
        x: &[T],
        d_output: &[T],
        d_weight: &mut [T],
        d_bias: Option<&mut [T]>,
        scratch: &mut [T],
    ) -> Result<()> {
        check_len("input", self.twin.geometry().output_len(), x.len())?;
        check_len(
            "output gradient",
            self.twin.geometry().input_len(),
            d_output.len(),
        )?;
        if let Some(d_bias) = d_bias {
            self.backward_bias_into(d_output, d_bias)?;
        }
        self.twin
            .backward_weight_with_scratch(d_output, x, d_weight, None, scratch)
    }

    /// The gradient of the bias: the sum of dY over images and positions, O numbers.
    ///
    /// # Errors
    /// A gradient of another shape than the output's.
    pub fn backward_bias<D: Dimension>(&self, d_output: &ArrayRef<T, D>) -> Result<Vec<T>> {
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        let mut db = filled(self.geometry.output_channels(), T::ZERO)?;
        self.backward_bias_into(&standard(d_output)?, &mut db)?;
        Ok(db)
    }

    /// [`backward_bias`](Self::backward_bias) on slices in standard layout.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry.
    pub fn backward_bias_into(&self, d_output: &[T], d_bias: &mut [T]) -> Result<()> {
        let patch = self.twin.geometry().patch();
        let shape = [patch.batch(), patch.channels(), patch.pixels()];
        check_len("output gradient", patch.input_len(), d_output.len())?;
        check_len("bias gradient", patch.channels(), d_bias.len())?;
        let parallel = self.twin.parallel_over(d_output.len());
        channel_sums(patch.layout(), shape, d_output, d_bias, parallel)
    }

    /// Any of the three gradients, as asked.
    ///
    /// # Errors
    /// Those of the single passes.
    pub fn backward<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        weights: &PreparedWeights<T>,
        d_output: &ArrayRef<T, D>,
        wanted: Wanted,
    ) -> Result<Gradients<T, D>> {
        wanted.collect(
            || self.backward_input(weights, d_output),
            || self.backward_weight(x, d_output),
            || self.backward_bias(d_output),
        )
    }
}
