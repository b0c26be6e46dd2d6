//! Elements to their indices: ScatterElements, ScatterND.
//!
//! ```text
//! y = x, then, in order:
//! ScatterElements  y[i…, with k[i…] on the axis] ⊕= u[i…]
//! ScatterND        y[k[i…, ..], b…] ⊕= u[i…, b…]                ⊕ replaces, adds, multiplies or takes an extreme
//! ```

use std::sync::Arc;

use super::super::check::{
    at_most, axis, has_shape, optional, read, required, turned_axis, write, wrong,
};
use super::super::{Fact, Facts, Operator, Step};
use super::gather::{Indices, Places, check_elements};
use super::gather_nd::{Slices, check_lists};
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, Scalar, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// What happens to an element that an update meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// It is replaced.
    #[default]
    None,
    /// Their sum; integers wrap.
    Add,
    /// Their product; integers wrap.
    Mul,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

/// A type with which elements and updates are combined.
trait Combine: Scalar {
    fn combine(reduction: Reduction, old: Self, new: Self) -> Self;
}

macro_rules! combine {
    ($add:expr, $mul:expr; $($type:ty)*) => {$(
        impl Combine for $type {
            fn combine(reduction: Reduction, old: Self, new: Self) -> Self {
                match reduction {
                    Reduction::None => new,
                    Reduction::Add => $add(old, new),
                    Reduction::Mul => $mul(old, new),
                    // NaN wins, as in a maximum of numpy.
                    #[allow(clippy::eq_op, reason = "NaN is what differs from itself")]
                    Reduction::Max => if new > old || new != new { new } else { old },
                    #[allow(clippy::eq_op, reason = "NaN is what differs from itself")]
                    Reduction::Min => if new < old || new != new { new } else { old },
                }
            }
        }
    )*};
}
combine!(|a, b| a + b, |a, b| a * b; f32 f64 half::f16 half::bf16);
combine!(Self::wrapping_add, Self::wrapping_mul; i8 i16 i32 i64 u8 u16 u32 u64);
combine!(|a, b| a | b, |a, b| a & b; bool);

/// Its input with updates along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScatterElements {
    pub(crate) axis: i64,
    pub(crate) reduction: Reduction,
}

impl ScatterElements {
    /// Inputs: data, indices, updates.
    pub fn new(axis: i64, reduction: Reduction) -> Self {
        Self { axis, reduction }
    }
}

/// Data, indices and updates of one element type.
fn operands<'a>(inputs: &Facts<'a>) -> Result<[&'a Fact; 3]> {
    at_most(inputs, 3)?;
    let [data, indices, updates] = [
        required(inputs, 0, "data")?,
        required(inputs, 1, "indices")?,
        required(inputs, 2, "updates")?,
    ];
    super::super::check::has_type(updates, "updates", &[data.dtype])?;
    Ok([data, indices, updates])
}

