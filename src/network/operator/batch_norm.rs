//! BatchNormalization: `Y = (X − mean) / √(variance + epsilon) · scale + B`, each channel with its own numbers.
//!
//! ```text
//! X [N, C, …]   scale, B, mean, variance [C]
//! a = scale / √(variance + epsilon)   b = B − mean · a   Y = a X + b
//! training: mean and variance are those of the batch, over all axes but C; further outputs
//!     momentum · given + (1 − momentum) · of the batch
//! ```
//!
//! Without `spatial`, which old models may say, every element of an image is a channel of its own.

use std::sync::Arc;

use rayon::prelude::*;

use super::check::{at_most, has_axes, has_shape, has_type, read, required, turned, write};
use super::elementwise::number;
use super::{BatchNormBackward, Binary, Fact, Facts, Operator, Step, Unary};
use crate::element::{Element, reserved};
use crate::error::{Result, product};
use crate::geometry::Axis;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::for_each_piece;
use crate::plan::PlanOptions;

/// Elements from which a second thread is worth waking.
const PARALLEL: usize = 1 << 15;

/// Channels of a pixel that are scaled together.
const TOGETHER: usize = 64;

/// The four inputs beside X.
const OPERANDS: [&str; 4] = ["scale", "B", "mean", "variance"];

/// Normalisation of every channel; f32 or f64.
#[derive(Clone, Debug)]
pub struct BatchNormalization {
    pub(crate) epsilon: f64,
    /// The momentum, where mean and variance are taken from the batch.
    pub(crate) training: Option<f64>,
    /// Outputs beyond Y in training: 2, or 4 with the mean and variance of the batch.
    pub(crate) outputs: usize,
    pub(crate) spatial: bool,
    pub(crate) last: bool,
}

impl BatchNormalization {
    /// With given mean and variance.
    pub fn new(epsilon: f32) -> Self {
        Self {
            epsilon: epsilon.into(),
            training: None,
            outputs: 0,
            spatial: true,
            last: false,
        }
    }

    /// With those of the batch; two more outputs, the given ones moved towards them.
    pub fn training(mut self, momentum: f32) -> Self {
        self.training = Some(momentum.into());
        self.outputs = 2;
        self
    }

    /// Two more outputs in training: mean and variance of the batch.
    pub fn saving(mut self) -> Self {
        self.outputs = 4;
        self
    }

    /// Every element of an image is normalised by itself.
    pub fn every_element(mut self) -> Self {
        self.spatial = false;
        self
    }

    /// Epsilon, where the operator is `a X + b` with a number for each channel.
    pub(crate) fn fixed(&self) -> Option<f64> {
        (self.training.is_none() && self.spatial && !self.last).then_some(self.epsilon)
    }

    /// Images, channels, and elements of a channel; and the shape of the four others.
    fn sizes(&self, shape: &[usize]) -> Result<([usize; 3], Vec<usize>)> {
        let Some((&images, rest)) = shape.split_first() else {
            return Ok(([1, 1, 1], vec![1]));
        };
        let within = product("an image", rest)?;
        if !self.spatial {
            let logical = turned_back(rest, self.last);
            return Ok(([images, within, 1], logical));
        }
        let (channels, pixels) = match (rest, self.last) {
            ([], _) => (1, 1),
            ([channels, pixels @ ..], false) => (*channels, product("an image", pixels)?),
            ([pixels @ .., channels], true) => (*channels, product("an image", pixels)?),
        };
        let sizes = if self.last {
            [product("pixels", &[images, pixels])?, channels, 1]
        } else {
            [images, channels, pixels]
        };
        Ok((sizes, vec![channels]))
    }
}

/// The axes of an image with the channels first.
fn turned_back(image: &[usize], last: bool) -> Vec<usize> {
    let mut image = image.to_vec();
    if last {
        image.rotate_right(1);
    }
    image
}

