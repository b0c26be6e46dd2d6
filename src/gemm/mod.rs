//! MATRICES: C (m × n) ← A (m × k) · B (k × n) + β C, by an engine of the caller's choice.
//!
//! Matrices are ndarray views, so transposition and sub-blocks are strides, never copies. An engine
//! knows nothing of channels, kernels or batches. It is called from inside this crate's own parallel
//! loop and works on one thread a call.

mod blas;
mod matrixmultiply;

use std::any::Any;
use std::fmt;
use std::str::FromStr;

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::element::Element;
use crate::error::{Error, Result};

pub use blas::OneThread;
pub use matrixmultiply::MatrixMultiply;

#[cfg(feature = "blas")]
pub use blas::Blas;

/// Something that multiplies matrices.
pub trait Engine<T: Element>: fmt::Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The largest dimension or stride it takes.
    fn limit(&self) -> usize;

    /// c (m × n) ← a (m × k) · b (k × n) + beta · c.
    ///
    /// With `beta` = 0 `c` is not read. [`multiply`] checks the shapes first and deals with empty
    /// matrices; an engine may want the rows or the columns of `c` contiguous to be fast.
    ///
    /// # Errors
    /// Dimensions beyond the engine's integers; no memory for a copy that the engine must make.
    ///
    /// # Panics
    /// Where the shapes do not fit together.
    fn product(
        &self,
        a: ArrayView2<'_, T>,
        b: ArrayView2<'_, T>,
        beta: T,
        c: ArrayViewMut2<'_, T>,
    ) -> Result<()>;
}

/// Which engine multiplies: unfolded patches, and locally connected layers. The native recipes need none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// The `matrixmultiply` crate: always there.
    MatrixMultiply,
    /// CBLAS, from the provider that the final binary links (feature `blas` or `openblas`).
    Blas,
}

impl Default for EngineKind {
    /// BLAS where it is compiled in, as ndarray does it; else `matrixmultiply`.
    fn default() -> Self {
        if cfg!(feature = "blas") {
            Self::Blas
        } else {
            Self::MatrixMultiply
        }
    }
}

impl EngineKind {
    /// The engines that are compiled in.
    pub fn available() -> Vec<Self> {
        let mut engines = vec![Self::MatrixMultiply];
        if cfg!(feature = "blas") {
            engines.push(Self::Blas);
        }
        engines
    }

    /// The name, as [`FromStr`] reads it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MatrixMultiply => "matrixmultiply",
            Self::Blas => "blas",
        }
    }

    /// What a user should know before trusting this engine's speed, with the remedy.
    ///
    /// OpenBLAS releases older than the CPU fall back to a kernel many times slower.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::MatrixMultiply => None,
            Self::Blas => blas::warning(),
        }
    }

    /// Holds the engine to one thread a call until the value is dropped.
    pub fn one_thread(&self) -> OneThread {
        OneThread::new(*self == Self::Blas)
    }

    /// The engine for one element type.
    ///
    /// # Errors
    /// [`Error::EngineMissing`] where it is not compiled in.
    pub fn engine<T: Element>(&self) -> Result<&'static dyn Engine<T>> {
        let (single, double): (&'static dyn Engine<f32>, &'static dyn Engine<f64>) = match self {
            Self::MatrixMultiply => (&MatrixMultiply, &MatrixMultiply),
            #[cfg(feature = "blas")]
            Self::Blas => (&Blas, &Blas),
            #[cfg(not(feature = "blas"))]
            Self::Blas => {
                return Err(Error::EngineMissing {
                    engine: "blas",
                    feature: "blas",
                });
            }
        };
        // `Element` is sealed: T is the type of exactly one of the two.
        let (single, double): (&dyn Any, &dyn Any) = (&single, &double);
        let engine: Option<&&'static dyn Engine<T>> =
            single.downcast_ref().or_else(|| double.downcast_ref());
        Ok(*engine.expect("an element is f32 or f64"))
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        [Self::MatrixMultiply, Self::Blas]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("unknown engine `{name}`: matrixmultiply or blas"))
    }
}

/// c (m × n) ← a (m × k) · b (k × n) + beta · c, for any strides and any lengths, zero among them.
///
/// # Errors
/// Shapes that do not fit together; dimensions beyond the engine's integers.
pub fn multiply<T: Element>(
    engine: &dyn Engine<T>,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    beta: T,
    mut c: ArrayViewMut2<'_, T>,
) -> Result<()> {
    let ((m, k), (rows, n)) = (a.dim(), b.dim());
    if rows != k {
        return Err(Error::Shape {
            what: "right factor",
            expected: vec![k, n],
            got: vec![rows, n],
        });
    }
    if c.dim() != (m, n) {
        return Err(Error::Shape {
            what: "product",
            expected: vec![m, n],
            got: c.shape().to_vec(),
        });
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        // An empty sum; `beta` = 0 must not let a NaN in `c` live on.
        if beta == T::ZERO {
            c.fill(T::ZERO);
        } else {
            c.mapv_inplace(|value| beta * value);
        }
        return Ok(());
    }
    product(engine, a, b, beta, c)
}

