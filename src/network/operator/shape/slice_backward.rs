//! The gradient of Slice: what was taken goes back to its place, and there are zeros around it.
//!
//! ```text
//! dX = 0        dX[start + i · step] = dY[i]                   on each axis
//! ```

use std::sync::Arc;

use super::super::check::{at_most, has_shape, has_type, read, required, turned, write};
use super::super::{Fact, Facts, Operator, Step};
use super::slice::Span;
use crate::error::{Result, check_len, product};
use crate::network::gradient::Backward;
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::for_each_piece;
use crate::plan::PlanOptions;

/// The gradient of the data of a Slice: input dY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceBackward {
    /// The shape of the data, and the part of every axis.
    shape: Vec<usize>,
    spans: Vec<Span>,
}

impl SliceBackward {
    pub(super) fn new(shape: Vec<usize>, spans: Vec<Span>) -> Self {
        Self { shape, spans }
    }
}

impl Operator for SliceBackward {
    fn name(&self) -> &'static str {
        "SliceBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let dy = required(inputs, 0, "dY")?;
        has_type(dy, "dY", &[DType::F32, DType::F64])?;
        let taken: Vec<usize> = self.spans.iter().map(|span| span.length).collect();
        has_shape(dy, "dY", &taken)?;
        Ok(vec![Fact::new(dy.dtype, self.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let inner = |list: &[usize]| product("a row", list);
        let lengths: Vec<usize> = self.spans.iter().map(|span| span.length).collect();
        let mut axes = Vec::with_capacity(self.shape.len());
        for axis in 0..self.shape.len() {
            let span = self.spans[axis];
            axes.push(Placed {
                span,
                row: inner(&self.shape[axis + 1..])?,
                taken: inner(&lengths[axis + 1..])?,
                whole: span.start == 0 && span.step == 1 && span.length == self.shape[axis],
            });
        }
        // Axes that are whole at the end are copied as one.
        let kept = axes
            .iter()
            .rposition(|axis| !axis.whole)
            .map_or(0, |last| last + 1);
        axes.truncate(kept);
        Ok(Box::new(SliceBackwardStep {
            axes,
            len: product("data", &self.shape)?,
            double: required(inputs, 0, "dY")?.dtype == DType::F64,
        }))
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self {
            shape: turned(&self.shape),
            spans: turned(&self.spans),
        }))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        Err(backward.unsupported())
    }
}

/// An axis: the elements of a place of it in dX and in dY.
#[derive(Clone, Copy, Debug)]
struct Placed {
    span: Span,
    row: usize,
    taken: usize,
    whole: bool,
}

struct SliceBackwardStep {
    axes: Vec<Placed>,
    len: usize,
    double: bool,
}

impl SliceBackwardStep {
    fn place<T: Scalar>(&self, dy: &[T], dx: &mut [T]) -> Result<()> {
        check_len("dX", self.len, dx.len())?;
        if let Some((first, inner)) = self.axes.split_first()
            && first.whole
            && first.row > 0
        {
            // Images are independent of each other.
            for_each_piece(dx, first.row, &|image, dx| {
                dx.fill(T::default());
                place(inner, &dy[image * first.taken..][..first.taken], dx);
            });
            return Ok(());
        }
        dx.fill(T::default());
        place(&self.axes, dy, dx);
        Ok(())
    }
}

fn place<T: Scalar>(axes: &[Placed], dy: &[T], dx: &mut [T]) {
    let Some((axis, inner)) = axes.split_first() else {
        return dx.copy_from_slice(dy);
    };
    let Placed {
        span, row, taken, ..
    } = *axis;
    if taken == 0 {
        return;
    }
    let mut at = span.start;
    for dy in dy.chunks_exact(taken) {
        place(inner, dy, &mut dx[at * row..][..row]);
        at = at.wrapping_add_signed(span.step);
    }
}

impl Step for SliceBackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.double {
            true => self.place::<f64>(read(inputs, 0)?, write(outputs, 0)?),
            false => self.place::<f32>(read(inputs, 0)?, write(outputs, 0)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Slice;
    use crate::network::operator::testing::{check_gradient, doubles, integers};

    #[test]
    fn central_differences() {
        let x = doubles(&[2, 5, 4, 3], 1, -1.0, 1.0);
        let cases: [[&[i64]; 4]; 6] = [
            [&[0, 0], &[9, 9], &[2, 3], &[2, 2]],
            [&[1], &[4], &[1], &[1]],
            [&[-1, 3], &[-9, 0], &[1, 2], &[-2, -1]],
            [&[1], &[2], &[0], &[1]],
            [&[3], &[3], &[1], &[1]],
            [&[], &[], &[], &[]],
        ];
        for lists in cases {
            let mut inputs = vec![x.clone()];
            inputs.extend(lists.map(integers));
            check_gradient(Slice::new(), &inputs, &[0]);
        }
    }
}
