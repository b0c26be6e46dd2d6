//! The gradient of Clip.
//!
//! ```text
//! dX = dY where low < Y < high, else 0
//! ```
//!
//! It reads Y, so that a Clip can still be the end of a convolution. At the bounds it is 0, as PyTorch's relu6 and
//! hardtanh have it, which is what Clip stands for in networks; its clamp has dY there.

use std::sync::Arc;

use super::clip::bounds;
use super::in_pieces;
use crate::error::Result;
use crate::kernel::Isa;
use crate::kernel::derivatives::{ClampGradient, derive, derive_in_place};
use crate::network::gradient::Backward;
use crate::network::operator::check::{
    at_most, has_shape, has_type, read, read_optional, required, write,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// The gradient of the input of a Clip: inputs Y, dY and the bounds that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipBackward {
    /// Whether there is a lower and an upper bound.
    bounded: [bool; 2],
}

/// The node of the gradient of a Clip; the bounds have none.
pub(super) fn gradient(backward: &mut Backward) -> Result<()> {
    if backward.wants(1) || backward.wants(2) {
        return Err(backward.unsupported());
    }
    let bounded = [1, 2].map(|index| backward.input_fact(index).is_some());
    let mut inputs = vec![backward.output(0)?, backward.d_output()?];
    for index in [1, 2] {
        if bounded[index - 1] {
            inputs.push(backward.input(index)?);
        }
    }
    let gradient = backward.node(ClipBackward { bounded }, &inputs)?;
    backward.give(0, gradient)
}

impl ClipBackward {
    /// The inputs that are the bounds.
    fn bounds(&self) -> [Option<usize>; 2] {
        let [low, high] = self.bounded;
        [low.then_some(2), high.then_some(2 + usize::from(low))]
    }
}

impl Operator for ClipBackward {
    fn name(&self) -> &'static str {
        "ClipBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let (y, dy) = (required(inputs, 0, "Y")?, required(inputs, 1, "dY")?);
        has_type(y, "Y", &[DType::F32, DType::F64])?;
        has_type(dy, "dY", &[y.dtype])?;
        has_shape(dy, "dY", &y.shape)?;
        let bounds = self.bounds();
        at_most(inputs, 2 + bounds.iter().flatten().count())?;
        for index in bounds.into_iter().flatten() {
            has_type(
                required(inputs, index, "a bound")?,
                "a bound",
                &[y.dtype, DType::F32],
            )?;
        }
        Ok(vec![Fact::new(y.dtype, y.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(ClipBackwardStep {
            bounds: self.bounds(),
            double: required(inputs, 0, "Y")?.dtype == DType::F64,
            isa: Isa::selected(),
        }))
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(*self))
    }
}

struct ClipBackwardStep {
    bounds: [Option<usize>; 2],
    double: bool,
    isa: Isa,
}

impl Step for ClipBackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        if self.double {
            let (low, high) = bounds::<f64>(inputs, self.bounds)?;
            let (y, dy) = (read::<f64>(inputs, 0)?, read_optional::<f64>(inputs, 1)?);
            in_pieces(write::<f64>(outputs, 0)?, |start, dx| {
                if let Some(dy) = dy {
                    dx.copy_from_slice(&dy[start..start + dx.len()]);
                }
                for (dx, &y) in dx.iter_mut().zip(&y[start..]) {
                    *dx = if y <= low || y >= high { 0.0 } else { *dx };
                }
            });
            return Ok(());
        }
        let (low, high) = bounds::<f32>(inputs, self.bounds)?;
        let (y, dy) = (read::<f32>(inputs, 0)?, read_optional::<f32>(inputs, 1)?);
        let f = ClampGradient(low, high);
        in_pieces(write::<f32>(outputs, 0)?, |start, dx| {
            let place = start..start + dx.len();
            match dy {
                Some(dy) => derive(self.isa, f, &y[place.clone()], &dy[place], dx),
                None => derive_in_place(self.isa, f, &y[place], dx),
            }
        });
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::Clip;
    use crate::network::operator::testing::{check_gradient, doubles, floats, run};
    use crate::network::tensor::Tensor;

    #[test]
    fn central_differences() {
        let x = doubles(&[2, 3, 4], 1, -2.0, 8.0);
        let [low, high]: [Tensor; 2] =
            [0.0, 6.0].map(|bound| ndarray::arr0(bound).into_dyn().into());
        check_gradient(Clip, std::slice::from_ref(&x), &[0]);
        check_gradient(Clip, &[x.clone(), low.clone()], &[0]);
        check_gradient(Clip, &[x, low, high], &[0]);
    }

    #[test]
    fn at_the_bounds_nothing_comes_through() {
        let y = floats(&[6], [0.0, 0.0, 3.0, 6.0, 6.0, f32::NAN]);
        let dy = floats(&[6], [f32::NAN, 1.0, 2.0, 3.0, f32::INFINITY, 4.0]);
        let [low, high] = [0.0, 6.0].map(|bound| floats(&[], [bound]));
        let both = ClipBackward { bounded: [true; 2] };
        let dx = run(&both, &[y.clone(), dy, low, high.clone()]).unwrap();
        assert_eq!(dx, [floats(&[6], [0.0, 0.0, 2.0, 0.0, 0.0, 4.0])]);
        let above = ClipBackward {
            bounded: [false, true],
        };
        let dx = run(&above, &[y, floats(&[6], [1.0; 6]), high]).unwrap();
        assert_eq!(dx, [floats(&[6], [1.0, 1.0, 1.0, 0.0, 0.0, 1.0])]);
    }
}
