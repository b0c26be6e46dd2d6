//! Networks: planning, sessions, passes.

mod operators;
mod parts;
mod passes;
mod sessions;

use gemmconv::network::Tensor;
use ndarray::{Array, ArrayD, IxDyn};

/// Numbers in -0.5..0.5.
fn random(shape: &[usize], seed: u64) -> ArrayD<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    Array::from_shape_simple_fn(IxDyn(shape), || random.f32() - 0.5)
}

/// Equal but for the rounding of sums.
fn close(got: &Tensor, expected: &ArrayD<f32>) {
    let got = got.array::<f32>().unwrap();
    assert_eq!(got.shape(), expected.shape());
    let largest = expected
        .iter()
        .fold(1.0f32, |most, value| most.max(value.abs()));
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= 1e-5 * largest, "{got} {expected}");
    }
}
