//! Gradients of inputs that were broadcast: each is summed over the axes along which its input was repeated.

use super::Binary;
use crate::error::Result;
use crate::network::gradient::Backward;
use crate::network::graph::ValueId;
use crate::network::tensor::{DType, Tensor};

/// Gives input `index` the gradient `factor · by`, summed where the input was repeated.
pub(super) fn give_product(
    backward: &mut Backward,
    index: usize,
    [factor, by]: [ValueId; 2],
) -> Result<()> {
    if backward.wants(index) {
        let gradient = backward.node(Binary::Mul, &[factor, by])?;
        give_sum(backward, index, gradient)?;
    }
    Ok(())
}

/// Gives input `index` the gradient `gradient`, summed where the input was repeated.
pub(in crate::network::operator) fn give_sum(
    backward: &mut Backward,
    index: usize,
    gradient: ValueId,
) -> Result<()> {
    if backward.wants(index) {
        let input = backward.input(index)?;
        let shape = backward.fact(input)?.shape.clone();
        let gradient = backward.sum_to(gradient, &shape)?;
        backward.give(index, gradient)?;
    }
    Ok(())
}

/// A constant list.
pub(in crate::network::operator) fn integers(values: Vec<i64>) -> Tensor {
    ndarray::Array1::from(values).into_dyn().into()
}

/// A constant number of the type of `like`.
pub(in crate::network::operator) fn number(
    backward: &mut Backward,
    like: ValueId,
    value: f64,
) -> Result<ValueId> {
    let number: Tensor = match backward.fact(like)?.dtype {
        DType::F64 => ndarray::arr0(value).into_dyn().into(),
        _ => ndarray::arr0(value as f32).into_dyn().into(),
    };
    Ok(backward.constant(number))
}
