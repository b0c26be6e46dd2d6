//! Impossible transposed convolutions.

use std::panic::catch_unwind;

use gemmconv::{
    Error, Layout, Padding, Result, TransposedGeometry, TransposedOptions, conv_transpose,
    conv_transpose2d,
};
use ndarray::{Array1, Array4, ArrayD, IxDyn};

use super::refused::zeros;
use crate::support::Failures;

fn options() -> TransposedOptions {
    TransposedOptions::new()
}

fn entries(
    input: &[usize],
    weight: &[usize],
    options: &TransposedOptions,
) -> Vec<(&'static str, Result<()>)> {
    let mut entries = vec![(
        "geometry",
        TransposedGeometry::new(input, weight, options).map(drop),
    )];
    let zero = ArrayD::from_elem(IxDyn(&[]), 0.0f32);
    if let (Some(x), Some(w)) = (zeros(&zero, input), zeros(&zero, weight)) {
        entries.push(("one call", conv_transpose(&x, &w, None, options).map(drop)));
    }
    entries
}

#[test]
fn impossible_transposed_convolutions() {
    let shape = |expected: &[usize], got: &[usize]| Error::Shape {
        what: "weight",
        expected: expected.to_vec(),
        got: got.to_vec(),
    };
    let zero = |what, axis| Error::Zero { what, axis };
    let count = |what| Error::ZeroCount { what };
    let size = |axis, got, min, max| Error::OutputSize {
        axis,
        got,
        min,
        max,
    };
    let listed = |option, got| Error::OptionRank {
        option,
        expected: 2,
        got,
    };
    let overflow = Error::Overflow {
        what: "transposed output",
    };
    let (x, w) = ([1, 2, 4, 5], [2, 3, 3, 3]);
    type Case<'c> = (&'c str, &'c [usize], &'c [usize], TransposedOptions, Error);
    let cases: Vec<Case> = vec![
        (
            "output padding = stride",
            &x,
            &w,
            options().stride(2).output_padding(2),
            Error::OutputPadding {
                axis: 0,
                got: 2,
                limit: 2,
            },
        ),
        (
            "output padding ≥ max(stride, dilation), second axis",
            &x,
            &w,
            options().stride(2).dilation([1, 3]).output_padding([1, 3]),
            Error::OutputPadding {
                axis: 1,
                got: 3,
                limit: 3,
            },
        ),
        (
            "output padding without stride",
            &x,
            &w,
            options().output_padding(1),
            Error::OutputPadding {
                axis: 0,
                got: 1,
                limit: 1,
            },
        ),
        (
            "output size too small",
            &x,
            &w,
            options().stride(2).output_size([8, 11]),
            size(0, 8, 9, 10),
        ),
        (
            "output size too large",
            &x,
            &w,
            options().stride(2).output_size([9, 13]),
            size(1, 13, 11, 12),
        ),
        (
            "output size 0",
            &x,
            &w,
            options().output_size(0),
            size(0, 0, 6, 6),
        ),
        (
            "output size beyond everything",
            &x,
            &w,
            options().output_size(usize::MAX),
            size(0, usize::MAX, 6, 6),
        ),
        (
            "output size and output padding",
            &x,
            &w,
            options().stride(2).output_padding(1).output_size(10),
            Error::OptionConflict {
                first: "output size",
                second: "output padding",
            },
        ),
        (
            "padding that cuts everything",
            &[1, 2, 1, 5],
            &w,
            options().padding(2),
            size(0, 0, 1, 3),
        ),
        (
            "padding beyond everything",
            &x,
            &w,
            options().padding(1 << 61),
            size(0, 0, 1, 6),
        ),
        (
            "padding of 2⁶⁴ − 1",
            &x,
            &w,
            options().padding(usize::MAX),
            overflow.clone(),
        ),
        (
            "stride beyond everything",
            &x,
            &w,
            options().stride(usize::MAX / 2),
            overflow.clone(),
        ),
        (
            "dilation beyond everything",
            &x,
            &w,
            options().dilation(usize::MAX / 2),
            overflow.clone(),
        ),
        (
            "stride 0",
            &x,
            &w,
            options().stride([1, 0]),
            zero("stride", 1),
        ),
        (
            "dilation 0",
            &x,
            &w,
            options().dilation(0),
            zero("dilation", 0),
        ),
        (
            "empty kernel",
            &x,
            &[2, 3, 3, 0],
            options(),
            zero("kernel", 1),
        ),
        (
            "empty image",
            &[1, 2, 0, 5],
            &w,
            options().padding(1),
            zero("input", 0),
        ),
        (
            "no input channels",
            &[1, 0, 4, 5],
            &[0, 3, 3, 3],
            options(),
            count("input channels"),
        ),
        (
            "no output channels",
            &x,
            &[2, 0, 3, 3],
            options(),
            count("output channels"),
        ),
        ("no groups", &x, &w, options().groups(0), count("groups")),
        (
            "groups",
            &[1, 3, 4, 5],
            &[3, 2, 3, 3],
            options().groups(2),
            Error::Groups {
                what: "input channels",
                channels: 3,
                groups: 2,
            },
        ),
        (
            "weight channels",
            &x,
            &[3, 2, 3, 3],
            options(),
            shape(&[2, 2, 3, 3], &[3, 2, 3, 3]),
        ),
        (
            "weight rank",
            &x,
            &[2, 3, 3],
            options(),
            Error::Rank {
                what: "weight",
                expected: 4,
                got: 3,
            },
        ),
        (
            "no spatial axes",
            &[1, 2],
            &[2, 3],
            options(),
            Error::SpatialRank { got: 0 },
        ),
        (
            "wrong layout",
            &[1, 6, 5, 2],
            &w,
            options(),
            Error::LayoutMismatch {
                what: "input",
                shape: vec![1, 6, 5, 2],
                given: "channels first",
                other: "channels last",
                expected: 2,
                got: 6,
            },
        ),
        (
            "list of strides",
            &x,
            &w,
            options().stride([1, 1, 1]),
            listed("stride", 3),
        ),
        (
            "list of dilations",
            &x,
            &w,
            options().dilation([1]),
            listed("dilation", 1),
        ),
        (
            "list of output paddings",
            &x,
            &w,
            options().output_padding([0; 4]),
            listed("output padding", 4),
        ),
        (
            "list of output sizes",
            &x,
            &w,
            options().output_size([6]),
            listed("output size", 1),
        ),
        (
            "list of paddings",
            &x,
            &w,
            options().padding([(0, 0); 3]),
            listed("padding", 3),
        ),
        (
            "weights beyond the address space",
            &[1, 1 << 40, 1],
            &[1 << 40, 1 << 40, 1],
            options(),
            Error::Overflow { what: "weight" },
        ),
    ];
    let mut failures = Failures::new();
    for (name, input, weight, options, expected) in &cases {
        let Ok(results) = catch_unwind(|| entries(input, weight, options)) else {
            failures.check(false, || format!("{name}: panicked"));
            continue;
        };
        for (entry, result) in results {
            failures.check(result.as_ref() == Err(expected), || {
                format!("{name} ({entry}): {result:?}, expected {expected:?}")
            });
        }
    }
    failures.finish(cases.len());
}

