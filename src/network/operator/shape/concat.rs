//! Concat and Split: arrays that stand beside each other along an axis.
//!
//! ```text
//! rows     the product of the sizes before the axis
//! chunk    the product of the sizes from the axis on, for each part; a row of the whole is a chunk of each
//! ```

use std::sync::Arc;

use super::super::check::{
    at_most, axis, integers, optional, read, required, size, turned_axis, write, wrong,
    wrong_attribute,
};
use super::super::strided::{GRAIN, Strided};
use super::super::{Fact, Facts, Operator, Step};
use super::slice::Slice;
use crate::error::{Result, product, sum};
use crate::geometry::Axis;
use crate::kernel::{Isa, copy_pixels};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::{first_alone, spares_first};
use crate::network::operator::elementwise::integers as list;
use crate::network::tensor::{DType, Scalar, Tensor, View, ViewMut, with_type};
use crate::parallel::{for_each_piece, join, try_for_each_piece};
use crate::plan::PlanOptions;

/// Its inputs, one behind the other along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    axis: i64,
}

impl Concat {
    /// Along `axis`.
    pub fn new(axis: i64) -> Self {
        Self { axis }
    }

    /// The axis, counted from the end where it is negative.
    pub(crate) fn axis(&self) -> i64 {
        self.axis
    }
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let first = required(inputs, 0, "inputs")?;
        let at = axis("axis", self.axis, first.shape.len())?;
        let mut shape = first.shape.clone();
        shape[at] = 0;
        for index in 0..inputs.len() {
            let fact = required(inputs, index, "inputs")?;
            let mut others = fact.shape.clone();
            if let Some(length) = others.get_mut(at) {
                shape[at] = sum("output", &[shape[at], *length])?;
                *length = first.shape[at];
            }
            if others != first.shape || fact.dtype != first.dtype {
                return Err(wrong(
                    "inputs",
                    format!(
                        "of type {} and shape {:?}, but for axis {at}",
                        first.dtype.name(),
                        first.shape
                    ),
                    format!("{} and {:?}", fact.dtype.name(), fact.shape),
                ));
            }
        }
        Ok(vec![Fact::new(first.dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let first = inputs.first().copied().flatten();
        !batched.contains(&false) && spares_first(first, &[self.axis])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let first = required(inputs, 0, "inputs")?;
        let at = axis("axis", self.axis, first.shape.len())?;
        let mut parts = Vec::new();
        let mut row = 0;
        for (input, fact) in inputs.iter().flatten().enumerate() {
            let chunk = product("inputs", &fact.shape[at..])?;
            if chunk > 0 {
                let begin = row;
                row = sum("output", &[row, chunk])?;
                parts.push(Part {
                    input,
                    begin,
                    chunk,
                });
            }
        }
        Ok(Box::new(Joined {
            dtype: first.dtype,
            parts,
            row,
            isa: Isa::selected(),
        }))
    }

    fn window(&self, inputs: &Facts) -> Option<Vec<Axis>> {
        let rank = optional(inputs, 0)?.shape.len();
        let at = axis("axis", self.axis, rank).ok()?;
        (at == 1).then(Vec::new)
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let rank = optional(inputs, 0)?.shape.len();
        let at = turned_axis(axis("axis", self.axis, rank).ok()?, rank);
        Some(Arc::new(Self::new(at as i64)))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let dy = backward.d_output()?;
        let rank = backward.fact(dy)?.shape.len();
        let at = axis("axis", self.axis, rank)?;
        let (mut index, mut begin) = (0, 0);
        while let Some(fact) = backward.input_fact(index) {
            let end = begin + fact.shape[at];
            if backward.wants(index) {
                let mut inputs = vec![dy];
                for number in [begin, end, at] {
                    inputs.push(backward.constant(list(vec![number as i64])));
                }
                let gradient = backward.node(Slice::new(), &inputs)?;
                backward.give(index, gradient)?;
            }
            (index, begin) = (index + 1, end);
        }
        Ok(())
    }
}

/// The chunks of one input in every row of the output.
#[derive(Clone, Copy, Debug)]
struct Part {
    input: usize,
    begin: usize,
    chunk: usize,
}

struct Joined {
    dtype: DType,
    parts: Vec<Part>,
    row: usize,
    isa: Isa,
}

impl Step for Joined {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.dtype, T => {
            for part in &self.parts {
                let source: &[T] = read(inputs, part.input)?;
                let rows = source.len() / part.chunk;
                crate::error::check_len("output", rows * self.row, write::<T>(outputs, 0)?.len())?;
            }
            self.join::<T>(inputs, write(outputs, 0)?)
        })
    }
}

