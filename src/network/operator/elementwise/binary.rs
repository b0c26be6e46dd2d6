//! Functions of two read, broadcast: arithmetic, comparisons, logic, bits.
//!
//! ```text
//! y = f(a, b)     f32 sums, differences, products, quotients and PRelu: vectors; the rest element by element
//! ```
//!
//! Integers wrap; an integer divided by zero, or raised to a negative power, is an error. Bits shifted out are gone.

use std::sync::Arc;

use super::aligned::channels_last;
use super::binary_gradient;
use super::broadcast::{Broadcast, broadcast_shape, place, zip, zip_in_place};
use super::number::{Integer, Number, with_integer, with_number};
use super::power::PowerStep;
use crate::error::{Error, Result};
use crate::geometry::Axis;
use crate::kernel::Isa;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::elementwise as by_element;
use crate::network::operator::check::{
    FLOATS, INTEGERS, at_most, fits, has_type, read, read_optional, required, write, wrong,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// A function of the elements of two inputs. Every variant is the ONNX operator of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binary {
    /// a + b
    Add,
    /// a and b, of truth values.
    And,
    /// The bits of a shifted by b, of unsigned integers.
    BitShift {
        /// Towards the higher bits.
        left: bool,
    },
    /// a and b, bit by bit.
    BitwiseAnd,
    /// a or b, bit by bit.
    BitwiseOr,
    /// Either a or b, bit by bit.
    BitwiseXor,
    /// a / b; of integers truncated.
    Div,
    /// a = b
    Equal,
    /// a > b
    Greater,
    /// a ≥ b
    GreaterOrEqual,
    /// a < b
    Less,
    /// a ≤ b
    LessOrEqual,
    /// The remainder of a / b with the sign of b, or with that of a.
    Mod {
        /// With the sign of a; needed for floats.
        fmod: bool,
    },
    /// a · b
    Mul,
    /// a or b, of truth values.
    Or,
    /// a to the power b, in the type of a.
    Pow,
    /// a where a ≥ 0, else b · a.
    PRelu,
    /// a − b
    Sub,
    /// Either a or b, of truth values.
    Xor,
}

impl Binary {
    /// The types it takes, in words, and whether `dtype` is one.
    fn takes(self, dtype: DType) -> (&'static str, bool) {
        match self {
            Self::And | Self::Or | Self::Xor => ("bool", dtype == DType::Bool),
            Self::BitwiseAnd | Self::BitwiseOr | Self::BitwiseXor => {
                ("a type of integers", INTEGERS.contains(&dtype))
            }
            Self::BitShift { .. } => (
                "an unsigned type",
                matches!(dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64),
            ),
            Self::Equal => ("any type", true),
            Self::Mod { fmod: false } => (
                "a type of integers, as fmod is 0",
                INTEGERS.contains(&dtype),
            ),
            _ => ("a type of numbers", dtype != DType::Bool),
        }
    }

