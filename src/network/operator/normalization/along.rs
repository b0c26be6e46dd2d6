//! LpNormalization, along one axis, and MeanVarianceNormalization, over any.
//!
//! ```text
//! Lp     y = x / (Σ |x|ᵖ)^(1/p), p = 1 or 2           0 where the norm is 0
//! MVN    y = (x − mean) / (deviation + 10⁻⁹)
//! ```

use std::sync::Arc;

use super::super::check::{
    at_most, axes, axis, has_type, optional, read, required, turned_axis, write, wrong_attribute,
};
use super::super::strided::strides;
use super::super::{Fact, Facts, Operator, Step};
use super::{COLUMNS, FLOATS, column_sums, sum};
use crate::element::Element;
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// Norm 1 along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LpNormalization {
    pub(crate) axis: i64,
    pub(crate) p: i64,
}

impl LpNormalization {
    /// Along `axis`, by the sum of the absolute values (p = 1) or the root of the sum of squares (p = 2).
    pub fn new(axis: i64, p: i64) -> Self {
        Self { axis, p }
    }
}

impl Operator for LpNormalization {
    fn name(&self) -> &'static str {
        "LpNormalization"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let input = required(inputs, 0, "input")?;
        has_type(input, "input", &FLOATS)?;
        axis("axis", self.axis, input.shape.len())?;
        if !(1..=2).contains(&self.p) {
            return Err(wrong_attribute("p", "1 or 2", self.p));
        }
        Ok(vec![Fact::new(input.dtype, input.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let input = required(inputs, 0, "input")?;
        let at = axis("axis", self.axis, input.shape.len())?;
        Ok(Box::new(Unit {
            dtype: input.dtype,
            length: input.shape[at],
            inner: product("input", &input.shape[at + 1..])?,
            squares: self.p == 2,
        }))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let rank = optional(inputs, 0)?.shape.len();
        let at = turned_axis(axis("axis", self.axis, rank).ok()?, rank);
        Some(Arc::new(Self::new(at as i64, self.p)))
    }
}

struct Unit {
    dtype: DType,
    length: usize,
    inner: usize,
    squares: bool,
}

impl Step for Unit {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.normalize::<f64>(inputs, outputs),
            _ => self.normalize::<f32>(inputs, outputs),
        }
    }
}

