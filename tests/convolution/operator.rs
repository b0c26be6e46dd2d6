//! Linear algebra of convolution: matrices against the passes, circulants, composition, and the Fourier transform.
//!
//! Small integers, so that everything but the Fourier transform is exact.

use gemmconv::operator::{
    ConvolveMode, block_circulant, circulant, circular_convolution, compose, convolution_matrix,
    convolution_matrix_sparse, convolve, correlate, shift_matrix, toeplitz,
};
use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Element, Layout, PaddingMode, PlanOptions, conv,
};
use ndarray::{Array1, Array2, ArrayD, Axis, Ix1, Ix2, IxDyn};

const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];
const MODES: [PaddingMode; 5] = [
    PaddingMode::Zeros,
    PaddingMode::Constant(2.0),
    PaddingMode::Reflect,
    PaddingMode::Replicate,
    PaddingMode::Circular,
];

struct Random(fastrand::Rng);

impl Random {
    fn integers<T: Element>(&mut self, shape: &[usize]) -> ArrayD<T> {
        ArrayD::from_shape_simple_fn(IxDyn(shape), || T::from_f64(f64::from(self.0.i32(-4..=4))))
    }

    fn sizes(&mut self, rank: usize, low: usize, high: usize) -> Vec<usize> {
        (0..rank).map(|_| self.0.usize(low..=high)).collect()
    }

    fn choose<V: Copy>(&mut self, values: &[V]) -> V {
        values[self.0.usize(..values.len())]
    }

    /// Options without padding.
    fn options(&mut self, rank: usize, layout: Layout) -> ConvOptions {
        ConvOptions::new()
            .stride(self.sizes(rank, 1, 3).as_slice())
            .dilation(self.sizes(rank, 1, 3).as_slice())
            .flip_kernel(self.0.bool())
            .layout(layout)
    }

    /// Padding per side.
    fn pads(&mut self, rank: usize) -> Vec<(usize, usize)> {
        (0..rank)
            .map(|_| (self.0.usize(0..3), self.0.usize(0..3)))
            .collect()
    }

    /// A convolution that exists: any rank, stride, dilation, groups, layout, flip, padding and content.
    fn geometry(&mut self) -> (ConvGeometry, ConvOptions) {
        loop {
            let rank = self.0.usize(1..=3);
            let layout = self.choose(&LAYOUTS);
            let groups = self.0.usize(1..=3);
            let options = self
                .options(rank, layout)
                .padding(self.pads(rank).as_slice())
                .padding_mode(self.choose(&MODES))
                .groups(groups);
            let (per_group, outputs) = (self.0.usize(1..=2), groups * self.0.usize(1..=3));
            let input = layout.shape(2, groups * per_group, &self.sizes(rank, 1, 6));
            let weight = [&[outputs, per_group], self.sizes(rank, 1, 3).as_slice()].concat();
            if let Ok(geometry) = ConvGeometry::new(&input, &weight, &options) {
                return (geometry, options);
            }
        }
    }
}

fn random(seed: u64) -> Random {
    Random(fastrand::Rng::with_seed(seed))
}

/// The elements of an array in standard order.
fn flat<T: Copy>(array: &ArrayD<T>) -> Array1<T> {
    array.iter().copied().collect()
}

/// M · vec(x) is the forward pass without the constant, Mᵀ · vec(dy) the gradient of the input; sparse is dense.
fn matrices_are_the_passes<T: Element>(seed: u64) {
    let mut random = random(seed);
    for _ in 0..500 {
        let (geometry, options) = random.geometry();
        let x = random.integers::<T>(&geometry.input_shape());
        let w = random.integers::<T>(&geometry.weight_shape());
        let dy = random.integers::<T>(&geometry.output_shape());
        let mode = match options.padding_mode {
            PaddingMode::Constant(_) => PaddingMode::Zeros,
            mode => mode,
        };
        let y = conv(&x, &w, None, &options.clone().padding_mode(mode)).unwrap();
        let plan = ConvPlan::new(&geometry, &PlanOptions::new()).unwrap();
        let weights = plan.prepare(&w).unwrap();
        let dx = plan.backward_input(&weights, &dy).unwrap();

        let dense = convolution_matrix(&geometry, &w).unwrap();
        let sparse = convolution_matrix_sparse(&geometry, &w).unwrap();
        assert_eq!(sparse.to_dense().unwrap(), dense, "{geometry:?}");
        let transposed = sparse.transposed().unwrap();
        assert_eq!(transposed.to_dense().unwrap(), dense.t(), "{geometry:?}");
        assert_eq!(sparse.triplets().count(), sparse.nnz());
        for row in 0..sparse.shape()[0] {
            let columns: Vec<usize> = sparse.row(row).map(|(column, _)| column).collect();
            assert!(columns.is_sorted_by(|a, b| a < b), "{geometry:?}");
        }

        let images = x.outer_iter().zip(y.outer_iter());
        for (x, y) in images.map(|(x, y)| (flat(&x.to_owned()), flat(&y.to_owned()))) {
            assert_eq!(sparse.matvec(&x).unwrap(), y, "{geometry:?}");
        }
        let images = dy.outer_iter().zip(dx.outer_iter());
        for (dy, dx) in images.map(|(dy, dx)| (flat(&dy.to_owned()), flat(&dx.to_owned()))) {
            assert_eq!(sparse.transpose_matvec(&dy).unwrap(), dx, "{geometry:?}");
            assert_eq!(transposed.matvec(&dy).unwrap(), dx, "{geometry:?}");
        }
    }
}

