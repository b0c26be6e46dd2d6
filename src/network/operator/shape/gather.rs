//! Elements by their indices: Gather, GatherElements.
//!
//! ```text
//! Gather          y[a…, i…, b…] = x[a…, k[i…], b…]                  the axis is replaced by those of k
//! GatherElements  y[i…] = x[i…, with k[i…] on the axis]
//! ```
//!
//! Negative indices count from the end; others outside are errors, at planning where they are constant.

use std::sync::Arc;

use super::super::check::{
    at_most, axis, check_rank, has_type, optional, read, required, turned_axis, write, wrong,
};
use super::super::strided::{GRAIN, strides};
use super::super::{Fact, Facts, Operator, Step};
use super::gather_backward::GatherBackward;
use crate::error::{Result, check_len, product};
use crate::network::gradient::Backward;
use crate::network::tensor::{DType, Scalar, View, ViewMut, with_type};
use crate::parallel::try_for_each_piece;
use crate::plan::PlanOptions;

/// The types of indices.
pub(super) const INDEX: [DType; 2] = [DType::I64, DType::I32];

/// An index as a position of an axis of `length`.
pub(super) fn position(index: i64, length: usize) -> Result<usize> {
    let counted = i64::try_from(length).ok().and_then(|length| {
        let index = if index < 0 {
            index.checked_add(length)?
        } else {
            index
        };
        usize::try_from(index).ok()
    });
    counted.filter(|&at| at < length).ok_or_else(|| {
        wrong(
            "indices",
            format!("in -{length}..{length}"),
            index.to_string(),
        )
    })
}

/// Indices of either type.
#[derive(Clone, Copy)]
pub(super) enum Indices<'a> {
    Long(&'a [i64]),
    Short(&'a [i32]),
}

impl<'a> Indices<'a> {
    /// Those of input `index` of a step.
    pub(super) fn of(inputs: &[Option<View<'a>>], index: usize) -> Result<Self> {
        match inputs.get(index).copied().flatten() {
            Some(View::I32(short)) => Ok(Self::Short(short)),
            _ => read(inputs, index).map(Self::Long),
        }
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::Long(list) => list.len(),
            Self::Short(list) => list.len(),
        }
    }

    pub(super) fn at(self, index: usize) -> i64 {
        match self {
            Self::Long(list) => list[index],
            Self::Short(list) => list[index].into(),
        }
    }

    /// An error for the first that lies outside an axis of `length`.
    pub(super) fn check(self, length: usize) -> Result<()> {
        (0..self.len()).try_for_each(|index| position(self.at(index), length).map(drop))
    }
}

/// An error for a constant index that lies outside an axis of `length`.
fn check_constant(indices: &Fact, length: usize) -> Result<()> {
    has_type(indices, "indices", &INDEX)?;
    match &indices.value {
        Some(value) => Indices::of(&[Some(value.view())], 0)?.check(length),
        None => Ok(()),
    }
}

/// The parts of its input that indices name on an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    pub(crate) axis: i64,
}

