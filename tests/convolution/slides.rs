//! The tables of the course, each computed by every recipe and engine.

use crate::support::{Failures, Operands, Way};
use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, Layout, Padding, conv2d};
use ndarray::{Array2, Array4, ArrayD, IxDyn, array};

fn batch(matrix: &Array2<f64>) -> ArrayD<f64> {
    let shape = [1, 1, matrix.nrows(), matrix.ncols()];
    ArrayD::from_shape_vec(IxDyn(&shape), matrix.iter().copied().collect()).unwrap()
}

/// Every way to compute one of them; the numbers are small integers.
fn ways(image: &Array2<f64>, kernel: &Array2<f64>, options: &ConvOptions) -> Vec<Way> {
    let (x, w) = (batch(image), batch(kernel));
    let geometry = ConvGeometry::new(x.shape(), w.shape(), options).unwrap();
    Way::on::<f32>(&geometry, &[1, 2])
}

/// One image, one kernel, one result, as the slides print them.
fn filter(
    image: &Array2<f64>,
    kernel: &Array2<f64>,
    options: &ConvOptions,
    way: Way,
) -> Array2<f64> {
    let (x, w) = (batch(image), batch(kernel));
    let geometry = ConvGeometry::new(x.shape(), w.shape(), options).unwrap();
    let operands = Operands {
        dy: ArrayD::zeros(geometry.output_shape()),
        x,
        w,
        b: vec![0.0],
    };
    let y = operands.conv(&geometry, way).y;
    let (rows, columns) = (y.shape()[2], y.shape()[3]);
    y.into_shape_with_order((rows, columns)).unwrap()
}

/// Six rows of 1 1 0 0 0 0 1 1: black in the middle of white.
fn edges() -> Array2<f64> {
    Array2::from_shape_fn(
        (6, 8),
        |(_, column)| if (2..6).contains(&column) { 0.0 } else { 1.0 },
    )
}

/// The matrices 4 × 4 and 3 × 3 of the Sobel slides. The printed SAME result has sixteen values for nine
/// unknown weights and leaves only these: so the slides mean cross-correlation, without a flip.
fn sobel() -> (Array2<f64>, Array2<f64>) {
    (
        array![
            [2., 0., 3., 1.],
            [1., 1., 0., 0.],
            [1., 0., 2., 0.],
            [1., 0., 1., 2.]
        ],
        array![[1., 0., -1.], [2., 0., -2.], [1., 0., -1.]],
    )
}

/// The kernel whose rows are 1, 0 and −1.
fn rows() -> Array2<f64> {
    array![[1., 1., 1.], [0., 0., 0.], [-1., -1., -1.]]
}

/// A 4 × 4 image with the printed answer [[−4, −3], [3, −8]] under [`rows`]. The picture of the slide is
/// not at hand; a result y(i, j) is Σ x(i, j..j+3) − Σ x(i+2, j..j+3), and this is one image of digits
/// with those four values.
fn rows_image() -> Array2<f64> {
    array![
        [1., 2., 3., 4.],
        [9., 2., 1., 1.],
        [4., 3., 3., 6.],
        [5., 1., 3., 8.]
    ]
}

/// The slide's detector: 30 along a curve.
fn curve() -> Array2<f64> {
    let mut kernel = Array2::zeros((7, 7));
    for (row, column) in [(0, 5), (1, 4), (2, 3), (3, 3), (4, 3), (5, 3)] {
        kernel[[row, column]] = 30.0;
    }
    kernel
}

/// A patch of the drawing that follows the curve: five of its pixels lie under the 30s, 50, 20, 50, 50, 50.
fn on_the_curve() -> Array2<f64> {
    array![
        [0., 0., 0., 0., 0., 0., 30.],
        [0., 0., 0., 0., 50., 50., 50.],
        [0., 0., 0., 20., 50., 0., 0.],
        [0., 0., 0., 50., 50., 0., 0.],
        [0., 0., 0., 50., 50., 0., 0.],
        [0., 0., 0., 50., 50., 0., 0.],
        [0., 0., 0., 50., 50., 0., 0.],
    ]
}

