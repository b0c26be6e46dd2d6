//! InstanceNormalization and GroupNormalization: each image, each group of channels for itself.
//!
//! ```text
//! x [N, C, …], scale, bias [C]           mean and variance over the channels of a group and all pixels of an image
//! tile   the channels of some groups of an image; channels last it takes whole cache lines of each pixel
//! ```
//!
//! The mean is found first and the variance as a sum of (x − mean)², both with f64 at every sixteenth row.

use std::sync::Arc;

use ndarray::{ArrayViewMut3, Axis, s};

use super::super::by_image::first_alone;
use super::super::check::{
    at_most, has_axes, has_shape, has_type, read, required, write, wrong_attribute,
};
use super::super::{Fact, Facts, Operator, Step};
use super::{COLUMNS, FLOATS, check_epsilon, column_sums, itself, squared, sum};
use crate::element::Element;
use crate::error::{Error, Result, check_len, product};
use crate::geometry::Layout;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::{for_each_tile, threads_for};
use crate::plan::PlanOptions;

/// Every channel of every image for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceNormalization {
    pub(crate) epsilon: f32,
    pub(crate) layout: Layout,
}

impl InstanceNormalization {
    /// Inputs: data, scale and bias of each channel.
    pub fn new(epsilon: f32) -> Self {
        Self {
            epsilon,
            layout: Layout::ChannelsFirst,
        }
    }
}

/// Some channels of every image together.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNormalization {
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    /// Scale and bias of each group, not of each channel.
    pub(crate) by_group: bool,
    pub(crate) layout: Layout,
}

impl GroupNormalization {
    /// Inputs: data, scale and bias of each channel, or with `by_group` of each group.
    pub fn new(groups: usize, epsilon: f32, by_group: bool) -> Self {
        Self {
            groups,
            epsilon,
            by_group,
            layout: Layout::ChannelsFirst,
        }
    }
}

/// What the two have in common: the sizes.
fn plan(
    inputs: &Facts,
    layout: Layout,
    epsilon: f32,
    (groups, by_group): (Option<usize>, bool),
) -> Result<Normalizing> {
    at_most(inputs, 3)?;
    check_epsilon(epsilon)?;
    let input = required(inputs, 0, "input")?;
    has_type(input, "input", &FLOATS)?;
    has_axes(input, "input", 2)?;
    let (images, channels, spatial) = layout.parts(&input.shape);
    let groups = groups.unwrap_or(channels);
    if groups == 0 && channels != 0 || groups != 0 && channels % groups != 0 {
        let expected = format!("a divisor of {channels} channels");
        return Err(wrong_attribute("num_groups", expected, groups));
    }
    let parameters = if by_group { groups } else { channels };
    for (index, name) in [(1, "scale"), (2, "bias")] {
        let fact = required(inputs, index, name)?;
        has_type(fact, name, &[input.dtype])?;
        has_shape(fact, name, &[parameters])?;
    }
    Ok(Normalizing {
        dtype: input.dtype,
        layout,
        images,
        channels,
        pixels: product("input", spatial)?,
        group: channels.checked_div(groups).unwrap_or(0),
        by_group,
        epsilon: epsilon.into(),
    })
}

macro_rules! operator {
    ($type:ident, $name:literal, $groups:expr) => {
        impl Operator for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
                plan(inputs, self.layout, self.epsilon, $groups(self))?;
                let input = required(inputs, 0, "input")?;
                Ok(vec![Fact::new(input.dtype, input.shape.clone())])
            }

            fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
                let plan = plan(inputs, self.layout, self.epsilon, $groups(self))?;
                Ok(Box::new(plan))
            }

            fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
                first_alone(batched)
            }

            fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
                Some(Arc::new(Self {
                    layout: Layout::ChannelsLast,
                    ..self.clone()
                }))
            }
        }
    };
}
operator!(
    InstanceNormalization,
    "InstanceNormalization",
    |_: &Self| { (None, false) }
);
operator!(GroupNormalization, "GroupNormalization", |it: &Self| {
    (Some(it.groups), it.by_group)
});

