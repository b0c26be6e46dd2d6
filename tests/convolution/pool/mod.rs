//! Pooling against plain loops, tables worked by hand, laws, and central differences.

mod bad_input;
mod by_hand;
mod gradients;
mod judge;
mod random;

use gemmconv::{Element, Layout};
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use rayon::{ThreadPool, ThreadPoolBuilder};

fn in_layout<T>(array: &ArrayD<T>, layout: Layout) -> ArrayViewD<'_, T> {
    let rank = array.ndim();
    let mut axes: Vec<usize> = (0..rank).collect();
    if layout == Layout::ChannelsLast {
        axes[1..].rotate_left(1);
    }
    array.view().permuted_axes(IxDyn(&axes))
}

fn channels_first<T: Clone>(array: ArrayD<T>, layout: Layout) -> ArrayD<T> {
    let rank = array.ndim();
    let mut axes: Vec<usize> = (0..rank).collect();
    if layout == Layout::ChannelsLast {
        axes[1..].rotate_right(1);
    }
    let array = array.permuted_axes(IxDyn(&axes));
    ArrayD::from_shape_vec(array.shape(), array.iter().cloned().collect()).unwrap()
}

fn pools() -> [ThreadPool; 2] {
    [1, 2].map(|threads| {
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    })
}

/// The same result from every pool, bit for bit; it is returned with its channels first.
fn same_for_all<T: Element>(
    pools: &[ThreadPool],
    layout: Layout,
    run: impl Fn() -> gemmconv::Result<ArrayD<T>> + Sync,
) -> ArrayD<T> {
    let results = pools.iter().map(|pool| pool.install(&run).unwrap());
    let results: Vec<ArrayD<T>> = results.collect();
    for other in &results[1..] {
        assert_eq!(other.shape(), results[0].shape());
        assert!(
            other
                .iter()
                .zip(&results[0])
                .all(|(a, b)| a.to_f64().to_bits() == b.to_f64().to_bits())
        );
    }
    channels_first(results.into_iter().next().unwrap(), layout)
}

fn assert_within<T: Element>(what: &str, got: &ArrayD<T>, expected: &ArrayD<f64>, ulps: f64) {
    assert_eq!(got.shape(), expected.shape(), "{what}");
    let scale = ulps * T::UNIT_ROUNDOFF;
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let got = got.to_f64();
        assert!(
            got == expected
                || (got.is_nan() && expected.is_nan())
                || (got - expected).abs() <= scale * expected.abs().max(1.0),
            "{what} at {index}: {got}, expected {expected}"
        );
    }
}

/// The judge's f64 rounded once to `T`.
fn rounded<T: Element>(expected: &ArrayD<f64>) -> ArrayD<f64> {
    expected.mapv(|value| T::from_f64(value).to_f64())
}
