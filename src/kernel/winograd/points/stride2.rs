//! Stride 2: the taps 0 and 2 meet the even pixels, tap 1 the odd ones, each of which belongs to one result.
//!
//! ```text
//! R = 4, points ±c, ±e, ∞ with c = 1/2, e = 5/4 for the even pixels d₀ d₂ …, and the odd ones as they are
//!
//!      ⎡−ce²  −e²   c   1  0⎤               ⎡k    0   kc⎤
//!      ⎢ ce²  −e²  −c   1  0⎥               ⎢−k   0   kc⎥              ⎡1   1   1   1   0  1  0  0  0⎤
//! Bᵀ = ⎢−c²e  −c²   e   1  0⎥           G = ⎢l    0   le⎥         Aᵀ = ⎢c  −c   e  −e   0  0  1  0  0⎥
//!      ⎢ c²e  −c²  −e   1  0⎥               ⎢−l   0   le⎥              ⎢c²  c²  e²  e²  0  0  0  1  0⎥
//!      ⎣ c²e²  0   −s   0  1⎦               ⎢0    0   1 ⎥              ⎣c³ −c³  e³ −e³  1  0  0  0  1⎦
//!                                           ⎣0    1   0 ⎦ four times
//!      s = c² + e²,  k = 1 / 2c(c² − e²),  l = 1 / 2e(e² − c²)
//!
//! R = 2, points ±1, ∞: likewise with three even pixels and two odd ones.
//! ```
//!
//! The gradient of the input is the other way round: one result in two is made of two neighbouring gradients, by the
//! taps 2 and 0, those between them of one, by tap 1. From 5 gradients d come 8 results, the latter first:
//!
//! ```text
//! V = the five rows of Bᵀ on d, then d₀ d₁ d₂ d₃        y₀ = m₅,  y₁ = row 0 of Aᵀ m,  y₂ = m₆,  y₃ = row 1 of Aᵀ m …
//! ```
//!
//! without the last four columns of Aᵀ; and 4 results from 3.

use super::super::super::simd::Simd;
use super::{Gradient, Input, Output, Taps, Weights};

const C: f32 = 0.5;
const E: f32 = 1.25;
const C2: f32 = C * C;
const E2: f32 = E * E;

/// The row of G of an odd pixel.
const ODD: [f64; 3] = [0.0, 1.0, 0.0];

/// R = 4, stride 2.
pub(in super::super) struct FourOfTwo;

/// R = 2, stride 2.
pub(in super::super) struct TwoOfTwo;

impl Input<9, 9> for FourOfTwo {
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
}

impl Output<9, 4> for FourOfTwo {
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
}

impl Gradient<9, 4> for FourOfTwo {
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
}

impl Weights<9, 3> for FourOfTwo {
    const WEIGHTS: [[f64; 3]; 9] = {
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
            [0.0, 0.0, 1.0],
            ODD,
            ODD,
            ODD,
            ODD,
        ]
    };
}

impl Taps<9, 3> for FourOfTwo {
    #[inline(always)]
    unsafe fn taps<S: Simd>(s: S, m: [S::V; 9]) -> [S::V; 3] {
        let rows = const { Self::WEIGHTS };
        // SAFETY: the caller's.
        unsafe {
            let (sum_c, difference_c) = (s.add(m[0], m[1]), s.sub(m[0], m[1]));
            let (sum_e, difference_e) = (s.add(m[2], m[3]), s.sub(m[2], m[3]));
            [
                s.fma(
                    difference_c,
                    s.splat(rows[0][0] as f32),
                    s.mul(difference_e, s.splat(rows[2][0] as f32)),
                ),
                s.add(s.add(m[5], m[6]), s.add(m[7], m[8])),
                s.fma(
                    sum_c,
                    s.splat(rows[0][2] as f32),
                    s.fma(sum_e, s.splat(rows[2][2] as f32), m[4]),
                ),
            ]
        }
    }
}

impl Input<5, 5> for TwoOfTwo {
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
}

impl Output<5, 2> for TwoOfTwo {
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
}

impl Gradient<5, 2> for TwoOfTwo {
    #[inline(always)]
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; 2]) -> [S::V; 5] {
        // SAFETY: the caller's.
        unsafe { [s.add(y[0], y[1]), s.sub(y[0], y[1]), y[1], y[0], y[1]] }
    }
}

impl Weights<5, 3> for TwoOfTwo {
    const WEIGHTS: [[f64; 3]; 5] = [[0.5, 0.0, 0.5], [-0.5, 0.0, 0.5], [0.0, 0.0, 1.0], ODD, ODD];
}

impl Taps<5, 3> for TwoOfTwo {
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

/// Eight results, two for each of the first four of five gradients.
pub(in super::super) struct FourUp;

/// Four results, two for each of the first two of three gradients.
pub(in super::super) struct TwoUp;

impl Input<5, 9> for FourUp {
    #[inline(always)]
    unsafe fn input<S: Simd>(s: S, d: [S::V; 5]) -> [S::V; 9] {
        // SAFETY: the caller's.
        unsafe {
            let none = s.zero();
            let v = FourOfTwo::input(s, [d[0], none, d[1], none, d[2], none, d[3], none, d[4]]);
            [v[0], v[1], v[2], v[3], v[4], d[0], d[1], d[2], d[3]]
        }
    }
}

impl Output<9, 8> for FourUp {
    #[inline(always)]
    unsafe fn output<S: Simd>(s: S, m: [S::V; 9]) -> [S::V; 8] {
        // SAFETY: the caller's.
        unsafe {
            let (sum_c, difference_c) = (s.add(m[0], m[1]), s.sub(m[0], m[1]));
            let (sum_e, difference_e) = (s.add(m[2], m[3]), s.sub(m[2], m[3]));
            [
                m[5],
                s.add(sum_c, sum_e),
                m[6],
                s.fma(difference_c, s.splat(C), s.mul(difference_e, s.splat(E))),
                m[7],
                s.fma(sum_c, s.splat(C2), s.mul(sum_e, s.splat(E2))),
                m[8],
                s.fma(
                    difference_c,
                    s.splat(C2 * C),
                    s.fma(difference_e, s.splat(E2 * E), m[4]),
                ),
            ]
        }
    }
}

impl Input<3, 5> for TwoUp {
    #[inline(always)]
    unsafe fn input<S: Simd>(s: S, d: [S::V; 3]) -> [S::V; 5] {
        // SAFETY: the caller's.
        unsafe {
            [
                s.add(d[1], d[0]),
                s.sub(d[1], d[0]),
                s.sub(d[2], d[0]),
                d[0],
                d[1],
            ]
        }
    }
}

impl Output<5, 4> for TwoUp {
    #[inline(always)]
    unsafe fn output<S: Simd>(s: S, m: [S::V; 5]) -> [S::V; 4] {
        // SAFETY: the caller's.
        unsafe {
            [
                m[3],
                s.add(m[0], m[1]),
                m[4],
                s.add(s.sub(m[0], m[1]), m[2]),
            ]
        }
    }
}

impl Weights<9, 3> for FourUp {
    const WEIGHTS: [[f64; 3]; 9] = FourOfTwo::WEIGHTS;
}

impl Weights<5, 3> for TwoUp {
    const WEIGHTS: [[f64; 3]; 5] = TwoOfTwo::WEIGHTS;
}
