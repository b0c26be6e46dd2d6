//! Convolution and cross-correlation of plain arrays, as signal processing knows them: no batch, no channels.
//!
//! ```text
//! convolve   y[i] = Σ_j a[i − j] · v[j]        a ∗ v = v ∗ a
//! correlate  y[i] = Σ_j a[i + j] · v[j]        convolve with v reversed
//!
//! of lengths N ≥ M      full    N + M − 1    wherever they overlap, from i = −(M − 1) on for correlate
//!                       same    N            full from ⌊(M − 1) / 2⌋ on
//!                       valid   N − M + 1    where v lies wholly inside a
//! ```
//!
//! These are the modes of NumPy's `convolve`, and the centring of its `same`: M odd puts the middle of v on each
//! element of a; M even leaves out one element more at the end of the full result.

use ndarray::{Array, ArrayRef, ArrayView, Axis, Dimension, IxDyn};

use crate::conv::{ConvPlan, Epilogue};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, ConvOptions};
use crate::plan::{Accuracy, Pass, PlanOptions};

/// Which part of a convolution is computed; see the file head for the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvolveMode {
    /// Wherever the two overlap.
    Full,
    /// As long as the signal.
    Same,
    /// Where the kernel lies wholly inside the signal.
    Valid,
}

/// The true convolution a ∗ v, one to three axes.
///
/// The operands may change places; so for `Same` and `Valid` the one that is at least as long on every axis is
/// taken as the signal.
///
/// # Errors
/// An empty array; no axis or more than three; for `Same` and `Valid` two arrays of which neither is at least as
/// long on every axis; sizes beyond the address space.
///
/// ```
/// use gemmconv::operator::{ConvolveMode, convolve, correlate};
/// use ndarray::array;
///
/// let (a, v) = (array![1., 2., 3.], array![0., 1., 0.5]);
/// assert_eq!(convolve(&a, &v, ConvolveMode::Full)?, array![0., 1., 2.5, 4., 1.5]);
/// assert_eq!(convolve(&a, &v, ConvolveMode::Same)?, array![1., 2.5, 4.]);
/// assert_eq!(convolve(&a, &v, ConvolveMode::Valid)?, array![2.5]);
/// assert_eq!(correlate(&a, &v, ConvolveMode::Valid)?, array![3.5]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn convolve<T: Element, D: Dimension>(
    a: &ArrayRef<T, D>,
    v: &ArrayRef<T, D>,
    mode: ConvolveMode,
) -> Result<Array<T, D>> {
    let shorter = a.shape().iter().zip(v.shape()).all(|(a, v)| a <= v);
    let (signal, kernel) = if shorter && mode != ConvolveMode::Full {
        (v, a)
    } else {
        (a, v)
    };
    slide(signal, kernel, mode, true)
}

/// The cross-correlation of `a` with `v`, one to three axes: what deep learning calls convolution.
///
/// # Errors
/// An empty array; no axis or more than three; for `Same` and `Valid` a kernel that is longer than the signal on
/// an axis; sizes beyond the address space.
pub fn correlate<T: Element, D: Dimension>(
    a: &ArrayRef<T, D>,
    v: &ArrayRef<T, D>,
    mode: ConvolveMode,
) -> Result<Array<T, D>> {
    slide(a, v, mode, false)
}

/// A convolution with a batch of one and one channel, in sums of products: exact where they are.
fn slide<T: Element, D: Dimension>(
    signal: &ArrayRef<T, D>,
    kernel: &ArrayRef<T, D>,
    mode: ConvolveMode,
    flip: bool,
) -> Result<Array<T, D>> {
    if signal.ndim() != kernel.ndim() {
        return Err(Error::Rank {
            what: "kernel",
            expected: signal.ndim(),
            got: kernel.ndim(),
        });
    }
    if signal.is_empty() {
        return Err(Error::ZeroCount {
            what: "elements of the signal",
        });
    }
    let mut pads = Vec::new();
    for (axis, (&length, &taps)) in signal.shape().iter().zip(kernel.shape()).enumerate() {
        let rest = taps.checked_sub(1).ok_or(Error::Zero {
            what: "kernel",
            axis,
        })?;
        if mode != ConvolveMode::Full && taps > length {
            return Err(Error::KernelTooLarge {
                axis,
                extent: taps,
                padded: length,
            });
        }
        pads.push(match mode {
            ConvolveMode::Full => (rest, rest),
            ConvolveMode::Same => (rest.div_ceil(2), rest / 2),
            ConvolveMode::Valid => (0, 0),
        });
    }
    let options = ConvOptions::new()
        .padding(pads.as_slice())
        .flip_kernel(flip);
    let (signal, kernel) = (one(signal.view()), one(kernel.view()));
    let geometry = ConvGeometry::new(signal.shape(), kernel.shape(), &options)?;
    let exact = PlanOptions::new().accuracy(Accuracy::Exact);
    let plan = ConvPlan::for_passes(&geometry, &exact, &[Pass::Forward])?;
    let weights = plan.prepare_for(Pass::Forward, &kernel)?;
    let y = plan.forward(&signal, &weights, &Epilogue::none())?;
    let y = y.remove_axis(Axis(0)).remove_axis(Axis(0));
    y.into_dimensionality().map_err(|_| Error::Overflow {
        what: "convolution",
    })
}

