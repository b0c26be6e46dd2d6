//! What users of other libraries fell into, by the number of their reports: each answer against the plain loops, which
//! the slides, PyTorch's and TensorFlow's numbers have judged.

use gemmconv::{
    ConvGeometry, ConvOptions, Layout, Padding, RecipeKind, TransposedOptions, conv,
    conv_transpose, conv1d, conv3d,
};
use ndarray::{Array1, Array3, Array5, ArrayD, IxDyn, array, s};

use crate::support::{Answers, Failures, LAYOUTS, Operands, Random, Way, from_layout};

/// Every recipe, engine, layout and pass gives the answers of the loops.
#[test]
fn geometries_that_others_got_wrong() {
    let options = ConvOptions::new;
    let traps: [(&str, &[usize], &[usize], ConvOptions); 21] = [
        (
            "candle 3404: C = H = W",
            &[2, 4, 4, 4],
            &[4, 4, 3, 3],
            options().padding(1),
        ),
        (
            "candle 3404: all sizes equal",
            &[3, 3, 3, 3],
            &[3, 3, 3, 3],
            options().padding(1),
        ),
        (
            "burn 1877, 1891: groups and stride",
            &[1, 4, 7, 7],
            &[8, 2, 3, 3],
            options().groups(2).stride(2),
        ),
        (
            "burn 3511: groups, O ≠ I, stride 2",
            &[2, 6, 9, 8],
            &[9, 2, 3, 3],
            options().groups(3).stride(2).padding(1),
        ),
        (
            "burn 4591: unit spatial axes, stride",
            &[2, 4, 1, 1],
            &[6, 4, 1, 1],
            options().stride(2),
        ),
        (
            "burn 4591: one tap, strided",
            &[2, 4, 5, 6],
            &[6, 4, 1, 1],
            options().stride(3),
        ),
        (
            "burn 4799, 4806: three last inputs unread",
            &[1, 2, 10, 10],
            &[3, 2, 3, 3],
            options().stride(4),
        ),
        (
            "burn 4806: stride beyond the kernel",
            &[1, 2, 11, 13],
            &[3, 2, 2, 2],
            options().stride(5),
        ),
        (
            "burn 4845, 4916: padding beyond the kernel",
            &[1, 2, 4, 4],
            &[3, 2, 2, 2],
            options().padding(3).stride(2),
        ),
        (
            "burn 5601: padding at the end, rank 3",
            &[1, 2, 4, 5, 3],
            &[2, 2, 2, 3, 2],
            options().padding([(0, 1), (0, 2), (0, 1)]),
        ),
        (
            "burn 2675, 4837: SAME of an even kernel",
            &[1, 2, 7, 8],
            &[2, 2, 4, 2],
            options().padding(Padding::SameUpper),
        ),
        (
            "pytorch 67551: SAME with stride",
            &[2, 2, 7, 8],
            &[2, 2, 3, 5],
            options().padding(Padding::SameUpper).stride(3),
        ),
        (
            "tensorflow 28264: SAME with dilation",
            &[2, 2, 9, 8],
            &[2, 2, 3, 2],
            options().padding(Padding::SameLower).dilation(3),
        ),
        (
            "tensorflow 69103: groups, dilation, stride",
            &[1, 6, 9, 9],
            &[6, 2, 3, 3],
            options().groups(3).dilation(2).stride(2),
        ),
        (
            "dfdx 770: nothing square",
            &[1, 2, 9, 7],
            &[3, 2, 2, 4],
            options()
                .stride([3, 1])
                .padding([(2, 0), (1, 3)])
                .dilation([2, 1]),
        ),
        (
            "dfdx 219: rank 1",
            &[3, 2, 12],
            &[4, 2, 5],
            options().stride(2).padding(2),
        ),
        (
            "candle 2997: rank 3",
            &[2, 2, 4, 4, 4],
            &[3, 2, 3, 3, 3],
            options().padding(1),
        ),
        (
            "oneDNN 5717: channels beside a block",
            &[1, 17, 4, 4],
            &[19, 17, 1, 1],
            options(),
        ),
        (
            "tensorflow 57749: channels beside a block",
            &[2, 7, 6, 6],
            &[33, 7, 3, 3],
            options().padding(1),
        ),
        (
            "oneDNN: kernel over a single pixel",
            &[1, 16, 1, 1],
            &[16, 16, 5, 5],
            options().padding(4),
        ),
        (
            "TFSA-2021-028: stride far beyond",
            &[1, 2, 1, 1],
            &[1, 2, 1, 1],
            options().stride([66, 49]),
        ),
    ];
    let mut failures = Failures::new();
    for (name, input, weight, options) in &traps {
        let mut first: Option<Answers<f32>> = None;
        for layout in LAYOUTS {
            let shape = layout.shape(input[0], input[1], &input[2..]);
            let geometry =
                ConvGeometry::new(&shape, weight, &options.clone().layout(layout)).unwrap();
            let mut operands =
                Operands::<f32>::integers(1, &ConvGeometry::new(input, weight, options).unwrap());
            operands.x = crate::support::to_layout(layout, &operands.x);
            operands.dy = crate::support::to_layout(layout, &operands.dy);
            for way in Way::on::<f32>(&geometry, &[1, 2]) {
                let mut answers = operands.conv(&geometry, way);
                answers.y = from_layout(layout, &answers.y);
                answers.dx = from_layout(layout, &answers.dx);
                let expected = first.get_or_insert_with(|| {
                    assert_eq!(
                        (way.recipe, layout),
                        (Some(RecipeKind::Naive), Layout::ChannelsFirst)
                    );
                    answers.clone()
                });
                for ((what, got), (_, expected)) in
                    answers.named().into_iter().zip(expected.named())
                {
                    failures.equal(
                        &format!("{name}: {what}, {} ({way})", layout.name()),
                        got,
                        expected,
                    );
                }
            }
        }
    }
    failures.finish(traps.len() * 2 * Way::FEWEST * 4);
}