    fn compares(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::Greater | Self::GreaterOrEqual | Self::Less | Self::LessOrEqual
        )
    }

    fn divides(self) -> bool {
        matches!(self, Self::Div | Self::Mod { .. })
    }

    /// The function of numbers.
    fn number<T: Number>(self) -> Option<fn(T, T) -> T> {
        Some(match self {
            Self::Add => T::plus,
            Self::Sub => T::minus,
            Self::Mul => T::times,
            Self::Div => T::over,
            Self::Mod { fmod: true } => T::remainder,
            Self::Mod { fmod: false } => T::modulo,
            Self::PRelu => |a, b| if a < T::ZERO { b.times(a) } else { a },
            _ => return None,
        })
    }

    /// The function of integers.
    fn integer<T: Integer>(self) -> Option<fn(T, T) -> T> {
        Some(match self {
            Self::BitwiseAnd => T::and,
            Self::BitwiseOr => T::or,
            Self::BitwiseXor => T::xor,
            Self::BitShift { left: true } => T::left,
            Self::BitShift { left: false } => T::right,
            _ => return self.number(),
        })
    }

    /// The function of truth values.
    fn truth(self) -> Option<fn(bool, bool) -> bool> {
        Some(match self {
            Self::And => |a, b| a & b,
            Self::Or => |a, b| a | b,
            Self::Xor => |a, b| a ^ b,
            _ => return None,
        })
    }

    /// The comparison.
    fn comparison<T: Scalar + PartialOrd>(self) -> Option<fn(T, T) -> bool> {
        Some(match self {
            Self::Equal => |a, b| a == b,
            Self::Greater => |a, b| a > b,
            Self::GreaterOrEqual => |a, b| a >= b,
            Self::Less => |a, b| a < b,
            Self::LessOrEqual => |a, b| a <= b,
            _ => return None,
        })
    }
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::And => "And",
            Self::BitShift { .. } => "BitShift",
            Self::BitwiseAnd => "BitwiseAnd",
            Self::BitwiseOr => "BitwiseOr",
            Self::BitwiseXor => "BitwiseXor",
            Self::Div => "Div",
            Self::Equal => "Equal",
            Self::Greater => "Greater",
            Self::GreaterOrEqual => "GreaterOrEqual",
            Self::Less => "Less",
            Self::LessOrEqual => "LessOrEqual",
            Self::Mod { .. } => "Mod",
            Self::Mul => "Mul",
            Self::Or => "Or",
            Self::Pow => "Pow",
            Self::PRelu => "PRelu",
            Self::Sub => "Sub",
            Self::Xor => "Xor",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (a, b) = (required(inputs, 0, "A")?, required(inputs, 1, "B")?);
        let expected = self.takes(a.dtype).0;
        fits(a, "A", expected, |dtype| self.takes(dtype).1)?;
        if *self == Self::Pow {
            fits(b, "B", expected, |dtype| self.takes(dtype).1)?;
        } else {
            has_type(b, "B", &[a.dtype])?;
        }
        let shape = broadcast_shape(&[&a.shape, &b.shape])?;
        if *self == Self::PRelu && shape != a.shape {
            return Err(Error::Operand {
                operand: "slope",
                expected: format!("a shape that broadcasts to {:?}", a.shape),
                got: format!("{:?}", b.shape),
            });
        }
        let dtype = if self.compares() {
            DType::Bool
        } else {
            a.dtype
        };
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        by_element(inputs, batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (a, b) = (required(inputs, 0, "A")?, required(inputs, 1, "B")?);
        let shape = broadcast_shape(&[&a.shape, &b.shape])?;
        let plan = Broadcast::new(&shape, [&a.shape, &b.shape]);
        if *self == Self::Pow {
            return Ok(Box::new(PowerStep::new(plan, a, b, &shape)));
        }
        Ok(Box::new(BinaryStep {
            operator: *self,
            dtype: a.dtype,
            plan,
            place: if self.compares() {
                None
            } else {
                place(inputs, &shape)
            },
            isa: Isa::selected(),
        }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        channels_last(Arc::new(*self), inputs)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        binary_gradient::gradient(*self, backward)
    }
}

struct BinaryStep {
    operator: Binary,
    dtype: DType,
    plan: Broadcast<2>,
    place: Option<usize>,
    isa: Isa,
}

impl BinaryStep {
    /// By a function of the same type.
    fn same<T: Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        f: Option<impl Fn(T, T) -> T + Copy + Sync>,
    ) -> Result<()> {
        let f = f.ok_or_else(|| wrong("A", "another type", T::DTYPE.name()))?;
        let pair = [read_optional(inputs, 0)?, read_optional(inputs, 1)?];
        zip_in_place(&self.plan, pair, write(outputs, 0)?, self.isa, f);
        Ok(())
    }

    fn compare<T: Scalar + PartialOrd>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let f = self.operator.comparison::<T>();
        let f = f.ok_or_else(|| wrong("A", "another type", T::DTYPE.name()))?;
        let pair = [read(inputs, 0)?, read(inputs, 1)?];
        zip(&self.plan, pair, write(outputs, 0)?, self.isa, f);
        Ok(())
    }

    /// f32, with functions that are inlined.
    fn singles(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        match self.operator {
            Binary::Add => self.same(inputs, outputs, Some(|a: f32, b: f32| a + b)),
            Binary::Sub => self.same(inputs, outputs, Some(|a: f32, b: f32| a - b)),
            Binary::Mul => self.same(inputs, outputs, Some(|a: f32, b: f32| a * b)),
            Binary::Div => self.same(inputs, outputs, Some(|a: f32, b: f32| a / b)),
            Binary::PRelu => {
                let f = |a: f32, b: f32| if a < 0.0 { b * a } else { a };
                self.same(inputs, outputs, Some(f))
            }
            other => self.same(inputs, outputs, other.number::<f32>()),
        }
    }

    /// Integers; none may be divided by zero.
    fn integers<T: Integer>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        if self.operator.divides() && outputs.first().is_some_and(|y| !y.is_empty()) {
            let divisors = match read_optional::<T>(inputs, 1)? {
                Some(divisors) => divisors,
                None => &*write(outputs, 0)?,
            };
            if let Some(at) = divisors.iter().position(|&divisor| divisor == T::ZERO) {
                return Err(wrong(
                    "B",
                    "integers other than 0",
                    format!("0 at element {at}"),
                ));
            }
        }
        self.same(inputs, outputs, self.operator.integer::<T>())
    }
}