/// [`multiply`] for callers whose shapes fit; no length is zero.
pub(crate) fn product<T: Element>(
    engine: &dyn Engine<T>,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    beta: T,
    c: ArrayViewMut2<'_, T>,
) -> Result<()> {
    if c.strides()[1] == 1 || c.ncols() == 1 || c.strides()[0] != 1 {
        engine.product(a, b, beta, c)
    } else {
        // Columns of C are contiguous: Cᵀ ← Bᵀ Aᵀ has contiguous rows, which engines store faster.
        engine.product(
            b.reversed_axes(),
            a.reversed_axes(),
            beta,
            c.reversed_axes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, ShapeBuilder, s};

    /// Held by tests that care how many threads BLAS has: that number belongs to the whole process.
    pub(super) static BLAS_THREADS: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn filled<T: Element>(rows: usize, columns: usize, seed: usize) -> Array2<T> {
        Array2::from_shape_fn((rows, columns), |(i, j)| {
            T::from_f64(((i * 7 + j * 13 + seed) % 17) as f64 - 8.0)
        })
    }

    fn naive<T: Element>(a: &Array2<T>, b: &Array2<T>, beta: f64, c: &Array2<T>) -> Array2<T> {
        Array2::from_shape_fn(c.dim(), |(i, j)| {
            let sum: f64 = (0..a.ncols())
                .map(|p| a[[i, p]].to_f64() * b[[p, j]].to_f64())
                .sum();
            let old = if beta == 0.0 {
                0.0
            } else {
                beta * c[[i, j]].to_f64()
            };
            T::from_f64(sum + old)
        })
    }

    /// Small integers, so every engine must be exact; C starts as NaN where it must not be read.
    fn every_size_and_order<T: Element>(kind: EngineKind) {
        let engine = kind.engine::<T>().unwrap();
        let _alone = BLAS_THREADS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let _guard = kind.one_thread();
        for (m, k, n) in [
            (1, 1, 1),
            (3, 0, 2),
            (0, 3, 2),
            (5, 4, 3),
            (17, 16, 15),
            (1, 40, 9),
            (33, 7, 64),
            (64, 300, 1),
        ] {
            let (a, b) = (filled::<T>(m, k, 1), filled::<T>(k, n, 2));
            for beta in [0.0, 1.0] {
                for (flip_a, flip_b, flip_c) in
                    (0..8).map(|bits| (bits & 1 == 1, bits & 2 == 2, bits & 4 == 4))
                {
                    let ordered = |matrix: &Array2<T>, flip: bool| {
                        let mut copy = Array2::from_elem(matrix.dim().set_f(flip), T::ZERO);
                        copy.assign(matrix);
                        copy
                    };
                    let start = if beta == 0.0 {
                        Array2::from_elem((m, n), T::NAN)
                    } else {
                        filled(m, n, 3)
                    };
                    let want = naive(&a, &b, beta, &start);
                    let mut c = ordered(&start, flip_c);
                    multiply(
                        engine,
                        ordered(&a, flip_a).view(),
                        ordered(&b, flip_b).view(),
                        T::from_f64(beta),
                        c.view_mut(),
                    )
                    .unwrap();
                    assert_eq!(c, want, "{kind} {} {m}x{k}x{n} beta {beta}", T::NAME);
                }
            }
        }
    }

    #[test]
    fn engines_agree_with_the_definition() {
        for kind in EngineKind::available() {
            every_size_and_order::<f32>(kind);
            every_size_and_order::<f64>(kind);
        }
    }

    #[test]
    fn blocks_of_a_larger_matrix() {
        for kind in EngineKind::available() {
            let engine = kind.engine::<f32>().unwrap();
            let (a, b) = (filled::<f32>(9, 8, 1), filled::<f32>(8, 12, 2));
            let mut c = Array2::from_elem((9, 12), f32::NAN);
            let block = c.slice_mut(s![2..7, 3..9]);
            multiply(
                engine,
                a.slice(s![2..7, ..]),
                b.slice(s![.., 3..9]),
                0.0,
                block,
            )
            .unwrap();
            let want = a.dot(&b);
            for ((i, j), value) in c.indexed_iter() {
                let inside = (2..7).contains(&i) && (3..9).contains(&j);
                assert!(if inside {
                    *value == want[[i, j]]
                } else {
                    value.is_nan()
                });
            }
        }
    }

    #[test]
    fn wrong_shapes_are_errors() {
        let engine = EngineKind::MatrixMultiply.engine::<f64>().unwrap();
        let (a, b) = (filled::<f64>(2, 3, 0), filled::<f64>(4, 5, 0));
        let mut c = Array2::zeros((2, 5));
        assert!(matches!(
            multiply(engine, a.view(), b.view(), 0.0, c.view_mut()),
            Err(Error::Shape {
                what: "right factor",
                ..
            })
        ));
        let b = filled::<f64>(3, 4, 0);
        assert!(matches!(
            multiply(engine, a.view(), b.view(), 0.0, c.view_mut()),
            Err(Error::Shape {
                what: "product",
                ..
            })
        ));
    }

    #[test]
    fn an_engine_that_is_not_compiled_in_is_an_error() {
        let engine = EngineKind::Blas.engine::<f32>();
        assert_eq!(engine.is_ok(), cfg!(feature = "blas"));
        assert!("mkl".parse::<EngineKind>().unwrap_err().contains("mkl"));
        assert_eq!("blas".parse(), Ok(EngineKind::Blas));
    }
}
