//! CumSum: running sums along an axis.
//!
//! ```text
//! y[i] = x[0] + … + x[i]      exclusive: without x[i];  reverse: from the other end
//! ```
//!
//! The axis is the second input and may be computed. Floats are summed in f64; integers wrap.

use super::axes::around;
use crate::error::Result;
use crate::network::operator::check::{
    at_most, axis, fits, has_type, read, required, write, wrong,
};
use crate::network::operator::elementwise::{Number, with_number};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// CumSum: inputs x and the axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CumSum {
    /// Whether the element itself is left out.
    pub exclusive: bool,
    /// Whether the sums begin at the end.
    pub reverse: bool,
}

impl CumSum {
    /// The operator.
    pub fn new(exclusive: bool, reverse: bool) -> Self {
        Self { exclusive, reverse }
    }
}

impl Operator for CumSum {
    fn name(&self) -> &'static str {
        "CumSum"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (x, along) = (required(inputs, 0, "x")?, required(inputs, 1, "axis")?);
        fits(x, "x", "a type of numbers", |dtype| dtype != DType::Bool)?;
        has_type(along, "axis", &[DType::I64, DType::I32])?;
        if along.shape.iter().any(|&length| length != 1) {
            return Err(wrong(
                "axis",
                "a scalar",
                format!("of shape {:?}", along.shape),
            ));
        }
        if let Some(value) = along.value.as_deref().and_then(|value| value.integers()) {
            axis("axis", value[0], x.shape.len())?;
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "x")?;
        Ok(Box::new(CumSumStep {
            operator: *self,
            dtype: x.dtype,
            shape: x.shape.clone(),
        }))
    }
}

struct CumSumStep {
    operator: CumSum,
    dtype: DType,
    shape: Vec<usize>,
}

impl CumSumStep {
    fn sum<T: Number>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let along = match inputs.get(1) {
            Some(Some(View::I32(values))) => values.first().map(|&value| value.into()),
            _ => read::<i64>(inputs, 1)?.first().copied(),
        };
        let along = along.ok_or_else(|| wrong("axis", "a scalar", "empty"))?;
        let [_, length, inner] = around(&self.shape, axis("axis", along, self.shape.len())?);
        let (x, y) = (read::<T>(inputs, 0)?, write::<T>(outputs, 0)?);
        if y.is_empty() {
            return Ok(());
        }
        for lane in 0..y.len() / length {
            let start = lane / inner * length * inner + lane % inner;
            let (mut whole, mut real) = (T::ZERO, 0.0);
            for at in 0..length {
                let at = if self.operator.reverse {
                    length - 1 - at
                } else {
                    at
                };
                let place = start + at * inner;
                let before = if T::INTEGER { whole } else { T::from_f64(real) };
                if T::INTEGER {
                    whole = whole.plus(x[place]);
                } else {
                    real += x[place].to_f64();
                }
                y[place] = match self.operator.exclusive {
                    true => before,
                    false if T::INTEGER => whole,
                    false => T::from_f64(real),
                };
            }
        }
        Ok(())
    }
}

impl Step for CumSumStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_number!(self.dtype, T => self.sum::<T>(inputs, outputs), Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{constant, fact, floats, infer, integers, run};

    #[test]
    fn both_ends_with_and_without_the_element() {
        let x = floats(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let of = |exclusive, reverse, axis| {
            let operator = CumSum::new(exclusive, reverse);
            run(&operator, &[x.clone(), integers(&[axis])])
                .unwrap()
                .remove(0)
        };
        let want = |values: [f32; 6]| floats(&[2, 3], values);
        assert_eq!(of(false, false, 1), want([1.0, 3.0, 6.0, 4.0, 9.0, 15.0]));
        assert_eq!(of(true, false, -1), want([0.0, 1.0, 3.0, 0.0, 4.0, 9.0]));
        assert_eq!(of(false, true, 1), want([6.0, 5.0, 3.0, 15.0, 11.0, 6.0]));
        assert_eq!(of(true, true, 1), want([5.0, 3.0, 0.0, 11.0, 6.0, 0.0]));
        assert_eq!(of(false, false, 0), want([1.0, 2.0, 3.0, 5.0, 7.0, 9.0]));
    }

    #[test]
    fn integers_wrap_and_empty_arrays_stay() {
        let y = run(
            &CumSum::new(false, false),
            &[integers(&[i64::MAX, 1]), integers(&[0])],
        );
        assert_eq!(y.unwrap(), [integers(&[i64::MAX, i64::MIN])]);
        let y = run(
            &CumSum::new(false, false),
            &[floats(&[0, 2], []), integers(&[0])],
        );
        assert_eq!(y.unwrap()[0].shape(), [0, 2]);
    }

    #[test]
    fn the_axis_must_fit() {
        let operator = CumSum::new(false, false);
        assert!(infer(&operator, &[&fact(&[2]), &constant(&[1])]).is_err());
        assert!(infer(&operator, &[&fact(&[2]), &constant(&[0, 0])]).is_err());
        assert!(infer(&operator, &[&fact(&[2]), &fact(&[])]).is_err());
        assert!(infer(&operator, &[&fact(&[2])]).is_err());
        assert!(infer(&operator, &[&fact(&[2]), &Fact::new(DType::I64, [])]).is_ok());
    }
}
