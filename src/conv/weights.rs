//! Weights in the order of the products, made once and used for many images.
//!
//! ```text
//! given     [O, C/g, kernel…]
//! rows      O × K, K = (c, taps) channels first, (taps, c) channels last; taps reversed where the kernel is flipped
//! panels    [group][phase][panel][term][width], terms (c, taps) or (taps, c); zeros beyond the last column
//! grouped   [phase][panel][term][lane], a lane for every channel of the result
//! winograd  [group][panel][product][term][width], terms (piece, c): G g Gᵀ of each piece g, computed in f64
//! fft       [group][panel][frequency][term][width], see `fourier/kernels.rs`
//! ```
//!
//! The columns of panels are the channels of the result, the terms those of the source: O and C forward, C and O
//! backward. The passes of one plan may want different forms; those that are equal are held once.

#[cfg(feature = "fft")]
use std::sync::Arc;

use ndarray::{ArrayRef, Dimension};

#[cfg(feature = "fft")]
use super::fourier::Kernels;
use super::native::WinogradKernels;
use crate::element::{Aligned, Element, filled, standard};
use crate::error::{Error, Result, check_shape};
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{Isa, Left, Panels, Tiling};
use crate::plan::{Pass, Recipe, panels_len, winograd_len};

/// How prepared weights differ from the given ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For the loops and the engines.
    Rows { taps_first: bool, flipped: bool },
    /// For the native products.
    Panels {
        isa: Isa,
        /// The shape of the weights does not tell how many there are.
        groups: usize,
        grouped: bool,
        backward: bool,
        channels_first: bool,
        /// The taps of every phase.
        taps: Vec<Vec<usize>>,
    },
    /// For Winograd's algorithm.
    Winograd {
        isa: Isa,
        groups: usize,
        backward: bool,
        tiling: Tiling,
        /// Whether the kernels are turned round.
        turned: bool,
    },
    /// For Fourier transforms.
    #[cfg(feature = "fft")]
    Fourier(Arc<Kernels>),
}

impl Form {
    /// As they are given.
    const GIVEN: Self = Self::Rows {
        taps_first: false,
        flipped: false,
    };

    /// What `recipe` wants in `pass`; `taps` are those of its phases, where it has some.
    pub(super) fn of(
        geometry: &ConvGeometry,
        pass: Pass,
        recipe: &Recipe,
        taps: Option<Vec<Vec<usize>>>,
    ) -> Self {
        let last = geometry.layout() == Layout::ChannelsLast;
        match (recipe, recipe.blocks(), taps) {
            (Recipe::Winograd(tiles), ..) => Self::Winograd {
                isa: tiles.isa,
                groups: geometry.groups(),
                backward: pass == Pass::BackwardInput,
                tiling: tiles.tiling,
                // Backward the kernel is read from its end on, and so is a flipped one forward.
                turned: (pass == Pass::BackwardInput) != geometry.flips_kernel(),
            },
            (_, Some(blocks), Some(taps)) => Self::Panels {
                isa: blocks.isa,
                groups: geometry.groups(),
                grouped: blocks.grouped,
                backward: pass == Pass::BackwardInput,
                channels_first: !last && !blocks.grouped,
                taps,
            },
            (Recipe::Unfold(_), ..) => Self::rows(geometry),
            // The reference loops read weights as they are given.
            _ => Self::GIVEN,
        }
    }

    /// What the engines want.
    pub(super) fn rows(geometry: &ConvGeometry) -> Self {
        let several = geometry.patch.taps() > 1;
        Self::Rows {
            taps_first: geometry.layout() == Layout::ChannelsLast && several,
            flipped: geometry.flips_kernel() && several,
        }
    }