/// Another patch: none of its ink lies under the curve.
fn off_the_curve() -> Array2<f64> {
    array![
        [0., 0., 0., 0., 0., 0., 0.],
        [0., 40., 0., 0., 0., 0., 0.],
        [40., 0., 40., 0., 0., 0., 0.],
        [40., 20., 0., 0., 0., 0., 0.],
        [0., 50., 0., 0., 0., 0., 0.],
        [0., 0., 50., 0., 0., 0., 0.],
        [25., 25., 0., 50., 0., 0., 0.],
    ]
}

#[test]
fn every_printed_table() {
    let (valid, same) = (
        ConvOptions::new(),
        ConvOptions::new().padding(Padding::SameUpper),
    );
    let counted = |rows: usize, columns: usize| {
        Array2::from_shape_fn((rows, columns), |(row, column)| {
            (row * columns + column) as f64
        })
    };
    let edge = array![[1., -1.]];
    let found = Array2::from_shape_fn((6, 7), |(_, column)| match column {
        1 => 1.0,
        5 => -1.0,
        _ => 0.0,
    });
    let (image, kernel) = sobel();
    let tables = [
        (
            "3×3 ∗ 2×2",
            counted(3, 3),
            counted(2, 2),
            &valid,
            array![[19., 25.], [37., 43.]],
        ),
        ("edges", edges(), edge.clone(), &valid, found),
        (
            "edges, transposed",
            edges().reversed_axes(),
            edge,
            &valid,
            Array2::zeros((8, 5)),
        ),
        (
            "rows 1 / 0 / −1",
            rows_image(),
            rows(),
            &valid,
            array![[-4., -3.], [3., -8.]],
        ),
        (
            "Sobel VALID",
            image.clone(),
            kernel.clone(),
            &valid,
            array![[0., 1.], [-1., -1.]],
        ),
        (
            "Sobel SAME",
            image,
            kernel,
            &same,
            array![
                [-1., -1., -1., 6.],
                [-2., 0., 1., 5.],
                [-1., -1., -1., 5.],
                [0., -1., -4., 4.]
            ],
        ),
        // 50·30 + 50·30 + 50·30 + 20·30 + 50·30
        ("curve", on_the_curve(), curve(), &valid, array![[6600.]]),
        ("no curve", off_the_curve(), curve(), &valid, array![[0.]]),
    ];
    let mut failures = Failures::new();
    for (name, image, kernel, options, expected) in &tables {
        for way in ways(image, kernel, options) {
            let got = filter(image, kernel, options, way);
            failures.equal(
                &format!("{name} ({way})"),
                &got.into_dyn(),
                &expected.clone().into_dyn(),
            );
        }
    }
    failures.finish(tables.len() * Way::FEWEST);
}

/// Two slides give the lower row of the same picture as 3, −8 and as 2, −9: one picture cannot have both.
///
/// Both lower results are Σ x(1, ·) − Σ x(3, ·) over three columns. The upper row is the same on both slides,
/// and both lower results of the later one are too small by exactly one. The two sums share the inner
/// columns, so one slip there explains both: a pixel of row 3 read one too large, or of row 1 one too small,
/// as shown here. The first table is taken for right, and the later one, which repeats it, for the one with the
/// slip: without the slide's picture the numbers say that one is wrong, not which.
#[test]
fn one_misread_pixel_separates_two_slides() {
    let misread = |row: usize, column: usize, by: f64| {
        let mut image = rows_image();
        image[[row, column]] += by;
        filter(&image, &rows(), &ConvOptions::new(), Way::LOOPS)
    };
    assert_eq!(misread(3, 1, 0.0), array![[-4., -3.], [3., -8.]]);
    for (row, column, by) in [(3, 1, 1.0), (3, 2, 1.0), (1, 1, -1.0), (1, 2, -1.0)] {
        assert_eq!(misread(row, column, by), array![[-4., -3.], [2., -9.]]);
    }
    // An outer pixel moves one result alone.
    assert_eq!(misread(3, 0, 1.0), array![[-4., -3.], [2., -8.]]);
}

