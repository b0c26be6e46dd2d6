//! Functions of one element: Relu, Sigmoid, Exp, Not and their like.
//!
//! ```text
//! y[i] = f(x[i])      f32: vectors, pieces on all threads; f16 and bf16 through f32, a block at a time
//! ```

use std::sync::Arc;

use super::convert::Convert;
use super::in_pieces;
use super::number::with_integer;
use super::unary_backward;
use crate::error::Result;
use crate::geometry::Axis;
use crate::kernel::Isa;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::check::{
    FLOATS, INTEGERS, at_most, fits, read_optional, required, write, wrong,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// A function of each element. Every variant is the ONNX operator of its name; NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Unary {
    /// |x|
    Abs,
    /// arccos x
    Acos,
    /// arcosh x
    Acosh,
    /// arcsin x
    Asin,
    /// arsinh x
    Asinh,
    /// arctan x
    Atan,
    /// artanh x
    Atanh,
    /// All bits inverted.
    BitwiseNot,
    /// The smallest integer ≥ x.
    Ceil,
    /// x where x ≥ 0, else alpha (e^(x / alpha) − 1).
    Celu {
        /// Its scale, not 0.
        alpha: f32,
    },
    /// cos x
    Cos,
    /// cosh x
    Cosh,
    /// x where x ≥ 0, else alpha (eˣ − 1).
    Elu {
        /// The factor below zero.
        alpha: f32,
    },
    /// The error function.
    Erf,
    /// eˣ
    Exp,
    /// The largest integer ≤ x.
    Floor,
    /// x Φ(x), Φ the normal distribution function, or its approximation by tanh.
    Gelu {
        /// Whether x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) stands for it.
        tanh: bool,
    },
    /// alpha x + beta, within 0 and 1.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x · (x/6 + 1/2, within 0 and 1)
    HardSwish,
    /// x where x ≥ 0, else alpha x.
    LeakyRelu {
        /// The slope below zero.
        alpha: f32,
    },
    /// The natural logarithm.
    Log,
    /// x tanh(log(1 + eˣ))
    Mish,
    /// −x
    Neg,
    /// Not x, of truth values.
    Not,
    /// 1 / x
    Reciprocal,
    /// max(x, 0)
    Relu,
    /// The nearest integer, ties to the even one.
    Round,
    /// gamma x where x > 0, else gamma alpha (eˣ − 1).
    Selu {
        /// The factor below zero.
        alpha: f32,
        /// The factor of all.
        gamma: f32,
    },
    /// x + bias where x < −lambd, x − bias where x > lambd, else 0.
    Shrink {
        /// What large values lose.
        bias: f32,
        /// From where they are large.
        lambd: f32,
    },
    /// 1 / (1 + e^(−x))
    Sigmoid,
    /// −1, 0 or 1.
    Sign,
    /// sin x
    Sin,
    /// sinh x
    Sinh,
    /// log(1 + eˣ)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// √x
    Sqrt,
    /// x sigmoid(alpha x)
    Swish {
        /// The slope within.
        alpha: f32,
    },
    /// tan x
    Tan,
    /// tanh x
    Tanh,
    /// x where x > alpha, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
}

/// What a function takes.
#[derive(Clone, Copy, PartialEq)]
enum Domain {
    Floats,
    /// Floats and signed integers.
    Signed,
    Numbers,
    Integers,
    Truth,
}

impl Domain {
    fn name(self) -> &'static str {
        match self {
            Self::Floats => "a type of floats",
            Self::Signed => "a signed type",
            Self::Numbers => "a type of numbers",
            Self::Integers => "a type of integers",
            Self::Truth => "bool",
        }
    }

    fn has(self, dtype: DType) -> bool {
        match self {
            Self::Floats => FLOATS.contains(&dtype),
            Self::Signed => {
                FLOATS.contains(&dtype)
                    || matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64)
            }
            Self::Numbers => dtype != DType::Bool,
            Self::Integers => INTEGERS.contains(&dtype),
            Self::Truth => dtype == DType::Bool,
        }
    }
}

impl Unary {
    fn domain(self) -> Domain {
        match self {
            Self::Abs | Self::Sign => Domain::Numbers,
            Self::Neg | Self::Relu => Domain::Signed,
            Self::BitwiseNot => Domain::Integers,
            Self::Not => Domain::Truth,
            _ => Domain::Floats,
        }
    }
}

