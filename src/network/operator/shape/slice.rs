//! Parts and repetitions of an array: Slice, Expand, Tile.
//!
//! ```text
//! Slice    y[i] = x[start + i · step]                   on each axis that is named
//! Expand   y[i] = x[i], or x[0] where x has one element on the axis
//! Tile     y[r · n + i] = x[i]                          n elements, repeated
//! ```

use std::sync::Arc;

use super::super::check::{
    at_most, axes, check_rank, integers, optional, required, sizes, turned, wrong,
};
use super::super::strided::{Strided, strides};
use super::super::{Fact, Facts, Operator, Step};
use super::slice_backward::SliceBackward;
use super::transpose::Moved;
use crate::error::{Error, Result, product};
use crate::geometry::Layout;
use crate::network::gradient::Backward;
use crate::network::operator::elementwise::give_sum;
use crate::plan::PlanOptions;

/// Every `step`-th element between a start and an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub(crate) layout: Layout,
}

/// The part of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) step: isize,
    pub(super) length: usize,
}

impl Slice {
    /// Inputs: data, starts, ends, axes, steps; the last two may be left out. Starts and ends count from the end
    /// where they are negative and are brought into the axis.
    #[allow(clippy::new_without_default, reason = "operators are made by new")]
    pub fn new() -> Self {
        Self {
            layout: Layout::ChannelsFirst,
        }
    }

    /// The part of every axis of the data, in the order that these have.
    fn spans(&self, inputs: &Facts) -> Result<Vec<Span>> {
        at_most(inputs, 5)?;
        let shape = &required(inputs, 0, "data")?.shape;
        let starts = integers(required(inputs, 1, "starts")?, "starts")?;
        let ends = integers(required(inputs, 2, "ends")?, "ends")?;
        let of_axis = |name, index, default: &dyn Fn(usize) -> i64| -> Result<Vec<i64>> {
            match optional(inputs, index) {
                Some(fact) => integers(fact, name),
                None => Ok((0..starts.len()).map(default).collect()),
            }
        };
        let places = of_axis("axes", 3, &|axis| axis as i64)?;
        let steps = of_axis("steps", 4, &|_| 1)?;
        for (name, list) in [("ends", &ends), ("axes", &places), ("steps", &steps)] {
            if list.len() != starts.len() {
                let expected = format!("{} numbers, as many as starts", starts.len());
                return Err(wrong(name, expected, list.len().to_string()));
            }
        }
        let places = axes("axes", &places, shape.len())?;
        let logical = match self.layout {
            Layout::ChannelsFirst => shape.clone(),
            Layout::ChannelsLast => first_again(shape),
        };
        let mut spans: Vec<Span> = (logical.iter())
            .map(|&length| Span {
                start: 0,
                step: 1,
                length,
            })
            .collect();
        for (index, &axis) in places.iter().enumerate() {
            spans[axis] = span(logical[axis], starts[index], ends[index], steps[index])?;
        }
        Ok(match self.layout {
            Layout::ChannelsFirst => spans,
            Layout::ChannelsLast => turned(&spans),
        })
    }
}

/// A list for the axes of `[N, …, C]` in the order `[N, C, …]`.
fn first_again<T: Clone>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    if values.len() >= 3 {
        values[1..].rotate_right(1);
    }
    values
}

