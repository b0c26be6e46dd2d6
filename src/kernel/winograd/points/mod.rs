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
pub(super) use stride2::{FourOfTwo, TwoOfTwo};

use super::super::simd::Simd;

/// What N pixels become.
pub(super) trait Input<const N: usize> {
    /// Bᵀ d
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn input<S: Simd>(s: S, d: [S::V; N]) -> [S::V; N];
}

/// How R results stand in N products.
pub(super) trait Output<const N: usize, const R: usize> {
    /// Aᵀ m
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn output<S: Simd>(s: S, m: [S::V; N]) -> [S::V; R];

    /// A y, of the gradient of R results
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; R]) -> [S::V; N];
}

/// What K taps become.
pub(super) trait Taps<const N: usize, const K: usize> {
    /// G.
    const WEIGHTS: [[f64; K]; N];

    /// Gᵀ m, the gradient of the taps
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn taps<S: Simd>(s: S, m: [S::V; N]) -> [S::V; K];
}