impl Operator for ScatterElements {
    fn name(&self) -> &'static str {
        "ScatterElements"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let [data, indices, updates] = operands(inputs)?;
        check_elements(data, indices, axis("axis", self.axis, data.shape.len())?)?;
        has_shape(updates, "updates", &indices.shape)?;
        Ok(vec![Fact::new(data.dtype, data.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let [data, indices, _] = operands(inputs)?;
        let at = axis("axis", self.axis, data.shape.len())?;
        Ok(Box::new(Scattered {
            dtype: data.dtype,
            reduction: self.reduction,
            to: To::Elements(Places::new(&data.shape, &indices.shape, at)?),
            updates: product("indices", &indices.shape)?,
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        // Updates would come in another order, which decides where they meet.
        let rank = optional(inputs, 0)?.shape.len();
        let at = turned_axis(axis("axis", self.axis, rank).ok()?, rank);
        (rank < 3).then(|| Arc::new(Self::new(at as i64, self.reduction)) as Arc<dyn Operator>)
    }
}

/// Its input with updates where lists of indices say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScatterND {
    pub(crate) reduction: Reduction,
}

impl ScatterND {
    /// Inputs: data, indices, updates.
    pub fn new(reduction: Reduction) -> Self {
        Self { reduction }
    }
}

impl Operator for ScatterND {
    fn name(&self) -> &'static str {
        "ScatterND"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let [data, indices, updates] = operands(inputs)?;
        let (_, width) = check_lists(data, indices, 0)?;
        let lists = &indices.shape[..indices.shape.len() - 1];
        has_shape(updates, "updates", &[lists, &data.shape[width..]].concat())?;
        Ok(vec![Fact::new(data.dtype, data.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let [data, indices, updates] = operands(inputs)?;
        let (_, width) = check_lists(data, indices, 0)?;
        Ok(Box::new(Scattered {
            dtype: data.dtype,
            reduction: self.reduction,
            to: To::Lists(Slices::new(&data.shape, width)?),
            updates: product("updates", &updates.shape)?,
        }))
    }
}

/// Where updates go.
enum To {
    Elements(Places),
    Lists(Slices),
}

struct Scattered {
    dtype: DType,
    reduction: Reduction,
    to: To,
    updates: usize,
}

impl Step for Scattered {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.dtype, T => {
            let (updates, output): (&[T], &mut [T]) = (read(inputs, 2)?, write(outputs, 0)?);
            check_len("updates", self.updates, updates.len())?;
            if let Some(data) = inputs.first().copied().flatten() {
                let data = T::slice(data).ok_or_else(|| wrong("data", T::DTYPE.name(), data.dtype().name()))?;
                check_len("data", output.len(), data.len())?;
                output.copy_from_slice(data);
            }
            self.update(Indices::of(inputs, 1)?, updates, output)
        })
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

impl Scattered {
    fn update<T: Combine>(&self, indices: Indices, updates: &[T], output: &mut [T]) -> Result<()> {
        let combine = |slot: &mut T, new| *slot = T::combine(self.reduction, *slot, new);
        match (&self.to, indices) {
            (To::Elements(places), indices) => {
                check_len("indices", updates.len(), indices.len())?;
                for (flat, &new) in updates.iter().enumerate() {
                    combine(&mut output[places.at(flat, indices.at(flat))?], new);
                }
            }
            (To::Lists(slices), Indices::Long(indices)) => {
                let lists = indices.chunks_exact(slices.width());
                check_len("updates", lists.len() * slices.inner, updates.len())?;
                for (number, list) in lists.enumerate() {
                    let begin = slices.begin(list)?;
                    let part = &mut output[begin..begin + slices.inner];
                    let updates = &updates[number * slices.inner..][..slices.inner];
                    for (slot, &new) in part.iter_mut().zip(updates) {
                        combine(slot, new);
                    }
                }
            }
            (To::Lists(_), Indices::Short(_)) => return Err(wrong("indices", "i64", "i32")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{constant, fact, floats, infer, integers, run};
    use super::*;

    #[test]
    fn elements_of_the_specification() {
        let scatter = |reduction, updates: [f32; 2]| {
            let inputs = [
                floats(&[1, 5], [1.0, 2.0, 3.0, 4.0, 5.0]),
                integers(&[1, -4]).reshape(&[1, 2]).unwrap(),
                floats(&[1, 2], updates),
            ];
            let y = run(&ScatterElements::new(1, reduction), &inputs).unwrap();
            y[0].array::<f32>().unwrap()[[0, 1]]
        };
        assert_eq!(scatter(Reduction::None, [1.1, 2.1]), 2.1);
        assert_eq!(scatter(Reduction::Add, [1.5, 2.5]), 6.0);
        assert_eq!(scatter(Reduction::Mul, [1.5, 4.0]), 12.0);
        assert_eq!(scatter(Reduction::Max, [1.0, 4.0]), 4.0);
        assert_eq!(
            scatter(Reduction::Min, [1.0, f32::NAN]).to_bits(),
            f32::NAN.to_bits()
        );
    }

    #[test]
    fn lists_replace_parts() {
        let x = floats(&[3, 2], [0.0; 6]);
        let lists = integers(&[2, -3]).reshape(&[2, 1]).unwrap();
        let updates = floats(&[2, 2], [1.0, 2.0, 3.0, 4.0]);
        let y = run(&ScatterND::new(Reduction::None), &[x, lists, updates]).unwrap();
        assert_eq!(y[0], floats(&[3, 2], [3.0, 4.0, 0.0, 0.0, 1.0, 2.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, updates) = (fact(&[4]), fact(&[2]));
        let element = ScatterElements::new(0, Reduction::None);
        assert!(infer(&element, &[&x, &constant(&[0, 4]), &updates]).is_err());
        assert!(infer(&element, &[&x, &constant(&[0]), &updates]).is_err());
        assert!(infer(&element, &[&x, &constant(&[0, 1]), &constant(&[0, 1])]).is_err());
        let lists = ScatterND::new(Reduction::Add);
        assert!(infer(&lists, &[&x, &constant(&[9]), &fact(&[])]).is_err());
        assert!(infer(&lists, &[&x, &constant(&[1]), &updates]).is_err());
    }
}
