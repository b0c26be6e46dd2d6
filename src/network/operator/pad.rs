//! Pad: elements added before and after an axis, or taken away where their number is negative.
//!
//! ```text
//! inputs: data, pads [before…, after…], value (optional), axes (optional)
//! constant  v v | a b c | v v        edge  a a | a b c | c c
//! reflect   c b | a b c | b a        wrap  b c | a b c | a b
//! ```
//!
//! Each axis has a table of the element that stands at each place. The innermost axis that changes is a list of
//! runs, which are copied or filled as a whole.

use std::sync::Arc;

use super::check::{
    at_most, axes, has_shape, has_type, integers, optional, read, required, turned, turned_axis,
    write, wrong,
};
use super::{Fact, Facts, Operator, Step};
use crate::element::reserved;
use crate::error::{Error, Result, product};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::elementwise::integers as as_list;
use crate::network::tensor::{Scalar, View, ViewMut, with_type};
use crate::parallel::for_each_piece;
use crate::plan::PlanOptions;

/// Elements from which a second thread is worth waking.
const PARALLEL: usize = 1 << 15;

/// What stands where there was nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// A number, 0 unless it is given.
    Constant,
    /// The array mirrored at its ends, which are not repeated.
    Reflect,
    /// The elements at the ends.
    Edge,
    /// The array repeated.
    Wrap,
}

/// Padding of any axes; every type.
#[derive(Clone, Debug)]
pub struct Pad {
    pub(crate) mode: PadMode,
    pub(crate) last: bool,
}

impl Pad {
    /// With this content.
    pub fn new(mode: PadMode) -> Self {
        Self { mode, last: false }
    }