/// burn 5601: what the padding at the end adds is there.
#[test]
fn padding_at_the_end_counts() {
    let x = Array5::<f64>::ones((1, 1, 2, 2, 2));
    let w = Array5::ones((1, 1, 2, 2, 2));
    let y = conv3d(&x, &w, None, &ConvOptions::new().padding([(0, 1); 3])).unwrap();
    assert_eq!(y.shape(), [1, 1, 2, 2, 2]);
    assert_eq!(
        y.iter().copied().collect::<Vec<_>>(),
        [8., 4., 4., 2., 4., 2., 2., 1.]
    );
}

/// rten 1399, burn 2676: the odd element of SAME goes to the end for upper, to the beginning for lower.
#[test]
fn the_odd_element_of_same() {
    let (x, w) = (array![[[1.0, 2.0, 3.0]]], array![[[10.0, 1.0]]]);
    let y = |padding| conv1d(&x, &w, None, &ConvOptions::new().padding(padding)).unwrap();
    assert_eq!(y(Padding::SameUpper), array![[[12.0, 23.0, 30.0]]]);
    assert_eq!(y(Padding::SameLower), array![[[1.0, 12.0, 23.0]]]);
}

/// burn 4799: inputs that no window reads have a gradient of zero, and dX has their place.
#[test]
fn unread_inputs_have_no_gradient() {
    let geometry =
        ConvGeometry::new(&[1, 1, 10], &[1, 1, 3], &ConvOptions::new().stride(4)).unwrap();
    for way in Way::on::<f32>(&geometry, &[1, 2]) {
        let operands = Operands {
            x: ArrayD::<f64>::ones(geometry.input_shape()),
            w: array![[[1.0, 2.0, 3.0]]].into_dyn(),
            b: vec![0.0],
            dy: array![[[1.0, 10.0]]].into_dyn(),
        };
        let dx = operands.conv(&geometry, way).dx;
        assert_eq!(
            dx.into_raw_vec_and_offset().0,
            [1., 2., 3., 0., 10., 20., 30., 0., 0., 0.],
            "{way}"
        );
    }
}

