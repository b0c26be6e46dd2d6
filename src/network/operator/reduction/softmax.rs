//! Softmax, LogSoftmax and Hardmax along an axis.
//!
//! ```text
//! lane x, m = max x        softmax   e^(x − m) / Σ e^(x − m)
//!                          log       x − m − log Σ e^(x − m)
//!                          hard      1 at the first maximum, 0 elsewhere
//! [outer, length, inner]   inner 1: a lane is a row; else vectors run across lanes
//! ```
//!
//! A lane with NaN or ∞ in it, or of nothing but −∞, is NaN.

use std::sync::Arc;

use ndarray::{ArrayViewMut3, Axis, s};

use super::softmax_backward::SoftmaxBackward;
use crate::error::{Error, Result};
use crate::kernel::functions::exp_below_zero;
use crate::kernel::{Arithmetic, Isa, Loop, compiled, halved};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::{first_alone, spares_first};
use crate::network::operator::check::{
    FLOATS, at_most, axis, has_type, read_optional, required, span, turned_axis, write,
};
use crate::network::operator::elementwise::{Number, PIECE, with_number};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::parallel::for_each_tile;
use crate::plan::PlanOptions;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftmaxKind {
    /// A single 1.
    Hardmax,
    /// Logarithms.
    LogSoftmax,
    /// Numbers that sum to 1.
    Softmax,
}

/// Softmax or one of its relatives, of floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Which one.
    pub kind: SoftmaxKind,
    /// The axis, counted from the end where negative.
    pub axis: i64,
    /// Whether the lanes run over all axes from `axis` on, as before operator set 13.
    pub flatten: bool,
}

impl Softmax {
    /// Along `axis`.
    pub fn new(kind: SoftmaxKind, axis: i64) -> Self {
        Self {
            kind,
            axis,
            flatten: false,
        }
    }

    /// Over all axes from `axis` on, as before operator set 13.
    pub fn flattened(kind: SoftmaxKind, axis: i64) -> Self {
        Self {
            kind,
            axis,
            flatten: true,
        }
    }

    /// `[outer, length, inner]`
    pub(super) fn sizes(&self, shape: &[usize]) -> Result<[usize; 3]> {
        let axis = axis("axis", self.axis, shape.len())?;
        let (before, from) = shape.split_at(axis);
        Ok(match self.flatten {
            true => [span(before), span(from), 1],
            false => [span(before), from[0], span(&from[1..])],
        })
    }
}

