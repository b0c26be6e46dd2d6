//! Arrays made out of little: Shape, Size, ConstantOfShape, Range, EyeLike, OneHot, NonZero.

use std::sync::Arc;

use super::super::check::{
    at_most, axis, check_rank, constant, has_type, integers, read, required, sizes, write, wrong,
    wrong_attribute,
};
use super::super::{Fact, Facts, Operator, Step};
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, Tensor, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// What is known at planning has no step of its own.
const KNOWN: &str = "its output is constant";

/// The sizes of its input, or some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    start: i64,
    end: Option<i64>,
}

impl Shape {
    /// The sizes of the axes `start..end`, both counted from the end where they are negative.
    pub fn new(start: i64, end: Option<i64>) -> Self {
        Self { start, end }
    }
}

fn as_i64(size: usize) -> Result<i64> {
    i64::try_from(size).map_err(|_| crate::error::Error::Overflow { what: "a shape" })
}

impl Operator for Shape {
    fn name(&self) -> &'static str {
        "Shape"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let shape = &required(inputs, 0, "data")?.shape;
        let rank = as_i64(shape.len())?;
        let from_end = |at: i64| {
            let at = if at < 0 { at.saturating_add(rank) } else { at };
            usize::try_from(at.clamp(0, rank)).unwrap_or(0)
        };
        let (start, end) = (from_end(self.start), from_end(self.end.unwrap_or(rank)));
        let sizes = shape.get(start..end).unwrap_or(&[]).iter();
        let sizes = sizes
            .map(|&size| as_i64(size))
            .collect::<Result<Vec<_>>>()?;
        let sizes = ndarray::Array1::from(sizes).into_dyn();
        Ok(vec![Fact::constant(Arc::new(sizes.into()))])
    }

    fn step(&self, _inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Err(wrong("Shape", "folded", KNOWN))
    }
}

/// The number of elements of its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size;

impl Operator for Size {
    fn name(&self) -> &'static str {
        "Size"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let len = as_i64(product("data", &required(inputs, 0, "data")?.shape)?)?;
        let len = ndarray::arr0(len).into_dyn();
        Ok(vec![Fact::constant(Arc::new(len.into()))])
    }

    fn step(&self, _inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Err(wrong("Size", "folded", KNOWN))
    }
}

/// An array of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct ConstantOfShape {
    value: Tensor,
}

impl ConstantOfShape {
    /// Input: the shape. Filled with the one element of `value`.
    ///
    /// # Errors
    /// Another number of elements.
    pub fn new(value: impl Into<Tensor>) -> Result<Self> {
        let value = value.into();
        if value.len() != 1 {
            return Err(wrong_attribute("value", "one element", value.len()));
        }
        Ok(Self { value })
    }
}

impl Operator for ConstantOfShape {
    fn name(&self) -> &'static str {
        "ConstantOfShape"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let shape = sizes("input", &integers(required(inputs, 0, "input")?, "input")?)?;
        product("output", &shape)?;
        Ok(vec![Fact::new(self.value.dtype(), shape)])
    }

    fn step(&self, _inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(Filled {
            value: self.value.clone(),
        }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0]
    }
}

struct Filled {
    value: Tensor,
}

impl Step for Filled {
    fn run(
        &self,
        _inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.value.dtype(), T => {
            let value = self.value.array::<T>().and_then(|array| array.first());
            write::<T>(outputs, 0)?.fill(value.copied().unwrap_or_default());
            Ok(())
        })
    }
}

/// Numbers at equal distances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range;

/// Types that count.
trait Steps: Sized + Copy {
    /// ⌈(limit − start) / delta⌉, at least 0.
    fn count(start: Self, limit: Self, delta: Self) -> Option<usize>;
    /// start + index · delta
    fn at(start: Self, delta: Self, index: usize) -> Self;
}

macro_rules! float_steps {
    ($($type:ty)*) => {$(
        impl Steps for $type {
            fn count(start: Self, limit: Self, delta: Self) -> Option<usize> {
                let count = ((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil();
                // From 2⁶³ on there is no array; NaN is none either.
                (delta != 0.0 && count < 9.2e18).then_some(count.max(0.0) as usize)
            }
            fn at(start: Self, delta: Self, index: usize) -> Self {
                start + index as Self * delta
            }
        }
    )*};
}
float_steps!(f32 f64);

macro_rules! integer_steps {
    ($($type:ty)*) => {$(
        impl Steps for $type {
            fn count(start: Self, limit: Self, delta: Self) -> Option<usize> {
                let (start, limit, delta) = (i128::from(start), i128::from(limit), i128::from(delta));
                let (reach, delta) = if delta < 0 { (start - limit, -delta) } else { (limit - start, delta) };
                if delta == 0 {
                    return None;
                }
                usize::try_from((reach.max(0) + delta - 1) / delta).ok()
            }
            fn at(start: Self, delta: Self, index: usize) -> Self {
                // Between start and limit, so that nothing wraps in the end.
                start.wrapping_add((index as Self).wrapping_mul(delta))
            }
        }
    )*};
}
integer_steps!(i16 i32 i64);

/// `$body` with `$T` as the type that `$dtype` names, one of those that count.
macro_rules! with_steps {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            _ => {
                type $T = i64;
                $body
            }
        }
    };
}

