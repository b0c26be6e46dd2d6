//! Trilu: the upper or the lower triangle of matrices.
//!
//! ```text
//! upper  y[…, i, j] = x[…, i, j] where j ≥ i + k, else 0          lower  where j ≤ i + k
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::super::by_image::first_alone;
use super::super::check::{
    at_most, has_axes, has_type, optional, read, read_optional, required, write, wrong,
};
use super::super::{Fact, Facts, Operator, Step};
use crate::error::{Result, check_len};
use crate::network::gradient::Backward;
use crate::network::tensor::{DType, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// A triangle of the matrices in the last two axes; zeros elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trilu {
    pub(crate) upper: bool,
}

impl Trilu {
    /// Inputs: data, and which diagonal bounds the triangle, 0 (the main one) where it is left out; those above it
    /// have positive numbers.
    pub fn new(upper: bool) -> Self {
        Self { upper }
    }
}

impl Operator for Trilu {
    fn name(&self) -> &'static str {
        "Trilu"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let input = required(inputs, 0, "input")?;
        has_axes(input, "input", 2)?;
        if let Some(k) = optional(inputs, 1) {
            has_type(k, "k", &[DType::I64])?;
            if k.shape.iter().any(|&length| length != 1) {
                return Err(wrong("k", "one element", format!("of shape {:?}", k.shape)));
            }
        }
        Ok(vec![Fact::new(input.dtype, input.shape.clone())])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched) && optional(inputs, 0).is_some_and(|input| input.shape.len() > 2)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let input = required(inputs, 0, "input")?;
        let rank = input.shape.len();
        Ok(Box::new(Triangle {
            dtype: input.dtype,
            rows: input.shape[rank - 2],
            columns: input.shape[rank - 1],
            upper: self.upper,
            shifted: optional(inputs, 1).is_some(),
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let flat = optional(inputs, 0).is_some_and(|input| input.shape.len() < 3);
        flat.then(|| Arc::new(*self) as Arc<dyn Operator>)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let mut inputs = vec![backward.d_output()?];
        if backward.input_fact(1).is_some() {
            inputs.push(backward.input(1)?);
        }
        let gradient = backward.node(*self, &inputs)?;
        backward.give(0, gradient)
    }
}

struct Triangle {
    dtype: DType,
    rows: usize,
    columns: usize,
    upper: bool,
    /// Whether there is an input that says by how much.
    shifted: bool,
}

impl Triangle {
    /// The columns that are zero in a row.
    fn cleared(&self, row: usize, k: i64) -> Range<usize> {
        let diagonal = i64::try_from(row).unwrap_or(i64::MAX).saturating_add(k);
        let column =
            |at: i64| usize::try_from(at.max(0)).map_or(self.columns, |at| at.min(self.columns));
        match self.upper {
            true => 0..column(diagonal),
            false => column(diagonal.saturating_add(1))..self.columns,
        }
    }
}

impl Step for Triangle {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let k = match self.shifted {
            true => read::<i64>(inputs, 1)?.first().copied().unwrap_or(0),
            false => 0,
        };
        with_type!(self.dtype, T => {
            let source = read_optional::<T>(inputs, 0)?;
            let output = write::<T>(outputs, 0)?;
            if let Some(source) = source {
                check_len("output", source.len(), output.len())?;
                output.copy_from_slice(source);
            }
            for (row, line) in output.chunks_exact_mut(self.columns.max(1)).enumerate() {
                line[self.cleared(row % self.rows.max(1), k)].fill(T::default());
            }
            Ok(())
        })
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{check_gradient, doubles, fact, floats, infer, run};
    use super::*;
    use crate::network::Tensor;

    fn scalar(k: i64) -> Tensor {
        ndarray::arr0(k).into_dyn().into()
    }

    #[test]
    fn triangles_of_every_diagonal() {
        for shape in [[2, 3, 4], [1, 4, 3], [3, 1, 1], [2, 0, 3], [2, 3, 0]] {
            let len = shape.iter().product::<usize>();
            let x = floats(&shape, (0..len).map(|at| at as f32 + 1.0));
            for upper in [false, true] {
                for k in [0, 1, -1, 2, -3, 4, -5, i64::MAX, i64::MIN] {
                    let want = (0..len).map(|at| {
                        let (row, column) = (at / shape[2] % shape[1], at % shape[2]);
                        let (row, column) = (row as i128, column as i128);
                        let kept = match upper {
                            true => column >= row + i128::from(k),
                            false => column <= row + i128::from(k),
                        };
                        if kept { at as f32 + 1.0 } else { 0.0 }
                    });
                    let want = floats(&shape, want);
                    let y = run(&Trilu::new(upper), &[x.clone(), scalar(k)]).unwrap();
                    assert_eq!(y[0], want, "{shape:?} {upper} {k}");
                    if k == 0 {
                        let y = run(&Trilu::new(upper), std::slice::from_ref(&x)).unwrap();
                        assert_eq!(y[0], want);
                    }
                }
            }
        }
    }

    #[test]
    fn elements_of_any_type() {
        let truth = |values: [bool; 4]| -> Tensor {
            let array = ndarray::arr1(&values).into_dyn();
            Tensor::from(array).reshape(&[2, 2]).unwrap()
        };
        let y = run(&Trilu::new(false), &[truth([true; 4])]).unwrap();
        assert_eq!(y[0], truth([true, false, true, true]));
        // What is cleared was no number.
        let x = floats(&[1, 2], [f32::NAN, -0.0]);
        let y = run(&Trilu::new(true), &[x, scalar(1)]).unwrap();
        assert_eq!(y[0], floats(&[1, 2], [0.0, -0.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (trilu, x) = (Trilu::new(true), fact(&[2, 2]));
        let k = |shape: &[usize]| Fact::new(DType::I64, shape);
        assert!(infer(&trilu, &[&x, &k(&[])]).is_ok() && infer(&trilu, &[&x, &k(&[1])]).is_ok());
        assert!(infer(&trilu, &[&x, &k(&[2])]).is_err());
        assert!(infer(&trilu, &[&x, &fact(&[])]).is_err());
        assert!(infer(&trilu, &[&fact(&[2])]).is_err());
        assert!(infer(&trilu, &[&x, &k(&[]), &x]).is_err());
    }

    #[test]
    fn gradients_go_back() {
        let x = doubles(&[2, 3, 4], 1, -1.0, 1.0);
        check_gradient(Trilu::new(true), &[x.clone(), scalar(1)], &[0]);
        check_gradient(Trilu::new(false), &[x], &[0]);
    }
}
