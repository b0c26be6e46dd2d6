//! LRN: every element by its neighbours among the channels.
//!
//! ```text
//! y[c] = x[c] / (bias + α / size · Σ x[i]²)^β         c − ⌊(size − 1) / 2⌋ ≤ i ≤ c + ⌈(size − 1) / 2⌉, inside
//! ```
//!
//! Channels first a block is some pixels of a plane, whose neighbours are the same pixels of other planes; channels
//! last it is some channels of a pixel. Sums over many channels move with the channel, in f64.

use std::sync::Arc;

use ndarray::{ArrayViewMut3, s};

use super::super::check::{at_most, has_axes, has_type, read, required, write, wrong_attribute};
use super::super::strided::GRAIN;
use super::super::{Fact, Facts, Operator, Step};
use super::{COLUMNS, FLOATS};
use crate::element::Element;
use crate::error::{Error, Result, check_len, product};
use crate::geometry::Layout;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::{for_each_piece, for_each_tile, threads_for};
use crate::plan::PlanOptions;

/// Channels of a neighbourhood that are summed anew for every element.
const FEW: usize = 32;

/// Local response normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Lrn {
    pub(crate) size: usize,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) bias: f32,
    pub(crate) layout: Layout,
}

impl Lrn {
    /// Over `size` channels; see the formula above.
    pub fn new(size: usize, alpha: f32, beta: f32, bias: f32) -> Self {
        Self {
            size,
            alpha,
            beta,
            bias,
            layout: Layout::ChannelsFirst,
        }
    }
}

impl Operator for Lrn {
    fn name(&self) -> &'static str {
        "LRN"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let x = required(inputs, 0, "X")?;
        has_type(x, "X", &FLOATS)?;
        has_axes(x, "X", 2)?;
        if self.size == 0 {
            return Err(wrong_attribute("size", "1 or more", 0));
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "X")?;
        let (images, channels, spatial) = self.layout.parts(&x.shape);
        Ok(Box::new(Local {
            dtype: x.dtype,
            layout: self.layout,
            images,
            channels,
            pixels: product("X", spatial)?,
            before: ((self.size - 1) / 2).min(channels),
            after: (self.size / 2).min(channels),
            slope: f64::from(self.alpha) / self.size as f64,
            bias: self.bias.into(),
            beta: self.beta.into(),
        }))
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self {
            layout: Layout::ChannelsLast,
            ..self.clone()
        }))
    }
}

struct Local {
    dtype: DType,
    layout: Layout,
    images: usize,
    channels: usize,
    pixels: usize,
    /// Neighbours on both sides.
    before: usize,
    after: usize,
    slope: f64,
    bias: f64,
    beta: f64,
}

impl Step for Local {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.normalize::<f64>(inputs, outputs),
            _ => self.normalize::<f32>(inputs, outputs),
        }
    }
}

impl Local {
    fn normalize<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (x, y): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
        check_len("output", x.len(), y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        match self.layout {
            Layout::ChannelsFirst => self.planes(x, y),
            Layout::ChannelsLast => {
                let step = GRAIN.div_ceil(self.channels) * self.channels;
                for_each_piece(y, step, &|index, y| {
                    let x = &x[index * step..][..y.len()];
                    compiled(Isa::selected(), Pixels { plan: self, x, y });
                });
                Ok(())
            }
        }
    }

    /// The first and the last neighbour of a channel.
    fn neighbours(&self, channel: usize) -> std::ops::RangeInclusive<usize> {
        let last = (channel + self.after).min(self.channels - 1);
        channel.saturating_sub(self.before)..=last
    }

    fn is_few(&self) -> bool {
        self.before + self.after < FEW
    }

