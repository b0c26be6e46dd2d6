//! Loops over slices in plain Rust, compiled once for each instruction set.
//!
//! ```text
//! compiled(isa, work):   a function with the features of isa, work.run inlined into it
//! ```
//!
//! Where the compiler makes vectors of a loop by itself, this gives it the widest ones without a pointer. A loop
//! written so must inline all that it calls.

use super::Isa;

/// What a loop computes with besides the operators of the language.
pub(crate) trait Arithmetic: Copy {
    /// a · b + c, rounded once where the instruction set can do that, else twice.
    #[cfg_attr(not(feature = "network"), allow(dead_code))]
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// With fused multiply-add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fused;

/// Without: a fused one would be a library call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Separate;

impl Arithmetic for Fused {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Arithmetic for Separate {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// A loop, with what it reads and writes.
pub(crate) trait Loop {
    /// What it returns.
    type Output;
    /// Runs it. Must be `#[inline(always)]`.
    fn run<A: Arithmetic>(self) -> Self::Output;
}

/// All of `lanes`, of which there are a power of two, by `both`: the upper half onto the lower one, as vectors, until one
/// is left. From one to the next, each would wait for the one before.
#[cfg(feature = "network")]
#[inline(always)]
pub(crate) fn halved<T: Copy, const N: usize>(mut lanes: [T; N], both: impl Fn(T, T) -> T) -> T {
    const { assert!(N.is_power_of_two()) }
    let mut width = N / 2;
    while width > 0 {
        let (lower, upper) = lanes.split_at_mut(width);
        for (lower, &upper) in lower.iter_mut().zip(&*upper) {
            *lower = both(*lower, upper);
        }
        width /= 2;
    }
    lanes[0]
}

/// Runs `work` as it was compiled for `isa`.
pub(crate) fn compiled<L: Loop>(isa: Isa, work: L) -> L::Output {
    // SAFETY: the tokens prove the instruction sets, and `run` is a safe function: the features are all that
    // `avx512` and `avx2` ask for.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => avx512(work),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma(_) => avx2(work),
            Isa::Portable => work.run::<Separate>(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512(_) | Isa::Avx2Fma(_) => work.run::<Separate>(),
        }
    }
}

/// # Safety
/// The CPU has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<L: Loop>(work: L) -> L::Output {
    work.run::<Fused>()
}

/// # Safety
/// The CPU has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<L: Loop>(work: L) -> L::Output {
    work.run::<Fused>()
}
