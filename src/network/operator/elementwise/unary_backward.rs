//! The gradients of functions of one element.
//!
//! ```text
//! dX[i] = f′ · dY[i]      from Y where that says enough, so that X need not be kept; else from X
//! ```
//!
//! Relu and its like read Y: then they can still be the end of a convolution. At a kink f′ is what PyTorch takes: 0 for
//! Relu and Abs, the slope below for LeakyRelu and Elu.

use std::sync::Arc;

use super::Unary;
use super::in_pieces;
use crate::error::Result;
use crate::kernel::Isa;
use crate::kernel::derivatives::{self as d, Derivative, derive, derive_in_place};
use crate::network::gradient::Backward;
use crate::network::operator::check::{
    at_most, has_shape, has_type, read, read_optional, required, write,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// The gradient of the input of a unary function: inputs Y or X, as [`UnaryBackward::keeps_output`] says, and dY.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnaryBackward {
    function: Unary,
}

impl UnaryBackward {
    /// Of this function.
    pub fn new(function: Unary) -> Self {
        Self { function }
    }

    /// The function.
    pub fn function(&self) -> Unary {
        self.function
    }

    /// Whether the first input is the function's output, not its input.
    pub fn keeps_output(&self) -> bool {
        use Unary::*;
        match self.function {
            Exp
            | HardSigmoid { .. }
            | Reciprocal
            | Relu
            | Sigmoid
            | Softplus
            | Sqrt
            | Tan
            | Tanh => true,
            // Else the sign of y is not that of x.
            LeakyRelu { alpha } | Elu { alpha } => alpha >= 0.0,
            Celu { alpha } => alpha > 0.0,
            Selu { alpha, gamma } => alpha >= 0.0 && gamma > 0.0,
            _ => false,
        }
    }
}

/// The node of the gradient of `function`.
pub(super) fn gradient(function: Unary, backward: &mut Backward) -> Result<()> {
    let dy = backward.d_output()?;
    let operator = UnaryBackward::new(function);
    let made = match function {
        Unary::Neg => backward.node(Unary::Neg, &[dy])?,
        _ => {
            let kept = match operator.keeps_output() {
                true => backward.output(0)?,
                false => backward.input(0)?,
            };
            backward.node(operator, &[kept, dy])?
        }
    };
    backward.give(0, made)
}

impl Operator for UnaryBackward {
    fn name(&self) -> &'static str {
        "UnaryBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let operand = if self.keeps_output() { "Y" } else { "X" };
        let (kept, dy) = (required(inputs, 0, operand)?, required(inputs, 1, "dY")?);
        has_type(kept, operand, &[DType::F32, DType::F64])?;
        has_type(dy, "dY", &[kept.dtype])?;
        has_shape(dy, "dY", &kept.shape)?;
        Ok(vec![Fact::new(dy.dtype, dy.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(UnaryBackwardStep {
            function: self.function,
            double: required(inputs, 1, "dY")?.dtype == DType::F64,
            isa: Isa::selected(),
        }))
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(*self))
    }
}

struct UnaryBackwardStep {
    function: Unary,
    double: bool,
    isa: Isa,
}

impl Step for UnaryBackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let (function, isa) = (self.function, self.isa);
        if self.double {
            let kept = read::<f64>(inputs, 0)?;
            let dy = read_optional::<f64>(inputs, 1)?;
            in_pieces(write::<f64>(outputs, 0)?, |start, dx| {
                if let Some(dy) = dy {
                    dx.copy_from_slice(&dy[start..start + dx.len()]);
                }
                for (dx, &kept) in dx.iter_mut().zip(&kept[start..]) {
                    *dx = function.double_gradient(kept, *dx);
                }
            });
            return Ok(());
        }
        let kept = read::<f32>(inputs, 0)?;
        let dy = read_optional::<f32>(inputs, 1)?;
        in_pieces(write::<f32>(outputs, 0)?, |start, dx| {
            let place = start..start + dx.len();
            let dy = dy.map(|dy| &dy[place.clone()]);
            function.singles_gradient(isa, &kept[place], dy, dx);
        });
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        Some(1)
    }
}

