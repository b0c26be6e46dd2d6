//! The transforms of one dimension.
//!
//! ```text
//! R = 4, points 0, ±a, ±b, ∞ with a = 5/8, b = 3/2, s = a² + b², p = a² b²
//!
//!      ⎡p  0     −s   0   1  0⎤        ⎡1/p        0         0     ⎤        ⎡1   1   1   1   1   0⎤
//!      ⎢0  −ab²  −b²  a   1  0⎥        ⎢k          k a       k a²  ⎥        ⎢0   a  −a   b  −b   0⎥
//! Bᵀ = ⎢0   ab²  −b² −a   1  0⎥    G = ⎢k         −k a       k a²  ⎥   Aᵀ = ⎢0   a²  a²  b²  b²  0⎥
//!      ⎢0  −a²b  −a²  b   1  0⎥        ⎢l          l b       l b²  ⎥        ⎣0   a³ −a³  b³ −b³  1⎦
//!      ⎢0   a²b  −a² −b   1  0⎥        ⎢l         −l b       l b²  ⎥
//!      ⎣0  p      0  −s   0  1⎦        ⎣0          0         1     ⎦    k = 1 / 2a²(a² − b²),  l = 1 / 2b²(b² − a²)
//!
//! R = 2, points 0, ±1, ∞
//!
//!      ⎡1   0  −1  0⎤                  ⎡1     0    0 ⎤
//! Bᵀ = ⎢0   1   1  0⎥              G = ⎢½     ½    ½ ⎥                 Aᵀ = ⎡1  1   1  0⎤
//!      ⎢0  −1   1  0⎥                  ⎢½    −½    ½ ⎥                      ⎣0  1  −1  1⎦
//!      ⎣0  −1   0  1⎦                  ⎣0     0    1 ⎦
//!
//! Stride 2, R = 4, points ±c, ±e, ∞ with c = 1/2, e = 5/4 for the even pixels d₀ d₂ …, and the odd ones
//! as they are
//!
//!      ⎡−ce²  −e²   c   1  0⎤               ⎡k    0   kc⎤
//!      ⎢ ce²  −e²  −c   1  0⎥               ⎢−k   0   kc⎥              ⎡1   1   1   1   0  1  0  0  0⎤
//! Bᵀ = ⎢−c²e  −c²   e   1  0⎥           G = ⎢l    0   le⎥         Aᵀ = ⎢c  −c   e  −e   0  0  1  0  0⎥
//!      ⎢ c²e  −c²  −e   1  0⎥               ⎢−l   0   le⎥              ⎢c²  c²  e²  e²  0  0  0  1  0⎥
//!      ⎣ c²e²  0   −s   0  1⎦               ⎢0    0   1 ⎥              ⎣c³ −c³  e³ −e³  1  0  0  0  1⎦
//!                                           ⎣0    1   0 ⎦ four times
//!      s = c² + e²,  k = 1 / 2c(c² − e²),  l = 1 / 2e(e² − c²)
//!
//! Stride 2, R = 2, points ±1, ∞: likewise with three even pixels and two odd ones.
//! ```
//!
//! All numbers but those of G are exact in f32, so that only sums are rounded there. To weights G is applied in f64, to
//! the sums of their gradient in f32.
//!
//! No closures and no `array::from_fn` here or in the transforms: a closure that is not inlined knows no instruction
//! set, and every operation in it becomes a call.

use super::super::simd::Simd;
use super::TAPS;

const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

const C: f32 = 0.5;
const E: f32 = 1.25;
const C2: f32 = C * C;
const E2: f32 = E * E;

/// The points of R results of three taps, of N products.
pub(super) trait Points<const N: usize, const R: usize> {
    /// Bᵀ d
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn input<S: Simd>(s: S, d: [S::V; N]) -> [S::V; N];

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

    /// Gᵀ m, the gradient of the taps
    ///
    /// # Safety
    /// The CPU has `S`.
    unsafe fn taps<S: Simd>(s: S, m: [S::V; N]) -> [S::V; TAPS];
}

/// R = 4.
pub(super) struct Four;

/// R = 2.
pub(super) struct Two;

