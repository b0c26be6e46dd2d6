//! Batch normalisation as it is trained: by the mean and the variance of the batch, which are kept.
//!
//! ```text
//! X [N, C, …]   scale, bias [C]     n elements of each channel, two or more
//! mean = Σ X / n      M = Σ (X − mean)²      s = 1 / √(M / n + ε)
//! outputs  Y = (X − mean) s scale + bias,  mean,  M / (n − 1),  s
//! epilogue Y = Relu(… + residual), either or both
//! ```
//!
//! Block after block, each read while it is in the cache, first for its mean, then for its variance: so the variance
//! is right far from zero too. The unbiased variance is what running ones are moved towards (PyTorch does that).

use std::sync::Arc;

use super::batch_backward::BatchNormBackward;
use super::change::{Change, Rows};
use super::columns::Columns;
use super::{COLUMNS, check_epsilon};
use crate::element::Element;
use crate::error::Result;
use crate::geometry::Axis;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::gradient::Backward;
use crate::network::operator::check::{
    at_most, has_axes, has_shape, has_type, optional, read, required, write, wrong,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// Normalisation of every channel by the batch: inputs X, scale, bias; outputs Y, mean, unbiased variance, inverse
/// standard deviation. f32 or f64.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormTraining {
    epsilon: f32,
    relu: bool,
    last: bool,
}

impl BatchNormTraining {
    /// The input that is added at the end.
    pub(in crate::network) const RESIDUAL: usize = 3;

    /// With `epsilon` added to the variance.
    pub fn new(epsilon: f32) -> Self {
        Self {
            epsilon,
            relu: false,
            last: false,
        }
    }

    /// With a Relu at the end.
    pub(in crate::network) fn with_relu(&self) -> Self {
        Self {
            relu: true,
            ..self.clone()
        }
    }

    /// Whether there is one.
    pub(in crate::network) fn has_relu(&self) -> bool {
        self.relu
    }

    fn columns(&self, inputs: &Facts) -> Result<Columns> {
        at_most(inputs, 4)?;
        check_epsilon(self.epsilon)?;
        let x = required(inputs, 0, "X")?;
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_axes(x, "X", 2)?;
        let columns = Columns::new(&x.shape, self.last)?;
        for (index, operand) in [(1, "scale"), (2, "bias")] {
            let fact = required(inputs, index, operand)?;
            has_type(fact, operand, &[x.dtype])?;
            has_shape(fact, operand, &[columns.channels()])?;
        }
        if let Some(residual) = optional(inputs, Self::RESIDUAL) {
            has_type(residual, "the residual", &[x.dtype])?;
            has_shape(residual, "the residual", &x.shape)?;
        }
        if columns.count() < 2 {
            let got = format!("{} of shape {:?}", columns.count(), x.shape);
            return Err(wrong(
                "X",
                "two elements of each channel or more, to have a variance",
                got,
            ));
        }
        Ok(columns)
    }
}

impl Operator for BatchNormTraining {
    fn name(&self) -> &'static str {
        "BatchNormTraining"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let columns = self.columns(inputs)?;
        let x = required(inputs, 0, "X")?;
        let each = Fact::new(x.dtype, [columns.channels()]);
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            each.clone(),
            each.clone(),
            each,
        ])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(Training {
            columns: self.columns(inputs)?,
            epsilon: self.epsilon.into(),
            relu: self.relu,
            double: required(inputs, 0, "X")?.dtype == DType::F64,
        }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        // Of the image alone; the numbers of the batch are of all pixels.
        Some(Vec::new())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let x = inputs.first().copied().flatten()?;
        (x.shape.len() >= 3).then(|| {
            Arc::new(Self {
                last: true,
                ..self.clone()
            }) as Arc<dyn Operator>
        })
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        // The epilogue comes after the gradients are there.
        if self.relu || (1..4).any(|index| backward.d_output_of(index).is_some()) {
            return Err(backward.unsupported());
        }
        let inputs = [
            backward.input(0)?,
            backward.d_output()?,
            backward.input(1)?,
            backward.output(1)?,
            backward.output(3)?,
        ];
        let made = backward.nodes(BatchNormBackward::new(true), &inputs)?;
        for (index, gradient) in made.into_iter().enumerate() {
            backward.give(index, gradient)?;
        }
        Ok(())
    }
}

struct Training {
    columns: Columns,
    epsilon: f64,
    relu: bool,
    double: bool,
}

