//! Elementary functions of f32, without branches, so that loops over them become vectors.
//!
//! ```text
//! x = n ln 2 + r,  |r| ≤ ln 2 / 2        eˣ = 2ⁿ (1 + r + r² P(r))        eˣ − 1 = 2ⁿ (r + r² P(r)) + (2ⁿ − 1)
//! tanh |x|    = −t / (t + 2),  t = e^(−2|x|) − 1
//! sigmoid |x| = 1 / (1 + e),  sigmoid −|x| = e / (1 + e),  e = e^(−|x|)
//! log(1 + eˣ) = max(x, 0) + log1p(e^(−|x|))
//! ```
//!
//! Each is within 4 units in the last place of the true value with fused multiply-add (the tests measure it), or 0
//! where that is below the smallest normal number (with Swish and its like: where a factor is), and keeps NaN. P and the
//! polynomial of the logarithm are those of Cephes, those of erf and erfc N. Juffa's.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use super::Isa;
use super::loops::{Arithmetic, Loop, compiled};

/// A function of one number.
pub(crate) trait Function: Copy + Send + Sync {
    /// Its value. Must be `#[inline(always)]`.
    fn at<A: Arithmetic>(self, x: f32) -> f32;
}

/// y[i] ← f(x[i])
pub(crate) fn map(isa: Isa, f: impl Function, x: &[f32], y: &mut [f32]) {
    struct Map<'a, F>(F, &'a [f32], &'a mut [f32]);
    impl<F: Function> Loop for Map<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<A: Arithmetic>(self) {
            let Self(f, x, y) = self;
            for (y, &x) in y.iter_mut().zip(x) {
                *y = f.at::<A>(x);
            }
        }
    }
    compiled(isa, Map(f, x, y));
}

/// y[i] ← f(y[i])
pub(crate) fn map_in_place(isa: Isa, f: impl Function, y: &mut [f32]) {
    struct Map<'a, F>(F, &'a mut [f32]);
    impl<F: Function> Loop for Map<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<A: Arithmetic>(self) {
            let Self(f, y) = self;
            for y in y {
                *y = f.at::<A>(*y);
            }
        }
    }
    compiled(isa, Map(f, y));
}

/// 1.5 · 2²³: added to a small number it leaves the nearest integer in the low bits.
const SHIFT: f32 = 12_582_912.0;
/// ln 2 in two parts; n times the first is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Σ coefficients[i] x^(last − i)
#[inline(always)]
fn polynomial<A: Arithmetic, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for coefficient in &coefficients[1..] {
        sum = A::fma(sum, x, *coefficient);
    }
    sum
}

