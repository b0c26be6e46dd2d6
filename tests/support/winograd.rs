//! How far Winograd's algorithm may be from the exact sums: its rounding, followed through the transforms.
//!
//! ```text
//! |error of a tile| ≤ (C + 24) · u · |Aᵀ| [ Σ_c (|G| |g| |Gᵀ|) ⊙ (|Bᵀ| |d| |B|) ] |A|
//! ```
//!
//! The axes may have matrices of their own, and a kernel be cut into pieces, which are summed like channels: C counts
//! channels of all pieces then.
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

/// One axis of a layer, and how it is cut.
#[derive(Clone)]
struct Axis {
    input: usize,
    output: usize,
    pad: isize,
    dilation: usize,
    stride: usize,
    kernel: usize,
    /// Results of a tile, and taps of a piece.
    results: usize,
    taps: usize,
    sizes: Sizes,
}

impl Axis {
    fn pieces(&self) -> usize {
        self.kernel.div_ceil(self.taps)
    }

    /// Pixels of a tile, and products.
    fn pixels(&self) -> usize {
        self.sizes.input[0].len()
    }

    fn products(&self) -> usize {
        self.sizes.input.len()
    }

    /// The other way round, for the gradient of the input of stride 2: two results for each pixel.
    fn turned(mut self) -> Self {
        let Sizes {
            input,
            output,
            weights,
        } = self.sizes;
        let points = input.len() - self.results;
        // Of even pixels; between them stand those that are products by themselves.
        let even = input[..points].iter();
        let mut turned: Matrix = even
            .map(|row| row.iter().step_by(2).copied().collect())
            .collect();
        let unit = |length: usize, at: usize| (0..length).map(|i| f64::from(i == at)).collect();
        turned.extend((0..self.results).map(|at| unit(points, at)));
        let mut results = Matrix::new();
        for (at, row) in output.iter().enumerate() {
            results.push(unit(input.len(), points + at));
            let mut row = row.clone();
            row[points..].fill(0.0);
            results.push(row);
        }
        self.sizes = Sizes {
            input: turned,
            output: results,
            weights,
        };
        self.results *= 2;
        self
    }
}

/// Both axes of `geometry` in tiles of `results` where they have taps.
fn axes(geometry: &ConvGeometry, results: usize) -> [Axis; 2] {
    let given = geometry.axes();
    let kernels: Vec<usize> = given.iter().map(|axis| axis.kernel()).collect();
    // A line lies in an image of one row.
    let kernels = if kernels.len() == 1 {
        vec![1, kernels[0]]
    } else {
        kernels
    };
    let line = kernels.contains(&1) && results == 4;
    std::array::from_fn(|index| {
        let kernel = kernels[index];
        let Some(axis) = (given.len() + index).checked_sub(2).map(|at| given[at]) else {
            return Axis {
                input: 1,
                output: 1,
                pad: 0,
                dilation: 1,
                stride: 1,
                kernel,
                results: 1,
                taps: 1,
                sizes: Sizes::new(1, 1, 1),
            };
        };
        let (results, taps) = match kernel {
            1 => (1, 1),
            _ if line && kernel.div_ceil(4) * 7 < kernel.div_ceil(3) * 6 => (4, 4),
            _ => (results, 3),
        };
        Axis {
            input: axis.input(),
            output: axis.output(),
            pad: axis.pad().0 as isize,
            dilation: if kernel == 1 { 1 } else { axis.dilation() },
            stride: axis.stride(),
            kernel,
            results,
            taps,
            sizes: Sizes::new(results, taps, axis.stride()),
        }
    })
}

/// Where the tiles of `length` results begin: one phase of a dilated kernel after another.
fn begins(length: usize, dilation: usize, results: usize) -> Vec<usize> {
    let of_phase = |phase| (phase..length).step_by(dilation * results);
    (0..dilation.min(length)).flat_map(of_phase).collect()
}

type Matrix = Vec<Vec<f64>>;

