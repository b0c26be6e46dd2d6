//! RoiAlign: regions of images, each brought to one size.
//!
//! ```text
//! x [N, C, H, W]   rois [R, 4]: x₁ y₁ x₂ y₂   batch_indices [R]: the image of each   ->   y [R, C, h, w]
//! region    (x₁ .. x₂) · scale − ½, which is left out for `output_half_pixel`; then it is 1 long at least
//! bin       region / w, and s samples in it at the middles of s parts; without a number s = ⌈bin⌉
//! sample    the four elements around it, each by its weight; nothing beyond a pixel outside the image
//! y         avg  Σ of all / s²        max  the largest of all, each by its weight before it is compared; NaN stays
//! ```
//!
//! Places are computed in the type of the elements, as others do: a bin of just 2 has 2 samples, one of more has 3.
//! A region with a coordinate that is no number reads nothing: zeros.

use std::ops::Range;

use super::check::{at_most, has_type, read, required, span, write, wrong, wrong_attribute};
use super::{Fact, Facts, Operator, Step};
use crate::element::Element;
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// Most samples along an axis of a bin: it takes the square of them.
const MOST_SAMPLES: usize = 256;

/// Regions of its first input, each resampled to one size.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiAlign {
    pub(crate) size: [usize; 2],
    pub(crate) samples: usize,
    pub(crate) scale: f32,
    pub(crate) half_pixel: bool,
    pub(crate) maximum: bool,
}

impl RoiAlign {
    /// Inputs: images, regions, the image of each region. What comes out has this height and width.
    pub fn new(size: [usize; 2]) -> Self {
        Self {
            size,
            samples: 0,
            scale: 1.0,
            half_pixel: true,
            maximum: false,
        }
    }

    /// Samples along each axis of a bin; 0, the default: as many as it is long, rounded up.
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// What coordinates of regions are multiplied by, a positive number; 1 by default.
    pub fn scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// Whether a pixel's centre lies half a pixel from its edge, as by default.
    pub fn half_pixel(mut self, half_pixel: bool) -> Self {
        self.half_pixel = half_pixel;
        self
    }

    /// Whether the largest is wanted, not the mean.
    pub fn maximum(mut self, maximum: bool) -> Self {
        self.maximum = maximum;
        self
    }

    fn shape(&self, inputs: &Facts) -> Result<Vec<usize>> {
        at_most(inputs, 3)?;
        let (x, rois) = (required(inputs, 0, "X")?, required(inputs, 1, "rois")?);
        let indices = required(inputs, 2, "batch_indices")?;
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_type(rois, "rois", &[x.dtype])?;
        has_type(indices, "batch_indices", &[DType::I64])?;
        for (name, size) in ["output_height", "output_width"].iter().zip(self.size) {
            if size == 0 {
                return Err(wrong_attribute(name, "1 or more", size));
            }
        }
        if self.samples > MOST_SAMPLES {
            let expected = format!("0 to {MOST_SAMPLES}");
            return Err(wrong_attribute("sampling_ratio", expected, self.samples));
        }
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(wrong_attribute("spatial_scale", "above 0", self.scale));
        }
        let got = |fact: &Fact| format!("of shape {:?}", fact.shape);
        let [_, channels, height, width] = x.shape[..] else {
            return Err(wrong("X", "of 4 axes", got(x)));
        };
        let [count, 4] = rois.shape[..] else {
            return Err(wrong("rois", "lists of 4 numbers", got(rois)));
        };
        if indices.shape != [count] {
            let expected = format!("of shape [{count}], one for each region");
            return Err(wrong("batch_indices", expected, got(indices)));
        }
        if (height == 0 || width == 0) && count > 0 && channels > 0 {
            return Err(wrong("X", "images with elements", got(x)));
        }
        Ok(vec![count, channels, self.size[0], self.size[1]])
    }
}

