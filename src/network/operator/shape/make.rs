//! Arrays made out of little: Shape, Size, ConstantOfShape, Range.

use std::sync::Arc;

use super::super::check::{
    at_most, constant, has_type, integers, read, required, sizes, write, wrong, wrong_attribute,
};
use super::super::{Fact, Facts, Operator, Step};
use crate::error::{Result, product};
use crate::network::tensor::{DType, Tensor, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// What is known at planning has no step of its own.
pub(super) const KNOWN: &str = "its output is constant";

/// The sizes of its input, or some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub(crate) start: i64,
    pub(crate) end: Option<i64>,
}

impl Shape {
    /// The sizes of the axes `start..end`, both counted from the end where they are negative.
    pub fn new(start: i64, end: Option<i64>) -> Self {
        Self { start, end }
    }
}

pub(super) fn as_i64(size: usize) -> Result<i64> {
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
    pub(crate) value: Tensor,
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
}
