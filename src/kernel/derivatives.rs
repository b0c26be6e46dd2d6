//! Gradients of functions of one number in f32, without branches, so that loops over them become vectors.
//!
//! ```text
//! dx = f′ · dy      from dy and from what was kept: the value y = f(x) where that says enough, else x
//! ```
//!
//! Where f has a kink, f′ is what PyTorch takes. Where f′ is 0 or 1 over a range, dy is chosen or not, so that what is
//! not finite in it neither comes through nor spoils anything. A NaN that was kept lets dy through or is NaN itself.

use std::f32::consts::FRAC_1_SQRT_2;

use super::Isa;
use super::functions::{clamp, erfc, exp, exp_m1_below_zero, sigmoid};
use super::loops::{Arithmetic, Loop, compiled};

/// A gradient of one number.
pub(crate) trait Derivative: Copy + Send + Sync {
    /// Its value. Must be `#[inline(always)]`.
    fn at<A: Arithmetic>(self, kept: f32, dy: f32) -> f32;
}

/// dx[i] ← f(kept[i], dy[i])
pub(crate) fn derive(isa: Isa, f: impl Derivative, kept: &[f32], dy: &[f32], dx: &mut [f32]) {
    struct Apart<'a, F>(F, &'a [f32], &'a [f32], &'a mut [f32]);
    impl<F: Derivative> Loop for Apart<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<A: Arithmetic>(self) {
            let Self(f, kept, dy, dx) = self;
            for ((dx, &dy), &kept) in dx.iter_mut().zip(dy).zip(kept) {
                *dx = f.at::<A>(kept, dy);
            }
        }
    }
    compiled(isa, Apart(f, kept, dy, dx));
}

/// dx[i] ← f(kept[i], dx[i])
pub(crate) fn derive_in_place(isa: Isa, f: impl Derivative, kept: &[f32], dx: &mut [f32]) {
    struct InPlace<'a, F>(F, &'a [f32], &'a mut [f32]);
    impl<F: Derivative> Loop for InPlace<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<A: Arithmetic>(self) {
            let Self(f, kept, dx) = self;
            for (dx, &kept) in dx.iter_mut().zip(kept) {
                *dx = f.at::<A>(kept, *dx);
            }
        }
    }
    compiled(isa, InPlace(f, kept, dx));
}

