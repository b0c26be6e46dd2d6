//! Reductions: sums, means, products, extremes and norms over axes.
//!
//! ```text
//! floats     summed in f64, rounded once          NaN wins an extreme
//! integers   sums and products wrap; a mean, a root or a logarithm is truncated
//! nothing    sum 0, product 1, mean NaN, maximum −∞ (or the smallest integer), minimum ∞ (or the largest)
//! ```

use std::sync::Arc;

use super::axes::{reduced_shape, reduces_turned, turned_axes};
use super::reduce_gradient;
use super::sweep::{Fold, Sweep};
use crate::error::{Result, product};
use crate::kernel::Isa;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::check::{
    FLOATS, at_most, axes, integers, optional, read, required, write, wrong,
};
use crate::network::operator::elementwise::{Integer, Number, Ordered, with_integer, with_number};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// What is made of the elements x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceKind {
    /// Σ |x|
    L1,
    /// √(Σ x²)
    L2,
    /// log Σ x
    LogSum,
    /// log Σ eˣ
    LogSumExp,
    /// The largest; of truth values whether one is true.
    Max,
    /// Σ x / count
    Mean,
    /// The smallest; of truth values whether all are true.
    Min,
    /// Π x
    Prod,
    /// Σ x
    Sum,
    /// Σ x²
    SumSquare,
}

/// A reduction over the axes that the second input lists, a constant; over all where it is left out or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// What is made of the elements.
    pub reduction: ReduceKind,
    /// Whether the axes stay, with length 1.
    pub keep_axes: bool,
    /// Whether no axes mean that nothing is reduced.
    pub none_if_empty: bool,
    /// Whether the input has its channels last; the axes are still counted as with the channels first.
    turned: bool,
}

impl Reduce {
    /// Over all axes where none are listed.
    pub fn new(reduction: ReduceKind, keep_axes: bool) -> Self {
        Self {
            reduction,
            keep_axes,
            none_if_empty: false,
            turned: false,
        }
    }

    /// Whether no axes mean that nothing is reduced.
    pub fn none_if_empty(mut self, none: bool) -> Self {
        self.none_if_empty = none;
        self
    }

    /// The axes counted with the channels first; `None` where nothing is reduced.
    pub(super) fn logical(&self, inputs: &Facts) -> Result<Option<Vec<usize>>> {
        let rank = required(inputs, 0, "data")?.shape.len();
        let listed = match optional(inputs, 1) {
            Some(fact) => axes("axes", &integers(fact, "axes")?, rank)?,
            None => vec![],
        };
        Ok(match (listed.is_empty(), self.none_if_empty) {
            (false, _) => Some(listed),
            (true, true) => None,
            (true, false) => Some((0..rank).collect()),
        })
    }

    /// The axes as they lie.
    fn lying(&self, inputs: &Facts) -> Result<Option<Vec<usize>>> {
        let rank = required(inputs, 0, "data")?.shape.len();
        let logical = self.logical(inputs)?;
        Ok(match self.turned {
            true => logical.map(|axes| turned_axes(&axes, rank)),
            false => logical,
        })
    }

    /// Whether this is the mean of all pixels of each channel of f32, channels last, whose axes stay.
    pub(crate) fn is_mean_of_turned_pixels(&self, inputs: &Facts) -> bool {
        let Some(x) = optional(inputs, 0) else {
            return false;
        };
        let pixels = 2..x.shape.len();
        let all = |axes: Vec<usize>| {
            axes.len() == pixels.len() && axes.iter().all(|axis| pixels.contains(axis))
        };
        self.reduction == ReduceKind::Mean
            && self.keep_axes
            && self.turned
            && x.dtype == DType::F32
            && (1..=3).contains(&pixels.len())
            && !x.shape.contains(&0)
            && self.logical(inputs).is_ok_and(|axes| axes.is_some_and(all))
    }

