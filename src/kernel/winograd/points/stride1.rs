//! Stride 1.
//!
//! ```text
//! R = 4 of 3 taps, points 0, ±a, ±b, ∞ with a = 5/8, b = 3/2, s = a² + b², p = a² b²
//!
//!      ⎡p  0     −s   0   1  0⎤        ⎡1/p        0         0     ⎤        ⎡1   1   1   1   1   0⎤
//!      ⎢0  −ab²  −b²  a   1  0⎥        ⎢k          k a       k a²  ⎥        ⎢0   a  −a   b  −b   0⎥
//! Bᵀ = ⎢0   ab²  −b² −a   1  0⎥    G = ⎢k         −k a       k a²  ⎥   Aᵀ = ⎢0   a²  a²  b²  b²  0⎥
//!      ⎢0  −a²b  −a²  b   1  0⎥        ⎢l          l b       l b²  ⎥        ⎣0   a³ −a³  b³ −b³  1⎦
//!      ⎢0   a²b  −a² −b   1  0⎥        ⎢l         −l b       l b²  ⎥
//!      ⎣0  p      0  −s   0  1⎦        ⎣0          0         1     ⎦    k = 1 / 2a²(a² − b²),  l = 1 / 2b²(b² − a²)
//!
//! R = 2 of 3 taps, points 0, ±1, ∞
//!
//!      ⎡1   0  −1  0⎤                  ⎡1     0    0 ⎤
//! Bᵀ = ⎢0   1   1  0⎥              G = ⎢½     ½    ½ ⎥                 Aᵀ = ⎡1  1   1  0⎤
//!      ⎢0  −1   1  0⎥                  ⎢½    −½    ½ ⎥                      ⎣0  1  −1  1⎦
//!      ⎣0  −1   0  1⎦                  ⎣0     0    1 ⎦
//!
//! R = 4 of 4 taps, points ±x, ±y, ±z, ∞ with x = 3/8, y = 7/8, z = 7/4: for each of the six, with u and v the other two,
//!
//!      point x:  ( x u²v²   u²v²  −x(u² + v²)  −u² − v²   x  1  0 )      row of Bᵀ
//!                ( m   m x   m x²   m x³ )   m = 1 / 2x(x² − u²)(x² − v²) row of G
//!                ( 1  x  x²  x³ )ᵀ                                         column of Aᵀ
//!
//!      ∞:        ( −x²y²z²  0  x²y² + y²z² + z²x²  0  −x² − y² − z²  0  1 ),  ( 0 0 0 1 ),  ( 0 0 0 1 )ᵀ
//! ```

use super::super::super::simd::Simd;
use super::{Gradient, Input, Output, Taps, Weights};

const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

const X: f32 = 0.375;
const Y: f32 = 0.875;
const Z: f32 = 1.75;
const X2: f32 = X * X;
const Y2: f32 = Y * Y;
const Z2: f32 = Z * Z;

/// One result of one tap: an axis of which nothing is to be made.
pub(in super::super) struct One;

/// R = 4 of 3 taps.
pub(in super::super) struct Four;

/// R = 2 of 3 taps.
pub(in super::super) struct Two;

/// R = 4 of 4 taps.
pub(in super::super) struct FourOfFour;

impl Input<1, 1> for One {
    #[inline(always)]
    unsafe fn input<S: Simd>(_: S, d: [S::V; 1]) -> [S::V; 1] {
        d
    }
}

impl Output<1, 1> for One {
    #[inline(always)]
    unsafe fn output<S: Simd>(_: S, m: [S::V; 1]) -> [S::V; 1] {
        m
    }
}

impl Gradient<1, 1> for One {
    #[inline(always)]
    unsafe fn gradient<S: Simd>(_: S, y: [S::V; 1]) -> [S::V; 1] {
        y
    }
}

impl Weights<1, 1> for One {
    const WEIGHTS: [[f64; 1]; 1] = [[1.0]];
}

impl Taps<1, 1> for One {
    #[inline(always)]
    unsafe fn taps<S: Simd>(_: S, m: [S::V; 1]) -> [S::V; 1] {
        m
    }
}

impl Input<6, 6> for Four {
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
}

impl Output<6, 4> for Four {
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
}

impl Gradient<6, 4> for Four {
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
}

impl Weights<6, 3> for Four {
    const WEIGHTS: [[f64; 3]; 6] = {
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
            [0.0, 0.0, 1.0],
        ]
    };
}

impl Taps<6, 3> for Four {
    #[inline(always)]
    unsafe fn taps<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 3] {
        let rows = const { Self::WEIGHTS };
        // SAFETY: the caller's.
        unsafe {
            let (sum_a, difference_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
            let (sum_b, difference_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
            [
                s.fma(
                    m[0],
                    s.splat(rows[0][0] as f32),
                    s.fma(
                        sum_a,
                        s.splat(rows[1][0] as f32),
                        s.mul(sum_b, s.splat(rows[3][0] as f32)),
                    ),
                ),
                s.fma(
                    difference_a,
                    s.splat(rows[1][1] as f32),
                    s.mul(difference_b, s.splat(rows[3][1] as f32)),
                ),
                s.fma(
                    sum_a,
                    s.splat(rows[1][2] as f32),
                    s.fma(sum_b, s.splat(rows[3][2] as f32), m[5]),
                ),
            ]
        }
    }
}

impl Input<4, 4> for Two {
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
}

impl Output<4, 2> for Two {
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
}

impl Gradient<4, 2> for Two {
    #[inline(always)]
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; 2]) -> [S::V; 4] {
        // SAFETY: the caller's.
        unsafe { [y[0], s.add(y[0], y[1]), s.sub(y[0], y[1]), y[1]] }
    }
}

