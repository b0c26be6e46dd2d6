//! AVX2 and FMA: 8 lanes, 16 registers.

use std::arch::x86_64::*;

use super::isa::Avx2Fma;
use super::simd::{Apart, Simd};

/// A window into this gives the mask of the first lanes.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// The first `count` ≤ 8 lanes.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    // SAFETY: 8 − count + 8 ≤ 16 entries.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) }
}

// SAFETY of every method: `self` exists only where the CPU has AVX2 and FMA; pointers are the caller's promise.
impl Simd for Avx2Fma {
    type V = __m256;
    type Square = [__m256; 8];
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    // 12 accumulators, two vectors, one broadcast: 15 of 16 registers.
    const ROWS: [usize; 4] = [6, 6, 0, 0];

    #[inline(always)]
    unsafe fn apart(self, work: impl Apart) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        unsafe fn run(s: Avx2Fma, work: impl Apart) {
            unsafe { work.run(s) }
        }
        unsafe { run(self, work) }
    }
    #[inline(always)]
    unsafe fn zero(self) -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn spread(self, v: __m256, index: usize) -> __m256 {
        unsafe {
            match index {
                0 => _mm256_permute_ps::<0x00>(v),
                1 => _mm256_permute_ps::<0x55>(v),
                2 => _mm256_permute_ps::<0xaa>(v),
                _ => _mm256_permute_ps::<0xff>(v),
            }
        }
    }
    #[inline(always)]
    unsafe fn double(self, v: __m256, half: usize) -> __m256 {
        unsafe {
            match half {
                0 => _mm256_permute2f128_ps::<0x00>(v, v),
                _ => _mm256_permute2f128_ps::<0x11>(v, v),
            }
        }
    }
    #[inline(always)]
    unsafe fn broadcast(self, from: *const f32) -> __m256 {
        unsafe { _mm256_broadcast_ss(&*from) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(from, first(count)) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: __m256, count: usize) {
        unsafe { _mm256_maskstore_ps(to, first(count), v) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn prefetch(self, from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn prefetch_far(self, from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, a: __m256, b: __m256) -> __m256 {
        unsafe {
            // The second operand is the result where one is NaN; where that hides a NaN, a stays.
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            _mm256_blendv_ps(_mm256_max_ps(a, b), a, nan)
        }
    }
    #[inline(always)]
    unsafe fn at_least(self, low: __m256, x: __m256) -> __m256 {
        // The second operand is the result where one is NaN.
        unsafe { _mm256_max_ps(low, x) }
    }
    #[inline(always)]
    unsafe fn at_most(self, high: __m256, x: __m256) -> __m256 {
        unsafe { _mm256_min_ps(high, x) }
    }
    #[inline(always)]
    unsafe fn leaky(self, slope: __m256, x: __m256) -> __m256 {
        unsafe {
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps());
            _mm256_blendv_ps(x, _mm256_mul_ps(slope, x), below)
        }
    }
    #[inline(always)]
    unsafe fn pick(self, v: __m256, picks: &[u32; 16]) -> __m256 {
        unsafe { _mm256_permutevar8x32_ps(v, _mm256_loadu_si256(picks.as_ptr().cast())) }
    }
    #[inline(always)]
    unsafe fn square(self) -> [__m256; 8] {
        unsafe { [_mm256_setzero_ps(); 8] }
    }
    #[inline(always)]
    unsafe fn transpose(self, r: &mut [__m256; 8]) {
        unsafe {
            let mut t = *r;
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            let mut u = t;
            for i in 0..2 {
                u[4 * i] = _mm256_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
                u[4 * i + 1] = _mm256_shuffle_ps::<0xee>(t[4 * i], t[4 * i + 2]);
                u[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
                u[4 * i + 3] = _mm256_shuffle_ps::<0xee>(t[4 * i + 1], t[4 * i + 3]);
            }
            for i in 0..4 {
                r[i] = _mm256_permute2f128_ps::<0x20>(u[i], u[i + 4]);
                r[i + 4] = _mm256_permute2f128_ps::<0x31>(u[i], u[i + 4]);
            }
        }
    }
}
