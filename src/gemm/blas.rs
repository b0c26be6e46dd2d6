//! CBLAS as an engine, and the wall around it: the only `extern "C"` of the crate.
//!
//! ```text
//! row-major C:  cblas_?gemm(RowMajor, transA, transB, m, n, k, 1, A, lda, B, ldb, β, C, ldc)
//! A with unit column stride: NoTrans, lda = row stride;  unit row stride: Trans, lda = column stride
//! any other strides: copied first
//! ```
//!
//! Which library answers is the final binary's choice (`blas-src`). OpenBLAS's own controls (thread
//! count, core name) are looked up in the running process, so that other providers link as well.

#[cfg(feature = "blas")]
#[allow(unsafe_code)]
mod linked;

#[cfg(feature = "blas")]
pub use linked::Blas;

/// Holds BLAS to one thread a call; the earlier setting returns when the last holder is dropped.
#[derive(Debug)]
pub struct OneThread {
    #[cfg(feature = "blas")]
    held: bool,
}

#[cfg(not(feature = "blas"))]
impl OneThread {
    pub(super) fn new(_hold: bool) -> Self {
        Self {}
    }
}

#[cfg(feature = "blas")]
impl OneThread {
    pub(super) fn new(hold: bool) -> Self {
        if hold {
            linked::hold();
        }
        Self { held: hold }
    }
}

#[cfg(feature = "blas")]
impl Drop for OneThread {
    fn drop(&mut self) {
        if self.held {
            linked::release();
        }
    }
}

/// The warning about a BLAS library that does not use the CPU, if there is reason for one.
pub(super) fn warning() -> Option<String> {
    #[cfg(feature = "blas")]
    return linked::warning();
    #[cfg(not(feature = "blas"))]
    None
}