    fn planes<T: Element>(&self, x: &[T], y: &mut [T]) -> Result<()> {
        let shape = (self.images, self.channels, self.pixels);
        let len = y.len();
        let y = ArrayViewMut3::from_shape(shape, y).map_err(|_| Error::BufferLength {
            what: "output",
            expected: shape.0 * shape.1 * shape.2,
            got: len,
        })?;
        let block = [1, self.channels, COLUMNS];
        let parallel = threads_for(len as u128 * 4) > 1;
        for_each_tile(y, block, parallel, &|[image, _, pixel], y| {
            let first = image * self.channels * self.pixels + pixel;
            compiled(
                Isa::selected(),
                Planes {
                    plan: self,
                    x: &x[first..],
                    y,
                },
            );
        });
        Ok(())
    }

    /// Some pixels of every plane; `x` begins with the first of them.
    #[inline(always)]
    fn tile<T: Element>(&self, x: &[T], mut y: ArrayViewMut3<T>) {
        let width = y.dim().2;
        let row = |channel: usize| &x[channel * self.pixels..][..width];
        let mut moving = [0.0; COLUMNS];
        if !self.is_few() {
            (0..self.after.min(self.channels)).for_each(|channel| join(&mut moving, row(channel)));
        }
        for channel in 0..self.channels {
            let mut sums = [T::ZERO; COLUMNS];
            if self.is_few() {
                for neighbour in self.neighbours(channel) {
                    add_squares(&mut sums, row(neighbour));
                }
            } else {
                if channel + self.after < self.channels {
                    join(&mut moving, row(channel + self.after));
                }
                if let Some(gone) = channel.checked_sub(self.before + 1) {
                    leave(&mut moving, row(gone));
                }
                sums = moving.map(T::from_f64);
            }
            let mut y = y.slice_mut(s![0, channel, ..]);
            let y = y.as_slice_mut().unwrap_or_default();
            self.finish(&sums, row(channel), y);
        }
    }

    /// All channels of one pixel.
    #[inline(always)]
    fn pixel<T: Element>(&self, x: &[T], y: &mut [T]) {
        let mut moving = 0.0;
        let square = |x: &T| x.to_f64() * x.to_f64();
        if !self.is_few() {
            moving = x[..self.after.min(x.len())].iter().map(square).sum();
        }
        for (block, y) in y.chunks_mut(COLUMNS).enumerate() {
            let first = block * COLUMNS;
            let mut sums = [T::ZERO; COLUMNS];
            if self.is_few() {
                let from = first.saturating_sub(self.before);
                let to = (first + y.len() + self.after).min(x.len());
                // Neighbour k of all channels at once: it lies `before` less k in front of each.
                for k in 0..=self.before + self.after {
                    let begin = (first + k).max(from + self.before);
                    let end = (first + y.len() + k).min(to + self.before);
                    if begin < end {
                        let sums = &mut sums[begin - first - k..];
                        add_squares(sums, &x[begin - self.before..end - self.before]);
                    }
                }
            } else {
                for (at, sum) in sums[..y.len()].iter_mut().enumerate() {
                    let channel = first + at;
                    if let Some(x) = x.get(channel + self.after) {
                        moving += square(x);
                    }
                    if let Some(gone) = channel.checked_sub(self.before + 1) {
                        moving -= square(&x[gone]);
                    }
                    *sum = T::from_f64(moving.max(0.0));
                }
            }
            let x = &x[first..first + y.len()];
            self.finish(&sums, x, y);
        }
    }

    /// y = x / (bias + slope · sum)^β
    #[inline(always)]
    fn finish<T: Element>(&self, sums: &[T], x: &[T], y: &mut [T]) {
        let (slope, bias) = (T::from_f64(self.slope), T::from_f64(self.bias));
        if let (Some(sums), Some(x), true) = (T::singles(sums), T::singles(x), self.beta == 0.75) {
            let (slope, bias) = (self.slope as f32, self.bias as f32);
            for ((y, &x), &sum) in T::singles_mut(y)
                .unwrap_or_default()
                .iter_mut()
                .zip(x)
                .zip(sums)
            {
                let root = (bias + slope * sum).sqrt();
                *y = x / (root * root.sqrt());
            }
            return;
        }
        let beta = T::from_f64(self.beta);
        for ((y, &x), &sum) in y.iter_mut().zip(x).zip(sums) {
            *y = x / (bias + slope * sum).powf(beta);
        }
    }
}

