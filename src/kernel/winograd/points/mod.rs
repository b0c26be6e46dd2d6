//! The transforms of one dimension.
//!
//! All numbers but those of G are exact in f32, so that only sums are rounded there. To weights G is applied in f64, to
//! the sums of their gradient in f32.
//!
//! No closures and no `array::from_fn` here or in the transforms: a closure that is not inlined knows no instruction
//! set, and every operation in it becomes a call.

mod stride1;
mod stride2;

pub(super) use stride1::{Four, FourOfFour, One, Two};
pub(super) use stride2::{FourOfTwo, FourUp, TwoOfTwo, TwoUp};

use super::super::simd::Simd;

/// What D pixels become, as many products but where two results belong to a pixel.
pub(super) trait Input<const D: usize, const N: usize> {
    /// Bᵀ d
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn input<S: Simd>(s: S, d: [S::V; D]) -> [S::V; N];
}

/// How R results stand in N products.
pub(super) trait Output<const N: usize, const R: usize> {
    /// Aᵀ m
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn output<S: Simd>(s: S, m: [S::V; N]) -> [S::V; R];
}

/// What the gradients of R results become.
pub(super) trait Gradient<const N: usize, const R: usize> {
    /// A y
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; R]) -> [S::V; N];
}

/// What K taps become.
pub(super) trait Weights<const N: usize, const K: usize> {
    /// G.
    const WEIGHTS: [[f64; K]; N];
}

/// What becomes of the sums of products of the gradients.
pub(super) trait Taps<const N: usize, const K: usize> {
    /// Gᵀ m, the gradient of the taps
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn taps<S: Simd>(s: S, m: [S::V; N]) -> [S::V; K];
}
