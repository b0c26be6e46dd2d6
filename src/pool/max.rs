//! Maximum pooling.
//!
//! ```text
//! y[o] = max { x[i] : tap i of window o inside the input }      k[o] = the first i with x[i] = y[o]
//! dx[k[o]] += dy[o]
//! ```
//!
//! An index is the flat position `(d · H + h) · W + w` in the unpadded plane of its image and channel,
//! in both layouts. "First" is in row-major order, for equal elements and for several NaN alike
//! (TensorFlow does the same; PyTorch takes the last NaN). A window of −∞ has the maximum −∞.
//!
//! Values and indices are two sweeps: the first is a plain maximum that compiles to vectors, the
//! second looks for it.

use ndarray::{Array, ArrayRef, Dimension};

use super::array::{check_lengths, check_shape, full, slice_mut, standard};
use super::lines;
use super::tile::{Batch, Target};
use super::window::for_each_run;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::geometry::{PoolGeometry, PoolOptions};

/// The index of the maximum of a window that has no element inside the input.
///
/// Only dilation together with padding makes such windows.
pub const NO_ELEMENT: usize = usize::MAX;

/// The maximum of every window. PyTorch's `max_pool1d`, `2d`, `3d`; ONNX's `MaxPool`.
///
/// # Errors
/// Those of [`PoolGeometry::new`]; memory that cannot be had.
///
/// ```
/// use gemmconv::{PoolOptions, max_pool};
/// let x = ndarray::Array4::from_shape_fn((1, 1, 4, 4), |(_, _, row, column)| (4 * row + column) as f32);
/// let y = max_pool(&x, &PoolOptions::new(2))?;
/// assert_eq!(y.as_slice().unwrap(), [5.0, 7.0, 13.0, 15.0]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn max_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    options: &PoolOptions,
) -> Result<Array<T, D>> {
    let geometry = PoolGeometry::new(x.shape(), options)?;
    let mut y = full(&x.raw_dim(), &geometry.output_shape(), T::ZERO)?;
    max_pool_into(&geometry, &standard(x)?, slice_mut(&mut y))?;
    Ok(y)
}

/// The maximum of every window, and where in its plane it is. PyTorch's `return_indices=True`.
///
/// # Errors
/// Those of [`max_pool`].
pub fn max_pool_with_indices<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    options: &PoolOptions,
) -> Result<(Array<T, D>, Array<usize, D>)> {
    with_indices(x, &PoolGeometry::new(x.shape(), options)?)
}

/// The gradient of the input, of `input_shape`, from the indices of [`max_pool_with_indices`].
///
/// # Errors
/// Those of [`PoolGeometry::new`] for `input_shape`; `d_output` or `indices` of another shape than the
/// output; an index outside the plane.
pub fn max_pool_backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    indices: &ArrayRef<usize, D>,
    input_shape: &[usize],
    options: &PoolOptions,
) -> Result<Array<T, D>> {
    backward(d_output, indices, &PoolGeometry::new(input_shape, options)?)
}

/// Values and indices for any geometry.
pub(super) fn with_indices<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    geometry: &PoolGeometry,
) -> Result<(Array<T, D>, Array<usize, D>)> {
    let shape = geometry.output_shape();
    let mut y = full(&x.raw_dim(), &shape, T::ZERO)?;
    let mut indices = full(&x.raw_dim(), &shape, 0)?;
    max_pool_with_indices_into(
        geometry,
        &standard(x)?,
        slice_mut(&mut y),
        slice_mut(&mut indices),
    )?;
    Ok((y, indices))
}

/// The gradient for any geometry.
pub(super) fn backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    indices: &ArrayRef<usize, D>,
    geometry: &PoolGeometry,
) -> Result<Array<T, D>> {
    check_shape("output gradient", d_output, &geometry.output_shape())?;
    check_shape("indices", indices, &geometry.output_shape())?;
    let mut d_input = full(&d_output.raw_dim(), &geometry.input_shape(), T::ZERO)?;
    let (indices, d_output) = (standard(indices)?, standard(d_output)?);
    max_pool_backward_into(geometry, &indices, &d_output, slice_mut(&mut d_input))?;
    Ok(d_input)
}