impl Softmax {
    /// The same with the channels last.
    pub(super) fn turned(self, inputs: &Facts) -> Option<Self> {
        let rank = required(inputs, 0, "input").ok()?.shape.len();
        let axis = axis("axis", self.axis, rank).ok()?;
        let turned = match self.flatten && rank > 2 {
            // All axes, or all but that of the images: the same elements in any order.
            true if axis < 2 => axis,
            true => return None,
            false => turned_axis(axis, rank),
        };
        let axis = i64::try_from(turned).ok()?;
        Some(Self { axis, ..self })
    }
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        match self.kind {
            SoftmaxKind::Hardmax => "Hardmax",
            SoftmaxKind::LogSoftmax => "LogSoftmax",
            SoftmaxKind::Softmax => "Softmax",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let x = required(inputs, 0, "input")?;
        has_type(x, "input", FLOATS)?;
        self.sizes(&x.shape)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let first = inputs.first().copied().flatten();
        first_alone(batched) && spares_first(first, &[self.axis])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "input")?;
        Ok(Box::new(SoftmaxStep {
            kind: self.kind,
            dtype: x.dtype,
            sizes: self.sizes(&x.shape)?,
            isa: Isa::selected(),
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        self.turned(inputs).map(|turned| Arc::new(turned) as _)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        if self.kind == SoftmaxKind::Hardmax {
            return Err(backward.unsupported());
        }
        let inputs = [backward.output(0)?, backward.d_output()?];
        let gradient = backward.node(SoftmaxBackward::new(*self), &inputs)?;
        backward.give(0, gradient)
    }
}

struct SoftmaxStep {
    kind: SoftmaxKind,
    dtype: DType,
    sizes: [usize; 3],
    isa: Isa,
}

/// Columns that are treated at once where vectors run across lanes.
const COLUMNS: usize = 128;

impl SoftmaxStep {
    /// Calls `body` with tiles of y that hold the elements of x: whole lanes, of `columns` neighbours at most.
    fn tiles<T: Number>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        columns: usize,
        body: impl Fn(&mut ArrayViewMut3<'_, T>) + Sync,
    ) -> Result<()> {
        let [outer, length, inner] = self.sizes;
        let x = read_optional::<T>(inputs, 0)?;
        let y = write::<T>(outputs, 0)?;
        let parallel = y.len() > PIECE;
        let y = ArrayViewMut3::from_shape((outer, length, inner), y);
        let y = y.map_err(|_| Error::Overflow { what: "an output" })?;
        let lanes = (PIECE / length.max(1) / columns.min(inner).max(1)).max(1);
        for_each_tile(
            y,
            [lanes, length, columns],
            parallel,
            &|origin, mut tile| {
                let (lanes, _, width) = tile.dim();
                match (x, tile.as_slice_mut()) {
                    (None, _) => {}
                    // Rows.
                    (Some(x), Some(tile)) if inner == 1 => {
                        tile.copy_from_slice(&x[origin[0] * length..][..tile.len()]);
                    }
                    (Some(x), _) => {
                        for lane in 0..lanes {
                            for at in 0..length {
                                let start = ((origin[0] + lane) * length + at) * inner + origin[2];
                                let mut row = tile.slice_mut(s![lane, at, ..]);
                                if let Some(row) = row.as_slice_mut() {
                                    row.copy_from_slice(&x[start..start + width]);
                                }
                            }
                        }
                    }
                }
                body(&mut tile);
            },
        );
        Ok(())
    }

    /// Every lane by itself, in f64.
    fn plainly<T: Number>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        self.tiles::<T>(inputs, outputs, COLUMNS, |tile| {
            for mut lane in tile.lanes_mut(Axis(1)) {
                let (mut most, mut first) = (f64::NEG_INFINITY, 0);
                for (at, value) in lane.iter().enumerate() {
                    let value = value.to_f64();
                    if value > most || (value.is_nan() && !most.is_nan()) {
                        (most, first) = (value, at);
                    }
                }
                if self.kind == SoftmaxKind::Hardmax {
                    lane.fill(T::ZERO);
                    if let Some(value) = lane.get_mut(first) {
                        *value = T::ONE;
                    }
                    continue;
                }
                let sum: f64 = lane.iter().map(|value| (value.to_f64() - most).exp()).sum();
                for value in &mut lane {
                    let above = value.to_f64() - most;
                    *value = T::from_f64(match self.kind {
                        SoftmaxKind::LogSoftmax => above - sum.ln(),
                        _ => above.exp() / sum,
                    });
                }
            }
        })
    }

    /// f32, vectors.
    fn singles(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let log = self.kind == SoftmaxKind::LogSoftmax;
        let isa = self.isa;
        if self.sizes[2] == 1 {
            let length = self.sizes[1];
            return self.tiles::<f32>(inputs, outputs, 1, |tile| {
                if let Some(rows) = tile.as_slice_mut() {
                    for row in rows.chunks_exact_mut(length) {
                        compiled(isa, Row { row, log });
                    }
                }
            });
        }
        self.tiles::<f32>(inputs, outputs, COLUMNS, |tile| {
            for mut lanes in tile.outer_iter_mut() {
                let (mut most, mut sums) = ([f32::NEG_INFINITY; COLUMNS], [0.0_f64; COLUMNS]);
                for mut row in lanes.outer_iter_mut() {
                    let row = row.as_slice_mut().unwrap_or(&mut []);
                    compiled(isa, Across::Most(row, &mut most));
                }
                for mut row in lanes.outer_iter_mut() {
                    let row = row.as_slice_mut().unwrap_or(&mut []);
                    compiled(isa, Across::Sum(row, &most, &mut sums, log));
                }
                let sums = sums.map(|sum| if log { sum.ln() } else { sum } as f32);
                for mut row in lanes.outer_iter_mut() {
                    let row = row.as_slice_mut().unwrap_or(&mut []);
                    compiled(isa, Across::End(row, &sums, log));
                }
            }
        })
    }
}

/// Lanes of the sums along a row; blocks of so many are summed in f64.
const WIDTH: usize = 16;
const BLOCK: usize = 64 * WIDTH;

/// One lane that lies in a row.
struct Row<'a> {
    row: &'a mut [f32],
    log: bool,
}