impl Operator for Unary {
    fn name(&self) -> &'static str {
        match self {
            Self::Abs => "Abs",
            Self::Acos => "Acos",
            Self::Acosh => "Acosh",
            Self::Asin => "Asin",
            Self::Asinh => "Asinh",
            Self::Atan => "Atan",
            Self::Atanh => "Atanh",
            Self::BitwiseNot => "BitwiseNot",
            Self::Ceil => "Ceil",
            Self::Celu { .. } => "Celu",
            Self::Cos => "Cos",
            Self::Cosh => "Cosh",
            Self::Elu { .. } => "Elu",
            Self::Erf => "Erf",
            Self::Exp => "Exp",
            Self::Floor => "Floor",
            Self::Gelu { .. } => "Gelu",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::HardSwish => "HardSwish",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::Log => "Log",
            Self::Mish => "Mish",
            Self::Neg => "Neg",
            Self::Not => "Not",
            Self::Reciprocal => "Reciprocal",
            Self::Relu => "Relu",
            Self::Round => "Round",
            Self::Selu { .. } => "Selu",
            Self::Shrink { .. } => "Shrink",
            Self::Sigmoid => "Sigmoid",
            Self::Sign => "Sign",
            Self::Sin => "Sin",
            Self::Sinh => "Sinh",
            Self::Softplus => "Softplus",
            Self::Softsign => "Softsign",
            Self::Sqrt => "Sqrt",
            Self::Swish { .. } => "Swish",
            Self::Tan => "Tan",
            Self::Tanh => "Tanh",
            Self::ThresholdedRelu { .. } => "ThresholdedRelu",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let x = required(inputs, 0, "X")?;
        let domain = self.domain();
        fits(x, "X", domain.name(), |dtype| domain.has(dtype))?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(UnaryStep {
            function: *self,
            dtype: required(inputs, 0, "X")?.dtype,
            isa: Isa::selected(),
        }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(*self))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        unary_backward::gradient(*self, backward)
    }
}

struct UnaryStep {
    function: Unary,
    dtype: DType,
    isa: Isa,
}

impl UnaryStep {
    /// y ← body(x), piece by piece; where the elements of x stand in y there is none.
    fn pieces<T: Convert>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        body: impl Fn(Option<&[T]>, &mut [T]) + Sync,
    ) -> Result<()> {
        let x = read_optional::<T>(inputs, 0)?;
        let y = write::<T>(outputs, 0)?;
        in_pieces(y, |start, y| {
            body(x.map(|x| &x[start..start + y.len()]), y);
        });
        Ok(())
    }

    /// The same by a function of an element.
    fn each<T: Convert>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        function: impl Fn(T) -> T + Sync,
    ) -> Result<()> {
        self.pieces::<T>(inputs, outputs, |x, y| match x {
            Some(x) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = function(x)),
            None => y.iter_mut().for_each(|y| *y = function(*y)),
        })
    }
}

