//! Average pooling.
//!
//! ```text
//! y[o] = Σ x[i] / divisor(o)        dx[i] = Σ dy[o] / divisor(o)      over the pairs (i, o) of a tap
//! ```
//!
//! The divisor is the number of taps inside the padded input (`count_include_pad`, PyTorch's default),
//! or inside the input (TensorFlow, ONNX's default), or a number of the caller's. What ceil mode lets
//! hang over the end of the padding is never counted. Backward is the exact adjoint of forward.
//!
//! Small windows are summed tap by tap, a row of outputs at a time, in the element type: at most
//! taps − 1 roundings. Large and adaptive ones are summed window by window in f64 and rounded once.
//! f32 with the channels last is summed window by window in f32, 32 taps at a time. Which of the three
//! depends on the geometry and the type alone.

use std::borrow::Cow;

use ndarray::{Array, ArrayRef, Dimension};

use super::array::{check_lengths, check_shape, full, slice_mut, standard};
use super::lines;
use super::sum::sum_windows;
use super::tile::Batch;
use super::window::{for_each_run, is_tap_by_tap};
use crate::element::{Element, reserved};
use crate::error::Result;
use crate::geometry::{Divisor, PoolGeometry, PoolOptions};

/// The average of every window. PyTorch's `avg_pool1d`, `2d`, `3d`; ONNX's `AveragePool`.
///
/// # Errors
/// Those of [`PoolGeometry::new`]; memory that cannot be had.
///
/// ```
/// use gemmconv::{PoolOptions, avg_pool};
/// let x = ndarray::Array3::<f32>::ones((1, 1, 4));
/// let options = PoolOptions::new(3).stride(1).padding(1);
/// assert_eq!(avg_pool(&x, &options)?.as_slice().unwrap(), [2.0 / 3.0, 1.0, 1.0, 2.0 / 3.0]);
/// let options = options.count_include_pad(false);
/// assert_eq!(avg_pool(&x, &options)?.as_slice().unwrap(), [1.0, 1.0, 1.0, 1.0]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn avg_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    options: &PoolOptions,
) -> Result<Array<T, D>> {
    forward(x, &PoolGeometry::new(x.shape(), options)?)
}

/// The gradient of the input, of `input_shape`.
///
/// # Errors
/// Those of [`PoolGeometry::new`] for `input_shape`; `d_output` of another shape than the output.
pub fn avg_pool_backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    input_shape: &[usize],
    options: &PoolOptions,
) -> Result<Array<T, D>> {
    backward(d_output, &PoolGeometry::new(input_shape, options)?)
}

/// The averages for any geometry.
pub(super) fn forward<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    geometry: &PoolGeometry,
) -> Result<Array<T, D>> {
    let mut y = full(&x.raw_dim(), &geometry.output_shape(), T::ZERO)?;
    avg_pool_into(geometry, &standard(x)?, slice_mut(&mut y))?;
    Ok(y)
}

/// The gradient for any geometry.
pub(super) fn backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    geometry: &PoolGeometry,
) -> Result<Array<T, D>> {
    check_shape("output gradient", d_output, &geometry.output_shape())?;
    let mut d_input = full(&d_output.raw_dim(), &geometry.input_shape(), T::ZERO)?;
    avg_pool_backward_into(geometry, &standard(d_output)?, slice_mut(&mut d_input))?;
    Ok(d_input)
}

