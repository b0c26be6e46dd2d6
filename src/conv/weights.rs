//! Weights in the order of the patches, made once and used for many images.
//!
//! ```text
//! given     [O, C/g, kernel…]
//! prepared  O × K, K = (c, taps) channels first, (taps, c) channels last; taps reversed where the kernel is flipped
//! ```

use ndarray::{ArrayRef, Dimension};

use crate::element::{Element, filled, standard};
use crate::error::{Error, Result, check_shape};
use crate::geometry::{ConvGeometry, Layout};
use crate::plan::RecipeKind;

/// How prepared weights differ from the given ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    taps_first: bool,
    flipped: bool,
}

impl Form {
    /// What `recipe` wants.
    pub(super) fn of(geometry: &ConvGeometry, recipe: RecipeKind) -> Self {
        match recipe {
            // The reference loops read weights as they are given.
            RecipeKind::Naive => Self {
                taps_first: false,
                flipped: false,
            },
            RecipeKind::Unfold => Self {
                taps_first: geometry.layout() == Layout::ChannelsLast && geometry.patch.taps() > 1,
                flipped: geometry.flips_kernel() && geometry.patch.taps() > 1,
            },
        }
    }

    /// Whether nothing changes.
    pub(super) fn is_given(&self) -> bool {
        !self.taps_first && !self.flipped
    }

    fn name(&self) -> &'static str {
        match (self.taps_first, self.flipped) {
            (false, false) => "channels first",
            (true, false) => "channels last",
            (false, true) => "channels first, flipped",
            (true, true) => "channels last, flipped",
        }
    }

    /// Calls `pair(given, prepared)` with both places of every weight.
    fn for_each_pair(&self, geometry: &ConvGeometry, mut pair: impl FnMut(usize, usize)) {
        let (channels, taps) = (geometry.channels_per_group(), geometry.patch.taps());
        for o in 0..geometry.output_channels() {
            for c in 0..channels {
                for tap in 0..taps {
                    // All axes reversed is the row-major order reversed.
                    let to = if self.flipped { taps - 1 - tap } else { tap };
                    let within = if self.taps_first {
                        to * channels + c
                    } else {
                        c * taps + to
                    };
                    pair(
                        (o * channels + c) * taps + tap,
                        o * channels * taps + within,
                    );
                }
            }
        }
    }

    /// `prepared` ← `given`.
    pub(super) fn prepare<T: Element>(
        &self,
        geometry: &ConvGeometry,
        given: &[T],
        prepared: &mut [T],
    ) {
        if self.is_given() {
            return prepared.copy_from_slice(given);
        }
        self.for_each_pair(geometry, |from, to| prepared[to] = given[from]);
    }

    /// `given` ← `prepared`: the way back, for gradients.
    pub(super) fn restore<T: Element>(
        &self,
        geometry: &ConvGeometry,
        prepared: &[T],
        given: &mut [T],
    ) {
        self.for_each_pair(geometry, |to, from| given[to] = prepared[from]);
    }
}

/// Weights in the form that a plan multiplies with, made by `prepare` and shared by any number of calls.
#[derive(Clone, Debug)]
pub struct PreparedWeights<T> {
    pub(super) data: Vec<T>,
    shape: Vec<usize>,
    form: Form,
}

impl<T: Element> PreparedWeights<T> {
    /// Prepares `weight`, `[O, C/g, kernel…]`, any strides.
    pub(super) fn new<D: Dimension>(
        geometry: &ConvGeometry,
        form: Form,
        weight: &ArrayRef<T, D>,
    ) -> Result<Self> {
        let mut prepared = Self {
            data: filled(geometry.weight_len(), T::ZERO)?,
            shape: geometry.weight_shape(),
            form,
        };
        prepared.update(geometry, weight)?;
        Ok(prepared)
    }

    /// Prepares other weights of the same shape in place; allocates nothing where they are in standard layout.
    pub(super) fn update<D: Dimension>(
        &mut self,
        geometry: &ConvGeometry,
        weight: &ArrayRef<T, D>,
    ) -> Result<()> {
        check_weight("weight", geometry, weight.shape())?;
        let weight = standard(weight)?;
        self.form.prepare(geometry, &weight, &mut self.data);
        Ok(())
    }

    /// The data, if these weights were prepared for such a geometry and form.
    pub(super) fn check(&self, geometry: &ConvGeometry, form: Form) -> Result<&[T]> {
        check_weight("prepared weight", geometry, &self.shape)?;
        if self.form != form {
            return Err(Error::PreparedWeights {
                expected: form.name(),
                got: self.form.name(),
            });
        }
        Ok(&self.data)
    }

    /// The shape of the weights, `[O, C/g, kernel…]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// [`check_shape`] against the geometry's weights, which allocates only to report an error.
fn check_weight(what: &'static str, geometry: &ConvGeometry, got: &[usize]) -> Result<()> {
    let kernel = geometry.axes().iter().map(|axis| axis.kernel);
    let expected = [geometry.output_channels(), geometry.channels_per_group()];
    if got.iter().copied().eq(expected.into_iter().chain(kernel)) {
        return Ok(());
    }
    check_shape(what, &geometry.weight_shape(), got)
}
