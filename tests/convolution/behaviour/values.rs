//! Special values and empty batches: IEEE arithmetic in every recipe, padding an explicit number.

use gemmconv::{
    Activation, ConvGeometry, ConvOptions, ConvPlan, Element, Epilogue, Layout, PaddingMode, Pass,
    PlanOptions, TransposedGeometry, TransposedOptions, conv1d,
};
use ndarray::{Array3, ArrayD, Axis, array};

use crate::support::{
    Answers, Failures, LAYOUTS, Operands, Random, Way, from_layout, to_layout, vector,
};

/// Runs `judge` for every way, layout and one of several channel counts around the engines' blocks: burn 5385 gave
/// finite numbers or NaN depending on the count.
fn each_way(
    input: &[usize],
    options: &ConvOptions,
    judge: impl Fn(&mut Failures, &str, &ConvGeometry, Way),
) {
    let mut failures = Failures::new();
    for channels in [1, 3, 8, 16, 17, 33] {
        for layout in LAYOUTS {
            let options = options.clone().layout(layout);
            let shape = layout.shape(input[0], channels, &input[1..]);
            let weight = [
                &[channels.max(2), channels],
                vec![3; input.len() - 1].as_slice(),
            ]
            .concat();
            let geometry = ConvGeometry::new(&shape, &weight, &options).unwrap();
            let ways = Way::on::<f32>(&geometry, &[1, 2]);
            for way in ways.into_iter().filter(Way::is_exact) {
                judge(
                    &mut failures,
                    &format!("{channels} channels, {} ({way})", layout.name()),
                    &geometry,
                    way,
                );
            }
        }
    }
    failures.finish(6 * 2 * Way::FEWEST);
}

/// All ones.
fn ones<T: Element>(geometry: &ConvGeometry) -> Operands<T> {
    let of = |shape: Vec<usize>| ArrayD::from_elem(shape, T::ONE);
    Operands {
        x: of(geometry.input_shape()),
        w: of(geometry.weight_shape()),
        b: vec![T::ZERO; geometry.output_channels()],
        dy: of(geometry.output_shape()),
    }
}

/// What an element is, for comparisons that no rounding disturbs.
fn kind(value: f32) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        f32::INFINITY => "inf",
        f32::NEG_INFINITY => "-inf",
        _ => "finite",
    }
}

fn kinds(
    failures: &mut Failures,
    what: &str,
    got: &ArrayD<f32>,
    expected: impl Fn(&[usize]) -> &'static str,
) {
    use ndarray::Dimension;
    let wrong: Vec<_> = got
        .indexed_iter()
        .filter(|(index, value)| kind(**value) != expected(index.slice()))
        .map(|(index, value)| {
            format!(
                "{:?} is {value}, expected {}",
                index.slice(),
                expected(index.slice())
            )
        })
        .collect();
    failures.check(wrong.is_empty(), || {
        format!("{what}: {} wrong, {}", wrong.len(), wrong[0])
    });
}

/// 0 · ∞ over the padding is NaN, elsewhere ∞: forward, and in dW where the gradient is infinite. Padding is cut
/// off from dX, which never sees it.
#[test]
fn an_infinite_weight_over_zero_padding_is_nan() {
    each_way(
        &[2, 5, 6],
        &ConvOptions::new().padding(1),
        |failures, name, geometry, way| {
            let mut operands = ones::<f32>(geometry);
            // The first tap of channel 0 of output channel 0.
            operands.w[[0, 0, 0, 0]] = f32::INFINITY;
            let answers = operands.conv(geometry, way);
            let layout = geometry.layout();
            let y = from_layout(layout, &answers.y);
            kinds(failures, &format!("{name}: y"), &y, |i| match i[1] {
                0 if i[2] == 0 || i[3] == 0 => "NaN",
                0 => "inf",
                _ => "finite",
            });
            // Tap (0, 0) of output (r, c) reads pixel (r − 1, c − 1): the last row and column are not read by it.
            let dx = from_layout(layout, &answers.dx);
            kinds(failures, &format!("{name}: dx"), &dx, |i| match i[1] {
                0 if i[2] < 4 && i[3] < 5 => "inf",
                _ => "finite",
            });
            let mut infinite = ones::<f32>(geometry);
            let mut dy = from_layout(layout, &infinite.dy);
            dy[[0, 0, 0, 0]] = f32::INFINITY;
            infinite.dy = to_layout(layout, &dy);
            let dw = infinite.conv(geometry, way).dw;
            // At output (0, 0) the first row and the first column of taps lie in the padding.
            kinds(failures, &format!("{name}: dw"), &dw, |i| match i[0] {
                0 if i[2] == 0 || i[3] == 0 => "NaN",
                0 => "inf",
                _ => "finite",
            });
        },
    );
}

