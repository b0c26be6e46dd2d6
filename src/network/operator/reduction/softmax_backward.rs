//! The gradients of Softmax and LogSoftmax, from what they made.
//!
//! ```text
//! softmax   dX = Y (dY − Σ Y dY)        log   dX = dY − e^Y Σ dY            sums along the lane, in f64
//! ```

use std::sync::Arc;

use ndarray::{ArrayViewMut3, Axis};

use super::softmax::{Softmax, SoftmaxKind};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::network::operator::check::{
    at_most, has_shape, has_type, read, read_optional, required, write,
};
use crate::network::operator::elementwise::PIECE;
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::for_each_tile;
use crate::plan::PlanOptions;

/// The gradient of the input of a Softmax or LogSoftmax: inputs Y, dY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxBackward {
    softmax: Softmax,
}

impl SoftmaxBackward {
    /// Of this one.
    pub(super) fn new(softmax: Softmax) -> Self {
        Self { softmax }
    }
}

impl Operator for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "SoftmaxBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (y, dy) = (required(inputs, 0, "Y")?, required(inputs, 1, "dY")?);
        has_type(y, "Y", &[DType::F32, DType::F64])?;
        has_type(dy, "dY", &[y.dtype])?;
        has_shape(dy, "dY", &y.shape)?;
        self.softmax.sizes(&y.shape)?;
        Ok(vec![Fact::new(y.dtype, y.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let y = required(inputs, 0, "Y")?;
        Ok(Box::new(BackwardStep {
            log: self.softmax.kind == SoftmaxKind::LogSoftmax,
            sizes: self.softmax.sizes(&y.shape)?,
            double: y.dtype == DType::F64,
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let softmax = self.softmax.turned(inputs)?;
        Some(Arc::new(Self { softmax }))
    }
}

struct BackwardStep {
    log: bool,
    sizes: [usize; 3],
    double: bool,
}

impl BackwardStep {
    fn backward<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let [outer, length, inner] = self.sizes;
        let y = read::<T>(inputs, 0)?;
        let dy = read_optional::<T>(inputs, 1)?;
        let dx = write::<T>(outputs, 0)?;
        let parallel = dx.len() > PIECE;
        let dx = ArrayViewMut3::from_shape((outer, length, inner), dx);
        let dx = dx.map_err(|_| Error::Overflow { what: "an output" })?;
        let lanes = (PIECE / length.max(1) / inner.max(1)).max(1);
        for_each_tile(dx, [lanes, length, inner], parallel, &|origin, mut tile| {
            for (lane, mut lanes) in tile.axis_iter_mut(Axis(0)).enumerate() {
                let first = (origin[0] + lane) * length * inner + origin[2];
                for (column, mut dx) in lanes.axis_iter_mut(Axis(1)).enumerate() {
                    let y = |at: usize| y[first + at * inner + column].to_f64();
                    if let Some(dy) = dy {
                        for (at, dx) in dx.iter_mut().enumerate() {
                            *dx = dy[first + at * inner + column];
                        }
                    }
                    let weight = |at: usize| if self.log { 1.0 } else { y(at) };
                    let terms = dx.iter().enumerate();
                    let sum: f64 = terms.map(|(at, dy)| weight(at) * dy.to_f64()).sum();
                    for (at, dx) in dx.iter_mut().enumerate() {
                        *dx = T::from_f64(match self.log {
                            true => dx.to_f64() - y(at).exp() * sum,
                            false => y(at) * (dx.to_f64() - sum),
                        });
                    }
                }
            }
        });
        Ok(())
    }
}

impl Step for BackwardStep {
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

    fn in_place(&self) -> Option<usize> {
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{check_gradient, doubles, fact, infer};

    #[test]
    fn central_differences() {
        for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
            for (shape, axis) in [
                (&[3, 5][..], -1),
                (&[2, 4, 3, 2], 1),
                (&[2, 3], 0),
                (&[4], 0),
            ] {
                let x = doubles(shape, 1, -2.0, 2.0);
                check_gradient(Softmax::new(kind, axis), std::slice::from_ref(&x), &[0]);
                check_gradient(Softmax::flattened(kind, axis), &[x], &[0]);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let back = SoftmaxBackward::new(Softmax::new(SoftmaxKind::Softmax, 1));
        assert!(infer(&back, &[&fact(&[2, 3]), &fact(&[2, 3])]).is_ok());
        assert!(infer(&back, &[&fact(&[2, 3]), &fact(&[3, 2])]).is_err());
        assert!(infer(&back, &[&fact(&[2]), &fact(&[2])]).is_err());
    }
}