/// [`max_pool`] into `y`, whatever stood there before; allocates nothing.
///
/// # Errors
/// A slice of the wrong length.
pub fn max_pool_into<T: Element>(geometry: &PoolGeometry, x: &[T], y: &mut [T]) -> Result<()> {
    check_lengths(geometry, ("input", x.len()), ("output", y.len()))?;
    if lines::pool(geometry, x, y, None) {
        return Ok(());
    }
    let batch = Batch::of(geometry);
    batch.for_each(
        y,
        geometry.positions(),
        geometry.operations(),
        |place, mut y| {
            let x = batch.source(x, geometry.pixels(), place);
            y.fill(T::NEG_INFINITY);
            for_each_run(geometry, |run| {
                y.gather(&x, run, |best, value: T| {
                    *best = if value > *best || value.is_nan() {
                        value
                    } else {
                        *best
                    };
                });
            });
        },
    )
}

/// [`max_pool_with_indices`] into `y` and `indices`, whatever stood there before; allocates nothing.
///
/// # Errors
/// A slice of the wrong length.
pub fn max_pool_with_indices_into<T: Element>(
    geometry: &PoolGeometry,
    x: &[T],
    y: &mut [T],
    indices: &mut [usize],
) -> Result<()> {
    check_len("indices", geometry.output_len(), indices.len())?;
    max_pool_into(geometry, x, y)?;
    let (batch, maxima) = (Batch::of(geometry), &*y);
    batch.for_each(
        indices,
        geometry.positions(),
        geometry.operations(),
        |place, mut indices| {
            let x = batch.source(x, geometry.pixels(), place);
            let y = batch.source(maxima, geometry.positions(), place);
            indices.fill(NO_ELEMENT);
            for_each_run(geometry, |run| {
                indices.gather_at(run, |index, output, input, channel| {
                    let value = x.at(input, channel);
                    // A NaN is the maximum of its window, whether or not it is this NaN.
                    if *index == NO_ELEMENT && (value == y.at(output, channel) || value.is_nan()) {
                        *index = input;
                    }
                });
            });
        },
    )
}

/// [`max_pool_backward`] into `d_input`, whatever stood there before; allocates nothing.
///
/// # Errors
/// A slice of the wrong length; an index outside the plane.
pub fn max_pool_backward_into<T: Element>(
    geometry: &PoolGeometry,
    indices: &[usize],
    d_output: &[T],
    d_input: &mut [T],
) -> Result<()> {
    check_lengths(
        geometry,
        ("input gradient", d_input.len()),
        ("output gradient", d_output.len()),
    )?;
    check_len("indices", geometry.output_len(), indices.len())?;
    let (batch, limit) = (Batch::of(geometry), geometry.pixels());
    check_indices(indices, limit, |position| {
        // Channels are innermost in `width`, planes outermost.
        indices[position] == NO_ELEMENT
            && misses_input(geometry, position / batch.width % geometry.positions())
    })?;
    let work = d_input.len() as u128 + d_output.len() as u128;
    batch.for_each(d_input, limit, work, |place, mut d_input| {
        let indices = batch.source(indices, geometry.positions(), place);
        let d_output = batch.source(d_output, geometry.positions(), place);
        d_input.fill(T::ZERO);
        for output in 0..geometry.positions() {
            add_at(&mut d_input, indices.pixel(output), d_output.pixel(output));
        }
    })
}

/// `target[indices[c]][c] += values[c]` for every channel c, except where there is no index.
fn add_at<T: Element>(target: &mut Target<T>, indices: &[usize], values: &[T]) {
    for (channel, (&index, &value)) in indices.iter().zip(values).enumerate() {
        if index != NO_ELEMENT {
            target.pixel(index)[channel] += value;
        }
    }
}

/// An error for the first index at or above `limit` that `excused(position)` does not let pass.
pub(super) fn check_indices(
    indices: &[usize],
    limit: usize,
    excused: impl Fn(usize) -> bool,
) -> Result<()> {
    match indices
        .iter()
        .enumerate()
        .find(|&(position, &index)| index >= limit && !excused(position))
    {
        Some((position, &index)) => Err(Error::Index {
            index,
            position,
            limit,
        }),
        None => Ok(()),
    }
}

/// Whether window `output` of a plane has no tap inside the input.
fn misses_input(geometry: &PoolGeometry, output: usize) -> bool {
    let [d, h, w] = geometry.axes;
    let row = output / w.output();
    let at = [row / h.output(), row % h.output(), output % w.output()];
    [d, h, w]
        .iter()
        .zip(at)
        .any(|(axis, o)| axis.taps(o).count == 0)
}
