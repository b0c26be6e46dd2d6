//! A convolution as one matrix: Toeplitz for one axis, doubly blocked Toeplitz for two.
//!
//! ```text
//! vec(y) = M · vec(x)        M[(o, p), source(c, k, p)] += w[o, c, k]        transposed convolution: Mᵀ
//!
//! for each row (o, p):
//!     for each tap k:  the pixel it reads, unless that is a zero or a constant of the padding
//!     for each c and tap:  (column of c and pixel, w[o, c, k])     sorted by column, equal columns summed
//! ```

use ndarray::{Array2, ArrayRef, Dimension};

use super::array2;
use crate::element::{Element, filled, reserved, standard};
use crate::error::{Result, check_shape, product};
use crate::geometry::{Axis, ConvGeometry, Layout};

/// The matrix M, `[O · P, C · pixels]`, of the convolution of one image with `weight`, `[O, C/g, kernel…]`.
///
/// vec(x) and vec(y) are one image in the standard order of the geometry's layout. A constant in the
/// padding adds to y what no matrix can; it is left out. Most of M is zeros:
/// [`convolution_matrix_sparse`](super::convolution_matrix_sparse) holds the rest alone.
///
/// # Errors
/// A weight of another shape than the geometry's; a matrix beyond the memory there is.
///
/// ```
/// use gemmconv::{ConvGeometry, ConvOptions, operator::convolution_matrix};
/// use ndarray::array;
///
/// let geometry = ConvGeometry::new(&[1, 1, 4], &[1, 1, 2], &ConvOptions::new())?;
/// let toeplitz = convolution_matrix(&geometry, &array![[[1., -1.]]])?;
/// assert_eq!(toeplitz, array![[1., -1., 0., 0.], [0., 1., -1., 0.], [0., 0., 1., -1.]]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn convolution_matrix<T: Element, D: Dimension>(
    geometry: &ConvGeometry,
    weight: &ArrayRef<T, D>,
) -> Result<Array2<T>> {
    let entries = Entries::new(geometry, weight.shape())?;
    let [rows, columns] = entries.shape()?;
    let data = filled(product("convolution matrix", &[rows, columns])?, T::ZERO)?;
    let mut matrix = array2([rows, columns], data)?;
    entries.for_each_row(&standard(weight)?, |row, entries| {
        for &(column, value) in entries {
            matrix[[row, column]] = value;
        }
    })?;
    Ok(matrix)
}

/// Where the entries of M stand, and what they are.
pub(super) struct Entries<'g> {
    geometry: &'g ConvGeometry,
}

impl<'g> Entries<'g> {
    pub(super) fn new(geometry: &'g ConvGeometry, weight: &[usize]) -> Result<Self> {
        check_shape("weight", &geometry.weight_shape(), weight)?;
        Ok(Self { geometry })
    }

    /// Rows and columns of M.
    pub(super) fn shape(&self) -> Result<[usize; 2]> {
        let (geometry, what) = (self.geometry, "convolution matrix");
        Ok([
            product(what, &[geometry.outputs, geometry.positions()])?,
            product(what, &[geometry.input_channels(), geometry.patch.pixels()])?,
        ])
    }

    /// How many entries there are: for every output and channel, the pixels that its taps read.
    ///
    /// They are the product of what the axes read, so their sum over all positions is the product of sums.
    pub(super) fn count(&self) -> Result<usize> {
        let (geometry, what) = (self.geometry, "convolution matrix");
        let [rows, _] = self.shape()?;
        product(what, &[rows, geometry.patch_len()])?;
        let [d, h, w] = geometry.patch.axes.map(|axis| self.pixels_of(&axis));
        product(
            what,
            &[geometry.outputs, geometry.channels_per_group(), d, h, w],
        )
    }

    /// How many elements of `axis` its outputs read, summed over the outputs.
    fn pixels_of(&self, axis: &Axis) -> usize {
        let mode = self.geometry.patch.mode;
        if !mode.reads_image() {
            return (0..axis.kernel).map(|k| axis.valid(k).len()).sum();
        }
        let distinct = |o| {
            let source = |k| mode.source(axis.position(k, o), axis.input);
            let mut pixels: Vec<usize> = (0..axis.kernel).filter_map(source).collect();
            pixels.sort_unstable();
            pixels.dedup();
            pixels.len()
        };
        // Between the edges no two taps meet.
        let (first, last) = (axis.valid(0), axis.valid(axis.kernel - 1));
        let whole = first.start.max(last.start)..first.end.min(last.end);
        if whole.is_empty() {
            return (0..axis.output).map(distinct).sum();
        }
        let edges = (0..whole.start).chain(whole.end..axis.output);
        whole.len() * axis.kernel + edges.map(distinct).sum::<usize>()
    }

    /// Calls `visit(row, entries)` for every row of M in order; `entries` are (column, value) in ascending order of
    /// columns, each of them once.
    pub(super) fn for_each_row<T: Element>(
        &self,
        weight: &[T],
        mut visit: impl FnMut(usize, &[(usize, T)]),
    ) -> Result<()> {
        let geometry = self.geometry;
        let (outputs, positions) = (geometry.outputs, geometry.positions());
        let (channels, pixels) = (geometry.input_channels(), geometry.patch.pixels());
        let per_group = geometry.channels_per_group();
        let taps = geometry.patch.taps();
        let mut entries = reserved(geometry.patch_len())?;
        for row in 0..outputs * positions {
            let (o, position) = match geometry.layout() {
                Layout::ChannelsFirst => (row / positions, row % positions),
                Layout::ChannelsLast => (row % outputs, row / outputs),
            };
            let first = o / geometry.outputs_per_group() * per_group;
            entries.clear();
            self.for_each_tap(position, |tap, pixel| {
                for c in 0..per_group {
                    let column = match geometry.layout() {
                        Layout::ChannelsFirst => (first + c) * pixels + pixel,
                        Layout::ChannelsLast => pixel * channels + first + c,
                    };
                    entries.push((column, weight[(o * per_group + c) * taps + tap]));
                }
            });
            // Stable: equal columns are summed in the order of the taps.
            entries.sort_by_key(|&(column, _)| column);
            entries.dedup_by(|later, sum| {
                let equal = later.0 == sum.0;
                if equal {
                    sum.1 += later.1;
                }
                equal
            });
            visit(row, &entries);
        }
        Ok(())
    }

    /// Calls `visit(tap of the weight, pixel)` for every tap that reads the image at `position`.
    fn for_each_tap(&self, position: usize, mut visit: impl FnMut(usize, usize)) {
        let patch = &self.geometry.patch;
        let [d, h, w] = &patch.axes;
        let (rest, x) = (position / w.output, position % w.output);
        let (z, y) = (rest / h.output, rest % h.output);
        let source =
            |axis: &Axis, k: usize, o: usize| patch.mode.source(axis.position(k, o), axis.input);
        let last = patch.taps() - 1;
        for kz in 0..d.kernel {
            let Some(z) = source(d, kz, z) else { continue };
            for ky in 0..h.kernel {
                let Some(y) = source(h, ky, y) else { continue };
                for kx in 0..w.kernel {
                    let Some(x) = source(w, kx, x) else { continue };
                    let tap = (kz * h.kernel + ky) * w.kernel + kx;
                    // The flipped kernel: all axes reversed is the row-major order reversed.
                    let tap = if self.geometry.flip { last - tap } else { tap };
                    visit(tap, (z * h.input + y) * w.input + x);
                }
            }
        }
    }
}