impl Joined {
    fn join<T: Scalar>(&self, inputs: &[Option<View>], output: &mut [T]) -> Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        if self.row >= GRAIN {
            return try_for_each_piece(output, self.row, &|index, row| {
                self.long_row(&self.parts, inputs, index, row)
            });
        }
        let step = GRAIN.div_ceil(self.row);
        try_for_each_piece(output, step * self.row, &|index, piece| {
            for &part in &self.parts {
                let source: &[T] = read(inputs, part.input)?;
                self.chunks(part, &source[index * step * part.chunk..], piece);
            }
            Ok(())
        })
    }

    /// One row with the chunks of `parts`, halves at once.
    fn long_row<T: Scalar>(
        &self,
        parts: &[Part],
        inputs: &[Option<View>],
        index: usize,
        row: &mut [T],
    ) -> Result<()> {
        let &[part] = parts else {
            let (left, right) = parts.split_at(parts.len() / 2);
            let cut = right[0].begin - left[0].begin;
            let (first, second) = row.split_at_mut(cut);
            let (first, second) = join(
                || self.long_row(left, inputs, index, first),
                || self.long_row(right, inputs, index, second),
            );
            return first.and(second);
        };
        let source: &[T] = read(inputs, part.input)?;
        let source = &source[index * part.chunk..][..part.chunk];
        for_each_piece(row, GRAIN, &|index, row| {
            row.copy_from_slice(&source[index * GRAIN..][..row.len()]);
        });
        Ok(())
    }

    /// The chunks of one part in some whole rows; `source` begins with the first of them.
    fn chunks<T: Scalar>(&self, part: Part, source: &[T], rows: &mut [T]) {
        let count = rows.len() / self.row;
        let Part { begin, chunk, .. } = part;
        if let (View::F32(source), ViewMut::F32(rows)) = (T::view(source), T::view_mut(rows)) {
            let rows = &mut rows[begin..];
            return copy_pixels(self.isa, source, chunk, rows, self.row, [count, chunk]);
        }
        for (row, source) in rows
            .chunks_exact_mut(self.row)
            .zip(source.chunks_exact(chunk))
        {
            row[begin..begin + chunk].copy_from_slice(source);
        }
    }
}

/// Most parts of a Split: each costs memory even if it is empty.
const MOST_PARTS: usize = 1 << 16;

/// Its input, cut along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub(crate) axis: i64,
    pub(crate) outputs: usize,
    pub(crate) even: bool,
}

impl Split {
    /// Inputs: data, sizes. Along `axis` into `outputs` parts of those sizes, or, without the second input, into equal
    /// parts, of which the last may be smaller unless they must be `even`.
    pub fn new(axis: i64, outputs: usize, even: bool) -> Self {
        Self {
            axis,
            outputs,
            even,
        }
    }

    /// The axis and the length of every part on it.
    fn parts(&self, inputs: &Facts) -> Result<(usize, Vec<usize>)> {
        at_most(inputs, 2)?;
        if self.outputs > MOST_PARTS {
            let expected = format!("at most {MOST_PARTS}");
            return Err(wrong_attribute("num_outputs", expected, self.outputs));
        }
        let shape = &required(inputs, 0, "input")?.shape;
        let at = axis("axis", self.axis, shape.len())?;
        let length = shape[at];
        let parts = match optional(inputs, 1) {
            Some(fact) => {
                let given = integers(fact, "split")?;
                let parts = given.iter().map(|&part| size("split", part));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                if parts.len() != self.outputs || sum("split", &parts)? != length {
                    let expected = format!("{} sizes whose sum is {length}", self.outputs);
                    return Err(wrong("split", expected, format!("{given:?}")));
                }
                parts
            }
            None => {
                let part = length.div_ceil(self.outputs.max(1));
                let whole = self
                    .outputs
                    .checked_sub(1)
                    .and_then(|n| n.checked_mul(part));
                let rest = whole.and_then(|whole| length.checked_sub(whole));
                let (Some(rest), false) = (rest, self.even && length % self.outputs.max(1) != 0)
                else {
                    return Err(wrong_attribute(
                        "num_outputs",
                        format!("a number of parts that {length} can be cut into"),
                        self.outputs,
                    ));
                };
                let mut parts = vec![part; self.outputs];
                parts[self.outputs - 1] = rest;
                parts
            }
        };
        Ok((at, parts))
    }
}

