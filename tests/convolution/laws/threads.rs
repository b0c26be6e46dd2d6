//! The same bits for any number of threads, and from any scratch that is enough.

use gemmconv::{
    Activation, ConvGeometry, ConvOptions, ConvPlan, Element, Epilogue, Layout, Padding,
    PaddingMode, Pass, PlanOptions, RecipeKind,
};
use ndarray::ArrayD;

use super::table::Case;
use crate::support::{Failures, LAYOUTS, Operands, Way, pool, vector};

/// Layers large enough that every pass is cut into several tiles.
fn large(layout: Layout) -> [Case; 7] {
    let options = || ConvOptions::new().layout(layout);
    [
        Case::new(&[1, 24, 40, 40], &[20, 24, 3, 3], options().padding(1)),
        Case::new(
            &[10, 16, 9, 9],
            &[24, 16, 3, 3],
            options().padding(1).stride(2),
        ),
        Case::new(
            &[2, 32, 24, 24],
            &[64, 8, 3, 3],
            options().groups(4).padding(Padding::SameUpper),
        ),
        Case::new(&[3, 48, 30, 30], &[40, 48, 1, 1], options()),
        // Parts of 64 channels on three threads, whose panels are read where they lie; of 132 on one, which are copied.
        Case::new(&[3, 132, 30, 30], &[40, 132, 1, 1], options()),
        // Blocks of fewer positions.
        Case::new(&[1, 3, 20, 30], &[1024, 3, 1, 1], options()),
        Case::new(
            &[2, 6, 9, 12, 13],
            &[10, 6, 3, 3, 3],
            options().padding(1).padding_mode(PaddingMode::Reflect),
        ),
    ]
}

fn bits<T: Element>(array: &ArrayD<T>) -> Vec<u64> {
    array.iter().map(|value| value.to_f64().to_bits()).collect()
}

