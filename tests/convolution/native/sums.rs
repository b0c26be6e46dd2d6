//! Long sums of reals stay within the general bound: |error| ≤ K · 2⁻²⁴ · Σ |a| |b| for K terms.

use gemmconv::{ConvGeometry, ConvOptions, Epilogue, Wanted, reference};
use ndarray::{ArrayD, ArrayView, IxDyn};

use super::layer::Way;
use crate::support::{LAYOUTS, pool};

/// The answers of the loops in f64.
fn exact(geometry: &ConvGeometry, [x, w, dy]: [&[f64]; 3]) -> [Vec<f64>; 4] {
    let mut y = vec![f64::NAN; geometry.output_len()];
    let mut dx = vec![f64::NAN; geometry.input_len()];
    let mut dw = vec![f64::NAN; geometry.weight_len()];
    let mut db = vec![f64::NAN; geometry.output_channels()];
    reference::forward(geometry, x, w, None, &mut y);
    reference::backward_input(geometry, w, dy, &mut dx);
    reference::backward_weight(geometry, x, dy, &mut dw);
    reference::backward_bias(geometry, dy, &mut db);
    [y, dx, dw, db]
}

/// Operands of either sign, which cancel, or positive ones, whose partial sums grow.
fn operands(length: usize, seed: u64, positive: bool) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let draw = || match positive {
        true => random.f32() + 0.1,
        false => 2.0 * random.f32() - 1.0,
    };
    std::iter::repeat_with(draw).take(length).collect()
}

fn check(input: &[usize], weight: &[usize], options: &ConvOptions, terms: [usize; 4]) {
    for (layout, positive) in LAYOUTS
        .into_iter()
        .flat_map(|layout| [true, false].map(|p| (layout, p)))
    {
        let shape = layout.shape(input[0], input[1], &input[2..]);
        let options = options.clone().layout(layout);
        let geometry = ConvGeometry::new(&shape, weight, &options).unwrap();
        let x = operands(geometry.input_len(), 1, positive);
        let w = operands(geometry.weight_len(), 2, positive);
        let dy = operands(geometry.output_len(), 3, positive);
        let wide = [&x, &w, &dy].map(|data| data.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        let sizes = wide
            .clone()
            .map(|data| data.into_iter().map(f64::abs).collect::<Vec<_>>());
        let expected = exact(&geometry, [&wide[0], &wide[1], &wide[2]]);
        let sizes = exact(&geometry, [&sizes[0], &sizes[1], &sizes[2]]);
        let array = |shape: &[usize], data: &[f32]| -> ArrayD<f32> {
            ArrayView::from_shape(IxDyn(shape), data)
                .unwrap()
                .to_owned()
        };
        let x = array(&shape, &x);
        let (w, dy) = (array(weight, &w), array(&geometry.output_shape(), &dy));
        for way in Way::native(&geometry).into_iter().filter(Way::is_exact) {
            let plan = way.plan(&geometry);
            let weights = plan.prepare(&w).unwrap();
            let (y, gradients) = pool(2).install(|| {
                (
                    plan.forward(&x, &weights, &Epilogue::none()).unwrap(),
                    plan.backward(&x, &weights, &dy, Wanted::ALL).unwrap(),
                )
            });
            let got = [
                y.into_raw_vec_and_offset().0,
                gradients.d_input.unwrap().into_raw_vec_and_offset().0,
                gradients.d_weight.unwrap().into_raw_vec_and_offset().0,
                gradients.d_bias.unwrap(),
            ];
            for (pass, what) in ["y", "dx", "dw", "db"].into_iter().enumerate() {
                let gamma = terms[pass] as f64 * 2f64.powi(-24);
                assert_eq!(got[pass].len(), expected[pass].len());
                for (i, &value) in got[pass].iter().enumerate() {
                    let error = (f64::from(value) - expected[pass][i]).abs();
                    assert!(
                        error <= gamma * sizes[pass][i],
                        "{what}[{i}] of {way}, {}, {input:?} ∗ {weight:?}: off by {error:e}, {} terms of size {:e}",
                        layout.name(),
                        terms[pass],
                        sizes[pass][i]
                    );
                }
            }
        }
    }
}

/// 512 channels of 3 × 3: 4608 terms forward and backward.
#[test]
fn sums_of_4608_terms() {
    let options = ConvOptions::new().padding(1);
    check(
        &[1, 512, 4, 5],
        &[20, 512, 3, 3],
        &options,
        [4608, 180, 20, 20],
    );
    check(
        &[1, 12, 4, 5],
        &[512, 12, 3, 3],
        &options,
        [108, 4608, 20, 20],
    );
    // The gradient of the weight sums over positions.
    check(
        &[9, 5, 16, 32],
        &[18, 5, 3, 3],
        &options,
        [45, 162, 4608, 4608],
    );
}

#[test]
fn sums_of_50_000_terms() {
    let options = ConvOptions::new();
    check(
        &[1, 50_000, 3],
        &[17, 50_000, 1],
        &options,
        [50_000, 17, 3, 3],
    );
    check(&[1, 3, 4], &[50_000, 3, 1], &options, [3, 50_000, 4, 4]);
    check(
        &[2, 3, 25_000],
        &[18, 3, 1],
        &options,
        [3, 18, 50_000, 50_000],
    );
    // A long kernel.
    check(
        &[1, 100, 503],
        &[2, 100, 500],
        &options,
        [50_000, 1000, 4, 4],
    );
    let depthwise = ConvOptions::new().groups(16).padding(1);
    check(
        &[8, 16, 50, 125],
        &[16, 1, 3, 3],
        &depthwise,
        [9, 9, 50_000, 50_000],
    );
}
