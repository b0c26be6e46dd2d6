//! Adaptive pooling: the output size is given, the windows follow from it.
//!
//! ```text
//! window o = ⌊o · in / out⌋ .. ⌈(o + 1) · in / out⌉                                   on each axis
//! ```
//!
//! Windows cover the input without a gap; neighbours share an element where `out` does not divide
//! `in`. An output larger than the input repeats elements.

use ndarray::{Array, ArrayRef, Dimension};

use super::{average, max};
use crate::element::Element;
use crate::error::Result;
use crate::geometry::{Layout, PerAxis, PoolGeometry, spatial_rank};

/// Averages of `output_size` windows per axis. PyTorch's `adaptive_avg_pool1d`, `2d`, `3d`.
///
/// # Errors
/// Those of [`PoolGeometry::adaptive`]; memory that cannot be had.
///
/// ```
/// use gemmconv::{Layout, adaptive_avg_pool};
/// let x = ndarray::arr3(&[[[1.0f32, 2.0, 3.0, 4.0, 5.0]]]);
/// let y = adaptive_avg_pool(&x, 2, Layout::ChannelsFirst)?;
/// assert_eq!(y.as_slice().unwrap(), [2.0, 4.0]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn adaptive_avg_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    output_size: impl Into<PerAxis>,
    layout: Layout,
) -> Result<Array<T, D>> {
    average::forward(x, &PoolGeometry::adaptive(x.shape(), output_size, layout)?)
}

/// The gradient of the input, of `input_shape`, for [`adaptive_avg_pool`].
///
/// # Errors
/// Those of [`PoolGeometry::adaptive`] for `input_shape`; other images or channels than `d_output` has.
pub fn adaptive_avg_pool_backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    input_shape: &[usize],
    layout: Layout,
) -> Result<Array<T, D>> {
    average::backward(d_output, &twin(d_output.shape(), input_shape, layout)?)
}

/// Maxima of `output_size` windows per axis, and where they are. PyTorch's `adaptive_max_pool1d`,
/// `2d`, `3d` with indices.
///
/// # Errors
/// Those of [`PoolGeometry::adaptive`]; memory that cannot be had.
pub fn adaptive_max_pool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    output_size: impl Into<PerAxis>,
    layout: Layout,
) -> Result<(Array<T, D>, Array<usize, D>)> {
    max::with_indices(x, &PoolGeometry::adaptive(x.shape(), output_size, layout)?)
}

/// The gradient of the input, of `input_shape`, for [`adaptive_max_pool`].
///
/// # Errors
/// Those of [`adaptive_avg_pool_backward`]; `indices` of another shape than `d_output`; an index
/// outside the plane.
pub fn adaptive_max_pool_backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    indices: &ArrayRef<usize, D>,
    input_shape: &[usize],
    layout: Layout,
) -> Result<Array<T, D>> {
    max::backward(
        d_output,
        indices,
        &twin(d_output.shape(), input_shape, layout)?,
    )
}

/// The geometry whose spatial output lengths are those of `output_shape`.
fn twin(output_shape: &[usize], input_shape: &[usize], layout: Layout) -> Result<PoolGeometry> {
    spatial_rank(output_shape)?;
    let (_, _, outputs) = layout.parts(output_shape);
    PoolGeometry::adaptive(input_shape, outputs, layout)
}