struct Normalizing {
    dtype: DType,
    layout: Layout,
    images: usize,
    channels: usize,
    pixels: usize,
    /// Channels of a group.
    group: usize,
    by_group: bool,
    epsilon: f64,
}

impl Step for Normalizing {
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

impl Normalizing {
    fn normalize<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (x, y): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
        let parameters = match self.by_group {
            true => self.channels / self.group.max(1),
            false => self.channels,
        };
        let (scale, bias): (&[T], &[T]) = (read(inputs, 1)?, read(inputs, 2)?);
        check_len("scale", parameters, scale.len())?;
        check_len("bias", parameters, bias.len())?;
        check_len("input", y.len(), x.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let affine = |channel: usize| {
            let at = if self.by_group {
                channel / self.group
            } else {
                channel
            };
            (scale[at].to_f64(), bias[at].to_f64())
        };
        let shape = match self.layout {
            Layout::ChannelsFirst => (self.images, self.channels, self.pixels),
            Layout::ChannelsLast => (self.images, self.pixels, self.channels),
        };
        let len = y.len();
        let y = ArrayViewMut3::from_shape(shape, y).map_err(|_| Error::BufferLength {
            what: "output",
            expected: shape.0 * shape.1 * shape.2,
            got: len,
        })?;
        let parallel = threads_for(3 * len as u128) > 1;
        match self.layout {
            Layout::ChannelsFirst => {
                let block = [1, self.group, self.pixels];
                for_each_tile(y, block, parallel, &|[image, channel, _], mut y| {
                    let first = (image * self.channels + channel) * self.pixels;
                    let x = &x[first..][..self.group * self.pixels];
                    let planes = Planes {
                        plan: self,
                        x,
                        // Whole planes of one image.
                        y: y.as_slice_mut().unwrap_or_default(),
                        channel,
                        affine: &affine,
                    };
                    compiled(Isa::selected(), planes);
                });
            }
            Layout::ChannelsLast => {
                let channels = (COLUMNS / self.group).max(1) * self.group;
                let block = [1, self.pixels, channels];
                for_each_tile(y, block, parallel, &|[image, _, channel], y| {
                    let first = image * self.pixels * self.channels + channel;
                    let lines = Lines {
                        plan: self,
                        x: &x[first..],
                        y,
                        channel,
                        affine: &affine,
                    };
                    compiled(Isa::selected(), lines);
                });
            }
        }
        Ok(())
    }

    /// 1 / sqrt(variance + ε) from the sum of squares of so many elements.
    fn slope(&self, squares: f64, count: f64) -> f64 {
        (squares / count + self.epsilon).sqrt().recip()
    }

