//! What operators ask of their inputs and attributes, with the errors that name them.

use super::{Fact, Facts};
use crate::error::{Error, Result};
use crate::network::tensor::{DType, Scalar, Tensor, View, ViewMut};

/// Most axes of a value. A file of some bytes can ask for a shape of any number of them.
pub(super) const MAX_RANK: usize = 64;

/// The floating-point types.
pub(super) const FLOATS: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::Bf16];

/// The integer types.
pub(super) const INTEGERS: &[DType] = &[
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
];

/// The error of an input.
pub(super) fn wrong(
    operand: &'static str,
    expected: impl Into<String>,
    got: impl Into<String>,
) -> Error {
    Error::Operand {
        operand,
        expected: expected.into(),
        got: got.into(),
    }
}

/// The error of an attribute.
pub(super) fn wrong_attribute(
    name: &str,
    expected: impl Into<String>,
    got: impl ToString,
) -> Error {
    Error::Attribute {
        name: name.to_owned(),
        expected: expected.into(),
        got: got.to_string(),
    }
}

/// Input `index`, which must be there.
pub(super) fn required<'a>(
    inputs: &Facts<'a>,
    index: usize,
    operand: &'static str,
) -> Result<&'a Fact> {
    optional(inputs, index).ok_or_else(|| wrong(operand, "given", "missing"))
}

/// Input `index`, if it is there.
pub(super) fn optional<'a>(inputs: &Facts<'a>, index: usize) -> Option<&'a Fact> {
    inputs.get(index).copied().flatten()
}

/// An error where there are more than `most` inputs.
pub(super) fn at_most(inputs: &Facts, most: usize) -> Result<()> {
    if inputs.len() > most {
        return Err(wrong(
            "the number of inputs",
            format!("at most {most}"),
            inputs.len().to_string(),
        ));
    }
    Ok(())
}

/// An error unless `fact` has one of the types.
pub(super) fn has_type(fact: &Fact, operand: &'static str, types: &[DType]) -> Result<()> {
    if types.contains(&fact.dtype) {
        return Ok(());
    }
    let names: Vec<_> = types.iter().map(|dtype| dtype.name()).collect();
    Err(wrong(
        operand,
        format!("of type {}", names.join(" or ")),
        fact.dtype.name(),
    ))
}

/// An error unless `fits` holds for the type of `fact`.
pub(super) fn fits(
    fact: &Fact,
    operand: &'static str,
    expected: &str,
    fits: impl Fn(DType) -> bool,
) -> Result<()> {
    if fits(fact.dtype) {
        return Ok(());
    }
    Err(wrong(operand, expected, fact.dtype.name()))
}

/// An error unless `fact` has at least `least` axes.
pub(super) fn has_axes(fact: &Fact, operand: &'static str, least: usize) -> Result<()> {
    if fact.shape.len() < least {
        return Err(wrong(
            operand,
            format!("of {least} axes or more"),
            format!("of shape {:?}", fact.shape),
        ));
    }
    Ok(())
}

/// An error unless `fact` has this shape.
pub(super) fn has_shape(fact: &Fact, operand: &'static str, shape: &[usize]) -> Result<()> {
    if fact.shape == shape {
        return Ok(());
    }
    Err(wrong(
        operand,
        format!("of shape {shape:?}"),
        format!("{:?}", fact.shape),
    ))
}

/// The elements of a constant, without which nothing can be planned.
pub(super) fn constant<'a>(fact: &'a Fact, operand: &'static str) -> Result<&'a Tensor> {
    fact.value.as_deref().ok_or_else(|| {
        wrong(
            operand,
            "constant, so that shapes can be planned",
            "computed when the network runs",
        )
    })
}

/// The elements of a constant of integers of one axis or none: a shape, axes, counts.
pub(super) fn integers(fact: &Fact, operand: &'static str) -> Result<Vec<i64>> {
    has_type(fact, operand, &[DType::I64, DType::I32])?;
    if fact.shape.len() > 1 {
        return Err(wrong(
            operand,
            "of one axis",
            format!("of shape {:?}", fact.shape),
        ));
    }
    let values = constant(fact, operand)?.integers();
    Ok(values.unwrap_or_default())
}

/// The one element of a constant integer.
pub(super) fn integer(fact: &Fact, operand: &'static str) -> Result<i64> {
    match integers(fact, operand)?[..] {
        [value] => Ok(value),
        ref values => Err(wrong(
            operand,
            "one element",
            format!("{} elements", values.len()),
        )),
    }
}

/// The product of lengths. What does not fit belongs to an array that another axis leaves empty.
pub(super) fn span<'a>(lengths: impl IntoIterator<Item = &'a usize>) -> usize {
    lengths
        .into_iter()
        .fold(1, |span, &length| span.saturating_mul(length))
}

