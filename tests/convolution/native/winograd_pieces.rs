//! What Winograd's algorithm promises of kernels of one row or column, and of those that are cut into pieces.

use gemmconv::kernel::Isa;
use gemmconv::{ConvGeometry, ConvOptions, Layout, Pass, RecipeKind};

use super::layer::Layer;
use super::winograd::{check_errors, check_spread, exact, place, reals};
use crate::support::LAYOUTS;

fn geometry(
    layout: Layout,
    channels: [usize; 2],
    side: usize,
    kernel: [usize; 2],
    stride: usize,
) -> ConvGeometry {
    let options = ConvOptions::new()
        .padding(kernel.map(|taps| taps / 2))
        .stride(stride)
        .layout(layout);
    let input = layout.shape(1, channels[0], &[side, side]);
    let weight = [channels[1], channels[0], kernel[0], kernel[1]];
    ConvGeometry::new(&input, &weight, &options).unwrap()
}

/// The figures that `explain` and `Accuracy` give, with room for other random numbers.
#[test]
fn errors_are_what_the_documentation_says() {
    for (channels, outputs, side, kernel, most) in [
        (192, 64, 17, [1, 7], [2.0, 3.0]),
        (128, 48, 17, [7, 1], [2.0, 3.0]),
        (512, 33, 9, [1, 7], [2.0, 3.0]),
        (384, 64, 8, [1, 3], [1.3, 2.0]),
        (384, 64, 8, [3, 1], [1.3, 2.0]),
        (64, 64, 16, [1, 5], [1.3, 2.0]),
        (48, 64, 28, [5, 5], [2.5, 4.0]),
        (96, 64, 14, [5, 5], [2.5, 4.0]),
        (192, 33, 14, [5, 5], [2.5, 4.0]),
        (64, 33, 14, [7, 7], [2.5, 4.0]),
    ] {
        for layout in LAYOUTS {
            let layer = reals(geometry(layout, [channels, outputs], side, kernel, 1), 3);
            let expected = exact(&layer);
            for isa in Isa::available()
                .into_iter()
                .filter(|&isa| isa != Isa::Portable)
            {
                let kinds = [
                    (RecipeKind::WinogradF4, most),
                    (RecipeKind::WinogradF2, [1.1, 1.6]),
                ];
                let name = format!("{channels} → {outputs}, {kernel:?}");
                check_errors(&layer, &expected, isa, kinds, &name);
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_within_its_tile() {
    const SIDE: usize = 19;
    let layers = [[1, 7], [7, 1], [3, 1], [5, 5], [1, 13], [1, 10]].map(|kernel| (kernel, 1));
    for ((kernel, stride), layout) in layers
        .into_iter()
        .chain([([3, 3], 2)])
        .flat_map(|layer| LAYOUTS.map(|layout| (layer, layout)))
    {
        let geometry = geometry(layout, [3, 5], SIDE, kernel, stride);
        let out = [0, 1].map(|axis: usize| geometry.axes()[axis].output());
        for pixel in [[0, 0], [3, 4], [9, 8], [9, 12], [18, 18]] {
            let plain = Layer::new(geometry.clone(), 4);
            let mut faulty = plain.clone();
            let of_result = [0, 1].map(|axis: usize| (pixel[axis] / stride).min(out[axis] - 1));
            let [row, column] = pixel;
            faulty.x[place(layout, 3, [SIDE; 2], [0, 2, row, column])] = f32::INFINITY;
            let [row, column] = of_result;
            faulty.dy[place(layout, 5, out, [0, 4, row, column])] = f32::NAN;
            let name = format!("{kernel:?}, stride {stride}, {pixel:?}");
            check_spread([&plain, &faulty], &name, |pass, result, (kind, size)| {
                // What the tile of a result reads, in pixels from the first of the padding on.
                let reads = |axis: usize| {
                    let (taps, result) = (kernel[axis], result[axis + 2]);
                    let (at, pad) = match pass {
                        Pass::Forward => (pixel[axis], taps / 2),
                        _ => (of_result[axis], taps - 1 - taps / 2),
                    };
                    if stride == 2 && pass == Pass::BackwardInput {
                        // Two results for each pixel, the first of which is in the image.
                        let first = result / (2 * size) * size;
                        return (first..=first + size).contains(&at);
                    }
                    // The last piece of a tile may have taps that the kernel has not.
                    let of_four = kind == RecipeKind::WinogradF4
                        && kernel.contains(&1)
                        && taps.div_ceil(4) * 7 < taps.div_ceil(3) * 6;
                    let (size, taps) = match (taps, of_four) {
                        (1, _) => (1, 1),
                        (_, true) => (size, taps.next_multiple_of(4)),
                        (_, false) => (size, taps.next_multiple_of(3)),
                    };
                    let first = result / size * size * stride;
                    (first..first + (size - 1) * stride + taps).contains(&(at + pad))
                };
                reads(0) && reads(1)
            });
        }
    }
}
