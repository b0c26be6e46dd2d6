//! Operators on arrays that are empty but for sizes that do not fit: errors or empty results, never a panic.

use std::sync::Arc;

use gemmconv::PlanOptions;
use gemmconv::network::{
    ArgExtreme, Binary, CumSum, DType, Einsum, Fact, Gemm, MatMul, Operator, Reduce, ReduceKind,
    Softmax, SoftmaxKind, Tensor, TopK, Trilu, Unary, Variadic,
};

/// Plans `operator` for inputs of these shapes and runs it where its outputs are empty; whether it came so far.
fn try_on(operator: &dyn Operator, inputs: &[&Fact]) -> bool {
    let facts: Vec<_> = inputs.iter().copied().map(Some).collect();
    let Ok(outputs) = operator.infer(&facts) else {
        return false;
    };
    let Ok(step) = operator.step(&facts, &PlanOptions::new()) else {
        return false;
    };
    if outputs.iter().any(|fact| !fact.shape.contains(&0)) {
        return false;
    }
    let empty: Vec<Tensor> = inputs
        .iter()
        .map(|fact| match &fact.value {
            Some(value) => Tensor::clone(value),
            None => Tensor::zeros(fact.dtype, &[0]).unwrap(),
        })
        .collect();
    let views: Vec<_> = empty.iter().map(|tensor| Some(tensor.view())).collect();
    let mut results: Vec<Tensor> = outputs
        .iter()
        .map(|fact| Tensor::zeros(fact.dtype, &[0]).unwrap())
        .collect();
    let mut results: Vec<_> = results.iter_mut().map(Tensor::view_mut).collect();
    let mut scratch = vec![0.0; step.scratch_len()];
    step.run(&views, &mut results, &mut scratch).is_ok()
}

#[test]
fn sizes_that_do_not_fit_beside_an_empty_axis() {
    let huge = usize::MAX / 2;
    let axis = |value: i64| Fact::constant(Arc::new(ndarray::arr1(&[value]).into_dyn().into()));
    for dtype in [DType::F32, DType::F64, DType::I64] {
        for shape in [
            [0, huge, huge],
            [huge, 0, huge],
            [huge, huge, 0],
            [0, 0, huge],
        ] {
            let fact = Fact::new(dtype, shape);
            assert!(try_on(&Unary::Abs, &[&fact]));
            try_on(&Binary::Add, &[&fact, &fact]);
            try_on(&Binary::Pow, &[&fact, &fact]);
            try_on(&Variadic::Max, &[&fact, &fact, &fact]);
            try_on(&MatMul::new(), &[&fact, &fact]);
            for equation in ["abc,abc->abc", "abc,dbc->ad", "abc->a", "aaa", "...,..."] {
                let einsum = Einsum::new(equation).unwrap();
                let terms = equation.split(',').count();
                try_on(&einsum, &vec![&fact; terms]);
            }
            assert!(try_on(&Trilu::new(true), &[&fact]));
            try_on(&CumSum::new(false, false), &[&fact, &axis(1)]);
            for (number, &length) in shape.iter().enumerate() {
                let along = number as i64;
                try_on(&Softmax::new(SoftmaxKind::Softmax, along), &[&fact]);
                try_on(&Softmax::flattened(SoftmaxKind::Hardmax, along), &[&fact]);
                try_on(&ArgExtreme::new(true, along, true, false), &[&fact]);
                try_on(&Reduce::new(ReduceKind::Sum, true), &[&fact, &axis(along)]);
                try_on(&Reduce::new(ReduceKind::Max, false), &[&fact, &axis(along)]);
                try_on(
                    &TopK::new(along, true),
                    &[&fact, &axis(length.min(9) as i64)],
                );
            }
        }
        for shape in [[0, huge], [huge, 0], [huge, huge]] {
            let fact = Fact::new(dtype, shape);
            for bits in 0..4 {
                let gemm = Gemm::new(1.0, 1.0, bits & 1 == 1, bits & 2 == 2);
                try_on(&gemm, &[&fact, &fact]);
            }
        }
    }
}
