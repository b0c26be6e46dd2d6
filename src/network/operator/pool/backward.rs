//! The gradients of poolings.
//!
//! ```text
//! maximum  inputs taps, dY     dX at the tap that was kept    += dY       X and Y need not be kept
//! average  input  dY           dX at every tap                += dY / divisor
//! Lp       inputs X, Y, dY     dX at every tap                += dY · sign(X) · (|X| / Y)^(p − 1)
//! ```

use std::sync::Arc;

use super::super::check::{at_most, has_shape, has_type, read, required, write};
use super::super::{Fact, Facts, Operator, Step};
use super::pooling::{Kind, Pool, tap_type};
use crate::element::Element;
use crate::error::Result;
use crate::geometry::{Layout, PoolGeometry};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;
use crate::pool::{
    avg_pool_rows_backward_into, lp_pool_backward_into, max_pool_taps_backward_into,
};

/// The gradient of the input of a pooling; inputs as the file head says.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolBackward {
    pool: Pool,
    /// The sizes of the input's spatial axes: several give the same output.
    spatial: Vec<usize>,
}

impl PoolBackward {
    /// Of a pooling of images of these spatial sizes.
    pub(super) fn new(pool: Pool, spatial: Vec<usize>) -> Self {
        Self { pool, spatial }
    }

    /// Whether it is the gradient of a maximum, and so reads taps and dY.
    pub(crate) fn of_maximum(&self) -> bool {
        self.pool.kind == Kind::MaxWithTaps
    }

    /// Which input is dY, the last.
    fn at(&self) -> usize {
        match self.pool.kind {
            Kind::Average => 0,
            Kind::Max(_) | Kind::MaxWithTaps => 1,
            Kind::Lp(_) => 2,
        }
    }

    fn geometry(&self, inputs: &Facts) -> Result<PoolGeometry> {
        let at = self.at();
        at_most(inputs, at + 1)?;
        let dy = required(inputs, at, "dY")?;
        has_type(dy, "dY", &[DType::F32, DType::F64])?;
        let layout = self.pool.layout;
        let rank = self.spatial.len() + 2;
        let channels = match layout {
            Layout::ChannelsFirst => 1,
            Layout::ChannelsLast => rank - 1,
        };
        let length = |axis: usize| dy.shape.get(axis).copied().unwrap_or(0);
        let shape = layout.shape(length(0), length(channels), &self.spatial);
        let geometry = self.pool.sizes(&shape)?;
        has_shape(dy, "dY", &geometry.output_shape())?;
        match self.pool.kind {
            Kind::Lp(_) => {
                let (x, y) = (required(inputs, 0, "X")?, required(inputs, 1, "Y")?);
                for (fact, operand, shape) in [(x, "X", &shape), (y, "Y", &dy.shape)] {
                    has_type(fact, operand, &[dy.dtype])?;
                    has_shape(fact, operand, shape)?;
                }
            }
            Kind::Max(_) | Kind::MaxWithTaps => {
                let taps = required(inputs, 0, "taps")?;
                has_type(taps, "taps", &[tap_type(&geometry)])?;
                has_shape(taps, "taps", &dy.shape)?;
            }
            Kind::Average => {}
        }
        Ok(geometry)
    }
}

impl Operator for PoolBackward {
    fn name(&self) -> &'static str {
        match self.pool.kind {
            Kind::Average => "AveragePoolBackward",
            Kind::Max(_) | Kind::MaxWithTaps => "MaxPoolBackward",
            Kind::Lp(_) => "LpPoolBackward",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let geometry = self.geometry(inputs)?;
        let dtype = required(inputs, self.at(), "dY")?.dtype;
        Ok(vec![Fact::new(dtype, geometry.input_shape())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(PoolBackwardStep {
            kind: self.pool.kind,
            geometry: self.geometry(inputs)?,
            double: required(inputs, self.at(), "dY")?.dtype == DType::F64,
        }))
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let mut turned = self.clone();
        turned.pool.layout = Layout::ChannelsLast;
        Some(Arc::new(turned))
    }
}

struct PoolBackwardStep {
    kind: Kind,
    geometry: PoolGeometry,
    double: bool,
}

impl PoolBackwardStep {
    fn backward<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (geometry, dx) = (&self.geometry, write::<T>(outputs, 0)?);
        match self.kind {
            Kind::Average => avg_pool_rows_backward_into(geometry, read(inputs, 0)?, dx),
            Kind::Lp(p) => {
                let (y, dy) = (read(inputs, 1)?, read(inputs, 2)?);
                lp_pool_backward_into(geometry, p, read(inputs, 0)?, [y, dy], dx)
            }
            Kind::Max(_) | Kind::MaxWithTaps => {
                let dy = read::<T>(inputs, 1)?;
                match tap_type(geometry) {
                    DType::U8 => {
                        let taps = read::<u8>(inputs, 0)?;
                        max_pool_taps_backward_into(geometry, taps, dy, dx)
                    }
                    _ => {
                        let taps = read::<u32>(inputs, 0)?;
                        max_pool_taps_backward_into(geometry, taps, dy, dx)
                    }
                }
            }
        }
    }
}

