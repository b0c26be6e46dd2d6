//! LayerNormalization and RmsNormalization: the elements from an axis on, together.
//!
//! ```text
//! x [rows, columns]      columns = the product of the sizes from the axis on
//! Layer   y = (x − mean) / sqrt(variance + ε) · scale + bias          mean and 1 / sqrt(…) of each row as well
//! RMS     y = x / sqrt(mean of x² + ε) · scale
//! ```
//!
//! Scale and bias are broadcast to x. Where they have the sizes of x from the axis on they run along every row.

use super::super::check::{at_most, axis, has_type, optional, read, required, write, wrong};
use super::super::strided::{GRAIN, strides};
use super::super::{Fact, Facts, Operator, Step};
use super::{FLOATS, check_epsilon, itself, squared, sum};
use crate::element::Element;
use crate::error::{Result, check_len, product};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::for_each_piece;
use crate::plan::PlanOptions;

/// Mean 0 and variance 1 of the elements from an axis on.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormalization {
    pub(crate) axis: i64,
    pub(crate) epsilon: f32,
    outputs: usize,
}

impl LayerNormalization {
    /// Inputs: data, scale, bias, which may be left out. The first one, two or three `outputs`: y, the mean and
    /// 1 / deviation of every row.
    pub fn new(axis: i64, epsilon: f32, outputs: usize) -> Self {
        Self {
            axis,
            epsilon,
            outputs,
        }
    }
}

/// Mean square 1 of the elements from an axis on.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNormalization {
    pub(crate) axis: i64,
    pub(crate) epsilon: f32,
}

impl RmsNormalization {
    /// Inputs: data, scale.
    pub fn new(axis: i64, epsilon: f32) -> Self {
        Self { axis, epsilon }
    }
}

/// What the two have in common.
fn plan(inputs: &Facts, from: i64, epsilon: f32, centred: bool) -> Result<Normalizing> {
    check_epsilon(epsilon)?;
    let x = required(inputs, 0, "X")?;
    has_type(x, "X", &FLOATS)?;
    let at = axis("axis", from, x.shape.len())?;
    let parameter = |fact: &Fact, name| -> Result<Parameter> {
        has_type(fact, name, &[x.dtype])?;
        Parameter::new(&fact.shape, &x.shape, at, name)
    };
    Ok(Normalizing {
        dtype: x.dtype,
        columns: product("X", &x.shape[at..])?,
        epsilon: epsilon.into(),
        centred,
        scale: parameter(required(inputs, 1, "Scale")?, "Scale")?,
        bias: match optional(inputs, 2) {
            Some(fact) => Some(parameter(fact, "B")?),
            None => None,
        },
    })
}

impl Operator for LayerNormalization {
    fn name(&self) -> &'static str {
        "LayerNormalization"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        plan(inputs, self.axis, self.epsilon, true)?;
        if !(1..=3).contains(&self.outputs) {
            let got = self.outputs.to_string();
            return Err(wrong("the number of outputs", "1 to 3", got));
        }
        let x = required(inputs, 0, "X")?;
        let at = axis("axis", self.axis, x.shape.len())?;
        let mut rows = x.shape.clone();
        rows[at..].fill(1);
        let mut facts = vec![Fact::new(x.dtype, x.shape.clone())];
        facts.resize(self.outputs, Fact::new(DType::F32, rows));
        Ok(facts)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(plan(inputs, self.axis, self.epsilon, true)?))
    }
}

impl Operator for RmsNormalization {
    fn name(&self) -> &'static str {
        "RMSNormalization"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        plan(inputs, self.axis, self.epsilon, false)?;
        let x = required(inputs, 0, "X")?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(plan(inputs, self.axis, self.epsilon, false)?))
    }
}

/// How an input is broadcast to x.
enum Parameter {
    /// One for each column.
    Columns,
    /// Length and stride of the axes of x.
    Strides(Vec<(usize, usize)>),
}