/// A NaN in the image meets zero weights: NaN, and only where a window holds it.
#[test]
fn nan_times_zero_is_nan_and_stays_where_it_is() {
    each_way(
        &[3, 6, 7],
        &ConvOptions::new().padding(1),
        |failures, name, geometry, way| {
            let layout = geometry.layout();
            let mut operands = ones::<f32>(geometry);
            let mut x = from_layout(layout, &operands.x);
            x[[1, 0, 2, 3]] = f32::NAN;
            operands.x = to_layout(layout, &x);
            operands.w.fill(0.0);
            let answers = operands.conv(geometry, way);
            kinds(
                failures,
                &format!("{name}: y"),
                &from_layout(layout, &answers.y),
                |i| {
                    let reads = i[0] == 1 && i[2].abs_diff(2) <= 1 && i[3].abs_diff(3) <= 1;
                    if reads { "NaN" } else { "finite" }
                },
            );
            kinds(failures, &format!("{name}: dw"), &answers.dw, |i| {
                if i[1] == 0 { "NaN" } else { "finite" }
            });
            kinds(failures, &format!("{name}: dx"), &answers.dx, |_| "finite");
            // A NaN in the output gradient, likewise.
            let mut operands = ones::<f32>(geometry);
            let mut dy = from_layout(layout, &operands.dy);
            dy[[2, 1, 0, 0]] = f32::NAN;
            operands.dy = to_layout(layout, &dy);
            operands.w.fill(0.0);
            let answers = operands.conv(geometry, way);
            kinds(
                failures,
                &format!("{name}: dx of a NaN"),
                &from_layout(layout, &answers.dx),
                |i| {
                    if i[0] == 2 && i[2] <= 1 && i[3] <= 1 {
                        "NaN"
                    } else {
                        "finite"
                    }
                },
            );
            kinds(
                failures,
                &format!("{name}: dw of a NaN"),
                &answers.dw,
                |i| {
                    if i[0] == 1 { "NaN" } else { "finite" }
                },
            );
            let bias = answers
                .db
                .iter()
                .enumerate()
                .all(|(o, value)| value.is_nan() == (o == 1));
            failures.check(bias, || format!("{name}: db {}", answers.db));
        },
    );
}

/// 3e38 · 4 = ∞, 3e38 · 4 − 3e38 · 4 = NaN as IEEE has it; f64 does not overflow there.
#[test]
fn f32_overflows_to_infinity() {
    each_way(
        &[1, 5, 5],
        &ConvOptions::new(),
        |failures, name, geometry, way| {
            let mut operands = ones::<f32>(geometry);
            operands.x.fill(3e38);
            operands.w.fill(4.0);
            let answers = operands.conv(geometry, way);
            kinds(failures, &format!("{name}: y"), &answers.y, |_| "inf");
            kinds(failures, &format!("{name}: dx"), &answers.dx, |_| "finite");
            operands.w.mapv_inplace(|w| -w);
            kinds(
                failures,
                &format!("{name}: −y"),
                &operands.conv(geometry, way).y,
                |_| "-inf",
            );
            if !way.takes::<f64>(geometry) {
                return;
            }
            let wide = operands.map(f64::from).conv(geometry, way).y;
            let taps = (9 * geometry.input_channels()) as f64;
            let expected = -taps * 4.0 * f64::from(3e38f32);
            failures.check(
                wide.iter()
                    .all(|y| ((y - expected) / expected).abs() < 1e-12),
                || format!("{name}: f64 {wide}"),
            );
        },
    );
}

