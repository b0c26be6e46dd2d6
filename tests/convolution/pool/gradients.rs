//! Every gradient against central differences in f64.

use gemmconv::pool::*;
use gemmconv::{Layout, PoolOptions};
use ndarray::{ArrayD, IxDyn};

use super::in_layout;
use super::random::{Case, case};

/// d⟨f(x), g⟩/dx by central differences against `d_input`; the bounds of PyTorch's gradcheck.
fn assert_gradient(
    what: &str,
    x: &ArrayD<f64>,
    d_input: &ArrayD<f64>,
    loss: impl Fn(&ArrayD<f64>) -> f64,
) {
    let step = 1e-6;
    assert_eq!(x.shape(), d_input.shape());
    for (index, &got) in d_input.indexed_iter() {
        let moved = |by: f64| {
            let mut x = x.clone();
            x[&index] += by;
            loss(&x)
        };
        let expected = (moved(step) - moved(-step)) / (2.0 * step);
        assert!(
            (got - expected).abs() <= 1e-5 + 1e-3 * expected.abs(),
            "{what} at {index:?}: {got}, expected {expected}"
        );
    }
}

#[test]
fn gradients_agree_with_central_differences() {
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..40 {
        let Case {
            mut shape, options, ..
        } = case(&mut rng);
        (shape[0], shape[1]) = (1, 2);
        let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][round % 2];
        let options = options.layout(layout);
        // Distinct values, none nearer to another or to zero than many steps: no kink nearby.
        let mut values: Vec<f64> = (0..shape.iter().product())
            .map(|i| 0.05 + 0.01 * i as f64)
            .collect();
        rng.shuffle(&mut values);
        let x = ArrayD::from_shape_vec(IxDyn(&shape), values)
            .unwrap()
            .mapv(|x| if rng.bool() { x } else { -x });
        let x = in_layout(&x, layout).as_standard_layout().into_owned();
        let (y, indices) = max_pool_with_indices(&x, &options).unwrap();
        let g = y.mapv(|_| rng.f64() - 0.5);
        // A window without elements has the maximum −∞, whatever moves.
        let dot = |y: ArrayD<f64>| {
            y.iter()
                .zip(&g)
                .filter(|(y, _)| y.is_finite())
                .map(|(y, g)| y * g)
                .sum::<f64>()
        };
        let what = format!("{shape:?} {options:?}");

        let dx = max_pool_backward(&g, &indices, x.shape(), &options).unwrap();
        assert_gradient(&what, &x, &dx, |x| dot(max_pool(x, &options).unwrap()));
        let dx = avg_pool_backward(&g, x.shape(), &options).unwrap();
        assert_gradient(&what, &x, &dx, |x| dot(avg_pool(x, &options).unwrap()));
        let p = [1.0, 2.0, 3.0, 2.5][round % 4];
        let dx = lp_pool_backward(&x, &lp_pool(&x, p, &options).unwrap(), &g, p, &options).unwrap();
        assert_gradient(&what, &x, &dx, |x| dot(lp_pool(x, p, &options).unwrap()));
    }
}

#[test]
fn adaptive_and_unpooling_gradients() {
    let mut rng = fastrand::Rng::with_seed(6);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let mut values: Vec<f64> = (0..2 * 3 * 5 * 4)
            .map(|i| 0.01 * f64::from(i) - 0.605)
            .collect();
        rng.shuffle(&mut values);
        let x = ArrayD::from_shape_vec(IxDyn(&layout.shape(2, 3, &[5, 4])), values).unwrap();
        let (y, indices) = adaptive_max_pool(&x, [3, 2], layout).unwrap();
        let g = y.mapv(|_| rng.f64());
        let dx = adaptive_max_pool_backward(&g, &indices, x.shape(), layout).unwrap();
        assert_gradient("adaptive maximum", &x, &dx, |x| {
            (adaptive_max_pool(x, [3, 2], layout).unwrap().0 * &g).sum()
        });
        let dx = adaptive_avg_pool_backward(&g, x.shape(), layout).unwrap();
        assert_gradient("adaptive average", &x, &dx, |x| {
            (adaptive_avg_pool(x, [3, 2], layout).unwrap() * &g).sum()
        });

        let norm = global_lp_pool(&x, 2.0, layout).unwrap();
        let g = norm.mapv(|_| rng.f64());
        let dx = global_lp_pool_backward(&x, &norm, &g, 2.0, layout).unwrap();
        assert_gradient("global norm", &x, &dx, |x| {
            (global_lp_pool(x, 2.0, layout).unwrap() * &g).sum()
        });

        let (y, indices) = max_pool_with_indices(&x, &PoolOptions::new(2).layout(layout)).unwrap();
        let g = x.mapv(|_| rng.f64());
        let dy = max_unpool_backward(&g, &indices, layout).unwrap();
        assert_gradient("unpooling", &y, &dy, |y| {
            (max_unpool(y, &indices, [5, 4], layout).unwrap() * &g).sum()
        });
    }
}