impl Parameter {
    fn new(shape: &[usize], x: &[usize], at: usize, name: &'static str) -> Result<Self> {
        if shape == &x[at..] {
            return Ok(Self::Columns);
        }
        let fits = |new: usize| {
            let mut pairs = shape.iter().zip(&x[new..]);
            pairs.all(|(&size, &length)| size == 1 || size == length)
        };
        let new = x.len().checked_sub(shape.len());
        let Some(new) = new.filter(|&new| fits(new)) else {
            let expected = format!("one that can be repeated to {x:?}");
            return Err(wrong(name, expected, format!("of shape {shape:?}")));
        };
        let mut axes: Vec<(usize, usize)> = x.iter().map(|&length| (length, 0)).collect();
        for ((axis, &size), stride) in axes[new..].iter_mut().zip(shape).zip(strides(shape)?) {
            if size != 1 {
                axis.1 = stride.unsigned_abs();
            }
        }
        Ok(Self::Strides(axes))
    }

    /// Where the element for element number `flat` of x lies, which stands in column `column`.
    fn at(&self, flat: usize, column: usize) -> usize {
        let Self::Strides(axes) = self else {
            return column;
        };
        let (mut rest, mut at) = (flat, 0);
        for &(length, stride) in axes.iter().rev() {
            at += rest % length * stride;
            rest /= length;
        }
        at
    }
}

struct Normalizing {
    dtype: DType,
    columns: usize,
    epsilon: f64,
    /// Whether the mean is subtracted.
    centred: bool,
    scale: Parameter,
    bias: Option<Parameter>,
}

impl Step for Normalizing {
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

impl Normalizing {
    fn normalize<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (x, scale): (&[T], &[T]) = (read(inputs, 0)?, read(inputs, 1)?);
        let bias = match &self.bias {
            Some(parameter) => Some((parameter, read::<T>(inputs, 2)?)),
            None => None,
        };
        let Some((first, rest)) = outputs.split_first_mut() else {
            return Err(wrong("Y", "a buffer", "none"));
        };
        let y: &mut [T] = write(std::slice::from_mut(first), 0)?;
        check_len("output", x.len(), y.len())?;
        if y.is_empty() {
            // The mean of no elements is 0/0.
            return (0..rest.len()).try_for_each(|index| {
                write::<f32>(rest, index)?.fill(f32::NAN);
                Ok(())
            });
        }
        let step = GRAIN.div_ceil(self.columns);
        for_each_piece(y, step * self.columns, &|piece, y| {
            for (row, y) in y.chunks_exact_mut(self.columns).enumerate() {
                let first = (piece * step + row) * self.columns;
                let x = &x[first..][..self.columns];
                let row = Row {
                    plan: self,
                    x,
                    y,
                    first,
                    scale,
                    bias,
                };
                compiled(Isa::selected(), row);
            }
        });
        if !rest.is_empty() {
            for (row, x) in x.chunks_exact(self.columns).enumerate() {
                let (mean, slope) = self.statistics(x);
                for (index, value) in [mean, slope].into_iter().enumerate().take(rest.len()) {
                    write::<f32>(rest, index)?[row] = value as f32;
                }
            }
        }
        Ok(())
    }

    /// What is subtracted from a row, and what that is multiplied with.
    #[inline(always)]
    fn statistics<T: Element>(&self, x: &[T]) -> (f64, f64) {
        let count = x.len() as f64;
        let mean = if self.centred {
            sum(x, T::ZERO, itself) / count
        } else {
            0.0
        };
        let centre = T::from_f64(mean);
        let squares = sum(x, centre, squared);
        (mean, (squares / count + self.epsilon).sqrt().recip())
    }
}

/// A row that begins with element `first`.
struct Row<'a, T> {
    plan: &'a Normalizing,
    x: &'a [T],
    y: &'a mut [T],
    first: usize,
    scale: &'a [T],
    bias: Option<(&'a Parameter, &'a [T])>,
}