    /// Elements before and after every axis of the data as it lies.
    pub(crate) fn pads(&self, inputs: &Facts) -> Result<Vec<(i64, i64)>> {
        let rank = required(inputs, 0, "data")?.shape.len();
        let pads = integers(required(inputs, 1, "pads")?, "pads")?;
        let padded = match optional(inputs, 3) {
            Some(fact) => axes("axes", &integers(fact, "axes")?, rank)?,
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * padded.len() {
            return Err(wrong(
                "pads",
                format!("two for each of {} axes", padded.len()),
                format!("{} numbers", pads.len()),
            ));
        }
        let mut all = vec![(0, 0); rank];
        for (index, &axis) in padded.iter().enumerate() {
            let axis = if self.last {
                turned_axis(axis, rank)
            } else {
                axis
            };
            all[axis] = (pads[index], pads[index + padded.len()]);
        }
        Ok(all)
    }

    /// The length of an axis with its pads.
    fn padded(&self, axis: usize, length: usize, (before, after): (i64, i64)) -> Result<usize> {
        let total =
            i128::try_from(length).unwrap_or(i128::MAX) + i128::from(before) + i128::from(after);
        let kept = i128::try_from(length).unwrap_or(i128::MAX)
            + i128::from(before.min(0))
            + i128::from(after.min(0));
        let padded = usize::try_from(total).map_err(|_| Error::Operand {
            operand: "pads",
            expected: format!("at most the {length} elements of axis {axis} taken away"),
            got: format!("{before} and {after}"),
        })?;
        if kept < 0 || (kept == 0 && padded > 0 && self.mode != PadMode::Constant) {
            return Err(wrong(
                "pads",
                format!("an element of axis {axis} to be left to read from"),
                format!("{before} and {after} of {length}"),
            ));
        }
        Ok(padded)
    }

    /// The element of an axis of `length` that stands at each of `padded` places.
    fn sources(
        &self,
        length: usize,
        padded: usize,
        (before, after): (i64, i64),
    ) -> Result<Vec<Option<usize>>> {
        let cut = |pad: i64| usize::try_from(pad.saturating_neg().max(0)).unwrap_or(length);
        let (begin, added) = (cut(before), usize::try_from(before.max(0)).unwrap_or(0));
        let kept = length.saturating_sub(begin).saturating_sub(cut(after));
        let mut sources = reserved(padded)?;
        for place in 0..padded {
            let within = if place >= added && place - added < kept {
                Some(place - added)
            } else {
                self.outside(place, added, kept)
            };
            sources.push(within.map(|within| begin + within));
        }
        Ok(sources)
    }

    /// The element of `kept` that stands at a place outside them, `added` places after the first.
    fn outside(&self, place: usize, added: usize, kept: usize) -> Option<usize> {
        let modulo = |period: usize| {
            if place >= added {
                (place - added) % period
            } else {
                (period - (added - place) % period) % period
            }
        };
        match self.mode {
            PadMode::Constant => None,
            PadMode::Edge if place < added => Some(0),
            PadMode::Edge => Some(kept - 1),
            PadMode::Wrap => Some(modulo(kept)),
            PadMode::Reflect if kept == 1 => Some(0),
            PadMode::Reflect => {
                let within = modulo(2 * (kept - 1));
                Some(within.min(2 * (kept - 1) - within))
            }
        }
    }
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 4)?;
        let data = required(inputs, 0, "data")?;
        if let Some(value) = optional(inputs, 2) {
            has_type(value, "the value", &[data.dtype])?;
            if value.shape != [1] {
                has_shape(value, "the value", &[])?;
            }
        }
        let pads = self.pads(inputs)?;
        let mut shape = Vec::with_capacity(data.shape.len());
        for (axis, (&length, &pads)) in data.shape.iter().zip(&pads).enumerate() {
            shape.push(self.padded(axis, length, pads)?);
        }
        product("padded data", &shape)?;
        Ok(vec![Fact::new(data.dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let pads = self.pads(inputs);
        first_alone(batched) && pads.is_ok_and(|pads| pads.first() == Some(&(0, 0)))
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let data = required(inputs, 0, "data")?;
        let pads = self.pads(inputs)?;
        // Unchanged axes at the end are one block.
        let changed = pads
            .iter()
            .rposition(|&pads| pads != (0, 0))
            .map_or(0, |last| last + 1);
        let block = product("a block", &data.shape[changed..])?;
        let mut shape = Vec::with_capacity(changed);
        for (axis, (&length, &pads)) in data.shape[..changed].iter().zip(&pads).enumerate() {
            shape.push(self.padded(axis, length, pads)?);
        }
        let mut axes = Vec::with_capacity(changed);
        // Nothing is read where nothing comes out, however long the other axes are.
        let empty = block == 0 || shape.contains(&0);
        let sized = shape.into_iter().zip(&data.shape).zip(&pads);
        for ((padded, &length), &pads) in sized.filter(|_| !empty) {
            axes.push((length, self.sources(length, padded, pads)?));
        }
        let (length, innermost) = axes.pop().unwrap_or((1, vec![Some(0)]));
        let tables = Tables {
            outer: axes,
            runs: runs(&innermost),
            source: product("a row", &[length, block])?,
            row: product("a row", &[innermost.len(), block])?,
            block,
        };
        with_type!(data.dtype, T => Ok(Box::new(PadStep::<T> {
            tables,
            zero: T::default(),
        })))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let data = inputs.first().copied().flatten()?;
        (turned(&data.shape).len() >= 3).then(|| {
            Arc::new(Self {
                last: true,
                ..self.clone()
            }) as Arc<dyn Operator>
        })
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        if self.mode != PadMode::Constant || backward.wants(2) {
            return Err(backward.unsupported());
        }
        // What was added is taken away; what was taken away gets zeros.
        let dy = backward.d_output()?;
        let facts: [Option<&Fact>; 4] = std::array::from_fn(|index| backward.input_fact(index));
        let pads = self.pads(&facts)?;
        let (before, after): (Vec<i64>, Vec<i64>) = pads.into_iter().unzip();
        let back = before.iter().chain(&after).map(|pad| pad.saturating_neg());
        let back = backward.constant(as_list(back.collect()));
        let gradient = backward.node(Self::new(PadMode::Constant), &[dy, back])?;
        backward.give(0, gradient)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 3]
    }
}

/// Where the elements of the result come from.
struct Tables {
    /// Length and sources of the axes before the innermost.
    outer: Vec<(usize, Vec<Option<usize>>)>,
    /// The innermost axis: places, and the element that the first of them comes from.
    runs: Vec<(usize, Option<usize>)>,
    /// Elements of a row before and after.
    source: usize,
    row: usize,
    /// Elements of a place.
    block: usize,
}

/// Neighbours that come from neighbours, or from nowhere, together.
fn runs(sources: &[Option<usize>]) -> Vec<(usize, Option<usize>)> {
    let mut runs: Vec<(usize, Option<usize>)> = Vec::new();
    for &source in sources {
        match (runs.last_mut(), source) {
            (Some((length, None)), None) => *length += 1,
            (Some((length, Some(first))), Some(source)) if *first + *length == source => {
                *length += 1
            }
            _ => runs.push((1, source)),
        }
    }
    runs
}

struct PadStep<T> {
    tables: Tables,
    zero: T,
}

impl Tables {
    /// The row of the data that row `index` of the result is made from.
    fn source_row(&self, mut index: usize) -> Option<usize> {
        let (mut row, mut stride, mut inside) = (0, 1, true);
        for (length, sources) in self.outer.iter().rev() {
            match sources[index % sources.len()] {
                Some(source) => row += source * stride,
                None => inside = false,
            }
            index /= sources.len();
            stride *= length;
        }
        inside.then_some(row)
    }