macro_rules! derivatives {
    ($($(#[$doc:meta])* $name:ident $(($($field:ident: $type:ty),*))?, $A:ident, $kept:ident, $dy:ident => $value:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub(crate) struct $name $(($(pub(crate) $type),*))?;

            impl Derivative for $name {
                #[inline(always)]
                fn at<$A: Arithmetic>(self, $kept: f32, $dy: f32) -> f32 {
                    $(let Self($($field),*) = self;)?
                    $value
                }
            }
        )*
    };
}

/// s + u s (1 − s), the derivative of u sigmoid(u) in u. Beyond 100, where s (1 − s) is 0, u may be infinite.
#[inline(always)]
fn swish<A: Arithmetic>(u: f32) -> f32 {
    let s = sigmoid::<A>(u);
    A::fma(clamp(u, -100.0, 100.0) * s, 1.0 - s, s)
}

derivatives! {
    /// From y.
    ReluGradient, A, y, dy => if y <= 0.0 { 0.0 } else { dy };
    /// From y, the slope being 0 or more; or from x.
    LeakyGradient(slope: f32), A, y, dy => if y > 0.0 { dy } else { slope * dy };
    /// From y = gamma · alpha · (e^(x / scale) − 1) below zero; the slope above it, and below y · factor + offset.
    EluGradient(above: f32, factor: f32, offset: f32), A, y, dy => {
        if y > 0.0 { above * dy } else { dy * A::fma(y, factor, offset) }
    };
    /// From y.
    SigmoidGradient, A, y, dy => dy * (y * (1.0 - y));
    /// From y.
    TanhGradient, A, y, dy => dy * A::fma(-y, y, 1.0);
    /// From y: that of log(1 + eˣ) is 1 − e^(−y).
    SoftplusGradient, A, y, dy => -dy * exp_m1_below_zero::<A>(-y);
    /// From y.
    ExpGradient, A, y, dy => dy * y;
    /// From y.
    SqrtGradient, A, y, dy => 0.5 * dy / y;
    /// From y = 1 / x.
    ReciprocalGradient, A, y, dy => -dy * y * y;
    /// From y: of the sloped part between 0 and 1.
    HardSigmoidGradient(slope: f32), A, y, dy => if (y <= 0.0) | (y >= 1.0) { 0.0 } else { slope * dy };
    HardSwishGradient, A, x, dy => {
        let slope = if x >= 3.0 { 1.0 } else { A::fma(x, 1.0 / 3.0, 0.5) };
        if x <= -3.0 { 0.0 } else { slope * dy }
    };
    LogGradient, A, x, dy => dy / x;
    AbsGradient, A, x, dy => {
        let above = if x > 0.0 { dy } else { 0.0 * x };
        if x < 0.0 { -dy } else { above }
    };
    ErfGradient, A, x, dy => dy * (std::f32::consts::FRAC_2_SQRT_PI * exp::<A>(-x * x));
    SoftsignGradient, A, x, dy => {
        let r = 1.0 / (1.0 + x.abs());
        dy * r * r
    };
    /// That of x sigmoid(alpha x).
    SwishGradient(alpha: f32), A, x, dy => dy * swish::<A>(alpha * x);
    /// Φ(x) + x φ(x)
    GeluGradient, A, x, dy => {
        let t = clamp(x, -20.0, 20.0);
        let density = std::f32::consts::FRAC_2_SQRT_PI * 0.5 * FRAC_1_SQRT_2 * exp::<A>(-0.5 * t * t);
        dy * A::fma(t, density, 0.5 * erfc::<A>(-t * FRAC_1_SQRT_2))
    };
    /// With u = 2 √(2/π) (x + 0.044715 x³): s + x s (1 − s) u′.
    GeluTanhGradient, A, x, dy => {
        // Beyond, s is 0 or 1.
        let t = clamp(x, -15.0, 15.0);
        let s = sigmoid::<A>(1.595_769 * t * A::fma(0.044_715 * t, t, 1.0));
        let slope = 1.595_769 * A::fma(0.134_145 * t, t, 1.0);
        dy * A::fma(t * s * (1.0 - s), slope, s)
    };
    /// With w = eˣ (eˣ + 2): tanh(softplus) is w / (w + 2), and 1 − tanh² is 4 (w + 1) / (w + 2)².
    MishGradient, A, x, dy => {
        // Beyond, it is 0 or 1.
        let t = clamp(x, -104.0, 20.0);
        let e = exp::<A>(t);
        let w = e * (e + 2.0);
        let r = 1.0 / (w + 2.0);
        dy * A::fma(t * sigmoid::<A>(t), 4.0 * (w + 1.0) * r * r, w * r)
    };
    /// From x, as it is 1 beyond lambd on both sides.
    ShrinkGradient(lambd: f32), A, x, dy => if (x >= -lambd) & (x <= lambd) { 0.0 } else { dy };
    ThresholdGradient(alpha: f32), A, x, dy => if x <= alpha { 0.0 } else { dy };
    /// From y: 1 between the bounds.
    ClampGradient(low: f32, high: f32), A, y, dy => if (y <= low) | (y >= high) { 0.0 } else { dy };
}

/// A derivative that the compiler need not make vectors of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScalarGradient<F>(pub(crate) F);

impl<F: Fn(f32, f32) -> f32 + Copy + Send + Sync> Derivative for ScalarGradient<F> {
    #[inline(always)]
    fn at<A: Arithmetic>(self, kept: f32, dy: f32) -> f32 {
        (self.0)(kept, dy)
    }
}