impl Operator for RoiAlign {
    fn name(&self) -> &'static str {
        "RoiAlign"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let shape = self.shape(inputs)?;
        product("output", &shape)?;
        Ok(vec![Fact::new(required(inputs, 0, "X")?.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let shape = self.shape(inputs)?;
        let x = required(inputs, 0, "X")?;
        Ok(Box::new(Aligning {
            operator: self.clone(),
            dtype: x.dtype,
            images: x.shape[0],
            image: span(&x.shape[1..]),
            elements: span(&x.shape),
            channels: x.shape[1],
            sizes: [x.shape[2], x.shape[3]],
            regions: shape[0],
            len: product("output", &shape)?,
        }))
    }
}

struct Aligning {
    operator: RoiAlign,
    dtype: DType,
    images: usize,
    /// Elements of an image.
    image: usize,
    /// Elements of all images.
    elements: usize,
    channels: usize,
    /// Height and width of an image.
    sizes: [usize; 2],
    regions: usize,
    /// Elements of the output.
    len: usize,
}

impl Step for Aligning {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.align::<f64>(inputs, outputs),
            _ => self.align::<f32>(inputs, outputs),
        }
    }
}

/// A region along one axis.
#[derive(Clone, Copy)]
struct Extent<T> {
    start: T,
    /// The length of a bin.
    bin: T,
    /// Samples in a bin, a whole number where it is finite.
    samples: f64,
    /// Elements of the image.
    size: usize,
}

impl<T: Element> Extent<T> {
    /// Where a sample of a bin lies.
    fn place(&self, bin: usize, sample: usize) -> T {
        let half = T::from_f64(0.5);
        let number = |number: usize| T::from_f64(number as f64);
        let first = self.start + number(bin) * self.bin;
        first + (number(sample) + half) * self.bin / T::from_f64(self.samples)
    }

    /// The two elements around a sample, with their weights; none where it lies outside the image.
    fn around(&self, bin: usize, sample: usize) -> Option<[(usize, T); 2]> {
        let place = self.place(bin, sample);
        if !(-1.0..=self.size as f64).contains(&place.to_f64()) {
            return None;
        }
        let place = if place < T::ZERO { T::ZERO } else { place };
        let low = place.to_f64() as usize;
        let last = self.size.saturating_sub(1);
        if low >= last {
            return Some([(last, T::ONE), (last, T::ZERO)]);
        }
        let far = place - T::from_f64(low as f64);
        Some([(low, T::ONE - far), (low + 1, far)])
    }

    /// The samples of a bin that may lie in the image. All of them where their number was given: there are few.
    fn near(&self, bin: usize, given: usize) -> Range<usize> {
        if given > 0 {
            return 0..given;
        }
        let (length, start) = (self.bin.to_f64(), self.start.to_f64());
        // A bin without length has none, and one without end none that could be told from each other.
        if !(length > 0.0 && length.is_finite()) {
            return 0..0;
        }
        let (first, step) = (start + bin as f64 * length, length / self.samples);
        let low = (-1.0 - first) / step - 1.5;
        let high = (self.size as f64 - first) / step + 1.5;
        // Negative ones become 0.
        let (low, high) = (low.floor() as usize, high.ceil().min(self.samples) as usize);
        low..high
    }
}

impl Aligning {
    fn align<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (x, rois): (&[T], &[T]) = (read(inputs, 0)?, read(inputs, 1)?);
        let (indices, y): (&[i64], &mut [T]) = (read(inputs, 2)?, write(outputs, 0)?);
        check_len("Y", self.len, y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let [height, width] = self.operator.size;
        check_len("X", self.elements, x.len())?;
        check_len("rois", self.regions * 4, rois.len())?;
        check_len("batch_indices", self.regions, indices.len())?;
        let all = y.chunks_exact_mut(self.channels * height * width);
        for ((y, roi), &index) in all.zip(rois.chunks_exact(4)).zip(indices) {
            let number = usize::try_from(index).ok();
            let number = number
                .filter(|&number| number < self.images)
                .ok_or_else(|| {
                    let expected = format!("of numbers in 0..{}", self.images);
                    wrong("batch_indices", expected, index.to_string())
                })?;
            let x = &x[number * self.image..][..self.image];
            let rows = self.extent(0, roi[1], roi[3]);
            let columns = self.extent(1, roi[0], roi[2]);
            for at in 0..height * width {
                self.fill(x, [(rows, at / width), (columns, at % width)], &mut y[at..]);
            }
        }
        Ok(())
    }