/// Whole pixels, channels last.
struct Pixels<'a, T> {
    plan: &'a Local,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> Loop for Pixels<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.plan.channels;
        let pixels = self.y.chunks_exact_mut(channels);
        for (y, x) in pixels.zip(self.x.chunks_exact(channels)) {
            self.plan.pixel(x, y);
        }
    }
}

/// [`Local::tile`] as a loop.
struct Planes<'a, T> {
    plan: &'a Local,
    x: &'a [T],
    y: ArrayViewMut3<'a, T>,
}

impl<T: Element> Loop for Planes<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        self.plan.tile(self.x, self.y);
    }
}

#[inline(always)]
fn add_squares<T: Element>(sums: &mut [T], row: &[T]) {
    for (sum, &x) in sums.iter_mut().zip(row) {
        *sum += x * x;
    }
}

#[inline(always)]
fn join<T: Element>(sums: &mut [f64; COLUMNS], row: &[T]) {
    for (sum, x) in sums.iter_mut().zip(row) {
        *sum += x.to_f64() * x.to_f64();
    }
}

#[inline(always)]
fn leave<T: Element>(sums: &mut [f64; COLUMNS], row: &[T]) {
    for (sum, x) in sums.iter_mut().zip(row) {
        *sum = (*sum - x.to_f64() * x.to_f64()).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{fact, floats, infer, run};
    use super::*;
    use crate::network::operator::Transpose;

    /// Element by element, as the file head says.
    #[test]
    fn both_layouts_agree_with_the_definition() {
        for (channels, size) in [
            (7, 1),
            (7, 2),
            (7, 5),
            (100, 5),
            (64, 4),
            (150, 31),
            (150, 70),
            (20, 1000),
            (65, usize::MAX),
        ] {
            for beta in [0.75, 0.5] {
                let shape = [2, channels, 9, 8];
                let len = 2 * channels * 72;
                let values = Vec::from_iter((0..len).map(|i| ((i * 31) % 17) as f32 - 8.0));
                let lrn = Lrn::new(size, 0.5, beta, 2.0);
                let x = floats(&shape, values.clone());
                let y = run(&lrn, std::slice::from_ref(&x)).unwrap();
                let last = run(&Transpose::to_channels_last(4), &[x]).unwrap();
                let last = run(&*lrn.channels_last(&[]).unwrap(), &last).unwrap();
                let last = run(&Transpose::to_channels_first(4), &last).unwrap();
                for (at, (got, last)) in (y[0].array::<f32>().unwrap().iter())
                    .zip(last[0].array::<f32>().unwrap())
                    .enumerate()
                {
                    let (channel, plane) = (at / 72 % channels, at / 72);
                    let (before, after) = ((size - 1) / 2, size / 2);
                    let sum: f64 = (0..channels)
                        .filter(|&i| i + before.min(channels) >= channel)
                        .filter(|&i| i <= channel.saturating_add(after))
                        .map(|i| f64::from(values[(plane - channel + i) * 72 + at % 72]).powi(2))
                        .sum();
                    let expected = f64::from(values[at])
                        / (2.0 + 0.5 / size as f64 * sum).powf(f64::from(beta));
                    for got in [got, last] {
                        let error = (f64::from(*got) - expected).abs();
                        assert!(
                            error < 1e-5,
                            "{got}, expected {expected}, {channels} {size}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn edges() {
        let lrn = Lrn::new(5, 1e-4, 0.75, 1.0);
        assert!(run(&lrn, &[floats(&[1, 0, 3], [])]).unwrap()[0].is_empty());
        assert!(infer(&lrn, &[&fact(&[3])]).is_err());
        assert!(infer(&Lrn::new(0, 1.0, 1.0, 1.0), &[&fact(&[1, 1, 1])]).is_err());
    }
}
