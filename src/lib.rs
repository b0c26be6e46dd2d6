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

/// WHICH WAY: a printable decision.
pub mod plan;

/// CONVOLUTION: plans, one-call functions, the reference loops.
pub mod conv;

pub use conv::{
    Activation, ConvPlan, Epilogue, Gradients, PreparedWeights, TransposedPlan, Wanted, conv, conv_transpose,
    conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d, reference,
};
pub use element::Element;
pub use error::{Error, Result};
pub use gemm::EngineKind;
pub use geometry::{
    Axis, ConvGeometry, ConvOptions, Layout, Padding, PaddingMode, PatchGeometry, PerAxis, ReceptiveField,
    TransposedGeometry, TransposedOptions, receptive_field,
};
pub use plan::{Explanation, Pass, PlanOptions, Recipe, RecipeKind};