#[test]
fn matrices_are_the_passes_in_f32() {
    matrices_are_the_passes::<f32>(1);
}

#[test]
fn matrices_are_the_passes_in_f64() {
    matrices_are_the_passes::<f64>(2);
}

/// Sum, circulant matrix, and the layer with circular padding and a flipped kernel: one axis and two.
#[test]
fn circular_convolution_in_three_ways() {
    let mut random = random(3);
    for shape in [
        &[1][..],
        &[2],
        &[7],
        &[12],
        &[1, 5],
        &[4, 1],
        &[3, 4],
        &[5, 5],
        &[6, 3],
    ] {
        let (a, b) = (random.integers::<f64>(shape), random.integers::<f64>(shape));
        let y = circular_convolution(&a, &b).unwrap();
        assert_eq!(y, circular_convolution(&b, &a).unwrap());

        let matrix = match shape.len() {
            1 => circulant(&a.view().into_dimensionality::<Ix1>().unwrap()),
            _ => block_circulant(&a.view().into_dimensionality::<Ix2>().unwrap()),
        };
        let matrix = matrix.unwrap();
        assert_eq!(matrix.dot(&flat(&b)), flat(&y));

        let pads: Vec<(usize, usize)> = shape.iter().map(|n| (n - 1, 0)).collect();
        let options = ConvOptions::new()
            .padding(pads.as_slice())
            .padding_mode(PaddingMode::Circular)
            .flip_kernel(true);
        let one = |array: &ArrayD<f64>| array.clone().insert_axis(Axis(0)).insert_axis(Axis(0));
        let layer = conv(&one(&b), &one(&a), None, &options).unwrap();
        assert_eq!(layer, one(&y));
        let geometry = ConvGeometry::new(one(&b).shape(), one(&a).shape(), &options).unwrap();
        assert_eq!(convolution_matrix(&geometry, &one(&a)).unwrap(), matrix);
    }
    let volumes = (
        random.integers::<f32>(&[2, 3, 4]),
        random.integers::<f32>(&[2, 3, 4]),
    );
    let y = circular_convolution(&volumes.0, &volumes.1).unwrap();
    let expected = ArrayD::from_shape_fn(IxDyn(&[2, 3, 4]), |i| {
        let mut sum = 0.0;
        for (j, b) in volumes.1.indexed_iter() {
            let behind = |axis: usize, n: usize| (i[axis] + n - j[axis]) % n;
            sum += volumes.0[[behind(0, 2), behind(1, 3), behind(2, 4)]] * b;
        }
        sum
    });
    assert_eq!(y, expected);
}

#[test]
fn circulants_commute_with_each_other_and_with_shifts() {
    let mut random = random(4);
    for n in [1, 2, 5, 8, 11] {
        let mut vector = || random.integers::<f64>(&[n]).into_dimensionality::<Ix1>();
        let (a, b, x) = (vector().unwrap(), vector().unwrap(), vector().unwrap());
        let (ca, cb) = (circulant(&a).unwrap(), circulant(&b).unwrap());
        assert_eq!(ca.dot(&cb), cb.dot(&ca));
        assert_eq!(
            ca.dot(&cb),
            circulant(&circular_convolution(&a, &b).unwrap()).unwrap()
        );
        for k in -3..=3 {
            let shift = shift_matrix::<f64>(n, k).unwrap();
            assert_eq!(shift.dot(&ca.dot(&x)), ca.dot(&shift.dot(&x)));
            assert_eq!(shift.t(), shift_matrix::<f64>(n, -k).unwrap());
        }
    }
    // A Toeplitz matrix without wrapping does not commute: the edge is another.
    let row = ndarray::array![1., 0., 0.];
    let toeplitz = toeplitz(&ndarray::array![1., 2., 0.], &row).unwrap();
    let shift = shift_matrix::<f64>(3, 1).unwrap();
    assert_ne!(toeplitz.dot(&shift), shift.dot(&toeplitz));
}