impl Points<6, 4> for Four {
    #[inline(always)]
    unsafe fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: the caller's.
        unsafe {
            let (p, minus_s) = (s.splat(A2 * B2), s.splat(-(A2 + B2)));
            let even_a = s.fma(d[2], s.splat(-B2), d[4]);
            let odd_a = s.fma(d[1], s.splat(-B2), d[3]);
            let even_b = s.fma(d[2], s.splat(-A2), d[4]);
            let odd_b = s.fma(d[1], s.splat(-A2), d[3]);
            [
                s.fma(d[0], p, s.fma(d[2], minus_s, d[4])),
                s.fma(odd_a, s.splat(A), even_a),
                s.fma(odd_a, s.splat(-A), even_a),
                s.fma(odd_b, s.splat(B), even_b),
                s.fma(odd_b, s.splat(-B), even_b),
                s.fma(d[1], p, s.fma(d[3], minus_s, d[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: the caller's.
        unsafe {
            let (sum_a, difference_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
            let (sum_b, difference_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
            [
                s.add(s.add(m[0], sum_a), sum_b),
                s.fma(difference_a, s.splat(A), s.mul(difference_b, s.splat(B))),
                s.fma(sum_a, s.splat(A2), s.mul(sum_b, s.splat(B2))),
                s.fma(
                    difference_a,
                    s.splat(A2 * A),
                    s.fma(difference_b, s.splat(B2 * B), m[5]),
                ),
            ]
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 6] {
        // SAFETY: the caller's.
        unsafe {
            let even_a = s.fma(y[2], s.splat(A2), y[0]);
            let odd_a = s.fma(y[3], s.splat(A2 * A), s.mul(y[1], s.splat(A)));
            let even_b = s.fma(y[2], s.splat(B2), y[0]);
            let odd_b = s.fma(y[3], s.splat(B2 * B), s.mul(y[1], s.splat(B)));
            [
                y[0],
                s.add(even_a, odd_a),
                s.sub(even_a, odd_a),
                s.add(even_b, odd_b),
                s.sub(even_b, odd_b),
                y[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn taps<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 3] {
        const ROWS: [[f64; TAPS]; 9] = weight_rows(4, 1);
        // SAFETY: the caller's.
        unsafe {
            let (sum_a, difference_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
            let (sum_b, difference_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
            [
                s.fma(
                    m[0],
                    s.splat(ROWS[0][0] as f32),
                    s.fma(
                        sum_a,
                        s.splat(ROWS[1][0] as f32),
                        s.mul(sum_b, s.splat(ROWS[3][0] as f32)),
                    ),
                ),
                s.fma(
                    difference_a,
                    s.splat(ROWS[1][1] as f32),
                    s.mul(difference_b, s.splat(ROWS[3][1] as f32)),
                ),
                s.fma(
                    sum_a,
                    s.splat(ROWS[1][2] as f32),
                    s.fma(sum_b, s.splat(ROWS[3][2] as f32), m[5]),
                ),
            ]
        }
    }
}

impl Points<4, 2> for Two {
    #[inline(always)]
    unsafe fn input<S: Simd>(s: S, d: [S::V; 4]) -> [S::V; 4] {
        // SAFETY: the caller's.
        unsafe {
            [
                s.sub(d[0], d[2]),
                s.add(d[1], d[2]),
                s.sub(d[2], d[1]),
                s.sub(d[3], d[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 2] {
        // SAFETY: the caller's.
        unsafe {
            [
                s.add(s.add(m[0], m[1]), m[2]),
                s.add(s.sub(m[1], m[2]), m[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; 2]) -> [S::V; 4] {
        // SAFETY: the caller's.
        unsafe { [y[0], s.add(y[0], y[1]), s.sub(y[0], y[1]), y[1]] }
    }

    #[inline(always)]
    unsafe fn taps<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 3] {
        // SAFETY: the caller's.
        unsafe {
            let half = s.splat(0.5);
            let sum = s.mul(half, s.add(m[1], m[2]));
            [
                s.add(m[0], sum),
                s.mul(half, s.sub(m[1], m[2])),
                s.add(sum, m[3]),
            ]
        }
    }
}

/// R = 4, stride 2.
pub(super) struct FourOfTwo;

/// R = 2, stride 2.
pub(super) struct TwoOfTwo;

impl Points<9, 4> for FourOfTwo {
    #[inline(always)]
    unsafe fn input<S: Simd>(s: S, d: [S::V; 9]) -> [S::V; 9] {
        // SAFETY: the caller's.
        unsafe {
            let (p, minus_s) = (s.splat(C2 * E2), s.splat(-(C2 + E2)));
            let even_c = s.fma(d[2], s.splat(-E2), d[6]);
            let odd_c = s.fma(d[0], s.splat(-E2), d[4]);
            let even_e = s.fma(d[2], s.splat(-C2), d[6]);
            let odd_e = s.fma(d[0], s.splat(-C2), d[4]);
            [
                s.fma(odd_c, s.splat(C), even_c),
                s.fma(odd_c, s.splat(-C), even_c),
                s.fma(odd_e, s.splat(E), even_e),
                s.fma(odd_e, s.splat(-E), even_e),
                s.fma(d[0], p, s.fma(d[4], minus_s, d[8])),
                d[1],
                d[3],
                d[5],
                d[7],
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(s: S, m: [S::V; 9]) -> [S::V; 4] {
        // SAFETY: the caller's.
        unsafe {
            let (sum_c, difference_c) = (s.add(m[0], m[1]), s.sub(m[0], m[1]));
            let (sum_e, difference_e) = (s.add(m[2], m[3]), s.sub(m[2], m[3]));
            [
                s.add(s.add(sum_c, sum_e), m[5]),
                s.fma(
                    difference_c,
                    s.splat(C),
                    s.fma(difference_e, s.splat(E), m[6]),
                ),
                s.fma(sum_c, s.splat(C2), s.fma(sum_e, s.splat(E2), m[7])),
                s.fma(
                    difference_c,
                    s.splat(C2 * C),
                    s.fma(difference_e, s.splat(E2 * E), s.add(m[4], m[8])),
                ),
            ]
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 9] {
        // SAFETY: the caller's.
        unsafe {
            let even_c = s.fma(y[2], s.splat(C2), y[0]);
            let odd_c = s.fma(y[3], s.splat(C2 * C), s.mul(y[1], s.splat(C)));
            let even_e = s.fma(y[2], s.splat(E2), y[0]);
            let odd_e = s.fma(y[3], s.splat(E2 * E), s.mul(y[1], s.splat(E)));
            [
                s.add(even_c, odd_c),
                s.sub(even_c, odd_c),
                s.add(even_e, odd_e),
                s.sub(even_e, odd_e),
                y[3],
                y[0],
                y[1],
                y[2],
                y[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn taps<S: Simd>(s: S, m: [S::V; 9]) -> [S::V; 3] {
        const ROWS: [[f64; TAPS]; 9] = weight_rows(4, 2);
        // SAFETY: the caller's.
        unsafe {
            let (sum_c, difference_c) = (s.add(m[0], m[1]), s.sub(m[0], m[1]));
            let (sum_e, difference_e) = (s.add(m[2], m[3]), s.sub(m[2], m[3]));
            [
                s.fma(
                    difference_c,
                    s.splat(ROWS[0][0] as f32),
                    s.mul(difference_e, s.splat(ROWS[2][0] as f32)),
                ),
                s.add(s.add(m[5], m[6]), s.add(m[7], m[8])),
                s.fma(
                    sum_c,
                    s.splat(ROWS[0][2] as f32),
                    s.fma(sum_e, s.splat(ROWS[2][2] as f32), m[4]),
                ),
            ]
        }
    }
}

impl Points<5, 2> for TwoOfTwo {
    #[inline(always)]
    unsafe fn input<S: Simd>(s: S, d: [S::V; 5]) -> [S::V; 5] {
        // SAFETY: the caller's.
        unsafe {
            [
                s.add(d[2], d[0]),
                s.sub(d[2], d[0]),
                s.sub(d[4], d[0]),
                d[1],
                d[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(s: S, m: [S::V; 5]) -> [S::V; 2] {
        // SAFETY: the caller's.
        unsafe {
            [
                s.add(s.add(m[0], m[1]), m[3]),
                s.add(s.add(s.sub(m[0], m[1]), m[2]), m[4]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; 2]) -> [S::V; 5] {
        // SAFETY: the caller's.
        unsafe { [s.add(y[0], y[1]), s.sub(y[0], y[1]), y[1], y[0], y[1]] }
    }

    #[inline(always)]
    unsafe fn taps<S: Simd>(s: S, m: [S::V; 5]) -> [S::V; 3] {
        // SAFETY: the caller's.
        unsafe {
            let half = s.splat(0.5);
            [
                s.mul(half, s.sub(m[0], m[1])),
                s.add(m[3], m[4]),
                s.fma(half, s.add(m[0], m[1]), m[2]),
            ]
        }
    }
}

/// G, row by row; the rows beyond N are zero.
pub(super) const fn weight_rows(results: usize, stride: usize) -> [[f64; TAPS]; 9] {
    const NONE: [f64; TAPS] = [0.0; TAPS];
    const ODD: [f64; TAPS] = [0.0, 1.0, 0.0];
    const LAST: [f64; TAPS] = [0.0, 0.0, 1.0];
    match (results, stride) {
        (4, 1) => {
            let (a, b) = (A as f64, B as f64);
            let (k, l) = (
                1.0 / (2.0 * a * a * (a * a - b * b)),
                1.0 / (2.0 * b * b * (b * b - a * a)),
            );
            [
                [1.0 / (a * a * b * b), 0.0, 0.0],
                [k, k * a, k * a * a],
                [k, -k * a, k * a * a],
                [l, l * b, l * b * b],
                [l, -l * b, l * b * b],
                LAST,
                NONE,
                NONE,
                NONE,
            ]
        }
        (4, _) => {
            let (c, e) = (C as f64, E as f64);
            let (k, l) = (
                1.0 / (2.0 * c * (c * c - e * e)),
                1.0 / (2.0 * e * (e * e - c * c)),
            );
            [
                [k, 0.0, k * c],
                [-k, 0.0, k * c],
                [l, 0.0, l * e],
                [-l, 0.0, l * e],
                LAST,
                ODD,
                ODD,
                ODD,
                ODD,
            ]
        }
        (_, 1) => [
            [1.0, 0.0, 0.0],
            [0.5, 0.5, 0.5],
            [0.5, -0.5, 0.5],
            LAST,
            NONE,
            NONE,
            NONE,
            NONE,
            NONE,
        ],
        (_, _) => [
            [0.5, 0.0, 0.5],
            [-0.5, 0.0, 0.5],
            LAST,
            ODD,
            ODD,
            NONE,
            NONE,
            NONE,
            NONE,
        ],
    }
}
