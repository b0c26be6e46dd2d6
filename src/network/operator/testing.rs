//! Operators run on their own, for tests.

use std::sync::Arc;

use super::{Fact, Operator};
use crate::error::Result;
use crate::network::tensor::{DType, Tensor, View, ViewMut};
use crate::plan::PlanOptions;

/// A computed value of type f32.
pub(super) fn fact(shape: &[usize]) -> Fact {
    Fact::new(DType::F32, shape)
}

/// A constant of type i64 and one axis.
pub(super) fn constant(values: &[i64]) -> Fact {
    Fact::constant(Arc::new(integers(values)))
}

/// A tensor of type i64 and one axis.
pub(super) fn integers(values: &[i64]) -> Tensor {
    ndarray::Array1::from(values.to_vec()).into_dyn().into()
}

/// A tensor of type f32.
pub(super) fn floats(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    let values: Vec<f32> = values.into_iter().collect();
    ndarray::ArrayD::from_shape_vec(shape, values)
        .unwrap()
        .into()
}

/// What an operator says of its outputs.
pub(super) fn infer(operator: &dyn Operator, inputs: &[&Fact]) -> Result<Vec<Fact>> {
    let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
    operator.infer(&inputs)
}

/// The outputs for constant inputs, computed in buffers full of NaN and, where it can be, in place too.
pub(super) fn run(operator: &dyn Operator, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(Some).collect();
    run_some(operator, &inputs)
}

/// [`run`] with other options.
pub(super) fn run_with(
    operator: &dyn Operator,
    inputs: &[Tensor],
    options: &PlanOptions,
) -> Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(Some).collect();
    run_planned(operator, &inputs, options)
}

/// [`run`] with inputs that may be left out.
pub(super) fn run_some(operator: &dyn Operator, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    run_planned(operator, inputs, &PlanOptions::new())
}

fn run_planned(
    operator: &dyn Operator,
    inputs: &[Option<&Tensor>],
    options: &PlanOptions,
) -> Result<Vec<Tensor>> {
    let facts: Vec<_> = inputs
        .iter()
        .map(|input| input.map(|tensor| Fact::constant(Arc::new(tensor.clone()))))
        .collect();
    let facts: Vec<_> = facts.iter().map(Option::as_ref).collect();
    let inferred = operator.infer(&facts)?;
    let step = operator.step(&facts, options)?;
    let mut views: Vec<Option<View>> = inputs.iter().map(|x| x.map(Tensor::view)).collect();
    let compute = |views: &[Option<View>], outputs: &mut [Tensor]| {
        let mut scratch = vec![f32::NAN; step.scratch_len()];
        let mut outputs: Vec<ViewMut> = outputs.iter_mut().map(Tensor::view_mut).collect();
        step.run(views, &mut outputs, &mut scratch)
    };
    let mut outputs = Vec::new();
    for fact in &inferred {
        outputs.push(poisoned(fact)?);
    }
    compute(&views, &mut outputs)?;
    if let Some(index) = step.in_place() {
        let mut again = outputs.clone();
        let input = inputs[index].expect("an input in place is there");
        again[0] = input.clone().reshape(&inferred[0].shape)?;
        views[index] = None;
        compute(&views, &mut again)?;
        assert_eq!(bits(&outputs), bits(&again), "in place");
    }
    Ok(outputs)
}

/// NaN compares unequal; its text does not.
fn bits(tensors: &[Tensor]) -> String {
    format!("{tensors:?}")
}

fn poisoned(fact: &Fact) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(fact.dtype, &fact.shape)?;
    match tensor.view_mut() {
        ViewMut::F32(slice) => slice.fill(f32::NAN),
        ViewMut::F64(slice) => slice.fill(f64::NAN),
        ViewMut::I64(slice) => slice.fill(i64::MIN),
        ViewMut::U8(slice) => slice.fill(0xa5),
        _ => {}
    }
    Ok(tensor)
}
