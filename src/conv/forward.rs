//! The forward pass of a plan.
//!
//! ```text
//! Y = finish( W (O × K) · unfold(X) (K × P) )      finish: bias, residual, activation
//! ```

use ndarray::{Array, ArrayRef, Dimension};

use super::arrays::{array, in_standard};
use super::epilogue::{Epilogue, epilogue_over};
#[cfg(feature = "network")]
use super::native::Target;
use super::plan::ConvPlan;
use super::reference;
use super::weights::{Form, PreparedWeights};
use crate::element::{Element, filled, standard};
#[cfg(feature = "network")]
use crate::error::Error;
use crate::error::{Result, check_len, check_shape};
use crate::plan::Pass;

impl<T: Element> ConvPlan<T> {
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
}