impl Gather {
    /// Inputs: data, indices. Along `axis`.
    pub fn new(axis: i64) -> Self {
        Self { axis }
    }
}

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (data, indices) = (
            required(inputs, 0, "data")?,
            required(inputs, 1, "indices")?,
        );
        let at = axis("axis", self.axis, data.shape.len())?;
        check_constant(indices, data.shape[at])?;
        let parts = [&data.shape[..at], &indices.shape, &data.shape[at + 1..]];
        let shape = parts.concat();
        check_rank("indices", shape.len())?;
        product("output", &shape)?;
        Ok(vec![Fact::new(data.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (data, indices) = (
            required(inputs, 0, "data")?,
            required(inputs, 1, "indices")?,
        );
        let at = axis("axis", self.axis, data.shape.len())?;
        Ok(Box::new(Parts {
            dtype: data.dtype,
            length: data.shape[at],
            inner: product("data", &data.shape[at + 1..])?,
            indices: product("indices", &indices.shape)?,
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        // With one axis of indices the output has the axes of the data.
        let (data, indices) = (optional(inputs, 0)?, optional(inputs, 1)?);
        let rank = data.shape.len();
        let at = turned_axis(axis("axis", self.axis, rank).ok()?, rank);
        (indices.shape.len() == 1).then(|| Arc::new(Self::new(at as i64)) as Arc<dyn Operator>)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (data, indices, dy) = (backward.input(0)?, backward.input(1)?, backward.d_output()?);
        let shape = &backward.fact(data)?.shape;
        let at = axis("axis", self.axis, shape.len())?;
        let operator = GatherBackward::new(at, shape[at]);
        let gradient = backward.node(operator, &[dy, indices])?;
        backward.give(0, gradient)
    }
}

struct Parts {
    dtype: DType,
    length: usize,
    inner: usize,
    indices: usize,
}

impl Step for Parts {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let indices = Indices::of(inputs, 1)?;
        check_len("indices", self.indices, indices.len())?;
        indices.check(self.length)?;
        with_type!(self.dtype, T => self.take::<T>(read(inputs, 0)?, indices, write(outputs, 0)?))
    }
}

impl Parts {
    fn take<T: Scalar>(&self, data: &[T], indices: Indices, output: &mut [T]) -> Result<()> {
        let Self { length, inner, .. } = *self;
        if output.is_empty() {
            return Ok(());
        }
        // Nothing is empty: the output has a part of each.
        let outer = data.len() / (length * inner);
        check_len("output", outer * self.indices * inner, output.len())?;
        let step = GRAIN.div_ceil(inner);
        try_for_each_piece(output, step * inner, &|piece, output| {
            for (part, output) in output.chunks_exact_mut(inner).enumerate() {
                let part = piece * step + part;
                let at = position(indices.at(part % self.indices), length)?;
                let begin = (part / self.indices * length + at) * inner;
                output.copy_from_slice(&data[begin..begin + inner]);
            }
            Ok(())
        })
    }
}

/// For every element the one whose index on an axis is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherElements {
    pub(crate) axis: i64,
}

impl GatherElements {
    /// Inputs: data, indices of as many axes. Along `axis`.
    pub fn new(axis: i64) -> Self {
        Self { axis }
    }
}

/// An error unless `indices` has as many axes as `data`, of no more than its sizes but along `at`.
pub(super) fn check_elements(data: &Fact, indices: &Fact, at: usize) -> Result<()> {
    let fits = data.shape.len() == indices.shape.len()
        && (data.shape.iter().zip(&indices.shape).enumerate())
            .all(|(axis, (data, index))| axis == at || index <= data);
    if !fits {
        return Err(wrong(
            "indices",
            format!(
                "of no larger shape than {:?}, but for axis {at}",
                data.shape
            ),
            format!("{:?}", indices.shape),
        ));
    }
    check_constant(indices, data.shape[at])
}

impl Operator for GatherElements {
    fn name(&self) -> &'static str {
        "GatherElements"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (data, indices) = (
            required(inputs, 0, "data")?,
            required(inputs, 1, "indices")?,
        );
        check_elements(data, indices, axis("axis", self.axis, data.shape.len())?)?;
        Ok(vec![Fact::new(data.dtype, indices.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (data, indices) = (
            required(inputs, 0, "data")?,
            required(inputs, 1, "indices")?,
        );
        let at = axis("axis", self.axis, data.shape.len())?;
        Ok(Box::new(Elements {
            dtype: data.dtype,
            places: Places::new(&data.shape, &indices.shape, at)?,
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let rank = optional(inputs, 0)?.shape.len();
        let at = turned_axis(axis("axis", self.axis, rank).ok()?, rank);
        Some(Arc::new(Self::new(at as i64)))
    }
}

/// Where in the data each index points.
pub(super) struct Places {
    /// Of the indices, with the strides of the data; the stride along the axis of the indices is 0.
    axes: Vec<(usize, usize)>,
    /// Of the data along the axis.
    length: usize,
    stride: usize,
}

impl Places {
    pub(super) fn new(data: &[usize], indices: &[usize], at: usize) -> Result<Self> {
        let strides = strides(data)?;
        let mut axes: Vec<_> = (indices.iter().zip(&strides))
            .map(|(&length, stride)| (length, stride.unsigned_abs()))
            .collect();
        axes[at].1 = 0;
        Ok(Self {
            axes,
            length: data[at],
            stride: strides[at].unsigned_abs(),
        })
    }

    /// Where index number `flat`, which is `index`, points.
    pub(super) fn at(&self, flat: usize, index: i64) -> Result<usize> {
        let mut at = position(index, self.length)? * self.stride;
        let mut rest = flat;
        for &(length, stride) in self.axes.iter().rev() {
            at += rest % length * stride;
            rest /= length;
        }
        Ok(at)
    }
}

struct Elements {
    dtype: DType,
    places: Places,
}

impl Step for Elements {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let indices = Indices::of(inputs, 1)?;
        with_type!(self.dtype, T => {
            let (data, output): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
            check_len("output", indices.len(), output.len())?;
            for (flat, slot) in output.iter_mut().enumerate() {
                *slot = data[self.places.at(flat, indices.at(flat))?];
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{constant, fact, floats, infer, integers, run};
    use super::*;
    use crate::network::Tensor;

    fn table(shape: &[usize], values: &[i64]) -> Tensor {
        integers(values).reshape(shape).unwrap()
    }

    #[test]
    fn gather_replaces_an_axis() {
        let x = floats(&[3, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let gather = |axis, indices: Tensor| run(&Gather::new(axis), &[x.clone(), indices]);
        let y = gather(0, table(&[2, 2], &[0, -1, 1, 2])).unwrap();
        let rows = [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(y[0], floats(&[2, 2, 2], rows));
        let y = gather(-1, table(&[1], &[-2])).unwrap();
        assert_eq!(y[0], floats(&[3, 1], [1.0, 3.0, 5.0]));
        let scalar: Tensor = ndarray::arr0(1i32).into_dyn().into();
        assert_eq!(gather(0, scalar).unwrap()[0], floats(&[2], [3.0, 4.0]));
        assert_eq!(gather(0, table(&[0], &[])).unwrap()[0].shape(), [0, 2]);
        for index in [3, -4, i64::MIN, i64::MAX] {
            assert!(gather(0, table(&[1], &[index])).is_err());
        }
    }

    #[test]
    fn an_index_that_is_computed_is_checked_in_the_run() {
        let (data, mut indices) = (fact(&[3]), constant(&[7]));
        indices.value = None;
        let facts = [Some(&data), Some(&indices)];
        let step = Gather::new(0).step(&facts, &PlanOptions::new()).unwrap();
        let mut y = [0.0f32];
        let mut gather = |index: i64| {
            let inputs = [
                Some(View::F32(&[1.0, 2.0, 3.0])),
                Some(View::I64(&[index][..])),
            ];
            let result = step.run(&inputs, &mut [ViewMut::F32(&mut y)], &mut []);
            result.map(|()| y[0])
        };
        assert_eq!(gather(-1).unwrap(), 3.0);
        let error = gather(7).unwrap_err().to_string();
        assert_eq!(error, "indices is 7, expected in -3..3");
    }

    /// Nothing can be taken from nothing, and nothing is taken with no indices.
    #[test]
    fn empty_data() {
        let none = fact(&[0, 2]);
        assert!(infer(&Gather::new(0), &[&none, &constant(&[0])]).is_err());
        let y = run(&Gather::new(0), &[floats(&[0, 2], []), integers(&[])]).unwrap();
        assert_eq!(y[0].shape(), [0, 2]);
    }

    #[test]
    fn channels_last_is_another_axis() {
        let (x, one, two) = (fact(&[1, 4, 2, 2]), constant(&[0, 1]), fact(&[2, 2]));
        let turned = Gather::new(1)
            .channels_last(&[Some(&x), Some(&one)])
            .unwrap();
        let turned: &dyn std::any::Any = &*turned;
        assert_eq!(turned.downcast_ref(), Some(&Gather::new(3)));
        assert!(
            Gather::new(1)
                .channels_last(&[Some(&x), Some(&two)])
                .is_none()
        );
    }

    #[test]
    fn elements_of_the_specification() {
        let x = floats(&[3, 3], (1..10).map(|i| i as f32));
        let indices = table(&[2, 3], &[-2, 2, 0, 2, 0, 0]);
        let y = run(&GatherElements::new(0), &[x.clone(), indices]).unwrap();
        assert_eq!(y[0], floats(&[2, 3], [4.0, 8.0, 3.0, 7.0, 2.0, 3.0]));
        let (x, wide) = (fact(&[3, 3]), fact(&[4, 3]));
        assert!(infer(&GatherElements::new(1), &[&x, &wide]).is_err());
        assert!(infer(&GatherElements::new(0), &[&x, &constant(&[0])]).is_err());
    }
}
