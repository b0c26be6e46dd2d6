//! TopK: the k largest or smallest elements of an axis, sorted, and where they are.
//!
//! ```text
//! heap ← the first k;  each further element that goes before the heap's last replaces it;  sort by taking the last
//! a before b: the larger (smaller) one, of equals that at the lower place; NaN counts as the largest
//! ```
//!
//! The heap lies in the output: nothing is allocated.

use std::cmp::Ordering;

use super::axes::around;
use crate::error::Result;
use crate::network::operator::check::{at_most, axis, fits, integer, read, required, write, wrong};
use crate::network::operator::elementwise::{Number, with_number};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// TopK: inputs x and k, a constant; outputs the elements and their places, i64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The axis, counted from the end where negative.
    pub axis: i64,
    /// Whether the largest are wanted, not the smallest.
    pub largest: bool,
}

impl TopK {
    /// The operator.
    pub fn new(axis: i64, largest: bool) -> Self {
        Self { axis, largest }
    }

    /// The axis and k.
    fn sizes(&self, inputs: &Facts) -> Result<(usize, usize)> {
        let x = required(inputs, 0, "X")?;
        let axis = axis("axis", self.axis, x.shape.len())?;
        let wanted = integer(required(inputs, 1, "K")?, "K")?;
        let k = usize::try_from(wanted).ok().filter(|&k| k <= x.shape[axis]);
        let k = k.ok_or_else(|| {
            let expected = format!("0 to {}, the length of axis {axis}", x.shape[axis]);
            wrong("K", expected, wanted.to_string())
        })?;
        Ok((axis, k))
    }
}

impl Operator for TopK {
    fn name(&self) -> &'static str {
        "TopK"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let x = required(inputs, 0, "X")?;
        fits(x, "X", "a type of numbers", |dtype| dtype != DType::Bool)?;
        let (axis, k) = self.sizes(inputs)?;
        let mut shape = x.shape.clone();
        shape[axis] = k;
        Ok(vec![
            Fact::new(x.dtype, shape.clone()),
            Fact::new(DType::I64, shape),
        ])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "X")?;
        let (axis, k) = self.sizes(inputs)?;
        Ok(Box::new(TopKStep {
            dtype: x.dtype,
            sizes: around(&x.shape, axis),
            k,
            largest: self.largest,
        }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

struct TopKStep {
    dtype: DType,
    /// `[outer, length, inner]`
    sizes: [usize; 3],
    k: usize,
    largest: bool,
}

/// The heap of one lane: a binary heap whose root goes last, in elements `step` apart.
struct Heap<'a, T> {
    values: &'a mut [T],
    places: &'a mut [i64],
    step: usize,
    largest: bool,
}

impl<T: Number> Heap<'_, T> {
    fn get(&self, at: usize) -> (T, i64) {
        (self.values[at * self.step], self.places[at * self.step])
    }

    fn set(&mut self, at: usize, (value, place): (T, i64)) {
        self.values[at * self.step] = value;
        self.places[at * self.step] = place;
    }

    /// Whether `a` goes before `b`.
    fn before(&self, a: (T, i64), b: (T, i64)) -> bool {
        let order = match order(a.0, b.0) {
            order if self.largest => order.reverse(),
            order => order,
        };
        order.then(a.1.cmp(&b.1)) == Ordering::Less
    }

    /// Puts `entry` in the place of the root of a heap of `len`.
    fn sink(&mut self, entry: (T, i64), len: usize) {
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= len {
                break;
            }
            if child + 1 < len && self.before(self.get(child), self.get(child + 1)) {
                child += 1;
            }
            if !self.before(entry, self.get(child)) {
                break;
            }
            let moved = self.get(child);
            self.set(at, moved);
            at = child;
        }
        self.set(at, entry);
    }

    /// Adds `entry` to a heap of `at`.
    fn rise(&mut self, entry: (T, i64), mut at: usize) {
        while at > 0 && self.before(self.get((at - 1) / 2), entry) {
            let parent = self.get((at - 1) / 2);
            self.set(at, parent);
            at = (at - 1) / 2;
        }
        self.set(at, entry);
    }
}

