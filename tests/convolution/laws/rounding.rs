//! |d| ≤ K · u · Σ |x| |w|: the bound for a sum of K products in any order, u half a unit in the last place of one.

use gemmconv::{ConvOptions, Element, Layout, TransposedGeometry, TransposedOptions};
use ndarray::Dimension;

use super::table::Case;
use crate::support::{Answers, Failures, LAYOUTS, Operands, Random, Way};

/// Layers with long sums, in each of the passes.
fn long_sums(layout: Layout) -> [Case; 5] {
    let options = || ConvOptions::new().layout(layout);
    [
        // Terms of y, dx, dw: 2304, 288, 72.
        Case::new(&[2, 256, 6, 6], &[32, 256, 3, 3], options().padding(1)),
        // 12, 2304, 72.
        Case::new(&[2, 3, 7, 7], &[576, 3, 2, 2], options()),
        // 27, 36, 3362.
        Case::new(&[2, 3, 43, 43], &[4, 3, 3, 3], options()),
        // 4000, 12, 122.
        Case::new(&[2, 4, 1060], &[3, 4, 1000], options()),
        // 1536 and 3072, groups, one tap.
        Case::new(&[3, 3072, 5], &[4, 1536, 1], options().groups(2)),
    ]
}

/// |d| ≤ K · u · Σ |x| |w|, the bound that holds for a sum of K products in any order, for each element of each pass.
fn check_rounding<T: Element>(
    failures: &mut Failures,
    name: &str,
    answers: &Answers<T>,
    exact: &Answers<f64>,
    sizes: &Answers<f64>,
    terms: [usize; 4],
) {
    let expected = exact.named().into_iter().zip(sizes.named());
    for (((what, got), ((_, exact), (_, sizes))), terms) in
        answers.named().into_iter().zip(expected).zip(terms)
    {
        let gamma = terms as f64 * T::UNIT_ROUNDOFF;
        failures.within(&format!("{name}: {what}"), got, exact, |_, index| {
            gamma * sizes[index.as_array_view().to_slice().unwrap()]
        });
    }
}

#[test]
fn rounding_stays_below_the_general_bound() {
    let mut failures = Failures::new();
    let exactly = Way::LOOPS;
    for case in LAYOUTS.into_iter().flat_map(long_sums) {
        let geometry = case.geometry();
        let operands = Operands::<f32>::reals(15, &geometry);
        let wide = operands.map(f64::from);
        let exact = wide.conv(&geometry, exactly);
        let sizes = wide.map(f64::abs).conv(&geometry, exactly);
        let taps: usize = case.weight[2..].iter().product();
        let positions = geometry.batch() * geometry.positions();
        // The bias is one term more.
        let terms = [
            geometry.patch_len() + 1,
            geometry.outputs_per_group() * taps,
            positions,
            positions,
        ];
        for way in Way::on::<f32>(&geometry, &[1, 2]) {
            let name = format!("{case:?} ({way})");
            check_rounding(
                &mut failures,
                &name,
                &operands.conv(&geometry, way),
                &exact,
                &sizes,
                terms,
            );
        }
    }
    failures.finish(5 * 2 * Way::FEWEST * 4);
}

/// In the transposed convolution the sum of y is the one of the twin's dx, and that of dx the one of its y.
#[test]
fn rounding_of_transposed_convolutions_stays_below_the_general_bound() {
    let mut failures = Failures::new();
    let exactly = Way::LOOPS;
    for layout in LAYOUTS {
        let options = TransposedOptions::new().stride(2).padding(1).layout(layout);
        let geometry =
            TransposedGeometry::new(&layout.shape(2, 256, &[5, 5]), &[256, 128, 4, 4], &options)
                .unwrap();
        let operands = Operands {
            b: Random::new(17).reals(&[128]).into_raw_vec_and_offset().0,
            x: Random::new(18).reals::<f32>(&geometry.input_shape()),
            w: Random::new(19).reals(&[256, 128, 4, 4]),
            dy: Random::new(20).reals(&geometry.output_shape()),
        };
        let wide = operands.map(f64::from);
        let exact = wide.transposed(&geometry, exactly);
        let sizes = wide.map(f64::abs).transposed(&geometry, exactly);
        let terms = [256 * 4 + 1, 128 * 16, 2 * 25, 2 * 100];
        for way in Way::on::<f32>(geometry.twin(), &[1, 2]) {
            let name = format!("{} ({way})", layout.name());
            check_rounding(
                &mut failures,
                &name,
                &operands.transposed(&geometry, way),
                &exact,
                &sizes,
                terms,
            );
        }
    }
    failures.finish(2 * Way::FEWEST * 4);
}