/// `start..end` by `step` of an axis, as ONNX brings them into it.
fn span(length: usize, start: i64, end: i64, step: i64) -> Result<Span> {
    let overflow = Error::Overflow { what: "an axis" };
    let n = i64::try_from(length).map_err(|_| overflow.clone())?;
    if step == 0 {
        return Err(wrong("steps", "other than 0", "0"));
    }
    let from_end = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
    let (start, end) = if step > 0 {
        (from_end(start).clamp(0, n), from_end(end).clamp(0, n))
    } else {
        let last = n.max(1) - 1;
        (
            from_end(start).clamp(0, last),
            from_end(end).clamp(-1, last),
        )
    };
    let reach = if step > 0 { end - start } else { start - end };
    let steps = step.unsigned_abs();
    let count = match u64::try_from(reach) {
        Ok(reach) if n > 0 => reach.div_ceil(steps),
        _ => 0,
    };
    Ok(Span {
        start: usize::try_from(start).map_err(|_| overflow.clone())?,
        // One element is reached whatever the step.
        step: if count < 2 {
            1
        } else {
            isize::try_from(step).map_err(|_| overflow.clone())?
        },
        length: usize::try_from(count).map_err(|_| overflow)?,
    })
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let spans = self.spans(inputs)?;
        let shape = Vec::from_iter(spans.iter().map(|span| span.length));
        Ok(vec![Fact::new(required(inputs, 0, "data")?.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let spans = self.spans(inputs)?;
        let shape = &required(inputs, 0, "data")?.shape;
        let mut first = 0;
        let mut axes = Vec::with_capacity(spans.len());
        for (span, stride) in spans.iter().zip(strides(shape)?) {
            // Inside the data where anything is read at all.
            first = usize::saturating_add(first, span.start * stride.unsigned_abs());
            axes.push((span.length, span.step.saturating_mul(stride)));
        }
        Moved::step(Strided::new(first, &axes, product("data", shape)?)?)
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self {
            layout: Layout::ChannelsLast,
        }))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let dy = backward.d_output()?;
        let facts: [Option<&Fact>; 5] = std::array::from_fn(|index| backward.input_fact(index));
        let spans = self.spans(&facts)?;
        let shape = required(&facts, 0, "data")?.shape.clone();
        let gradient = backward.node(SliceBackward::new(shape, spans), &[dy])?;
        backward.give(0, gradient)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 2, 3, 4]
    }
}

/// Its input, repeated where it has one element on an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    pub(crate) layout: Layout,
}

impl Expand {
    /// Inputs: data, shape. The two are broadcast against each other.
    #[allow(clippy::new_without_default, reason = "operators are made by new")]
    pub fn new() -> Self {
        Self {
            layout: Layout::ChannelsFirst,
        }
    }

    fn shape(&self, inputs: &Facts) -> Result<Vec<usize>> {
        at_most(inputs, 2)?;
        let data = &required(inputs, 0, "input")?.shape;
        let wanted = sizes("shape", &integers(required(inputs, 1, "shape")?, "shape")?)?;
        let rank = data.len().max(wanted.len());
        let from_end = |list: &[usize], axis: usize| {
            let missing = rank - list.len();
            if axis < missing {
                1
            } else {
                list[axis - missing]
            }
        };
        let mut wanted_all = Vec::from_iter((0..rank).map(|axis| from_end(&wanted, axis)));
        if self.layout == Layout::ChannelsLast {
            wanted_all = turned(&wanted_all);
        }
        (wanted_all.into_iter().enumerate())
            .map(
                |(axis, wanted_size)| match (from_end(data, axis), wanted_size) {
                    (1, size) | (size, 1) => Ok(size),
                    (size, same) if size == same => Ok(size),
                    _ => Err(wrong(
                        "shape",
                        format!("one that {data:?} can be repeated to"),
                        format!("{wanted:?}"),
                    )),
                },
            )
            .collect()
    }
}

