//! Pow: a to the power b, where b may have another type than a.
//!
//! ```text
//! integer a, integer b   exact, modulo 2 to the number of bits; b < 0 is an error
//! otherwise              in f64, then in the type of a; f32 to the power f32 in f32
//! b = 2, constant        products
//! ```

use super::broadcast::{Broadcast, place, zip_in_place};
use super::convert::Convert;
use super::in_pieces;
use super::number::{Integer, Number, integer_power, with_integer, with_number};
use crate::error::Result;
use crate::kernel::{Isa, functions, map, map_in_place};
use crate::network::operator::check::{INTEGERS, read_optional, write, wrong};
use crate::network::operator::{Fact, Step};
use crate::network::tensor::{DType, Tensor, View, ViewMut};

/// How it is computed.
#[derive(Clone, Copy)]
enum Way {
    /// f32 times itself.
    Square,
    /// Both f32.
    Singles,
    /// Any types.
    Mixed,
}

pub(super) struct PowerStep {
    plan: Broadcast<2>,
    way: Way,
    base: DType,
    place: Option<usize>,
    isa: Isa,
}

/// The one element of `tensor`, if it has one.
fn only(tensor: &Tensor) -> Option<f64> {
    if tensor.len() != 1 {
        return None;
    }
    with_number!(
        tensor.dtype(),
        T => tensor.array::<T>()?.first().map(|value| value.to_f64()),
        None
    )
}

impl PowerStep {
    /// `a` to the power `b`, of which the result has the shape `out`.
    pub(super) fn new(plan: Broadcast<2>, a: &Fact, b: &Fact, out: &[usize]) -> Self {
        let constant = b.value.as_ref().and_then(|value| only(value));
        let way = match (a.dtype, b.dtype, constant) {
            (DType::F32, _, Some(2.0)) if a.shape == out => Way::Square,
            (DType::F32, DType::F32, _) => Way::Singles,
            _ => Way::Mixed,
        };
        Self {
            plan,
            way,
            base: a.dtype,
            place: place(&[Some(a)], out),
            isa: Isa::selected(),
        }
    }
}

/// Exponent `at`, as an integer where it is one.
fn exponent(exponents: View, at: usize) -> Exponent {
    match exponents {
        View::F32(values) => Exponent::Float(values[at].into()),
        View::F64(values) => Exponent::Float(values[at]),
        View::F16(values) => Exponent::Float(values[at].into()),
        View::Bf16(values) => Exponent::Float(values[at].into()),
        View::U64(values) => Exponent::Integer(values[at].into()),
        View::I8(values) => Exponent::Integer(values[at].into()),
        View::I16(values) => Exponent::Integer(values[at].into()),
        View::I32(values) => Exponent::Integer(values[at].into()),
        View::I64(values) => Exponent::Integer(values[at].into()),
        View::U8(values) => Exponent::Integer(values[at].into()),
        View::U16(values) => Exponent::Integer(values[at].into()),
        View::U32(values) => Exponent::Integer(values[at].into()),
        View::Bool(values) => Exponent::Integer(values[at].into()),
    }
}

enum Exponent {
    Integer(i128),
    Float(f64),
}

fn power<T: Number>(base: T, exponent: Exponent) -> T {
    match exponent {
        Exponent::Integer(exponent) if T::INTEGER => integer_power(base, exponent),
        Exponent::Integer(exponent) => T::from_f64(base.to_f64().powf(exponent as f64)),
        Exponent::Float(exponent) => T::from_f64(base.to_f64().powf(exponent)),
    }
}

impl PowerStep {
    fn mixed<T: Number>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let exponents = inputs.get(1).copied().flatten();
        let exponents = exponents.ok_or_else(|| wrong("Y", "an input", "left out"))?;
        if INTEGERS.contains(&self.base) {
            no_negative(exponents)?;
        }
        let bases = read_optional::<T>(inputs, 0)?;
        in_pieces(write::<T>(outputs, 0)?, |start, y| {
            self.plan.rows(start, y.len(), |[i, j], place| {
                for (column, y) in y[place].iter_mut().enumerate() {
                    let along = |input| if self.plan.moves(input) { column } else { 0 };
                    let base = bases.map_or(*y, |bases| bases[i + along(0)]);
                    *y = power(base, exponent(exponents, j + along(1)));
                }
            });
        });
        Ok(())
    }
}

/// An error where one of the integers is negative.
fn no_negative(exponents: View) -> Result<()> {
    let dtype = exponents.dtype();
    with_integer!(
        dtype,
        T => {
            let exponents = <T as crate::network::tensor::Scalar>::slice(exponents).unwrap_or(&[]);
            match exponents.iter().position(|&exponent| exponent.to_i128() < 0) {
                Some(at) => Err(wrong(
                    "Y",
                    "no negative powers of integers",
                    format!("{} at element {at}", exponents[at]),
                )),
                None => Ok(()),
            }
        },
        Ok(())
    )
}

impl Step for PowerStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.way {
            Way::Square => {
                let x = read_optional::<f32>(inputs, 0)?;
                in_pieces(write::<f32>(outputs, 0)?, |start, y| match x {
                    Some(x) => map(self.isa, functions::Square, &x[start..start + y.len()], y),
                    None => map_in_place(self.isa, functions::Square, y),
                });
                Ok(())
            }
            Way::Singles => {
                let pair = [read_optional(inputs, 0)?, read_optional(inputs, 1)?];
                zip_in_place(&self.plan, pair, write(outputs, 0)?, self.isa, f32::powf);
                Ok(())
            }
            Way::Mixed => with_number!(
                self.base,
                T => self.mixed::<T>(inputs, outputs),
                Err(wrong("X", "a type of numbers", self.base.name()))
            ),
        }
    }

    fn in_place(&self) -> Option<usize> {
        self.place
    }
}