impl Step for BinaryStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let dtype = self.dtype;
        if self.operator.compares() {
            return with_number!(
                dtype,
                T => self.compare::<T>(inputs, outputs),
                self.compare::<bool>(inputs, outputs)
            );
        }
        match dtype {
            DType::F32 => self.singles(inputs, outputs),
            DType::Bool => self.same(inputs, outputs, self.operator.truth()),
            dtype if FLOATS.contains(&dtype) => with_number!(
                dtype,
                T => self.same(inputs, outputs, self.operator.number::<T>()),
                Ok(())
            ),
            dtype => with_integer!(dtype, T => self.integers::<T>(inputs, outputs), Ok(())),
        }
    }

    fn in_place(&self) -> Option<usize> {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, integers, run};
    use crate::network::tensor::Tensor;
    use ndarray::arr1;

    fn truths(values: &[bool]) -> Tensor {
        arr1(values).into_dyn().into()
    }

    fn of(operator: Binary, a: &[i64], b: &[i64]) -> Result<Tensor> {
        Ok(run(&operator, &[integers(a), integers(b)])?.remove(0))
    }

    #[test]
    fn broadcast_in_both_directions() {
        let (a, b) = (
            floats(&[2, 1], [1.0, 2.0]),
            floats(&[3], [10.0, 20.0, 30.0]),
        );
        let want = |values: [f32; 6]| vec![floats(&[2, 3], values)];
        let operands = [a, b];
        let sum = run(&Binary::Add, &operands).unwrap();
        assert_eq!(sum, want([11.0, 21.0, 31.0, 12.0, 22.0, 32.0]));
        let difference = run(&Binary::Sub, &operands).unwrap();
        assert_eq!(difference, want([-9.0, -19.0, -29.0, -8.0, -18.0, -28.0]));
        let product = run(&Binary::Mul, &operands).unwrap();
        assert_eq!(product, want([10.0, 20.0, 30.0, 20.0, 40.0, 60.0]));
        let quotient = run(&Binary::Div, &operands).unwrap();
        assert_eq!(
            quotient,
            want([1.0 / 10.0, 1.0 / 20.0, 1.0 / 30.0, 0.2, 0.1, 2.0 / 30.0])
        );
        let power = run(&Binary::Pow, &[operands[1].clone(), floats(&[], [2.0])]).unwrap();
        assert_eq!(power, [floats(&[3], [100.0, 400.0, 900.0])]);
        let empty = run(
            &Binary::Add,
            &[floats(&[0], []), floats(&[2, 1], [1.0, 2.0])],
        )
        .unwrap();
        assert_eq!(empty, [floats(&[2, 0], [])]);
    }

    #[test]
    fn integers_at_their_edges() {
        let (least, most) = (i64::MIN, i64::MAX);
        let same = |operator, a: &[i64], b: &[i64], want: &[i64]| {
            assert_eq!(of(operator, a, b).unwrap(), integers(want), "{operator:?}");
        };
        same(Binary::Add, &[most], &[1], &[least]);
        same(Binary::Sub, &[least], &[1], &[most]);
        same(Binary::Mul, &[least], &[-1], &[least]);
        same(
            Binary::Div,
            &[least, -7, 7, -7],
            &[-1, 2, -2, -2],
            &[least, -3, -3, 3],
        );
        let (a, b) = ([least, -7, 7, -7, 4], [-1, 3, -3, -3, 2]);
        same(Binary::Mod { fmod: false }, &a, &b, &[0, 2, -2, -1, 0]);
        same(Binary::Mod { fmod: true }, &a, &b, &[0, -1, 1, -1, 0]);
        same(
            Binary::Pow,
            &[-2, 0, 3, 2],
            &[63, 0, 4, 64],
            &[least, 1, 81, 0],
        );
        same(Binary::BitwiseXor, &[6], &[3], &[5]);
    }

    #[test]
    fn divisions_without_a_value_are_errors() {
        for operator in [
            Binary::Div,
            Binary::Mod { fmod: false },
            Binary::Mod { fmod: true },
        ] {
            let error = of(operator, &[1, 2, 3], &[1, 0, 1])
                .unwrap_err()
                .to_string();
            assert!(error.contains("0 at element 1"), "{error}");
            assert_eq!(of(operator, &[], &[0]).unwrap(), integers(&[]));
        }
        let error = of(Binary::Pow, &[2], &[-1]).unwrap_err().to_string();
        assert!(error.contains("-1 at element 0"), "{error}");
        let quotient = run(&Binary::Div, &[floats(&[1], [1.0]), floats(&[1], [0.0])]).unwrap();
        assert_eq!(quotient, [floats(&[1], [f32::INFINITY])]);
    }

    #[test]
    fn shifts_do_not_overflow() {
        let shift = |left, bits: u8| {
            let operands = [
                arr1(&[0x81_u8]).into_dyn().into(),
                arr1(&[bits]).into_dyn().into(),
            ];
            let y = run(&Binary::BitShift { left }, &operands).unwrap();
            y[0].array::<u8>().unwrap()[0]
        };
        assert_eq!(
            [0, 1, 7, 8, 255].map(|bits| shift(true, bits)),
            [0x81, 2, 0x80, 0, 0]
        );
        assert_eq!(
            [0, 1, 7, 8, 255].map(|bits| shift(false, bits)),
            [0x81, 0x40, 1, 0, 0]
        );
    }

    #[test]
    fn comparisons_are_false_for_nan() {
        let operands = [floats(&[4], [1.0, 2.0, 3.0, f32::NAN]), floats(&[1], [2.0])];
        let of = |operator: Binary| run(&operator, &operands).unwrap().remove(0);
        assert_eq!(of(Binary::Equal), truths(&[false, true, false, false]));
        assert_eq!(of(Binary::Less), truths(&[true, false, false, false]));
        assert_eq!(of(Binary::LessOrEqual), truths(&[true, true, false, false]));
        assert_eq!(of(Binary::Greater), truths(&[false, false, true, false]));
        assert_eq!(
            of(Binary::GreaterOrEqual),
            truths(&[false, true, true, false])
        );
    }

    #[test]
    fn truth_tables() {
        let operands = [
            truths(&[false, false, true, true]),
            truths(&[false, true, false, true]),
        ];
        let of = |operator: Binary| run(&operator, &operands).unwrap().remove(0);
        assert_eq!(of(Binary::And), truths(&[false, false, false, true]));
        assert_eq!(of(Binary::Or), truths(&[false, true, true, true]));
        assert_eq!(of(Binary::Xor), truths(&[false, true, true, false]));
        assert_eq!(of(Binary::Equal), truths(&[true, false, false, true]));
    }

    #[test]
    fn powers_have_the_type_of_their_base() {
        let power = run(&Binary::Pow, &[integers(&[2, 3]), floats(&[2], [0.5, 3.0])]).unwrap();
        assert_eq!(power, [integers(&[1, 27])]);
        let power = run(
            &Binary::Pow,
            &[floats(&[2], [4.0, 2.0]), integers(&[-1, 3])],
        )
        .unwrap();
        assert_eq!(power, [floats(&[2], [0.25, 8.0])]);
    }

    #[test]
    fn the_slope_of_prelu_goes_one_way() {
        let x = floats(&[2, 2], [-1.0, 2.0, -3.0, f32::NEG_INFINITY]);
        let y = run(&Binary::PRelu, &[x, floats(&[2], [0.5, 0.25])]).unwrap();
        assert_eq!(y, [floats(&[2, 2], [-0.5, 2.0, -1.5, f32::NEG_INFINITY])]);
        assert!(infer(&Binary::PRelu, &[&fact(&[2]), &fact(&[2, 2])]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let of = |dtype| Fact::new(dtype, [2]);
        assert!(infer(&Binary::Add, &[&fact(&[2]), &fact(&[3])]).is_err());
        assert!(infer(&Binary::Add, &[&fact(&[2]), &of(DType::F64)]).is_err());
        assert!(infer(&Binary::Add, &[&of(DType::Bool), &of(DType::Bool)]).is_err());
        assert!(infer(&Binary::And, &[&of(DType::I8), &of(DType::I8)]).is_err());
        assert!(infer(&Binary::Mod { fmod: false }, &[&fact(&[2]), &fact(&[2])]).is_err());
        assert!(infer(&Binary::Add, &[&fact(&[2])]).is_err());
        let huge = [&fact(&[usize::MAX / 2, 1]), &fact(&[1, 16])];
        assert!(infer(&Binary::Add, &huge).is_err());
    }

    #[test]
    fn channels_last_reads_operands_of_lower_rank_where_they_lie() {
        let (x, bias) = (fact(&[1, 3, 2, 2]), fact(&[3, 1, 1]));
        let turned = Binary::Add.channels_last(&[Some(&x), Some(&bias)]).unwrap();
        let x = floats(&[1, 2, 2, 3], (0..12).map(|i| i as f32));
        let bias = floats(&[3, 1, 1], [100.0, 200.0, 300.0]);
        let y = run(turned.as_ref(), &[x, bias]).unwrap();
        let want = (0..12).map(|i| (i % 3 * 100 + 100 + i) as f32);
        assert_eq!(y, [floats(&[1, 2, 2, 3], want)]);
        let (x, plane) = (fact(&[1, 3, 2, 2]), fact(&[3, 2, 2]));
        assert!(
            Binary::Add
                .channels_last(&[Some(&x), Some(&plane)])
                .is_none()
        );
    }
}
