//! Operators run on their own, for tests.

use std::sync::Arc;

use super::{Fact, Facts, Operator, Step};
use crate::error::Result;
use crate::network::gradient::Backward;
use crate::network::tensor::{DType, Tensor, View, ViewMut};
use crate::network::{Graph, Network, NetworkOptions, Node};
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

/// Σ y · r, to have a loss: the gradient of y is r.
#[derive(Clone, Debug)]
struct Dot(Arc<Tensor>);

impl Operator for Dot {
    fn name(&self) -> &'static str {
        "Dot"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let y = inputs[0].expect("one input");
        assert_eq!((y.dtype, &y.shape[..]), (self.0.dtype(), self.0.shape()));
        Ok(vec![Fact::new(y.dtype, [])])
    }

    fn step(&self, _inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(self.clone()))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let gradient = backward.constant(self.0.clone());
        backward.give(0, gradient)
    }
}

impl Step for Dot {
    fn run(&self, inputs: &[Option<View>], outputs: &mut [ViewMut], _: &mut [f32]) -> Result<()> {
        match (inputs[0], self.0.view(), &mut outputs[0]) {
            (Some(View::F64(y)), View::F64(r), ViewMut::F64(sum)) => {
                sum[0] = y.iter().zip(r).map(|(y, r)| y * r).sum();
            }
            (Some(View::F32(y)), View::F32(r), ViewMut::F32(sum)) => {
                sum[0] = y.iter().zip(r).map(|(y, r)| y * r).sum();
            }
            _ => panic!("types"),
        }
        Ok(())
    }
}

/// Values in which a gradient is to be checked: `shape`, random between `low` and `high`.
pub(super) fn doubles(shape: &[usize], seed: u64, low: f64, high: f64) -> Tensor {
    let mut random = fastrand::Rng::with_seed(seed);
    ndarray::ArrayD::from_shape_simple_fn(shape, || low + (high - low) * random.f64()).into()
}

/// Compares the gradients of the first output of `operator` in the inputs `of` (f64; others may be of any type and
/// are constants) with central differences, and those in f32 with those in f64.
pub(super) fn check_gradient(operator: impl Operator + Clone, inputs: &[Tensor], of: &[usize]) {
    let exact = gradients(&operator, inputs, of, None);
    let step = 1e-5;
    for (gradient, &index) in exact[1..].iter().zip(of) {
        let gradient = gradient.array::<f64>().expect("of type f64");
        for (place, &got) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut inputs = inputs.to_vec();
                match inputs[index].view_mut() {
                    ViewMut::F64(slice) => slice[place] += by,
                    _ => panic!("gradients are checked in f64"),
                }
                let made = gradients(&operator, &inputs, &[], None);
                *made[0]
                    .array::<f64>()
                    .expect("a loss")
                    .first()
                    .expect("one")
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            let error = (got - expected).abs();
            assert!(
                error <= 1e-6 * (1.0 + expected.abs()),
                "{operator:?}, input {index}, element {place}: {got}, by differences {expected}"
            );
        }
    }
    for rewrite in [false, true] {
        let single = gradients(&operator, inputs, of, Some(rewrite));
        for (single, exact) in single.iter().zip(&exact) {
            let (single, exact) = (single.array::<f32>(), exact.array::<f64>());
            let (single, exact) = (single.expect("f32"), exact.expect("f64"));
            assert_eq!(single.shape(), exact.shape());
            let largest = exact
                .iter()
                .fold(1.0f64, |most, value| most.max(value.abs()));
            for (&single, &exact) in single.iter().zip(exact) {
                let error = (f64::from(single) - exact).abs();
                assert!(
                    error <= 2e-5 * largest,
                    "{operator:?} in f32: {single}, {exact}"
                );
            }
        }
    }
}

/// The loss Σ y · r and its gradients in the inputs `of`: in f64, or all of them in f32.
fn gradients(
    operator: &(impl Operator + Clone),
    inputs: &[Tensor],
    of: &[usize],
    singles: Option<bool>,
) -> Vec<Tensor> {
    let inputs: Vec<Tensor> = inputs
        .iter()
        .map(|tensor| match (tensor, singles) {
            (Tensor::F64(array), Some(_)) => array.mapv(|value| value as f32).into(),
            (tensor, _) => tensor.clone(),
        })
        .collect();
    let facts: Vec<Fact> = inputs
        .iter()
        .map(|tensor| match tensor.dtype() {
            DType::F32 | DType::F64 => Fact::new(tensor.dtype(), tensor.shape()),
            _ => Fact::constant(Arc::new(tensor.clone())),
        })
        .collect();
    let facts: Vec<Option<&Fact>> = facts.iter().map(Some).collect();
    let made = operator.infer(&facts).expect("inputs that fit");
    let weights = doubles(&made[0].shape, 99, -1.0, 1.0);
    let weights = match (weights, singles) {
        (Tensor::F64(array), Some(_)) => array.mapv(|value| value as f32).into(),
        (weights, _) => weights,
    };
    let mut graph = Graph::new();
    let mut given = Vec::new();
    let values: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, tensor)| match tensor.dtype() {
            DType::F32 | DType::F64 => {
                let name = format!("x{index}");
                given.push((name.clone(), tensor.clone()));
                graph.input(name, tensor.dtype(), None)
            }
            _ => graph.constant(format!("x{index}"), tensor.clone()),
        })
        .collect();
    let y = graph.value("y");
    graph.push(Node {
        name: "y".to_owned(),
        operator: Arc::new(operator.clone()),
        inputs: values.iter().copied().map(Some).collect(),
        outputs: vec![Some(y)],
    });
    let loss = graph.node("loss", Dot(Arc::new(weights)), &[y]);
    graph.output(loss);
    let options = NetworkOptions::new().rewrite(singles.unwrap_or(false));
    let network = if of.is_empty() {
        Network::with_options(graph, options)
    } else {
        let of: Vec<_> = of.iter().map(|&index| values[index]).collect();
        Network::with_gradients(graph, loss, &of, options)
    };
    let made = network.and_then(|network| network.run(&given));
    let made = made.unwrap_or_else(|error| panic!("{operator:?}: {error}"));
    made.into_iter().map(|(_, tensor)| tensor).collect()
}