/// The smallest numbers are kept, in operands, products and sums.
#[test]
fn denormals_are_kept() {
    let (tiny, least) = (1e-40f32, f32::from_bits(1));
    assert!(tiny.is_subnormal());
    each_way(
        &[2, 5, 4],
        &ConvOptions::new(),
        |failures, name, geometry, way| {
            // One product is not zero: y is a copy.
            let mut operands = ones::<f32>(geometry);
            operands.x.fill(tiny);
            operands.w.fill(0.0);
            operands
                .w
                .index_axis_mut(Axis(1), 0)
                .index_axis_mut(Axis(1), 1)
                .index_axis_mut(Axis(1), 1)
                .fill(1.0);
            operands.dy.fill(least);
            let answers = operands.conv(geometry, way);
            failures.check(answers.y.iter().all(|&y| y == tiny), || {
                format!("{name}: {:e}", answers.y)
            });
            let kept = answers
                .dx
                .iter()
                .all(|&dx| dx == 0.0 || (dx.is_subnormal() && dx >= least));
            failures.check(kept && answers.dx.iter().any(|&dx| dx > 0.0), || {
                format!("{name}: dx {:e}", answers.dx)
            });
            // A product of normal numbers that is denormal.
            operands.x.fill(f32::MIN_POSITIVE);
            operands.w.mapv_inplace(|w| w * 0.5);
            let y = operands.conv(geometry, way).y;
            failures.check(y.iter().all(|&y| y == f32::MIN_POSITIVE / 2.0), || {
                format!("{name}: {y:e}")
            });
        },
    );
}

/// NaN goes through every activation; infinities are clamped or kept. `f32::max` would drop the NaN.
#[test]
fn nan_passes_every_activation() {
    let activations = [
        (Activation::Identity, [f32::INFINITY, f32::NEG_INFINITY]),
        (Activation::Relu, [f32::INFINITY, 0.0]),
        (
            Activation::Clamp {
                low: 0.0,
                high: 6.0,
            },
            [6.0, 0.0],
        ),
        (
            Activation::LeakyRelu { slope: 0.1 },
            [f32::INFINITY, f32::NEG_INFINITY],
        ),
    ];
    let mut failures = Failures::new();
    let geometry = ConvGeometry::new(&[1, 1, 40], &[1, 1, 1], &ConvOptions::new()).unwrap();
    for way in Way::on::<f32>(&geometry, &[1, 2]) {
        let plan = ConvPlan::new(&geometry, &way.options()).unwrap();
        let weights = plan.prepare(&Array3::<f32>::ones((1, 1, 1))).unwrap();
        let x = Array3::from_shape_fn((1, 1, 40), |(_, _, i)| {
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.0][i % 4]
        });
        for (activation, [high, low]) in activations {
            let epilogue = Epilogue::none().activation(activation);
            let y = plan.forward(&x, &weights, &epilogue).unwrap();
            let right = y.iter().enumerate().all(|(i, &y)| match i % 4 {
                0 => y.is_nan(),
                1 => y == high,
                2 => y == low,
                _ => y == 3.0,
            });
            failures.check(right, || format!("{activation:?} ({way}): {y}"));
            // A NaN that the bias or the residual brings.
            for epilogue in [
                epilogue.bias(&[f32::NAN]),
                epilogue.residual(&[f32::NAN; 40]),
            ] {
                let y = plan.forward(&x, &weights, &epilogue).unwrap();
                failures.check(y.iter().all(|y| y.is_nan()), || {
                    format!("{activation:?} ({way}): {y}")
                });
            }
        }
    }
    failures.finish(4 * 3 * Way::FEWEST);
}

/// A constant that is no number, in the padding.
#[test]
fn padding_with_infinity_and_nan() {
    let x = array![[[1.0f32, 2.0, 3.0]]];
    let y = |value: f64, w: [f32; 2]| {
        let options = ConvOptions::new()
            .padding([(1, 0)])
            .padding_mode(PaddingMode::Constant(value));
        let w = Array3::from_shape_vec((1, 1, 2), w.to_vec()).unwrap();
        conv1d(&x, &w, None, &options)
            .unwrap()
            .into_raw_vec_and_offset()
            .0
    };
    assert_eq!(y(f64::INFINITY, [2.0, 1.0]), [f32::INFINITY, 4.0, 7.0]);
    let zero_weight = y(f64::INFINITY, [0.0, 1.0]);
    assert!(zero_weight[0].is_nan() && zero_weight[1..] == [2.0, 3.0]);
    assert!(y(f64::NAN, [1.0, 1.0])[0].is_nan());
    // Beyond f32 and so infinite there.
    assert_eq!(y(1e300, [-1.0, 1.0])[0], f32::NEG_INFINITY);
}

