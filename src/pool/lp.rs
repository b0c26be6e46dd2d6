//! Lp pooling, p ≥ 1.
//!
//! ```text
//! y[o] = (Σ |x[i]|ᵖ)^(1/p)                        ONNX's LpPool: no division by the number of taps
//! dx[i] = Σ dy[o] · sign(x[i]) · (|x[i]| / y[o])^(p − 1)       0 where y[o] = 0, where no gradient is
//! ```
//!
//! sign(0) = 0. The quotient |x| / y is at most one, so that no power overflows on the way back. On
//! the way there powers and sums are f64: for f32 and p ≤ 7 they neither overflow nor vanish.
//! PyTorch's `lp_pool` takes xᵖ without the absolute value; the two agree for even p and for x ≥ 0.

use ndarray::{Array, ArrayRef, Dimension};

use super::array::{check_lengths, check_shape, full, slice_mut, standard};
use super::sum::sum_windows;
use super::tile::Batch;
use super::window::for_each_run;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::geometry::{PoolGeometry, PoolOptions};

/// The Lp norm of every window. ONNX's `LpPool`.
///
/// # Errors
/// Those of [`PoolGeometry::new`]; p < 1, infinite or NaN; memory that cannot be had.
///
/// ```
/// use gemmconv::{PoolOptions, lp_pool};
/// let x = ndarray::arr3(&[[[3.0f32, -4.0, 0.0, 2.0]]]);
/// assert_eq!(lp_pool(&x, 2.0, &PoolOptions::new(2))?.as_slice().unwrap(), [5.0, 2.0]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn lp_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    p: f64,
    options: &PoolOptions,
) -> Result<Array<T, D>> {
    forward(x, p, &PoolGeometry::new(x.shape(), options)?)
}

/// The gradient of the input `x`, from what [`lp_pool`] gave for it.
///
/// # Errors
/// Those of [`lp_pool`]; `output` or `d_output` of another shape than the output.
pub fn lp_pool_backward<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    output: &ArrayRef<T, D>,
    d_output: &ArrayRef<T, D>,
    p: f64,
    options: &PoolOptions,
) -> Result<Array<T, D>> {
    backward(
        x,
        output,
        d_output,
        p,
        &PoolGeometry::new(x.shape(), options)?,
    )
}

/// The norms for any geometry.
pub(super) fn forward<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    p: f64,
    geometry: &PoolGeometry,
) -> Result<Array<T, D>> {
    let mut y = full(&x.raw_dim(), &geometry.output_shape(), T::ZERO)?;
    lp_pool_into(geometry, p, &standard(x)?, slice_mut(&mut y))?;
    Ok(y)
}

/// The gradient for any geometry.
pub(super) fn backward<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    output: &ArrayRef<T, D>,
    d_output: &ArrayRef<T, D>,
    p: f64,
    geometry: &PoolGeometry,
) -> Result<Array<T, D>> {
    check_shape("output", output, &geometry.output_shape())?;
    check_shape("output gradient", d_output, &geometry.output_shape())?;
    let mut d_input = full(&x.raw_dim(), &geometry.input_shape(), T::ZERO)?;
    let (x, y, d_output) = (standard(x)?, standard(output)?, standard(d_output)?);
    lp_pool_backward_into(geometry, p, &x, [&y, &d_output], slice_mut(&mut d_input))?;
    Ok(d_input)
}

/// [`lp_pool`] into `y`, whatever stood there before; allocates nothing.
///
/// # Errors
/// p out of range; a slice of the wrong length.
pub fn lp_pool_into<T: Element>(
    geometry: &PoolGeometry,
    p: f64,
    x: &[T],
    y: &mut [T],
) -> Result<()> {
    check_exponent(p)?;
    check_lengths(geometry, ("input", x.len()), ("output", y.len()))?;
    if p == 1.0 {
        sum_windows(geometry, x, y, f64::abs, |sum, _| sum)
    } else if p == 2.0 {
        sum_windows(geometry, x, y, |value| value * value, |sum, _| sum.sqrt())
    } else {
        sum_windows(
            geometry,
            x,
            y,
            |value| value.abs().powf(p),
            |sum, _| sum.powf(p.recip()),
        )
    }
}

/// [`lp_pool_backward`] into `d_input`, whatever stood there before; allocates nothing.
///
/// The pair is the output and its gradient.
///
/// # Errors
/// p out of range; a slice of the wrong length.
pub fn lp_pool_backward_into<T: Element>(
    geometry: &PoolGeometry,
    p: f64,
    x: &[T],
    [output, d_output]: [&[T]; 2],
    d_input: &mut [T],
) -> Result<()> {
    check_exponent(p)?;
    check_lengths(geometry, ("input", x.len()), ("output", output.len()))?;
    check_len("input gradient", geometry.input_len(), d_input.len())?;
    check_len("output gradient", geometry.output_len(), d_output.len())?;
    let batch = Batch::of(geometry);
    batch.for_each(
        d_input,
        geometry.pixels(),
        geometry.operations(),
        |place, mut d_input| {
            let x = batch.source(x, geometry.pixels(), place);
            let y = batch.source(output, geometry.positions(), place);
            let d_output = batch.source(d_output, geometry.positions(), place);
            d_input.fill(T::ZERO);
            for_each_run(geometry, |run| {
                d_input.scatter_at(run, |sum, output, input, channel| {
                    let slope = slope(
                        x.at(input, channel).to_f64(),
                        y.at(output, channel).to_f64(),
                        p,
                    );
                    *sum += T::from_f64(slope * d_output.at(output, channel).to_f64());
                });
            });
        },
    )
}

/// ∂y/∂x = sign(x) · (|x| / y)^(p − 1).
fn slope(x: f64, y: f64, p: f64) -> f64 {
    if x == 0.0 || y == 0.0 {
        return 0.0;
    }
    if p == 1.0 {
        // signum alone would make 1 of a NaN whose sign is positive.
        return if x.is_nan() { x } else { x.signum() };
    }
    if p == 2.0 {
        return x / y;
    }
    x.signum() * (x.abs() / y).powf(p - 1.0)
}

fn check_exponent(p: f64) -> Result<()> {
    if p.is_finite() && p >= 1.0 {
        return Ok(());
    }
    Err(Error::Parameter {
        what: "the exponent p of Lp pooling",
        got: p,
        expected: "a finite number of at least 1",
    })
}