impl Weights<4, 3> for Two {
    const WEIGHTS: [[f64; 3]; 4] = [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.0, 0.0, 1.0],
    ];
}

impl Taps<4, 3> for Two {
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

/// The row of G of point `x` beside the points ±u and ±v.
const fn row_of_four(x: f32, u: f32, v: f32) -> [f64; 4] {
    let (x, u, v) = (x as f64, u as f64, v as f64);
    let m = 1.0 / (2.0 * x * (x * x - u * u) * (x * x - v * v));
    [m, m * x, m * x * x, m * x * x * x]
}

impl Input<7, 7> for FourOfFour {
    #[inline(always)]
    unsafe fn input<S: Simd>(s: S, d: [S::V; 7]) -> [S::V; 7] {
        const OTHERS: [(f32, f32); 3] = [(Y2, Z2), (Z2, X2), (X2, Y2)];
        // SAFETY: the caller's.
        unsafe {
            let mut v = [s.zero(); 7];
            for (pair, (&point, &(a, b))) in [X, Y, Z].iter().zip(&OTHERS).enumerate() {
                let (minus_sum, product) = (s.splat(-(a + b)), s.splat(a * b));
                let even = s.fma(d[1], product, s.fma(d[3], minus_sum, d[5]));
                let odd = s.fma(d[0], product, s.fma(d[2], minus_sum, d[4]));
                v[2 * pair] = s.fma(odd, s.splat(point), even);
                v[2 * pair + 1] = s.fma(odd, s.splat(-point), even);
            }
            let (one, two, three) = (
                s.splat(-(X2 + Y2 + Z2)),
                s.splat(X2 * Y2 + Y2 * Z2 + Z2 * X2),
                s.splat(-(X2 * Y2 * Z2)),
            );
            v[6] = s.fma(d[0], three, s.fma(d[2], two, s.fma(d[4], one, d[6])));
            v
        }
    }
}

impl Output<7, 4> for FourOfFour {
    #[inline(always)]
    unsafe fn output<S: Simd>(s: S, m: [S::V; 7]) -> [S::V; 4] {
        // SAFETY: the caller's.
        unsafe {
            let (sum_x, difference_x) = (s.add(m[0], m[1]), s.sub(m[0], m[1]));
            let (sum_y, difference_y) = (s.add(m[2], m[3]), s.sub(m[2], m[3]));
            let (sum_z, difference_z) = (s.add(m[4], m[5]), s.sub(m[4], m[5]));
            [
                s.add(s.add(sum_x, sum_y), sum_z),
                s.fma(
                    difference_x,
                    s.splat(X),
                    s.fma(difference_y, s.splat(Y), s.mul(difference_z, s.splat(Z))),
                ),
                s.fma(
                    sum_x,
                    s.splat(X2),
                    s.fma(sum_y, s.splat(Y2), s.mul(sum_z, s.splat(Z2))),
                ),
                s.fma(
                    difference_x,
                    s.splat(X2 * X),
                    s.fma(
                        difference_y,
                        s.splat(Y2 * Y),
                        s.fma(difference_z, s.splat(Z2 * Z), m[6]),
                    ),
                ),
            ]
        }
    }
}

impl Gradient<7, 4> for FourOfFour {
    #[inline(always)]
    unsafe fn gradient<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 7] {
        // SAFETY: the caller's.
        unsafe {
            let mut w = [y[3]; 7];
            for (pair, &point) in [X, Y, Z].iter().enumerate() {
                let square = point * point;
                let even = s.fma(y[2], s.splat(square), y[0]);
                let odd = s.fma(y[3], s.splat(square * point), s.mul(y[1], s.splat(point)));
                w[2 * pair] = s.add(even, odd);
                w[2 * pair + 1] = s.sub(even, odd);
            }
            w
        }
    }
}

impl Weights<7, 4> for FourOfFour {
    const WEIGHTS: [[f64; 4]; 7] = [
        row_of_four(X, Y, Z),
        row_of_four(-X, Y, Z),
        row_of_four(Y, Z, X),
        row_of_four(-Y, Z, X),
        row_of_four(Z, X, Y),
        row_of_four(-Z, X, Y),
        [0.0, 0.0, 0.0, 1.0],
    ];
}

impl Taps<7, 4> for FourOfFour {
    #[inline(always)]
    unsafe fn taps<S: Simd>(s: S, m: [S::V; 7]) -> [S::V; 4] {
        let rows = const { Self::WEIGHTS };
        // SAFETY: the caller's.
        unsafe {
            let mut g = [s.zero(), s.zero(), s.zero(), m[6]];
            for pair in 0..3 {
                let row = rows[2 * pair];
                let (even, odd) = (
                    s.add(m[2 * pair], m[2 * pair + 1]),
                    s.sub(m[2 * pair], m[2 * pair + 1]),
                );
                g[0] = s.fma(odd, s.splat(row[0] as f32), g[0]);
                g[1] = s.fma(even, s.splat(row[1] as f32), g[1]);
                g[2] = s.fma(odd, s.splat(row[2] as f32), g[2]);
                g[3] = s.fma(even, s.splat(row[3] as f32), g[3]);
            }
            g
        }
    }
}