    /// One group, plane after plane.
    #[inline(always)]
    fn planes<T: Element>(
        &self,
        x: &[T],
        y: &mut [T],
        first: usize,
        affine: &impl Fn(usize) -> (f64, f64),
    ) {
        let count = x.len() as f64;
        let mean = T::from_f64(sum(x, T::ZERO, itself) / count);
        let slope = self.slope(sum(x, mean, squared), count);
        let planes = x
            .chunks_exact(self.pixels)
            .zip(y.chunks_exact_mut(self.pixels));
        for (plane, (x, y)) in planes.enumerate() {
            let (scale, bias) = affine(first + plane);
            let (scale, bias) = (T::from_f64(scale * slope), T::from_f64(bias));
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x - mean) * scale + bias;
            }
        }
    }

    /// Whole groups of one image, `y` is `[1, pixels, channels]`: as many as make [`COLUMNS`] channels, or one. `x`
    /// begins with the first of them.
    #[inline(always)]
    fn lines<T: Element>(
        &self,
        x: &[T],
        mut y: ArrayViewMut3<T>,
        first: usize,
        affine: &impl Fn(usize) -> (f64, f64),
    ) {
        let (_, pixels, channels) = y.dim();
        let count = (pixels * self.group) as f64;
        let blocks = || (0..channels).step_by(COLUMNS);
        let rows = |begin: usize| {
            let width = COLUMNS.min(channels - begin);
            (0..pixels).map(move |pixel| &x[pixel * self.channels + begin..][..width])
        };
        // A tile of several groups has no more than COLUMNS channels; any other is one group.
        let group = |channel: usize| channel / self.group;
        let of_columns = |begin: usize, list: &[f64; COLUMNS]| -> [T; COLUMNS] {
            std::array::from_fn(|column| {
                let channel = (begin + column).min(channels - 1);
                T::from_f64(list[group(channel)])
            })
        };
        let (mut means, mut squares) = ([0.0; COLUMNS], [0.0; COLUMNS]);
        for begin in blocks() {
            let sums = column_sums(rows(begin), &[T::ZERO; COLUMNS], itself);
            for (column, sum) in sums[..COLUMNS.min(channels - begin)].iter().enumerate() {
                means[group(begin + column)] += sum / count;
            }
        }
        for begin in blocks() {
            let means = of_columns(begin, &means);
            let sums = column_sums(rows(begin), &means, squared);
            for (column, sum) in sums[..COLUMNS.min(channels - begin)].iter().enumerate() {
                squares[group(begin + column)] += sum;
            }
        }
        let slopes = squares.map(|squares| self.slope(squares, count));
        for begin in blocks() {
            let end = channels.min(begin + COLUMNS);
            let means = of_columns(begin, &means);
            let (mut scales, mut biases) = ([T::ZERO; COLUMNS], [T::ZERO; COLUMNS]);
            for channel in begin..end {
                let (scale, bias) = affine(first + channel);
                scales[channel - begin] = T::from_f64(scale * slopes[group(channel)]);
                biases[channel - begin] = T::from_f64(bias);
            }
            let mut targets = y.slice_mut(s![0, .., begin..end]);
            for (x, mut y) in rows(begin).zip(targets.axis_iter_mut(Axis(0))) {
                let y = y.as_slice_mut().unwrap_or_default();
                let parameters = means.iter().zip(&scales).zip(&biases);
                for ((y, &x), ((&mean, &scale), &bias)) in y.iter_mut().zip(x).zip(parameters) {
                    *y = (x - mean) * scale + bias;
                }
            }
        }
    }
}

/// [`Normalizing::planes`] as a loop.
struct Planes<'a, T, F> {
    plan: &'a Normalizing,
    x: &'a [T],
    y: &'a mut [T],
    channel: usize,
    affine: &'a F,
}

impl<T: Element, F: Fn(usize) -> (f64, f64)> Loop for Planes<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        self.plan.planes(self.x, self.y, self.channel, self.affine);
    }
}

/// [`Normalizing::lines`] as a loop.
struct Lines<'a, T, F> {
    plan: &'a Normalizing,
    x: &'a [T],
    y: ArrayViewMut3<'a, T>,
    channel: usize,
    affine: &'a F,
}