    fn extreme(&self) -> bool {
        matches!(self.reduction, ReduceKind::Max | ReduceKind::Min)
    }
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        match self.reduction {
            ReduceKind::L1 => "ReduceL1",
            ReduceKind::L2 => "ReduceL2",
            ReduceKind::LogSum => "ReduceLogSum",
            ReduceKind::LogSumExp => "ReduceLogSumExp",
            ReduceKind::Max => "ReduceMax",
            ReduceKind::Mean => "ReduceMean",
            ReduceKind::Min => "ReduceMin",
            ReduceKind::Prod => "ReduceProd",
            ReduceKind::Sum => "ReduceSum",
            ReduceKind::SumSquare => "ReduceSumSquare",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let x = required(inputs, 0, "data")?;
        if x.dtype == DType::Bool && !self.extreme() {
            return Err(wrong("data", "a type of numbers", x.dtype.name()));
        }
        let Some(axes) = self.lying(inputs)? else {
            return Ok(vec![Fact::new(x.dtype, x.shape.clone())]);
        };
        let lengths: Vec<usize> = axes.iter().map(|&axis| x.shape[axis]).collect();
        let count = product("a reduction", &lengths)?;
        let shape = reduced_shape(&x.shape, &axes, self.keep_axes);
        let results = product("the results of a reduction", &shape)?;
        let needs = matches!(
            self.reduction,
            ReduceKind::Mean | ReduceKind::LogSum | ReduceKind::LogSumExp
        );
        if count == 0 && results > 0 && needs && !FLOATS.contains(&x.dtype) {
            return Err(wrong(
                "data",
                format!("some integers to make a {} of", self.name()),
                format!("none, shape {:?}", x.shape),
            ));
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let spared = |axes: Option<Vec<usize>>| axes.is_none_or(|axes| !axes.contains(&0));
        first_alone(batched) && self.logical(inputs).is_ok_and(spared)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "data")?;
        let sweep = self.lying(inputs)?.map(|axes| Sweep::new(&x.shape, &axes));
        Ok(Box::new(ReduceStep {
            reduction: self.reduction,
            dtype: x.dtype,
            sweep,
            isa: Isa::selected(),
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let x = required(inputs, 0, "data").ok()?;
        let axes = self.logical(inputs).ok()?.unwrap_or_default();
        let fits = reduces_turned(&x.shape, &axes, self.keep_axes);
        fits.then(|| {
            Arc::new(Self {
                turned: true,
                ..self.clone()
            }) as Arc<dyn Operator>
        })
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        reduce_gradient::gradient(self, backward)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

struct ReduceStep {
    reduction: ReduceKind,
    dtype: DType,
    /// `None`: the result is the input.
    sweep: Option<Sweep>,
    isa: Isa,
}

type Steps<A, T> = Fold<A, fn(A, T) -> A, T>;

/// How floats, and results of integers that are none, fold: in f64.
fn in_f64<T: Number>(reduction: ReduceKind) -> Steps<f64, T> {
    let sum: fn(f64, T) -> f64 = |y, x| y + x.to_f64();
    let squares: fn(f64, T) -> f64 = |y, x| y + x.to_f64() * x.to_f64();
    let (step, end): (_, fn(f64, f64) -> T) = match reduction {
        ReduceKind::L1 => {
            let absolutes: fn(f64, T) -> f64 = |y, x| y + x.to_f64().abs();
            (absolutes, |y, _| T::from_f64(y))
        }
        ReduceKind::L2 => (squares, |y, _| T::from_f64(y.sqrt())),
        ReduceKind::LogSum => (sum, |y, _| T::from_f64(y.ln())),
        ReduceKind::Mean => (sum, |y, count| T::from_f64(y / count)),
        ReduceKind::SumSquare => (squares, |y, _| T::from_f64(y)),
        _ => (sum, |y, _| T::from_f64(y)),
    };
    Fold {
        start: 0.0,
        step,
        join: |a, b| a + b,
        end,
    }
}

/// Π x in f64.
fn product_in_f64<T: Number>() -> Steps<f64, T> {
    Fold {
        start: 1.0,
        step: |y, x| y * x.to_f64(),
        join: |a, b| a * b,
        end: |y, _| T::from_f64(y),
    }
}

/// log Σ eˣ as the largest x and Σ e^(x − largest).
fn log_sum_exp<T: Number>() -> Steps<(f64, f64), T> {
    Fold {
        start: (f64::NEG_INFINITY, 0.0),
        step: |y, x| join_exponentials(y, (x.to_f64(), 1.0)),
        join: join_exponentials,
        end: |(most, sum), _| {
            T::from_f64(if most.is_infinite() {
                most
            } else {
                most + sum.ln()
            })
        },
    }
}

fn join_exponentials(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let most = a.0.larger(b.0);
    let part = |(own, sum): (f64, f64)| {
        if own == most {
            sum
        } else {
            sum * (own - most).exp()
        }
    };
    (most, part(a) + part(b))
}

/// How the largest or the smallest is found.
fn extreme<T: Ordered>(reduction: ReduceKind) -> Steps<T, T> {
    let (start, step): (T, fn(T, T) -> T) = match reduction {
        ReduceKind::Max => (T::LOWEST, T::larger),
        _ => (T::HIGHEST, T::smaller),
    };
    Fold {
        start,
        step,
        join: step,
        end: |y, _| y,
    }
}

/// How integers fold whose result is an integer.
fn wrapping<T: Integer>(reduction: ReduceKind) -> Steps<T, T> {
    let (start, step): (T, fn(T, T) -> T) = match reduction {
        ReduceKind::L1 => (T::ZERO, |y, x| y.plus(x.magnitude())),
        ReduceKind::SumSquare => (T::ZERO, |y, x| y.plus(x.times(x))),
        ReduceKind::Prod => (T::ONE, T::times),
        _ => (T::ZERO, T::plus),
    };
    let join = if reduction == ReduceKind::Prod {
        T::times
    } else {
        T::plus
    };
    Fold {
        start,
        step,
        join,
        end: |y, _| y,
    }
}

impl ReduceStep {
    /// The results of `fold`.
    fn fold<T: Scalar, A: Copy + Send + Sync>(
        &self,
        sweep: &Sweep,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        fold: Fold<A, impl Fn(A, T) -> A + Copy + Sync, T>,
    ) -> Result<()> {
        let x = read::<T>(inputs, 0)?;
        sweep.run(self.isa, x, write::<T>(outputs, 0)?, fold);
        Ok(())
    }

    /// Any type of floats.
    fn floats<T: Number>(
        &self,
        sweep: &Sweep,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        match self.reduction {
            ReduceKind::Max | ReduceKind::Min => {
                self.fold(sweep, inputs, outputs, extreme::<T>(self.reduction))
            }
            ReduceKind::Prod => self.fold(sweep, inputs, outputs, product_in_f64::<T>()),
            ReduceKind::LogSumExp => self.fold(sweep, inputs, outputs, log_sum_exp::<T>()),
            reduction => self.fold(sweep, inputs, outputs, in_f64::<T>(reduction)),
        }
    }

    /// f32, with steps that are inlined where they are common.
    fn singles(
        &self,
        sweep: &Sweep,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let Fold {
            start, join, end, ..
        } = in_f64::<f32>(self.reduction);
        match self.reduction {
            ReduceKind::Mean | ReduceKind::Sum => {
                let step = |y: f64, x: f32| y + f64::from(x);
                self.fold(
                    sweep,
                    inputs,
                    outputs,
                    Fold {
                        start,
                        step,
                        join,
                        end,
                    },
                )
            }
            ReduceKind::L2 | ReduceKind::SumSquare => {
                let step = |y: f64, x: f32| y + f64::from(x) * f64::from(x);
                self.fold(
                    sweep,
                    inputs,
                    outputs,
                    Fold {
                        start,
                        step,
                        join,
                        end,
                    },
                )
            }
            ReduceKind::Max => {
                let Fold {
                    start, join, end, ..
                } = extreme::<f32>(self.reduction);
                let step = |y: f32, x: f32| y.larger(x);
                self.fold(
                    sweep,
                    inputs,
                    outputs,
                    Fold {
                        start,
                        step,
                        join,
                        end,
                    },
                )
            }
            _ => self.floats::<f32>(sweep, inputs, outputs),
        }
    }

    fn integers<T: Integer>(
        &self,
        sweep: &Sweep,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        match self.reduction {
            ReduceKind::L1 | ReduceKind::Prod | ReduceKind::Sum | ReduceKind::SumSquare => {
                self.fold(sweep, inputs, outputs, wrapping::<T>(self.reduction))
            }
            ReduceKind::Mean => {
                let mean: Steps<i128, T> = Fold {
                    start: 0,
                    step: |y, x| y.wrapping_add(x.to_i128()),
                    join: i128::wrapping_add,
                    end: |y, count| T::from_i128(y / (count as i128).max(1)),
                };
                self.fold(sweep, inputs, outputs, mean)
            }
            _ => self.floats::<T>(sweep, inputs, outputs),
        }
    }
}

impl Step for ReduceStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let Some(sweep) = &self.sweep else {
            return match read_view(inputs) {
                Some(x) => outputs[0].copy_from(x),
                None => Ok(()),
            };
        };
        match self.dtype {
            DType::F32 => self.singles(sweep, inputs, outputs),
            DType::Bool => self.fold(sweep, inputs, outputs, extreme::<bool>(self.reduction)),
            dtype if FLOATS.contains(&dtype) => {
                with_number!(dtype, T => self.floats::<T>(sweep, inputs, outputs), Ok(()))
            }
            dtype => {
                with_integer!(dtype, T => self.integers::<T>(sweep, inputs, outputs), Ok(()))
            }
        }
    }

    fn in_place(&self) -> Option<usize> {
        self.sweep.is_none().then_some(0)
    }
}

fn read_view<'a>(inputs: &[Option<View<'a>>]) -> Option<View<'a>> {
    inputs.first().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{
        constant, fact, floats, infer, integers as whole, run, run_some,
    };
    use crate::network::tensor::Tensor;