/// A number that cannot be negative.
pub(super) fn size(operand: &'static str, value: i64) -> Result<usize> {
    usize::try_from(value).map_err(|_| wrong(operand, "0 or more", value.to_string()))
}

/// Sizes of an array that is to be made, of no more axes than there may be.
pub(super) fn sizes(operand: &'static str, values: &[i64]) -> Result<Vec<usize>> {
    check_rank(operand, values.len())?;
    values.iter().map(|&value| size(operand, value)).collect()
}

/// An error where an array has more axes than there may be.
pub(super) fn check_rank(operand: &'static str, rank: usize) -> Result<()> {
    if rank > MAX_RANK {
        return Err(wrong(
            operand,
            format!("at most {MAX_RANK} axes"),
            rank.to_string(),
        ));
    }
    Ok(())
}

/// An axis of `rank`, counted from the end where it is negative.
pub(super) fn axis(name: &str, axis: i64, rank: usize) -> Result<usize> {
    let counted = i64::try_from(rank).ok().and_then(|rank| {
        let axis = if axis < 0 {
            axis.checked_add(rank)?
        } else {
            axis
        };
        usize::try_from(axis).ok()
    });
    match counted {
        Some(counted) if counted < rank => Ok(counted),
        _ => Err(wrong_attribute(
            name,
            match rank {
                0 => "absent: there are no axes".to_owned(),
                _ => format!("in -{rank}..={}", rank - 1),
            },
            axis,
        )),
    }
}

/// Axes of `rank`, each once.
pub(super) fn axes(name: &str, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut counted = Vec::with_capacity(axes.len().min(rank));
    for &value in axes {
        let found = axis(name, value, rank)?;
        if counted.contains(&found) {
            return Err(wrong_attribute(
                name,
                "axes without repetition",
                format!("{axes:?}"),
            ));
        }
        counted.push(found);
    }
    Ok(counted)
}

/// Where axis `axis` of an array of `rank` axes stands when the channels are last.
pub(super) fn turned_axis(axis: usize, rank: usize) -> usize {
    match axis {
        _ if rank < 3 => axis,
        0 => 0,
        1 => rank - 1,
        _ => axis - 1,
    }
}

/// A list of a value for each axis, in the order that the axes have when the channels are last.
pub(super) fn turned<T: Clone>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    if values.len() >= 3 {
        values[1..].rotate_left(1);
    }
    values
}

/// The elements of input `index` of a step.
pub(super) fn read<'a, T: Scalar>(inputs: &[Option<View<'a>>], index: usize) -> Result<&'a [T]> {
    let view = inputs.get(index).copied().flatten();
    view.and_then(T::slice)
        .ok_or_else(|| mismatch::<T>(view.map(|view| view.dtype())))
}

/// The elements of input `index` of a step, unless it is left out or they stand in the output already.
pub(super) fn read_optional<'a, T: Scalar>(
    inputs: &[Option<View<'a>>],
    index: usize,
) -> Result<Option<&'a [T]>> {
    match inputs.get(index) {
        Some(Some(_)) => read(inputs, index).map(Some),
        _ => Ok(None),
    }
}

/// The elements of output `index` of a step.
pub(super) fn write<'a, T: Scalar>(
    outputs: &'a mut [ViewMut<'_>],
    index: usize,
) -> Result<&'a mut [T]> {
    let dtype = outputs.get(index).map(|view| view.dtype());
    let slice = outputs.get_mut(index).and_then(T::slice_mut);
    slice.ok_or_else(|| mismatch::<T>(dtype))
}

fn mismatch<T: Scalar>(got: Option<DType>) -> Error {
    wrong(
        "a buffer",
        T::DTYPE.name(),
        got.map_or("missing", DType::name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axis("axis", -1, 4).unwrap(), 3);
        assert_eq!(axis("axis", 3, 4).unwrap(), 3);
        for wrong in [4, -5, i64::MIN, i64::MAX] {
            assert!(axis("axis", wrong, 4).is_err());
        }
        assert_eq!(
            axis("axis", 0, 0).unwrap_err().to_string(),
            "attribute axis is 0, expected absent: there are no axes"
        );
        assert!(axes("axes", &[1, -1], 2).is_err());
    }

    #[test]
    fn turned_axes_and_turned_lists_agree() {
        for rank in 0..6 {
            let shape: Vec<usize> = (0..rank).collect();
            for (axis, length) in turned(&shape).into_iter().enumerate() {
                assert_eq!(turned_axis(length, rank), axis);
            }
        }
        assert_eq!(turned(&['n', 'c', 'h', 'w']), ['n', 'h', 'w', 'c']);
    }
}
