//! ArgMax and ArgMin: where the extreme of an axis is.
//!
//! ```text
//! the first of equals, or the last; NaN is more extreme than any number
//! ```

use std::sync::Arc;

use super::axes::{around, reduced_shape, reduces_turned};
use crate::error::Result;
use crate::network::operator::check::{
    at_most, axis, fits, read, required, turned_axis, write, wrong,
};
use crate::network::operator::elementwise::{Number, in_pieces, with_number};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// ArgMax or ArgMin of numbers; the places are i64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgExtreme {
    /// Whether the largest is looked for, not the smallest.
    pub largest: bool,
    /// The axis, counted from the end where negative.
    pub axis: i64,
    /// Whether the axis stays, with length 1.
    pub keep_axes: bool,
    /// Whether the last of equals counts, not the first.
    pub last: bool,
    /// Whether the input has its channels last; the axis is still counted as with the channels first.
    turned: bool,
}

impl ArgExtreme {
    /// The first of the largest along `axis`, or of the smallest.
    pub fn new(largest: bool, axis: i64, keep_axes: bool, last: bool) -> Self {
        Self {
            largest,
            axis,
            keep_axes,
            last,
            turned: false,
        }
    }

    fn axis(&self, rank: usize) -> Result<usize> {
        let axis = axis("axis", self.axis, rank)?;
        Ok(if self.turned {
            turned_axis(axis, rank)
        } else {
            axis
        })
    }
}