/// Real numbers, so that another order of any sum would show.
fn same_bits<T: Element>(
    failures: &mut Failures,
    cases: impl Iterator<Item = Case>,
    ways: impl Fn(&ConvGeometry) -> Vec<Way>,
    limit: usize,
) {
    for case in cases {
        let geometry = case.geometry();
        let operands = Operands::<T>::reals(16, &geometry);
        let epilogue = Epilogue::none()
            .bias(&operands.b)
            .activation(Activation::Relu);
        for way in ways(&geometry) {
            let options = way.options().scratch_limit(limit);
            let plan = ConvPlan::new(&geometry, &options).unwrap();
            let weights = plan.prepare(&operands.w).unwrap();
            let on = |threads: usize| {
                Way { threads, ..way }.run(|| {
                    [
                        plan.forward(&operands.x, &weights, &epilogue).unwrap(),
                        plan.backward_input(&weights, &operands.dy).unwrap(),
                        plan.backward_weight(&operands.x, &operands.dy).unwrap(),
                        vector(plan.backward_bias(&operands.dy).unwrap()),
                    ]
                    .map(|array| bits(&array))
                })
            };
            let alone = on(1);
            // Again on one thread, then on two and three.
            for threads in [1, 2, 3] {
                let together = on(threads);
                for (pass, what) in ["y", "dx", "dw", "db"].into_iter().enumerate() {
                    failures.check(alone[pass] == together[pass], || {
                        format!(
                            "{case:?} {what} {} limit {limit}: {threads} threads give other bits",
                            T::NAME
                        )
                    });
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    fn several<T: Element>(geometry: &ConvGeometry) -> Vec<Way> {
        let mut ways = Way::on::<T>(geometry, &[1]);
        ways.retain(|way| way.recipe != Some(RecipeKind::Naive));
        ways
    }
    let cases = || LAYOUTS.into_iter().flat_map(large);
    let mut failures = Failures::new();
    for limit in [1 << 20, 10 << 10] {
        same_bits::<f32>(&mut failures, cases(), several::<f32>, limit);
    }
    same_bits::<f64>(&mut failures, cases(), several::<f64>, 1 << 20);
    failures.finish(3 * 10 * 3 * 4);
}

/// Tiles of Winograd's algorithm, dense and dilated, in blocks of all phases and of some, of stride 2, of a line and of
/// several pieces.
#[test]
fn tiles_of_winograd_too() {
    let cases = || {
        LAYOUTS.into_iter().flat_map(|layout| {
            let options = || ConvOptions::new().layout(layout);
            let dilated = [[1, 1], [2, 3], [7, 5]].map(|dilation| {
                let options = options().padding(dilation).dilation(dilation);
                Case::new(&[3, 24, 29, 31], &[40, 24, 3, 3], options)
            });
            let others = [
                ([3, 3], options().padding(1).stride(2)),
                ([1, 7], options().padding([0, 3])),
                ([5, 4], options().padding(2)),
            ]
            .map(|(kernel, options)| {
                Case::new(&[3, 24, 29, 31], &[40, 24, kernel[0], kernel[1]], options)
            });
            dilated.into_iter().chain(others)
        })
    };
    let ways = |_: &ConvGeometry| {
        [RecipeKind::WinogradF2, RecipeKind::WinogradF4]
            .map(|kind| Way {
                recipe: Some(kind),
                ..Way::LOOPS
            })
            .to_vec()
    };
    let mut failures = Failures::new();
    for limit in [4 << 20, 1 << 18] {
        same_bits::<f32>(&mut failures, cases(), ways, limit);
    }
    failures.finish(2 * 12 * 2 * 3 * 4);
}

/// Fourier transforms, dense and depthwise, one block of tiles and several, f32 and f64.
#[cfg(feature = "fft")]
#[test]
fn fourier_transforms_too() {
    let cases = || {
        LAYOUTS.into_iter().flat_map(|layout| {
            let options = || ConvOptions::new().layout(layout);
            [
                Case::new(&[3, 24, 29, 31], &[40, 24, 7, 5], options().padding(3)),
                Case::new(&[1, 5, 20, 20], &[70, 5, 9, 9], options()),
                Case::new(&[2, 9, 40, 33], &[9, 1, 11, 11], options().groups(9)),
                Case::new(&[2, 6, 300], &[10, 3, 40], options().groups(2)),
            ]
        })
    };
    let ways = |_: &ConvGeometry| {
        vec![Way {
            recipe: Some(RecipeKind::Fft),
            ..Way::LOOPS
        }]
    };
    let mut failures = Failures::new();
    for limit in [16 << 20, 1 << 20] {
        same_bits::<f32>(&mut failures, cases(), ways, limit);
        same_bits::<f64>(&mut failures, cases(), ways, limit);
    }
    failures.finish(2 * 2 * 8 * 3);
}

/// Weights that are not all finite: their gradient of the input is summed by other loops, which say so.
#[test]
fn infinite_weights_too() {
    let mut failures = Failures::new();
    for case in LAYOUTS.into_iter().flat_map(large) {
        let geometry = case.geometry();
        let mut operands = Operands::<f32>::reals(22, &geometry);
        operands.w[vec![0; geometry.weight_shape().len()].as_slice()] = f32::INFINITY;
        for way in Way::on::<f32>(&geometry, &[1]) {
            let plan = ConvPlan::new(&geometry, &way.options()).unwrap();
            let weights = plan.prepare(&operands.w).unwrap();
            let on = |threads: usize| {
                Way { threads, ..way }.run(|| {
                    let dx = plan.backward_input(&weights, &operands.dy).unwrap();
                    bits(&dx)
                })
            };
            let alone = on(1);
            for threads in [2, 3] {
                failures.check(alone == on(threads), || {
                    format!("{case:?} {way:?}: {threads} threads give other bits")
                });
            }
            let explanation = plan.explain(Pass::BackwardInput);
            let native = explanation.recipe.blocks().is_some();
            let told = explanation.why.contains("infinite or NaN");
            failures.check(native == told, || explanation.to_string());
            failures.check(!plan.explain(Pass::Forward).why.contains("NaN"), || {
                format!("{case:?} {way:?}: forward has no such loop")
            });
        }
    }
    failures.finish(10 * 4 * 3);
}

/// Less scratch than all threads could use slows them down and changes nothing; too little is told apart above.
#[test]
fn scratch_for_one_thread_serves_three() {
    for case in LAYOUTS.into_iter().flat_map(large) {
        let geometry = case.geometry();
        let operands = Operands::<f32>::reals(21, &geometry);
        let plan = ConvPlan::new(&geometry, &PlanOptions::new().serial_below(0)).unwrap();
        let weights = plan.prepare(&operands.w).unwrap();
        let (x, mut y) = (
            operands.x.as_slice().unwrap(),
            vec![f32::NAN; geometry.output_len()],
        );
        let expected = plan
            .forward(&operands.x, &weights, &Epilogue::none())
            .unwrap();
        pool(3).install(|| {
            let mut scratch = vec![f32::NAN; plan.min_scratch_len(Pass::Forward)];
            plan.forward_with_scratch(x, &weights, &Epilogue::none(), &mut y, &mut scratch)
                .unwrap();
        });
        assert_eq!(
            bits(&expected),
            bits(&ArrayD::from_shape_vec(expected.raw_dim(), y).unwrap())
        );
    }
}
