//! Circulant, shift and Toeplitz matrices, and circular convolution by its sum.
//!
//! ```text
//! circulant(c)[i, j] = c[(i − j) mod n]        every row the one above it, turned on by one
//! shift(n, k) · x    = x moved on by k: (shift · x)[i] = x[(i − k) mod n]
//! circulant(c)       = Σ_k c[k] · shift(n, k)
//! a ⊛ b [i]          = Σ_j a[(i − j) mod n] · b[j] = circulant(a) · b
//! toeplitz[i, j]     = column[i − j] on and below the diagonal, row[j − i] above it
//! ```
//!
//! For two axes the same with pairs of indices: a circulant of blocks that are circulants.

use ndarray::{Array, Array2, ArrayRef, ArrayRef1, ArrayRef2, Dimension};

use super::array2;
use crate::element::{Element, filled, standard};
use crate::error::{Error, Result, check_shape, product};

/// The circulant matrix of `c`, its first column: `C[i, j] = c[(i − j) mod n]`.
///
/// # Errors
/// An empty `c`; a matrix beyond the memory there is.
///
/// ```
/// use gemmconv::operator::circulant;
/// use ndarray::array;
///
/// assert_eq!(circulant(&array![1., 2., 3.])?, array![[1., 3., 2.], [2., 1., 3.], [3., 2., 1.]]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn circulant<T: Element>(c: &ArrayRef1<T>) -> Result<Array2<T>> {
    let n = c.len();
    from_fn("circulant matrix", n, n, |i, j| c[behind(i, j, n)])
}

/// The matrix of the doubly blocked circulant of `c` `[h, w]`: h × h blocks, each a circulant of w × w.
///
/// Row (i₀, i₁) and column (j₀, j₁), counted row by row, hold `c[(i₀ − j₀) mod h, (i₁ − j₁) mod w]`: the
/// circular convolution of pictures with `c`.
///
/// # Errors
/// An empty `c`; a matrix beyond the memory there is.
pub fn block_circulant<T: Element>(c: &ArrayRef2<T>) -> Result<Array2<T>> {
    let (h, w) = c.dim();
    from_fn("doubly blocked circulant matrix", h * w, h * w, |i, j| {
        c[[behind(i / w, j / w, h), behind(i % w, j % w, w)]]
    })
}

/// The n × n matrix that moves a vector on by `k` places, around the end: `(S · x)[i] = x[(i − k) mod n]`.
///
/// # Errors
/// n = 0; a matrix beyond the memory there is.
///
/// ```
/// use gemmconv::operator::shift_matrix;
/// use ndarray::array;
///
/// let x = array![1., 2., 3., 4.];
/// assert_eq!(shift_matrix::<f64>(4, 1)?.dot(&x), array![4., 1., 2., 3.]);
/// assert_eq!(shift_matrix::<f64>(4, -1)?.dot(&x), array![2., 3., 4., 1.]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn shift_matrix<T: Element>(n: usize, k: isize) -> Result<Array2<T>> {
    // k mod n, where n may be beyond an isize.
    let back = k.unsigned_abs().checked_rem(n).unwrap_or(0);
    let on = if k < 0 && back > 0 { n - back } else { back };
    from_fn("shift matrix", n, n, |i, j| {
        if behind(i, j, n) == on {
            T::ONE
        } else {
            T::ZERO
        }
    })
}

/// The Toeplitz matrix with this first column and first row; every diagonal holds one number.
///
/// # Errors
/// An empty column or row, or two that differ in the corner they share; a matrix beyond the memory there is.
///
/// ```
/// use gemmconv::operator::toeplitz;
/// use ndarray::array;
///
/// let matrix = toeplitz(&array![1., 2., 3.], &array![1., -1.])?;
/// assert_eq!(matrix, array![[1., -1.], [2., 1.], [3., 2.]]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn toeplitz<T: Element>(
    first_column: &ArrayRef1<T>,
    first_row: &ArrayRef1<T>,
) -> Result<Array2<T>> {
    let corners = (first_column.first(), first_row.first());
    if let (Some(&column), Some(&row)) = corners
        && column != row
    {
        return Err(Error::Parameter {
            what: "the first element of the first row",
            got: row.to_f64(),
            expected: "the first element of the first column",
        });
    }
    let (rows, columns) = (first_column.len(), first_row.len());
    from_fn("Toeplitz matrix", rows, columns, |i, j| {
        if i >= j {
            first_column[i - j]
        } else {
            first_row[j - i]
        }
    })
}