impl Operator for Expand {
    fn name(&self) -> &'static str {
        "Expand"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let shape = self.shape(inputs)?;
        product("output", &shape)?;
        Ok(vec![Fact::new(required(inputs, 0, "input")?.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (shape, data) = (self.shape(inputs)?, &required(inputs, 0, "input")?.shape);
        let new = shape.len() - data.len();
        let mut axes: Vec<(usize, isize)> = shape.iter().map(|&length| (length, 0)).collect();
        for ((axis, &length), stride) in axes[new..].iter_mut().zip(data).zip(strides(data)?) {
            if length != 1 {
                axis.1 = stride;
            }
        }
        Moved::step(Strided::new(0, &axes, product("input", data)?)?)
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let (from, to) = (
            optional(inputs, 0)?.shape.len(),
            self.shape(inputs).ok()?.len(),
        );
        (from == to).then(|| {
            Arc::new(Self {
                layout: Layout::ChannelsLast,
            }) as Arc<dyn Operator>
        })
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let dy = backward.d_output()?;
        give_sum(backward, 0, dy)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// Its input, repeated along every axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub(crate) layout: Layout,
}

impl Tile {
    /// Inputs: data, repeats, a number for each axis.
    #[allow(clippy::new_without_default, reason = "operators are made by new")]
    pub fn new() -> Self {
        Self {
            layout: Layout::ChannelsFirst,
        }
    }

    fn repeats(&self, inputs: &Facts) -> Result<Vec<usize>> {
        at_most(inputs, 2)?;
        let rank = required(inputs, 0, "input")?.shape.len();
        let repeats = integers(required(inputs, 1, "repeats")?, "repeats")?;
        if repeats.len() != rank {
            let expected = format!("{rank} numbers, one for each axis");
            return Err(wrong("repeats", expected, repeats.len().to_string()));
        }
        let repeats = sizes("repeats", &repeats)?;
        Ok(match self.layout {
            Layout::ChannelsFirst => repeats,
            Layout::ChannelsLast => turned(&repeats),
        })
    }
}

impl Operator for Tile {
    fn name(&self) -> &'static str {
        "Tile"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let repeats = self.repeats(inputs)?;
        let input = required(inputs, 0, "input")?;
        let lengths = input.shape.iter().zip(repeats);
        let shape = lengths.map(|(&length, count)| product("output", &[length, count]));
        let shape = shape.collect::<Result<Vec<_>>>()?;
        product("output", &shape)?;
        Ok(vec![Fact::new(input.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (repeats, shape) = (self.repeats(inputs)?, &required(inputs, 0, "input")?.shape);
        let mut axes = Vec::with_capacity(2 * shape.len());
        for ((count, &length), stride) in repeats.into_iter().zip(shape).zip(strides(shape)?) {
            axes.extend([(count, 0), (length, stride)]);
        }
        Moved::step(Strided::new(0, &axes, product("input", shape)?)?)
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self {
            layout: Layout::ChannelsLast,
        }))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (x, dy) = (backward.input(0)?, backward.d_output()?);
        let own = backward.fact(x)?.shape.clone();
        let shape = backward.fact(dy)?.shape.clone();
        // Repetitions and elements apart; repetitions are summed.
        let apart = own.iter().zip(&shape).flat_map(|(&own, &all)| match own {
            0 => [all, 1],
            own => [all / own, own],
        });
        let apart: Vec<usize> = apart.collect();
        check_rank("repeats", apart.len())?;
        let once = apart.iter().enumerate();
        let once = once.map(|(axis, &length)| if axis % 2 == 0 { 1 } else { length });
        let once: Vec<usize> = match own.contains(&0) {
            true => return backward.give(0, dy),
            false => once.collect(),
        };
        let apart = backward.reshape(dy, &apart)?;
        let sum = backward.sum_to(apart, &once)?;
        let gradient = backward.reshape(sum, &own)?;
        backward.give(0, gradient)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{
        check_gradient, constant as list, doubles, fact, floats, infer, integers as int, run,
    };
    use super::*;
    use crate::network::Tensor;

    fn sliced(length: i64, [start, end, step]: [i64; 3]) -> Vec<i64> {
        let x = int(&Vec::from_iter(0..length));
        let inputs = [x, int(&[start]), int(&[end]), int(&[0]), int(&[step])];
        let y = run(&Slice::new(), &inputs).unwrap();
        y[0].integers().unwrap()
    }

    #[test]
    fn slices_as_in_python() {
        let (max, min) = (i64::MAX, i64::MIN);
        assert_eq!(sliced(5, [1, 3, 1]), [1, 2]);
        assert_eq!(sliced(5, [-2, max, 1]), [3, 4]);
        assert_eq!(sliced(5, [0, 100, 2]), [0, 2, 4]);
        assert_eq!(sliced(5, [1, 5, 3]), [1, 4]);
        assert_eq!(sliced(5, [-1, min, -1]), [4, 3, 2, 1, 0]);
        assert_eq!(sliced(5, [100, 0, -2]), [4, 2]);
        assert!(sliced(5, [3, 1, 1]).is_empty());
        assert!(sliced(5, [1, 3, -1]).is_empty());
        assert_eq!(sliced(5, [min, max, max]), [0]);
        assert_eq!(sliced(5, [max, min, min]), [4]);
        // Python has nothing here; ONNX brings the start to the first element.
        assert_eq!(sliced(5, [-100, -100, -1]), [0]);
        assert!(sliced(0, [0, 9, 1]).is_empty());
        assert!(sliced(0, [-1, min, -1]).is_empty());
    }

    #[test]
    fn slices_of_several_axes_in_both_layouts() {
        let x = ndarray::Array4::from_shape_fn((2, 6, 5, 4), |(n, c, h, w)| {
            (((n * 6 + c) * 5 + h) * 4 + w) as f32
        });
        let (starts, ends) = (int(&[4, -1, 1]), int(&[0, -9, 4]));
        let (places, steps) = (int(&[1, -1, 2]), int(&[-2, -1, 2]));
        let inputs = [starts, ends, places, steps];
        let with = |x: Tensor| [&[x], &inputs[..]].concat();
        let y = run(&Slice::new(), &with(x.clone().into_dyn().into())).unwrap();
        let expected = x.slice(ndarray::s![.., 2..5;-2, 1..4;2, ..;-1]);
        assert_eq!(y[0], Tensor::from(expected.to_owned().into_dyn()));
        let last = x.view().permuted_axes([0, 2, 3, 1]).to_owned().into_dyn();
        let operator = Slice::new().channels_last(&[]).unwrap();
        let y = run(&*operator, &with(last.into())).unwrap();
        let expected = expected.permuted_axes([0, 2, 3, 1]).to_owned();
        assert_eq!(y[0], Tensor::from(expected.into_dyn()));
    }

    #[test]
    fn wrong_slices_are_errors() {
        let x = fact(&[4, 4]);
        for (starts, ends, places, steps) in [
            (&[0][..], &[1, 2][..], &[0][..], &[1][..]),
            (&[0, 0], &[1, 1], &[0, 0], &[1, 1]),
            (&[0], &[1], &[2], &[1]),
            (&[0], &[1], &[0], &[0]),
            (&[0], &[1], &[0], &[1, 1]),
        ] {
            let inputs = [starts, ends, places, steps].map(list);
            let inputs = [&x, &inputs[0], &inputs[1], &inputs[2], &inputs[3]];
            assert!(infer(&Slice::new(), &inputs).is_err());
        }
        let (three, scalar) = (list(&[0, 0, 0]), fact(&[]));
        assert!(infer(&Slice::new(), &[&x, &three, &three]).is_err());
        assert!(infer(&Slice::new(), &[&scalar, &list(&[]), &list(&[])]).is_ok());
    }

    #[test]
    fn expanding_broadcasts_both_ways() {
        let x = floats(&[3, 1], [1.0, 2.0, 3.0]);
        let y = run(&Expand::new(), &[x.clone(), int(&[2, 1, 2])]).unwrap();
        assert_eq!(
            y[0],
            floats(&[2, 3, 2], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0].repeat(2))
        );
        assert_eq!(run(&Expand::new(), &[x.clone(), int(&[1])]).unwrap()[0], x);
        let none = run(&Expand::new(), &[x, int(&[3, 0])]).unwrap();
        assert_eq!(none[0].shape(), [3, 0]);
        let shape = fact(&[3, 2]);
        assert!(infer(&Expand::new(), &[&shape, &list(&[2, 2])]).is_err());
        assert!(infer(&Expand::new(), &[&shape, &list(&[-1])]).is_err());
        assert!(infer(&Expand::new(), &[&shape, &list(&[i64::MAX, 3, 2])]).is_err());
        // A rank of a million axes is refused before anything is made of it.
        assert!(infer(&Expand::new(), &[&shape, &list(&vec![1; 1 << 20])]).is_err());
    }

    #[test]
    fn tiles_repeat() {
        let x = floats(&[2, 2], [1.0, 2.0, 3.0, 4.0]);
        let y = run(&Tile::new(), &[x.clone(), int(&[2, 2])]).unwrap();
        let rows = [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0];
        assert_eq!(y[0], floats(&[4, 4], rows.repeat(2)));
        let none = run(&Tile::new(), &[x, int(&[0, 1])]).unwrap();
        assert_eq!(none[0].shape(), [0, 2]);
        let shape = fact(&[2, 2]);
        for repeats in [&[1][..], &[1, -1], &[i64::MAX, 2], &[1 << 40, 1 << 40]] {
            assert!(infer(&Tile::new(), &[&shape, &list(repeats)]).is_err());
        }
    }

    #[test]
    fn gradients_sum_over_repetitions() {
        let x = doubles(&[2, 1, 3], 1, -1.0, 1.0);
        check_gradient(Expand::new(), &[x.clone(), int(&[2, 4, 3])], &[0]);
        check_gradient(Expand::new(), &[x.clone(), int(&[5, 1, 1, 3])], &[0]);
        check_gradient(Tile::new(), &[x.clone(), int(&[1, 2, 3])], &[0]);
        check_gradient(Tile::new(), &[x, int(&[1, 1, 1])], &[0]);
    }
}
