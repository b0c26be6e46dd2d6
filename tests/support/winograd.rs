//! How far Winograd's algorithm may be from the exact sums: its rounding, followed through the transforms.
//!
//! ```text
//! |error of a tile| ≤ (C + 24) · u · |Aᵀ| [ Σ_c (|G| |g| |Gᵀ|) ⊙ (|Bᵀ| |d| |B|) ] |A|
//! ```
//!
//! Each number of the result is a sum of products of one pixel, one weight and three transforms. Such a product is
//! rounded at most 10 times on its way through Bᵀ d B (two sums of three, each step rounded twice where there is no
//! fused one), once in G g Gᵀ, C times in the sum over channels and its parts, 10 times in Aᵀ m A, and with the bias
//! and the residual: C + 24 with what is left over for second orders.
//!
//! ```text
//! |error of dw| ≤ (T + 36) · u · |Gᵀ| [ Σ_t (|Bᵀ| |d| |B|) ⊙ (|A| |dy| |Aᵀ|) ] |G|        t: T tiles of all images
//! ```
//!
//! The gradient of the weights is the same read backwards: 10 times in Bᵀ d B, 6 in A dy Aᵀ (two sums of at most two
//! products, the second joined by one addition), T in the products and their sum, 12 in Gᵀ M G (numbers of G that are
//! rounded themselves, and sums of three): T + 28, and a reserve. In tiles of 2 × 2 all numbers are multiples of 1/4
//! and small integers stay exact.

use gemmconv::{ConvGeometry, Layout, PaddingMode, Pass};

/// Results of a tile lie as far apart as the taps of the kernel.
fn dilations(geometry: &ConvGeometry) -> [usize; 2] {
    [0, 1].map(|axis| geometry.axes()[axis].dilation())
}

/// Where the tiles of `length` results begin: one phase of a dilated kernel after another.
fn begins(length: usize, dilation: usize, results: usize) -> Vec<usize> {
    let of_phase = |phase| (phase..length).step_by(dilation * results);
    (0..dilation.min(length)).flat_map(of_phase).collect()
}

type Matrix = Vec<Vec<f64>>;

/// Bᵀ, G and Aᵀ for tiles of R × R results with stride 1 or 2, all without signs.
struct Sizes {
    input: Matrix,
    weights: Matrix,
    output: Matrix,
}