    const ALL: [ReduceKind; 10] = [
        ReduceKind::L1,
        ReduceKind::L2,
        ReduceKind::LogSum,
        ReduceKind::LogSumExp,
        ReduceKind::Max,
        ReduceKind::Mean,
        ReduceKind::Min,
        ReduceKind::Prod,
        ReduceKind::Sum,
        ReduceKind::SumSquare,
    ];

    /// Over the axes of `list`, kept.
    fn of(reduction: ReduceKind, x: &Tensor, list: &[i64]) -> Tensor {
        let reduce = Reduce::new(reduction, true);
        run(&reduce, &[x.clone(), whole(list)]).unwrap().remove(0)
    }

    #[test]
    fn all_of_them_by_hand() {
        let x = floats(&[2, 3], [3.0, 1.0, 4.0, -1.0, -5.0, 9.0]);
        let over_rows = |reduction| of(reduction, &x, &[-1]);
        let pair = |a: f32, b: f32| floats(&[2, 1], [a, b]);
        assert_eq!(over_rows(ReduceKind::Sum), pair(8.0, 3.0));
        assert_eq!(over_rows(ReduceKind::Mean), pair(8.0 / 3.0, 1.0));
        assert_eq!(over_rows(ReduceKind::Prod), pair(12.0, 45.0));
        assert_eq!(over_rows(ReduceKind::Max), pair(4.0, 9.0));
        assert_eq!(over_rows(ReduceKind::Min), pair(1.0, -5.0));
        assert_eq!(over_rows(ReduceKind::L1), pair(8.0, 15.0));
        assert_eq!(
            over_rows(ReduceKind::L2),
            pair(26_f32.sqrt(), 107_f32.sqrt())
        );
        assert_eq!(over_rows(ReduceKind::SumSquare), pair(26.0, 107.0));
        assert_eq!(
            over_rows(ReduceKind::LogSum),
            pair(8_f64.ln() as f32, 3_f64.ln() as f32)
        );
        let exponentials = |x: [f64; 3]| x.iter().map(|x| x.exp()).sum::<f64>().ln() as f32;
        assert_eq!(
            over_rows(ReduceKind::LogSumExp),
            pair(
                exponentials([3.0, 1.0, 4.0]),
                exponentials([-1.0, -5.0, 9.0])
            )
        );
    }