impl Loop for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self { row, log } = self;
        let most = most(row);
        let mut sum = 0.0;
        for block in row.chunks_mut(BLOCK) {
            let mut sums = [0.0; WIDTH];
            let mut add = |chunk: &mut [f32; WIDTH], first: usize| {
                for (lane, (value, sum)) in chunk.iter_mut().zip(&mut sums).enumerate() {
                    let above = *value - most;
                    let e = exp_below_zero::<A>(above);
                    *value = if log { above } else { e };
                    *sum += if lane < first { 0.0 } else { e };
                }
            };
            // What fills no chunk is the end of one more, which begins among those before and counts what they do not.
            let end = block.len().saturating_sub(WIDTH);
            let rest = block.len() % WIDTH;
            let last = block.last_chunk::<WIDTH>().copied();
            let (chunks, short) = block.as_chunks_mut::<WIDTH>();
            chunks.iter_mut().for_each(|chunk| add(chunk, 0));
            match last {
                _ if rest == 0 => {}
                Some(mut last) => {
                    add(&mut last, WIDTH - rest);
                    block[end..].copy_from_slice(&last);
                }
                None => {
                    let mut chunk = [f32::NEG_INFINITY; WIDTH];
                    chunk[..rest].copy_from_slice(short);
                    add(&mut chunk, 0);
                    short.copy_from_slice(&chunk[..rest]);
                }
            }
            sum += halved(sums.map(f64::from), |a, b| a + b);
        }
        if log {
            let log = sum.ln() as f32;
            row.iter_mut().for_each(|value| *value -= log);
        } else {
            // The sum is 1 or more.
            let scale = sum.recip() as f32;
            row.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// The largest of `row`; NaN may be passed over.
#[inline(always)]
fn most(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut most = [f32::NEG_INFINITY; WIDTH];
    let mut look = |values: &[f32]| {
        for (most, &value) in most.iter_mut().zip(values) {
            *most = larger(*most, value);
        }
    };
    let (chunks, rest) = row.as_chunks::<WIDTH>();
    chunks.iter().for_each(|chunk| look(chunk));
    // Those of the last chunk again, as far as it has not been looked at.
    match row.last_chunk::<WIDTH>() {
        Some(last) => look(last),
        None => look(rest),
    }
    halved(most, larger)
}

/// A row across lanes, one element of each.
enum Across<'a> {
    /// most ← max(most, row)
    Most(&'a [f32], &'a mut [f32; COLUMNS]),
    /// row ← e^(row − most), or row − most; the sums grow by e^(row − most)
    Sum(
        &'a mut [f32],
        &'a [f32; COLUMNS],
        &'a mut [f64; COLUMNS],
        bool,
    ),
    /// row ← row / sum, or row − sum
    End(&'a mut [f32], &'a [f32; COLUMNS], bool),
}

impl Loop for Across<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        match self {
            Self::Most(row, most) => {
                for (most, &value) in most.iter_mut().zip(row) {
                    *most = if value > *most { value } else { *most };
                }
            }
            Self::Sum(row, most, sums, log) => {
                for ((value, &most), sum) in row.iter_mut().zip(most).zip(sums) {
                    let above = *value - most;
                    let e = exp_below_zero::<A>(above);
                    *value = if log { above } else { e };
                    *sum += f64::from(e);
                }
            }
            Self::End(row, sums, false) => {
                row.iter_mut()
                    .zip(sums)
                    .for_each(|(value, sum)| *value /= sum);
            }
            Self::End(row, logs, true) => {
                row.iter_mut()
                    .zip(logs)
                    .for_each(|(value, log)| *value -= log);
            }
        }
    }
}

