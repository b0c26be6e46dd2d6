//! SIMD: what the CPU can do, and loops written for it.
//!
//! A value of an instruction-set token (`Avx512`, `Avx2Fma`) can exist only where the CPU has
//! the feature, so a function that takes one needs no check of its own.
//!
//! The entries are safe functions: `Product::run`, `to_lanes`, `copy_pixels`, `Slide::run`,
//! `SlideWeight::run` and `PoolLine::run`. Each compares the largest index that it will use with the length of its slice
//! and panics where that fails. Behind them everything is `unsafe` and works on pointers: functions
//! with `#[target_feature]`, which a token leads to, and the loops over `Simd` inlined into them.
//!
//! `loops.rs` compiles loops of plain Rust for each set; `functions.rs` has what such loops compute with, and
//! `derivatives.rs` the gradients of that.
//!
//! Products (`product/`) and moves know slices and offsets. `slide.rs` and `slide_weight.rs` with their parts `ring.rs`,
//! `roll.rs`, `near_weight.rs` and `window.rs`, and `pool.rs`, know the rows, columns and channels of one image. Nothing
//! here knows a recipe, a thread or a file.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(feature = "network")]
pub(crate) mod derivatives;
#[cfg(feature = "network")]
pub(crate) mod functions;
mod isa;
mod loops;
mod moves;
mod near_weight;
mod peak;
mod pool;
mod portable;
mod product;
mod ring;
mod roll;
mod simd;
mod slide;
mod slide_weight;
mod window;
mod winograd;

#[cfg(feature = "network")]
pub(crate) use functions::{Function, map, map_in_place};
pub use isa::{Avx2Fma, Avx512, Isa};
#[cfg(feature = "network")]
pub(crate) use loops::halved;
pub(crate) use loops::{Arithmetic, Loop, compiled};
pub(crate) use moves::{AS_THEY_ARE, Lie, MOST_LANES, copy_pixels, to_lanes};
pub use peak::peak_gflops;
pub(crate) use pool::{PoolLine, Pooled};
pub(crate) use product::{
    Far, Finish, Left, Lines, Map, Panels, Product, Turns, most_columns, offsets,
};
pub(crate) use slide::{Slide, SlideAxis};
pub(crate) use slide_weight::SlideWeight;
pub(crate) use winograd::{
    GradientRow, KERNELS, MOST_PIECES, MOST_PRODUCTS, MOST_TILE_TAPS, OUTSIDE, Outcome, Spectrum,
    Sums, TileRow, WeightSums, transform_weights,
};
pub use winograd::{TileAxis, Tiling};
