//! The gradients of batch normalisation, by the batch or by given numbers.
//!
//! ```text
//! inputs   X, dY [N, C, …]   scale, mean, s [C]        x̂ = (X − mean) s       n elements of each channel
//! outputs  dX, dscale = Σ dY x̂, dbias = Σ dY
//! by the batch     dX = scale s (dY − dbias / n − x̂ dscale / n)
//! by given ones    dX = scale s dY
//! behind a Relu    input bias too; dY counts where not (X − mean) scale s + bias ≤ 0
//! ```
//!
//! (Ioffe and Szegedy, 2015.)

use std::sync::Arc;

use super::COLUMNS;
use super::change::{Change, Rows};
use super::columns::{Columns, Gate, is_shut};
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::operator::check::{
    at_most, has_axes, has_shape, has_type, read, read_optional, required, write,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// The gradients of X, scale and bias of a batch normalisation: see the file head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchNormBackward {
    /// Whether mean and s are those of the batch.
    by_batch: bool,
    /// Whether dY is the gradient of what a Relu made of Y.
    relu: bool,
    last: bool,
}

impl BatchNormBackward {
    /// Where mean and s are those of the batch, or given.
    pub fn new(by_batch: bool) -> Self {
        Self {
            by_batch,
            relu: false,
            last: false,
        }
    }

    /// Where dY is the gradient of what a Relu made of Y; the bias is input 5.
    pub(in crate::network) fn behind_relu(self) -> Self {
        Self { relu: true, ..self }
    }
}

impl Operator for BatchNormBackward {
    fn name(&self) -> &'static str {
        "BatchNormBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 5 + usize::from(self.relu))?;
        let (x, dy) = (required(inputs, 0, "X")?, required(inputs, 1, "dY")?);
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_axes(x, "X", 2)?;
        has_type(dy, "dY", &[x.dtype])?;
        has_shape(dy, "dY", &x.shape)?;
        let channels = Columns::new(&x.shape, self.last)?.channels();
        let operands = [(2, "scale"), (3, "mean"), (4, "s"), (5, "bias")];
        for (index, operand) in operands.into_iter().take(3 + usize::from(self.relu)) {
            let fact = required(inputs, index, operand)?;
            has_type(fact, operand, &[x.dtype])?;
            has_shape(fact, operand, &[channels])?;
        }
        let each = Fact::new(x.dtype, [channels]);
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            each.clone(),
            each,
        ])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "X")?;
        Ok(Box::new(BackwardStep {
            columns: Columns::new(&x.shape, self.last)?,
            by_batch: self.by_batch,
            relu: self.relu,
            double: x.dtype == DType::F64,
        }))
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
}

struct BackwardStep {
    columns: Columns,
    by_batch: bool,
    relu: bool,
    double: bool,
}

impl BackwardStep {
    fn backward<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let (x, dy) = (read::<T>(inputs, 0)?, read_optional::<T>(inputs, 1)?);
        let [scale, mean, slope] = [read::<T>(inputs, 2)?, read(inputs, 3)?, read(inputs, 4)?];
        let gate = match self.relu {
            true => Some(Gate {
                scale,
                slope,
                bias: read(inputs, 5)?,
            }),
            false => None,
        };
        let gate = gate.as_ref();
        {
            let dy = match dy {
                Some(dy) => dy,
                None => &*write::<T>(outputs, 0)?,
            };
            check_len("dY", x.len(), dy.len())?;
            self.columns.gradient_sums(x, dy, mean, gate, scratch);
        }
        for (channel, slope) in slope.iter().enumerate() {
            let [own, products] = self.columns.sums_of(scratch, channel);
            let products = products * slope.to_f64();
            write::<T>(outputs, 1)?[channel] = T::from_f64(products);
            write::<T>(outputs, 2)?[channel] = T::from_f64(own);
        }
        let (dx, sums) = outputs.split_at_mut(1);
        let (products, own) = sums.split_at_mut(1);
        let numbers = Numbers {
            scale,
            mean,
            slope,
            gate,
            products: &*write::<T>(products, 0)?,
            own: &*write::<T>(own, 0)?,
            share: match self.by_batch {
                true => (self.columns.count() as f64).recip(),
                false => 0.0,
            },
        };
        let isa = Isa::selected();
        self.columns.apply(write(dx, 0)?, &|rows| {
            compiled(isa, Differentiate(rows, x, dy, &numbers));
        });
        Ok(())
    }
}

impl Step for BackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        match self.double {
            true => self.backward::<f64>(inputs, outputs, scratch),
            false => self.backward::<f32>(inputs, outputs, scratch),
        }
    }

    fn scratch_len(&self) -> usize {
        self.columns.scratch_len()
    }

    fn in_place(&self) -> Option<usize> {
        Some(1)
    }
}

/// What is known of the channels.
struct Numbers<'a, T> {
    scale: &'a [T],
    mean: &'a [T],
    slope: &'a [T],
    gate: Option<&'a Gate<'a, T>>,
    products: &'a [T],
    own: &'a [T],
    /// 1 / n, or 0 where the sums do not matter.
    share: f64,
}

/// dX of some rows; dY stands there where it is not given.
struct Differentiate<'a, T>(Rows<'a, T>, &'a [T], Option<&'a [T]>, &'a Numbers<'a, T>);