    fn row<T: Scalar>(&self, data: &[T], index: usize, value: T, row: &mut [T]) {
        let Some(source) = self.source_row(index) else {
            return row.fill(value);
        };
        let from = &data[source * self.source..][..self.source];
        let mut at = 0;
        for &(places, first) in &self.runs {
            let to = &mut row[at..at + places * self.block];
            at += to.len();
            match first {
                Some(first) => to.copy_from_slice(&from[first * self.block..][..to.len()]),
                None => to.fill(value),
            }
        }
    }
}

impl<T: Scalar> Step for PadStep<T> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let (data, tables) = (read::<T>(inputs, 0)?, &self.tables);
        let value = match inputs.get(2) {
            Some(Some(_)) => read(inputs, 2)?.first().copied().unwrap_or(self.zero),
            _ => self.zero,
        };
        let y = write::<T>(outputs, 0)?;
        if y.is_empty() {
            return Ok(());
        }
        let rows = PARALLEL.div_ceil(tables.row);
        let length = rows.saturating_mul(tables.row);
        for_each_piece(y, length, &|piece, y| {
            for (index, row) in y.chunks_exact_mut(tables.row).enumerate() {
                tables.row(data, piece * rows + index, value, row);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{
        check_gradient, constant, doubles, fact, floats, infer, integers as list, run,
    };

    fn padded(mode: PadMode, values: &[f32], before: i64, after: i64) -> Vec<f32> {
        let data = floats(&[values.len()], values.iter().copied());
        let outputs = run(&Pad::new(mode), &[data, list(&[before, after])]).unwrap();
        outputs[0].array::<f32>().unwrap().iter().copied().collect()
    }

    #[test]
    fn every_mode_by_hand() {
        let abc = [1.0, 2.0, 3.0];
        assert_eq!(
            padded(PadMode::Constant, &abc, 2, 1),
            [0.0, 0.0, 1.0, 2.0, 3.0, 0.0]
        );
        assert_eq!(
            padded(PadMode::Edge, &abc, 2, 1),
            [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]
        );
        assert_eq!(
            padded(PadMode::Reflect, &abc, 2, 1),
            [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]
        );
        assert_eq!(
            padded(PadMode::Wrap, &abc, 2, 1),
            [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]
        );
        assert_eq!(
            padded(PadMode::Wrap, &abc, 0, 5),
            [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]
        );
        assert_eq!(
            padded(PadMode::Reflect, &abc, 5, 0),
            [2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0]
        );
        assert_eq!(padded(PadMode::Reflect, &[7.0], 1, 2), [7.0; 4]);
        assert_eq!(padded(PadMode::Constant, &[], 1, 2), [0.0; 3]);
    }

    #[test]
    fn negative_pads_take_away_first() {
        let abcd = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(
            padded(PadMode::Constant, &abcd, -1, 1),
            [2.0, 3.0, 4.0, 0.0]
        );
        assert_eq!(padded(PadMode::Reflect, &abcd, -2, 1), [3.0, 4.0, 3.0]);
        assert_eq!(padded(PadMode::Wrap, &abcd, 1, -2), [2.0, 1.0, 2.0]);
        assert_eq!(padded(PadMode::Edge, &abcd, -1, -3), [0.0; 0]);
        let data = fact(&[4]);
        for pads in [
            [-5, 0],
            [-3, -2],
            [-9, 9],
            [i64::MIN, 0],
            [i64::MAX, i64::MAX],
        ] {
            let result = infer(&Pad::new(PadMode::Constant), &[&data, &constant(&pads)]);
            assert!(result.is_err(), "{pads:?}");
        }
        assert!(infer(&Pad::new(PadMode::Edge), &[&fact(&[0]), &constant(&[1, 0])]).is_err());
    }

    #[test]
    fn several_axes_a_value_and_both_layouts() {
        let image = |shape: &[usize]| {
            let len = shape.iter().product::<usize>();
            floats(shape, (1..=len as u16).map(f32::from))
        };
        let value = floats(&[], [9.0]);
        let inputs = [
            image(&[1, 2, 2, 2]),
            list(&[0, 1, 1, 0]),
            value,
            list(&[2, -1]),
        ];
        let outputs = run(&Pad::new(PadMode::Constant), &inputs).unwrap();
        let first = [9.0, 1.0, 2.0, 9.0, 3.0, 4.0, 9.0, 5.0, 6.0, 9.0, 7.0, 8.0];
        let mut expected = vec![];
        // One row after the two of each plane, one column before.
        for plane in first.chunks(6) {
            expected.extend_from_slice(plane);
            expected.extend([9.0; 3]);
        }
        assert_eq!(outputs[0], floats(&[1, 2, 3, 3], expected.clone()));
        let pad = Pad::new(PadMode::Constant);
        let last = pad.channels_last(&[Some(&fact(&[1, 2, 2, 2]))]).unwrap();
        let x = floats(&[1, 2, 2, 2], [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0]);
        let turned = run(last.as_ref(), &[&[x], &inputs[1..]].concat()).unwrap();
        let turned = turned[0].array::<f32>().unwrap();
        assert_eq!(turned.shape(), [1, 3, 3, 2]);
        for (index, &value) in expected.iter().enumerate() {
            assert_eq!(turned[[0, index % 9 / 3, index % 3, index / 9]], value);
        }
    }

    #[test]
    fn large_data_on_many_threads() {
        let data = floats(&[3, 200, 200], (0..120_000_u32).map(|value| value as f32));
        let inputs = [data.clone(), list(&[0, 2, 3, 1, 0, 4])];
        let outputs = run(&Pad::new(PadMode::Reflect), &inputs).unwrap();
        let (x, y) = (
            data.array::<f32>().unwrap(),
            outputs[0].array::<f32>().unwrap(),
        );
        assert_eq!(y.shape(), [4, 202, 207]);
        let mirror = |place: usize, pad: usize, length: usize| {
            let at = place.abs_diff(pad);
            at.min(2 * (length - 1) - at)
        };
        for ((n, h, w), &value) in y
            .clone()
            .into_dimensionality::<ndarray::Ix3>()
            .unwrap()
            .indexed_iter()
        {
            assert_eq!(
                value,
                x[[mirror(n, 0, 3), mirror(h, 2, 200), mirror(w, 3, 200)]]
            );
        }
    }

    #[test]
    fn pads_that_do_not_fit_are_refused() {
        let data = fact(&[2, 2]);
        let pad = Pad::new(PadMode::Constant);
        assert!(infer(&pad, &[&data, &constant(&[1, 1, 1])]).is_err());
        assert!(infer(&pad, &[&data]).is_err());
        let value = fact(&[2]);
        assert!(infer(&pad, &[&data, &constant(&[0; 4]), &value]).is_err());
        let twice = [&data, &constant(&[0; 4]), &fact(&[]), &constant(&[0, -2])];
        assert!(infer(&pad, &twice).is_err());
    }

    #[test]
    fn gradients_by_central_differences() {
        let x = doubles(&[2, 3, 4, 5], 1, -1.0, 1.0);
        let cases: [&[i64]; 3] = [
            &[0, 0, 1, 2, 0, 0, 3, 0],
            &[0, 0, -1, 2, 0, 0, 1, -2],
            &[0, 1, 0, 0, 0, 2, 0, 0],
        ];
        for pads in cases {
            check_gradient(Pad::new(PadMode::Constant), &[x.clone(), list(pads)], &[0]);
        }
    }
}
