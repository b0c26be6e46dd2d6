//! Where something is: EyeLike, OneHot, NonZero.

use std::sync::Arc;

use super::super::check::{
    at_most, axis, check_rank, constant, has_type, read, required, write, wrong,
};
use super::super::{Fact, Facts, Operator, Step};
use super::make::{KNOWN, as_i64};
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, Tensor, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// Ones on a diagonal of a matrix, zeros elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EyeLike {
    pub(crate) dtype: Option<DType>,
    pub(crate) diagonal: i64,
}

impl EyeLike {
    /// Of the shape of the input, and of its type unless there is another; `diagonal` lies above the main one, or,
    /// negative, below it.
    pub fn new(dtype: Option<DType>, diagonal: i64) -> Self {
        Self { dtype, diagonal }
    }
}

impl Operator for EyeLike {
    fn name(&self) -> &'static str {
        "EyeLike"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let input = required(inputs, 0, "input")?;
        if input.shape.len() != 2 {
            return Err(wrong(
                "input",
                "a matrix",
                format!("of shape {:?}", input.shape),
            ));
        }
        let dtype = self.dtype.unwrap_or(input.dtype);
        Ok(vec![Fact::new(dtype, input.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let input = required(inputs, 0, "input")?;
        Ok(Box::new(Diagonal {
            dtype: self.dtype.unwrap_or(input.dtype),
            columns: input.shape[1],
            diagonal: self.diagonal,
        }))
    }
}

struct Diagonal {
    dtype: DType,
    columns: usize,
    diagonal: i64,
}

impl Step for Diagonal {
    fn run(
        &self,
        _inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let column = |row: usize| {
            let row = i64::try_from(row).ok()?;
            let column = usize::try_from(row.checked_add(self.diagonal)?).ok()?;
            (column < self.columns).then_some(column)
        };
        macro_rules! ones {
            ($($variant:ident $one:expr;)*) => {
                match outputs.first_mut() {
                    $(Some(ViewMut::$variant(output)) => {
                        output.fill(Default::default());
                        for (row, line) in output.chunks_exact_mut(self.columns.max(1)).enumerate() {
                            if let Some(column) = column(row) {
                                line[column] = $one;
                            }
                        }
                    })*
                    None => return Err(wrong("output", self.dtype.name(), "none")),
                }
            };
        }
        ones! {
            F32 1.0; F64 1.0; F16 half::f16::ONE; Bf16 half::bf16::ONE; I8 1; I16 1; I32 1; I64 1;
            U8 1; U16 1; U32 1; U64 1; Bool true;
        }
        Ok(())
    }
}

/// A new axis on which one place has one value and all others another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneHot {
    pub(crate) axis: i64,
}

impl OneHot {
    /// Inputs: indices, depth, values (off and on). The new axis is `axis` of the output.
    pub fn new(axis: i64) -> Self {
        Self { axis }
    }

    /// Sizes before the new axis, on it, and behind it.
    fn sizes(&self, inputs: &Facts) -> Result<(Vec<usize>, usize, Vec<usize>)> {
        const NUMBERS: [DType; 10] = [
            DType::I64,
            DType::I32,
            DType::I16,
            DType::I8,
            DType::U8,
            DType::U16,
            DType::U32,
            DType::U64,
            DType::F32,
            DType::F64,
        ];
        at_most(inputs, 3)?;
        let (indices, depth) = (
            required(inputs, 0, "indices")?,
            required(inputs, 1, "depth")?,
        );
        has_type(indices, "indices", &NUMBERS)?;
        has_type(depth, "depth", &NUMBERS)?;
        let values = required(inputs, 2, "values")?;
        super::super::check::has_shape(values, "values", &[2])?;
        let depths = numbers(constant(depth, "depth")?.view());
        let [depth] = depths[..] else {
            return Err(wrong(
                "depth",
                "one element",
                format!("{} elements", depths.len()),
            ));
        };
        // The largest size that is a float exactly.
        if !(0.0..9_007_199_254_740_992.0).contains(&depth) {
            return Err(wrong("depth", "a size", depth.to_string()));
        }
        check_rank("indices", indices.shape.len() + 1)?;
        let at = axis("axis", self.axis, indices.shape.len() + 1)?;
        let (before, behind) = indices.shape.split_at(at);
        Ok((before.to_vec(), depth as usize, behind.to_vec()))
    }
}

/// Numbers of any type, as floats.
fn numbers(view: View) -> Vec<f64> {
    macro_rules! as_floats {
        ($($variant:ident)*) => {
            match view {
                $(View::$variant(values) => values.iter().map(|&value| value as f64).collect(),)*
                _ => Vec::new(),
            }
        };
    }
    as_floats!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64)
}