/// [`avg_pool`] into `y`, whatever stood there before; allocates nothing.
///
/// # Errors
/// A slice of the wrong length.
pub fn avg_pool_into<T: Element>(geometry: &PoolGeometry, x: &[T], y: &mut [T]) -> Result<()> {
    check_lengths(geometry, ("input", x.len()), ("output", y.len()))?;
    let one = uniform_divisor(geometry);
    let by = |at| one.unwrap_or_else(|| divisor(geometry, at));
    if lines::pool(geometry, x, y, Some(&by)) {
        return Ok(());
    }
    let finish = |sum: f64, at| sum / by(at);
    if !is_tap_by_tap(geometry) {
        return sum_windows(geometry, x, y, |value| value, finish);
    }
    let batch = Batch::of(geometry);
    batch.for_each(
        y,
        geometry.positions(),
        geometry.operations(),
        |place, mut y| {
            let x = batch.source(x, geometry.pixels(), place);
            y.fill(T::ZERO);
            for_each_run(geometry, |run| {
                y.gather(&x, run, |sum, value: T| *sum += value)
            });
            for (output, at) in outputs(geometry).enumerate() {
                for sum in y.pixel(output) {
                    *sum = T::from_f64(finish(sum.to_f64(), at));
                }
            }
        },
    )
}

/// The outputs of a plane, by their position on each axis, in row-major order.
fn outputs(geometry: &PoolGeometry) -> impl Iterator<Item = [usize; 3]> {
    let [d, h, w] = geometry.axes.map(|axis| axis.output());
    (0..d).flat_map(move |z| (0..h).flat_map(move |y| (0..w).map(move |x| [z, y, x])))
}

/// [`avg_pool_backward`] into `d_input`, whatever stood there before.
///
/// # Errors
/// A slice of the wrong length; no memory for a divided copy of `d_output`.
pub fn avg_pool_backward_into<T: Element>(
    geometry: &PoolGeometry,
    d_output: &[T],
    d_input: &mut [T],
) -> Result<()> {
    check_lengths(
        geometry,
        ("input gradient", d_input.len()),
        ("output gradient", d_output.len()),
    )?;
    let batch = Batch::of(geometry);
    let shares = divided(geometry, batch, d_output)?;
    batch.for_each(
        d_input,
        geometry.pixels(),
        geometry.operations(),
        |place, mut d_input| {
            let shares = batch.source(&shares, geometry.positions(), place);
            d_input.fill(T::ZERO);
            for_each_run(geometry, |run| {
                d_input.scatter(&shares, run, |sum, share: T| *sum += share);
            });
        },
    )
}

/// dy / divisor, what every tap of a window gets.
fn divided<'d, T: Element>(
    geometry: &PoolGeometry,
    batch: Batch,
    d_output: &'d [T],
) -> Result<Cow<'d, [T]>> {
    let one = uniform_divisor(geometry);
    if one == Some(1.0) || d_output.is_empty() {
        return Ok(Cow::Borrowed(d_output));
    }
    let mut shares = reserved(d_output.len())?;
    let mut pixels = d_output.chunks_exact(batch.width.max(1));
    for _ in 0..batch.images {
        for at in outputs(geometry) {
            let divisor = one.unwrap_or_else(|| divisor(geometry, at));
            let pixel = pixels.next().unwrap_or_default();
            shares.extend(
                pixel
                    .iter()
                    .map(|value| T::from_f64(value.to_f64() / divisor)),
            );
        }
    }
    Ok(Cow::Owned(shares))
}

/// The divisor of the window at `at`. A window without elements gets 1: its sum is 0.
pub(super) fn divisor(geometry: &PoolGeometry, at: [usize; 3]) -> f64 {
    if let Divisor::Fixed(divisor) = geometry.divisor {
        return divisor as f64;
    }
    // As f64, because counted padding has no bound that its product would respect.
    let counts = geometry.axes.iter().zip(at);
    let count: f64 = counts
        .map(|(axis, o)| axis.counted(o, geometry.divisor) as f64)
        .product();
    count.max(1.0)
}

/// The divisor, where all windows have the same.
pub(super) fn uniform_divisor(geometry: &PoolGeometry) -> Option<f64> {
    let fixed = matches!(geometry.divisor, Divisor::Fixed(_));
    let uniform = fixed
        || geometry
            .axes
            .iter()
            .all(|axis| axis.is_uniform(geometry.divisor));
    uniform.then(|| divisor(geometry, [0; 3]))
}
