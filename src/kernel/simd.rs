//! Vectors of f32: the few operations that the kernels are written in, once for every instruction set.
//!
//! Every method is inlined into a function with the set's `#[target_feature]` (see `product/mod.rs`); on its
//! own it would be a call.

use super::Isa;
use super::portable::Portable;

/// `body` for `at` = 0, 1 … to before `count`, at most 21, each in a copy of its own. LLVM unrolls no loop of fifteen
/// pixels that meet some of three taps, and finds their sums by an index in memory then.
macro_rules! unrolled {
    ($count:expr, $at:ident, $body:block) => {
        unrolled!(
            $count, $at, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20
        );
    };
    ($count:expr, $at:ident, $body:block, $($index:literal)*) => {
        const { assert!($count <= 21) };
        $(
            if $index < $count {
                let $at: usize = $index;
                $body
            }
        )*
    };
}
pub(super) use unrolled;

/// Work that is worth a function of its own, whose registers nothing else needs.
pub(super) trait Apart {
    /// # Safety
    /// The CPU has `S`, and what the work itself asks for holds.
    unsafe fn run<S: Simd>(self, s: S);
}

/// Runs `work` by the instruction set that `isa` proves.
///
/// # Safety
/// What the work asks for holds.
pub(super) unsafe fn run_by<W: Apart>(isa: Isa, work: W) {
    // SAFETY: the caller's, and the tokens are proofs.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => token.apart(work),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma(token) => token.apart(work),
            Isa::Portable => work.run(Portable),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512(_) | Isa::Avx2Fma(_) => work.run(Portable),
        }
    }
}

/// An instruction set as a value, and what its vectors can do.
///
/// # Safety
/// Every method may be used only where the CPU has the set. A value of an implementing type is made from
/// a token, which is the proof; the methods that take pointers need those valid for what they read or write.
#[allow(clippy::missing_safety_doc)]
pub(super) trait Simd: Copy {
    /// One vector.
    type V: Copy;
    /// LANES vectors.
    type Square: AsMut<[Self::V]> + Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Vectors that can be held at once.
    const REGISTERS: usize;
    /// Most rows of a tile of one vector a row, of two, three, four: accumulators, the vectors of B and a broadcast
    /// fit the registers, and with one vector the places of the rows the general ones. 0 where there is no such tile.
    const ROWS: [usize; 4];

    /// Runs `work` as a function with the set's features that is not inlined.
    unsafe fn apart(self, work: impl Apart);
    unsafe fn zero(self) -> Self::V;
    unsafe fn splat(self, value: f32) -> Self::V;
    /// In every lane the number of lane `index` of its four: lanes 0 to 3 have that of lane `index`, lanes 4 to 7 that of
    /// lane 4 + `index`, and so on.
    unsafe fn spread(self, v: Self::V, index: usize) -> Self::V;
    /// In every eight lanes its first four twice (`half` 0), or its last four; of fewer lanes than eight, `v`.
    unsafe fn double(self, v: Self::V, half: usize) -> Self::V;
    /// The number at `from` in every lane.
    unsafe fn broadcast(self, from: *const f32) -> Self::V;
    unsafe fn load(self, from: *const f32) -> Self::V;
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// The first `count` ≤ LANES numbers, and zeros.
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::V;
    /// Writes the first `count` ≤ LANES numbers.
    unsafe fn store_first(self, to: *mut f32, v: Self::V, count: usize);
    /// a · b + c
    unsafe fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Asks for the cache line at `from`, which need not exist.
    unsafe fn prefetch(self, from: *const f32);
    /// The same, into the second level.
    unsafe fn prefetch_far(self, from: *const f32);
    /// acc[j] += (the number at `a + row`) · b[j]: one row of a tile, one term.
    #[inline(always)]
    unsafe fn step<const N: usize>(
        self,
        a: *const f32,
        row: usize,
        b: &[Self::V; N],
        acc: &mut [Self::V; N],
    ) {
        // SAFETY: the caller's.
        unsafe {
            let scalar = self.broadcast(a.add(row));
            for j in 0..N {
                acc[j] = self.fma(scalar, b[j], acc[j]);
            }
        }
    }
    unsafe fn add(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; NaN where one is NaN.
    unsafe fn max_or_nan(self, a: Self::V, b: Self::V) -> Self::V;
    /// x where x ≥ low or x is NaN, else low.
    unsafe fn at_least(self, low: Self::V, x: Self::V) -> Self::V;
    /// x where x ≤ high or x is NaN, else high.
    unsafe fn at_most(self, high: Self::V, x: Self::V) -> Self::V;
    /// slope · x where x < 0, else x.
    unsafe fn leaky(self, slope: Self::V, x: Self::V) -> Self::V;
    /// Lane i becomes lane picks[i].
    unsafe fn pick(self, v: Self::V, picks: &[u32; 16]) -> Self::V;
    /// LANES vectors of zeros.
    unsafe fn square(self) -> Self::Square;
    /// Rows become columns.
    unsafe fn transpose(self, square: &mut Self::Square);
}