impl<T: Element> Loop for Differentiate<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self(rows, x, dy, numbers) = self;
        let channels = numbers.mean.len();
        let place = rows.start..rows.start + rows.y.len();
        let of = |value: &dyn Fn(usize) -> f64| {
            rows.of_columns(channels, |channel| T::from_f64(value(channel)))
        };
        let lines = Lines {
            x: &x[place.clone()],
            dy: dy.map(|dy| &dy[place]),
            mean: rows.of_columns(channels, |channel| numbers.mean[channel]),
            slope: rows.of_columns(channels, |channel| {
                numbers.scale[channel] * numbers.slope[channel]
            }),
            own: of(&|channel| numbers.own[channel].to_f64() * numbers.share),
            products: of(&|channel| {
                numbers.products[channel].to_f64() * numbers.share * numbers.slope[channel].to_f64()
            }),
        };
        match numbers.gate {
            None => rows.each(&lines),
            Some(gate) => {
                let bias = rows.of_columns(channels, |channel| gate.bias[channel]);
                rows.each(&Gated(lines, bias));
            }
        }
    }
}

/// (dy − own − (x − mean) products) slope
struct Lines<'a, T> {
    x: &'a [T],
    dy: Option<&'a [T]>,
    mean: [T; COLUMNS],
    slope: [T; COLUMNS],
    own: [T; COLUMNS],
    products: [T; COLUMNS],
}

/// The same with dy where a Relu of this bias lets it through.
struct Gated<'a, T>(Lines<'a, T>, [T; COLUMNS]);

impl<T: Element> Lines<'_, T> {
    #[inline(always)]
    fn change(&self, dx: &mut [T], at: usize, bias: &[T], shut: impl Fn(T, T, T) -> bool) {
        if let Some(dy) = self.dy {
            dx.copy_from_slice(&dy[at..][..dx.len()]);
        }
        let x = &self.x[at..][..dx.len()];
        let (sums, ways) = (
            self.own.iter().zip(&self.products),
            self.slope.iter().zip(bias),
        );
        let numbers = self.mean.iter().zip(sums).zip(ways);
        for ((dx, &x), ((&mean, (&own, &products)), (&slope, &bias))) in
            dx.iter_mut().zip(x).zip(numbers)
        {
            let distance = x - mean;
            let shut = shut(distance, slope, bias);
            let dy = if shut { T::ZERO } else { *dx };
            *dx = (dy - own - distance * products) * slope;
        }
    }
}

impl<T: Element> Change<T> for Lines<'_, T> {
    #[inline(always)]
    fn change(&self, dx: &mut [T], at: usize) {
        self.change(dx, at, &self.own, |_, _, _| false);
    }
}

impl<T: Element> Change<T> for Gated<'_, T> {
    #[inline(always)]
    fn change(&self, dx: &mut [T], at: usize) {
        self.0.change(dx, at, &self.1, is_shut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::BatchNormalization;
    use crate::network::operator::testing::{check_gradient, doubles, fact, floats, infer, run};

    /// By given numbers: mean and variance have no gradient.
    #[test]
    fn inference_by_central_differences() {
        for shape in [&[5, 3][..], &[2, 3, 2, 2], &[1, 1, 3]] {
            let x = doubles(shape, 1, -1.0, 2.0);
            let each = |seed| doubles(&shape[1..2], seed, 0.5, 1.5);
            let inputs = [x, each(2), each(3), each(4), each(5)];
            let operator = BatchNormalization::new(1e-2);
            check_gradient(operator.clone(), &inputs, &[0, 1, 2]);
            check_gradient(operator, &inputs, &[0]);
        }
    }

    #[test]
    fn by_hand() {
        let x = floats(&[2, 1], [1.0, 3.0]);
        let dy = floats(&[2, 1], [4.0, 8.0]);
        let one = |value| floats(&[1], [value]);
        // x̂ is −1 and 1.
        let inputs = [x, dy, one(2.0), one(2.0), one(1.0)];
        let made = run(&BatchNormBackward::new(true), &inputs).unwrap();
        assert_eq!(made, [floats(&[2, 1], [0.0, 0.0]), one(4.0), one(12.0)]);
        let made = run(&BatchNormBackward::new(false), &inputs).unwrap();
        assert_eq!(made, [floats(&[2, 1], [8.0, 16.0]), one(4.0), one(12.0)]);
    }

    #[test]
    fn many_elements_on_many_threads() {
        let pools = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap()
        });
        for (shape, last) in [
            ([3, 90, 50, 16], true),
            ([3, 7, 20, 130], true),
            ([3, 6, 70, 71], false),
        ] {
            let channels = if last { shape[3] } else { shape[1] };
            let mut random = fastrand::Rng::with_seed(2);
            let mut numbers = |shape: &[usize]| {
                let len = shape.iter().product();
                let numbers: Vec<f32> = (0..len).map(|_| random.f32() + 0.5).collect();
                floats(shape, numbers)
            };
            let inputs = [
                numbers(&shape),
                numbers(&shape),
                numbers(&[channels]),
                numbers(&[channels]),
                numbers(&[channels]),
            ];
            let operator = BatchNormBackward {
                last,
                ..BatchNormBackward::new(true)
            };
            let made = pools
                .each_ref()
                .map(|pool| pool.install(|| run(&operator, &inputs).unwrap()));
            assert_eq!(made[0], made[1], "{shape:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, two, three) = (fact(&[4, 2]), fact(&[2]), fact(&[3]));
        let operator = BatchNormBackward::new(true);
        assert!(infer(&operator, &[&x, &x, &two, &two, &two]).is_ok());
        assert!(infer(&operator, &[&x, &x, &two, &two, &three]).is_err());
        assert!(infer(&operator, &[&x, &fact(&[2, 4]), &two, &two, &two]).is_err());
        assert!(infer(&operator, &[&x, &x, &two, &two]).is_err());
    }
}
