//! Where things lie: shifts, delta kernels, layouts, flips, dilation, groups.

use gemmconv::{ConvGeometry, ConvOptions, Layout, PaddingMode, conv};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice};

use super::table::{Case, MODES, everywhere, on, reversed, table};
use crate::support::{Answers, Failures, LAYOUTS, Operands, Random, Way, from_layout};

/// The array turned round by `by` elements along `axis`.
fn rolled(array: &ArrayD<f64>, axis: usize, by: usize) -> ArrayD<f64> {
    let length = array.shape()[axis];
    ArrayD::from_shape_fn(array.raw_dim(), |index| {
        let mut from = index.clone();
        from[axis] = (index[axis] + length - by) % length;
        array[from]
    })
}

/// Circular padding, stride 1, as many outputs as inputs: a shifted image gives the shifted result.
#[test]
fn shifting_the_image_shifts_the_result() {
    let mut failures = Failures::new();
    let shapes: [(&[usize], &[usize], usize, usize); 5] = [
        (&[2, 3, 11], &[4, 3, 4], 1, 1),
        (&[1, 4, 9], &[4, 2, 3], 2, 2),
        (&[2, 3, 7, 6], &[2, 3, 3, 2], 1, 1),
        (&[1, 4, 7, 9], &[4, 1, 2, 3], 2, 4),
        (&[1, 2, 5, 4, 6], &[3, 2, 2, 3, 2], 1, 1),
    ];
    for (input, weight, dilation, groups) in shapes {
        for layout in LAYOUTS {
            let pads: Vec<_> = weight[2..]
                .iter()
                .map(|&kernel| dilation * (kernel - 1))
                .collect();
            let pads: Vec<_> = pads
                .iter()
                .map(|&total| (total / 2, total - total / 2))
                .collect();
            let options = ConvOptions::new()
                .dilation(dilation)
                .groups(groups)
                .padding(pads.as_slice())
                .padding_mode(PaddingMode::Circular)
                .layout(layout);
            let case = Case::new(input, weight, options);
            let geometry = case.geometry();
            let operands = Operands::<f64>::integers(4, &geometry);
            let first_axis = if layout == Layout::ChannelsFirst {
                2
            } else {
                1
            };
            for way in Way::on::<f32>(&geometry, &[1, 2]) {
                let y = operands.conv(&geometry, way).y;
                for (axis, by) in (first_axis..first_axis + input.len() - 2)
                    .flat_map(|axis| [(axis, 1), (axis, 3)])
                {
                    let shifted = Operands {
                        x: rolled(&operands.x, axis, by),
                        ..operands.clone()
                    };
                    let got = shifted.conv(&geometry, way).y;
                    failures.equal(
                        &format!("{case:?} axis {axis} by {by} ({way})"),
                        &got,
                        &rolled(&y, axis, by),
                    );
                }
            }
        }
    }
    failures.finish(100);
}

/// A kernel with a single 1 at tap k copies every stride-th element from k · dilation on.
#[test]
fn a_delta_kernel_copies_the_image() {
    let mut failures = Failures::new();
    let (stride, dilation) = ([2, 1], [1, 3]);
    for layout in LAYOUTS {
        let options = ConvOptions::new()
            .stride(stride)
            .dilation(dilation)
            .layout(layout);
        let case = Case::new(&[2, 3, 9, 10], &[3, 3, 3, 3], options);
        let geometry = case.geometry();
        let operands = Operands::<f64>::integers(5, &geometry);
        let image = from_layout(layout, &operands.x);
        let ways = Way::on::<f32>(&geometry, &[1, 2]);
        for (tap, way) in (0..9).flat_map(|tap| ways.iter().map(move |&way| (tap, way))) {
            let taps = [tap / 3, tap % 3];
            let mut delta = operands.clone();
            delta.b.fill(0.0);
            // Output channel o copies input channel o.
            delta.w = ArrayD::from_shape_fn(operands.w.raw_dim(), |i| {
                f64::from(u8::from(i[0] == i[1] && [i[2], i[3]] == taps))
            });
            let y = from_layout(layout, &delta.conv(&geometry, way).y);
            let expected = ArrayD::from_shape_fn(y.raw_dim(), |i| {
                let at = |axis: usize| i[axis + 2] * stride[axis] + taps[axis] * dilation[axis];
                image[[i[0], i[1], at(0), at(1)]]
            });
            failures.equal(
                &format!("tap {taps:?}, {} ({way})", layout.name()),
                &y,
                &expected,
            );
        }
    }
    failures.finish(50);
}

