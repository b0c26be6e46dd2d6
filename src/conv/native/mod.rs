//! The native recipes: products that read their patches out of the image.
//!
//! ```text
//! Sweep         y (positions × channels)   ← window of x · weights        forward; backward input by phases
//! Correlation   dw (patch × outputs)       ← window of xᵀ · panel of dy   backward weight, and the bias beside it
//! OuterSum      dw (outputs × channels)    ← dyᵀ · panel of x             the same for kernels of one tap
//! ```
//!
//! All cut their work into blocks (`plan/blocks.rs`), copy the window of the source that a block reads into
//! scratch, and hand it to the one product of `kernel/` with tables of offsets. Recipes differ in the numbers of
//! their blocks and in what the lanes of a vector are:
//!
//! ```text
//! direct, pointwise    lanes are output channels, and each pixel meets all of them
//! grouped              lanes are output channels, and each meets the pixel of its own group
//! ```

mod backward_weight;
mod exact;
mod outer_sum;
mod pack;
mod sweep;
mod winograd;

pub(super) use backward_weight::Correlation;
pub(super) use outer_sum::OuterSum;
pub(super) use sweep::{Finale, Sweep};
pub(super) use winograd::{Winograd, WinogradWeight};

/// `scratch` from its first cache line on.
fn aligned(scratch: &mut [f32]) -> &mut [f32] {
    let skip = scratch.as_ptr().align_offset(64).min(scratch.len());
    &mut scratch[skip..]
}
