//! Slices as arrays and back: results of any dimension type, arrays in standard order, elements that are f32.

use ndarray::{Array, ArrayRef, Dimension, IxDyn};

use crate::element::{Element, filled};
use crate::error::{Error, Result};

/// `data` as an array of `shape`, of whichever dimension type the caller works with.
pub(super) fn array<T, D: Dimension>(shape: &[usize], data: Vec<T>) -> Result<Array<T, D>> {
    Array::from_shape_vec(IxDyn(shape), data)
        .and_then(Array::into_dimensionality)
        .map_err(|_| Error::Rank {
            what: "result",
            expected: shape.len(),
            got: D::NDIM.unwrap_or(0),
        })
}

/// Lets `write` fill `array` in standard order, in place where it lies so.
pub(super) fn in_standard<T: Element, D: Dimension>(
    array: &mut ArrayRef<T, D>,
    write: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<()> {
    if let Some(slice) = array.as_slice_mut() {
        return write(slice);
    }
    let mut data = filled(array.len(), T::ZERO)?;
    write(&mut data)?;
    for (slot, value) in array.iter_mut().zip(data) {
        *slot = value;
    }
    Ok(())
}

/// `values` as f32, which a native recipe computes with; no plan of another type has one.
pub(super) fn singles<T: Element>(values: &[T]) -> Result<&[f32]> {
    T::singles(values).ok_or(NOT_SINGLE)
}

/// [`singles`] to write to.
pub(super) fn singles_mut<T: Element>(values: &mut [T]) -> Result<&mut [f32]> {
    T::singles_mut(values).ok_or(NOT_SINGLE)
}

const NOT_SINGLE: Error = Error::Unsupported {
    what: "a native recipe",
    wanted: "the elements are not f32",
};
