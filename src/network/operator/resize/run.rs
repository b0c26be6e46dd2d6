//! Resizing as it runs, an axis inside another.
//!
//! ```text
//! resize(x, y, axes):                      axes: those that change, outermost first; `inner` elements behind them
//!     for each output j of the first axis:
//!         nearest   resize(x[i[j]], y[j], the others); a copy of y[j − 1] where i[j] is the same
//!         else      line ← Σ w[j, k] · x[i[j, k]]         all that lies behind the axis, in scratch
//!                   resize(line, y[j], the others)
//! ```
//!
//! f32 is computed as such, with a lane of scratch for each thread. Other types are converted to f64 and back.

use super::super::Step;
use super::super::check::{read, write, wrong};
use super::super::strided::GRAIN;
use super::taps::{OUTSIDE, Sampling, Taps};
use super::{Interpolation, ResizeOptions};
use crate::element::{Element, filled};
use crate::error::{Result, check_len, product};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::tensor::{DType, Scalar, View, ViewMut, with_type};
use crate::parallel::Lanes;
use crate::parallel::for_each_piece;

/// The step for an input of type `dtype` and an output of `output` elements.
pub(super) fn step(
    dtype: DType,
    options: &ResizeOptions,
    samplings: &[Sampling],
    output: usize,
) -> Result<Box<dyn Step>> {
    let extrapolation = options.extrapolation_value;
    let Some(first) = samplings.iter().position(|axis| !axis.is_whole()) else {
        return Err(wrong("scales", "that change something", "1 each"));
    };
    let last = samplings
        .iter()
        .rposition(|axis| !axis.is_whole())
        .unwrap_or(first);
    let lengths = |axes: &[Sampling]| Vec::from_iter(axes.iter().map(|axis| axis.input));
    let inner = product("X", &lengths(&samplings[last + 1..]))?;
    let axes = match output {
        0 => Vec::new(),
        _ => samplings[first..=last]
            .iter()
            .map(|sampling| Taps::new(sampling, options))
            .collect::<Result<Vec<_>>>()?,
    };
    if let Interpolation::Nearest(_) = options.interpolation {
        return Ok(Box::new(Nearest {
            dtype,
            axes,
            inner,
            output,
            extrapolation,
        }));
    }
    Ok(match dtype {
        DType::F32 => {
            let weighted = Weighted::<f32>::new(&axes, inner, extrapolation)?;
            let lanes = rayon::current_num_threads().min(8);
            let scratch = product("scratch", &[weighted.line, lanes])?;
            Box::new(Singles {
                weighted,
                scratch,
                output,
            })
        }
        _ => Box::new(Converted {
            dtype,
            weighted: Weighted::new(&axes, inner, extrapolation)?,
            output,
        }),
    })
}

/// The nearest elements, of any type.
struct Nearest {
    dtype: DType,
    axes: Vec<Taps>,
    inner: usize,
    output: usize,
    extrapolation: f32,
}

impl Step for Nearest {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.dtype, T => {
            let (x, y): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
            check_len("output", self.output, y.len())?;
            let mut outside = [T::default()];
            store(&[f64::from(self.extrapolation)], T::view_mut(&mut outside))?;
            self.copy(x, y, outside[0]);
            Ok(())
        })
    }
}

impl Nearest {
    fn copy<T: Scalar>(&self, x: &[T], y: &mut [T], outside: T) {
        let Some((axis, others)) = self.axes.split_first().filter(|_| !y.is_empty()) else {
            return;
        };
        let slab = sizes(others, self.inner);
        let rows = GRAIN.div_ceil(slab[1]);
        for_each_piece(y, rows * slab[1], &|piece, y| {
            let first = piece * rows;
            let mut y = y;
            let mut done = 0;
            // A piece may begin in one image and end in another.
            while !y.is_empty() {
                let (image, row) = ((first + done) / axis.output, (first + done) % axis.output);
                let count = (axis.output - row).min(y.len() / slab[1]);
                let (now, rest) = y.split_at_mut(count * slab[1]);
                let x = &x[image * axis.input * slab[0]..][..axis.input * slab[0]];
                let places = &axis.places[row..row + count];
                pick(x, now, places, others, self.inner, outside);
                (y, done) = (rest, done + count);
            }
        });
    }
}