impl Unary {
    /// dx ← f′ · dy, dy in dx where it is not given.
    fn singles_gradient(self, isa: Isa, kept: &[f32], dy: Option<&[f32]>, dx: &mut [f32]) {
        let by_output = UnaryBackward::new(self).keeps_output();
        match self {
            Self::Abs => apply(isa, d::AbsGradient, kept, dy, dx),
            Self::Celu { alpha } if by_output => {
                apply(isa, d::EluGradient(1.0, 1.0 / alpha, 1.0), kept, dy, dx)
            }
            Self::Elu { alpha } if by_output => {
                apply(isa, d::EluGradient(1.0, 1.0, alpha), kept, dy, dx)
            }
            Self::Erf => apply(isa, d::ErfGradient, kept, dy, dx),
            Self::Exp => apply(isa, d::ExpGradient, kept, dy, dx),
            Self::Gelu { tanh: false } => apply(isa, d::GeluGradient, kept, dy, dx),
            Self::Gelu { tanh: true } => apply(isa, d::GeluTanhGradient, kept, dy, dx),
            Self::HardSigmoid { alpha, .. } => {
                apply(isa, d::HardSigmoidGradient(alpha), kept, dy, dx)
            }
            Self::HardSwish => apply(isa, d::HardSwishGradient, kept, dy, dx),
            Self::LeakyRelu { alpha } => apply(isa, d::LeakyGradient(alpha), kept, dy, dx),
            Self::Log => apply(isa, d::LogGradient, kept, dy, dx),
            Self::Mish => apply(isa, d::MishGradient, kept, dy, dx),
            Self::Reciprocal => apply(isa, d::ReciprocalGradient, kept, dy, dx),
            Self::Relu => apply(isa, d::ReluGradient, kept, dy, dx),
            Self::Selu { alpha, gamma } if by_output => {
                let f = d::EluGradient(gamma, 1.0, gamma * alpha);
                apply(isa, f, kept, dy, dx)
            }
            Self::Shrink { lambd, .. } => apply(isa, d::ShrinkGradient(lambd), kept, dy, dx),
            Self::Sigmoid => apply(isa, d::SigmoidGradient, kept, dy, dx),
            Self::Softplus => apply(isa, d::SoftplusGradient, kept, dy, dx),
            Self::Softsign => apply(isa, d::SoftsignGradient, kept, dy, dx),
            Self::Sqrt => apply(isa, d::SqrtGradient, kept, dy, dx),
            Self::Swish { alpha } => apply(isa, d::SwishGradient(alpha), kept, dy, dx),
            Self::Tanh => apply(isa, d::TanhGradient, kept, dy, dx),
            Self::ThresholdedRelu { alpha } => {
                apply(isa, d::ThresholdGradient(alpha), kept, dy, dx)
            }
            // The rest are rare: in f64, then rounded.
            _ => {
                let f = |kept: f32, dy: f32| self.double_gradient(kept.into(), dy.into()) as f32;
                apply(isa, d::ScalarGradient(f), kept, dy, dx)
            }
        }
    }

    /// f′ · dy
    fn double_gradient(self, kept: f64, dy: f64) -> f64 {
        let chosen = |zero: bool| if zero { 0.0 } else { dy };
        match self {
            Self::Relu => chosen(kept <= 0.0),
            Self::ThresholdedRelu { alpha } => chosen(kept <= alpha.into()),
            Self::Shrink { lambd, .. } => chosen(kept >= (-lambd).into() && kept <= lambd.into()),
            Self::HardSigmoid { alpha, .. } => {
                f64::from(alpha) * chosen(kept <= 0.0 || kept >= 1.0)
            }
            Self::HardSwish if kept <= -3.0 => 0.0,
            Self::Ceil | Self::Floor | Self::Round | Self::Sign => 0.0,
            _ => self.slope(kept) * dy,
        }
    }