    #[test]
    fn nothing_has_its_value_too() {
        let x = floats(&[2, 0], []);
        let inf = f32::INFINITY;
        for (reduction, want) in [
            (ReduceKind::Sum, 0.0),
            (ReduceKind::Prod, 1.0),
            (ReduceKind::Max, -inf),
            (ReduceKind::Min, inf),
            (ReduceKind::L1, 0.0),
            (ReduceKind::L2, 0.0),
            (ReduceKind::SumSquare, 0.0),
            (ReduceKind::LogSum, -inf),
            (ReduceKind::LogSumExp, -inf),
        ] {
            assert_eq!(
                of(reduction, &x, &[1]),
                floats(&[2, 1], [want; 2]),
                "{reduction:?}"
            );
        }
        let mean = of(ReduceKind::Mean, &x, &[1]);
        assert!(mean.array::<f32>().unwrap().iter().all(|y| y.is_nan()));
        assert_eq!(of(ReduceKind::Sum, &x, &[0]), floats(&[1, 0], []));
        let none = Fact::new(DType::I64, [0]);
        assert!(infer(&Reduce::new(ReduceKind::Mean, true), &[&none]).is_err());
        assert_eq!(of(ReduceKind::Max, &whole(&[]), &[0]), whole(&[i64::MIN]));
    }

