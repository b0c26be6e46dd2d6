//! SIMD: what the CPU can do, and loops written for it.
//!
//! A value of an instruction-set token (`Avx512`, `Avx2Fma`) can exist only where the CPU has
//! the feature, so a function that takes one needs no check of its own. Kernels are safe functions
//! with `#[target_feature]`; `unsafe` is left where a token calls into one of them, and every such
//! call is argued by the token. Nothing here knows a layer, a file or an image.

mod isa;
mod peak;

pub use isa::{Avx2Fma, Avx512, Isa};
pub use peak::peak_gflops;