impl Training {
    fn train<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let x = read::<T>(inputs, 0)?;
        let (scale, bias): (&[T], &[T]) = (read(inputs, 1)?, read(inputs, 2)?);
        self.columns.moments(x, scratch);
        let count = self.columns.count() as f64;
        for channel in 0..self.columns.channels() {
            let (mean, squares) = self.columns.moments_of(scratch, channel);
            let slope = (squares / count + self.epsilon).sqrt().recip();
            for (index, value) in [(1, mean), (2, squares / (count - 1.0)), (3, slope)] {
                write::<T>(outputs, index)?[channel] = T::from_f64(value);
            }
        }
        let residual = match inputs.get(BatchNormTraining::RESIDUAL) {
            Some(Some(_)) => Some(read::<T>(inputs, BatchNormTraining::RESIDUAL)?),
            _ => None,
        };
        let (y, kept) = outputs.split_at_mut(1);
        let [mean, _, slope] = kept else {
            return Err(wrong("outputs", "4", (kept.len() + 1).to_string()));
        };
        let numbers = Numbers {
            mean: &*write::<T>(std::slice::from_mut(mean), 0)?,
            slope: &*write::<T>(std::slice::from_mut(slope), 0)?,
            scale,
            bias,
        };
        let isa = Isa::selected();
        self.columns.apply(write(y, 0)?, &|rows| {
            let normalize = Normalize {
                rows,
                x,
                residual,
                relu: self.relu,
                numbers: &numbers,
            };
            compiled(isa, normalize);
        });
        Ok(())
    }
}

impl Step for Training {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        match self.double {
            true => self.train::<f64>(inputs, outputs, scratch),
            false => self.train::<f32>(inputs, outputs, scratch),
        }
    }

    fn scratch_len(&self) -> usize {
        self.columns.scratch_len()
    }
}

/// What a channel is normalised with.
struct Numbers<'a, T> {
    mean: &'a [T],
    slope: &'a [T],
    scale: &'a [T],
    bias: &'a [T],
}

/// Y of some rows.
struct Normalize<'a, T> {
    rows: Rows<'a, T>,
    x: &'a [T],
    residual: Option<&'a [T]>,
    relu: bool,
    numbers: &'a Numbers<'a, T>,
}

impl<T: Element> Loop for Normalize<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self { rows, numbers, .. } = self;
        let channels = numbers.mean.len();
        let place = rows.start..rows.start + rows.y.len();
        let lines = Lines {
            x: &self.x[place.clone()],
            mean: rows.of_columns(channels, |channel| numbers.mean[channel]),
            slope: rows.of_columns(channels, |channel| {
                numbers.scale[channel] * numbers.slope[channel]
            }),
            bias: rows.of_columns(channels, |channel| numbers.bias[channel]),
        };
        let residual = self.residual.map(|residual| &residual[place]);
        match (residual, self.relu) {
            (None, false) => rows.each(&lines),
            (None, true) => rows.each(&Relu(lines)),
            (Some(residual), false) => rows.each(&Plus(lines, residual)),
            (Some(residual), true) => rows.each(&ReluPlus(lines, residual)),
        }
    }
}

/// (x − mean) slope + bias
struct Lines<'a, T> {
    x: &'a [T],
    mean: [T; COLUMNS],
    slope: [T; COLUMNS],
    bias: [T; COLUMNS],
}

impl<T: Element> Lines<'_, T> {
    /// y ← finish(that, other)
    #[inline(always)]
    fn change(&self, y: &mut [T], at: usize, other: &[T], finish: impl Fn(T, T) -> T) {
        let (x, other) = (&self.x[at..][..y.len()], &other[at..][..y.len()]);
        let numbers = self.mean.iter().zip(&self.slope).zip(&self.bias);
        for (((y, &x), &other), ((&mean, &slope), &bias)) in
            y.iter_mut().zip(x).zip(other).zip(numbers)
        {
            *y = finish((x - mean) * slope + bias, other);
        }
    }
}

#[inline(always)]
fn relu<T: Element>(y: T) -> T {
    if y < T::ZERO { T::ZERO } else { y }
}

impl<T: Element> Change<T> for Lines<'_, T> {
    #[inline(always)]
    fn change(&self, y: &mut [T], at: usize) {
        self.change(y, at, self.x, |y, _| y);
    }
}

struct Relu<'a, T>(Lines<'a, T>);

impl<T: Element> Change<T> for Relu<'_, T> {
    #[inline(always)]
    fn change(&self, y: &mut [T], at: usize) {
        self.0.change(y, at, self.0.x, |y, _| relu(y));
    }
}

struct Plus<'a, T>(Lines<'a, T>, &'a [T]);

impl<T: Element> Change<T> for Plus<'_, T> {
    #[inline(always)]
    fn change(&self, y: &mut [T], at: usize) {
        self.0.change(y, at, self.1, |y, residual| y + residual);
    }
}

struct ReluPlus<'a, T>(Lines<'a, T>, &'a [T]);

