//! Convolutions, forward and backward, as matrix products on the CPU, on `ndarray` arrays.
//!
//! ```text
//!                          ┌─► window of the image ─► product by offsets ─► bias, residual, activation
//! shape ─► geometry ─► plan┤   native recipes, f32    AVX-512, AVX2         on the way out
//!          sizes,          │
//!          checked         └─► unfold (im2col) ─► product of an engine ─► epilogue / fold (col2im)
//!                              a tile at a time   matrixmultiply or BLAS
//!
//! forward          Y (O×P)  = W (O×K) · X̂ (K×P)        X̂ = unfold(X)
//! backward weight  dW (O×K) = dY (O×P) · X̂ᵀ (P×K)
//! backward input   dX       = fold( Wᵀ (K×O) · dY (O×P) )
//! ```
//!
//! N images, C input and O output channels, K = C · taps the length of a patch, P the output positions;
//! with groups, C and O of one group. The native recipes compute these products without writing X̂ down: they
//! read each patch out of the image. *Convolution* means cross-correlation, as in every deep-learning
//! library; `flip_kernel` gives the true one. Dilation 1 is none. Weights are `[O, C/g, kernel…]`. The
//! memory layout is a value the caller gives, never a guess.
//!
//! ```
//! use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, Epilogue, PlanOptions, Wanted};
//! use ndarray::Array4;
//!
//! let (x, w) = (Array4::<f32>::ones((8, 3, 32, 32)), Array4::<f32>::ones((16, 3, 3, 3)));
//! let geometry = ConvGeometry::new(x.shape(), w.shape(), &ConvOptions::new().padding(1))?;
//! let plan = ConvPlan::new(&geometry, &PlanOptions::new())?;
//! let weights = plan.prepare(&w)?;
//! let y = plan.forward(&x, &weights, &Epilogue::none())?;
//! let gradients = plan.backward(&x, &weights, &y, Wanted::ALL)?;
//! assert_eq!(gradients.d_weight.unwrap().dim(), w.dim());
//! # Ok::<(), gemmconv::Error>(())
//! ```
//!
//! [`conv2d`] and its relatives do all that in one call; [`conv::reference`] holds the plain loops that
//! judge the rest; [`unfold`] and [`pool`] stand on their own.
#![deny(unsafe_code)]

/// Errors, with the numbers in them.
mod error;

/// `f32` and `f64`.
mod element;

/// The one parallel loop.
mod parallel;

/// WHAT SHAPE: sizes, all checked.
pub mod geometry;

/// MATRICES: C ← A B + β C by the engine of the caller's choice, for unfolded patches.
pub mod gemm;

/// SIMD: instruction sets as tokens, the native products, and the machine's measured peak.
#[allow(unsafe_code)]
pub mod kernel;

/// PATCHES: unfold (im2col) and fold (col2im).
pub mod unfold;

/// WHICH WAY: a printable decision.
pub mod plan;

/// CONVOLUTION: plans, one-call functions, the reference loops.
pub mod conv;

/// POOLING: maximum, average and Lp, each with its gradient.
pub mod pool;

/// THEORY: the same maps as linear algebra: matrices, circulants, Fourier transforms, composition.
pub mod operator;

/// GRAPH: operators, planned for given sizes and run in one arena.
#[cfg(feature = "network")]
pub mod network;

/// IMPORT: ONNX files become graphs.
#[cfg(feature = "onnx")]
pub mod onnx;

/// FILES: pictures and arrays, bounded and checked.
#[cfg(feature = "infer")]
pub mod data;

/// LEARNING: losses down their gradients, step by step.
#[cfg(feature = "train")]
pub mod train;

/// BATCHES: pictures through networks.
#[cfg(feature = "infer")]
pub mod infer;

/// The command-line program.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use conv::{
    Activation, ConvPlan, Epilogue, Gradients, LocalPlan, PreparedWeights, TransposedPlan, Wanted,
    conv, conv_transpose, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d,
    conv3d, reference,
};
pub use element::Element;
pub use error::{Error, Result};
pub use gemm::EngineKind;
pub use geometry::{
    Axis, ConvGeometry, ConvOptions, Divisor, Layout, Padding, PaddingMode, PatchGeometry, PerAxis,
    PoolGeometry, PoolOptions, ReceptiveField, TransposedGeometry, TransposedOptions,
    receptive_field,
};
pub use plan::{Accuracy, Explanation, Pass, PlanOptions, Recipe, RecipeKind};
pub use pool::{
    adaptive_avg_pool, adaptive_max_pool, avg_pool, global_avg_pool, global_lp_pool,
    global_max_pool, lp_pool, max_pool, max_pool_with_indices, max_unpool,
};

/// The listings of `docs/lessons` are tests.
#[cfg(doctest)]
mod lessons {
    macro_rules! lessons {
        ($($(#[$feature:meta])? $chapter:ident $file:literal;)*) => {
            $($(#[$feature])? #[doc = include_str!(concat!("../docs/lessons/", $file, ".md"))] struct $chapter;)*
        };
    }
    lessons! {
        #[cfg(feature = "infer")] Chapter1 "01-from-fully-connected-to-convolution";
        #[cfg(all(feature = "infer", feature = "onnx"))] Chapter2 "02-equivariance";
        Chapter3 "03-cross-correlation";
        Chapter4 "04-edges";
        Chapter5 "05-learning-a-kernel";
        Chapter6 "06-filters-and-channels";
        Chapter7 "07-stride-and-padding";
        Chapter8 "08-kinds-of-convolution";
        Chapter9 "09-pooling";
        Chapter10 "10-from-loops-to-gemm";
        Chapter11 "11-the-backward-pass";
        Chapter12 "12-receptive-field";
        #[cfg(feature = "train")] Chapter13 "13-a-network-block-by-block";
        Chapter14 "14-convolution-as-a-matrix";
        #[cfg(feature = "fft")] Chapter15 "15-fourier";
    }
}
