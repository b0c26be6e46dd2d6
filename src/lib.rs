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

/// POOLING: maximum, average and Lp, each with its gradient.
pub mod pool;

pub use element::Element;
pub use error::{Error, Result};
pub use geometry::{
    Axis, ConvGeometry, ConvOptions, Divisor, Layout, Padding, PaddingMode, PatchGeometry, PerAxis, PoolGeometry,
    PoolOptions, ReceptiveField, TransposedGeometry, TransposedOptions, receptive_field,
};
pub use pool::{
    adaptive_avg_pool, adaptive_max_pool, avg_pool, global_avg_pool, global_lp_pool, global_max_pool, lp_pool,
    max_pool, max_pool_with_indices, max_unpool,
};