impl Operator for ArgExtreme {
    fn name(&self) -> &'static str {
        if self.largest { "ArgMax" } else { "ArgMin" }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let x = required(inputs, 0, "data")?;
        fits(x, "data", "a type of numbers", |dtype| dtype != DType::Bool)?;
        let axis = self.axis(x.shape.len())?;
        let shape = reduced_shape(&x.shape, &[axis], self.keep_axes);
        if x.shape[axis] == 0 && !shape.contains(&0) {
            return Err(wrong(
                "data",
                format!("elements along axis {axis}"),
                format!("none, shape {:?}", x.shape),
            ));
        }
        Ok(vec![Fact::new(DType::I64, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "data")?;
        Ok(Box::new(ArgStep {
            dtype: x.dtype,
            largest: self.largest,
            last: self.last,
            sizes: around(&x.shape, self.axis(x.shape.len())?),
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let x = required(inputs, 0, "data").ok()?;
        let axis = axis("axis", self.axis, x.shape.len()).ok()?;
        let fits = reduces_turned(&x.shape, &[axis], self.keep_axes);
        fits.then(|| {
            Arc::new(Self {
                turned: true,
                ..*self
            }) as Arc<dyn Operator>
        })
    }
}

struct ArgStep {
    dtype: DType,
    largest: bool,
    last: bool,
    /// `[outer, length, inner]`
    sizes: [usize; 3],
}

/// Lanes that are searched side by side.
const COLUMNS: usize = 64;

impl ArgStep {
    fn search<T: Number>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let [_, length, inner] = self.sizes;
        let x = read::<T>(inputs, 0)?;
        in_pieces(write::<i64>(outputs, 0)?, |start, y| {
            let mut done = 0;
            while done < y.len() {
                let (outer, column) = ((start + done) / inner, (start + done) % inner);
                let width = COLUMNS.min(inner - column).min(y.len() - done);
                let lanes = &x[outer * length * inner + column..];
                self.columns(lanes, inner, &mut y[done..done + width]);
                done += width;
            }
        });
        Ok(())
    }

    /// The places in neighbouring lanes, whose elements lie `inner` apart.
    fn columns<T: Number>(&self, lanes: &[T], inner: usize, places: &mut [i64]) {
        let mut best = [T::ZERO; COLUMNS];
        let best = &mut best[..places.len()];
        best.copy_from_slice(&lanes[..places.len()]);
        places.fill(0);
        for at in 1..self.sizes[1] {
            let row = &lanes[at * inner..][..places.len()];
            for ((best, place), &value) in best.iter_mut().zip(&mut *places).zip(row) {
                let beyond = if self.largest {
                    value > *best
                } else {
                    value < *best
                };
                let (nan, best_nan) = (is_nan(value), is_nan(*best));
                let equal = value == *best || (nan && best_nan);
                if (!best_nan && (beyond || nan)) || (self.last && equal) {
                    (*best, *place) = (value, at as i64);
                }
            }
        }
    }
}

fn is_nan<T: Number>(value: T) -> bool {
    value.partial_cmp(&value).is_none()
}

impl Step for ArgStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_number!(self.dtype, T => self.search::<T>(inputs, outputs), Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, integers, run};
    use crate::network::tensor::Tensor;

    fn places(operator: ArgExtreme, x: &Tensor) -> Vec<i64> {
        let y = run(&operator, std::slice::from_ref(x)).unwrap();
        y[0].array::<i64>().unwrap().iter().copied().collect()
    }

    #[test]
    fn ties_and_nan() {
        let x = floats(&[2, 4], [2.0, 7.0, 7.0, 1.0, 1.0, f32::NAN, f32::NAN, 9.0]);
        assert_eq!(places(ArgExtreme::new(true, 1, true, false), &x), [1, 1]);
        assert_eq!(places(ArgExtreme::new(true, 1, true, true), &x), [2, 2]);
        assert_eq!(places(ArgExtreme::new(false, 1, true, false), &x), [3, 1]);
        let x = integers(&[3, -8, 3, -8]);
        assert_eq!(places(ArgExtreme::new(true, 0, false, true), &x), [2]);
        assert_eq!(places(ArgExtreme::new(false, 0, false, false), &x), [1]);
    }

    #[test]
    fn every_axis_agrees_with_a_search() {
        let shape = [3, 5, 70];
        let value = |i: usize, j: usize, k: usize| ((i * 31 + j * 17 + k * 7) % 23) as f32;
        let all = (0..shape.iter().product()).map(|n: usize| value(n / 350, n / 70 % 5, n % 70));
        let x = floats(&shape, all);
        let search = |length: usize, of: &dyn Fn(usize) -> f32| {
            let best = (0..length).map(of).fold(f32::NEG_INFINITY, f32::max);
            (0..length).position(|at| of(at) == best).unwrap() as i64
        };
        let found = places(ArgExtreme::new(true, 1, false, false), &x);
        for (number, &found) in found.iter().enumerate() {
            let (i, k) = (number / 70, number % 70);
            assert_eq!(found, search(5, &|j| value(i, j, k)));
        }
        let found = places(ArgExtreme::new(true, -1, false, false), &x);
        for (number, &found) in found.iter().enumerate() {
            assert_eq!(found, search(70, &|k| value(number / 5, number % 5, k)));
        }
    }

    #[test]
    fn shapes_and_refusals() {
        let of = |keep| ArgExtreme::new(true, -2, keep, false);
        assert_eq!(
            infer(&of(true), &[&fact(&[2, 3])]).unwrap()[0].shape,
            [1, 3]
        );
        assert_eq!(infer(&of(false), &[&fact(&[2, 3])]).unwrap()[0].shape, [3]);
        assert!(infer(&of(true), &[&fact(&[0, 3])]).is_err());
        assert!(infer(&of(true), &[&fact(&[3])]).is_err());
        assert_eq!(
            run(&of(true), &[floats(&[2, 0], [])]).unwrap()[0].shape(),
            [1, 0]
        );
        assert!(infer(&of(true), &[&Fact::new(DType::Bool, [2, 2])]).is_err());
        let x = fact(&[1, 3, 2, 2]);
        let channels = ArgExtreme::new(true, 1, true, false);
        let turned = channels.channels_last(&[Some(&x)]).unwrap();
        let y = run(turned.as_ref(), &[floats(&[1, 1, 1, 3], [1.0, 5.0, 2.0])]).unwrap();
        assert_eq!(y[0].shape(), [1, 1, 1, 1]);
        assert!(
            ArgExtreme::new(true, 1, false, false)
                .channels_last(&[Some(&x)])
                .is_none()
        );
    }
}