/// Signed zeros and infinities of both signs meet in a sum.
#[test]
fn infinities_of_both_signs_are_nan() {
    let mut failures = Failures::new();
    let x = array![[[f32::INFINITY, f32::NEG_INFINITY, 1.0, -0.0]]].into_dyn();
    let geometry = ConvGeometry::new(x.shape(), &[1, 1, 2], &ConvOptions::new()).unwrap();
    for way in Way::on::<f32>(&geometry, &[1, 2]) {
        let operands = Operands {
            w: ArrayD::ones([1, 1, 2].as_slice()),
            b: vec![0.0],
            dy: ArrayD::ones(geometry.output_shape()),
            x: x.clone(),
        };
        let y = operands.conv(&geometry, way).y;
        failures.check(y[[0, 0, 0]].is_nan(), || format!("∞ − ∞ ({way}): {y}"));
        failures.check(y[[0, 0, 1]] == f32::NEG_INFINITY, || {
            format!("−∞ + 1 ({way}): {y}")
        });
        failures.check(y[[0, 0, 2]] == 1.0, || format!("1 − 0 ({way}): {y}"));
    }
    failures.finish(3 * Way::FEWEST);
}

/// No images: empty results, and gradients of the weights that are zero, whatever the buffers held.
/// CVE-2021-29525, -29524, -29538, -29522, -29573.
#[test]
fn an_empty_batch() {
    let mut failures = Failures::new();
    for (input, weight) in [
        (&[0, 4, 7][..], &[6, 2, 3][..]),
        (&[0, 4, 7, 5], &[6, 2, 3, 2]),
        (&[0, 4, 3, 4, 5], &[6, 2, 2, 2, 2]),
    ] {
        for layout in LAYOUTS {
            let shape = layout.shape(input[0], input[1], &input[2..]);
            let options = ConvOptions::new().groups(2).padding(1).layout(layout);
            let geometry = ConvGeometry::new(&shape, weight, &options).unwrap();
            for way in Way::on::<f32>(&geometry, &[1, 2]) {
                let name = format!("{input:?}, {} ({way})", layout.name());
                let answers = Operands::<f32>::integers(1, &geometry).conv(&geometry, way);
                failures.equal(&name, &answers.y, &ArrayD::zeros(geometry.output_shape()));
                failures.equal(&name, &answers.dx, &ArrayD::zeros(shape.as_slice()));
                failures.equal(&name, &answers.dw, &ArrayD::zeros(weight));
                failures.equal(&name, &answers.db, &vector(vec![0.0; 6]));
                // Poisoned buffers are overwritten.
                let plan = ConvPlan::<f32>::new(&geometry, &way.options()).unwrap();
                let (mut dw, mut db) = (vec![f32::NAN; geometry.weight_len()], vec![f32::NAN; 6]);
                let mut scratch = vec![f32::NAN; plan.scratch_len(Pass::BackwardWeight)];
                let done = way.run(|| {
                    plan.backward_weight_with_scratch(
                        &[],
                        &[],
                        &mut dw,
                        Some(&mut db),
                        &mut scratch,
                    )
                });
                failures.check(done.is_ok(), || format!("{name}: {done:?}"));
                failures.check(dw.iter().chain(&db).all(|&value| value == 0.0), || {
                    format!("{name}: {dw:?} {db:?}")
                });
            }
            let options = TransposedOptions::new().stride(2).layout(layout);
            let weight = [&[4, 3], &weight[2..]].concat();
            let geometry = TransposedGeometry::new(&shape, &weight, &options).unwrap();
            for way in Way::on::<f32>(geometry.twin(), &[1, 2]) {
                let operands = Operands {
                    x: ArrayD::zeros(shape.as_slice()),
                    w: Random::new(2).integers::<f64>(&weight),
                    b: vec![1.0; 3],
                    dy: ArrayD::zeros(geometry.output_shape()),
                };
                let answers = operands.transposed(&geometry, way);
                let name = format!("transposed {input:?}, {} ({way})", layout.name());
                failures.check(
                    answers.y.shape() == geometry.output_shape() && answers.y.is_empty(),
                    || name.clone(),
                );
                failures.equal(&name, &answers.dw, &ArrayD::zeros(weight.as_slice()));
                failures.equal(&name, &answers.db, &vector(vec![0.0; 3]));
            }
        }
    }
    failures.finish(3 * 2 * Way::FEWEST * 9);
}