/// Elements behind an axis, in the input and in the output.
fn sizes(others: &[Taps], inner: usize) -> [usize; 2] {
    let input = others.iter().map(|axis| axis.input).product::<usize>();
    let output = others.iter().map(|axis| axis.output).product::<usize>();
    [input * inner, output * inner]
}

/// y[j] ← x[places[j]] for slabs of all that lies behind an axis.
fn pick<T: Scalar>(
    x: &[T],
    y: &mut [T],
    places: &[usize],
    others: &[Taps],
    inner: usize,
    outside: T,
) {
    if others.is_empty() && inner == 1 {
        for (y, &place) in y.iter_mut().zip(places) {
            *y = if place == OUTSIDE { outside } else { x[place] };
        }
        return;
    }
    let [from, to] = sizes(others, inner);
    for (j, &place) in places.iter().enumerate() {
        if place == OUTSIDE {
            y[j * to..][..to].fill(outside);
        } else if j > 0 && places[j - 1] == place {
            y.copy_within((j - 1) * to..j * to, j * to);
        } else {
            let (x, y) = (&x[place * from..][..from], &mut y[j * to..][..to]);
            match others.split_first() {
                None => y.copy_from_slice(x),
                Some((axis, others)) => pick(x, y, &axis.places, others, inner, outside),
            }
        }
    }
}

/// The taps of an axis with weights of type T.
struct WeightedAxis<T> {
    taps: Taps,
    weights: Vec<T>,
    /// Elements behind the axis in the input and in the output.
    slab: [usize; 2],
}

/// Weighted sums.
struct Weighted<T> {
    axes: Vec<WeightedAxis<T>>,
    /// Elements of scratch: one line for every axis but the last.
    line: usize,
    extrapolation: T,
}

impl<T: Element> Weighted<T> {
    fn new(taps: &[Taps], inner: usize, extrapolation: f32) -> Result<Self> {
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
struct Singles {
    weighted: Weighted<f32>,
    scratch: usize,
    output: usize,
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
        let threads = rayon::current_num_threads();
        let given = scratch.len();
        let scratch = scratch.get_mut(..self.scratch);
        let scratch = scratch.ok_or(crate::error::Error::BufferLength {
            what: "scratch",
            expected: self.scratch,
            got: given,
        })?;
        self.weighted.resize(x, y, scratch, threads)
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }
}

/// Any other type, by way of f64.
struct Converted {
    dtype: DType,
    weighted: Weighted<f64>,
    output: usize,
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
        let output = match output {
            ViewMut::F64(output) => ViewMut::F64(output),
            ViewMut::F16(output) => ViewMut::F16(output),
            ViewMut::Bf16(output) => ViewMut::Bf16(output),
            ViewMut::I8(output) => ViewMut::I8(output),
            ViewMut::I16(output) => ViewMut::I16(output),
            ViewMut::I32(output) => ViewMut::I32(output),
            ViewMut::I64(output) => ViewMut::I64(output),
            ViewMut::U8(output) => ViewMut::U8(output),
            ViewMut::U16(output) => ViewMut::U16(output),
            ViewMut::U32(output) => ViewMut::U32(output),
            ViewMut::U64(output) => ViewMut::U64(output),
            other => return Err(wrong("Y", "numbers", other.dtype().name())),
        };
        store(&y, output)
    }
}

/// Numbers of any type as f64.
fn load(view: View) -> Result<Vec<f64>> {
    let mut values = crate::element::reserved(view.len())?;
    macro_rules! load {
        ($($float:ident)*; $($integer:ident)*) => {
            match view {
                $(View::$float(list) => values.extend(list.iter().map(|&value| f64::from(value))),)*
                $(View::$integer(list) => values.extend(list.iter().map(|&value| value as f64)),)*
                View::Bool(_) => return Err(wrong("X", "numbers", "bool")),
            }
        };
    }
    load!(F32 F64 F16 Bf16; I8 I16 I32 I64 U8 U16 U32 U64);
    Ok(values)
}