    /// f′ of the others, from what is kept.
    fn slope(self, kept: f64) -> f64 {
        use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
        let (x, y) = (kept, kept);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        // d/du of u sigmoid(u)
        let swish = |u: f64| {
            let s = sigmoid(u);
            s + u.clamp(-800.0, 800.0) * s * (1.0 - s)
        };
        let by_output = UnaryBackward::new(self).keeps_output();
        let exponential = |alpha: f64, scale: f64, gamma: f64| match (x > 0.0, by_output) {
            (true, _) => gamma,
            (false, true) => (y + gamma * alpha) / scale,
            (false, false) => gamma * alpha / scale * (x / scale).exp(),
        };
        match self {
            Self::Abs if x == 0.0 => 0.0,
            Self::Abs => x.signum(),
            Self::Acos => -1.0 / (1.0 - x * x).sqrt(),
            Self::Acosh => 1.0 / (x * x - 1.0).sqrt(),
            Self::Asin => 1.0 / (1.0 - x * x).sqrt(),
            Self::Asinh => 1.0 / (x * x + 1.0).sqrt(),
            Self::Atan => 1.0 / (1.0 + x * x),
            Self::Atanh => 1.0 / (1.0 - x * x),
            Self::Celu { alpha } => exponential(alpha.into(), alpha.into(), 1.0),
            Self::Cos => -x.sin(),
            Self::Cosh => x.sinh(),
            Self::Elu { alpha } => exponential(alpha.into(), 1.0, 1.0),
            Self::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
            Self::Exp => y,
            Self::Gelu { tanh: false } => {
                let t = x.clamp(-50.0, 50.0);
                let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * t * t).exp();
                0.5 * libm::erfc(-t * FRAC_1_SQRT_2) + t * density
            }
            Self::Gelu { tanh: true } => {
                let (t, scale) = (x.clamp(-50.0, 50.0), 2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
                let s = sigmoid(scale * (t + 0.044715 * t * t * t));
                s + t * s * (1.0 - s) * scale * (1.0 + 3.0 * 0.044715 * t * t)
            }
            Self::HardSwish if x >= 3.0 => 1.0,
            Self::HardSwish => x / 3.0 + 0.5,
            Self::LeakyRelu { .. } if kept > 0.0 => 1.0,
            Self::LeakyRelu { alpha } => alpha.into(),
            Self::Log => 1.0 / x,
            Self::Mish => {
                let t = x.clamp(-800.0, 40.0);
                let e = t.exp();
                let w = e * (e + 2.0);
                let r = 1.0 / (w + 2.0);
                w * r + t * sigmoid(t) * 4.0 * (w + 1.0) * r * r
            }
            Self::Neg => -1.0,
            Self::Reciprocal => -y * y,
            Self::Selu { alpha, gamma } => exponential(alpha.into(), 1.0, gamma.into()),
            Self::Sigmoid => y * (1.0 - y),
            Self::Sin => x.cos(),
            Self::Sinh => x.cosh(),
            Self::Softplus => -(-y).exp_m1(),
            Self::Softsign => (1.0 + x.abs()).powi(-2),
            Self::Sqrt => 0.5 / y,
            Self::Swish { alpha } => swish(f64::from(alpha) * x),
            Self::Tan => 1.0 + y * y,
            Self::Tanh => 1.0 - y * y,
            // Those of `double_gradient`, and no functions of floats.
            Self::BitwiseNot
            | Self::Ceil
            | Self::Floor
            | Self::HardSigmoid { .. }
            | Self::Not
            | Self::Relu
            | Self::Round
            | Self::Shrink { .. }
            | Self::Sign
            | Self::ThresholdedRelu { .. } => 0.0,
        }
    }
}