/// A convolution by the definition, written for this file alone: rank 2, zeros around the image, no options.
fn by_definition(
    x: ArrayViewD<'_, f64>,
    w: &ArrayD<f64>,
    at: impl Fn([usize; 4]) -> IxDyn,
    size: [usize; 5],
) -> ArrayD<f64> {
    let [n, c, h, wd, o] = size;
    let (kh, kw) = (w.shape()[2], w.shape()[3]);
    ArrayD::from_shape_fn(IxDyn(&[n, o, h - kh + 1, wd - kw + 1]), |i| {
        let mut sum = 0.0;
        for channel in 0..c {
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                sum += w[[i[1], channel, ky, kx]] * x[at([i[0], channel, i[2] + ky, i[3] + kx])];
            }
        }
        sum
    })
}

/// C = H = W: the strides of both layouts are the same numbers, so a layout guessed from them is wrong for one.
#[test]
fn layouts_are_told_apart_where_all_sizes_are_equal() {
    let mut failures = Failures::new();
    for side in [3, 4, 8] {
        let x = Random::new(side as u64).integers::<f64>(&[side, side, side, side]);
        for kernel in [1, 2, 3] {
            let w = Random::new(7).integers::<f64>(&[side, side, kernel, kernel]);
            for layout in LAYOUTS {
                let expected = by_definition(
                    x.view(),
                    &w,
                    |[n, c, row, column]| match layout {
                        Layout::ChannelsFirst => IxDyn(&[n, c, row, column]),
                        Layout::ChannelsLast => IxDyn(&[n, row, column, c]),
                    },
                    [side; 5],
                );
                let options = ConvOptions::new().layout(layout);
                let y = from_layout(layout, &conv(&x, &w, None, &options).unwrap());
                failures.equal(
                    &format!("one call, side {side} kernel {kernel}, {}", layout.name()),
                    &y,
                    &expected,
                );
                let geometry = ConvGeometry::new(x.shape(), w.shape(), &options).unwrap();
                for way in Way::on::<f32>(&geometry, &[1, 2]) {
                    let operands = Operands {
                        x: x.clone(),
                        w: w.clone(),
                        b: vec![0.0; side],
                        dy: ArrayD::zeros(geometry.output_shape()),
                    };
                    let y = from_layout(layout, &operands.conv(&geometry, way).y);
                    failures.equal(
                        &format!("side {side} kernel {kernel}, {} ({way})", layout.name()),
                        &y,
                        &expected,
                    );
                }
            }
        }
    }
    failures.finish(18 * 4);
}

/// Output and gradients with `flip_kernel` are those of the reversed kernel without it.
#[test]
fn a_flip_is_a_reversed_kernel() {
    let mut cases = table();
    cases.retain(|case| case.options.flip_kernel);
    on::<f32>(&cases, &[1, 2], |failures, name, case, geometry, way| {
        let operands = Operands::<f64>::integers(6, geometry);
        let flipped = operands.conv(geometry, way);
        let plain = Case {
            options: case.options.clone().flip_kernel(false),
            ..case.clone()
        };
        let other = Operands {
            w: reversed(&operands.w),
            ..operands
        };
        let mut plain = other.conv(&plain.geometry(), way);
        plain.dw = reversed(&plain.dw);
        for ((what, got), (_, expected)) in flipped.named().into_iter().zip(plain.named()) {
            failures.equal(&format!("{name}: {what}"), got, expected);
        }
    });
}

/// A kernel with zeros between its taps, as dilation puts them there.
fn stuffed(w: &ArrayD<f64>, dilation: &[usize]) -> ArrayD<f64> {
    let mut shape = w.shape().to_vec();
    for (length, &dilation) in shape[2..].iter_mut().zip(dilation) {
        *length = (*length - 1) * dilation + 1;
    }
    let mut stuffed = ArrayD::zeros(shape);
    let taps = |axis: usize| if axis < 2 { 1 } else { dilation[axis - 2] };
    stuffed
        .slice_each_axis_mut(|axis| Slice::new(0, None, taps(axis.axis.index()) as isize))
        .assign(w);
    stuffed
}