impl<T: Element, F: Fn(usize) -> (f64, f64)> Loop for Lines<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        self.plan.lines(self.x, self.y, self.channel, self.affine);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{fact, floats, infer, run};
    use super::*;
    use crate::network::Tensor;
    use crate::network::operator::Transpose;

    fn image(shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        floats(
            shape,
            (0..len).map(|i| ((i * 7919) % 257) as f32 / 16.0 + (i % 5) as f32),
        )
    }

    /// As in the file head, in f64.
    fn definition(x: &Tensor, groups: usize, scale: &[f32], bias: &[f32]) -> Vec<f64> {
        let (x, shape) = (x.array::<f32>().unwrap().as_slice().unwrap(), x.shape());
        let (channels, pixels) = (shape[1], shape[2..].iter().product::<usize>());
        let group = channels / groups;
        let mut y = Vec::new();
        for (number, x) in x.chunks(group * pixels).enumerate() {
            let count = x.len() as f64;
            let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let squares = x.iter().map(|&x| (f64::from(x) - mean).powi(2));
            let slope = (squares.sum::<f64>() / count + 1e-5).sqrt().recip();
            for (at, &x) in x.iter().enumerate() {
                let channel = number % groups * group + at / pixels;
                let scale = f64::from(scale[channel * scale.len() / channels]);
                let bias = f64::from(bias[channel * bias.len() / channels]);
                y.push((f64::from(x) - mean) * slope * scale + bias);
            }
        }
        y
    }

    fn close(got: &Tensor, expected: &[f64]) {
        let got = got.array::<f32>().unwrap();
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            let error = (f64::from(*got) - expected).abs();
            assert!(
                error < 1e-5 * expected.abs().max(1.0),
                "{got}, expected {expected}"
            );
        }
    }

    #[test]
    fn both_layouts_agree_with_the_definition() {
        for (shape, groups, by_group) in [
            (&[2, 6, 5, 7][..], 6, false),
            (&[1, 70, 40], 70, false),
            (&[2, 12, 3, 3, 2], 4, false),
            (&[2, 12, 9], 3, true),
            (&[1, 150, 11], 2, false),
            (&[1, 130, 7], 1, true),
            (&[3, 4], 2, false),
        ] {
            let x = image(shape);
            let channels = shape[1];
            let parameters = if by_group { groups } else { channels };
            let scale = Vec::from_iter((0..parameters).map(|i| 1.0 + i as f32 / 8.0));
            let bias = Vec::from_iter((0..parameters).map(|i| i as f32 / 4.0 - 1.0));
            let expected = definition(&x, groups, &scale, &bias);
            let parameters = [scale, bias].map(|list| floats(&[list.len()], list));
            let mut operators: Vec<Arc<dyn Operator>> =
                vec![Arc::new(GroupNormalization::new(groups, 1e-5, by_group))];
            if groups == channels {
                operators.push(Arc::new(InstanceNormalization::new(1e-5)));
            }
            for operator in operators {
                let with = |x: Tensor| [x, parameters[0].clone(), parameters[1].clone()];
                close(&run(&*operator, &with(x.clone())).unwrap()[0], &expected);
                let turned = run(
                    &Transpose::to_channels_last(shape.len()),
                    std::slice::from_ref(&x),
                )
                .unwrap();
                let last = operator.channels_last(&[]).unwrap();
                let y = run(&*last, &with(turned[0].clone())).unwrap();
                let back = run(&Transpose::to_channels_first(shape.len()), &y).unwrap();
                close(&back[0], &expected);
            }
        }
    }

    #[test]
    fn edges() {
        let norm = InstanceNormalization::new(0.0);
        let one = floats(&[1], [1.0]);
        // A plane of one value: nothing deviates, and 0 · ∞ is not a number.
        let equal = floats(&[1, 1, 2], [3.0, 3.0]);
        let y = run(&norm, &[equal, one.clone(), one.clone()]).unwrap();
        assert!(y[0].array::<f32>().unwrap().iter().all(|y| y.is_nan()));
        let none = floats(&[0], []);
        let y = run(&norm, &[floats(&[2, 0, 3], []), none.clone(), none]).unwrap();
        assert_eq!(y[0].shape(), [2, 0, 3]);
        let y = run(&norm, &[floats(&[2, 1, 0], []), one.clone(), one]).unwrap();
        assert!(y[0].is_empty());
        let x = fact(&[1, 4, 2]);
        let (four, two) = (fact(&[4]), fact(&[2]));
        assert!(infer(&norm, &[&x, &four, &two]).is_err());
        assert!(infer(&norm, &[&x, &four]).is_err());
        assert!(infer(&InstanceNormalization::new(f32::NAN), &[&x, &four, &four]).is_err());
        for groups in [0, 3, 8] {
            let norm = GroupNormalization::new(groups, 1e-5, false);
            assert!(infer(&norm, &[&x, &four, &four]).is_err());
        }
        let norm = GroupNormalization::new(2, 1e-5, true);
        assert!(infer(&norm, &[&x, &two, &two]).is_ok());
    }
}