    /// Whether nothing changes.
    pub(super) fn is_given(&self) -> bool {
        *self == Self::GIVEN
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rows {
                taps_first,
                flipped,
            } => match (taps_first, flipped) {
                (false, false) => "channels first",
                (true, false) => "channels last",
                (false, true) => "channels first, flipped",
                (true, true) => "channels last, flipped",
            },
            Self::Panels {
                grouped, backward, ..
            } => match (grouped, backward) {
                (false, false) => "panels",
                (false, true) => "panels, backward",
                (true, false) => "grouped panels",
                (true, true) => "grouped panels, backward",
            },
            Self::Winograd {
                tiling, backward, ..
            } => match (tiling.size() == 4, backward) {
                (false, false) => "Winograd F2",
                (false, true) => "Winograd F2, backward",
                (true, false) => "Winograd F4",
                (true, true) => "Winograd F4, backward",
            },
            #[cfg(feature = "fft")]
            Self::Fourier(kernels) => match kernels.backward {
                false => "Fourier transforms",
                true => "Fourier transforms, backward",
            },
        }
    }

    /// The error where weights in the form `got` came instead.
    fn mismatch(&self, got: Option<&Self>) -> Error {
        let (expected, got) = (self.name(), got.map_or("nothing", Self::name));
        Error::PreparedWeights {
            expected,
            got: if got == expected {
                "another stride, layout, flip, number of groups, size of tiles or instruction set"
            } else {
                got
            },
        }
    }

    /// Elements of the prepared weights.
    fn len(&self, geometry: &ConvGeometry) -> Result<usize> {
        match self {
            Self::Rows { .. } => Ok(geometry.weight_len()),
            Self::Panels {
                isa,
                grouped,
                backward,
                ..
            } => panels_len(geometry, *isa, *grouped, *backward),
            Self::Winograd {
                isa,
                backward,
                tiling,
                ..
            } => winograd_len(geometry, *isa, *tiling, *backward),
            #[cfg(feature = "fft")]
            Self::Fourier(kernels) => Ok(kernels.len()),
        }
    }

    /// Calls `pair(given, prepared)` with both places of every weight that the form holds.
    fn for_each_pair(&self, geometry: &ConvGeometry, mut pair: impl FnMut(usize, usize)) {
        let (channels, taps) = (geometry.channels_per_group(), geometry.patch.taps());
        match self {
            Self::Rows {
                taps_first,
                flipped,
            } => {
                for o in 0..geometry.output_channels() {
                    for c in 0..channels {
                        for tap in 0..taps {
                            // All axes reversed is the row-major order reversed.
                            let to = if *flipped { taps - 1 - tap } else { tap };
                            let within = if *taps_first {
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
            Self::Panels {
                isa,
                grouped,
                backward,
                channels_first,
                taps: phases,
                ..
            } => {
                let roles = Roles::new(geometry, *backward);
                let (matrices, columns) = roles.matrices(*grouped);
                let panels = Panels::new(*isa, left(*grouped), columns);
                let mut before = 0;
                for matrix in 0..matrices {
                    for phase in phases {
                        let terms = roles.sources * phase.len();
                        for (first, width) in panels.each() {
                            for (index, &tap) in phase.iter().enumerate() {
                                for source in 0..roles.sources {
                                    let term = if *channels_first {
                                        source * phase.len() + index
                                    } else {
                                        index * roles.sources + source
                                    };
                                    let to = before + first * terms + term * width;
                                    for column in first..columns.min(first + width) {
                                        let result = matrix * columns + column;
                                        let from = roles.given(result, source) * taps + tap;
                                        pair(from, to + column - first);
                                    }
                                }
                            }
                        }
                        before += panels.columns() * terms;
                    }
                }
            }
            // Its numbers are sums of several weights.
            Self::Winograd { .. } => {}
            #[cfg(feature = "fft")]
            Self::Fourier(_) => {}
        }
    }

    /// Numbers of f64 that [`prepare`](Self::prepare) works in.
    fn work(&self) -> usize {
        match self {
            #[cfg(feature = "fft")]
            Self::Fourier(kernels) => kernels.made_in(),
            _ => 0,
        }
    }

    /// `prepared` ← `given`; what belongs to no weight keeps its value.
    fn prepare<T: Element>(
        &self,
        geometry: &ConvGeometry,
        given: &[T],
        prepared: &mut [T],
        work: &mut [f64],
    ) {
        if self.is_given() {
            return prepared.copy_from_slice(given);
        }
        #[cfg(feature = "fft")]
        if let Self::Fourier(kernels) = self {
            return kernels.prepare(given, prepared, &mut work[..kernels.made_in()]);
        }
        debug_assert!(self.work() <= work.len());
        if let Self::Winograd {
            isa,
            backward,
            tiling,
            turned,
            ..
        } = self
        {
            let kernels = WinogradKernels {
                roles: &Roles::new(geometry, *backward),
                isa: *isa,
                tiling: *tiling,
                turned: *turned,
                given,
            };
            return kernels.transform(prepared);
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

fn left(grouped: bool) -> Left {
    if grouped {
        Left::Vectors { step: 0 }
    } else {
        Left::Scalars
    }
}

/// Channels of the result and of the source of one group, and which of them are inputs.
pub(super) struct Roles {
    pub(super) groups: usize,
    pub(super) results: usize,
    pub(super) sources: usize,
    backward: bool,
}

impl Roles {
    fn new(geometry: &ConvGeometry, backward: bool) -> Self {
        let (outputs, inputs) = (geometry.outputs_per_group(), geometry.channels_per_group());
        let (results, sources) = if backward {
            (inputs, outputs)
        } else {
            (outputs, inputs)
        };
        Self {
            groups: geometry.groups(),
            results,
            sources,
            backward,
        }
    }

    /// How many matrices there are, and their columns.
    fn matrices(&self, grouped: bool) -> (usize, usize) {
        if grouped {
            (1, self.groups * self.results)
        } else {
            (self.groups, self.results)
        }
    }

    /// The place of a kernel in `[O, C/g]`, by its channel of the result and, in the group, of the source.
    pub(super) fn given(&self, result: usize, source: usize) -> usize {
        if self.backward {
            let group = result / self.results;
            (group * self.sources + source) * self.results + result % self.results
        } else {
            result * self.sources + source
        }
    }
}

/// Weights in the form that a plan multiplies with, made by `prepare` and shared by any number of calls.
///
/// They serve every plan that wants the same form: other batch and image sizes, for instance.
#[derive(Debug)]
pub struct PreparedWeights<T> {
    forms: Vec<(Form, Aligned<T>)>,
    /// What the forms are made in.
    work: Vec<f64>,
    shape: Vec<usize>,
    /// Whether no weight is infinite or NaN.
    finite: bool,
}

impl<T: Element> Clone for PreparedWeights<T> {
    fn clone(&self) -> Self {
        Self {
            forms: self.forms.clone(),
            work: self.work.clone(),
            shape: self.shape.clone(),
            finite: self.finite,
        }
    }
}

impl<T: Element> PreparedWeights<T> {
    /// Prepares `weight`, `[O, C/g, kernel…]`, any strides, in each of `forms` once.
    pub(super) fn new<'f, D: Dimension>(
        geometry: &ConvGeometry,
        forms: impl IntoIterator<Item = &'f Form>,
        weight: &ArrayRef<T, D>,
    ) -> Result<Self> {
        check_weight("weight", geometry, weight.shape())?;
        let mut prepared = Self {
            forms: Vec::new(),
            work: Vec::new(),
            shape: geometry.weight_shape(),
            finite: true,
        };
        for form in forms {
            if prepared.forms.iter().all(|(held, _)| held != form) {
                let data = Aligned::filled(form.len(geometry)?, T::ZERO)?;
                prepared.forms.push((form.clone(), data));
            }
        }
        let work = prepared.forms.iter().map(|(form, _)| form.work()).max();
        prepared.work = filled(work.unwrap_or(0), 0.0)?;
        prepared.fill(geometry, weight)?;
        Ok(prepared)
    }

    /// Prepares other weights of the same shape in place; allocates nothing where they are in standard layout.
    /// Every form held must be one of `forms`.
    pub(super) fn update<D: Dimension>(
        &mut self,
        geometry: &ConvGeometry,
        forms: &[Form; 2],
        weight: &ArrayRef<T, D>,
    ) -> Result<()> {
        check_weight("weight", geometry, weight.shape())?;
        check_weight("prepared weight", geometry, &self.shape)?;
        if let Some((other, _)) = self.forms.iter().find(|(held, _)| !forms.contains(held)) {
            return Err(forms[0].mismatch(Some(other)));
        }
        self.fill(geometry, weight)
    }

    /// The shape has been checked, and the forms are those of the geometry.
    fn fill<D: Dimension>(
        &mut self,
        geometry: &ConvGeometry,
        weight: &ArrayRef<T, D>,
    ) -> Result<()> {
        let weight = standard(weight)?;
        self.finite = weight.iter().all(|weight| weight.to_f64().is_finite());
        for (form, data) in &mut self.forms {
            form.prepare(geometry, &weight, data, &mut self.work);
        }
        Ok(())
    }

    /// The data in one form, if these weights were prepared for such a geometry and form.
    pub(super) fn check(&self, geometry: &ConvGeometry, form: &Form) -> Result<&[T]> {
        check_weight("prepared weight", geometry, &self.shape)?;
        let found = self.forms.iter().find(|(held, _)| held == form);
        let Some((_, data)) = found else {
            return Err(form.mismatch(self.forms.first().map(|(held, _)| held)));
        };
        Ok(data)
    }

    /// Whether no weight is infinite or NaN.
    pub(super) fn is_finite(&self) -> bool {
        self.finite
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