impl Sizes {
    fn new(results: usize, stride: usize) -> Self {
        let rows = |rows: &[&[f64]]| rows.iter().map(|row| row.to_vec()).collect();
        if results == 2 && stride == 2 {
            return Self {
                input: rows(&[
                    &[1., 0., 1., 0., 0.],
                    &[1., 0., 1., 0., 0.],
                    &[1., 0., 0., 0., 1.],
                    &[0., 1., 0., 0., 0.],
                    &[0., 0., 0., 1., 0.],
                ]),
                weights: rows(&[
                    &[0.5, 0., 0.5],
                    &[0.5, 0., 0.5],
                    &[0., 0., 1.],
                    &[0., 1., 0.],
                    &[0., 1., 0.],
                ]),
                output: rows(&[&[1., 1., 0., 1., 0.], &[1., 1., 1., 0., 1.]]),
            };
        }
        if stride == 2 {
            let (c, e) = (0.5f64, 1.25f64);
            let (p, s) = (c * c * e * e, c * c + e * e);
            let of = |x: f64, y: f64| [x * y * y, 0., y * y, 0., x, 0., 1., 0., 0.];
            let unit = |at: usize| std::array::from_fn::<f64, 9, _>(|i| f64::from(i == at));
            let k = 1.0 / (2.0 * c * (e * e - c * c));
            let l = 1.0 / (2.0 * e * (e * e - c * c));
            let odd: &[f64] = &[0., 1., 0.];
            return Self {
                input: rows(&[
                    &of(c, e),
                    &of(c, e),
                    &of(e, c),
                    &of(e, c),
                    &[p, 0., 0., 0., s, 0., 0., 0., 1.],
                    &unit(1),
                    &unit(3),
                    &unit(5),
                    &unit(7),
                ]),
                weights: rows(&[
                    &[k, 0., k * c],
                    &[k, 0., k * c],
                    &[l, 0., l * e],
                    &[l, 0., l * e],
                    &[0., 0., 1.],
                    odd,
                    odd,
                    odd,
                    odd,
                ]),
                output: (0..4)
                    .map(|power| {
                        let mut row = unit(5 + power as usize).to_vec();
                        row[..2].fill(c.powi(power));
                        row[2..4].fill(e.powi(power));
                        row[4] = f64::from(power == 3);
                        row
                    })
                    .collect(),
            };
        }
        if results == 2 {
            return Self {
                input: rows(&[
                    &[1., 0., 1., 0.],
                    &[0., 1., 1., 0.],
                    &[0., 1., 1., 0.],
                    &[0., 1., 0., 1.],
                ]),
                weights: rows(&[&[1., 0., 0.], &[0.5; 3], &[0.5; 3], &[0., 0., 1.]]),
                output: rows(&[&[1., 1., 1., 0.], &[0., 1., 1., 1.]]),
            };
        }
        let (a, b) = (0.625f64, 1.5f64);
        let (p, s) = (a * a * b * b, a * a + b * b);
        let of = |x: f64, y: f64| vec![0.0, x * y * y, y * y, x, 1.0, 0.0];
        let k = 1.0 / (2.0 * a * a * (b * b - a * a));
        let l = 1.0 / (2.0 * b * b * (b * b - a * a));
        let taps = |scale: f64, x: f64| vec![scale, scale * x, scale * x * x];
        Self {
            input: vec![
                vec![p, 0.0, s, 0.0, 1.0, 0.0],
                of(a, b),
                of(a, b),
                of(b, a),
                of(b, a),
                vec![0.0, p, 0.0, s, 0.0, 1.0],
            ],
            weights: vec![
                vec![1.0 / p, 0.0, 0.0],
                taps(k, a),
                taps(k, a),
                taps(l, b),
                taps(l, b),
                vec![0.0, 0.0, 1.0],
            ],
            output: (0..4)
                .map(|power| {
                    let [x, y] = [a, b].map(|point| point.powi(power));
                    let last = f64::from(u8::from(power == 3));
                    vec![f64::from(u8::from(power == 0)), x, x, y, y, last]
                })
                .collect(),
        }
    }
}

/// matrix · square · matrixᵀ
fn both(matrix: &Matrix, square: &Matrix) -> Matrix {
    let dot = |row: &[f64], column: &dyn Fn(usize) -> f64| -> f64 {
        row.iter()
            .enumerate()
            .map(|(k, &value)| value * column(k))
            .sum()
    };
    let half: Matrix = matrix
        .iter()
        .map(|row| {
            (0..square[0].len())
                .map(|j| dot(row, &|k| square[k][j]))
                .collect()
        })
        .collect();
    half.iter()
        .map(|line| matrix.iter().map(|row| dot(row, &|k| line[k])).collect())
        .collect()
}

fn transposed(matrix: &Matrix) -> Matrix {
    (0..matrix[0].len())
        .map(|j| matrix.iter().map(|row| row[j]).collect())
        .collect()
}

/// One tensor of a pass: batch and channels, rows and columns of an image.
struct Images<'a> {
    data: &'a [f32],
    layout: Layout,
    channels: usize,
    size: [usize; 2],
}

impl Images<'_> {
    fn place(&self, image: usize, channel: usize, [row, column]: [usize; 2]) -> usize {
        let [rows, columns] = self.size;
        match self.layout {
            Layout::ChannelsFirst => {
                ((image * self.channels + channel) * rows + row) * columns + column
            }
            Layout::ChannelsLast => {
                ((image * rows + row) * columns + column) * self.channels + channel
            }
        }
    }
}

