//! Impossible channels, groups, weights and biases.

use gemmconv::{ConvGeometry, ConvPlan, EngineKind, Error, Layout, PlanOptions, conv2d};
use ndarray::{Array1, Array4};

use super::refused::{Request, entries, options, refuse_all, request};

/// Wrong in ranks, channels, groups or weights.
fn channels() -> Vec<Request> {
    let count = |what| Error::ZeroCount { what };
    let rank = |expected, got| Error::Rank {
        what: "weight",
        expected,
        got,
    };
    let spatial = |got| Error::SpatialRank { got };
    let weight = |expected: &[usize], got: &[usize]| Error::Shape {
        what: "weight",
        expected: expected.to_vec(),
        got: got.to_vec(),
    };
    let mixed = |shape: &[usize], given, other, expected, got| Error::LayoutMismatch {
        what: "input",
        shape: shape.to_vec(),
        given,
        other,
        expected,
        got,
    };
    let groups = |what, channels, groups| Error::Groups {
        what,
        channels,
        groups,
    };
    let last = || options().layout(Layout::ChannelsLast);
    vec![
        // CVE-2021-29526, -37675, -41209, TFSA-2021-016: empty filters.
        request(
            "no output channels",
            &[1, 2, 4, 4],
            &[0, 2, 3, 3],
            options(),
            count("output channels"),
        ),
        request(
            "nothing at all",
            &[0, 0, 0, 0],
            &[0, 0, 0, 0],
            options(),
            count("output channels"),
        ),
        request(
            "no groups",
            &[1, 2, 4, 4],
            &[3, 2, 3, 3],
            options().groups(0),
            count("groups"),
        ),
        request(
            "no channels",
            &[1, 0, 4, 4],
            &[3, 0, 3, 3],
            options(),
            count("input channels"),
        ),
        request(
            "groups and C",
            &[1, 5, 6, 6],
            &[4, 2, 3, 3],
            options().groups(2),
            groups("input channels", 5, 2),
        ),
        request(
            "groups and O",
            &[1, 4, 4, 4],
            &[3, 2, 3, 3],
            options().groups(2),
            groups("output channels", 3, 2),
        ),
        request(
            "more groups than channels",
            &[1, 4, 4, 4],
            &[8, 1, 3, 3],
            options().groups(8),
            groups("input channels", 4, 8),
        ),
        // Shapes. rten 1378: checked before the way of one tap, too.
        request(
            "weight channels",
            &[1, 3, 6, 5],
            &[4, 2, 3, 3],
            options(),
            weight(&[4, 3, 3, 3], &[4, 2, 3, 3]),
        ),
        request(
            "one tap",
            &[1, 3, 6, 5],
            &[4, 7, 1, 1],
            options(),
            weight(&[4, 3, 1, 1], &[4, 7, 1, 1]),
        ),
        request(
            "depthwise",
            &[1, 6, 4, 4],
            &[6, 6, 3, 3],
            options().groups(6),
            weight(&[6, 1, 3, 3], &[6, 6, 3, 3]),
        ),
        request(
            "no weight channels",
            &[1, 3, 6, 5],
            &[4, 0, 3, 3],
            options(),
            weight(&[4, 3, 3, 3], &[4, 0, 3, 3]),
        ),
        // Ranks. pytorch 3039, ONNX 6195: more axes in the weight than in the image.
        request(
            "kernel of rank 1",
            &[1, 3, 6, 5],
            &[4, 3, 3],
            options(),
            rank(4, 3),
        ),
        request(
            "kernel of rank 3",
            &[1, 3, 6, 5],
            &[4, 3, 3, 3, 3],
            options(),
            rank(4, 5),
        ),
        request(
            "weight without axes",
            &[1, 3, 6, 5],
            &[],
            options(),
            rank(4, 0),
        ),
        request("no spatial axes", &[1, 3], &[4, 3], options(), spatial(0)),
        request("no axes", &[], &[], options(), spatial(0)),
        request(
            "four spatial axes",
            &[1, 1, 2, 2, 2, 2],
            &[1, 1, 1, 1, 1, 1],
            options(),
            spatial(4),
        ),
        // Layouts: the channels fit only the other one.
        request(
            "channels last, given as first",
            &[1, 8, 9, 3],
            &[4, 3, 3, 3],
            options(),
            mixed(&[1, 8, 9, 3], "channels first", "channels last", 3, 8),
        ),
        request(
            "channels first, given as last",
            &[1, 3, 8, 9],
            &[4, 3, 3, 3],
            last(),
            mixed(&[1, 3, 8, 9], "channels last", "channels first", 3, 9),
        ),
        request(
            "wrong layout that looks like wrong groups",
            &[1, 7, 9, 4],
            &[4, 2, 3, 3],
            options().groups(2),
            mixed(&[1, 7, 9, 4], "channels first", "channels last", 4, 7),
        ),
        request(
            "CVE-2021-29540",
            &[1, 1, 1, 2],
            &[1, 1, 1, 1],
            last().stride([66, 49]),
            mixed(&[1, 1, 1, 2], "channels last", "channels first", 1, 2),
        ),
        // Products that only the weights make too large.
        request(
            "weights beyond the address space",
            &[1, 1, 4],
            &[1 << 40, 1, 1 << 25],
            options().padding(1 << 25).stride(1 << 25),
            Error::Overflow { what: "weight" },
        ),
        request(
            "a result beyond the address space",
            &[1 << 40, 1, 1],
            &[1 << 22, 1, 1],
            options(),
            Error::Overflow { what: "output" },
        ),
        request(
            "groups beyond everything",
            &[1, 4, 4],
            &[4, 4, 1],
            options().groups(usize::MAX),
            groups("input channels", 4, usize::MAX),
        ),
    ]
}

#[test]
fn impossible_channels() {
    refuse_all(channels(), entries);
}

/// ORT d9872d8e50, rten 1280: the length of the bias.
#[test]
fn a_bias_of_another_length() {
    let (x, w) = (
        Array4::<f32>::zeros((1, 3, 5, 5)),
        Array4::zeros((4, 3, 3, 3)),
    );
    for length in [0, 1, 3, 5, 1000] {
        let refused = conv2d(&x, &w, Some(&Array1::zeros(length)), &options());
        let expected = Error::Shape {
            what: "bias",
            expected: vec![4],
            got: vec![length],
        };
        assert_eq!(refused.unwrap_err(), expected);
    }
    assert!(conv2d(&x, &w, Some(&Array1::zeros(4)), &options()).is_ok());
}

#[test]
fn an_engine_that_is_not_there() {
    let geometry = ConvGeometry::new(&[1, 1, 4], &[1, 1, 2], &options()).unwrap();
    let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new().engine(EngineKind::Blas));
    match EngineKind::available().contains(&EngineKind::Blas) {
        true => assert!(plan.is_ok()),
        false => assert_eq!(
            plan.unwrap_err(),
            Error::EngineMissing {
                engine: "blas",
                feature: "blas"
            }
        ),
    }
}