#[test]
fn a_bias_of_another_length() {
    let (x, w) = (
        Array4::<f64>::zeros((1, 3, 2, 2)),
        Array4::zeros((3, 2, 2, 2)),
    );
    // As long as there are input channels, which is not what a bias counts.
    for length in [0, 1, 3] {
        let refused = conv_transpose2d(&x, &w, Some(&Array1::zeros(length)), &options());
        assert_eq!(
            refused.unwrap_err(),
            Error::Shape {
                what: "bias",
                expected: vec![2],
                got: vec![length]
            }
        );
    }
}

/// The sizes that PyTorch and ONNX give.
#[test]
fn output_sizes() {
    let mut failures = Failures::new();
    let cases: [(&str, TransposedOptions, usize); 7] = [
        ("plain", options(), 6),
        ("stride", options().stride(3), 12),
        (
            "output padding up to the dilation",
            options().dilation(4).output_padding(3),
            15,
        ),
        ("a size in reach", options().stride(3).output_size([14]), 14),
        (
            "SAME_UPPER",
            options().stride(3).padding(Padding::SameUpper),
            12,
        ),
        (
            "SAME_LOWER",
            options().stride(2).padding(Padding::SameLower),
            8,
        ),
        ("padding to one element", options().padding([(3, 2)]), 1),
    ];
    for (name, options, expected) in cases {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let options = options.clone().layout(layout);
            let geometry =
                TransposedGeometry::new(&layout.shape(2, 5, &[4]), &[5, 3, 3], &options).unwrap();
            let got = geometry.output_shape();
            failures.check(got == layout.shape(2, 3, &[expected]), || {
                format!("{name}: {got:?}, expected {expected}")
            });
        }
    }
    failures.finish(14);
}