    #[test]
    fn nan_wins_extremes_and_large_exponents_do_not_overflow() {
        for reduction in [ReduceKind::Max, ReduceKind::Min] {
            for at in 0..40 {
                let x = (0..40).map(|i| if i == at { f32::NAN } else { i as f32 });
                let y = of(reduction, &floats(&[40], x), &[0]);
                assert!(y.array::<f32>().unwrap()[0].is_nan(), "{reduction:?} {at}");
            }
        }
        let y = of(ReduceKind::LogSumExp, &floats(&[2], [1e38, 1e38]), &[0]);
        assert_eq!(y, floats(&[1], [1e38]));
        let y = of(
            ReduceKind::LogSumExp,
            &floats(&[2], [f32::INFINITY, 1.0]),
            &[0],
        );
        assert_eq!(y, floats(&[1], [f32::INFINITY]));
    }

    #[test]
    fn integers_wrap_or_are_truncated() {
        let x = whole(&[i64::MAX, 1, -4]);
        assert_eq!(of(ReduceKind::Sum, &x, &[0]), whole(&[i64::MAX - 3]));
        assert_eq!(of(ReduceKind::Mean, &whole(&[-3, -4]), &[0]), whole(&[-3]));
        assert_eq!(
            of(ReduceKind::Mean, &whole(&[i64::MIN, i64::MIN]), &[0]),
            whole(&[i64::MIN])
        );
        assert_eq!(of(ReduceKind::L1, &whole(&[-3, 4]), &[0]), whole(&[7]));
        assert_eq!(of(ReduceKind::L2, &whole(&[-3, 5]), &[0]), whole(&[5]));
        let bytes: Tensor = ndarray::arr1(&[200_u8, 100]).into_dyn().into();
        assert_eq!(
            of(ReduceKind::Sum, &bytes, &[0]),
            ndarray::arr1(&[44_u8]).into_dyn().into()
        );
        let truths: Tensor = ndarray::arr1(&[true, false]).into_dyn().into();
        assert_eq!(
            of(ReduceKind::Max, &truths, &[0]),
            ndarray::arr1(&[true]).into_dyn().into()
        );
        assert_eq!(
            of(ReduceKind::Min, &truths, &[0]),
            ndarray::arr1(&[false]).into_dyn().into()
        );
    }

    #[test]
    fn no_axes_are_all_or_none() {
        let x = floats(&[2, 2], [1.0, 2.0, 3.0, 4.0]);
        for reduction in ALL {
            let all = run(&Reduce::new(reduction, false), std::slice::from_ref(&x)).unwrap();
            assert_eq!(all[0].shape(), [] as [usize; 0]);
            let none = Reduce::new(reduction, true).none_if_empty(true);
            for list in [None, Some(&whole(&[]))] {
                let same = run_some(&none, &[Some(&x), list]).unwrap();
                assert_eq!(same[0], x);
            }
        }
    }

    #[test]
    fn axes_must_be_known_and_fit() {
        let reduce = Reduce::new(ReduceKind::Sum, true);
        let x = fact(&[2, 3]);
        assert!(infer(&reduce, &[&x, &constant(&[2])]).is_err());
        assert!(infer(&reduce, &[&x, &constant(&[1, -1])]).is_err());
        assert!(infer(&reduce, &[&x, &Fact::new(DType::I64, [1])]).is_err());
        assert!(infer(&reduce, &[&Fact::new(DType::Bool, [2])]).is_err());
        assert_eq!(
            infer(&reduce, &[&x, &constant(&[-1])]).unwrap()[0].shape,
            [2, 1]
        );
        let dropped = infer(&Reduce::new(ReduceKind::Sum, false), &[&x, &constant(&[0])]);
        assert_eq!(dropped.unwrap()[0].shape, [3]);
    }

    #[test]
    fn with_the_channels_last_the_axes_are_counted_as_before() {
        let (x, list) = (fact(&[1, 2, 2, 3]), constant(&[2, 3]));
        let mean = Reduce::new(ReduceKind::Mean, false);
        let turned = mean.channels_last(&[Some(&x), Some(&list)]).unwrap();
        let lying = floats(&[1, 2, 3, 2], (0..12).map(|i| i as f32));
        let y = run(turned.as_ref(), &[lying, whole(&[2, 3])]).unwrap();
        assert_eq!(y, [floats(&[1, 2], [5.0, 6.0])]);
        assert!(
            mean.channels_last(&[Some(&x), Some(&constant(&[1]))])
                .is_none()
        );
    }
}