    /// The region from `from` to `to` along an axis.
    fn extent<T: Element>(&self, axis: usize, from: T, to: T) -> Extent<T> {
        let operator = &self.operator;
        let scale = T::from_f64(operator.scale.into());
        let offset = T::from_f64(if operator.half_pixel { 0.5 } else { 0.0 });
        let start = from * scale - offset;
        let mut length = to * scale - offset - start;
        if !operator.half_pixel && length < T::ONE {
            length = T::ONE;
        }
        let bin = length / T::from_f64(operator.size[axis] as f64);
        Extent {
            start,
            bin,
            samples: match operator.samples {
                0 => bin.to_f64().ceil(),
                given => given as f64,
            },
            size: self.sizes[axis],
        }
    }

    /// One bin of all channels; `y` begins with that of the first.
    fn fill<T: Element>(&self, x: &[T], [rows, columns]: [(Extent<T>, usize); 2], y: &mut [T]) {
        let operator = &self.operator;
        let (pixels, bins) = (
            self.sizes[0] * self.sizes[1],
            operator.size[0] * operator.size[1],
        );
        let near = [rows, columns].map(|(extent, bin)| extent.near(bin, operator.samples));
        let inside = |(extent, bin): (Extent<T>, usize), near: &Range<usize>| {
            let found = near.clone().filter(|&at| extent.around(bin, at).is_some());
            found.count() as f64
        };
        let all = rows.0.samples.max(0.0) * columns.0.samples.max(0.0);
        let counted = inside(rows, &near[0]) * inside(columns, &near[1]);
        // Samples outside count as zeros.
        let start = match operator.maximum && counted > 0.0 && counted == all {
            true => T::NEG_INFINITY,
            false => T::ZERO,
        };
        y.iter_mut().step_by(bins).for_each(|y| *y = start);
        let count = T::from_f64(all.max(1.0));
        for row in near[0].clone() {
            let Some(lines) = rows.0.around(rows.1, row) else {
                continue;
            };
            for column in near[1].clone() {
                let Some(places) = columns.0.around(columns.1, column) else {
                    continue;
                };
                let taps = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(line, place)| {
                    let ((line, by), (place, weight)) = (lines[line], places[place]);
                    (line * self.sizes[1] + place, by * weight)
                });
                for (x, y) in x.chunks_exact(pixels).zip(y.iter_mut().step_by(bins)) {
                    let [a, b, c, d] = taps.map(|(at, weight)| weight * x[at]);
                    if operator.maximum {
                        for value in [a, b, c, d] {
                            if value > *y || value.is_nan() {
                                *y = value;
                            }
                        }
                    } else {
                        *y += a + b + c + d;
                    }
                }
            }
        }
        if !operator.maximum {
            y.iter_mut().step_by(bins).for_each(|y| *y = *y / count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{doubles, fact, floats, infer, integers, run};
    use super::*;
    use crate::network::tensor::Tensor;

    /// The definition: all samples, one after another.
    fn reference(align: &RoiAlign, x: &Tensor, rois: &Tensor, indices: &[i64]) -> Vec<f64> {
        let (x, rois) = (x.array::<f64>().unwrap(), rois.array::<f64>().unwrap());
        let [h, w] = align.size;
        let offset = if align.half_pixel { 0.5 } else { 0.0 };
        let mut y = Vec::new();
        for (roi, &index) in indices.iter().enumerate() {
            let corner = |at: usize| rois[[roi, at]] * f64::from(align.scale) - offset;
            let length = |from: usize, to: usize| {
                let length = corner(to) - corner(from);
                if align.half_pixel {
                    length
                } else {
                    length.max(1.0)
                }
            };
            let bins = [length(1, 3) / h as f64, length(0, 2) / w as f64];
            let samples = bins.map(|bin| match align.samples {
                0 => bin.ceil().max(0.0) as usize,
                given => given,
            });
            for channel in 0..x.shape()[1] {
                let element =
                    |at: [f64; 2]| x[[index as usize, channel, at[0] as usize, at[1] as usize]];
                for bin in 0..h * w {
                    let (mut sum, mut most) = (0.0, f64::NEG_INFINITY);
                    for sample in 0..samples[0] * samples[1] {
                        let place = |axis: usize, from: usize, bin: usize, sample: usize| {
                            let part = (sample as f64 + 0.5) / samples[axis] as f64;
                            corner(from) + (bin as f64 + part) * bins[axis]
                        };
                        let row = place(0, 1, bin / w, sample / samples[1]);
                        let column = place(1, 0, bin % w, sample % samples[1]);
                        let size = [x.shape()[2], x.shape()[3]].map(|size| size as f64);
                        let mut taps = vec![0.0];
                        if row >= -1.0 && row <= size[0] && column >= -1.0 && column <= size[1] {
                            let at = [
                                row.clamp(0.0, size[0] - 1.0),
                                column.clamp(0.0, size[1] - 1.0),
                            ];
                            taps.clear();
                            for corner in 0..4 {
                                let ends = [corner / 2, corner % 2];
                                let tap = [0, 1].map(|axis| match ends[axis] {
                                    0 => at[axis].floor(),
                                    _ => (at[axis].floor() + 1.0).min(size[axis] - 1.0),
                                });
                                let weight = [0, 1].map(|axis| match ends[axis] {
                                    0 => 1.0 - at[axis].fract(),
                                    _ => at[axis].fract(),
                                });
                                taps.push(weight[0] * weight[1] * element(tap));
                            }
                        }
                        sum += taps.iter().sum::<f64>();
                        most = taps.iter().copied().fold(most, f64::max);
                    }
                    let count = (samples[0] * samples[1]) as f64;
                    y.push(match align.maximum {
                        _ if count == 0.0 => 0.0,
                        true => most,
                        false => sum / count,
                    });
                }
            }
        }
        y
    }

    #[test]
    fn agrees_with_the_definition() {
        let x = doubles(&[2, 3, 7, 9], 1, -1.0, 1.0);
        let corners = [
            [0.0, 0.0, 8.0, 6.0],
            [1.3, 2.1, 5.2, 4.7],
            [-4.1, -3.2, 4.4, 3.3],
            [5.2, 4.1, 20.3, 30.1],
            [6.1, 5.1, 2.2, 3.3],
            [3.1, 3.1, 3.1, 3.1],
            [-60.1, -50.2, -40.3, -30.4],
            [-50.3, -40.7, 60.1, 70.9],
        ];
        let count = corners.len();
        let rois = ndarray::Array1::from(corners.concat()).into_dyn();
        let rois = Tensor::from(rois).reshape(&[count, 4]).unwrap();
        let images: Vec<i64> = (0..count as i64).map(|roi| roi % 2).collect();
        for samples in [0, 1, 2, 3] {
            for (half_pixel, maximum) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let align = RoiAlign::new([3, 2]).samples(samples).scale(0.75);
                let align = align.half_pixel(half_pixel).maximum(maximum);
                let inputs = [x.clone(), rois.clone(), integers(&images)];
                let y = run(&align, &inputs).unwrap().remove(0);
                assert_eq!(y.shape(), [count, 3, 3, 2]);
                let want = reference(&align, &x, &rois, &images);
                for (at, (&y, want)) in y.array::<f64>().unwrap().iter().zip(want).enumerate() {
                    assert!((y - want).abs() < 1e-12, "{align:?} {at}: {y} {want}");
                }
            }
        }
    }

    #[test]
    fn a_ramp_stays_a_ramp() {
        let x = floats(&[1, 1, 4, 4], (0..16).map(|at| (at % 4) as f32));
        let rois = floats(&[1, 4], [0.0, 0.0, 4.0, 4.0]);
        let align = RoiAlign::new([1, 2]);
        let y = run(&align, &[x, rois, integers(&[0])]).unwrap();
        // The middles of the bins, counted from the middle of the first pixel.
        assert_eq!(y[0], floats(&[1, 1, 1, 2], [0.5, 2.5]));
    }

    /// As many samples as a region is long, but only those in the image are looked at.
    #[test]
    fn regions_of_any_numbers() {
        let x = floats(&[1, 1, 2, 2], [1.0; 4]);
        let far = f32::MAX / 4.0;
        for roi in [
            [f32::NAN; 4],
            [f32::NAN, 0.0, 2.0, 2.0],
            [
                f32::NEG_INFINITY,
                f32::NEG_INFINITY,
                f32::INFINITY,
                f32::INFINITY,
            ],
            [-far, -far, far, far],
            [0.0, 0.0, f32::INFINITY, 1.0],
            [0.0, 0.0, 1e30, 1e-30],
            [f32::MAX, f32::MIN, f32::MIN, f32::MAX],
        ] {
            for (half_pixel, maximum) in [(false, false), (true, true)] {
                let align = RoiAlign::new([2, 2])
                    .half_pixel(half_pixel)
                    .maximum(maximum);
                let inputs = [x.clone(), floats(&[1, 4], roi), integers(&[0])];
                let y = run(&align, &inputs).unwrap();
                if roi[0].is_nan() {
                    assert_eq!(y[0], floats(&[1, 1, 2, 2], [0.0; 4]), "{roi:?}");
                }
            }
        }
    }

    #[test]
    fn nan_is_the_largest() {
        let x = floats(&[1, 2, 2, 2], [f32::NAN, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let rois = floats(&[1, 4], [0.0, 0.0, 2.0, 2.0]);
        let align = RoiAlign::new([1, 1]).maximum(true);
        let y = run(&align, &[x, rois, integers(&[0])]).unwrap();
        let y = y[0].array::<f32>().unwrap();
        assert!(y[[0, 0, 0, 0]].is_nan() && y[[0, 1, 0, 0]] == 7.0);
    }

    /// The sizes of an image need not fit where there is none.
    #[test]
    fn no_image_of_any_size() {
        let huge = 1 << 40;
        let (x, rois) = (fact(&[0, 1, huge, huge]), fact(&[1, 4]));
        let indices = Fact::new(DType::I64, [1]);
        let inputs = [Some(&x), Some(&rois), Some(&indices)];
        let align = RoiAlign::new([1, 1]);
        let step = align.step(&inputs, &PlanOptions::new()).unwrap();
        let (x, rois) = (floats(&[0], []), floats(&[1, 4], [0.0; 4]));
        let (indices, mut y) = (integers(&[0]), floats(&[1, 1, 1, 1], [0.0]));
        let inputs = [&x, &rois, &indices].map(|tensor| Some(tensor.view()));
        let message = step.run(&inputs, &mut [y.view_mut()], &mut []);
        let message = message.unwrap_err().to_string();
        assert!(message.contains("batch_indices"), "{message}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, rois) = (fact(&[1, 2, 4, 4]), fact(&[3, 4]));
        let indices = Fact::new(DType::I64, [3]);
        let align = RoiAlign::new([1, 1]);
        assert!(infer(&align, &[&x, &rois, &indices]).is_ok());
        for inputs in [
            [&x, &rois, &Fact::new(DType::I64, [2])],
            [&x, &fact(&[3, 5]), &indices],
            [&fact(&[1, 2, 4]), &rois, &indices],
            [&fact(&[1, 2, 0, 4]), &rois, &indices],
            [&x, &rois, &fact(&[3])],
            [&x, &Fact::new(DType::F64, [3, 4]), &indices],
        ] {
            assert!(infer(&align, &inputs).is_err(), "{inputs:?}");
        }
        for align in [
            RoiAlign::new([0, 1]),
            RoiAlign::new([1, 1]).samples(MOST_SAMPLES + 1),
            RoiAlign::new([usize::MAX, usize::MAX]),
            RoiAlign::new([1, 1]).scale(f32::NAN),
            RoiAlign::new([1, 1]).scale(f32::INFINITY),
            RoiAlign::new([1, 1]).scale(-1.0),
            RoiAlign::new([1, 1]).scale(0.0),
        ] {
            assert!(infer(&align, &[&x, &rois, &indices]).is_err());
        }
        for index in [-1, 1, i64::MAX] {
            let inputs = [
                floats(&[1, 1, 1, 1], [1.0]),
                floats(&[1, 4], [0.0; 4]),
                integers(&[index]),
            ];
            let message = run(&align, &inputs).unwrap_err().to_string();
            assert!(message.contains("batch_indices"), "{message}");
        }
        let none = [
            floats(&[1, 1, 1, 1], [1.0]),
            floats(&[0, 4], []),
            integers(&[]),
        ];
        assert_eq!(run(&align, &none).unwrap()[0].shape(), [0, 1, 1, 1]);
    }
}
