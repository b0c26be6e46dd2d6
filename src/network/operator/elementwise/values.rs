//! The values of unary functions: f32 by vectors, f64 and integers element by element, halves through f32.

use super::Unary;
use super::convert::Convert;
use super::number::{Integer, Number};
use crate::kernel::functions as f;
use crate::kernel::{Function, Isa, map, map_in_place};

impl Unary {
    /// y ← f(x), or f(y) where no x is given.
    pub(super) fn singles(self, isa: Isa, x: Option<&[f32]>, y: &mut [f32]) {
        match self {
            Self::Abs => apply(isa, f::Abs, x, y),
            Self::Ceil => apply(isa, f::Ceil, x, y),
            Self::Celu { alpha } if alpha > 0.0 => apply(isa, f::Elu(alpha, alpha), x, y),
            Self::Elu { alpha } => apply(isa, f::Elu(alpha, 1.0), x, y),
            Self::Erf => apply(isa, f::Erf, x, y),
            Self::Exp => apply(isa, f::Exp, x, y),
            Self::Floor => apply(isa, f::Floor, x, y),
            Self::Gelu { tanh: false } => apply(isa, f::Gelu, x, y),
            Self::Gelu { tanh: true } => apply(isa, f::GeluTanh, x, y),
            Self::HardSigmoid { alpha, beta } => apply(isa, f::HardSigmoid(alpha, beta), x, y),
            Self::HardSwish => apply(isa, f::HardSwish, x, y),
            Self::LeakyRelu { alpha } => apply(isa, f::Leaky(alpha), x, y),
            Self::Log => apply(isa, f::Log, x, y),
            Self::Mish => apply(isa, f::Mish, x, y),
            Self::Neg => apply(isa, f::Neg, x, y),
            Self::Reciprocal => apply(isa, f::Reciprocal, x, y),
            Self::Relu => apply(isa, f::Relu, x, y),
            Self::Round => apply(isa, f::Round, x, y),
            Self::Selu { alpha, gamma } => apply(isa, f::Selu(alpha, gamma), x, y),
            Self::Shrink { bias, lambd } => apply(isa, f::Shrink(bias, lambd), x, y),
            Self::Sigmoid => apply(isa, f::Sigmoid, x, y),
            Self::Sign => apply(isa, f::Sign, x, y),
            Self::Softplus => apply(isa, f::Softplus, x, y),
            Self::Softsign => apply(isa, f::Softsign, x, y),
            Self::Sqrt => apply(isa, f::Sqrt, x, y),
            Self::Swish { alpha } => apply(isa, f::Swish(alpha), x, y),
            Self::Tanh => apply(isa, f::Tanh, x, y),
            Self::ThresholdedRelu { alpha } => apply(isa, f::Threshold(alpha), x, y),
            // The rest are rare: in f64, then rounded.
            _ => apply(isa, f::Scalar(|x| self.double(f64::from(x)) as f32), x, y),
        }
    }

    /// The same of halves, through f32.
    pub(super) fn halves<T: Convert>(self, isa: Isa, x: Option<&[T]>, y: &mut [T]) {
        let mut singles = [0.0; 256];
        for start in (0..y.len()).step_by(singles.len()) {
            let end = y.len().min(start + singles.len());
            let block = &mut singles[..end - start];
            for (single, &x) in block.iter_mut().zip(&x.unwrap_or(y)[start..end]) {
                *single = x.convert();
            }
            self.singles(isa, None, block);
            for (y, &single) in y[start..end].iter_mut().zip(&*block) {
                *y = T::from_f32(single);
            }
        }
    }

    /// The function at `x`.
    pub(super) fn double(self, x: f64) -> f64 {
        let elu = |alpha: f64, scale: f64| {
            if x < 0.0 {
                alpha * (x / scale).exp_m1()
            } else {
                x
            }
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = if x > 0.0 {
            x + (-x).exp().ln_1p()
        } else {
            x.exp().ln_1p()
        };
        let within_one = |x: f64| x.clamp(0.0, 1.0);
        match self {
            Self::Abs => x.abs(),
            Self::Acos => x.acos(),
            Self::Acosh => x.acosh(),
            Self::Asin => x.asin(),
            Self::Asinh => x.asinh(),
            Self::Atan => x.atan(),
            Self::Atanh => x.atanh(),
            Self::Ceil => x.ceil(),
            Self::Celu { alpha } => elu(alpha.into(), alpha.into()),
            Self::Cos => x.cos(),
            Self::Cosh => x.cosh(),
            Self::Elu { alpha } => elu(alpha.into(), 1.0),
            Self::Erf => libm::erf(x),
            Self::Exp => x.exp(),
            Self::Floor => x.floor(),
            Self::Gelu { tanh: false } => {
                0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
            }
            Self::Gelu { tanh: true } => {
                let scale = (2.0 / std::f64::consts::PI).sqrt();
                x * sigmoid(2.0 * scale * (x + 0.044715 * x * x * x))
            }
            Self::HardSigmoid { alpha, beta } => within_one(f64::from(alpha) * x + f64::from(beta)),
            Self::HardSwish => x * within_one(x / 6.0 + 0.5),
            Self::LeakyRelu { alpha } if x < 0.0 => f64::from(alpha) * x,
            Self::Log => x.ln(),
            Self::Mish => x * softplus.tanh(),
            Self::Neg => -x,
            Self::Reciprocal => x.recip(),
            Self::Relu if x < 0.0 => 0.0,
            Self::Round => x.round_ties_even(),
            Self::Selu { alpha, gamma } => f64::from(gamma) * elu(alpha.into(), 1.0),
            Self::Shrink { bias, lambd } => match (x < -f64::from(lambd), x > f64::from(lambd)) {
                (_, true) => x - f64::from(bias),
                (true, _) => x + f64::from(bias),
                _ => 0.0 * x,
            },
            Self::Sigmoid => sigmoid(x),
            Self::Sign => x.sign(),
            Self::Sin => x.sin(),
            Self::Sinh => x.sinh(),
            Self::Softplus => softplus,
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Sqrt => x.sqrt(),
            Self::Swish { alpha } => x * sigmoid(f64::from(alpha) * x),
            Self::Tan => x.tan(),
            Self::Tanh => x.tanh(),
            Self::ThresholdedRelu { alpha } if x <= f64::from(alpha) => 0.0,
            Self::LeakyRelu { .. } | Self::Relu | Self::ThresholdedRelu { .. } => x,
            // No functions of floats.
            Self::BitwiseNot | Self::Not => x,
        }
    }

    pub(super) fn integer<T: Integer>(self, x: T) -> T {
        match self {
            Self::Abs => x.magnitude(),
            Self::Neg => T::ZERO.minus(x),
            Self::Relu => x.larger(T::ZERO),
            Self::Sign => x.sign(),
            Self::BitwiseNot => x.complement(),
            // `infer` lets no other function have integers.
            _ => x,
        }
    }
}

fn apply(isa: Isa, function: impl Function, x: Option<&[f32]>, y: &mut [f32]) {
    match x {
        Some(x) => map(isa, function, x, y),
        None => map_in_place(isa, function, y),
    }
}
