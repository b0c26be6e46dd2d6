//! Global pooling: one window, the whole image; every spatial length of the output is 1.
//!
//! ```text
//! y[n, c] = max, average or Lp norm of x[n, c, …]
//! ```
//!
//! It is adaptive pooling to one output, under ONNX's names.

use ndarray::{Array, ArrayRef, Dimension};

use super::{average, lp, max};
use crate::element::Element;
use crate::error::Result;
use crate::geometry::{Layout, PoolGeometry};

/// The average of every channel of every image. ONNX's `GlobalAveragePool`.
///
/// # Errors
/// Those of [`PoolGeometry::global`], an image without pixels among them; memory that cannot be had.
///
/// ```
/// use gemmconv::{Layout, global_avg_pool};
/// let x = ndarray::Array4::from_shape_fn((1, 2, 2, 2), |(_, c, h, w)| (4 * c + 2 * h + w) as f64);
/// let y = global_avg_pool(&x, Layout::ChannelsFirst)?;
/// assert_eq!((y.shape(), y.as_slice().unwrap()), ([1, 2, 1, 1].as_slice(), [1.5, 5.5].as_slice()));
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn global_avg_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    layout: Layout,
) -> Result<Array<T, D>> {
    average::forward(x, &PoolGeometry::global(x.shape(), layout)?)
}

/// The gradient of the input, of `input_shape`, for [`global_avg_pool`].
///
/// # Errors
/// Those of [`PoolGeometry::global`] for `input_shape`; `d_output` of another shape than the output.
pub fn global_avg_pool_backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    input_shape: &[usize],
    layout: Layout,
) -> Result<Array<T, D>> {
    average::backward(d_output, &PoolGeometry::global(input_shape, layout)?)
}

/// The maximum of every channel of every image, and where it is. ONNX's `GlobalMaxPool`.
///
/// # Errors
/// Those of [`global_avg_pool`].
pub fn global_max_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    layout: Layout,
) -> Result<(Array<T, D>, Array<usize, D>)> {
    max::with_indices(x, &PoolGeometry::global(x.shape(), layout)?)
}

/// The gradient of the input, of `input_shape`, for [`global_max_pool`].
///
/// # Errors
/// Those of [`global_avg_pool_backward`]; `indices` of another shape than the output; an index outside
/// the plane.
pub fn global_max_pool_backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    indices: &ArrayRef<usize, D>,
    input_shape: &[usize],
    layout: Layout,
) -> Result<Array<T, D>> {
    max::backward(
        d_output,
        indices,
        &PoolGeometry::global(input_shape, layout)?,
    )
}

/// The Lp norm of every channel of every image. ONNX's `GlobalLpPool`.
///
/// # Errors
/// Those of [`global_avg_pool`]; p < 1, infinite or NaN.
pub fn global_lp_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    p: f64,
    layout: Layout,
) -> Result<Array<T, D>> {
    lp::forward(x, p, &PoolGeometry::global(x.shape(), layout)?)
}

/// The gradient of the input `x`, from what [`global_lp_pool`] gave for it.
///
/// # Errors
/// Those of [`global_lp_pool`]; `output` or `d_output` of another shape than the output.
pub fn global_lp_pool_backward<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    output: &ArrayRef<T, D>,
    d_output: &ArrayRef<T, D>,
    p: f64,
    layout: Layout,
) -> Result<Array<T, D>> {
    lp::backward(
        x,
        output,
        d_output,
        p,
        &PoolGeometry::global(x.shape(), layout)?,
    )
}
