//! AVX-512F: 16 lanes, 32 registers.

use std::arch::x86_64::*;

use super::isa::Avx512;
use super::simd::{Apart, Simd};

/// The first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

// One row of a tile. In intrinsics LLVM moves the broadcasts of all rows in front of their multiply-adds, which
// needs more registers than there are and stores accumulators in every round: 75 GFLOP/s instead of 172 (14 rows ×
// 32 columns, rustc 1.95). In one block a broadcast cannot leave its row. The sanitizers see no loads of assembly,
// so that their runs set `gemmconv_plain_loads` and take the default, the same step in intrinsics.
#[cfg(not(gemmconv_plain_loads))]
mod steps {
    use std::arch::{asm, x86_64::*};

    /// With one vector a broadcast serves one multiply-add, and is its operand: a third quicker on Zen 4 than an
    /// instruction of its own.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn step1(a: *const f32, row: usize, b: [__m512; 1], acc: &mut __m512) {
        // SAFETY: the caller promises a number at a + row; only the named registers change.
        unsafe {
            asm!(
                "vfmadd231ps {c0}, {b0}, dword ptr [{a} + {row} * 4]{{1to16}}",
                a = in(reg) a, row = in(reg) row,
                b0 = in(zmm_reg) b[0], c0 = inout(zmm_reg) *acc,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
    }

    /// `acc` points to two vectors.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn step2(a: *const f32, row: usize, b: [__m512; 2], acc: *mut __m512) {
        // SAFETY: as above, and `acc` is an array of two.
        unsafe {
            asm!(
                "vbroadcastss {t}, dword ptr [{a} + {row} * 4]",
                "vfmadd231ps {c0}, {t}, {b0}",
                "vfmadd231ps {c1}, {t}, {b1}",
                a = in(reg) a, row = in(reg) row, t = out(zmm_reg) _,
                b0 = in(zmm_reg) b[0], c0 = inout(zmm_reg) *acc,
                b1 = in(zmm_reg) b[1], c1 = inout(zmm_reg) *acc.add(1),
                options(pure, readonly, nostack, preserves_flags)
            );
        }
    }

    /// `acc` points to three vectors.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn step3(a: *const f32, row: usize, b: [__m512; 3], acc: *mut __m512) {
        // SAFETY: as above, and `acc` is an array of three.
        unsafe {
            asm!(
                "vbroadcastss {t}, dword ptr [{a} + {row} * 4]",
                "vfmadd231ps {c0}, {t}, {b0}",
                "vfmadd231ps {c1}, {t}, {b1}",
                "vfmadd231ps {c2}, {t}, {b2}",
                a = in(reg) a, row = in(reg) row, t = out(zmm_reg) _,
                b0 = in(zmm_reg) b[0], c0 = inout(zmm_reg) *acc,
                b1 = in(zmm_reg) b[1], c1 = inout(zmm_reg) *acc.add(1),
                b2 = in(zmm_reg) b[2], c2 = inout(zmm_reg) *acc.add(2),
                options(pure, readonly, nostack, preserves_flags)
            );
        }
    }

    /// `acc` points to four vectors.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) unsafe fn step4(a: *const f32, row: usize, b: [__m512; 4], acc: *mut __m512) {
        // SAFETY: as above, and `acc` is an array of four.
        unsafe {
            asm!(
                "vbroadcastss {t}, dword ptr [{a} + {row} * 4]",
                "vfmadd231ps {c0}, {t}, {b0}",
                "vfmadd231ps {c1}, {t}, {b1}",
                "vfmadd231ps {c2}, {t}, {b2}",
                "vfmadd231ps {c3}, {t}, {b3}",
                a = in(reg) a, row = in(reg) row, t = out(zmm_reg) _,
                b0 = in(zmm_reg) b[0], c0 = inout(zmm_reg) *acc,
                b1 = in(zmm_reg) b[1], c1 = inout(zmm_reg) *acc.add(1),
                b2 = in(zmm_reg) b[2], c2 = inout(zmm_reg) *acc.add(2),
                b3 = in(zmm_reg) b[3], c3 = inout(zmm_reg) *acc.add(3),
                options(pure, readonly, nostack, preserves_flags)
            );
        }
    }
}
#[cfg(not(gemmconv_plain_loads))]
use steps::{step1, step2, step3, step4};

// SAFETY of every method: `self` exists only where the CPU has AVX-512F; pointers are the caller's promise.
impl Simd for Avx512 {
    type V = __m512;
    type Square = [__m512; 16];
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    // 28 accumulators, two vectors, one broadcast: 31 of 32 registers; 27 + 3 + 1 as well; 24 + 4 + 1.
    // Of one vector more rows would have more places than there are general registers left.
    const ROWS: [usize; 4] = [10, 14, 9, 6];

