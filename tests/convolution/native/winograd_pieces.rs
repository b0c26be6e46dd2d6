//! What Winograd's algorithm promises of kernels of one row or column, and of those that are cut into pieces.

use gemmconv::kernel::Isa;
use gemmconv::{ConvGeometry, ConvOptions, Layout, Pass, RecipeKind};

use super::layer::Layer;
use super::winograd::{exact, reals, results, root_mean};
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
                let errors = |kind| {
                    let mut of_pass = results(&layer, kind, isa).into_iter().zip(&expected);
                    std::array::from_fn::<_, 2, _>(|_| {
                        let (got, expected) = of_pass.next().unwrap();
                        let errors = got.iter().zip(expected).map(|(&a, b)| f64::from(a) - b);
                        let largest = errors.clone().fold(0.0, |most: f64, e| most.max(e.abs()));
                        [root_mean(errors), largest]
                    })
                };
                let direct = errors(RecipeKind::Direct);
                for (kind, most) in [
                    (RecipeKind::WinogradF4, most),
                    (RecipeKind::WinogradF2, [1.1, 1.6]),
                ] {
                    for (pass, (got, direct)) in errors(kind).into_iter().zip(direct).enumerate() {
                        let times = [got[0] / direct[0], got[1] / direct[1]];
                        let name = format!(
                            "{kind} on {isa}, {channels} → {outputs}, {kernel:?}, {}, {}",
                            Pass::ALL[pass],
                            layout.name()
                        );
                        println!("{name}: errors {times:.2?} times those of direct");
                        assert!(
                            times[0] <= most[0] && times[1] <= most[1],
                            "{name}: errors {times:?} times those of direct"
                        );
                    }
                }
            }
        }
    }
}

/// One number that is not finite: results that are not finite in the loops are not finite here, and results of tiles
/// that do not read it are as if it were not there.
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
        let at =
            |channels: usize, size: [usize; 2], [channel, row, column]: [usize; 3]| match layout {
                Layout::ChannelsFirst => (channel * size[0] + row) * size[1] + column,
                Layout::ChannelsLast => (row * size[1] + column) * channels + channel,
            };
        for place in [[0, 0], [3, 4], [9, 8], [9, 12], [18, 18]] {
            let plain = Layer::new(geometry.clone(), 4);
            let mut faulty = plain.clone();
            let of_result = [0, 1].map(|axis: usize| (place[axis] / stride).min(out[axis] - 1));
            faulty.x[at(3, [SIDE; 2], [2, place[0], place[1]])] = f32::INFINITY;
            faulty.dy[at(5, out, [4, of_result[0], of_result[1]])] = f32::NAN;
            let loops = faulty.answers();
            for (kind, size) in [(RecipeKind::WinogradF2, 2), (RecipeKind::WinogradF4, 4)] {
                for isa in Isa::available() {
                    let (got, without) = (results(&faulty, kind, isa), results(&plain, kind, isa));
                    for (pass, channels, lengths, place, loops) in [
                        (0, 5, out, place, &loops.y),
                        (1, 3, [SIDE; 2], of_result, &loops.dx),
                    ] {
                        for index in 0..channels * lengths[0] * lengths[1] {
                            let column = index % lengths[1];
                            let row = index / lengths[1] % lengths[0];
                            let result = [index / lengths[1] / lengths[0], row, column];
                            let i = at(channels, lengths, result);
                            let name = || {
                                format!(
                                    "{kind} on {isa}, {kernel:?}, pass {pass}, {place:?}, {result:?}"
                                )
                            };
                            assert!(
                                loops[i].is_finite() || !got[pass][i].is_finite(),
                                "{}: {} in the loops, {} here",
                                name(),
                                loops[i],
                                got[pass][i]
                            );
                            // What the tile of a result reads, in pixels from the first of the padding on.
                            let reads = |axis: usize| {
                                let (taps, result) = (kernel[axis], result[axis + 1]);
                                let pad = match pass {
                                    0 => taps / 2,
                                    _ => taps - 1 - taps / 2,
                                };
                                if stride == 2 && pass == 1 {
                                    // Two results for each pixel, the first of which is in the image.
                                    let first = result / (2 * size) * size;
                                    return (first..=first + size).contains(&place[axis]);
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
                                (first..first + (size - 1) * stride + taps)
                                    .contains(&(place[axis] + pad))
                            };
                            if !reads(0) || !reads(1) {
                                assert_eq!(got[pass][i], without[pass][i], "{}", name());
                            }
                        }
                    }
                }
            }
        }
    }
}
