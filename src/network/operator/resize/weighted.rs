//! Weighted sums of elements: f32 as such, other types by way of f64.

use super::super::Step;
use super::super::check::{read, write, wrong};
use super::super::strided::GRAIN;
use super::convert::{load, store};
use super::taps::{OUTSIDE, Taps, sizes};
use crate::element::{Element, filled};
use crate::error::{Result, check_len};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::tensor::{DType, View, ViewMut};
use crate::parallel::{Lanes, for_each_piece, threads};

/// The taps of an axis with weights of type T.
struct WeightedAxis<T> {
    taps: Taps,
    weights: Vec<T>,
    /// Elements behind the axis in the input and in the output.
    slab: [usize; 2],
}

/// Weighted sums.
pub(super) struct Weighted<T> {
    axes: Vec<WeightedAxis<T>>,
    /// Elements of scratch: one line for every axis but the last.
    pub(super) line: usize,
    extrapolation: T,
}

impl<T: Element> Weighted<T> {
    pub(super) fn new(taps: &[Taps], inner: usize, extrapolation: f32) -> Result<Self> {
        let mut axes = Vec::with_capacity(taps.len());
        let mut line = 0;
        for (at, axis) in taps.iter().enumerate() {
            let mut weights = crate::element::reserved(axis.weights.len())?;
            weights.extend(axis.weights.iter().map(|&weight| T::from_f64(weight)));
            let slab = sizes(&taps[at + 1..], inner);
            if at + 1 < taps.len() {
                line += slab[0];
            }
            axes.push(WeightedAxis {
                taps: axis.clone(),
                weights,
                slab,
            });
        }
        Ok(Self {
            axes,
            line,
            extrapolation: T::from_f64(extrapolation.into()),
        })
    }

    fn resize(&self, x: &[T], y: &mut [T], scratch: &mut [T], threads: usize) -> Result<()> {
        let Some(axis) = self.axes.first().filter(|_| !y.is_empty()) else {
            return Ok(());
        };
        let [from, to] = axis.slab;
        let images = y.len() / (axis.taps.output * to);
        check_len("input", images * axis.taps.input * from, x.len())?;
        let lanes = Lanes::new(scratch, self.line, threads);
        let rows = GRAIN.div_ceil(to);
        for_each_piece(y, rows * to, &|piece, y| {
            lanes.with(|lane| {
                for (row, y) in y.chunks_exact_mut(to).enumerate() {
                    let row = piece * rows + row;
                    let image = row / axis.taps.output * axis.taps.input * from;
                    let x = &x[image..][..axis.taps.input * from];
                    self.row(&self.axes, x, y, row % axis.taps.output, lane);
                }
            });
        });
        Ok(())
    }

    /// Output `j` of the first of `axes`, and all that lies behind it.
    fn row(&self, axes: &[WeightedAxis<T>], x: &[T], y: &mut [T], j: usize, lane: &mut [T]) {
        let Some((axis, others)) = axes.split_first() else {
            return;
        };
        let (count, from) = (axis.taps.count, axis.slab[0]);
        let places = &axis.taps.places[j * count..][..count];
        let weights = &axis.weights[j * count..][..count];
        if places[0] == OUTSIDE {
            return y.fill(self.extrapolation);
        }
        let Some(next) = others.first() else {
            let slab = Slab {
                x,
                y,
                places,
                weights,
            };
            return compiled(Isa::selected(), slab);
        };
        let (line, lane) = lane.split_at_mut(from);
        let slab = Slab {
            x,
            y: line,
            places,
            weights,
        };
        compiled(Isa::selected(), slab);
        if others.len() == 1 {
            let (axis, x, outside) = (next, &*line, self.extrapolation);
            let last = Last {
                axis,
                x,
                y,
                outside,
            };
            return match axis.slab[1] {
                // Elements beside each other are read one by one: wide vectors only cost.
                1 => last.elements(),
                _ => compiled(Isa::selected(), last),
            };
        }
        for (j, y) in y.chunks_exact_mut(next.slab[1]).enumerate() {
            self.row(others, line, y, j, lane);
        }
    }
}

/// All outputs of the last axis.
struct Last<'a, T> {
    axis: &'a WeightedAxis<T>,
    x: &'a [T],
    y: &'a mut [T],
    outside: T,
}