impl Operator for OneHot {
    fn name(&self) -> &'static str {
        "OneHot"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let (before, depth, behind) = self.sizes(inputs)?;
        let shape = [&before[..], &[depth], &behind].concat();
        product("output", &shape)?;
        Ok(vec![Fact::new(required(inputs, 2, "values")?.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (_, depth, behind) = self.sizes(inputs)?;
        Ok(Box::new(Hot {
            dtype: required(inputs, 2, "values")?.dtype,
            depth,
            inner: product("indices", &behind)?,
        }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

struct Hot {
    dtype: DType,
    depth: usize,
    inner: usize,
}

impl Step for Hot {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let indices = inputs.first().copied().flatten();
        let indices = numbers(indices.ok_or_else(|| wrong("indices", "a buffer", "none"))?);
        with_type!(self.dtype, T => {
            let (values, output): (&[T], &mut [T]) = (read(inputs, 2)?, write(outputs, 0)?);
            let &[off, on] = values else {
                return Err(wrong("values", "two elements", values.len().to_string()));
            };
            check_len("output", indices.len() * self.depth, output.len())?;
            output.fill(off);
            for (flat, &index) in indices.iter().enumerate() {
                let depth = self.depth as f64;
                let at = if index < 0.0 { index + depth } else { index };
                // Others are on nowhere.
                if at >= 0.0 && at < depth && at.fract() == 0.0 {
                    let (row, column) = (flat / self.inner, flat % self.inner);
                    output[(row * self.depth + at as usize) * self.inner + column] = on;
                }
            }
            Ok(())
        })
    }
}

/// Where its input, which must be constant, is not zero: a column of indices for each element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NonZero;

/// The positions of the elements that are not zero.
fn non_zeros(view: View) -> Vec<usize> {
    with_type!(view.dtype(), T => {
        let values: &[T] = <T as crate::network::tensor::Scalar>::slice(view).unwrap_or_default();
        let found = values.iter().enumerate().filter(|(_, value)| **value != T::default());
        found.map(|(at, _)| at).collect()
    })
}

impl Operator for NonZero {
    fn name(&self) -> &'static str {
        "NonZero"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let input = required(inputs, 0, "X")?;
        let found = non_zeros(constant(input, "X")?.view());
        let mut table = Vec::with_capacity(found.len() * input.shape.len());
        for axis in 0..input.shape.len() {
            let inner = product("X", &input.shape[axis + 1..])?;
            for &at in &found {
                table.push(as_i64(at / inner % input.shape[axis])?);
            }
        }
        let table = Tensor::from(ndarray::Array1::from(table).into_dyn());
        let table = table.reshape(&[input.shape.len(), found.len()])?;
        Ok(vec![Fact::constant(Arc::new(table))])
    }

    fn step(&self, _inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Err(wrong("NonZero", "folded", KNOWN))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{
        constant as list, fact, floats, infer, integers as int, run,
    };
    use super::*;

    /// The constant that an operator gives.
    fn known(operator: &dyn Operator, inputs: &[&Fact]) -> Tensor {
        let facts = infer(operator, inputs).unwrap();
        facts[0].value.as_deref().unwrap().clone()
    }

    #[test]
    fn diagonals() {
        let x = floats(&[2, 3], [9.0; 6]);
        let eye = |k| {
            run(&EyeLike::new(None, k), std::slice::from_ref(&x))
                .unwrap()
                .remove(0)
        };
        assert_eq!(eye(0), floats(&[2, 3], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]));
        assert_eq!(eye(2), floats(&[2, 3], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]));
        assert_eq!(eye(-1), floats(&[2, 3], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]));
        assert_eq!(eye(i64::MAX), floats(&[2, 3], [0.0; 6]));
        let y = run(&EyeLike::new(Some(DType::Bool), 0), &[floats(&[0, 3], [])]).unwrap();
        assert_eq!((y[0].dtype(), y[0].shape()), (DType::Bool, &[0, 3][..]));
        assert!(infer(&EyeLike::new(None, 0), &[&fact(&[2])]).is_err());
    }

    #[test]
    fn one_place_is_on() {
        let values = floats(&[2], [5.0, 7.0]);
        let hot = |axis, indices: Tensor| {
            run(&OneHot::new(axis), &[indices, int(&[3]), values.clone()])
                .unwrap()
                .remove(0)
        };
        let rows = [5.0, 7.0, 5.0, 5.0, 5.0, 7.0, 5.0, 5.0, 5.0];
        assert_eq!(hot(-1, int(&[1, -1, 3])), floats(&[3, 3], rows));
        let columns = [5.0, 5.0, 7.0, 5.0, 5.0, 7.0];
        assert_eq!(hot(0, floats(&[2], [1.0, 2.0])), floats(&[3, 2], columns));
        let x = list(&[0]);
        let (three, pair) = (list(&[3]), fact(&[2]));
        assert!(infer(&OneHot::new(3), &[&x, &three, &pair]).is_err());
        assert!(infer(&OneHot::new(0), &[&x, &list(&[-3]), &pair]).is_err());
        assert!(infer(&OneHot::new(0), &[&x, &three, &fact(&[3])]).is_err());
        assert!(infer(&OneHot::new(0), &[&x, &list(&[1 << 52]), &fact(&[2])]).is_ok());
    }

    #[test]
    fn where_a_constant_is_not_zero() {
        let x = Fact::constant(Arc::new(floats(&[2, 2], [1.0, 0.0, f32::NAN, -1.0])));
        let places = int(&[0, 1, 1, 0, 0, 1]).reshape(&[2, 3]).unwrap();
        assert_eq!(known(&NonZero, &[&x]), places);
        let scalar = Fact::constant(Arc::new(floats(&[], [1.0])));
        assert_eq!(known(&NonZero, &[&scalar]).shape(), [0, 1]);
        assert!(infer(&NonZero, &[&fact(&[2])]).is_err());
    }
}