fn apply(isa: Isa, f: impl Derivative, kept: &[f32], dy: Option<&[f32]>, dx: &mut [f32]) {
    match dy {
        Some(dy) => derive(isa, f, kept, dy, dx),
        None => derive_in_place(isa, f, kept, dx),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{check_gradient, doubles, fact, floats, infer, run};
    use crate::network::tensor::Tensor;

    /// Every function, with a range in which it has a derivative but at some points.
    fn differentiable() -> Vec<(Unary, f64, f64)> {
        use Unary::*;
        let everywhere = [
            Abs,
            Asinh,
            Atan,
            Ceil,
            Celu { alpha: 1.5 },
            Celu { alpha: -1.5 },
            Cos,
            Cosh,
            Elu { alpha: 1.5 },
            Elu { alpha: -0.5 },
            Erf,
            Exp,
            Floor,
            Gelu { tanh: false },
            Gelu { tanh: true },
            HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            },
            HardSwish,
            LeakyRelu { alpha: 0.25 },
            LeakyRelu { alpha: -0.25 },
            Mish,
            Neg,
            Relu,
            Round,
            Selu {
                alpha: 1.673_263_2,
                gamma: 1.050_701,
            },
            Selu {
                alpha: 1.5,
                gamma: -0.5,
            },
            Shrink {
                bias: 0.25,
                lambd: 0.5,
            },
            Sigmoid,
            Sign,
            Sin,
            Sinh,
            Softplus,
            Softsign,
            Swish { alpha: 1.0 },
            Swish { alpha: -1.5 },
            Tanh,
            ThresholdedRelu { alpha: 1.0 },
        ];
        let mut all: Vec<_> = everywhere.map(|function| (function, -4.0, 4.0)).to_vec();
        all.extend([Acos, Asin, Atanh].map(|function| (function, -0.9, 0.9)));
        all.extend([Log, Reciprocal, Sqrt].map(|function| (function, 0.3, 3.0)));
        all.extend([(Acosh, 1.2, 3.0), (Tan, -1.2, 1.2)]);
        all
    }

    #[test]
    fn central_differences() {
        for (number, (function, low, high)) in differentiable().into_iter().enumerate() {
            let x = doubles(&[2, 3, 4, 3], number as u64, low, high);
            check_gradient(function, &[x], &[0]);
        }
    }

    /// f32 by vectors and f64 are the same function, far out too.
    #[test]
    fn singles_are_doubles_rounded() {
        let x: Vec<f32> = (-2000..2000)
            .map(|i| i as f32 * 2.5e-3)
            .chain([
                -1e30,
                -200.0,
                -30.0,
                30.0,
                200.0,
                1e30,
                f32::INFINITY,
                f32::NEG_INFINITY,
            ])
            .collect();
        for (function, low, high) in differentiable() {
            let mut x = x.clone();
            if high < 4.0 {
                x.retain(|&x| (low..=high).contains(&f64::from(x)));
            }
            let n = x.len();
            let x = floats(&[n], x);
            let operator = UnaryBackward::new(function);
            let kept = match operator.keeps_output() {
                true => run(&function, std::slice::from_ref(&x)).unwrap().remove(0),
                false => x,
            };
            let dx = run(&operator, &[kept.clone(), floats(&[n], vec![2.0; n])]).unwrap();
            let kept = kept.array::<f32>().unwrap();
            for (&kept, &dx) in kept.iter().zip(dx[0].array::<f32>().unwrap()) {
                let want = function.double_gradient(kept.into(), 2.0);
                let close = (f64::from(dx) - want).abs() <= 4e-6 * want.abs() + 2e-6;
                let same = dx == want as f32 || dx.is_nan() && want.is_nan();
                assert!(close || same, "{function:?} at {kept}: {dx}, not {want}");
            }
        }
    }

    fn at(function: Unary, x: f32) -> f32 {
        let x = floats(&[1], [x]);
        let operator = UnaryBackward::new(function);
        let kept = match operator.keeps_output() {
            true => run(&function, std::slice::from_ref(&x)).unwrap().remove(0),
            false => x.clone(),
        };
        let dx = run(&operator, &[kept.clone(), floats(&[1], [1.0])]).unwrap();
        let dx = dx[0].array::<f32>().unwrap()[0];
        let kept = f64::from(kept.array::<f32>().unwrap()[0]);
        assert_eq!(f64::from(dx), function.double_gradient(kept, 1.0));
        dx
    }

    #[test]
    fn at_kinks_as_pytorch() {
        let alpha = 0.25;
        assert_eq!([at(Unary::Relu, 0.0), at(Unary::Relu, -0.0)], [0.0; 2]);
        assert_eq!(at(Unary::Abs, 0.0), 0.0);
        assert_eq!(at(Unary::LeakyRelu { alpha }, 0.0), alpha);
        assert_eq!(at(Unary::Elu { alpha }, 0.0), alpha);
        assert_eq!(at(Unary::ThresholdedRelu { alpha }, alpha), 0.0);
        assert_eq!(at(Unary::HardSwish, 3.0), 1.0);
        assert_eq!(at(Unary::HardSwish, -3.0), 0.0);
        let (alpha, beta) = (0.25, 0.5);
        for x in [-2.0, 2.0] {
            assert_eq!(at(Unary::HardSigmoid { alpha, beta }, x), 0.0);
        }
        let (bias, lambd) = (0.0, 0.5);
        for x in [-0.5, 0.5] {
            assert_eq!(at(Unary::Shrink { bias, lambd }, x), 0.0);
        }
    }

    /// Where nothing comes through, not even NaN does; a NaN in y does not stop what comes.
    #[test]
    fn relu_chooses() {
        let y = floats(&[4], [0.0, 0.0, 1.0, f32::NAN]);
        let dy = floats(&[4], [f32::NAN, f32::INFINITY, -3.0, 5.0]);
        let dx = run(&UnaryBackward::new(Unary::Relu), &[y, dy]).unwrap();
        assert_eq!(dx, [floats(&[4], [0.0, 0.0, -3.0, 5.0])]);
    }

    #[test]
    fn many_elements_on_many_threads() {
        let n = 100_001;
        let y: Vec<f32> = (0..n).map(|i| (i % 3) as f32 - 1.0).collect();
        let dy: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let want = y
            .iter()
            .zip(&dy)
            .map(|(&y, &dy)| if y > 0.0 { dy } else { 0.0 });
        let want = floats(&[n], want.collect::<Vec<_>>());
        let inputs = [floats(&[n], y), floats(&[n], dy)];
        assert_eq!(
            run(&UnaryBackward::new(Unary::Relu), &inputs).unwrap(),
            [want]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let relu = UnaryBackward::new(Unary::Relu);
        assert!(infer(&relu, &[&fact(&[2, 3]), &fact(&[3, 2])]).is_err());
        assert!(infer(&relu, &[&fact(&[2]), &Fact::new(DType::F64, [2])]).is_err());
        assert!(
            infer(
                &relu,
                &[&Fact::new(DType::I32, [2]), &Fact::new(DType::I32, [2])]
            )
            .is_err()
        );
        assert!(infer(&relu, &[&fact(&[2])]).is_err());
        let empty: Tensor = floats(&[0, 3], []);
        assert!(run(&relu, &[empty.clone(), empty]).unwrap()[0].is_empty());
    }
}