impl<T: Element> Last<'_, T> {
    /// Where nothing lies behind the axis.
    fn elements(self) {
        let (axis, count) = (self.axis, self.axis.taps.count);
        let places = axis.taps.places.chunks_exact(count);
        let taps = places.zip(axis.weights.chunks_exact(count));
        for (y, (places, weights)) in self.y.iter_mut().zip(taps) {
            *y = match (places, weights) {
                ([OUTSIDE, ..], _) => self.outside,
                (&[i, j], &[a, b]) => self.x[i] * a + self.x[j] * b,
                _ => {
                    let mut sum = T::ZERO;
                    for (&place, &weight) in places.iter().zip(weights) {
                        sum += self.x[place] * weight;
                    }
                    sum
                }
            };
        }
    }
}

impl<T: Element> Loop for Last<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (axis, count) = (self.axis, self.axis.taps.count);
        let places = axis.taps.places.chunks_exact(count);
        let taps = places.zip(axis.weights.chunks_exact(count));
        let slabs = self.y.chunks_exact_mut(axis.slab[1]);
        for (y, (places, weights)) in slabs.zip(taps) {
            match places {
                [OUTSIDE, ..] => y.fill(self.outside),
                _ => add_up(self.x, y, places, weights),
            }
        }
    }
}

/// One output of an axis, with all that lies behind it.
struct Slab<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    places: &'a [usize],
    weights: &'a [T],
}

impl<T: Element> Loop for Slab<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        add_up(self.x, self.y, self.places, self.weights);
    }
}

/// y ← Σ weight · x[place], slabs of the length of y.
#[inline(always)]
fn add_up<T: Element>(x: &[T], y: &mut [T], places: &[usize], weights: &[T]) {
    let len = y.len();
    let slab = |place: usize| &x[place * len..][..len];
    match (places, weights) {
        (&[i, j], &[a, b]) => {
            for ((y, &p), &q) in y.iter_mut().zip(slab(i)).zip(slab(j)) {
                *y = p * a + q * b;
            }
        }
        (&[i, j, k, l], &[a, b, c, d]) => {
            let slabs = slab(i).iter().zip(slab(j)).zip(slab(k).iter().zip(slab(l)));
            for (y, ((&p, &q), (&r, &s))) in y.iter_mut().zip(slabs) {
                *y = p * a + q * b + (r * c + s * d);
            }
        }
        _ => {
            y.fill(T::ZERO);
            for (&place, &weight) in places.iter().zip(weights) {
                for (y, &x) in y.iter_mut().zip(slab(place)) {
                    *y += x * weight;
                }
            }
        }
    }
}

/// f32.
pub(super) struct Singles {
    pub(super) weighted: Weighted<f32>,
    /// Elements of scratch, some lines.
    pub(super) scratch: usize,
    /// Elements of the output.
    pub(super) output: usize,
}

impl Step for Singles {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let (x, y) = (read(inputs, 0)?, write(outputs, 0)?);
        check_len("output", self.output, y.len())?;
        let most = threads();
        let given = scratch.len();
        let scratch = scratch.get_mut(..self.scratch);
        let scratch = scratch.ok_or(crate::error::Error::BufferLength {
            what: "scratch",
            expected: self.scratch,
            got: given,
        })?;
        self.weighted.resize(x, y, scratch, most)
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }
}

/// Any other type, by way of f64.
pub(super) struct Converted {
    pub(super) dtype: DType,
    pub(super) weighted: Weighted<f64>,
    /// Elements of the output.
    pub(super) output: usize,
}

impl Step for Converted {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let view = inputs.first().copied().flatten();
        let view = view.ok_or_else(|| wrong("X", self.dtype.name(), "missing"))?;
        let Some(output) = outputs.first_mut() else {
            return Err(wrong("Y", self.dtype.name(), "missing"));
        };
        check_len("output", self.output, output.len())?;
        let x = load(view)?;
        let mut y = filled(output.len(), 0.0)?;
        let mut scratch = filled(self.weighted.line, 0.0)?;
        self.weighted.resize(&x, &mut y, &mut scratch, 1)?;
        store(&y, output)
    }
}