impl Operator for BatchNormalization {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 5)?;
        let x = required(inputs, 0, "X")?;
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_axes(x, "X", 1)?;
        let (_, shape) = self.sizes(&x.shape)?;
        for (index, operand) in OPERANDS.into_iter().enumerate() {
            let fact = required(inputs, index + 1, operand)?;
            has_type(fact, operand, &[x.dtype])?;
            has_shape(fact, operand, &shape)?;
        }
        let mut outputs = vec![Fact::new(x.dtype, x.shape.clone())];
        if self.training.is_some() {
            outputs.resize(1 + self.outputs, Fact::new(x.dtype, shape));
        }
        Ok(outputs)
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        self.training.is_none() && first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "X")?;
        let (sizes, _) = self.sizes(&x.shape)?;
        Ok(match x.dtype {
            DType::F64 => Box::new(BatchStep::<f64>::new(self, sizes, inputs)?),
            _ => Box::new(BatchStep::<f32>::new(self, sizes, inputs)?),
        })
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let x = inputs.first().copied().flatten()?;
        // Beyond two axes the numbers of every element would have to be turned too.
        if !self.spatial || turned(&x.shape).len() < 3 {
            return None;
        }
        let mut turned = self.clone();
        turned.last = true;
        Some(Arc::new(turned))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        // Mean and variance are given, and stay.
        let x = backward.input(0)?;
        let one_axis = backward.fact(x)?.shape.len() < 2;
        if self.fixed().is_none() || one_axis || backward.wants(3) || backward.wants(4) {
            return Err(backward.unsupported());
        }
        let variance = backward.input(4)?;
        let epsilon = number(backward, variance, self.epsilon)?;
        let sum = backward.node(Binary::Add, &[variance, epsilon])?;
        let deviation = backward.node(Unary::Sqrt, &[sum])?;
        let slope = backward.node(Unary::Reciprocal, &[deviation])?;
        let inputs = [
            x,
            backward.d_output()?,
            backward.input(1)?,
            backward.input(3)?,
            slope,
        ];
        let made = backward.nodes(BatchNormBackward::new(false), &inputs)?;
        for (index, gradient) in made.into_iter().enumerate() {
            backward.give(index, gradient)?;
        }
        Ok(())
    }
}

struct BatchStep<T> {
    sizes: [usize; 3],
    epsilon: f64,
    training: Option<f64>,
    /// a and b of every channel, where all that they come from is constant.
    lines: Option<Vec<(T, T)>>,
}

impl<T: Element + Scalar> BatchStep<T> {
    fn new(operator: &BatchNormalization, sizes: [usize; 3], inputs: &Facts) -> Result<Self> {
        let mut step = Self {
            sizes,
            epsilon: operator.epsilon,
            training: operator.training,
            lines: None,
        };
        let constant = |index: usize| {
            let fact: Option<&Fact> = inputs.get(index).copied().flatten();
            fact.and_then(|fact| fact.value.as_ref())
                .and_then(|value| T::slice(value.view()))
        };
        if step.training.is_some() {
            return Ok(step);
        }
        if let (Some(scale), Some(bias), Some(mean), Some(variance)) =
            (constant(1), constant(2), constant(3), constant(4))
        {
            let mut lines = reserved(sizes[1])?;
            for channel in 0..sizes[1] {
                let at = |values: &[T]| values[channel];
                lines.push(step.line(
                    at(scale),
                    at(bias),
                    at(mean).to_f64(),
                    at(variance).to_f64(),
                ));
            }
            step.lines = Some(lines);
        }
        Ok(step)
    }

    /// a and b of a channel.
    fn line(&self, scale: T, bias: T, mean: f64, variance: f64) -> (T, T) {
        let slope = scale.to_f64() / (variance + self.epsilon).sqrt();
        (
            T::from_f64(slope),
            T::from_f64(bias.to_f64() - mean * slope),
        )
    }

    /// y ← a x + b, x in y where it is not given.
    fn apply(&self, x: Option<&[T]>, y: &mut [T], line: impl Fn(usize) -> (T, T) + Sync) {
        let [_, channels, pixels] = self.sizes;
        if y.is_empty() {
            return;
        }
        // Several images or pixels at once where they are small.
        let image = channels * pixels;
        let piece = image * PARALLEL.div_ceil(image);
        let isa = Isa::selected();
        for_each_piece(y, piece, &|index, y| {
            let x = x.map(|x| &x[index * piece..][..y.len()]);
            let sizes = [channels, pixels];
            compiled(
                isa,
                Affine {
                    sizes,
                    x,
                    y,
                    line: &line,
                },
            );
        });
    }

    /// Mean and variance of a channel over the batch.
    fn moments(&self, x: &[T], channel: usize) -> (f64, f64) {
        let [images, channels, pixels] = self.sizes;
        let planes = |each: &mut dyn FnMut(f64)| {
            for image in 0..images {
                let begin = (image * channels + channel) * pixels;
                x[begin..begin + pixels]
                    .iter()
                    .for_each(|value| each(value.to_f64()));
            }
        };
        let count = (images * pixels) as f64;
        let (mut sum, mut squares) = (0.0, 0.0);
        planes(&mut |value| sum += value);
        let mean = sum / count;
        planes(&mut |value| squares += (value - mean) * (value - mean));
        (mean, squares / count)
    }