    #[inline(always)]
    unsafe fn apart(self, work: impl Apart) {
        #[target_feature(enable = "avx512f")]
        #[inline(never)]
        unsafe fn run(s: Avx512, work: impl Apart) {
            unsafe { work.run(s) }
        }
        unsafe { run(self, work) }
    }
    #[inline(always)]
    unsafe fn zero(self) -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn spread(self, v: __m512, index: usize) -> __m512 {
        unsafe {
            match index {
                0 => _mm512_permute_ps::<0x00>(v),
                1 => _mm512_permute_ps::<0x55>(v),
                2 => _mm512_permute_ps::<0xaa>(v),
                _ => _mm512_permute_ps::<0xff>(v),
            }
        }
    }
    #[inline(always)]
    unsafe fn double(self, v: __m512, half: usize) -> __m512 {
        unsafe {
            match half {
                0 => _mm512_shuffle_f32x4::<0b10_10_00_00>(v, v),
                _ => _mm512_shuffle_f32x4::<0b11_11_01_01>(v, v),
            }
        }
    }
    #[inline(always)]
    unsafe fn broadcast(self, from: *const f32) -> __m512 {
        unsafe { _mm512_set1_ps(*from) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: __m512, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), v) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn prefetch(self, from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn prefetch_far(self, from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[cfg(not(gemmconv_plain_loads))]
    #[inline(always)]
    unsafe fn step<const N: usize>(
        self,
        a: *const f32,
        row: usize,
        b: &[__m512; N],
        acc: &mut [__m512; N],
    ) {
        // SAFETY: the caller's; N is the length of both arrays.
        unsafe {
            match N {
                1 => step1(a, row, [b[0]], &mut acc[0]),
                2 => step2(a, row, [b[0], b[1]], acc.as_mut_ptr()),
                3 => step3(a, row, [b[0], b[1], b[2]], acc.as_mut_ptr()),
                _ => step4(a, row, [b[0], b[1], b[2], b[3]], acc.as_mut_ptr()),
            }
        }
    }
    #[inline(always)]
    unsafe fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, a: __m512, b: __m512) -> __m512 {
        unsafe {
            // The second operand is the result where one is NaN; where that hides a NaN, a stays.
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(a, a);
            _mm512_mask_max_ps(a, number, a, b)
        }
    }
    #[inline(always)]
    unsafe fn at_least(self, low: __m512, x: __m512) -> __m512 {
        // The second operand is the result where one is NaN.
        unsafe { _mm512_max_ps(low, x) }
    }
    #[inline(always)]
    unsafe fn at_most(self, high: __m512, x: __m512) -> __m512 {
        unsafe { _mm512_min_ps(high, x) }
    }
    #[inline(always)]
    unsafe fn leaky(self, slope: __m512, x: __m512) -> __m512 {
        unsafe {
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
            _mm512_mask_mul_ps(x, below, slope, x)
        }
    }
    #[inline(always)]
    unsafe fn pick(self, v: __m512, picks: &[u32; 16]) -> __m512 {
        unsafe { _mm512_permutexvar_ps(_mm512_loadu_si512(picks.as_ptr().cast()), v) }
    }
    #[inline(always)]
    unsafe fn square(self) -> [__m512; 16] {
        unsafe { [_mm512_setzero_ps(); 16] }
    }
    #[inline(always)]
    unsafe fn transpose(self, r: &mut [__m512; 16]) {
        unsafe {
            let mut t = *r;
            // 2 × 2 blocks, then 4 × 4 within 128 bits, then the 128-bit quarters.
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            let mut u = t;
            for i in 0..4 {
                let pair = |a: usize, b: usize| (_mm512_castps_pd(t[a]), _mm512_castps_pd(t[b]));
                let (a, b) = pair(4 * i, 4 * i + 2);
                u[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                u[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                let (a, b) = pair(4 * i + 1, 4 * i + 3);
                u[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                u[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
            for i in 0..4 {
                t[i] = _mm512_shuffle_f32x4::<0x88>(u[i], u[i + 4]);
                t[i + 4] = _mm512_shuffle_f32x4::<0x88>(u[i + 8], u[i + 12]);
                t[i + 8] = _mm512_shuffle_f32x4::<0xdd>(u[i], u[i + 4]);
                t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(u[i + 8], u[i + 12]);
            }
            for i in 0..4 {
                r[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 4]);
                r[i + 8] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 4]);
                r[i + 4] = _mm512_shuffle_f32x4::<0x88>(t[i + 8], t[i + 12]);
                r[i + 12] = _mm512_shuffle_f32x4::<0xdd>(t[i + 8], t[i + 12]);
            }
        }
    }
}