/// An array as the only channel of the only image.
fn one<T, D: Dimension>(array: ArrayView<'_, T, D>) -> ArrayView<'_, T, IxDyn> {
    array.into_dyn().insert_axis(Axis(0)).insert_axis(Axis(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array0, Array1, Array2, array};

    /// Tables of NumPy: `np.convolve(a, v, mode)`, with kernels of two, three and four elements.
    #[test]
    fn modes_of_numpy() {
        let a = array![1., 2., 3., 4., 5.];
        for (v, full, same, valid) in [
            (
                array![1., 10.],
                array![1., 12., 23., 34., 45., 50.],
                array![1., 12., 23., 34., 45.],
                array![12., 23., 34., 45.],
            ),
            (
                array![1., 10., 100.],
                array![1., 12., 123., 234., 345., 450., 500.],
                array![12., 123., 234., 345., 450.],
                array![123., 234., 345.],
            ),
            (
                array![1., 10., 100., 1000.],
                array![1., 12., 123., 1234., 2345., 3450., 4500., 5000.],
                array![12., 123., 1234., 2345., 3450.],
                array![1234., 2345.],
            ),
        ] {
            for (mode, expected) in [
                (ConvolveMode::Full, &full),
                (ConvolveMode::Same, &same),
                (ConvolveMode::Valid, &valid),
            ] {
                assert_eq!(convolve(&a, &v, mode).unwrap(), expected);
                assert_eq!(convolve(&v, &a, mode).unwrap(), expected);
                let reversed: Array1<f64> = v.iter().rev().copied().collect();
                assert_eq!(correlate(&a, &reversed, mode).unwrap(), expected);
            }
        }
    }

    #[test]
    fn two_axes() {
        let a = array![[1., 2., 3.], [4., 5., 6.]];
        let v = array![[1., 10.]];
        let full = convolve(&a, &v, ConvolveMode::Full).unwrap();
        assert_eq!(full, array![[1., 12., 23., 30.], [4., 45., 56., 60.]]);
        let same = correlate(&a, &v, ConvolveMode::Same).unwrap();
        assert_eq!(same, array![[10., 21., 32.], [40., 54., 65.]]);
    }

    #[test]
    fn what_is_refused() {
        let (a, empty) = (Array1::<f32>::ones(3), Array1::<f32>::zeros(0));
        for mode in [ConvolveMode::Full, ConvolveMode::Same, ConvolveMode::Valid] {
            assert!(convolve(&a, &empty, mode).is_err());
            assert!(convolve(&empty, &a, mode).is_err());
            assert!(correlate(&empty, &empty, mode).is_err());
            let point = Array0::<f32>::zeros(());
            assert!(convolve(&point, &point, mode).is_err());
        }
        let error = correlate(&a, &Array1::ones(4), ConvolveMode::Valid).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel extent 4 exceeds padded input 3 on axis 0"
        );
        let (wide, high) = (Array2::<f32>::ones((1, 3)), Array2::ones((3, 1)));
        assert!(convolve(&wide, &high, ConvolveMode::Same).is_err());
        assert_eq!(
            convolve(&wide, &high, ConvolveMode::Full).unwrap(),
            Array2::<f32>::ones((3, 3))
        );
        let (line, plane) = (a.into_dyn(), wide.into_dyn());
        assert!(convolve(&line, &plane, ConvolveMode::Full).is_err());
    }
}