impl<T: Element> Loop for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self {
            plan,
            x,
            y,
            first,
            scale,
            bias,
        } = self;
        let (mean, slope) = plan.statistics(x);
        let (mean, slope) = (T::from_f64(mean), T::from_f64(slope));
        match (&plan.scale, bias) {
            (Parameter::Columns, Some((Parameter::Columns, bias))) => {
                for (((y, &x), &scale), &bias) in y.iter_mut().zip(x).zip(scale).zip(bias) {
                    *y = (x - mean) * slope * scale + bias;
                }
            }
            (Parameter::Columns, None) => {
                for ((y, &x), &scale) in y.iter_mut().zip(x).zip(scale) {
                    *y = (x - mean) * slope * scale;
                }
            }
            (by, bias) => {
                for (column, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                    let at = first + column;
                    *y = (x - mean) * slope * scale[by.at(at, column)];
                    if let Some((by, bias)) = bias {
                        *y += bias[by.at(at, column)];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{fact, floats, infer, run};
    use super::*;

    #[test]
    fn rows_get_mean_0_and_variance_1() {
        let x = floats(&[2, 1, 3], [1.0, 2.0, 3.0, -2.0, -2.0, 4.0]);
        let (scale, bias) = (
            floats(&[3], [1.0, 2.0, 1.0]),
            floats(&[3], [0.0, 0.0, 10.0]),
        );
        let norm = LayerNormalization::new(-1, 0.0, 3);
        let y = run(&norm, &[x, scale, bias]).unwrap();
        let (wide, slope) = (1.5f32.sqrt(), 8.0f32.sqrt().recip());
        let expected = [
            -wide,
            0.0,
            wide + 10.0,
            -2.0 * slope,
            -4.0 * slope,
            4.0 * slope + 10.0,
        ];
        for (got, expected) in y[0].array::<f32>().unwrap().iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
        }
        assert_eq!(y[1], floats(&[2, 1, 1], [2.0, 0.0]));
        assert_eq!(y[2].shape(), [2, 1, 1]);
    }

    #[test]
    fn parameters_are_broadcast() {
        let x = floats(&[2, 2], [1.0, -1.0, 3.0, -3.0]);
        let rms = RmsNormalization::new(1, 0.0);
        let norm = |scale| run(&rms, &[x.clone(), scale]).unwrap().remove(0);
        let y = norm(floats(&[2, 1], [1.0, 5.0]));
        assert_eq!(y, floats(&[2, 2], [1.0, -1.0, 5.0, -5.0]));
        let y = norm(floats(&[], [2.0]));
        assert_eq!(y, floats(&[2, 2], [2.0, -2.0, 2.0, -2.0]));
        let y = norm(floats(&[2], [1.0, 0.5]));
        assert_eq!(y, floats(&[2, 2], [1.0, -0.5, 1.0, -0.5]));
        let x = fact(&[2, 2]);
        for shape in [&[3][..], &[1, 2, 2], &[2, 3]] {
            assert!(infer(&rms, &[&x, &fact(shape)]).is_err());
        }
        let outside = RmsNormalization::new(2, 0.0);
        assert!(infer(&outside, &[&x, &fact(&[2])]).is_err());
        let outputs = LayerNormalization::new(0, 0.0, 4);
        assert!(infer(&outputs, &[&x, &fact(&[2])]).is_err());
    }

    #[test]
    fn empty_rows() {
        let norm = LayerNormalization::new(1, 1e-5, 2);
        let y = run(&norm, &[floats(&[2, 0], []), floats(&[0], [])]).unwrap();
        assert_eq!((y[0].shape(), y[1].shape()), (&[2, 0][..], &[2, 1][..]));
        let y = run(&norm, &[floats(&[0, 3], []), floats(&[3], [1.0; 3])]).unwrap();
        assert_eq!(y[1].shape(), [0, 1]);
    }
}