impl Range {
    /// Start, limit and distance.
    fn operands<'a>(&self, inputs: &Facts<'a>) -> Result<[&'a Fact; 3]> {
        const TYPES: [DType; 5] = [DType::F32, DType::F64, DType::I16, DType::I32, DType::I64];
        at_most(inputs, 3)?;
        let names = ["start", "limit", "delta"];
        let mut facts = [required(inputs, 0, "start")?; 3];
        has_type(facts[0], "start", &TYPES)?;
        for (index, name) in names.into_iter().enumerate() {
            facts[index] = required(inputs, index, name)?;
            has_type(facts[index], name, &[facts[0].dtype])?;
            if product(name, &facts[index].shape)? != 1 {
                let got = format!("of shape {:?}", facts[index].shape);
                return Err(wrong(name, "one element", got));
            }
        }
        Ok(facts)
    }
}

impl Operator for Range {
    fn name(&self) -> &'static str {
        "Range"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let facts = self.operands(inputs)?;
        with_steps!(facts[0].dtype, T => {
            let mut values = [T::default(); 3];
            for (value, fact) in values.iter_mut().zip(facts) {
                let tensor = constant(fact, "start, limit and delta")?;
                let first = tensor.array::<T>().and_then(|array| array.first());
                *value = first.copied().unwrap_or_default();
            }
            let [start, limit, delta] = values;
            let count = T::count(start, limit, delta);
            let count = count.and_then(|count| product("output", &[count, size_of::<T>()]).is_ok().then_some(count));
            let count = count.ok_or_else(|| wrong(
                "delta",
                "one that leads from start to limit",
                format!("{delta} between {start} and {limit}"),
            ))?;
            Ok(vec![Fact::new(facts[0].dtype, [count])])
        })
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let dtype = self.operands(inputs)?[0].dtype;
        Ok(Box::new(Counted { dtype }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }
}

struct Counted {
    dtype: DType,
}

impl Step for Counted {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_steps!(self.dtype, T => {
            let first = |index| -> Result<T> {
                let values: &[T] = read(inputs, index)?;
                values.first().copied().ok_or_else(|| wrong("start", "one element", "none"))
            };
            let (start, delta) = (first(0)?, first(2)?);
            for (index, slot) in write::<T>(outputs, 0)?.iter_mut().enumerate() {
                *slot = T::at(start, delta, index);
            }
            Ok(())
        })
    }
}

/// Ones on a diagonal of a matrix, zeros elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EyeLike {
    dtype: Option<DType>,
    diagonal: i64,
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
    axis: i64,
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
    fn shapes_need_no_elements() {
        let x = fact(&[2, 3, 4]);
        for (start, end, expected) in [
            (0, None, &[2, 3, 4][..]),
            (-1, None, &[4]),
            (1, Some(-1), &[3]),
            (-10, Some(10), &[2, 3, 4]),
            (2, Some(1), &[]),
            (i64::MAX, Some(i64::MIN), &[]),
        ] {
            assert_eq!(known(&Shape::new(start, end), &[&x]), int(expected));
        }
        let len: Tensor = ndarray::arr0(24i64).into_dyn().into();
        assert_eq!(known(&Size, &[&x]), len);
        assert_eq!(known(&Shape::new(0, None), &[&fact(&[])]), int(&[]));
    }

    #[test]
    fn one_value_fills_a_shape() {
        let ones = ConstantOfShape::new(floats(&[1], [1.0])).unwrap();
        assert_eq!(
            run(&ones, &[int(&[2, 1])]).unwrap()[0],
            floats(&[2, 1], [1.0; 2])
        );
        assert_eq!(run(&ones, &[int(&[])]).unwrap()[0], floats(&[], [1.0]));
        assert_eq!(run(&ones, &[int(&[0])]).unwrap()[0], floats(&[0], []));
        assert!(ConstantOfShape::new(floats(&[2], [1.0; 2])).is_err());
        for shape in [&[-1][..], &[1 << 40, 1 << 40], &[1; 65]] {
            assert!(infer(&ones, &[&list(shape)]).is_err());
        }
    }

    #[test]
    fn ranges_of_integers_and_floats() {
        let one = |value: i64| int(&[value]).reshape(&[]).unwrap();
        let range = |start, limit, delta| run(&Range, &[one(start), one(limit), one(delta)]);
        assert_eq!(range(1, 8, 3).unwrap()[0], int(&[1, 4, 7]));
        assert_eq!(range(10, 4, -2).unwrap()[0], int(&[10, 8, 6]));
        assert_eq!(range(4, 4, 1).unwrap()[0], int(&[]));
        assert_eq!(range(4, 9, -1).unwrap()[0], int(&[]));
        assert_eq!(
            range(i64::MIN, i64::MAX, i64::MAX).unwrap()[0],
            int(&[i64::MIN, -1, i64::MAX - 1])
        );
        assert!(range(0, 1, 0).is_err());
        assert!(range(i64::MIN, i64::MAX, 1).is_err());
        let float = |value| floats(&[], [value]);
        let range = |start, limit, delta| run(&Range, &[float(start), float(limit), float(delta)]);
        assert_eq!(
            range(0.0, 1.0, 0.4).unwrap()[0],
            floats(&[3], [0.0, 0.4, 0.8])
        );
        for (limit, delta) in [
            (f32::NAN, 1.0),
            (1.0, 0.0),
            (f32::INFINITY, 1.0),
            (1.0, f32::NAN),
        ] {
            assert!(range(0.0, limit, delta).is_err());
        }
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
