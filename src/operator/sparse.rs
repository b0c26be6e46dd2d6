//! The matrix of a convolution without its zeros, in compressed sparse rows.
//!
//! ```text
//! row i = { (columns[e], values[e]) : row_starts[i] ≤ e < row_starts[i + 1] }        columns ascending
//! y[i] = Σ_e values[e] · x[columns[e]]        transposed: x[columns[e]] += values[e] · y[i]
//! ```
//!
//! A row of M has at most K entries, whatever the size of the image: nnz ≤ O · P · K, as many as the convolution
//! has products.

use ndarray::{Array1, Array2, ArrayRef, ArrayRef1, Dimension};

use super::array2;
use super::matrix::Entries;
use crate::element::{Element, filled, reserved, standard};
use crate::error::{Result, check_shape, product};
use crate::geometry::ConvGeometry;

/// A matrix in compressed sparse rows, as SciPy's `csr_array` and most solvers have it.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseMatrix<T> {
    shape: [usize; 2],
    row_starts: Vec<usize>,
    columns: Vec<usize>,
    values: Vec<T>,
}

/// [`convolution_matrix`](super::convolution_matrix) without its zeros: in memory proportional to its entries.
///
/// An entry stands wherever a tap reads a pixel, also where its weight is 0; taps that read the same pixel
/// (padding from the image) are summed.
///
/// # Errors
/// A weight of another shape than the geometry's; more entries than there is memory for.
///
/// ```
/// use gemmconv::{ConvGeometry, ConvOptions, conv2d, operator::convolution_matrix_sparse};
/// use ndarray::{Array1, Array4};
///
/// let (x, w) = (Array4::<f64>::ones((1, 16, 64, 64)), Array4::ones((16, 16, 3, 3)));
/// let options = ConvOptions::new().padding(1);
/// let geometry = ConvGeometry::new(x.shape(), w.shape(), &options)?;
/// let matrix = convolution_matrix_sparse(&geometry, &w)?;
/// assert_eq!(matrix.shape(), [65_536, 65_536]); // 34 GB if it were dense
/// assert_eq!(matrix.nnz(), 16 * 16 * (62 * 3 + 2 * 2) * (62 * 3 + 2 * 2));
/// let y = conv2d(&x, &w, None, &options)?;
/// assert_eq!(matrix.matvec(&x.flatten())?, y.flatten());
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn convolution_matrix_sparse<T: Element, D: Dimension>(
    geometry: &ConvGeometry,
    weight: &ArrayRef<T, D>,
) -> Result<SparseMatrix<T>> {
    let entries = Entries::new(geometry, weight.shape())?;
    let shape = entries.shape()?;
    let count = entries.count()?;
    let mut row_starts = reserved(shape[0] + 1)?;
    let (mut columns, mut values) = (reserved(count)?, reserved(count)?);
    row_starts.push(0);
    entries.for_each_row(&standard(weight)?, |_, row| {
        columns.extend(row.iter().map(|&(column, _)| column));
        values.extend(row.iter().map(|&(_, value)| value));
        row_starts.push(columns.len());
    })?;
    Ok(SparseMatrix {
        shape,
        row_starts,
        columns,
        values,
    })
}