/// f64 as any type: integers are rounded, halves to even, and brought into their range.
fn store(values: &[f64], view: ViewMut) -> Result<()> {
    macro_rules! store {
        ($($integer:ident $type:ty),*) => {
            match view {
                ViewMut::F64(list) => list.copy_from_slice(values),
                ViewMut::F32(list) => list.iter_mut().zip(values).for_each(|(y, &x)| *y = x as f32),
                ViewMut::F16(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = half::f16::from_f64(x));
                }
                ViewMut::Bf16(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = half::bf16::from_f64(x));
                }
                ViewMut::Bool(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = x != 0.0);
                }
                $(ViewMut::$integer(list) => {
                    list.iter_mut().zip(values).for_each(|(y, &x)| *y = x.round_ties_even() as $type);
                })*
            }
        };
    }
    store!(I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{constant, fact, floats, infer, integers, run_some};
    use super::super::{AspectRatio, Coordinates, NearestMode, Resize};
    use super::*;
    use crate::network::Tensor;
    use crate::network::operator::{Operator, Transpose};

    fn options(interpolation: Interpolation) -> ResizeOptions {
        ResizeOptions {
            interpolation,
            ..ResizeOptions::default()
        }
    }

    fn resized(options: &ResizeOptions, x: &Tensor, sizes: &[i64]) -> Tensor {
        let resize = Resize::new(options.clone());
        let sizes = integers(sizes);
        let inputs = [Some(x), None, None, Some(&sizes)];
        run_some(&resize, &inputs).unwrap().remove(0)
    }

    /// Element by element, by the tables.
    fn definition(
        options: &ResizeOptions,
        x: &[f64],
        shape: &[usize],
        sizes: &[usize],
    ) -> Vec<f64> {
        let taps: Vec<Taps> = (shape.iter().zip(sizes))
            .map(|(&from, &to)| Taps::new(&Sampling::sized(from, to).unwrap(), options).unwrap())
            .collect();
        let total: usize = sizes.iter().product();
        (0..total)
            .map(|flat| {
                let mut terms = vec![(0, 1.0)];
                for (axis, taps) in taps.iter().enumerate() {
                    let inner: usize = sizes[axis + 1..].iter().product();
                    let j = flat / inner % sizes[axis];
                    terms = terms
                        .iter()
                        .flat_map(|&(at, weight): &(usize, f64)| {
                            (j * taps.count..(j + 1) * taps.count).map(move |tap| {
                                (
                                    at * taps.input + taps.places[tap],
                                    weight * taps.weights[tap],
                                )
                            })
                        })
                        .collect();
                }
                terms.iter().map(|&(at, weight)| x[at] * weight).sum()
            })
            .collect()
    }

    #[test]
    fn all_modes_in_both_layouts() {
        let modes = [
            Interpolation::Nearest(NearestMode::RoundPreferFloor),
            Interpolation::Linear,
            Interpolation::Cubic(-0.75),
        ];
        for interpolation in modes {
            for (shape, sizes) in [
                (&[2, 3, 5, 7][..], &[2, 3, 10, 14][..]),
                (&[1, 5, 9, 8], &[1, 5, 4, 3]),
                (&[2, 2, 40, 30], &[2, 2, 61, 90]),
                (&[1, 20, 3, 4, 5], &[1, 20, 5, 4, 9]),
                (&[3, 4, 6], &[3, 7, 3]),
                (&[1, 2, 3, 1], &[1, 2, 3, 4]),
            ] {
                for antialias in [false, !matches!(interpolation, Interpolation::Nearest(_))] {
                    let options = ResizeOptions {
                        antialias,
                        ..options(interpolation)
                    };
                    let len: usize = shape.iter().product();
                    let values =
                        Vec::from_iter((0..len).map(|i| ((i * 7919) % 251) as f64 - 100.0));
                    let whole = Vec::from_iter(sizes.iter().map(|&size| size as usize));
                    let expected = definition(&options, &values, shape, &whole);
                    let x = floats(shape, values.iter().map(|&x| x as f32));
                    let first = resized(&options, &x, sizes);
                    let rank = shape.len();
                    let turn =
                        |to: Transpose, x: &Tensor| run_some(&to, &[Some(x)]).unwrap().remove(0);
                    let last = Resize::new(options.clone()).channels_last(&[Some(&fact(shape))]);
                    let turned = turn(Transpose::to_channels_last(rank), &x);
                    let list = integers(sizes);
                    let inputs = [Some(&turned), None, None, Some(&list)];
                    let last = run_some(&*last.unwrap(), &inputs).unwrap().remove(0);
                    let last = turn(Transpose::to_channels_first(rank), &last);
                    for y in [first, last] {
                        assert_eq!(y.shape(), whole);
                        for (&got, expected) in y.array::<f32>().unwrap().iter().zip(&expected) {
                            let error = (f64::from(got) - expected).abs();
                            assert!(error < 1e-3, "{got}, expected {expected}: {options:?}");
                        }
                    }
                }
            }
        }
    }

    /// Cases of the operator's specification.
    #[test]
    fn known_values() {
        let x = floats(&[1, 1, 2, 2], [1.0, 2.0, 3.0, 4.0]);
        let mut linear = options(Interpolation::Linear);
        let y = resized(&linear, &x, &[1, 1, 4, 4]);
        let rows = [
            1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0,
        ];
        assert_eq!(y, floats(&[1, 1, 4, 4], rows));
        linear.coordinates = Coordinates::AlignCorners;
        let y = resized(&linear, &x, &[1, 1, 2, 3]);
        assert_eq!(y, floats(&[1, 1, 2, 3], [1.0, 1.5, 2.0, 3.0, 3.5, 4.0]));
        let bytes: Tensor = ndarray::arr1(&[0u8, 255, 10]).into_dyn().into();
        let y = resized(&options(Interpolation::Cubic(-0.75)), &bytes, &[5]);
        assert_eq!(y, ndarray::arr1(&[0u8, 117, 255, 123, 0]).into_dyn().into());
    }

    #[test]
    fn regions_scales_and_bounds() {
        let crop = ResizeOptions {
            coordinates: Coordinates::CropAndResize,
            extrapolation_value: 9.0,
            axes: Some(vec![1]),
            ..options(Interpolation::Linear)
        };
        let x = floats(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let (roi, sizes) = (floats(&[2], [0.5, 1.5]), integers(&[3]));
        let inputs = [Some(&x), Some(&roi), None, Some(&sizes)];
        let y = run_some(&Resize::new(crop.clone()), &inputs).unwrap();
        assert_eq!(y[0], floats(&[2, 3], [2.0, 3.0, 9.0, 5.0, 6.0, 9.0]));
        let (x, sizes) = (fact(&[1, 1, 2, 4]), constant(&[1, 1, 7, 8]));
        let bound = |aspect_ratio| {
            let options = ResizeOptions {
                aspect_ratio,
                axes: Some(vec![2, 3]),
                ..ResizeOptions::default()
            };
            let inputs = [Some(&x), None, None, Some(&constant(&[7, 8]))].map(|fact| fact.cloned());
            let inputs = Vec::from_iter(inputs.iter().map(Option::as_ref));
            Resize::new(options).infer(&inputs).unwrap().remove(0).shape
        };
        assert_eq!(bound(AspectRatio::NotLarger), [1, 1, 4, 8]);
        assert_eq!(bound(AspectRatio::NotSmaller), [1, 1, 7, 14]);
        assert_eq!(bound(AspectRatio::Stretch), [1, 1, 7, 8]);
        let resize = Resize::new(ResizeOptions::default());
        assert!(infer(&resize, &[&x]).is_err());
        let scales = Fact::constant(std::sync::Arc::new(floats(&[4], [1.0; 4])));
        assert!(infer(&resize, &[&x, &scales, &scales, &sizes]).is_err());
        let region = Resize::new(crop);
        assert!(
            region
                .infer(&[Some(&x), None, None, Some(&constant(&[3]))])
                .is_err()
        );
        let huge = constant(&[1, 1, i64::MAX, 4]);
        assert!(resize.infer(&[Some(&x), None, None, Some(&huge)]).is_err());
    }

    use super::super::super::Fact;

    #[test]
    fn nothing_in_nothing_out() {
        let y = resized(
            &options(Interpolation::Linear),
            &floats(&[2, 0], []),
            &[4, 0],
        );
        assert_eq!(y.shape(), [4, 0]);
        let y = resized(
            &options(Interpolation::Linear),
            &floats(&[1, 2], [1.0, 2.0]),
            &[1, 0],
        );
        assert_eq!(y.shape(), [1, 0]);
    }
}