impl Step for PoolBackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.double {
            true => self.backward::<f64>(inputs, outputs),
            false => self.backward::<f32>(inputs, outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PoolOptions;
    use crate::network::operator::testing::{check_gradient, doubles, fact, floats, infer, run};
    use crate::network::operator::{Operator, Transpose};
    use crate::network::tensor::Tensor;

    fn keeping(pool: Pool) -> Arc<dyn Operator> {
        pool.keeping().expect("maxima keep their taps")
    }

    #[test]
    fn central_differences() {
        let three = PoolOptions::new(3).stride(2).padding(1);
        for pool in [
            Pool::max(PoolOptions::new(2)),
            Pool::max(three.clone().ceil_mode(true)),
            Pool::max(three.clone().dilation(2).stride(1)),
            Pool::global_max(),
            Pool::average(PoolOptions::new(2)),
            Pool::average(three.clone()),
            Pool::average(three.clone().count_include_pad(false).ceil_mode(true)),
            Pool::average(three.clone().divisor_override(-3)),
            Pool::global_average(),
            Pool::lp(PoolOptions::new(2), 1.0),
            Pool::lp(three, 3.0),
            Pool::global_lp(2.0),
        ] {
            for shape in [&[2, 3, 7][..], &[2, 3, 6, 5], &[1, 2, 5, 4, 3]] {
                let x = doubles(shape, 5, -1.0, 1.0);
                check_gradient(pool.clone(), &[x], &[0]);
            }
        }
    }

    /// Equal elements, −∞ alone, and NaN: the first in row-major order has it.
    #[test]
    fn the_first_maximum_gets_the_gradient() {
        let (inf, nan) = (f32::NEG_INFINITY, f32::NAN);
        let x = [
            [2.0, 2.0, 0.0, 1.0, inf, inf],
            [2.0, 2.0, 1.0, 1.0, inf, inf],
            [3.0, nan, 0.0, -0.0, 5.0, 7.0],
            [nan, 9.0, -0.0, 0.0, 7.0, 6.0],
        ];
        let x = floats(&[1, 1, 4, 6], x.into_iter().flatten());
        let pool = keeping(Pool::max(PoolOptions::new(2)));
        let made = run(&*pool, std::slice::from_ref(&x)).unwrap();
        let taps: Tensor =
            ndarray::ArrayD::from_shape_vec(vec![1, 1, 2, 3], vec![0u8, 1, 0, 1, 0, 1])
                .unwrap()
                .into();
        assert_eq!(made[1], taps);
        let Pool { windows, .. } = Pool::max(PoolOptions::new(2));
        let back = PoolBackward::new(
            Pool {
                kind: Kind::MaxWithTaps,
                windows,
                layout: Layout::ChannelsFirst,
            },
            vec![4, 6],
        );
        let dy = floats(&[1, 1, 2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let dx = run(&back, &[taps, dy]).unwrap();
        let want = [
            [1.0, 0.0, 0.0, 2.0, 3.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 4.0, 5.0, 0.0, 0.0, 6.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ];
        assert_eq!(dx, [floats(&[1, 1, 4, 6], want.into_iter().flatten())]);
    }

    #[test]
    fn both_layouts_make_the_same_bits() {
        let pool = keeping(Pool::max(PoolOptions::new(3).stride(1).padding(1)));
        let turn = |x: &Tensor| {
            let turn = Transpose::to_channels_last(x.shape().len());
            run(&turn, std::slice::from_ref(x)).unwrap().remove(0)
        };
        let mut random = fastrand::Rng::with_seed(1);
        let mut numbers = |len: usize| {
            let numbers: Vec<f32> = (0..len).map(|_| random.f32() - 0.5).collect();
            floats(&[2, 19, 8, 7], numbers)
        };
        let (x, dy) = (numbers(2 * 19 * 56), numbers(2 * 19 * 56));
        let first = run(&*pool, std::slice::from_ref(&x)).unwrap();
        let last = pool.channels_last(&[]).unwrap();
        let turned = run(&*last, &[turn(&x)]).unwrap();
        assert_eq!(turned, [turn(&first[0]), turn(&first[1])]);
        let back = PoolBackward::new(
            Pool {
                kind: Kind::MaxWithTaps,
                ..Pool::max(PoolOptions::new(3).stride(1).padding(1))
            },
            vec![8, 7],
        );
        let dx = run(&back, &[first[1].clone(), dy.clone()]).unwrap();
        let last = back.channels_last(&[]).unwrap();
        let turned = run(&*last, &[turned[1].clone(), turn(&dy)]).unwrap();
        assert_eq!(turned, [turn(&dx[0])]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let back = |pool: Pool| PoolBackward::new(pool, vec![4, 4]);
        let average = back(Pool::average(PoolOptions::new(2)));
        assert!(infer(&average, &[&fact(&[1, 2, 2, 2])]).is_ok());
        for shape in [&[1, 2, 2, 3][..], &[2, 2], &[]] {
            assert!(infer(&average, &[&fact(shape)]).is_err());
        }
        let maximum = back(Pool {
            kind: Kind::MaxWithTaps,
            ..Pool::max(PoolOptions::new(2))
        });
        let dy = fact(&[1, 2, 2, 2]);
        assert!(infer(&maximum, &[&Fact::new(DType::U8, [1, 2, 2, 2]), &dy]).is_ok());
        assert!(infer(&maximum, &[&Fact::new(DType::U32, [1, 2, 2, 2]), &dy]).is_err());
        assert!(infer(&maximum, &[&Fact::new(DType::U8, [1, 2, 4, 2]), &dy]).is_err());
        assert!(infer(&maximum, &[&dy]).is_err());
    }

    /// Bytes have maxima too, but no gradient and so no taps.
    #[test]
    fn other_types_keep_nothing() {
        let pool = keeping(Pool::max(PoolOptions::new(2)));
        let x: Tensor = ndarray::ArrayD::from_elem(vec![1, 1, 2, 2], 3i8).into();
        let made = run(&*pool, &[x]).unwrap();
        assert_eq!(
            made,
            [ndarray::ArrayD::from_elem(vec![1, 1, 1, 1], 3i8).into()]
        );
    }
}
