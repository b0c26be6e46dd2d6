//! The gradient of Gather: what was taken is added where it came from.
//!
//! ```text
//! dX = 0        dX[a…, k[i…], b…] += dY[a…, i…, b…]        in the order of i
//! ```

use std::sync::Arc;

use super::super::check::{
    at_most, has_axes, has_type, optional, read, required, turned_axis, write, wrong,
};
use super::super::{Fact, Facts, Operator, Step};
use super::gather::{INDEX, Indices, position};
use crate::element::Element;
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::try_for_each_piece;
use crate::plan::PlanOptions;

/// The gradient of the data of a Gather: inputs dY, indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherBackward {
    axis: usize,
    /// That of the data on the axis.
    length: usize,
}

impl GatherBackward {
    /// Along an axis of the data that has this length.
    pub(super) fn new(axis: usize, length: usize) -> Self {
        Self { axis, length }
    }
}

impl Operator for GatherBackward {
    fn name(&self) -> &'static str {
        "GatherBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (dy, indices) = (required(inputs, 0, "dY")?, required(inputs, 1, "indices")?);
        has_type(dy, "dY", &[DType::F32, DType::F64])?;
        has_type(indices, "indices", &INDEX)?;
        let end = self.axis + indices.shape.len();
        has_axes(dy, "dY", end)?;
        if dy.shape[self.axis..end] != indices.shape {
            return Err(wrong(
                "dY",
                format!(
                    "with the sizes {:?} from axis {} on",
                    indices.shape, self.axis
                ),
                format!("of shape {:?}", dy.shape),
            ));
        }
        let parts = [&dy.shape[..self.axis], &[self.length], &dy.shape[end..]];
        let shape = parts.concat();
        product("dX", &shape)?;
        Ok(vec![Fact::new(dy.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (dy, indices) = (required(inputs, 0, "dY")?, required(inputs, 1, "indices")?);
        let end = self.axis + indices.shape.len();
        Ok(Box::new(BackwardStep {
            length: self.length,
            inner: product("dY", &dy.shape[end..])?,
            indices: product("indices", &indices.shape)?,
            double: dy.dtype == DType::F64,
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        // With one axis of indices both have as many axes.
        let (dy, indices) = (optional(inputs, 0)?, optional(inputs, 1)?);
        let axis = turned_axis(self.axis, dy.shape.len());
        (indices.shape.len() == 1).then(|| {
            Arc::new(Self {
                axis,
                ..self.clone()
            }) as Arc<dyn Operator>
        })
    }
}

struct BackwardStep {
    length: usize,
    inner: usize,
    indices: usize,
    double: bool,
}

impl BackwardStep {
    fn add<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (dy, indices) = (read::<T>(inputs, 0)?, Indices::of(inputs, 1)?);
        check_len("indices", self.indices, indices.len())?;
        let (inner, taken) = (self.inner, self.indices * self.inner);
        try_for_each_piece(write(outputs, 0)?, self.length * inner, &|outer, dx| {
            dx.fill(T::ZERO);
            for index in 0..self.indices {
                let at = position(indices.at(index), self.length)? * inner;
                let dy = &dy[outer * taken + index * inner..][..inner];
                for (dx, &dy) in dx[at..at + inner].iter_mut().zip(dy) {
                    *dx += dy;
                }
            }
            Ok(())
        })
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
            true => self.add::<f64>(inputs, outputs),
            false => self.add::<f32>(inputs, outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gather;
    use crate::network::operator::testing::{check_gradient, doubles, integers};
    use crate::network::tensor::Tensor;

    #[test]
    fn central_differences() {
        let x = doubles(&[2, 4, 3, 2], 1, -1.0, 1.0);
        let plane: Tensor = ndarray::arr2(&[[0i64, -1], [2, 0]]).into_dyn().into();
        for (axis, indices) in [
            (1, integers(&[3, 0, 0, -1])),
            (0, integers(&[1])),
            (-1, integers(&[])),
            (1, plane),
            (2, ndarray::arr0(1i64).into_dyn().into()),
        ] {
            check_gradient(Gather::new(axis), &[x.clone(), indices], &[0]);
        }
    }
}