#[test]
fn dilation_is_a_kernel_with_zeros_between_its_taps() {
    let mut failures = Failures::new();
    let shapes: [(&[usize], &[usize], &[usize]); 4] = [
        (&[2, 3, 14], &[4, 3, 3], &[4]),
        (&[1, 4, 9, 11], &[6, 2, 3, 2], &[2, 5]),
        (&[2, 2, 8, 8], &[2, 2, 2, 3], &[1, 3]),
        (&[1, 2, 5, 6, 7], &[3, 2, 2, 2, 3], &[2, 1, 2]),
    ];
    for (input, weight, dilation) in shapes {
        for (layout, mode) in LAYOUTS
            .into_iter()
            .flat_map(|layout| MODES.map(|mode| (layout, mode)))
        {
            let options = ConvOptions::new()
                .groups(input[1] / weight[1])
                .padding(1)
                .padding_mode(mode)
                .stride(2)
                .layout(layout);
            let dilated = Case::new(input, weight, options.clone().dilation(dilation));
            let geometry = dilated.geometry();
            let operands = Operands::<f64>::integers(8, &geometry);
            let plain = Operands {
                w: stuffed(&operands.w, dilation),
                ..operands.clone()
            };
            let other = Case::new(input, plain.w.shape(), options).geometry();
            for way in Way::on::<f32>(&geometry, &[1, 2]) {
                let (got, expected) = (operands.conv(&geometry, way), plain.conv(&other, way));
                let name = format!("{dilated:?} ({way})");
                failures.equal(&format!("{name}: y"), &got.y, &expected.y);
                failures.equal(&format!("{name}: dx"), &got.dx, &expected.dx);
                let dw = expected.dw.slice_each_axis(|axis| match axis.axis.index() {
                    0 | 1 => Slice::from(..),
                    spatial => Slice::new(0, None, dilation[spatial - 2] as isize),
                });
                failures.equal(&format!("{name}: dw"), &got.dw, &dw.to_owned());
            }
        }
    }
    failures.finish(4 * 10 * 3 * 3);
}

/// Group `g` of `groups` along `axis`.
fn part(array: &ArrayD<f64>, axis: usize, g: usize, groups: usize) -> ArrayD<f64> {
    let length = array.shape()[axis] / groups;
    array
        .slice_axis(Axis(axis), Slice::from(g * length..(g + 1) * length))
        .as_standard_layout()
        .into_owned()
}

#[test]
fn groups_are_separate_convolutions() {
    everywhere(|failures, name, case, geometry, way| {
        let groups = case.options.groups;
        let channels = match case.options.layout {
            Layout::ChannelsFirst => 1,
            Layout::ChannelsLast => case.input.len() - 1,
        };
        let operands = Operands::<f64>::integers(9, geometry);
        let whole = operands.conv(geometry, way);
        for g in 0..groups {
            let of = |array: &ArrayD<f64>, axis| part(array, axis, g, groups);
            let separate = Operands {
                x: of(&operands.x, channels),
                w: of(&operands.w, 0),
                b: operands.b[g * operands.b.len() / groups..(g + 1) * operands.b.len() / groups]
                    .to_vec(),
                dy: of(&operands.dy, channels),
            };
            let alone = case.options.clone().groups(1);
            let alone = ConvGeometry::new(separate.x.shape(), separate.w.shape(), &alone).unwrap();
            // Small groups have a recipe that one group has not.
            let way = if way.takes::<f32>(&alone) {
                way
            } else {
                Way::LOOPS
            };
            let expected = separate.conv(&alone, way);
            let got = Answers {
                y: of(&whole.y, channels),
                dx: of(&whole.dx, channels),
                dw: of(&whole.dw, 0),
                db: of(&whole.db, 0),
            };
            for ((what, got), (_, expected)) in got.named().into_iter().zip(expected.named()) {
                failures.equal(&format!("{name}: {what} of group {g}"), got, expected);
            }
        }
    });
}