    fn train(&self, inputs: &[Option<View>], outputs: &mut [ViewMut], momentum: f64) -> Result<()> {
        let x = read(inputs, 0)?;
        let [scale, bias, mean, variance] = [
            read::<T>(inputs, 1)?,
            read(inputs, 2)?,
            read(inputs, 3)?,
            read(inputs, 4)?,
        ];
        let channels = self.sizes[1];
        let moments: Vec<(f64, f64)> = (0..channels)
            .into_par_iter()
            .map(|channel| self.moments(x, channel))
            .collect();
        let line = |channel: usize| {
            let (mean, variance) = moments[channel];
            self.line(scale[channel], bias[channel], mean, variance)
        };
        self.apply(Some(x), write(outputs, 0)?, line);
        for (index, output) in (1..outputs.len()).zip([0, 1, 0, 1]) {
            let moved = write::<T>(outputs, index)?;
            let given = [mean, variance][output];
            for (channel, moved) in moved.iter_mut().enumerate() {
                let (mean, variance) = moments[channel];
                let batch = [mean, variance][output];
                *moved = T::from_f64(if index <= 2 {
                    momentum * given[channel].to_f64() + (1.0 - momentum) * batch
                } else {
                    batch
                });
            }
        }
        Ok(())
    }
}

/// y ← a x + b for some images `[channels, pixels]`, x in y where it is not given.
struct Affine<'a, T, F> {
    sizes: [usize; 2],
    x: Option<&'a [T]>,
    y: &'a mut [T],
    /// a and b of a channel.
    line: &'a F,
}

impl<T: Element, F: Fn(usize) -> (T, T)> Loop for Affine<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self { sizes, x, y, line } = self;
        let [channels, pixels] = sizes;
        if let Some(x) = x {
            y.copy_from_slice(x);
        }
        if pixels > 1 {
            for (plane, channel) in y.chunks_exact_mut(pixels).zip((0..channels).cycle()) {
                let (a, b) = line(channel);
                for value in plane {
                    *value = a * *value + b;
                }
            }
            return;
        }
        for first in (0..channels).step_by(TOGETHER) {
            let some = first..channels.min(first + TOGETHER);
            let mut lines = [[T::ZERO; TOGETHER]; 2];
            let [slopes, offsets] = &mut lines;
            for (channel, (a, b)) in some.clone().zip(slopes.iter_mut().zip(offsets)) {
                (*a, *b) = line(channel);
            }
            for pixel in y.chunks_exact_mut(channels) {
                let pixel = &mut pixel[some.clone()];
                for (value, (a, b)) in pixel.iter_mut().zip(lines[0].iter().zip(&lines[1])) {
                    *value = *a * *value + *b;
                }
            }
        }
    }
}

