//! The Fourier transform, and circular convolution by it.
//!
//! ```text
//! (F x)[k] = Σ_j x[j] · exp(−2πi · jk / n)        F[k, j] = exp(−2πi · jk / n)        F⁻¹ = F̄ / n
//!
//! convolution theorem   F (a ⊛ b) = F a ⊙ F b
//! diagonalisation       F · circulant(c) · F⁻¹ = diag(F c)
//! Parseval              Σ |x[j]|² = Σ |(F x)[k]|² / n
//! ```
//!
//! All circulants of one size have the columns of F⁻¹ as eigenvectors, which is why they commute. Over several axes
//! F is applied along each. Everything here is computed in f64, in O(n log n) for any length.

use std::f64::consts::TAU;
use std::sync::Arc;

use ndarray::{Array, Array2, ArrayRef, Axis, Dimension};
use rustfft::{Fft, FftDirection, FftPlanner};

use super::array2;
use super::circulant::check_periodic;
use crate::element::{Element, collected, filled};
use crate::error::{Error, Result, product};

pub use rustfft::num_complex::Complex;

/// The Fourier transform of `x` along all its axes. That of the first column of a circulant is its eigenvalues.
///
/// # Errors
/// An empty array; not memory enough.
///
/// ```
/// use gemmconv::operator::fourier_transform;
/// use ndarray::array;
///
/// let spectrum = fourier_transform(&array![1., -1., 1., -1.])?;
/// assert!((spectrum[2].re - 4.).abs() < 1e-12); // it turns as fast as it can
/// assert!(spectrum[0].norm() + spectrum[1].norm() + spectrum[3].norm() < 1e-12);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn fourier_transform<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
) -> Result<Array<Complex<f64>, D>> {
    let complex = x.iter().map(|value| Complex::from(value.to_f64()));
    let values = collected(x.len(), complex)?;
    transformed(x.raw_dim(), values, FftDirection::Forward)
}

/// F⁻¹ x along all axes: what [`fourier_transform`] was given, up to rounding.
///
/// # Errors
/// An empty array; not memory enough.
pub fn inverse_fourier_transform<D: Dimension>(
    x: &ArrayRef<Complex<f64>, D>,
) -> Result<Array<Complex<f64>, D>> {
    let values = collected(x.len(), x.iter().copied())?;
    let mut x = transformed(x.raw_dim(), values, FftDirection::Inverse)?;
    let scale = 1.0 / x.len() as f64;
    x.mapv_inplace(|value| value * scale);
    Ok(x)
}

/// The matrix F of n × n: `F[k, j] = exp(−2πi · jk / n)`.
///
/// # Errors
/// n = 0; a matrix beyond the memory there is.
pub fn fourier_matrix(n: usize) -> Result<Array2<Complex<f64>>> {
    let length = product("Fourier matrix", &[n, n])?;
    check_some(length)?;
    let mut matrix = array2([n, n], filled(length, Complex::default())?)?;
    for ((k, j), value) in matrix.indexed_iter_mut() {
        // k · j < n², which fits; whole turns are left out while the numbers are exact.
        *value = Complex::cis(-TAU * (k * j % n) as f64 / n as f64);
    }
    Ok(matrix)
}

/// [`circular_convolution`](super::circular_convolution) by the convolution theorem: a ⊛ b = F⁻¹ (F a ⊙ F b).
///
/// In O(n log n) instead of O(n²), rounded: the error is of the order of ε · log n · ‖a‖ · ‖b‖, the same for every
/// element, with the ε of f64 before the result is rounded to its type.
///
/// # Errors
/// Those of [`circular_convolution`](super::circular_convolution).
///
/// ```
/// use gemmconv::operator::circular_convolution_fft;
/// use ndarray::array;
///
/// let y = circular_convolution_fft(&array![1., 2., 3., 4.], &array![1., -1., 0., 0.])?;
/// assert!((y - array![-3., 1., 1., 1.]).iter().all(|difference: &f64| difference.abs() < 1e-12));
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn circular_convolution_fft<T: Element, D: Dimension>(
    a: &ArrayRef<T, D>,
    b: &ArrayRef<T, D>,
) -> Result<Array<T, D>> {
    check_periodic(a, b)?;
    let product = fourier_transform(a)? * fourier_transform(b)?;
    let y = inverse_fourier_transform(&product)?;
    let values = collected(y.len(), y.iter().map(|value| T::from_f64(value.re)))?;
    Array::from_shape_vec(y.raw_dim(), values).map_err(|_| Error::Overflow {
        what: "circular convolution",
    })
}

/// `values` in the standard order of `dim`, transformed along every axis and not scaled.
fn transformed<D: Dimension>(
    dim: D,
    values: Vec<Complex<f64>>,
    direction: FftDirection,
) -> Result<Array<Complex<f64>, D>> {
    check_some(values.len())?;
    let mut x = Array::from_shape_vec(dim, values).map_err(|_| Error::Overflow {
        what: "Fourier transform",
    })?;
    for axis in 0..x.ndim() {
        let length = x.len_of(Axis(axis));
        let plan = planned(length, direction);
        let mut line = filled(length, Complex::default())?;
        let mut scratch = filled(plan.get_inplace_scratch_len(), Complex::default())?;
        for mut lane in x.lanes_mut(Axis(axis)) {
            for (slot, &value) in line.iter_mut().zip(&lane) {
                *slot = value;
            }
            plan.process_with_scratch(&mut line, &mut scratch);
            for (slot, &value) in lane.iter_mut().zip(&line) {
                *slot = value;
            }
        }
    }
    Ok(x)
}

/// Not generic: all of `rustfft` would be compiled again in every crate that transforms an array.
fn planned(length: usize, direction: FftDirection) -> Arc<dyn Fft<f64>> {
    FftPlanner::new().plan_fft(length, direction)
}

fn check_some(length: usize) -> Result<()> {
    match length {
        0 => Err(Error::ZeroCount {
            what: "elements of the signal",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array3};

    #[test]
    fn transform_and_matrix_agree() {
        for n in [1, 2, 3, 8, 13, 60] {
            let x = Array1::from_shape_fn(n, |j| (j * j % 7) as f64 - 2.5);
            let spectrum = fourier_transform(&x).unwrap();
            let matrix = fourier_matrix(n).unwrap();
            let expected = matrix.dot(&x.mapv(Complex::from));
            let back = inverse_fourier_transform(&spectrum).unwrap();
            for ((got, expected), (back, x)) in
                spectrum.iter().zip(&expected).zip(back.iter().zip(&x))
            {
                assert!((got - expected).norm() < 1e-12 * n as f64, "{n}");
                assert!((back - x).norm() < 1e-13 * n as f64, "{n}");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        assert!(fourier_transform(&Array1::<f32>::zeros(0)).is_err());
        assert!(inverse_fourier_transform(&Array3::zeros((2, 0, 3))).is_err());
        assert!(fourier_matrix(0).is_err());
        assert!(matches!(
            fourier_matrix(usize::MAX),
            Err(Error::Overflow { .. })
        ));
        let error = circular_convolution_fft(&Array1::<f32>::ones(3), &Array1::ones(4));
        assert_eq!(
            error.unwrap_err().to_string(),
            "second signal has shape [4], expected [3]"
        );
    }
}
