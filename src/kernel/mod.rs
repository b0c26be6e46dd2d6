//! SIMD: what the CPU can do, and loops written for it.
//!
//! A value of an instruction-set token (`Avx512`, `Avx2Fma`) can exist only where the CPU has
//! the feature, so a function that takes one needs no check of its own. Kernels are safe functions
//! with `#[target_feature]`; `unsafe` is left where a token calls into one of them, and every such
//! call is argued by the token. Nothing here knows a layer, a file or an image.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod moves;
mod peak;
mod portable;
mod product;
mod simd;
mod slide;
mod slide_weight;

pub use isa::{Avx2Fma, Avx512, Isa};
pub(crate) use moves::{AS_THEY_ARE, Lie, MOST_LANES, copy_pixels, to_lanes};
pub use peak::peak_gflops;
pub(crate) use product::{Finish, Left, Map, Panels, Product, SUM, offsets};
pub(crate) use slide::{Slide, SlideAxis};
pub(crate) use slide_weight::SlideWeight;
