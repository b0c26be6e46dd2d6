//! Plain Rust: arrays of four numbers, which the compiler keeps in whatever vectors the target has.

use super::simd::{Apart, Simd};

/// The instruction set that is always there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

const LANES: usize = 4;

// SAFETY of every method: nothing but the pointers, which are the caller's promise.
impl Simd for Portable {
    type V = [f32; LANES];
    type Square = [[f32; LANES]; LANES];
    const LANES: usize = LANES;
    const REGISTERS: usize = 16;
    // Eight accumulators of 128 bits leave room in the 16 registers of SSE2.
    const ROWS: [usize; 4] = [4, 4, 0, 0];

    #[inline(always)]
    unsafe fn apart(self, work: impl Apart) {
        #[inline(never)]
        unsafe fn run(s: Portable, work: impl Apart) {
            unsafe { work.run(s) }
        }
        unsafe { run(self, work) }
    }
    #[inline(always)]
    unsafe fn zero(self) -> Self::V {
        [0.0; LANES]
    }
    #[inline(always)]
    unsafe fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn spread(self, v: Self::V, index: usize) -> Self::V {
        std::array::from_fn(|lane| v[lane / 4 * 4 + index])
    }
    #[inline(always)]
    unsafe fn double(self, v: Self::V, _half: usize) -> Self::V {
        v
    }
    #[inline(always)]
    unsafe fn broadcast(self, from: *const f32) -> Self::V {
        [unsafe { *from }; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::V {
        std::array::from_fn(|lane| {
            if lane < count {
                unsafe { *from.add(lane) }
            } else {
                0.0
            }
        })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: Self::V, count: usize) {
        for (lane, &value) in v.iter().enumerate().take(count) {
            unsafe { *to.add(lane) = value };
        }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Two roundings: a fused one is a library call where the target lacks the instruction.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn prefetch(self, _: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_far(self, _: *const f32) {}
    #[inline(always)]
    unsafe fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    unsafe fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    unsafe fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn div(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] / b[lane])
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| {
            if b[lane] > a[lane] || b[lane].is_nan() {
                b[lane]
            } else {
                a[lane]
            }
        })
    }
    #[inline(always)]
    unsafe fn at_least(self, low: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|lane| {
            if x[lane] < low[lane] {
                low[lane]
            } else {
                x[lane]
            }
        })
    }
    #[inline(always)]
    unsafe fn at_most(self, high: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|lane| {
            if x[lane] > high[lane] {
                high[lane]
            } else {
                x[lane]
            }
        })
    }
    #[inline(always)]
    unsafe fn leaky(self, slope: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|lane| {
            if x[lane] < 0.0 {
                slope[lane] * x[lane]
            } else {
                x[lane]
            }
        })
    }
    #[inline(always)]
    unsafe fn pick(self, v: Self::V, picks: &[u32; 16]) -> Self::V {
        std::array::from_fn(|lane| v[picks[lane] as usize % LANES])
    }
    #[inline(always)]
    unsafe fn square(self) -> Self::Square {
        [[0.0; LANES]; LANES]
    }
    #[inline(always)]
    unsafe fn transpose(self, square: &mut Self::Square) {
        let rows = *square;
        for (i, row) in square.iter_mut().enumerate() {
            *row = std::array::from_fn(|j| rows[j][i]);
        }
    }
}