/// An image without pixels and padding around: the output is that of the padding. CVE-2022-35996.
#[test]
fn an_empty_image_with_padding() {
    let mut failures = Failures::new();
    // Channels first: image, weight, and the output that the padding of 1 makes.
    let shapes: [(&[usize], &[usize], &[usize]); 4] = [
        (&[1, 3, 0, 4], &[4, 3, 1, 1], &[1, 4, 2, 6]),
        (&[2, 3, 0, 4], &[4, 3, 2, 3], &[2, 4, 1, 4]),
        (&[2, 2, 0], &[3, 2, 2], &[2, 3, 1]),
        (&[1, 2, 3, 0, 2], &[3, 2, 2, 1, 1], &[1, 3, 4, 2, 4]),
    ];
    for (input, weight, output) in shapes {
        for (layout, value) in LAYOUTS
            .into_iter()
            .flat_map(|layout| [0.0, 2.0].map(|value| (layout, value)))
        {
            let shape = layout.shape(input[0], input[1], &input[2..]);
            let mode = if value == 0.0 {
                PaddingMode::Zeros
            } else {
                PaddingMode::Constant(value)
            };
            let options = ConvOptions::new()
                .padding(1)
                .padding_mode(mode)
                .layout(layout);
            let geometry = ConvGeometry::new(&shape, weight, &options).unwrap();
            for way in Way::on::<f32>(&geometry, &[1, 2]) {
                let name = format!(
                    "{input:?} ∗ {weight:?}, padding {value}, {} ({way})",
                    layout.name()
                );
                let operands = Operands::<f64>::integers(3, &geometry);
                let Answers { y, dx, dw, db } = operands.conv(&geometry, way);
                // Every patch is the constant.
                let sums: Vec<f64> = operands.w.outer_iter().map(|w| value * w.sum()).collect();
                let expected = ArrayD::from_shape_fn(output, |i| sums[i[1]] + operands.b[i[1]]);
                failures.equal(&format!("{name}: y"), &from_layout(layout, &y), &expected);
                failures.equal(
                    &format!("{name}: dx"),
                    &dx,
                    &ArrayD::zeros(shape.as_slice()),
                );
                let gradient = ArrayD::from_shape_fn(weight, |i| value * db[i[0]]);
                failures.equal(&format!("{name}: dw"), &dw, &gradient);
            }
        }
    }
    failures.finish(4 * 4 * Way::FEWEST * 3);
}

/// Nothing is left over from what scratch and results held before: poisoned with NaN, the answers are the same.
#[test]
fn buffers_may_hold_anything() {
    let mut failures = Failures::new();
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let options = ConvOptions::new()
            .padding(1)
            .stride(2)
            .groups(3)
            .layout(layout);
        let geometry =
            ConvGeometry::new(&layout.shape(2, 6, &[9, 8]), &[9, 2, 3, 3], &options).unwrap();
        let operands = Operands::<f32>::integers(4, &geometry);
        let expected = operands.conv(&geometry, Way::LOOPS);
        let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new()).unwrap();
        let weights = plan.prepare(&operands.w).unwrap();
        for poison in [f32::NAN, f32::INFINITY, 1e30] {
            let of = |length: usize| vec![poison; length];
            let (x, dy) = (
                operands.x.as_slice().unwrap(),
                operands.dy.as_slice().unwrap(),
            );
            let [mut y, mut dx] = [of(dy.len()), of(x.len())];
            let [mut dw, mut db] = [of(geometry.weight_len()), of(9)];
            let scratch = |pass| of(plan.scratch_len(pass) + 5);
            let epilogue = Epilogue::none().bias(&operands.b);
            plan.forward_with_scratch(x, &weights, &epilogue, &mut y, &mut scratch(Pass::Forward))
                .unwrap();
            plan.backward_input_with_scratch(
                dy,
                &weights,
                &mut dx,
                &mut scratch(Pass::BackwardInput),
            )
            .unwrap();
            let mut work = scratch(Pass::BackwardWeight);
            plan.backward_weight_with_scratch(x, dy, &mut dw, Some(&mut db), &mut work)
                .unwrap();
            for ((what, expected), got) in expected.named().into_iter().zip([y, dx, dw, db]) {
                let got = ArrayD::from_shape_vec(expected.raw_dim(), got).unwrap();
                failures.equal(
                    &format!("{what} on {poison}, {}", layout.name()),
                    &got,
                    expected,
                );
            }
        }
    }
    failures.finish(24);
}