/// candle 3736: kernels and images that are parts of larger arrays.
#[test]
fn parts_of_larger_arrays() {
    let mut random = Random::new(5);
    let (x, w) = (
        random.integers::<f32>(&[4, 6, 9, 11]),
        random.integers::<f32>(&[6, 8, 5, 7]),
    );
    let x = x.slice(s![1..;2, ..4, 2..8, ..;-1]).into_dyn();
    let w = w.slice(s![1..5, 2..8;3, ..;2, 1..4]).into_dyn();
    let options = ConvOptions::new().groups(2).padding(1);
    assert!(!x.is_standard_layout() && !w.is_standard_layout());
    let apart = conv(&x, &w, None, &options).unwrap();
    let whole = conv(
        &x.as_standard_layout(),
        &w.as_standard_layout(),
        None,
        &options,
    )
    .unwrap();
    assert_eq!(apart, whole);
    assert_eq!(apart.shape(), [2, 4, 6, 11]);
}

/// CVE-2022-41894, rten 1408: the bias of a transposed convolution counts output channels, of every group.
#[test]
fn the_bias_of_a_transposed_convolution() {
    let mut failures = Failures::new();
    for (input, weight, groups) in [
        (&[1, 2, 2, 2, 2][..], &[2, 5, 2, 2, 2][..], 1),
        (&[1, 5, 2, 2, 2], &[5, 2, 2, 2, 2], 1),
        (&[2, 4, 3, 3], &[4, 3, 2, 2], 2),
        (&[2, 6, 3], &[6, 1, 2], 3),
    ] {
        let outputs = weight[1] * groups;
        let bias: Array1<f64> = (0..outputs).map(|o| 1.0 + o as f64).collect();
        for layout in LAYOUTS {
            let options = TransposedOptions::new()
                .groups(groups)
                .stride(2)
                .layout(layout);
            let x = ArrayD::zeros(layout.shape(input[0], input[1], &input[2..]));
            let y = conv_transpose(&x, &ArrayD::ones(weight), Some(&bias), &options).unwrap();
            let y = from_layout(layout, &y);
            // Of an image of zeros nothing but the bias is left.
            let expected = ArrayD::from_shape_fn(y.raw_dim(), |i| bias[i[1]]);
            failures.equal(
                &format!("{input:?} ∗ {weight:?} in {groups}"),
                &y,
                &expected,
            );
            failures.check(y.shape()[1] == outputs, || format!("{:?}", y.shape()));
        }
    }
    failures.finish(16);
}

/// rten 1398 wrote beyond the output of a transposed convolution that padding cuts on one side only.
#[test]
fn a_transposed_convolution_cut_on_one_side() {
    let x = array![[[1.0, 2.0, 3.0]]];
    let w = array![[[1.0, 10.0, 100.0]]];
    let y = |pads| {
        let options = TransposedOptions::new().stride(2).padding([pads]);
        conv_transpose(&x, &w, None, &options)
            .unwrap()
            .into_raw_vec_and_offset()
            .0
    };
    let whole = [1., 10., 102., 20., 203., 30., 300.];
    for (before, after) in [(0, 0), (3, 0), (0, 3), (5, 1), (6, 0), (0, 6)] {
        assert_eq!(
            y((before, after)),
            whole[before..7 - after],
            "{before} and {after} cut off"
        );
    }
}

/// A depthwise layer with a multiplier: output channel c · m + i reads input channel c.
#[test]
fn a_depthwise_multiplier() {
    let x = Array3::from_shape_fn((1, 3, 2), |(_, c, i)| (10 * (c + 1) + i) as f64);
    let w = Array3::from_shape_fn((6, 1, 1), |(o, _, _)| (o + 1) as f64);
    let y = conv1d(&x, &w, None, &ConvOptions::new().groups(3)).unwrap();
    for o in 0..6 {
        let expected = &x.slice(s![0, o / 2, ..]) * (o + 1) as f64;
        assert_eq!(y.slice(s![0, o, ..]), expected);
    }
    assert_eq!(y.into_dyn().raw_dim(), IxDyn(&[1, 6, 2]));
}
