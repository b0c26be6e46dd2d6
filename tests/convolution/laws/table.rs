//! The convolutions that every law is tried on.

use gemmconv::{ConvGeometry, ConvOptions, Element, Padding, PaddingMode};
use ndarray::{ArrayD, Axis};

use crate::support::{Failures, LAYOUTS, Way};

pub const MODES: [PaddingMode; 5] = [
    PaddingMode::Zeros,
    PaddingMode::Constant(3.0),
    PaddingMode::Reflect,
    PaddingMode::Replicate,
    PaddingMode::Circular,
];

/// A convolution of the table: sizes channels first.
#[derive(Clone, Debug)]
pub struct Case {
    pub input: Vec<usize>,
    pub weight: Vec<usize>,
    pub options: ConvOptions,
}

impl Case {
    pub fn new(input: &[usize], weight: &[usize], options: ConvOptions) -> Self {
        Self {
            input: input.to_vec(),
            weight: weight.to_vec(),
            options,
        }
    }

    pub fn geometry(&self) -> ConvGeometry {
        let layout = self.options.layout;
        let input = layout.shape(self.input[0], self.input[1], &self.input[2..]);
        ConvGeometry::new(&input, &self.weight, &self.options).unwrap()
    }
}

/// Ranks 1 to 3; strides that leave a tail, dilation, groups with O ≠ I, a depthwise multiplier, one tap, padding
/// per side, kernels as large as the image; every padding content, both layouts, with and without a flip.
pub fn table() -> Vec<Case> {
    let options = ConvOptions::new;
    let shapes = [
        Case::new(&[2, 3, 9], &[4, 3, 3], options().padding([(1, 2)])),
        Case::new(
            &[1, 2, 12],
            &[3, 2, 4],
            options().stride(3).dilation(2).padding([(2, 0)]),
        ),
        Case::new(&[3, 4, 5], &[6, 2, 5], options().groups(2)),
        Case::new(
            &[2, 3, 6, 5],
            &[4, 3, 3, 2],
            options().padding([(1, 1), (0, 1)]),
        ),
        Case::new(
            &[1, 4, 7, 8],
            &[6, 2, 3, 3],
            options().groups(2).stride([2, 3]).padding(1),
        ),
        Case::new(
            &[2, 3, 6, 6],
            &[6, 1, 2, 3],
            options().groups(3).padding([(0, 1), (2, 1)]),
        ),
        Case::new(&[2, 5, 4, 6], &[3, 5, 1, 1], options()),
        Case::new(&[1, 5, 5, 6], &[3, 5, 1, 1], options().stride(2)),
        Case::new(
            &[1, 2, 8, 7],
            &[2, 2, 2, 2],
            options()
                .stride(4)
                .dilation([3, 1])
                .padding(Padding::SameLower),
        ),
        Case::new(
            &[1, 2, 4, 3, 5],
            &[4, 2, 2, 3, 2],
            options().padding([(1, 0), (1, 1), (0, 2)]),
        ),
        Case::new(
            &[2, 2, 4, 4, 4],
            &[2, 1, 3, 2, 2],
            options().groups(2).stride([2, 1, 2]).padding(1),
        ),
    ];
    let mut table = Vec::new();
    for case in shapes {
        for mode in MODES {
            for layout in LAYOUTS {
                for flip in [false, true] {
                    let mut case = case.clone();
                    case.options = case
                        .options
                        .padding_mode(mode)
                        .layout(layout)
                        .flip_kernel(flip);
                    table.push(case);
                }
            }
        }
    }
    table
}

/// Runs `law` on every case of the table by every way of f32 on one and two threads.
pub fn everywhere(law: impl Fn(&mut Failures, &str, &Case, &ConvGeometry, Way)) {
    on::<f32>(&table(), &[1, 2], law);
}

/// Runs `law` on each of `cases` by every way that takes it in `T`; it must check something on each.
pub fn on<T: Element>(
    cases: &[Case],
    threads: &[usize],
    law: impl Fn(&mut Failures, &str, &Case, &ConvGeometry, Way),
) {
    let mut failures = Failures::new();
    let mut runs = 0;
    for case in cases {
        let geometry = case.geometry();
        for way in Way::on::<T>(&geometry, threads) {
            let before = failures.checks();
            runs += 1;
            law(
                &mut failures,
                &format!("{case:?} ({way})"),
                case,
                &geometry,
                way,
            );
            assert!(
                failures.checks() > before,
                "nothing was checked: {case:?} ({way})"
            );
        }
    }
    assert!(
        runs >= cases.len() * 3,
        "{runs} runs of {} cases",
        cases.len()
    );
    failures.finish(runs);
}

/// What stands in constant padding adds to y without being a part of x.
pub fn without_constant(case: &Case) -> Case {
    let mut case = case.clone();
    if let PaddingMode::Constant(_) = case.options.padding_mode {
        case.options.padding_mode = PaddingMode::Zeros;
    }
    case
}

/// The array with its last axes, from the third on, reversed.
pub fn reversed(array: &ArrayD<f64>) -> ArrayD<f64> {
    let mut view = array.view();
    for axis in 2..array.ndim() {
        view.invert_axis(Axis(axis));
    }
    view.as_standard_layout().into_owned()
}