/// 2ⁿ for n from −126 to 127; anything else gives something else.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// n and e^r − 1, where x = n ln 2 + r.
#[inline(always)]
fn reduce<A: Arithmetic>(x: f32) -> (i32, f32) {
    let shifted = A::fma(x, LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = A::fma(n, -LN2_LOW, A::fma(n, -LN2_HIGH, x));
    let p = polynomial::<A, 6>(
        r,
        [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            0.166_666_66,
            0.5,
        ],
    );
    let n = (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
    (n, A::fma(r * r, p, r))
}

/// eˣ
#[inline(always)]
pub(crate) fn exp<A: Arithmetic>(x: f32) -> f32 {
    // Beyond these the result is 0 or infinity.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (n, q) = reduce::<A>(x);
    // 2ⁿ in two factors: the result may be denormal or n be 128.
    let half = n >> 1;
    (1.0 + q) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// eˣ for x ≤ 0; 0 where that is below the smallest normal number.
#[inline(always)]
pub(crate) fn exp_below_zero<A: Arithmetic>(x: f32) -> f32 {
    let (n, q) = reduce::<A>(x);
    let y = (1.0 + q) * power_of_two(n);
    // Below, the result is no normal number.
    if x < -87.336_54 { 0.0 } else { y }
}

/// eˣ − 1 for x ≤ 0
#[inline(always)]
pub(super) fn exp_m1_below_zero<A: Arithmetic>(x: f32) -> f32 {
    // Below, the result is −1.
    let x = if x < -20.0 { -20.0 } else { x };
    let (n, q) = reduce::<A>(x);
    let scale = power_of_two(n);
    A::fma(scale, q, scale - 1.0)
}

#[inline(always)]
pub(super) fn sigmoid<A: Arithmetic>(x: f32) -> f32 {
    let e = exp_below_zero::<A>(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

#[inline(always)]
fn tanh<A: Arithmetic>(x: f32) -> f32 {
    let t = exp_m1_below_zero::<A>(-2.0 * x.abs());
    (-t / (t + 2.0)).copysign(x)
}

/// The natural logarithm of m 2ᵉ where m lies in [1, 2).
#[inline(always)]
fn log_of<A: Arithmetic>(m: f32, e: f32) -> f32 {
    let large = m > std::f32::consts::SQRT_2;
    let m = if large { 0.5 * m } else { m };
    let e = if large { e + 1.0 } else { e };
    let f = m - 1.0;
    let p = polynomial::<A, 9>(
        f,
        [
            7.037_683_6e-2,
            -0.115_146_1,
            0.116_769_98,
            -0.124_201_41,
            0.142_493_23,
            -0.166_680_58,
            0.200_007_14,
            -0.249_999_94,
            0.333_333_3,
        ],
    );
    let z = f * f;
    let y = A::fma(e, LN2_LOW, f * z * p);
    let y = A::fma(-0.5, z, y);
    A::fma(e, LN2_HIGH, f + y)
}

#[inline(always)]
fn log<A: Arithmetic>(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    let exponent = ((bits >> 23) as i32).wrapping_sub(127) as f32;
    let exponent = if small { exponent - 23.0 } else { exponent };
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let y = log_of::<A>(m, exponent);
    // Infinity and NaN are their own logarithms.
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

/// log(1 + u) for u in [0, 1]
#[inline(always)]
fn log_1p<A: Arithmetic>(u: f32) -> f32 {
    let sum = 1.0 + u;
    // The sum is 2 at most, and that may be split as 2 · 2⁰.
    log_of::<A>(sum, 0.0) + (u - (sum - 1.0)) / sum
}

#[inline(always)]
fn softplus<A: Arithmetic>(x: f32) -> f32 {
    let above = if x < 0.0 { 0.0 } else { x };
    above + log_1p::<A>(exp_below_zero::<A>(-x.abs()))
}

/// erf from one polynomial near zero and from 1 − e^polynomial elsewhere.
#[inline(always)]
fn erf<A: Arithmetic>(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let r = A::fma(-1.728_534_7e-5, t, 3.831_979_7e-4);
    let u = A::fma(-3.883_964_4e-3, t, 2.425_462_2e-2);
    let r = A::fma(r, s, u);
    let r = A::fma(r, t, -0.106_777_88);
    let r = A::fma(r, t, -0.634_846_7);
    let r = A::fma(r, t, -0.128_717_51);
    let r = A::fma(r, t, -t);
    let far = (1.0 - exp::<A>(r)).copysign(x);
    let near = polynomial::<A, 6>(
        s,
        [
            -5.967_617e-4,
            4.991_194e-3,
            -2.676_813_5e-2,
            0.112_819_925,
            -0.376_125_34,
            0.128_379_17,
        ],
    );
    let near = A::fma(near, x, x);
    if t > 0.927_734_4 { far } else { near }
}

/// 1 − erf, accurate where it is small.
#[inline(always)]
pub(super) fn erfc<A: Arithmetic>(x: f32) -> f32 {
    // Beyond, the result is 0 (or 2).
    let a = if x.abs() > 10.1 { 10.1 } else { x.abs() };
    // Both quotients from one division.
    let both = 1.0 / ((a + 2.0) * (a + 0.5));
    // q = (a − 2) / (a + 2) with its rounding error made good.
    let r = both * (a + 0.5);
    let q = A::fma(-4.0, r, 1.0);
    let e = A::fma(q, -a, A::fma(q + 1.0, -2.0, a));
    let q = A::fma(r, e, q);
    // (1 + 2a) e^(a²) erfc(a) − 1
    let p = polynomial::<A, 10>(
        q,
        [
            -4.011_392_6e-4,
            -1.230_752_1e-3,
            1.313_553_4e-3,
            8.632_274e-3,
            -8.059_92e-3,
            -5.420_466e-2,
            0.164_055_39,
            -0.166_031_36,
            -9.276_398e-2,
            0.276_978_4,
        ],
    );
    let r = 0.5 * both * (a + 2.0);
    let q = A::fma(p, r, r);
    let e = (p - q) + A::fma(q + q, -a, 1.0);
    let r = A::fma(e, r, q);
    // e^(−a²), with the rounding error of a².
    let s = a * a;
    let e = exp_below_zero::<A>(-s);
    let t = A::fma(-a, a, s);
    let y = A::fma(r, e, r * e * t);
    if x < 0.0 { 2.0 - y } else { y }
}

/// x within the bounds; NaN stays.
#[inline(always)]
pub(crate) fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident $(($($field:ident: $type:ty),*))?, $A:ident, $x:ident => $value:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub(crate) struct $name $(($(pub(crate) $type),*))?;

            impl Function for $name {
                #[inline(always)]
                fn at<$A: Arithmetic>(self, $x: f32) -> f32 {
                    $(let Self($($field),*) = self;)?
                    $value
                }
            }
        )*
    };
}

functions! {
    Relu, A, x => if x < 0.0 { 0.0 } else { x };
    Leaky(slope: f32), A, x => if x < 0.0 { slope * x } else { x };
    Clamp(low: f32, high: f32), A, x => clamp(x, low, high);
    Exp, A, x => exp::<A>(x);
    Log, A, x => log::<A>(x);
    Erf, A, x => erf::<A>(x);
    Sigmoid, A, x => sigmoid::<A>(x);
    Tanh, A, x => tanh::<A>(x);
    Softplus, A, x => softplus::<A>(x);
    Softsign, A, x => x / (1.0 + x.abs());
    /// x · sigmoid(alpha · x)
    Swish(alpha: f32), A, x => x * sigmoid::<A>(alpha * x);
    /// x · tanh(softplus(x)): with w = eˣ (eˣ + 2) that is x · w / (w + 2).
    Mish, A, x => {
        // Above, w / (w + 2) is 1; w is still finite there.
        let e = exp::<A>(if x > 20.0 { 20.0 } else { x });
        let w = e * (e + 2.0);
        x * (w / (w + 2.0))
    };
    /// x · Φ(x)
    Gelu, A, x => 0.5 * x * erfc::<A>(-x * FRAC_1_SQRT_2);
    /// x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))
    GeluTanh, A, x => {
        let u = x * A::fma(0.044_715 * x, x, 1.0);
        x * sigmoid::<A>(1.595_769 * u)
    };
    /// gamma · x above zero, gamma · alpha · (eˣ − 1) below
    Selu(alpha: f32, gamma: f32), A, x => {
        let below = alpha * exp_m1_below_zero::<A>(if x > 0.0 { 0.0 } else { x });
        gamma * if x < 0.0 { below } else { x }
    };
    /// x above zero, alpha · (e^(x / scale) − 1) below
    Elu(alpha: f32, scale: f32), A, x => {
        let below = alpha * exp_m1_below_zero::<A>(if x > 0.0 { 0.0 } else { x / scale });
        if x < 0.0 { below } else { x }
    };
    HardSigmoid(alpha: f32, beta: f32), A, x => clamp(alpha * x + beta, 0.0, 1.0);
    HardSwish, A, x => x * clamp(x / 6.0 + 0.5, 0.0, 1.0);
    /// x above alpha, else 0
    Threshold(alpha: f32), A, x => if x <= alpha { 0.0 } else { x };
    /// x + bias below −lambd, x − bias above lambd, else 0
    Shrink(bias: f32, lambd: f32), A, x => {
        let y = if x < -lambd { x + bias } else { 0.0 * x };
        if x > lambd { x - bias } else { y }
    };
    Abs, A, x => x.abs();
    Neg, A, x => -x;
    Square, A, x => x * x;
    Sqrt, A, x => x.sqrt();
    Reciprocal, A, x => 1.0 / x;
    Floor, A, x => x.floor();
    Ceil, A, x => x.ceil();
    Round, A, x => x.round_ties_even();
    /// −1, 0 or 1
    Sign, A, x => {
        let y = if x > 0.0 { 1.0 } else { x };
        if x < 0.0 { -1.0 } else { y }
    };
}

/// A function that the compiler need not make vectors of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar<F>(pub(crate) F);

impl<F: Fn(f32) -> f32 + Copy + Send + Sync> Function for Scalar<F> {
    #[inline(always)]
    fn at<A: Arithmetic>(self, x: f32) -> f32 {
        (self.0)(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Isa, map, map_in_place};

    /// Every kind of number: all exponents, both signs, several mantissas.
    fn numbers() -> Vec<f32> {
        let mut numbers: Vec<f32> = (0..=u32::MAX >> 12)
            .map(|high| f32::from_bits(high << 12 | 0x5a5))
            .collect();
        numbers.extend((-200_000..200_000).map(|i| i as f32 * 1e-4));
        numbers.extend([
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MIN_POSITIVE,
            1e-40,
        ]);
        numbers
    }

    /// Units in the last place of `want` between `got` and `want`.
    fn distance(got: f32, want: f64) -> f64 {
        if got.is_nan() || want.is_nan() {
            return if got.is_nan() && want.is_nan() {
                0.0
            } else {
                f64::INFINITY
            };
        }
        let rounded = want as f32;
        if got == rounded || got == 0.0 && rounded.abs() < f32::MIN_POSITIVE {
            return 0.0;
        }
        let magnitude = rounded.abs().clamp(f32::MIN_POSITIVE, f32::MAX);
        let unit =
            f64::from(f32::from_bits(magnitude.to_bits() & 0x7f80_0000)) * f64::from(f32::EPSILON);
        (f64::from(got) - want).abs() / unit
    }

    fn judge(name: &str, f: impl Function, want: impl Fn(f64) -> f64, limit: f64) {
        judge_from(f32::NEG_INFINITY, name, f, want, limit);
    }

    /// The same where x is `from` or more.
    fn judge_from(from: f32, name: &str, f: impl Function, want: impl Fn(f64) -> f64, limit: f64) {
        let mut x = numbers();
        x.retain(|&x| x >= from || x.is_nan());
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; x.len()];
            map(isa, f, &x, &mut y);
            let (mut worst, mut at) = (0.0, 0.0);
            for (&x, &y) in x.iter().zip(&y) {
                let error = distance(y, want(x.into()));
                if error > worst {
                    (worst, at) = (error, x);
                }
            }
            println!("{name} {isa}: {worst:.2} units at {at:e}");
            assert!(worst <= limit, "{name} {isa}: {worst:.2} units at {at:e}");
            let mut again = x.clone();
            map_in_place(isa, f, &mut again);
            // Which of two NaN a product passes on is the compiler's choice.
            let same =
                |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(again.iter().zip(&y).all(same), "{name} {isa} in place");
        }
    }

    #[test]
    fn within_a_few_units_in_the_last_place() {
        judge("exp", Exp, f64::exp, 2.0);
        judge("log", Log, f64::ln, 2.0);
        judge("sigmoid", Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 3.0);
        judge("tanh", Tanh, f64::tanh, 4.0);
        judge("erf", Erf, libm::erf, 2.0);
        let softplus = |x: f64| {
            if x > 0.0 {
                x + (-x).exp().ln_1p()
            } else {
                x.exp().ln_1p()
            }
        };
        judge("softplus", Softplus, softplus, 3.0);
        judge(
            "elu",
            Elu(1.0, 1.0),
            |x| if x < 0.0 { x.exp_m1() } else { x },
            2.0,
        );
    }

    /// Products with something small: what rounding the argument does to e^x grows with x.
    #[test]
    fn products_within_some_units() {
        let gelu = |x: f64| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        judge_from(-1.0, "gelu", Gelu, gelu, 4.0);
        judge_from(-8.0, "gelu", Gelu, gelu, 80.0);
        let mish = |x: f64| {
            if x > 30.0 {
                x
            } else {
                x * x.exp().ln_1p().tanh()
            }
        };
        judge_from(-80.0, "mish", Mish, mish, 6.0);
        judge_from(
            -80.0,
            "swish",
            Swish(1.0),
            |x| {
                if x == f64::NEG_INFINITY {
                    f64::NAN
                } else {
                    x / (1.0 + (-x).exp())
                }
            },
            4.0,
        );
    }
}