/// The circular convolution a ⊛ b of two arrays of one shape, by its sum: `(a ⊛ b)[i] = Σ_j a[(i − j) mod n] · b[j]`.
///
/// One to three axes. Kernels that are shorter than the signal are filled up with zeros by the caller.
///
/// # Errors
/// No axis or more than three; an empty array; two shapes.
///
/// ```
/// use gemmconv::operator::circular_convolution;
/// use ndarray::array;
///
/// let y = circular_convolution(&array![1., 2., 3., 4.], &array![1., -1., 0., 0.])?;
/// assert_eq!(y, array![-3., 1., 1., 1.]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn circular_convolution<T: Element, D: Dimension>(
    a: &ArrayRef<T, D>,
    b: &ArrayRef<T, D>,
) -> Result<Array<T, D>> {
    let [d, h, w] = check_periodic(a, b)?;
    let (a, b_values) = (standard(a)?, standard(b)?);
    let mut y = filled(a.len(), T::ZERO)?;
    for (j, &b) in b_values.iter().enumerate() {
        let (z, row, x) = (j / w / h, j / w % h, j % w);
        for from in 0..d * h {
            let to = (from / h + z) % d * h + (from % h + row) % h;
            let (line, sums) = (&a[from * w..][..w], &mut y[to * w..][..w]);
            let (around, on) = sums.split_at_mut(x);
            let (head, tail) = line.split_at(w - x);
            add_scaled(on, head, b);
            add_scaled(around, tail, b);
        }
    }
    Array::from_shape_vec(b.raw_dim(), y).map_err(|_| Error::Overflow {
        what: "circular convolution",
    })
}

/// The lengths of two periodic signals, ones in front where there are fewer than three axes.
pub(super) fn check_periodic<T, D: Dimension>(
    a: &ArrayRef<T, D>,
    b: &ArrayRef<T, D>,
) -> Result<[usize; 3]> {
    check_shape("second signal", a.shape(), b.shape())?;
    let rank = a.ndim();
    if !(1..=3).contains(&rank) {
        return Err(Error::SpatialRank { got: rank });
    }
    if a.is_empty() {
        return Err(Error::ZeroCount {
            what: "elements of the signal",
        });
    }
    let mut lengths = [1; 3];
    lengths[3 - rank..].copy_from_slice(a.shape());
    Ok(lengths)
}

/// sums += line · factor.
fn add_scaled<T: Element>(sums: &mut [T], line: &[T], factor: T) {
    for (sum, &value) in sums.iter_mut().zip(line) {
        *sum += value * factor;
    }
}

/// (i − j) mod n, for i, j < n.
fn behind(i: usize, j: usize, n: usize) -> usize {
    if i >= j { i - j } else { n - (j - i) }
}

/// The matrix of `value(row, column)`; none of it may be empty.
fn from_fn<T: Element>(
    what: &'static str,
    rows: usize,
    columns: usize,
    value: impl Fn(usize, usize) -> T,
) -> Result<Array2<T>> {
    let length = product(what, &[rows, columns])?;
    if length == 0 {
        return Err(Error::ZeroCount {
            what: "elements of the matrix",
        });
    }
    let mut matrix = array2([rows, columns], filled(length, T::ZERO)?)?;
    for ((row, column), slot) in matrix.indexed_iter_mut() {
        *slot = value(row, column);
    }
    Ok(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array4, Ix0, array};

    #[test]
    fn a_circulant_is_a_sum_of_shifts() {
        let c = array![2., -1., 5., 3., 7.];
        let mut sum = Array2::<f64>::zeros((5, 5));
        for (k, &value) in c.iter().enumerate() {
            sum += &(shift_matrix::<f64>(5, k as isize).unwrap() * value);
        }
        assert_eq!(circulant(&c).unwrap(), sum);
        let whole = Array2::<f64>::eye(5);
        for k in [0, 5, -5, 10, -35] {
            assert_eq!(shift_matrix::<f64>(5, k).unwrap(), whole);
        }
        assert_eq!(
            shift_matrix::<f32>(5, isize::MIN).unwrap(),
            shift_matrix::<f32>(5, isize::MIN % 5).unwrap()
        );
    }

    #[test]
    fn blocks_of_the_doubly_blocked_circulant() {
        let c = array![[1., 2., 3.], [4., 5., 6.]];
        let matrix = block_circulant(&c).unwrap();
        let block = |row: usize| circulant(&c.row(row).to_owned()).unwrap();
        for (at, row) in [((0, 0), 0), ((1, 1), 0), ((1, 0), 1), ((0, 1), 1)] {
            let got = matrix.slice(ndarray::s![at.0 * 3..at.0 * 3 + 3, at.1 * 3..at.1 * 3 + 3]);
            assert_eq!(got, block(row));
        }
    }

    #[test]
    fn what_is_refused() {
        let empty = Array1::<f32>::zeros(0);
        assert!(circulant(&empty).is_err() && toeplitz(&empty, &empty).is_err());
        assert!(shift_matrix::<f32>(0, 3).is_err());
        assert!(matches!(
            shift_matrix::<f32>(usize::MAX, 3),
            Err(Error::Overflow { .. })
        ));
        assert!(block_circulant(&Array2::<f32>::zeros((0, 3))).is_err());
        assert!(circular_convolution(&empty, &empty).is_err());
        let error = circular_convolution(&Array1::<f32>::zeros(3), &Array1::zeros(2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "second signal has shape [2], expected [3]"
        );
        let point = Array::<f32, Ix0>::zeros(());
        assert!(circular_convolution(&point, &point).is_err());
        let four = Array4::<f32>::zeros((1, 1, 1, 1));
        assert!(circular_convolution(&four, &four).is_err());
        let error = toeplitz(&array![1., 2.], &array![3.]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the first element of the first row is 3, expected the first element of the first column"
        );
    }
}
