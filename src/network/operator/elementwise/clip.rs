//! Clip: x within two bounds.
//!
//! ```text
//! y = min(max(x, low), high)      high wins where low > high; NaN stays; a bound left out is none
//! ```

use std::sync::Arc;

use super::clip_backward;
use super::in_pieces;
use super::number::{Number, with_number};
use crate::error::Result;
use crate::geometry::Axis;
use crate::kernel::{Isa, functions, map, map_in_place};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::check::{
    FLOATS, at_most, fits, has_type, optional, read, read_optional, required, write, wrong,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// Clip: inputs x, low and high, the bounds scalars that may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clip;

impl Clip {
    /// The operator.
    pub fn new() -> Self {
        Self
    }

    /// The bounds of f32 inputs, where they are constant; infinite where they are left out.
    pub fn bounds(inputs: &Facts) -> Option<(f32, f32)> {
        let bound = |index: usize, none: f32| match optional(inputs, index) {
            None => Some(none),
            Some(fact) => fact.value.as_deref()?.array::<f32>()?.first().copied(),
        };
        Some((bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?))
    }
}

impl Operator for Clip {
    fn name(&self) -> &'static str {
        "Clip"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        let x = required(inputs, 0, "input")?;
        let number = |dtype| dtype != DType::Bool;
        fits(x, "input", "a type of numbers", number)?;
        for (index, operand) in [(1, "min"), (2, "max")] {
            if let Some(bound) = optional(inputs, index) {
                // The attributes that bounds once were are f32 for all types.
                let float = FLOATS.contains(&x.dtype);
                let types = [x.dtype, if float { DType::F32 } else { x.dtype }];
                has_type(bound, operand, &types)?;
                if bound.shape.iter().any(|&length| length != 1) {
                    return Err(wrong(
                        operand,
                        "a scalar",
                        format!("of shape {:?}", bound.shape),
                    ));
                }
            }
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(ClipStep {
            dtype: required(inputs, 0, "input")?.dtype,
            bounded: [1, 2].map(|index| optional(inputs, index).is_some()),
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
        clip_backward::gradient(backward)
    }
}

struct ClipStep {
    dtype: DType,
    /// Whether there is a lower and an upper bound.
    bounded: [bool; 2],
    isa: Isa,
}

impl ClipStep {
    /// The bounds of this run.
    fn bounds<T: Number>(&self, inputs: &[Option<View>]) -> Result<(T, T)> {
        let [low, high] = self.bounded;
        bounds(inputs, [low.then_some(1), high.then_some(2)])
    }

    fn clip<T: Number>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let (low, high) = self.bounds::<T>(inputs)?;
        let x = read_optional::<T>(inputs, 0)?;
        in_pieces(write::<T>(outputs, 0)?, |start, y| {
            if let Some(x) = x {
                y.copy_from_slice(&x[start..start + y.len()]);
            }
            for y in y {
                let raised = if *y < low { low } else { *y };
                *y = if raised > high { high } else { raised };
            }
        });
        Ok(())
    }
}

/// The bounds that stand in the inputs of these numbers, or none.
pub(super) fn bounds<T: Number>(
    inputs: &[Option<View>],
    [low, high]: [Option<usize>; 2],
) -> Result<(T, T)> {
    let bound = |index: Option<usize>, none: T| {
        let Some(index) = index else {
            return Ok(none);
        };
        let first = match inputs.get(index) {
            Some(Some(View::F32(values))) => values.first().map(|&value| T::from_f32(value)),
            _ => read::<T>(inputs, index)?.first().copied(),
        };
        first.ok_or_else(|| wrong("a bound", "a scalar", "empty"))
    };
    Ok((bound(low, T::LOWEST)?, bound(high, T::HIGHEST)?))
}

impl Step for ClipStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        if self.dtype != DType::F32 {
            return with_number!(
                self.dtype,
                T => self.clip::<T>(inputs, outputs),
                Err(wrong("input", "a type of numbers", self.dtype.name()))
            );
        }
        let (low, high) = self.bounds(inputs)?;
        let x = read_optional::<f32>(inputs, 0)?;
        let clamp = functions::Clamp(low, high);
        in_pieces(write::<f32>(outputs, 0)?, |start, y| match x {
            Some(x) => map(self.isa, clamp, &x[start..start + y.len()], y),
            None => map_in_place(self.isa, clamp, y),
        });
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, integers, run, run_some};

    #[test]
    fn bounds_may_be_left_out_and_high_wins() {
        let x = floats(&[4], [-1.0, 0.5, 9.0, f32::NAN]);
        let (low, high) = (floats(&[], [0.0]), floats(&[1], [6.0]));
        let same = |inputs: &[Option<&_>], want: [f32; 3]| {
            let y = run_some(&Clip, inputs).unwrap().remove(0);
            let y = y.array::<f32>().unwrap();
            assert_eq!(y.as_slice().unwrap()[..3], want);
            assert!(y[3].is_nan());
        };
        same(&[Some(&x)], [-1.0, 0.5, 9.0]);
        same(&[Some(&x), Some(&low)], [0.0, 0.5, 9.0]);
        same(&[Some(&x), None, Some(&high)], [-1.0, 0.5, 6.0]);
        same(&[Some(&x), Some(&low), Some(&high)], [0.0, 0.5, 6.0]);
        same(&[Some(&x), Some(&high), Some(&low)], [0.0; 3]);
    }

    #[test]
    fn integers_are_clipped_too() {
        let y = run(
            &Clip,
            &[integers(&[-5, 3, 9]), integers(&[-2]), integers(&[4])],
        )
        .unwrap();
        assert_eq!(y, [integers(&[-2, 3, 4])]);
    }

    #[test]
    fn bounds_that_are_no_scalars_are_refused() {
        let x = fact(&[3]);
        assert!(infer(&Clip, &[&x, &fact(&[0])]).is_err());
        assert!(infer(&Clip, &[&x, &fact(&[2])]).is_err());
        assert!(infer(&Clip, &[&x, &Fact::new(DType::F64, [])]).is_err());
        assert!(infer(&Clip, &[&x, &fact(&[]), &fact(&[]), &fact(&[])]).is_err());
        assert!(infer(&Clip, &[]).is_err());
    }

    #[test]
    fn constant_bounds_are_known() {
        let bound = Fact::constant(Arc::new(floats(&[], [6.0])));
        let x = fact(&[3]);
        assert_eq!(
            Clip::bounds(&[Some(&x), None, Some(&bound)]),
            Some((f32::NEG_INFINITY, 6.0))
        );
        assert_eq!(Clip::bounds(&[Some(&x), Some(&x)]), None);
    }
}