/// The order of numbers, with NaN above all.
fn order<T: Number>(a: T, b: T) -> Ordering {
    let is_nan = |x: T| x.partial_cmp(&x).is_none();
    a.partial_cmp(&b)
        .unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

impl TopKStep {
    fn select<T: Number>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let ([outer, length, inner], k) = (self.sizes, self.k);
        let x = read::<T>(inputs, 0)?;
        let [values, places, ..] = outputs else {
            return Err(wrong(
                "the number of outputs",
                "2",
                outputs.len().to_string(),
            ));
        };
        let values = write::<T>(std::slice::from_mut(values), 0)?;
        let places = write::<i64>(std::slice::from_mut(places), 0)?;
        if k == 0 {
            return Ok(());
        }
        for lane in 0..outer * inner {
            let (from, to) = (
                lane / inner * length * inner + lane % inner,
                lane / inner * k * inner + lane % inner,
            );
            let mut heap = Heap {
                values: &mut values[to..],
                places: &mut places[to..],
                step: inner,
                largest: self.largest,
            };
            for at in 0..length {
                let entry = (x[from + at * inner], at as i64);
                if at < k {
                    heap.rise(entry, at);
                } else if heap.before(entry, heap.get(0)) {
                    heap.sink(entry, k);
                }
            }
            for last in (1..k).rev() {
                let (root, entry) = (heap.get(0), heap.get(last));
                heap.sink(entry, last);
                heap.set(last, root);
            }
        }
        Ok(())
    }
}

impl Step for TopKStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_number!(self.dtype, T => self.select::<T>(inputs, outputs), Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{constant, fact, floats, infer, integers, run};

    /// By sorting.
    fn check(shape: [usize; 3], axis: i64, k: usize, largest: bool) {
        let len: usize = shape.iter().product();
        let value = |n: usize| match n * 37 % 19 {
            18 => f32::NAN,
            rest => rest as f32,
        };
        let x = floats(&shape, (0..len).map(value));
        let y = run(&TopK::new(axis, largest), &[x, integers(&[k as i64])]).unwrap();
        let (values, places) = (y[0].array::<f32>().unwrap(), y[1].array::<i64>().unwrap());
        let [outer, length, inner] = around(&shape, axis as usize);
        for lane in 0..outer * inner {
            let from = lane / inner * length * inner + lane % inner;
            let mut all: Vec<_> = (0..length)
                .map(|at| (value(from + at * inner), at))
                .collect();
            all.sort_by(|a, b| {
                let order = order(a.0, b.0);
                if largest { order.reverse() } else { order }
            });
            for (at, (value, place)) in all.into_iter().take(k).enumerate() {
                let to = lane / inner * k * inner + at * inner + lane % inner;
                let (got, found) = (
                    values.as_slice().unwrap()[to],
                    places.as_slice().unwrap()[to],
                );
                assert_eq!(found, place as i64);
                assert!(got == value || got.is_nan() && value.is_nan());
            }
        }
    }

    #[test]
    fn agrees_with_a_stable_sort() {
        for largest in [false, true] {
            for k in [0, 1, 2, 3, 7] {
                check([7, 7, 7], 0, k, largest);
                check([2, 7, 5], 1, k, largest);
                check([3, 1, 40], 2, k, largest);
            }
            check([2, 50, 1], 1, 50, largest);
        }
    }

    #[test]
    fn k_must_be_known_and_fit() {
        let top = TopK::new(-1, true);
        let x = fact(&[2, 3]);
        assert_eq!(
            infer(&top, &[&x, &constant(&[2])]).unwrap()[1].shape,
            [2, 2]
        );
        for k in [4, -1, i64::MAX] {
            assert!(infer(&top, &[&x, &constant(&[k])]).is_err());
        }
        assert!(infer(&top, &[&x, &Fact::new(DType::I64, [1])]).is_err());
        assert!(infer(&top, &[&x]).is_err());
        assert!(infer(&TopK::new(2, true), &[&x, &constant(&[1])]).is_err());
    }
}