/// The matrix of a layer of one axis is a Toeplitz matrix, with and without zeros around.
#[test]
fn a_layer_of_one_axis_is_a_toeplitz_matrix() {
    let kernel = ndarray::array![[[3., 5., 7.]]];
    for pad in [0, 1, 2] {
        let options = ConvOptions::new().padding(pad);
        let geometry = ConvGeometry::new(&[1, 1, 8], &[1, 1, 3], &options).unwrap();
        let matrix = convolution_matrix(&geometry, &kernel).unwrap();
        let expected = toeplitz(&matrix.column(0), &matrix.row(0)).unwrap();
        assert_eq!(matrix, expected);
    }
}

/// With no padding between them, or zeros around a full first one.
#[test]
fn two_convolutions_are_one() {
    let mut random = random(5);
    let (mut done, mut full, mut strided) = (0, 0, 0);
    while done < 400 {
        let rank = random.0.usize(1..=3);
        let layout = random.choose(&LAYOUTS);
        let image = random.sizes(rank, 6, 15);
        let (kernel, next_kernel) = (random.sizes(rank, 1, 3), random.sizes(rank, 1, 3));
        let groups = [random.choose(&[1, 2, 4]), random.choose(&[1, 2, 3, 6])];
        let middle = 12;
        let (first, second) = (
            random.options(rank, layout).groups(groups[0]),
            random.options(rank, layout).groups(groups[1]),
        );
        let is_full = random.0.bool();
        let (first, second) = if is_full {
            let reach = |axis: usize| {
                (kernel[axis] - 1) * first.dilation.get("dilation", rank, axis).unwrap()
            };
            let pads: Vec<(usize, usize)> = random
                .pads(rank)
                .iter()
                .enumerate()
                .map(|(axis, more)| (reach(axis) + more.0, reach(axis) + more.1))
                .collect();
            let next = random.pads(rank);
            (
                first.padding(pads.as_slice()),
                second.padding(next.as_slice()),
            )
        } else {
            let mode = random.choose(&MODES);
            let pads = random.pads(rank);
            (first.padding(pads.as_slice()).padding_mode(mode), second)
        };
        let x = random.integers::<f64>(&layout.shape(1, 2 * groups[0], &image));
        let w = random.integers::<f64>(&[&[middle, 2], kernel.as_slice()].concat());
        let outputs = groups[1] * 2;
        let next_shape = [&[outputs, middle / groups[1]], next_kernel.as_slice()].concat();
        let next = random.integers::<f64>(&next_shape);
        let Ok(between) = conv(&x, &w, None, &first) else {
            continue;
        };
        let Ok(expected) = conv(&between, &next, None, &second) else {
            continue;
        };
        let (composed, options) = compose((&w, &first), (&next, &second)).unwrap();
        let y = conv(&x, &composed, None, &options).unwrap();
        assert_eq!(y, expected, "{first:?}\n{second:?}");
        done += 1;
        full += usize::from(is_full);
        strided += usize::from(options.stride != ConvOptions::new().stride);
    }
    assert!(full > 50 && strided > 100, "{full} {strided}");
}

/// Three layers of 3 taps see what one of 7 taps sees, and are one of 7 taps.
#[test]
fn a_stack_is_composed_layer_by_layer() {
    let mut random = random(6);
    let options = ConvOptions::new();
    let layers: Vec<_> = [(3, 2), (4, 3), (2, 4)]
        .map(|(o, c)| random.integers::<f64>(&[o, c, 3, 3]))
        .into();
    let x = random.integers::<f64>(&[2, 2, 10, 9]);
    let mut y = x.clone();
    let mut all = (layers[0].clone(), options.clone());
    for (at, layer) in layers.iter().enumerate() {
        y = conv(&y, layer, None, &options).unwrap();
        if at > 0 {
            all = compose((&all.0, &all.1), (layer, &options)).unwrap();
        }
    }
    assert_eq!(all.0.shape(), [2, 2, 7, 7]);
    assert_eq!(conv(&x, &all.0, None, &all.1).unwrap(), y);
}

