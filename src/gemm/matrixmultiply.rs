//! The engine that is always there: the `matrixmultiply` crate, pure Rust, on one thread.
#![allow(unsafe_code)]

use ndarray::{ArrayView2, ArrayViewMut2};

use super::Engine;
use crate::error::Result;

/// The `matrixmultiply` crate.
#[derive(Clone, Copy, Debug)]
pub struct MatrixMultiply;

macro_rules! engine {
    ($type:ty, $gemm:path) => {
        impl Engine<$type> for MatrixMultiply {
            fn name(&self) -> &'static str {
                "matrixmultiply"
            }

            fn limit(&self) -> usize {
                isize::MAX as usize
            }

            fn product(
                &self,
                a: ArrayView2<'_, $type>,
                b: ArrayView2<'_, $type>,
                beta: $type,
                mut c: ArrayViewMut2<'_, $type>,
            ) -> Result<()> {
                let ((m, k), n) = (a.dim(), b.ncols());
                assert_eq!((b.nrows(), c.dim()), (k, (m, n)));
                // SAFETY: the assertion above makes every element that the call touches one of the
                // three views: a is m × k, b is k × n and c is m × n, each with its own strides. The
                // elements of c are distinct, for it is a mutable view.
                unsafe {
                    $gemm(
                        m,
                        k,
                        n,
                        1.0,
                        a.as_ptr(),
                        a.strides()[0],
                        a.strides()[1],
                        b.as_ptr(),
                        b.strides()[0],
                        b.strides()[1],
                        beta,
                        c.as_mut_ptr(),
                        c.strides()[0],
                        c.strides()[1],
                    );
                }
                Ok(())
            }
        }
    };
}
engine!(f32, matrixmultiply::sgemm);
engine!(f64, matrixmultiply::dgemm);
