//! THEORY: the same maps as linear algebra, for proof, for teaching, and where a solver wants a matrix.
//!
//! ```text
//! matrix      vec(y) = M · vec(x), with all its zeros             sparse    the same M without them
//! circulant   circulant, shift and Toeplitz matrices; circular convolution by its sum
//! fourier     the same convolution by transforms (feature `fft`)
//! compose     two convolutions as one
//! convolve    true convolution and cross-correlation of plain arrays: full, same, valid
//! ```

mod circulant;
mod compose;
mod convolve;
#[cfg(feature = "fft")]
mod fourier;
mod matrix;
mod sparse;

pub use circulant::{block_circulant, circulant, circular_convolution, shift_matrix, toeplitz};
pub use compose::compose;
pub use convolve::{ConvolveMode, convolve, correlate};
#[cfg(feature = "fft")]
pub use fourier::{
    Complex, circular_convolution_fft, fourier_matrix, fourier_transform, inverse_fourier_transform,
};
pub use matrix::convolution_matrix;
pub use sparse::{SparseMatrix, convolution_matrix_sparse};

use ndarray::Array2;

use crate::error::{Error, Result};

/// `data`, as long as `shape` says, as a matrix.
fn array2<T>(shape: [usize; 2], data: Vec<T>) -> Result<Array2<T>> {
    Array2::from_shape_vec(shape, data).map_err(|_| Error::Overflow { what: "matrix" })
}
