//! Convolutions, forward and backward, as matrix products on the CPU.
//!
//! ```text
//! shape ─► geometry ─► plan ─► patches ─► matrix product ─► epilogue / fold
//!          sizes,      which   unfold     engine:           bias, residual,
//!          checked     recipe  (im2col)   matrixmultiply    activation;
//!                                         or BLAS           col2im
//! ```
#![deny(unsafe_code)]

/// Errors, with the numbers in them.
mod error;

/// `f32` and `f64`.
mod element;

/// The one parallel loop.
mod parallel;

/// WHAT SHAPE: sizes, all checked.
pub mod geometry;

/// MATRICES: C ← A B + β C by the engine of the caller's choice.
pub mod gemm;

/// PATCHES: unfold (im2col) and fold (col2im).
pub mod unfold;

/// SIMD: instruction sets as tokens, and the machine's measured peak.
#[allow(unsafe_code)]
pub mod kernel;

/// The command-line program.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use element::Element;
pub use error::{Error, Result};
pub use geometry::{
    Axis, ConvGeometry, ConvOptions, Layout, Padding, PaddingMode, PatchGeometry, PerAxis, ReceptiveField,
    TransposedGeometry, TransposedOptions, receptive_field,
};