impl<T: Element> Change<T> for ReluPlus<'_, T> {
    #[inline(always)]
    fn change(&self, y: &mut [T], at: usize) {
        self.0
            .change(y, at, self.1, |y, residual| relu(y + residual));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::Transpose;
    use crate::network::operator::testing::{check_gradient, doubles, fact, floats, infer, run};
    use crate::network::tensor::Tensor;

    #[test]
    fn by_hand() {
        let x = floats(&[2, 2, 1], [1.0, 0.0, 3.0, 4.0]);
        let (scale, bias) = (floats(&[2], [2.0, 3.0]), floats(&[2], [0.5, 1.0]));
        let made = run(&BatchNormTraining::new(0.0), &[x, scale, bias]).unwrap();
        assert_eq!(made[0], floats(&[2, 2, 1], [-1.5, -2.0, 2.5, 4.0]));
        assert_eq!(made[1], floats(&[2], [2.0, 2.0]));
        assert_eq!(made[2], floats(&[2], [2.0, 8.0]));
        assert_eq!(made[3], floats(&[2], [1.0, 0.5]));
    }

    #[test]
    fn central_differences() {
        for shape in [
            &[6, 3][..],
            &[2, 3, 2, 2],
            &[3, 2, 5],
            &[1, 2, 2, 1, 3],
            &[2, 1, 3, 3],
        ] {
            let x = doubles(shape, 1, -1.0, 2.0);
            let scale = doubles(&shape[1..2], 2, -1.5, 1.5);
            let bias = doubles(&shape[1..2], 3, -1.0, 1.0);
            let operator = BatchNormTraining::new(1e-2);
            check_gradient(
                operator.clone(),
                &[x.clone(), scale.clone(), bias.clone()],
                &[0, 1, 2],
            );
            check_gradient(operator, &[x, scale, bias], &[0]);
        }
    }

    /// Numbers in f32 of many sizes in both layouts, on one thread and several.
    #[test]
    fn layouts_and_threads_agree() {
        let pools = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap()
        });
        for shape in [
            &[3, 5, 40, 37][..],
            &[2, 70, 9, 8],
            &[5, 64, 33],
            &[2, 1, 200, 200],
            &[700, 33],
        ] {
            let mut random = fastrand::Rng::with_seed(5);
            let len = shape.iter().product();
            let numbers: Vec<f32> = (0..len).map(|_| 2.0 + random.f32()).collect();
            let x = floats(shape, numbers);
            let channels = shape[1];
            let each = |seed| match doubles(&[channels], seed, 0.5, 1.5) {
                Tensor::F64(array) => array.mapv(|value| value as f32).into(),
                other => other,
            };
            let inputs = [x.clone(), each(1), each(2)];
            let operator = BatchNormTraining::new(1e-5);
            let made = pools
                .each_ref()
                .map(|pool| pool.install(|| run(&operator, &inputs).unwrap()));
            assert_eq!(made[0], made[1], "{shape:?}");
            let Some(last) = operator.channels_last(&[Some(&fact(shape))]) else {
                continue;
            };
            let turn = |x: &Tensor| {
                let turn = Transpose::to_channels_last(x.shape().len());
                run(&turn, std::slice::from_ref(x)).unwrap().remove(0)
            };
            let [_, scale, bias] = inputs;
            let turned = [turn(&x), scale, bias];
            let lasts = pools
                .each_ref()
                .map(|pool| pool.install(|| run(&*last, &turned).unwrap()));
            assert_eq!(lasts[0], lasts[1], "{shape:?}");
            let first = [
                turn(&made[0][0]),
                made[0][1].clone(),
                made[0][2].clone(),
                made[0][3].clone(),
            ];
            for (first, last) in first.iter().zip(&lasts[0]) {
                let (first, last) = (first.array::<f32>().unwrap(), last.array::<f32>().unwrap());
                for (first, last) in first.iter().zip(last) {
                    assert!(
                        (first - last).abs() < 4e-6 * (1.0 + first.abs()),
                        "{first} {last}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_has_no_variance_is_refused() {
        let (two, three) = (fact(&[2]), fact(&[3]));
        let operator = BatchNormTraining::new(1e-5);
        for shape in [&[1, 2][..], &[1, 2, 1, 1], &[0, 2, 3]] {
            let error = infer(&operator, &[&fact(shape), &two, &two]).unwrap_err();
            assert!(error.to_string().contains("two elements"), "{error}");
        }
        assert!(infer(&operator, &[&fact(&[4]), &two, &two]).is_err());
        assert!(infer(&operator, &[&fact(&[4, 2]), &two, &three]).is_err());
        assert!(infer(&operator, &[&fact(&[4, 2]), &two]).is_err());
        assert!(infer(&BatchNormTraining::new(-1.0), &[&fact(&[4, 2]), &two, &two]).is_err());
        let made = run(
            &operator,
            &[floats(&[2, 0], []), floats(&[0], []), floats(&[0], [])],
        );
        assert!(made.unwrap()[0].is_empty());
    }
}
