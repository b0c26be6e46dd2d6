//! The element types: `f32` and `f64`, behind one sealed trait.

use std::borrow::Cow;
use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Deref, DerefMut, Div, Mul, MulAssign, Neg, Sub};

use ndarray::{ArrayRef, Dimension};

use crate::error::{Error, Result};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A number that this crate computes with: `f32` or `f64`.
pub trait Element:
    sealed::Sealed
    + Copy
    + Send
    + Sync
    + Debug
    + Display
    + Default
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + MulAssign
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Negative infinity, what a maximum starts from.
    const NEG_INFINITY: Self;
    /// Not a number.
    const NAN: Self;
    /// Half a unit in the last place of one: 2⁻²⁴ or 2⁻⁵³.
    const UNIT_ROUNDOFF: f64;
    /// `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The value as `f64`, exact.
    fn to_f64(self) -> f64;
    /// The absolute value.
    fn abs(self) -> Self;
    /// `self` to the power `exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;
    /// `values` where they are f32: the native products know no other type.
    #[doc(hidden)]
    fn singles(values: &[Self]) -> Option<&[f32]>;
    /// [`singles`](Self::singles) to write to.
    #[doc(hidden)]
    fn singles_mut(values: &mut [Self]) -> Option<&mut [f32]>;
    /// `values` where this type is f32: the way back.
    #[doc(hidden)]
    fn of_singles(values: &mut [f32]) -> Option<&mut [Self]>;
}

macro_rules! element {
    ($type:ident, $roundoff:expr, $values:ident => $singles:expr) => {
        impl Element for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $type::NEG_INFINITY;
            const NAN: Self = $type::NAN;
            const UNIT_ROUNDOFF: f64 = $roundoff;
            const NAME: &'static str = stringify!($type);

            fn from_f64(value: f64) -> Self {
                value as $type
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn abs(self) -> Self {
                self.abs()
            }
            fn powf(self, exponent: Self) -> Self {
                self.powf(exponent)
            }
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            fn singles($values: &[Self]) -> Option<&[f32]> {
                $singles
            }
            fn singles_mut($values: &mut [Self]) -> Option<&mut [f32]> {
                $singles
            }
            fn of_singles($values: &mut [f32]) -> Option<&mut [Self]> {
                $singles
            }
        }
    };
}
element!(f32, 1.0 / 16_777_216.0, values => Some(values));
element!(f64, 1.0 / 9_007_199_254_740_992.0, _values => None);

/// A vector of `len` copies of `value`, or the typed error where the allocator refuses.
pub(crate) fn filled<T: Copy>(len: usize, value: T) -> Result<Vec<T>> {
    let mut vector = reserved(len)?;
    vector.resize(len, value);
    Ok(vector)
}

/// An empty vector with room for `len` elements, or the typed error where the allocator refuses.
pub(crate) fn reserved<T>(len: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector
        .try_reserve_exact(len)
        .map_err(|_| Error::Allocation {
            bytes: len.saturating_mul(size_of::<T>()),
        })?;
    Ok(vector)
}

/// The elements of `values`, `len` of them, or the typed error where the allocator refuses.
pub(crate) fn collected<T>(len: usize, values: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut vector = reserved(len)?;
    vector.extend(values);
    Ok(vector)
}

/// The elements of `array` in standard order, copied only where they lie otherwise.
///
/// A view can be far larger than the memory behind it (a stride of 0), so the copy may fail.
pub(crate) fn standard<T: Copy, D: Dimension>(array: &ArrayRef<T, D>) -> Result<Cow<'_, [T]>> {
    match array.as_slice() {
        Some(slice) => Ok(Cow::Borrowed(slice)),
        None => Ok(Cow::Owned(collected(array.len(), array.iter().copied())?)),
    }
}

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Elements that begin with a cache line: a vector that does not is read from two.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    data: Vec<T>,
    begin: usize,
    len: usize,
}

impl<T: Element> Aligned<T> {
    /// `len` times `value`.
    ///
    /// # Errors
    /// [`Error::Allocation`] where there is no room.
    pub(crate) fn filled(len: usize, value: T) -> Result<Self> {
        let data = filled(len.saturating_add(LINE / size_of::<T>()), value)?;
        let begin = data.as_ptr().align_offset(LINE).min(data.len() - len);
        Ok(Self { data, begin, len })
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.begin..self.begin + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.begin..self.begin + self.len]
    }
}

impl<T: Element> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        // Another allocation begins elsewhere in its cache line.
        let mut data = vec![T::ZERO; self.data.len()];
        let begin = data.as_ptr().align_offset(LINE).min(data.len() - self.len);
        data[begin..begin + self.len].copy_from_slice(self);
        Self {
            data,
            begin,
            len: self.len,
        }
    }
}