/// Bᵀ, G and Aᵀ of one axis for tiles of R results of K taps with stride 1 or 2, all without signs.
#[derive(Clone)]
struct Sizes {
    input: Matrix,
    weights: Matrix,
    output: Matrix,
}

impl Sizes {
    fn new(results: usize, taps: usize, stride: usize) -> Self {
        let rows = |rows: &[&[f64]]| rows.iter().map(|row| row.to_vec()).collect();
        if results == 1 {
            let one = || rows(&[&[1.]]);
            return Self {
                input: one(),
                weights: one(),
                output: one(),
            };
        }
        if taps == 4 {
            return Self::of_four_taps();
        }
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

    /// R = 4 of 4 taps: points ±3/8, ±7/8, ±7/4 and ∞.
    fn of_four_taps() -> Self {
        let points = [0.375f64, 0.875, 1.75];
        let mut sizes = Self {
            input: Vec::new(),
            weights: Vec::new(),
            output: (0..4)
                .map(|power| {
                    let row = points.iter().flat_map(|point| [point.powi(power); 2]);
                    row.chain([f64::from(power == 3)]).collect()
                })
                .collect(),
        };
        let squares = points.map(|point| point * point);
        for at in 0..3 {
            let (x, u, v) = (points[at], squares[(at + 1) % 3], squares[(at + 2) % 3]);
            let m = 1.0 / (2.0 * x * ((x * x - u) * (x * x - v)).abs());
            for _ in 0..2 {
                let row = [x * u * v, u * v, x * (u + v), u + v, x, 1.0, 0.0];
                sizes.input.push(row.to_vec());
                sizes
                    .weights
                    .push((0..4).map(|power| m * x.powi(power)).collect());
            }
        }
        let [x, y, z] = squares;
        let last = [
            x * y * z,
            0.0,
            x * y + y * z + z * x,
            0.0,
            x + y + z,
            0.0,
            1.0,
        ];
        sizes.input.push(last.to_vec());
        sizes.weights.push(vec![0.0, 0.0, 0.0, 1.0]);
        sizes
    }
}

/// down · square · acrossᵀ
fn both([down, across]: [&Matrix; 2], square: &Matrix) -> Matrix {
    let dot = |row: &[f64], column: &dyn Fn(usize) -> f64| -> f64 {
        row.iter()
            .enumerate()
            .map(|(k, &value)| value * column(k))
            .sum()
    };
    let half: Matrix = down
        .iter()
        .map(|row| {
            (0..square[0].len())
                .map(|j| dot(row, &|k| square[k][j]))
                .collect()
        })
        .collect();
    half.iter()
        .map(|line| across.iter().map(|row| dot(row, &|k| line[k])).collect())
        .collect()
}

/// All pieces of a kernel, by where their first taps stand.
fn pieces(axes: &[Axis; 2]) -> Vec<[usize; 2]> {
    let [down, across] = axes;
    let of_row = |row: usize| (0..across.pieces()).map(move |column| [row, column]);
    let all = (0..down.pieces()).flat_map(of_row);
    all.map(|[row, column]| [row * down.taps, column * across.taps])
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
/// tiles of R × R = `results`² results, or of `results` where the kernel is a line.
pub fn bounds(
    geometry: &ConvGeometry,
    pass: Pass,
    results: usize,
    source: &[f32],
    w: &[f32],
) -> Vec<f64> {
    let forward = pass == Pass::Forward;
    let mut axes = axes(geometry, results);
    let turned = !forward && axes[1].stride == 2;
    if turned {
        axes = axes.map(Axis::turned);
    }
    let (inputs, outputs) = (geometry.channels_per_group(), geometry.outputs_per_group());
    let groups = geometry.groups();
    let of = |forward: bool, data| Images {
        data,
        layout: geometry.layout(),
        channels: groups * if forward { inputs } else { outputs },
        size: [0, 1].map(|axis: usize| match forward {
            true => axes[axis].input,
            false => axes[axis].output,
        }),
    };
    let (x, y) = (of(forward, source), of(!forward, &[]));
    let dilations = [0, 1].map(|axis| axes[axis].dilation);
    let begin = [0, 1].map(|axis| {
        let Axis { pad, kernel, .. } = axes[axis];
        match (forward, turned) {
            (true, _) => -pad,
            (false, true) => (pad - 1) / 2,
            (false, false) => pad - ((kernel - 1) * dilations[axis]) as isize,
        }
    });
    let tops = begins(y.size[0], dilations[0], axes[0].results);
    let lefts = begins(y.size[1], dilations[1], axes[1].results);
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
    let kernel = [0, 1].map(|axis| axes[axis].kernel);
    let tap = |result: usize, source: usize, at: [usize; 2]| {
        if at[0] >= kernel[0] || at[1] >= kernel[1] {
            return 0.0;
        }
        let (output, input) = if forward {
            (result, source)
        } else {
            (result / inputs * outputs + source, result % inputs)
        };
        let at = if forward == geometry.flips_kernel() {
            [kernel[0] - 1 - at[0], kernel[1] - 1 - at[1]]
        } else {
            at
        };
        let place = (output * inputs + input) * kernel[0] * kernel[1] + at[0] * kernel[1] + at[1];
        f64::from(w[place].abs())
    };
    let (sources, made) = if forward {
        (inputs, outputs)
    } else {
        (outputs, inputs)
    };
    let pieces = pieces(&axes);
    let [down, across] = &axes;
    // Of every piece.
    let kernels: Vec<Vec<Matrix>> = (0..groups * made * sources)
        .map(|kernel| {
            let (result, source) = (kernel / sources, kernel % sources);
            let of_piece = |&[row, column]: &[usize; 2]| {
                let line = |i: usize| {
                    let taps = 0..across.taps;
                    taps.map(|j| tap(result, source, [row + i, column + j]))
                        .collect()
                };
                let g = (0..down.taps).map(line).collect();
                both([&down.sizes.weights, &across.sizes.weights], &g)
            };
            pieces.iter().map(of_piece).collect()
        })
        .collect();
    let terms = sources * pieces.len();
    let unit = (terms as f64 + 24.0) / f64::from(1 << 24);
    let mut bounds = vec![f64::NAN; geometry.batch() * y.channels * y.size[0] * y.size[1]];
    for image in 0..geometry.batch() {
        for &top in &tops {
            for &left in &lefts {
                let [top_pixel, left_pixel] = match turned {
                    true => [top / 2, left / 2],
                    false => [top * down.stride, left * across.stride],
                };
                let spectrum = |channel: usize, [row, column]: [usize; 2]| {
                    let line = |i: usize| {
                        let row = top_pixel + (row + i) * dilations[0];
                        (0..across.pixels())
                            .map(|j| {
                                let column = left_pixel + (column + j) * dilations[1];
                                let at = [row as isize + begin[0], column as isize + begin[1]];
                                pixel(image, channel, at)
                            })
                            .collect()
                    };
                    let d = (0..down.pixels()).map(line).collect();
                    both([&down.sizes.input, &across.sizes.input], &d)
                };
                let spectra: Vec<Vec<Matrix>> = (0..x.channels)
                    .map(|channel| {
                        let each = pieces.iter().map(|&piece| spectrum(channel, piece));
                        each.collect()
                    })
                    .collect();
                for result in 0..y.channels {
                    let mut sum = vec![vec![0.0; across.products()]; down.products()];
                    for source in 0..sources {
                        let u = &kernels[result * sources + source];
                        let v = &spectra[result / made * sources + source];
                        for (u, v) in u.iter().zip(v) {
                            add_products(&mut sum, u, v);
                        }
                    }
                    let tile = both([&down.sizes.output, &across.sizes.output], &sum);
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

/// sum += u ⊙ v
fn add_products(sum: &mut Matrix, u: &Matrix, v: &Matrix) {
    for ((sum, u), v) in sum.iter_mut().zip(u).zip(v) {
        for ((sum, u), v) in sum.iter_mut().zip(u).zip(v) {
            *sum += u * v;
        }
    }
}

/// The largest error of every number of the weights' gradient, made of `x` and `dy` in tiles of R × R = `results`², or
/// of `results` where the kernel is a line.
pub fn weight_bounds(geometry: &ConvGeometry, results: usize, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let axes = axes(geometry, results);
    let (inputs, outputs) = (geometry.channels_per_group(), geometry.outputs_per_group());
    let images = |data, channels, size| Images {
        data,
        layout: geometry.layout(),
        channels: geometry.groups() * channels,
        size,
    };
    let x = images(x, inputs, [0, 1].map(|axis: usize| axes[axis].input));
    let dy = images(dy, outputs, [0, 1].map(|axis: usize| axes[axis].output));
    let outside = match geometry.patch().padding_mode() {
        PaddingMode::Zeros => 0.0,
        PaddingMode::Constant(value) => value.abs(),
        _ => x
            .data
            .iter()
            .map(|x| f64::from(x.abs()))
            .fold(0.0, f64::max),
    };
    let dilations = [0, 1].map(|axis| axes[axis].dilation);
    // The sizes of so many pixels from `begin` on.
    let square = |of: &Images<'_>,
                  [rows, columns]: [usize; 2],
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
            .map(|i| (0..columns).map(|j| pixel(i, j)).collect())
            .collect()
    };
    let [down, across] = &axes;
    let gradient = [&down.sizes.output, &across.sizes.output].map(transposed);
    let weights = [&down.sizes.weights, &across.sizes.weights].map(transposed);
    let pixels = [down.pixels(), across.pixels()];
    let pieces = pieces(&axes);
    let tops = begins(dy.size[0], dilations[0], down.results);
    let lefts = begins(dy.size[1], dilations[1], across.results);
    let zeros = vec![vec![0.0; pixels[1]]; pixels[0]];
    let mut sums = vec![vec![zeros; pieces.len()]; dy.channels * inputs];
    let mut tiles = 0;
    for image in 0..geometry.batch() {
        for &top in &tops {
            for &left in &lefts {
                tiles += 1;
                let begin = [top, left];
                let v = |channel: usize, piece: &[usize; 2]| {
                    let window = [0, 1].map(|axis: usize| {
                        let Axis { stride, pad, .. } = axes[axis];
                        let tap = piece[axis] * dilations[axis];
                        (begin[axis] * stride + tap) as isize - pad
                    });
                    let d = square(&x, pixels, outside, [image, channel], window);
                    both([&down.sizes.input, &across.sizes.input], &d)
                };
                let v: Vec<Vec<Matrix>> = (0..x.channels)
                    .map(|channel| pieces.iter().map(|piece| v(channel, piece)).collect())
                    .collect();
                for output in 0..dy.channels {
                    let results = [down.results, across.results];
                    let begin = begin.map(|begin| begin as isize);
                    let d = square(&dy, results, 0.0, [image, output], begin);
                    let w = both([&gradient[0], &gradient[1]], &d);
                    for input in 0..inputs {
                        let v = &v[output / outputs * inputs + input];
                        for (sum, v) in sums[output * inputs + input].iter_mut().zip(v) {
                            add_products(sum, v, &w);
                        }
                    }
                }
            }
        }
    }
    let unit = (f64::from(tiles) + 36.0) / f64::from(1 << 24);
    let kernel = [down.kernel, across.kernel];
    let taps = kernel[0] * kernel[1];
    let mut bounds = Vec::with_capacity(taps * sums.len());
    for sums in &sums {
        let pieces: Vec<Matrix> = sums
            .iter()
            .map(|sum| both([&weights[0], &weights[1]], sum))
            .collect();
        bounds.extend((0..taps).map(|tap| {
            let tap = if geometry.flips_kernel() {
                taps - 1 - tap
            } else {
                tap
            };
            let [row, column] = [tap / kernel[1], tap % kernel[1]];
            let piece = row / down.taps * across.pieces() + column / across.taps;
            unit * pieces[piece][row % down.taps][column % across.taps]
        }));
    }
    bounds
}