/// Full, same and valid by their sums; convolution is correlation with the kernel reversed.
#[test]
fn modes_by_their_sums() {
    let mut random = random(7);
    for (n, m) in [(1, 1), (5, 1), (5, 2), (5, 3), (6, 4), (6, 6)] {
        for (rows, kernel_rows) in [(1, 1), (4, 2), (3, 3)] {
            let mut plane = |shape: &[usize]| {
                let values = random.integers::<f64>(shape);
                values.into_dimensionality::<Ix2>().unwrap()
            };
            let (a, v) = (plane(&[rows, n]), plane(&[kernel_rows, m]));
            let full_shape = (rows + kernel_rows - 1, n + m - 1);
            let mut full = Array2::<f64>::zeros(full_shape);
            for ((i, j), a) in a.indexed_iter() {
                for ((k, l), v) in v.indexed_iter() {
                    full[[i + k, j + l]] += a * v;
                }
            }
            let part = |from: (usize, usize), size: (usize, usize)| {
                full.slice(ndarray::s![
                    from.0..from.0 + size.0,
                    from.1..from.1 + size.1
                ])
                .to_owned()
            };
            let valid = (rows - kernel_rows + 1, n - m + 1);
            for (mode, expected) in [
                (ConvolveMode::Full, full.clone()),
                (
                    ConvolveMode::Same,
                    part(((kernel_rows - 1) / 2, (m - 1) / 2), (rows, n)),
                ),
                (ConvolveMode::Valid, part((kernel_rows - 1, m - 1), valid)),
            ] {
                assert_eq!(convolve(&a, &v, mode).unwrap(), expected, "{mode:?}");
                let reversed = v.slice(ndarray::s![..;-1, ..;-1]);
                assert_eq!(correlate(&a, &reversed, mode).unwrap(), expected);
            }
        }
    }
}

/// Within c · ε · log₂ n of the size of what is transformed.
#[cfg(feature = "fft")]
mod fourier {
    use super::*;
    use gemmconv::operator::{
        Complex, circular_convolution_fft, fourier_matrix, fourier_transform,
        inverse_fourier_transform,
    };

    /// 4 · u · log₂(2n), with the unit roundoff of the type that results are rounded to.
    fn tolerance<T: Element>(n: usize) -> f64 {
        4.0 * T::UNIT_ROUNDOFF * (2.0 * n as f64).log2()
    }

    fn norm<T: Element>(values: &ArrayD<T>) -> f64 {
        values
            .iter()
            .map(|value| value.to_f64() * value.to_f64())
            .sum::<f64>()
            .sqrt()
    }

    fn theorem<T: Element>(seed: u64) {
        let mut random = random(seed);
        for shape in [
            &[1][..],
            &[2],
            &[31],
            &[64],
            &[210],
            &[1, 9],
            &[8, 15],
            &[13, 11],
            &[3, 4, 5],
        ] {
            let mut draw =
                || ArrayD::from_shape_simple_fn(IxDyn(shape), || T::from_f64(random.0.f64() - 0.5));
            let (a, b) = (draw(), draw());
            let expected = circular_convolution(&a.mapv(T::to_f64), &b.mapv(T::to_f64)).unwrap();
            let got = circular_convolution_fft(&a, &b).unwrap();
            let bound = tolerance::<T>(a.len()) * norm(&a) * norm(&b);
            for (got, expected) in got.iter().zip(&expected) {
                assert!((got.to_f64() - expected).abs() <= bound, "{shape:?}");
            }

            // F (a ⊛ b) = F a ⊙ F b, and Parseval.
            let spectrum = fourier_transform(&expected).unwrap();
            let product = fourier_transform(&a).unwrap() * fourier_transform(&b).unwrap();
            let size = norm(&a) * norm(&b) * a.len() as f64;
            for (left, right) in spectrum.iter().zip(&product) {
                assert!((left - right).norm() <= tolerance::<f64>(a.len()) * size);
            }
            let energy = fourier_transform(&a)
                .unwrap()
                .iter()
                .map(Complex::norm_sqr)
                .sum::<f64>();
            let energy = energy / a.len() as f64;
            let expected = norm(&a).powi(2);
            assert!((energy - expected).abs() <= tolerance::<f64>(a.len()) * expected);
            let back = inverse_fourier_transform(&fourier_transform(&a).unwrap()).unwrap();
            for (back, a) in back.iter().zip(&a) {
                let difference = back - a.to_f64();
                assert!(difference.norm() <= tolerance::<f64>(got.len()) * norm(&got).max(1.0));
            }
        }
    }

    #[test]
    fn the_convolution_theorem() {
        theorem::<f32>(8);
        theorem::<f64>(9);
    }

    /// F · circulant(c) · F⁻¹ = diag(F c).
    #[test]
    fn the_fourier_transform_diagonalises_circulants() {
        for n in [1, 2, 5, 12] {
            let c = Array1::from_shape_fn(n, |i| ((i * i + 1) % 5) as f64 - 1.5);
            let matrix = circulant(&c).unwrap().mapv(Complex::from);
            let f = fourier_matrix(n).unwrap();
            let inverse = f.mapv(|value| value.conj() / n as f64);
            let diagonal = f.dot(&matrix).dot(&inverse);
            let eigenvalues = fourier_transform(&c).unwrap();
            for ((row, column), value) in diagonal.indexed_iter() {
                let expected = if row == column {
                    eigenvalues[row]
                } else {
                    Complex::default()
                };
                assert!((value - expected).norm() < 1e-12 * n as f64);
            }
        }
    }
}