/// n, f, s, p → ⌊(n + 2p − f) / s⌋ + 1, and the volumes of the slides.
#[test]
fn output_sizes_and_parameters() {
    let mut failures = Failures::new();
    let line = [
        // n, f, s, p, output
        (6, 3, 1, 0, 4),
        (6, 3, 1, 1, 6),
        (7, 3, 2, 0, 3),
        (7, 3, 2, 1, 4),
        (7, 3, 1, 0, 5),
        (5, 3, 2, 0, 2),
        (5, 3, 2, 1, 3),
        (3, 2, 1, 0, 2),
        (8, 2, 1, 0, 7),
        (32, 5, 1, 2, 32),
        (227, 11, 4, 0, 55),
        (39, 3, 1, 0, 37),
        (37, 5, 2, 0, 17),
        (17, 5, 2, 0, 7),
    ];
    for (n, f, s, p, expected) in line {
        let options = ConvOptions::new().stride(s).padding(p);
        let got = ConvGeometry::new(&[1, 1, n, n], &[1, 1, f, f], &options)
            .unwrap()
            .output_shape();
        failures.check(got == [1, 1, expected, expected], || {
            format!("n {n} f {f} s {s} p {p}: {got:?}, expected {expected}")
        });
    }
    let half = ConvOptions::new().stride(2).padding(Padding::SameUpper);
    let last = half.clone().layout(Layout::ChannelsLast);
    let volumes = [
        (
            "MNIST",
            [1, 28, 28, 1],
            [16, 1, 5, 5],
            &last,
            [1, 14, 14, 16],
            (5 * 5 + 1) * 16,
        ),
        (
            "CIFAR",
            [1, 32, 32, 3],
            [16, 3, 5, 5],
            &last,
            [1, 16, 16, 16],
            (5 * 5 * 3 + 1) * 16,
        ),
        (
            "CIFAR, channels first",
            [1, 3, 32, 32],
            [16, 3, 5, 5],
            &half,
            [1, 16, 16, 16],
            1216,
        ),
        (
            "6×6×3 ∗ 4 kernels",
            [1, 3, 6, 6],
            [4, 3, 3, 3],
            &ConvOptions::new(),
            [1, 4, 4, 4],
            112,
        ),
    ];
    for (name, input, weight, options, output, parameters) in volumes {
        let geometry = ConvGeometry::new(&input, &weight, options).unwrap();
        let got = (geometry.output_shape(), geometry.parameters(true));
        failures.check(got == (output.to_vec(), parameters), || {
            format!("{name}: {got:?}")
        });
        // The shape is also what is computed.
        let y = conv2d(
            &Array4::<f32>::ones(input),
            &Array4::ones(weight),
            None,
            options,
        )
        .unwrap();
        failures.check(y.shape() == output, || {
            format!("{name}: computed {:?}", y.shape())
        });
    }
    failures.finish(line.len() + 8);
}

/// The kernel [1, −1] found from the edge image and its edges alone: ten steps w ← w − 0.03 · dL/dw of the
/// squared error L = Σ (conv(x, w) − y)².
#[test]
fn learning_the_edge_kernel() {
    let x = edges().into_shape_with_order((1, 1, 6, 8)).unwrap();
    let wanted = Array4::from_shape_vec((1, 1, 1, 2), vec![1.0, -1.0]).unwrap();
    let y = conv2d(&x, &wanted, None, &ConvOptions::new()).unwrap();
    let geometry = ConvGeometry::new(x.shape(), wanted.shape(), &ConvOptions::new()).unwrap();
    let mut failures = Failures::new();
    let ways = Way::on::<f64>(&geometry, &[1]);
    for way in &ways {
        let plan = ConvPlan::new(&geometry, &way.options()).unwrap();
        for start in [
            [0., 0.],
            [0.5, 0.5],
            [-0.7, 0.7],
            [1., 1.],
            [-1., -1.],
            [0.3, -0.6],
            [-0.1, -0.9],
        ] {
            let mut w = Array4::from_shape_vec((1, 1, 1, 2), start.to_vec()).unwrap();
            let mut losses = Vec::new();
            for _ in 0..10 {
                let weights = plan.prepare(&w).unwrap();
                let error = plan
                    .forward(&x, &weights, &gemmconv::Epilogue::none())
                    .unwrap()
                    - &y;
                losses.push(error.mapv(|e| e * e).sum());
                w.scaled_add(-3e-2, &plan.backward_weight(&x, &(2.0 * error)).unwrap());
            }
            let distance = (&w - &wanted)
                .iter()
                .fold(0.0, |most: f64, d| most.max(d.abs()));
            failures.check(distance < 0.15, || {
                format!("{way} from {start:?}: {w} after ten steps")
            });
            failures.check(
                losses.is_sorted_by(|earlier, later| earlier > later),
                || format!("{way} from {start:?}: losses {losses:?}"),
            );
        }
    }
    failures.finish(ways.len() * 14);
}