impl Unit {
    fn normalize<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (x, y): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
        check_len("output", x.len(), y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let term = |x: T| if self.squares { x * x } else { x.abs() };
        let norm = |sum: f64| T::from_f64(if self.squares { sum.sqrt() } else { sum });
        let over = |x: T, norm: T| if norm == T::ZERO { T::ZERO } else { x / norm };
        let inner = self.inner;
        let parts = y.chunks_exact_mut(self.length * inner);
        for (y, x) in parts.zip(x.chunks_exact(self.length * inner)) {
            if inner == 1 {
                let norm = norm(sum(x, T::ZERO, |x, _| term(x)));
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = over(x, norm));
                continue;
            }
            for begin in (0..inner).step_by(COLUMNS) {
                let end = inner.min(begin + COLUMNS);
                let rows = x.chunks_exact(inner).map(|row| &row[begin..end]);
                let norms =
                    column_sums(rows.clone(), &[T::ZERO; COLUMNS], |x, _| term(x)).map(norm);
                for (y, x) in y.chunks_exact_mut(inner).zip(rows) {
                    for ((y, &x), &norm) in y[begin..end].iter_mut().zip(x).zip(&norms) {
                        *y = over(x, norm);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Mean 0 and variance 1 over some axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeanVarianceNormalization {
    pub(crate) axes: Vec<i64>,
}

impl MeanVarianceNormalization {
    /// Over `axes`.
    pub fn new(axes: impl Into<Vec<i64>>) -> Self {
        Self { axes: axes.into() }
    }
}

impl Operator for MeanVarianceNormalization {
    fn name(&self) -> &'static str {
        "MeanVarianceNormalization"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let x = required(inputs, 0, "X")?;
        has_type(x, "X", &FLOATS)?;
        axes("axes", &self.axes, x.shape.len())?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let x = required(inputs, 0, "X")?;
        let over = axes("axes", &self.axes, x.shape.len())?;
        let mut step = Centring {
            dtype: x.dtype,
            over: Vec::new(),
            kept: Vec::new(),
        };
        for (axis, (&length, stride)) in x.shape.iter().zip(strides(&x.shape)?).enumerate() {
            let list = match over.contains(&axis) {
                true => &mut step.over,
                false => &mut step.kept,
            };
            list.push((length, stride.unsigned_abs()));
        }
        Ok(Box::new(step))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let rank = optional(inputs, 0)?.shape.len();
        let over = axes("axes", &self.axes, rank).ok()?.into_iter();
        let over = over.map(|axis| turned_axis(axis, rank) as i64);
        Some(Arc::new(Self::new(Vec::from_iter(over))))
    }
}

/// Lengths and strides of the axes that are normalised over, and of the others.
struct Centring {
    dtype: DType,
    over: Vec<(usize, usize)>,
    kept: Vec<(usize, usize)>,
}

impl Step for Centring {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.normalize::<f64>(inputs, outputs),
            _ => self.normalize::<f32>(inputs, outputs),
        }
    }
}

impl Centring {
    fn normalize<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (x, y): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
        check_len("output", x.len(), y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let count: usize = self.over.iter().map(|axis| axis.0).product();
        let count = count as f64;
        visit(&self.kept, 0, &mut |first| {
            let mut total = 0.0;
            visit(&self.over, first, &mut |at| total += x[at].to_f64());
            let mean = total / count;
            let mut squares = 0.0;
            visit(&self.over, first, &mut |at| {
                squares += (x[at].to_f64() - mean) * (x[at].to_f64() - mean);
            });
            let deviation = (squares / count).sqrt() + 1e-9;
            visit(&self.over, first, &mut |at| {
                y[at] = T::from_f64((x[at].to_f64() - mean) / deviation);
            });
        });
        Ok(())
    }
}

/// Calls `body` with the place of every element along `axes`.
fn visit(axes: &[(usize, usize)], first: usize, body: &mut impl FnMut(usize)) {
    let Some((&(length, stride), inner)) = axes.split_first() else {
        return body(first);
    };
    for index in 0..length {
        visit(inner, first + index * stride, body);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{fact, floats, infer, run};
    use super::*;

    #[test]
    fn norms_become_one() {
        let x = floats(&[2, 2, 2], [3.0, 0.0, -4.0, 0.0, 5.0, 1.0, 12.0, -1.0]);
        let norm = |axis, p| {
            run(&LpNormalization::new(axis, p), std::slice::from_ref(&x))
                .unwrap()
                .remove(0)
        };
        let root = 0.5f32.sqrt();
        let y = norm(1, 2);
        let expected = [0.6, 0.0, -0.8, 0.0, 5.0 / 13.0, root, 12.0 / 13.0, -root];
        for (got, expected) in y.array::<f32>().unwrap().iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
        }
        let y = norm(-1, 1);
        let expected = [
            1.0,
            0.0,
            -1.0,
            0.0,
            5.0 / 6.0,
            1.0 / 6.0,
            12.0 / 13.0,
            -1.0 / 13.0,
        ];
        assert_eq!(y, floats(&[2, 2, 2], expected));
        assert!(infer(&LpNormalization::new(0, 3), &[&fact(&[2])]).is_err());
        assert!(infer(&LpNormalization::new(1, 2), &[&fact(&[2])]).is_err());
        let none = run(&LpNormalization::new(0, 2), &[floats(&[0, 2], [])]).unwrap();
        assert!(none[0].is_empty());
    }

    #[test]
    fn mean_and_variance_over_any_axes() {
        let x = floats(&[2, 1, 2], [1.0, 10.0, 3.0, 10.0]);
        let norm = |axes: &[i64]| {
            let norm = MeanVarianceNormalization::new(axes);
            run(&norm, std::slice::from_ref(&x)).unwrap().remove(0)
        };
        assert_eq!(norm(&[0]), floats(&[2, 1, 2], [-1.0, 0.0, 1.0, 0.0]));
        assert_eq!(norm(&[-1]), floats(&[2, 1, 2], [-1.0, 1.0, -1.0, 1.0]));
        // Nothing is normalised over no axes: every element is its own mean.
        assert_eq!(norm(&[]), floats(&[2, 1, 2], [0.0; 4]));
        let norm = MeanVarianceNormalization::new([0, 3]);
        assert!(infer(&norm, &[&fact(&[2, 2])]).is_err());
        let turned = MeanVarianceNormalization::new([0, 2, 3]);
        let turned = turned.channels_last(&[Some(&fact(&[1, 2, 3, 4]))]).unwrap();
        let turned: &dyn std::any::Any = &*turned;
        let expected = MeanVarianceNormalization::new([0, 1, 2]);
        assert_eq!(turned.downcast_ref(), Some(&expected));
    }
}
