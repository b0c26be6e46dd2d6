//! From arrays of any strides to slices and back.

use ndarray::{Array, ArrayRef, Dimension};

use crate::element::filled;
pub(super) use crate::element::standard;
use crate::error::{self, Error, Result, check_len};
use crate::geometry::PoolGeometry;

/// An array of the rank of `like` and of `shape`, filled with `value`.
pub(super) fn full<T: Copy, D: Dimension>(
    like: &D,
    shape: &[usize],
    value: T,
) -> Result<Array<T, D>> {
    let mut dimension = like.clone();
    for (axis, &length) in shape.iter().enumerate() {
        dimension[axis] = length;
    }
    let data = filled(shape.iter().product(), value)?;
    Array::from_shape_vec(dimension, data).map_err(|_| Error::Overflow { what: "output" })
}

/// The elements of an array that was made by [`full`].
pub(super) fn slice_mut<T, D: Dimension>(array: &mut Array<T, D>) -> &mut [T] {
    array.as_slice_mut().unwrap_or_default()
}

/// An error unless `array` has the shape that it must have.
pub(super) fn check_shape<T, D: Dimension>(
    what: &'static str,
    array: &ArrayRef<T, D>,
    expected: &[usize],
) -> Result<()> {
    error::check_shape(what, expected, array.shape())
}

/// Errors unless a buffer per input element and one per output element have their lengths.
pub(super) fn check_lengths(
    geometry: &PoolGeometry,
    (input, input_len): (&'static str, usize),
    (output, output_len): (&'static str, usize),
) -> Result<()> {
    check_len(input, geometry.input_len(), input_len)?;
    check_len(output, geometry.output_len(), output_len)
}
