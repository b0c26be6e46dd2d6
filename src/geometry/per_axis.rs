//! An option that is one value for every spatial axis, or one value per axis.

use crate::error::{Error, Result};

/// One value for every spatial axis (`2`), or one per axis (`[2, 1]`), as PyTorch takes them.
///
/// The number of values is checked against the number of spatial axes when a geometry is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerAxis<V = usize> {
    values: [Option<V>; 3],
    /// How many were listed; 0 for one value that serves every axis.
    listed: usize,
}

impl<V: Copy> PerAxis<V> {
    /// One value for every axis.
    pub fn all(value: V) -> Self {
        Self {
            values: [Some(value); 3],
            listed: 0,
        }
    }

    /// One value per axis, outermost first.
    pub fn list(values: &[V]) -> Self {
        let mut kept = [None; 3];
        for (slot, &value) in kept.iter_mut().zip(values) {
            *slot = Some(value);
        }
        Self {
            values: kept,
            // An empty list is as wrong as a list of four: keep it apart from `all`.
            listed: if values.is_empty() {
                usize::MAX
            } else {
                values.len()
            },
        }
    }

    /// How many were listed; `None` for one value that serves every axis.
    #[cfg(feature = "onnx")]
    pub(crate) fn listed(&self) -> Option<usize> {
        match self.listed {
            0 => None,
            usize::MAX => Some(0),
            listed => Some(listed),
        }
    }

    /// The value of one axis out of `rank`.
    ///
    /// # Errors
    /// [`Error::OptionRank`] where a list has another length than `rank`.
    pub fn get(&self, option: &'static str, rank: usize, axis: usize) -> Result<V> {
        if self.listed != 0 && self.listed != rank {
            let got = if self.listed == usize::MAX {
                0
            } else {
                self.listed
            };
            return Err(Error::OptionRank {
                option,
                expected: rank,
                got,
            });
        }
        self.values
            .get(axis)
            .copied()
            .flatten()
            .ok_or(Error::SpatialRank { got: rank })
    }
}

impl<V: Copy> From<V> for PerAxis<V> {
    fn from(value: V) -> Self {
        Self::all(value)
    }
}

impl<V: Copy, const N: usize> From<[V; N]> for PerAxis<V> {
    fn from(values: [V; N]) -> Self {
        Self::list(&values)
    }
}

impl<V: Copy> From<&[V]> for PerAxis<V> {
    fn from(values: &[V]) -> Self {
        Self::list(values)
    }
}

impl<V: Copy> PerAxis<V> {
    /// The same list with every value changed.
    pub fn map<U: Copy>(&self, change: impl Fn(V) -> U) -> PerAxis<U> {
        PerAxis {
            values: self.values.map(|value| value.map(&change)),
            listed: self.listed,
        }
    }
}