/// The largest error of every number of `pass`, forward or backward input, made of `source` and the weights `w` in
/// tiles of R × R = `results`² results.
pub fn bounds(
    geometry: &ConvGeometry,
    pass: Pass,
    results: usize,
    source: &[f32],
    w: &[f32],
) -> Vec<f64> {
    let forward = pass == Pass::Forward;
    let axes = geometry.axes();
    let (inputs, outputs) = (geometry.channels_per_group(), geometry.outputs_per_group());
    let groups = geometry.groups();
    let of = |forward: bool, data| Images {
        data,
        layout: geometry.layout(),
        channels: groups * if forward { inputs } else { outputs },
        size: [0, 1].map(|axis| match forward {
            true => axes[axis].input(),
            false => axes[axis].output(),
        }),
    };
    let (x, y) = (of(forward, source), of(!forward, &[]));
    let (dilations, stride) = (dilations(geometry), axes[0].stride());
    let begin = [0, 1].map(|axis| {
        let before = axes[axis].pad().0 as isize;
        if forward {
            -before
        } else {
            before - 2 * dilations[axis] as isize
        }
    });
    let tops = begins(y.size[0], dilations[0], results);
    let lefts = begins(y.size[1], dilations[1], results);
    // What stands outside is a number of the image, a constant or zero.
    let outside = match geometry.patch().padding_mode() {
        _ if !forward => 0.0,
        PaddingMode::Zeros => 0.0,
        PaddingMode::Constant(value) => value.abs(),
        _ => source
            .iter()
            .map(|x| f64::from(x.abs()))
            .fold(0.0, f64::max),
    };
    let pixel = |image: usize, channel: usize, at: [isize; 2]| {
        let inside = (0..2).all(|axis| (0..x.size[axis] as isize).contains(&at[axis]));
        if !inside {
            return outside;
        }
        let at = at.map(|at| at as usize);
        f64::from(x.data[x.place(image, channel, at)].abs())
    };
    let tap = |result: usize, source: usize, at: [usize; 2]| {
        let (output, input) = if forward {
            (result, source)
        } else {
            (result / inputs * outputs + source, result % inputs)
        };
        let at = if forward == geometry.flips_kernel() {
            at.map(|at| 2 - at)
        } else {
            at
        };
        f64::from(w[(output * inputs + input) * 9 + at[0] * 3 + at[1]].abs())
    };
    let sizes = Sizes::new(results, axes[0].stride());
    let (sources, made) = if forward {
        (inputs, outputs)
    } else {
        (outputs, inputs)
    };
    let kernels: Vec<Matrix> = (0..groups * made * sources)
        .map(|kernel| {
            let (result, source) = (kernel / sources, kernel % sources);
            let g = (0..3).map(|i| (0..3).map(|j| tap(result, source, [i, j])).collect());
            both(&sizes.weights, &g.collect())
        })
        .collect();
    let n = sizes.input.len();
    let unit = (sources as f64 + 24.0) / f64::from(1 << 24);
    let mut bounds = vec![f64::NAN; geometry.batch() * y.channels * y.size[0] * y.size[1]];
    for image in 0..geometry.batch() {
        for &top in &tops {
            for &left in &lefts {
                let spectra: Vec<Matrix> = (0..x.channels)
                    .map(|channel| {
                        let line = |i: usize| {
                            let row = (top * stride + i * dilations[0]) as isize + begin[0];
                            let column =
                                |j: usize| (left * stride + j * dilations[1]) as isize + begin[1];
                            (0..n)
                                .map(|j| pixel(image, channel, [row, column(j)]))
                                .collect()
                        };
                        both(&sizes.input, &(0..n).map(line).collect())
                    })
                    .collect();
                for result in 0..y.channels {
                    let mut sum = vec![vec![0.0; n]; n];
                    for source in 0..sources {
                        let u = &kernels[result * sources + source];
                        let v = &spectra[result / made * sources + source];
                        for (i, line) in sum.iter_mut().enumerate() {
                            for (j, value) in line.iter_mut().enumerate() {
                                *value += u[i][j] * v[i][j];
                            }
                        }
                    }
                    let tile = both(&sizes.output, &sum);
                    let rows = (top..y.size[0]).step_by(dilations[0]);
                    for (row, tile) in rows.zip(&tile) {
                        let columns = (left..y.size[1]).step_by(dilations[1]);
                        for (column, size) in columns.zip(tile) {
                            bounds[y.place(image, result, [row, column])] = unit * size;
                        }
                    }
                }
            }
        }
    }
    bounds
}

