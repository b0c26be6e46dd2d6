//! The gradients of a plan: of the input, the weight and the bias, any subset.

use ndarray::{Array, ArrayRef, Dimension};

use super::arrays::{array, in_standard, singles, singles_mut};
use super::epilogue::Epilogue;
use super::native::WeightGradient;
use super::plan::ConvPlan;
use super::ways::DataPass;
use super::weights::{Form, PreparedWeights};
use super::{reference, sums};
use crate::element::{Element, filled, standard};
use crate::error::{Result, check_len, check_shape};
use crate::plan::{Pass, Recipe, RecipeKind};

/// Which gradients to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The gradient of the input; the first layer of a network can do without.
    pub input: bool,
    /// The gradient of the weight.
    pub weight: bool,
    /// The gradient of the bias.
    pub bias: bool,
}

impl Wanted {
    /// All three.
    pub const ALL: Self = Self {
        input: true,
        weight: true,
        bias: true,
    };
}

/// The gradients that were asked for.
#[derive(Clone, Debug)]
pub struct Gradients<T, D: Dimension> {
    /// The gradient of the input, of its shape.
    pub d_input: Option<Array<T, D>>,
    /// The gradient of the weight, `[O, C/g, kernel…]`.
    pub d_weight: Option<Array<T, D>>,
    /// The gradient of the bias, O numbers.
    pub d_bias: Option<Vec<T>>,
}

impl Wanted {
    /// Computes what is wanted.
    pub(super) fn collect<T, D: Dimension>(
        self,
        input: impl FnOnce() -> Result<Array<T, D>>,
        weight: impl FnOnce() -> Result<Array<T, D>>,
        bias: impl FnOnce() -> Result<Vec<T>>,
    ) -> Result<Gradients<T, D>> {
        Ok(Gradients {
            d_input: self.input.then(input).transpose()?,
            d_weight: self.weight.then(weight).transpose()?,
            d_bias: self.bias.then(bias).transpose()?,
        })
    }
}

impl<T: Element> ConvPlan<T> {
    /// The gradient of the input, dX = fold(Wᵀ · dY). `d_output` has the output's shape.
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
        let mut dx = filled(self.geometry.input_len(), T::ZERO)?;
        let mut scratch = filled(self.scratch_len(Pass::BackwardInput), T::ZERO)?;
        self.backward_input_with_scratch(&standard(d_output)?, weights, &mut dx, &mut scratch)?;
        array(&self.geometry.input_shape(), dx)
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
        let mut scratch = filled(self.scratch_len(Pass::BackwardInput), T::ZERO)?;
        in_standard(d_input, |dx| {
            self.backward_input_with_scratch(&standard(d_output)?, weights, dx, &mut scratch)
        })
    }

    /// [`backward_input`](Self::backward_input) on slices in standard layout. Allocates nothing.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry; scratch below [`min_scratch_len`](Self::min_scratch_len).
    pub fn backward_input_with_scratch(
        &self,
        d_output: &[T],
        weights: &PreparedWeights<T>,
        d_input: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        check_len(
            "output gradient",
            self.geometry.output_len(),
            d_output.len(),
        )?;
        check_len("input gradient", self.geometry.input_len(), d_input.len())?;
        let none = Epilogue::none();
        if let Some(done) = self.native_backward_input(d_output, weights, &none, d_input, scratch) {
            return done;
        }
        let weights = self.weights(Pass::BackwardInput, weights)?;
        let Some(job) = self.job(Pass::BackwardInput) else {
            reference::backward_input(&self.geometry, weights, d_output, d_input);
            return Ok(());
        };
        let _one_thread = self.engine_kind.one_thread();
        let (_, lanes) = self.lanes(Pass::BackwardInput, scratch)?;
        job.backward_input(weights, d_output, d_input, &lanes)
    }

    /// The gradient of the weight, dW = dY · unfold(X)ᵀ, `[O, C/g, kernel…]`.
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
        let mut dw = filled(self.geometry.weight_len(), T::ZERO)?;
        let mut scratch = filled(self.scratch_len(Pass::BackwardWeight), T::ZERO)?;
        self.backward_weight_with_scratch(
            &standard(x)?,
            &standard(d_output)?,
            &mut dw,
            None,
            &mut scratch,
        )?;
        array(&self.geometry.weight_shape(), dw)
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
        check_shape(
            "weight gradient",
            &self.geometry.weight_shape(),
            d_weight.shape(),
        )?;
        let mut scratch = filled(self.scratch_len(Pass::BackwardWeight), T::ZERO)?;
        in_standard(d_weight, |dw| {
            self.backward_weight_with_scratch(
                &standard(x)?,
                &standard(d_output)?,
                dw,
                None,
                &mut scratch,
            )
        })
    }

    /// [`backward_weight`](Self::backward_weight), and the bias gradient beside it, on slices in standard
    /// layout. Allocates nothing.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry; scratch below [`min_scratch_len`](Self::min_scratch_len).
    pub fn backward_weight_with_scratch(
        &self,
        x: &[T],
        d_output: &[T],
        d_weight: &mut [T],
        d_bias: Option<&mut [T]>,
        scratch: &mut [T],
    ) -> Result<()> {
        check_len("input", self.geometry.input_len(), x.len())?;
        check_len(
            "output gradient",
            self.geometry.output_len(),
            d_output.len(),
        )?;
        check_len(
            "weight gradient",
            self.geometry.weight_len(),
            d_weight.len(),
        )?;
        let mut d_bias = d_bias;
        if let Some(d_bias) = d_bias.as_deref() {
            check_len(
                "bias gradient",
                self.geometry.output_channels(),
                d_bias.len(),
            )?;
        }
        let bias = d_bias.as_deref_mut();
        if let Some(done) = self.native_backward_weight(x, d_output, d_weight, bias, scratch) {
            return done;
        }
        if let Some(d_bias) = d_bias {
            self.backward_bias_into(d_output, d_bias)?;
        }
        let Some(job) = self.job(Pass::BackwardWeight) else {
            reference::backward_weight(&self.geometry, x, d_output, d_weight);
            return Ok(());
        };
        let _one_thread = self.engine_kind.one_thread();
        let (ordered, lanes) = self.lanes(Pass::BackwardWeight, scratch)?;
        let form = Form::rows(&self.geometry);
        if form.is_given() {
            return job.backward_weight(x, d_output, d_weight, &lanes);
        }
        job.backward_weight(x, d_output, ordered, &lanes)?;
        form.restore(&self.geometry, ordered, d_weight);
        Ok(())
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

    /// [`backward_bias`](Self::backward_bias) on slices in standard layout. Needs no scratch and allocates nothing.
    ///
    /// # Errors
    /// Lengths that do not fit the geometry.
    pub fn backward_bias_into(&self, d_output: &[T], d_bias: &mut [T]) -> Result<()> {
        check_len(
            "output gradient",
            self.geometry.output_len(),
            d_output.len(),
        )?;
        check_len(
            "bias gradient",
            self.geometry.output_channels(),
            d_bias.len(),
        )?;
        if self.recipe() == RecipeKind::Naive {
            reference::backward_bias(&self.geometry, d_output, d_bias);
            return Ok(());
        }
        let parallel = self.parallel_over(d_output.len());
        sums::channel_sums(
            self.geometry.layout(),
            self.output_planes(),
            d_output,
            d_bias,
            parallel,
        )
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
    fn native_backward_weight(
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
}