impl<T: Element> SparseMatrix<T> {
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }
    /// How many entries are held.
    pub fn nnz(&self) -> usize {
        self.values.len()
    }
    /// Where each row begins among the entries, and where the last one ends: one number more than there are rows.
    pub fn row_starts(&self) -> &[usize] {
        &self.row_starts
    }
    /// The column of every entry, row after row, ascending within a row.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }
    /// The value of every entry, in the order of [`columns`](Self::columns).
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The entries of row `row`, (column, value); none where there is no such row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, T)> + '_ {
        let range = match self.row_starts.get(row..).unwrap_or(&[]) {
            [begin, end, ..] => *begin..*end,
            _ => 0..0,
        };
        let values = &self.values[range.clone()];
        self.columns[range]
            .iter()
            .copied()
            .zip(values.iter().copied())
    }

    /// All entries, (row, column, value), row after row.
    pub fn triplets(&self) -> impl Iterator<Item = (usize, usize, T)> + '_ {
        (0..self.shape[0]).flat_map(|row| {
            self.row(row)
                .map(move |(column, value)| (row, column, value))
        })
    }

    /// y = M · x.
    ///
    /// # Errors
    /// `x` is not as long as M has columns.
    pub fn matvec(&self, x: &ArrayRef1<T>) -> Result<Array1<T>> {
        check_shape("vector", &self.shape[1..], x.shape())?;
        let mut y = filled(self.shape[0], T::ZERO)?;
        for (row, y) in y.iter_mut().enumerate() {
            *y = self
                .row(row)
                .fold(T::ZERO, |sum, (column, value)| sum + value * x[column]);
        }
        Ok(y.into())
    }

    /// x = Mᵀ · y: the gradient of a convolution's input where `y` is that of its output.
    ///
    /// # Errors
    /// `y` is not as long as M has rows.
    pub fn transpose_matvec(&self, y: &ArrayRef1<T>) -> Result<Array1<T>> {
        check_shape("vector", &self.shape[..1], y.shape())?;
        let mut x = filled(self.shape[1], T::ZERO)?;
        for (row, column, value) in self.triplets() {
            x[column] += value * y[row];
        }
        Ok(x.into())
    }

    /// Mᵀ.
    ///
    /// # Errors
    /// Not memory enough.
    pub fn transposed(&self) -> Result<Self> {
        let [rows, columns] = self.shape;
        // Entries of each column, then where each begins.
        let mut row_starts = filled(columns + 1, 0)?;
        for &column in &self.columns {
            row_starts[column + 1] += 1;
        }
        for column in 0..columns {
            row_starts[column + 1] += row_starts[column];
        }
        let mut next = row_starts.clone();
        let mut transposed = Self {
            shape: [columns, rows],
            row_starts,
            columns: filled(self.nnz(), 0)?,
            values: filled(self.nnz(), T::ZERO)?,
        };
        // Rows come in order, so that they ascend within each column.
        for (row, column, value) in self.triplets() {
            let entry = next[column];
            next[column] += 1;
            transposed.columns[entry] = row;
            transposed.values[entry] = value;
        }
        Ok(transposed)
    }

    /// The matrix with its zeros.
    ///
    /// # Errors
    /// A matrix beyond the memory there is.
    pub fn to_dense(&self) -> Result<Array2<T>> {
        let length = product("dense matrix", &self.shape)?;
        let mut dense = array2(self.shape, filled(length, T::ZERO)?)?;
        for (row, column, value) in self.triplets() {
            dense[[row, column]] = value;
        }
        Ok(dense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::geometry::{ConvOptions, PaddingMode};
    use ndarray::{Array3, array};

    /// A pixel that three taps read has one entry with the sum of their weights.
    #[test]
    fn what_is_read_twice_is_summed() {
        let options = ConvOptions::new()
            .padding([(2, 0)])
            .padding_mode(PaddingMode::Replicate);
        let geometry = ConvGeometry::new(&[1, 1, 3], &[1, 1, 3], &options).unwrap();
        let matrix = convolution_matrix_sparse(&geometry, &array![[[1., 2., 4.]]]).unwrap();
        let triplets: Vec<_> = matrix.triplets().collect();
        let expected = [
            (0, 0, 7.),
            (1, 0, 3.),
            (1, 1, 4.),
            (2, 0, 1.),
            (2, 1, 2.),
            (2, 2, 4.),
        ];
        assert_eq!(triplets, expected);
        assert_eq!(matrix.row(1).collect::<Vec<_>>(), [(0, 3.), (1, 4.)]);
        assert_eq!(matrix.row(3).count() + matrix.row(usize::MAX).count(), 0);
        let transposed = matrix.transposed().unwrap();
        assert_eq!(
            transposed.to_dense().unwrap(),
            matrix.to_dense().unwrap().t()
        );
        assert_eq!(transposed.row_starts(), [0, 3, 5, 6]);
        assert_eq!(transposed.columns(), [0, 1, 2, 1, 2, 2]);
        assert_eq!(transposed.values(), [7., 3., 1., 4., 2., 4.]);
        assert_eq!(transposed.transposed().unwrap(), matrix);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let geometry = ConvGeometry::new(&[1, 1, 3], &[2, 1, 2], &ConvOptions::new()).unwrap();
        let error = convolution_matrix_sparse(&geometry, &Array3::<f32>::zeros((2, 1, 3)));
        assert_eq!(
            error.unwrap_err().to_string(),
            "weight has shape [2, 1, 3], expected [2, 1, 2]"
        );
        let matrix =
            convolution_matrix_sparse(&geometry, &Array3::<f32>::zeros((2, 1, 2))).unwrap();
        assert_eq!(matrix.shape(), [4, 3]);
        assert_eq!(
            matrix.matvec(&array![1., 2.]).unwrap_err().to_string(),
            "vector has shape [2], expected [3]"
        );
        assert!(matrix.transpose_matvec(&array![1., 2.]).is_err());

        // Few weights, an image far beyond any memory.
        let side = 1 << 29;
        let geometry =
            ConvGeometry::new(&[1, 1, side, side], &[1, 1, 1, 1], &ConvOptions::new()).unwrap();
        let weight = ndarray::Array4::<f32>::zeros((1, 1, 1, 1));
        let sparse = convolution_matrix_sparse(&geometry, &weight).unwrap_err();
        assert!(matches!(sparse, Error::Allocation { .. }), "{sparse}");
        let dense = super::super::convolution_matrix(&geometry, &weight).unwrap_err();
        assert!(matches!(dense, Error::Overflow { .. }), "{dense}");
    }
}
