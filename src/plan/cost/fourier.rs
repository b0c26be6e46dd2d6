//! Seconds of a pass by Fourier transforms.

use super::rates::{Rates, THIRD_CACHE};
use crate::element::Element;
use crate::geometry::{ConvGeometry, Layout};
use crate::plan::{FourierTiles, Pass, PlanOptions};

/// Nanoseconds of a Fourier transform for a complex number and a doubling of the length, to put a number of the spectrum in
/// its place, and those of a pair of rows and of a window. These and the following: 35 layers with kernels of 5 × 5 to
/// 31 × 31, 14 to 224 pixels wide, 1 to 384 channels, dense and depthwise, one thread, rustfft 6.4; the estimates are
/// within a third of what was measured, but for few channels that become many, where they are too low (docs/benchmarks.md).
const FOURIER_STEP: f64 = 0.09;
const FOURIER_MOVE: f64 = 1.8;
const FOURIER_ROW: f64 = 15.0;
const FOURIER_WINDOW: f64 = 150.0;

/// Nanoseconds more for a pair of pixels that lie apart, as channels last: there channels first are 0.
const FOURIER_APART: [f64; 2] = [0.0, 1.2];

/// Transforms of a window that one spectrum of weights takes as long as.
const FOURIER_PREPARE: f64 = 3.2;

/// Nanoseconds to begin with a product of spectra.
const FOURIER_CALL: f64 = 60.0;

/// GB/s at which spectra of images are written and read within the second-level cache and beyond it, and where it ends.
const FOURIER_MOVED: [f64; 2] = [40.0, 5.0];
const FOURIER_NEAR: f64 = 1.5e6;

/// How many times too high the estimates of `direct` and, for depthwise layers, of `grouped` are for large kernels: they
/// were measured on 3 × 3.
const FOURIER_DOUBT: f64 = 1.15;
const FOURIER_DOUBT_DEPTHWISE: f64 = 1.5;

/// Seconds that one thread would need, by the model: the transforms of all windows and results, the products, the spectra
/// of the weights that every block reads.
pub(super) fn seconds<T: Element>(
    tiles: &FourierTiles,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> f64 {
    let rates = Rates::of(options.isa);
    let wide = size_of::<T>() as f64 / size_of::<f32>() as f64;
    let lengths = geometry.patch.axes.map(|axis| match pass {
        Pass::BackwardInput => axis.input,
        _ => axis.output,
    });
    let results = match pass {
        Pass::BackwardInput => geometry.channels_per_group(),
        _ => geometry.outputs_per_group(),
    };
    let in_image: f64 = (0..3)
        .map(|axis| lengths[axis].div_ceil(tiles.results[axis]) as f64)
        .product();
    let count = geometry.batch() as f64 * in_image;
    let (groups, f) = (geometry.groups() as f64, tiles.frequencies() as f64);
    let (sources, results) = (tiles.sources as f64, results as f64);
    let [planes, rows, columns] = tiles.lengths;
    let steps =
        tiles.lines() as f64 * (columns as f64).log2() + f * ((planes * rows) as f64).log2();
    let transform = wide * (steps * FOURIER_STEP + f * FOURIER_MOVE)
        + tiles.lines() as f64 / columns as f64 * FOURIER_ROW
        + tiles.lines() as f64
            * FOURIER_APART[usize::from(geometry.layout() == Layout::ChannelsLast)]
        + FOURIER_WINDOW;
    let prepared = match options.weights_change {
        true => sources * results * FOURIER_PREPARE * transform,
        false => 0.0,
    };
    if tiles.depthwise {
        return FOURIER_DOUBT_DEPTHWISE * groups * (count * 2.0 * transform + prepared) / 1e9;
    }
    let transformed = count * (sources + results) * transform;
    let columns = (2.0 * results / 16.0).ceil() * 16.0;
    let blocks = (count / tiles.block() as f64).ceil();
    let calls = blocks * (columns / tiles.columns as f64).ceil();
    let products =
        f * (4.0 * count * sources * columns * wide / rates.fourier + calls * FOURIER_CALL);
    let bytes = size_of::<T>() as f64;
    // Spectra are written and read, on both sides; those of the weights by every block.
    let rate = |[near, far]: [f64; 2], size: f64, limit: f64| if size > limit { far } else { near };
    let moved = count * f * (sources + results) * 4.0 * bytes;
    let moved = moved / rate(FOURIER_MOVED, tiles.spectra() as f64 * bytes, FOURIER_NEAR);
    let weights = f * sources * columns * bytes;
    let read = blocks * weights / rate(rates.fourier_weights, groups * weights, THIRD_CACHE);
    FOURIER_DOUBT * groups * (transformed + products + read + moved + prepared) / 1e9
}