impl Step for SoftmaxStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match (self.dtype, self.kind) {
            (DType::F32, SoftmaxKind::Softmax | SoftmaxKind::LogSoftmax) => {
                self.singles(inputs, outputs)
            }
            (dtype, _) => with_number!(dtype, T => self.plainly::<T>(inputs, outputs), Ok(())),
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, run};
    use crate::network::tensor::Tensor;

    const KINDS: [SoftmaxKind; 3] = [
        SoftmaxKind::Softmax,
        SoftmaxKind::LogSoftmax,
        SoftmaxKind::Hardmax,
    ];

    fn filled(shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        floats(shape, (0..len).map(|i| ((i * 37) % 101) as f32 * 0.1 - 5.0))
    }

    fn doubles(tensor: &Tensor) -> Tensor {
        tensor.array::<f32>().unwrap().mapv(f64::from).into()
    }

    /// Singles are the doubles rounded, along every axis, in lanes of many lengths.
    #[test]
    fn singles_agree_with_doubles() {
        for shape in [
            &[2, 3, 5][..],
            &[3, 1000],
            &[1, 21, 300],
            &[2, 1],
            &[4, 1, 3],
            &[40000, 2],
            &[3, 17],
            &[2, 49],
            &[2, 1030],
            &[2, 1041],
        ] {
            let x = filled(shape);
            for axis in 0..shape.len() as i64 {
                for kind in KINDS {
                    let softmax = Softmax::new(kind, axis);
                    let got = run(&softmax, std::slice::from_ref(&x)).unwrap();
                    let want = run(&softmax, &[doubles(&x)]).unwrap();
                    let got = got[0].array::<f32>().unwrap();
                    for (got, want) in got.iter().zip(want[0].array::<f64>().unwrap()) {
                        let error = (f64::from(*got) - want).abs();
                        // The logarithm of a sum near 1 is as inexact as the sum.
                        let least = if kind == SoftmaxKind::LogSoftmax {
                            1e-6
                        } else {
                            1e-12
                        };
                        assert!(
                            error <= 2e-6 * want.abs() + least,
                            "{got} {want} {softmax:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn large_numbers_do_not_overflow() {
        let x = floats(&[2, 3], [1e38, 0.0, -1e38, f32::NEG_INFINITY, -3e38, -3e38]);
        let y = run(&Softmax::new(SoftmaxKind::Softmax, -1), &[x]).unwrap();
        assert_eq!(y, [floats(&[2, 3], [1.0, 0.0, 0.0, 0.0, 0.5, 0.5])]);
    }

    #[test]
    fn lanes_without_a_value_are_nan() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
            for lane in [[nan, 1.0], [1.0, nan], [inf, 0.0], [-inf, -inf]] {
                for shape in [[1, 2, 1], [1, 2, 2]] {
                    let copies = shape[2];
                    let x = lane.iter().flat_map(|&x| std::iter::repeat_n(x, copies));
                    let y = run(&Softmax::new(kind, 1), &[floats(&shape, x)]).unwrap();
                    let y = y[0].array::<f32>().unwrap();
                    // A finite number beside ∞ gets 0 or −∞ of it.
                    assert!(y.iter().any(|y| y.is_nan()), "{kind:?} {lane:?}");
                }
            }
        }
    }

    /// Anywhere in a row of a vector and one more.
    #[test]
    fn rows_with_nan_are_nan() {
        for at in [0, 5, 15, 16] {
            for hole in [f32::NAN, f32::INFINITY] {
                let x = (0..17).map(|i| if i == at { hole } else { i as f32 });
                let softmax = Softmax::new(SoftmaxKind::Softmax, 1);
                let y = run(&softmax, &[floats(&[1, 17], x)]).unwrap();
                assert!(y[0].array::<f32>().unwrap()[[0, at].as_slice()].is_nan());
            }
        }
    }

    #[test]
    fn hardmax_takes_the_first_of_equals() {
        let x = floats(&[2, 3], [1.0, 2.0, 2.0, f32::NAN, 9.0, f32::NAN]);
        let y = run(&Softmax::new(SoftmaxKind::Hardmax, 1), &[x]).unwrap();
        assert_eq!(y, [floats(&[2, 3], [0.0, 1.0, 0.0, 1.0, 0.0, 0.0])]);
    }

    #[test]
    fn the_old_form_runs_over_all_axes_that_follow() {
        let x = filled(&[2, 3, 4]);
        let flat = x.clone().reshape(&[2, 12]).unwrap();
        for kind in KINDS {
            let old = run(&Softmax::flattened(kind, 1), std::slice::from_ref(&x)).unwrap();
            let new = run(&Softmax::new(kind, 1), std::slice::from_ref(&flat)).unwrap();
            assert_eq!(old[0].clone().reshape(&[2, 12]).unwrap(), new[0]);
        }
    }

    #[test]
    fn empty_tensors_and_wrong_axes() {
        for shape in [[0, 3], [3, 0]] {
            for kind in KINDS {
                let y = run(&Softmax::new(kind, 1), &[floats(&shape, [])]).unwrap();
                assert_eq!(y[0].shape(), shape);
            }
        }
        assert!(infer(&Softmax::new(SoftmaxKind::Softmax, 2), &[&fact(&[2, 2])]).is_err());
        assert!(infer(&Softmax::new(SoftmaxKind::Softmax, -1), &[&fact(&[])]).is_err());
        let integers = Fact::new(DType::I64, [2]);
        assert!(infer(&Softmax::new(SoftmaxKind::Softmax, 0), &[&integers]).is_err());
    }

    #[test]
    fn with_the_channels_last_the_axis_moves() {
        let x = fact(&[1, 4, 2, 2]);
        let softmax = Softmax::new(SoftmaxKind::Softmax, 1);
        let turned = softmax.channels_last(&[Some(&x)]).unwrap();
        let y = run(turned.as_ref(), &[filled(&[1, 2, 2, 4])]).unwrap();
        let want = run(
            &Softmax::new(SoftmaxKind::Softmax, 3),
            &[filled(&[1, 2, 2, 4])],
        )
        .unwrap();
        assert_eq!(y, want);
        let old = Softmax::flattened(SoftmaxKind::Softmax, 2);
        assert!(old.channels_last(&[Some(&x)]).is_none());
    }
}