impl<T: Element + Scalar> Step for BatchStep<T> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        if let Some(momentum) = self.training {
            return self.train(inputs, outputs, momentum);
        }
        let x = match inputs[0] {
            Some(_) => Some(read(inputs, 0)?),
            None => None,
        };
        let y = write(outputs, 0)?;
        if let Some(lines) = &self.lines {
            self.apply(x, y, |channel| lines[channel]);
            return Ok(());
        }
        let [scale, bias, mean, variance] = [
            read::<T>(inputs, 1)?,
            read(inputs, 2)?,
            read(inputs, 3)?,
            read(inputs, 4)?,
        ];
        self.apply(x, y, |channel| {
            let (mean, variance) = (mean[channel].to_f64(), variance[channel].to_f64());
            self.line(scale[channel], bias[channel], mean, variance)
        });
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        self.training.is_none().then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, run};
    use crate::network::tensor::Tensor;

    fn close(got: &Tensor, expected: &[f32]) {
        let got = got.array::<f32>().unwrap();
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
    }

    fn operands(x: Tensor) -> Vec<Tensor> {
        let two = |a, b| floats(&[2], [a, b]);
        vec![
            x,
            two(2.0, 3.0),
            two(0.5, 1.0),
            two(1.0, -1.0),
            two(4.0, 0.25),
        ]
    }

    #[test]
    fn each_channel_by_hand_in_both_layouts() {
        let first = operands(floats(&[1, 2, 2], [1.0, 3.0, -1.0, 0.0]));
        let operator = BatchNormalization::new(0.0);
        close(&run(&operator, &first).unwrap()[0], &[0.5, 2.5, 1.0, 7.0]);
        let last = operands(floats(&[1, 2, 2], [1.0, -1.0, 3.0, 0.0]));
        let turned = operator.channels_last(&[Some(&fact(&[1, 2, 2]))]).unwrap();
        close(
            &run(turned.as_ref(), &last).unwrap()[0],
            &[0.5, 1.0, 2.5, 7.0],
        );
    }

    #[test]
    fn training_takes_the_numbers_of_the_batch() {
        let x = operands(floats(&[2, 2, 1], [1.0, 0.0, 3.0, 4.0]));
        let operator = BatchNormalization::new(0.0).training(0.75).saving();
        let outputs = run(&operator, &x).unwrap();
        close(&outputs[0], &[-1.5, -2.0, 2.5, 4.0]);
        close(&outputs[1], &[1.25, -0.25]);
        close(&outputs[2], &[3.25, 1.1875]);
        close(&outputs[3], &[2.0, 2.0]);
        close(&outputs[4], &[1.0, 4.0]);
    }

    #[test]
    fn many_images_on_many_threads() {
        let x: Vec<f32> = (0..240_000_u32).map(|value| value as f32).collect();
        let outputs = run(
            &BatchNormalization::new(0.0),
            &operands(floats(&[3, 2, 40_000], x.clone())),
        )
        .unwrap();
        for (index, y) in outputs[0].array::<f32>().unwrap().iter().enumerate() {
            let (a, b) = if index / 40_000 % 2 == 0 {
                (1.0, -0.5)
            } else {
                (6.0, 7.0)
            };
            assert_eq!(*y, a * x[index] + b);
        }
    }

    /// More channels than are scaled together, channels last, on many threads: the numbers of channels first.
    #[test]
    fn many_channels_last() {
        let [channels, pixels] = [70, 1000];
        let value = |pixel: usize, channel: usize| ((pixel * 7 + channel * 13) % 101) as f32 - 50.0;
        let first = (0..channels).flat_map(|c| (0..pixels).map(move |p| value(p, c)));
        let last = (0..pixels).flat_map(|p| (0..channels).map(move |c| value(p, c)));
        let numbers = |step: f32| floats(&[channels], (0..channels).map(|c| 1.0 + step * c as f32));
        let operands = |x| {
            vec![
                x,
                numbers(0.5),
                numbers(-0.25),
                numbers(0.125),
                numbers(2.0),
            ]
        };
        let operator = BatchNormalization::new(1e-5);
        let first = operands(floats(&[1, channels, pixels], first));
        let last = operands(floats(&[1, pixels, channels], last));
        let expected = run(&operator, &first).unwrap();
        let expected = expected[0].array::<f32>().unwrap();
        let turned = operator
            .channels_last(&[Some(&fact(&[1, channels, pixels]))])
            .unwrap();
        let got = run(turned.as_ref(), &last).unwrap();
        let got = got[0].array::<f32>().unwrap();
        for (index, got) in got.iter().enumerate() {
            let (pixel, channel) = (index / channels, index % channels);
            assert_eq!(*got, expected[[0, channel, pixel]]);
        }
    }

    #[test]
    fn every_element_by_itself() {
        let x = operands(floats(&[2, 2], [1.0, -1.0, 3.0, 0.0]));
        let operator = BatchNormalization::new(0.0).every_element();
        close(&run(&operator, &x).unwrap()[0], &[0.5, 1.0, 2.5, 7.0]);
    }

    #[test]
    fn numbers_for_other_channels_are_refused() {
        let (x, two, three) = (fact(&[1, 3, 4]), fact(&[2]), fact(&[3]));
        let operator = BatchNormalization::new(1e-5);
        assert!(infer(&operator, &[&x, &two, &three, &three, &three]).is_err());
        assert!(infer(&operator, &[&x, &three, &three, &three]).is_err());
        assert!(infer(&operator, &[&fact(&[]), &three, &three, &three, &three]).is_err());
        assert!(infer(&operator, &[&x, &three, &three, &three, &three]).is_ok());
        let empty = operands(floats(&[0, 2, 3], []));
        assert!(run(&operator, &empty).unwrap()[0].is_empty());
    }
}