/// The largest error of every number of the weights' gradient, made of `x` and `dy` in tiles of R × R = `results`².
pub fn weight_bounds(geometry: &ConvGeometry, results: usize, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let axes = geometry.axes();
    let (inputs, outputs) = (geometry.channels_per_group(), geometry.outputs_per_group());
    let images = |data, channels, size| Images {
        data,
        layout: geometry.layout(),
        channels: geometry.groups() * channels,
        size,
    };
    let x = images(x, inputs, [0, 1].map(|axis| axes[axis].input()));
    let dy = images(dy, outputs, [0, 1].map(|axis| axes[axis].output()));
    let outside = match geometry.patch().padding_mode() {
        PaddingMode::Zeros => 0.0,
        PaddingMode::Constant(value) => value.abs(),
        _ => x
            .data
            .iter()
            .map(|x| f64::from(x.abs()))
            .fold(0.0, f64::max),
    };
    let dilations = dilations(geometry);
    // The sizes of `rows` × `rows` pixels from `begin` on.
    let square = |of: &Images<'_>,
                  rows: usize,
                  outside: f64,
                  place: [usize; 2],
                  begin: [isize; 2]|
     -> Matrix {
        let pixel = |i: usize, j: usize| {
            let [down, across] = [i * dilations[0], j * dilations[1]];
            let at = [begin[0] + down as isize, begin[1] + across as isize];
            if (0..2).any(|axis| !(0..of.size[axis] as isize).contains(&at[axis])) {
                return outside;
            }
            let at = of.place(place[0], place[1], at.map(|at| at as usize));
            f64::from(of.data[at].abs())
        };
        (0..rows)
            .map(|i| (0..rows).map(|j| pixel(i, j)).collect())
            .collect()
    };
    let sizes = Sizes::new(results, axes[0].stride());
    let (gradient, weights) = (transposed(&sizes.output), transposed(&sizes.weights));
    let n = sizes.input.len();
    let pads = [0, 1].map(|axis| axes[axis].pad().0 as isize);
    let tops = begins(dy.size[0], dilations[0], results);
    let lefts = begins(dy.size[1], dilations[1], results);
    let mut sums = vec![vec![vec![0.0; n]; n]; dy.channels * inputs];
    let mut tiles = 0;
    for image in 0..geometry.batch() {
        for &top in &tops {
            for &left in &lefts {
                tiles += 1;
                let begin = [top as isize, left as isize];
                let stride = axes[0].stride() as isize;
                let window = [0, 1].map(|axis| begin[axis] * stride - pads[axis]);
                let v: Vec<Matrix> = (0..x.channels)
                    .map(|channel| {
                        let d = square(&x, n, outside, [image, channel], window);
                        both(&sizes.input, &d)
                    })
                    .collect();
                for output in 0..dy.channels {
                    let d = square(&dy, results, 0.0, [image, output], begin);
                    let w = both(&gradient, &d);
                    for input in 0..inputs {
                        let v = &v[output / outputs * inputs + input];
                        let sum = &mut sums[output * inputs + input];
                        for ((sum, v), w) in sum.iter_mut().zip(v).zip(&w) {
                            for ((sum, v), w) in sum.iter_mut().zip(v).zip(w) {
                                *sum += v * w;
                            }
                        }
                    }
                }
            }
        }
    }
    let unit = (f64::from(tiles) + 36.0) / f64::from(1 << 24);
    let mut bounds = Vec::with_capacity(9 * sums.len());
    for sum in &sums {
        let kernel = both(&weights, sum).concat();
        let flipped = geometry.flips_kernel();
        bounds.extend((0..9).map(|tap| unit * kernel[if flipped { 8 - tap } else { tap }]));
    }
    bounds
}