impl Operator for Split {
    fn name(&self) -> &'static str {
        "Split"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let (at, parts) = self.parts(inputs)?;
        let input = required(inputs, 0, "input")?;
        let part = |length| {
            let mut shape = input.shape.clone();
            shape[at] = length;
            Fact::new(input.dtype, shape)
        };
        Ok(parts.into_iter().map(part).collect())
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let first = inputs.first().copied().flatten();
        first_alone(batched) && spares_first(first, &[self.axis])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (at, parts) = self.parts(inputs)?;
        let shape = &required(inputs, 0, "input")?.shape;
        let rows = product("input", &shape[..at])?;
        let (inner, len) = (
            product("input", &shape[at + 1..])?,
            product("input", shape)?,
        );
        let (row, mut begin) = (inner * shape[at], 0);
        let mut copies = Vec::with_capacity(parts.len());
        for part in parts {
            let chunk = part * inner;
            // The address space holds the input.
            copies.push(Strided::new(
                begin,
                &[(rows, row as isize), (chunk, 1)],
                len,
            )?);
            begin += chunk;
        }
        Ok(Box::new(Cut { copies }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let rank = optional(inputs, 0)?.shape.len();
        let at = turned_axis(axis("axis", self.axis, rank).ok()?, rank);
        Some(Arc::new(Self {
            axis: at as i64,
            ..self.clone()
        }))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let mut parts = Vec::with_capacity(self.outputs);
        for index in 0..self.outputs {
            parts.push(match backward.d_output_of(index) {
                Some(part) => part,
                None => {
                    // Nothing comes back from a part that the loss does not depend on.
                    let part = backward.output(index)?;
                    let fact = backward.fact(part)?;
                    let zeros = Tensor::zeros(fact.dtype, &fact.shape)?;
                    backward.constant(zeros)
                }
            });
        }
        let gradient = backward.node(Concat::new(self.axis), &parts)?;
        backward.give(0, gradient)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

struct Cut {
    copies: Vec<Strided>,
}

impl Step for Cut {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let input = inputs.first().copied().flatten();
        let input = input.ok_or_else(|| wrong("input", "a buffer", "none"))?;
        for (copy, output) in self.copies.iter().zip(outputs) {
            copy.run(input, output)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{
        check_gradient, constant, doubles, fact, floats, infer, integers, run,
    };
    use super::*;

    fn counted(shape: &[usize], from: usize) -> Tensor {
        let len: usize = shape.iter().product();
        floats(shape, (from..from + len).map(|i| i as f32))
    }

    /// Short rows, long ones, and parts without elements; then back again.
    #[test]
    fn split_undoes_concat() {
        for (shapes, axis) in [
            (vec![[2, 3, 5], [2, 1, 5], [2, 4, 5]], 1),
            (vec![[2, 3, 5], [2, 3, 1], [2, 3, 17]], -1),
            (vec![[1, 3, 5], [4, 3, 5]], 0),
            (vec![[3, 0, 5], [3, 2, 5], [3, 0, 5]], 1),
            (vec![[2, 300, 200], [2, 1, 200], [2, 170, 200]], 1),
            (vec![[700, 9, 16], [700, 9, 40]], 2),
            (vec![[3, 0, 5]], 1),
        ] {
            let inputs: Vec<Tensor> = (shapes.iter().enumerate())
                .map(|(index, shape)| counted(shape, index << 20))
                .collect();
            let joined = run(&Concat::new(axis), &inputs).unwrap();
            let views: Vec<_> = inputs
                .iter()
                .map(|x| x.array::<f32>().unwrap().view())
                .collect();
            let at = if axis < 0 { 2 } else { axis as usize };
            let expected = ndarray::concatenate(ndarray::Axis(at), &views).unwrap();
            assert_eq!(joined[0], Tensor::from(expected));
            let sizes: Vec<i64> = shapes.iter().map(|shape| shape[at] as i64).collect();
            let split = Split::new(axis, sizes.len(), true);
            let parts = run(&split, &[joined[0].clone(), integers(&sizes)]).unwrap();
            assert_eq!(parts, inputs);
        }
    }

    #[test]
    fn other_types_are_joined() {
        let join = run(
            &Concat::new(0),
            &[integers(&[1, 2]), integers(&[]), integers(&[3])],
        );
        assert_eq!(join.unwrap(), [integers(&[1, 2, 3])]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = fact(&[2, 3]);
        let mut other = fact(&[2, 3]);
        other.dtype = DType::F64;
        for (axis, inputs) in [
            (0, vec![&x, &other]),
            (2, vec![&x]),
            (-3, vec![&x]),
            (0, vec![]),
        ] {
            assert!(infer(&Concat::new(axis), &inputs).is_err());
        }
        assert!(infer(&Concat::new(0), &[&x, &fact(&[2, 4])]).is_err());
        assert!(infer(&Concat::new(0), &[&x, &fact(&[2])]).is_err());
        assert!(infer(&Concat::new(0), &[&fact(&[])]).is_err());
        assert!(Concat::new(0).infer(&[Some(&x), None]).is_err());
    }

    #[test]
    fn parts_without_sizes() {
        let lengths = |outputs, even| {
            infer(&Split::new(0, outputs, even), &[&fact(&[7])])
                .map(|facts| Vec::from_iter(facts.iter().map(|fact| fact.shape[0])))
        };
        assert_eq!(lengths(7, true).unwrap(), [1; 7]);
        assert_eq!(lengths(2, false).unwrap(), [4, 3]);
        assert_eq!(lengths(3, false).unwrap(), [3, 3, 1]);
        assert_eq!(lengths(8, false).unwrap(), [1, 1, 1, 1, 1, 1, 1, 0]);
        for (outputs, even) in [
            (2, true),
            (0, false),
            (5, false),
            (9, false),
            (usize::MAX, false),
        ] {
            assert!(lengths(outputs, even).is_err(), "{outputs}");
        }
        let x = fact(&[7]);
        for sizes in [&[3, 3][..], &[8, -1], &[7], &[i64::MAX, i64::MAX]] {
            assert!(infer(&Split::new(0, 2, true), &[&x, &constant(sizes)]).is_err());
        }
    }

    #[test]
    fn channels_last_is_another_axis() {
        let x = fact(&[1, 8, 4, 4]);
        for (axis, expected) in [(1, 3), (-3, 3), (0, 0), (2, 1), (-1, 2)] {
            let turned = Concat::new(axis).channels_last(&[Some(&x)]).unwrap();
            let turned: &dyn std::any::Any = &*turned;
            assert_eq!(turned.downcast_ref(), Some(&Concat::new(expected)));
        }
    }

    #[test]
    fn gradients_by_central_differences() {
        for (shapes, axis) in [
            ([[2, 3, 2, 2], [2, 1, 2, 2], [2, 2, 2, 2]], 1),
            ([[2, 1, 2, 2], [2, 1, 2, 3], [2, 1, 2, 1]], -1),
            ([[2, 0, 2, 2], [2, 1, 2, 2], [2, 3, 2, 2]], 1),
        ] {
            let x = [0, 1, 2].map(|i| doubles(&shapes[i], i as u64, -1.0, 1.0));
            check_gradient(Concat::new(axis), &x, &[0, 1, 2]);
            check_gradient(Concat::new(axis), &x, &[1]);
        }
        // The loss reads the first part alone.
        let x = doubles(&[2, 5, 3], 4, -1.0, 1.0);
        check_gradient(Split::new(1, 2, false), std::slice::from_ref(&x), &[0]);
        check_gradient(Split::new(1, 2, false), &[x, integers(&[1, 4])], &[0]);
    }
}