impl Step for UnaryStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let (function, isa) = (self.function, self.isa);
        match self.dtype {
            DType::F32 => self.pieces::<f32>(inputs, outputs, |x, y| function.singles(isa, x, y)),
            DType::F64 => self.each::<f64>(inputs, outputs, |x| function.double(x)),
            DType::F16 => {
                self.pieces::<half::f16>(inputs, outputs, |x, y| function.halves(isa, x, y))
            }
            DType::Bf16 => {
                self.pieces::<half::bf16>(inputs, outputs, |x, y| function.halves(isa, x, y))
            }
            DType::Bool => self.each::<bool>(inputs, outputs, |x| !x),
            dtype => with_integer!(
                dtype,
                T => self.each::<T>(inputs, outputs, |x| function.integer(x)),
                Err(wrong("X", "a type of numbers", dtype.name()))
            ),
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, integers, run};
    use crate::network::tensor::Tensor;

    /// Every function of floats, with its attributes at the defaults of ONNX.
    fn of_floats() -> Vec<Unary> {
        use Unary::*;
        vec![
            Abs,
            Acos,
            Acosh,
            Asin,
            Asinh,
            Atan,
            Atanh,
            Ceil,
            Celu { alpha: 1.5 },
            Celu { alpha: -1.5 },
            Cos,
            Cosh,
            Elu { alpha: 1.5 },
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
            LeakyRelu { alpha: 0.01 },
            Log,
            Mish,
            Neg,
            Reciprocal,
            Relu,
            Round,
            Selu {
                alpha: 1.673_263_2,
                gamma: 1.050_701,
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
            Sqrt,
            Swish { alpha: 1.0 },
            Tan,
            Tanh,
            ThresholdedRelu { alpha: 1.0 },
        ]
    }

    #[test]
    fn singles_are_doubles_rounded() {
        let x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 1.25e-3).collect();
        let tensor = floats(&[x.len()], x.clone());
        for function in of_floats() {
            let y = run(&function, std::slice::from_ref(&tensor)).unwrap();
            for (&x, &y) in x.iter().zip(y[0].array::<f32>().unwrap()) {
                let want = function.double(x.into());
                let same = f64::from(y) == want || y.is_nan() && want.is_nan();
                // kernel/functions.rs is judged more sharply; here the names must belong to the functions.
                let close = (f64::from(y) - want).abs() <= 1e-5 * want.abs() + 1e-7;
                assert!(close || same, "{function:?} at {x}: {y}, not {want}");
            }
        }
    }

    #[test]
    fn nan_stays_and_the_sign_of_integers_is_known() {
        for function in of_floats() {
            for nan in [f32::NAN, -f32::NAN] {
                let y = run(&function, &[floats(&[1], [nan])]).unwrap();
                assert!(y[0].array::<f32>().unwrap()[0].is_nan(), "{function:?}");
            }
        }
        let x = integers(&[i64::MIN, -2, 0, 7]);
        let of = |function: Unary| run(&function, std::slice::from_ref(&x)).unwrap().remove(0);
        assert_eq!(of(Unary::Abs), integers(&[i64::MIN, 2, 0, 7]));
        assert_eq!(of(Unary::Neg), integers(&[i64::MIN, 2, 0, -7]));
        assert_eq!(of(Unary::Sign), integers(&[-1, -1, 0, 1]));
        assert_eq!(of(Unary::Relu), integers(&[0, 0, 0, 7]));
        assert_eq!(of(Unary::BitwiseNot), integers(&[i64::MAX, 1, -1, -8]));
    }

    #[test]
    fn halves_go_through_singles() {
        let x: Vec<half::f16> = (0..600)
            .map(|i| half::f16::from_f32(i as f32 / 64.0 - 4.0))
            .collect();
        let tensor: Tensor = ndarray::Array1::from(x.clone()).into_dyn().into();
        for function in of_floats() {
            let y = run(&function, std::slice::from_ref(&tensor)).unwrap();
            for (x, y) in x.iter().zip(y[0].array::<half::f16>().unwrap()) {
                let want = function.double(f64::from(*x));
                let close = (y.to_f64() - want).abs() <= 1e-3 * want.abs() + 1e-6;
                let special =
                    y.is_nan() && want.is_nan() || y.to_f64() == want || want.abs() > 65504.0;
                assert!(close || special, "{function:?} at {x}: {y}, not {want}");
            }
        }
    }

    #[test]
    fn empty_scalar_and_long_tensors() {
        assert_eq!(
            run(&Unary::Exp, &[floats(&[0, 3], [])]).unwrap()[0].shape(),
            [0, 3]
        );
        assert_eq!(
            run(&Unary::Exp, &[floats(&[], [0.0])]).unwrap(),
            [floats(&[], [1.0])]
        );
        let n = 100_000;
        let y = run(&Unary::Neg, &[floats(&[n], (0..n).map(|i| i as f32))]).unwrap();
        assert_eq!(y[0], floats(&[n], (0..n).map(|i| -(i as f32))));
    }

    #[test]
    fn other_types_are_refused() {
        let of = |dtype| Fact::new(dtype, [2]);
        assert!(infer(&Unary::Exp, &[&of(DType::I32)]).is_err());
        assert!(infer(&Unary::Not, &[&fact(&[2])]).is_err());
        assert!(infer(&Unary::Neg, &[&of(DType::U8)]).is_err());
        assert!(infer(&Unary::Neg, &[&fact(&[2]), &fact(&[2])]).is_err());
        assert!(infer(&Unary::BitwiseNot, &[&of(DType::Bool)]).is_err());
        assert!(infer(&Unary::Abs, &[]).is_err());
        let y = run(
            &Unary::Not,
            &[ndarray::arr1(&[true, false]).into_dyn().into()],
        )
        .unwrap();
        assert_eq!(y, [ndarray::arr1(&[false, true]).into_dyn().into()]);
    }
}
