//! The choice of a recipe: the one that a small model expects to be done first.
//!
//! ```text
//! seconds = operations · (lanes with their padding / lanes used) / rate  [+ what folding costs]
//! winograd: the same of its products + numbers transformed on both sides · time each + weights read / bandwidth
//! ```
//!
//! The rates were measured on one thread of an AVX-512 machine (`bench --recipe candidates`, layers of 56 × 56 with 64
//! channels on one side and 1 to 16 on the other, or 4 to 12 a group; for the dense ones and Winograd's algorithm 26
//! layers of 3 × 3, 7 to 224 pixels wide with 1 to 512 channels, fitted). Only their proportions matter; on other
//! machines they are assumed to be the same.

use super::blocks::block_axes;
use super::{
    Accuracy, Blocks, FOURIER_SCRATCH_LIMIT, FourierTiles, Pass, PlanOptions, Recipe, RecipeKind,
    Tiles, WINOGRAD_SCRATCH_LIMIT, WinogradParts, WinogradTiles,
};
use crate::element::Element;
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{Isa, most_columns};

/// GFLOP/s of dense native products, channels last and channels first.
const DENSE: [f64; 2] = [162.0, 150.0];

/// The same where panels are one vector wide: then every multiply-add needs a number of its own.
const DENSE_ONE_VECTOR: [f64; 2] = [113.0, 94.0];

/// Those of gradients of the weights, one vector wide and several.
const DENSE_WEIGHT: [f64; 2] = [95.0, 135.0];

/// Terms of a sum that take as long as what is done once for each of them: it is begun, finished, and written.
const EXIT: [f64; 2] = [10.0, 30.0];
const EXIT_ONE_VECTOR: [f64; 2] = [8.0, 8.0];

/// GFLOP/s of those whose lanes are neighbouring pixels, for each channel of the result and at most, and terms of a sum that
/// take as long as what is done once. Not from the machine above but from one with Zen 4: kernels of 3 × 3 to 31 × 31 with
/// 1, 3 and 8 channels on both sides, 56 pixels wide, gave the terms. The first rate is set so low that one channel with 11 × 11
/// taps and more goes to `fft`, which took 0.5 to 0.8 of the time there.
const FEW_COLUMNS: [f64; 2] = [40.0, 140.0];
const EXIT_FEW_COLUMNS: f64 = 33.0;

/// GFLOP/s of grouped native products.
const GROUPED: f64 = 50.0;

/// GFLOP/s of an engine's products on unfolded tiles, where no side of them is short; of those with fewer rows than
/// [`ENGINE_ROWS`] a proportion. Sums of [`ENGINE_EXIT`] terms take twice their time.
const ENGINE: f64 = 100.0;
const ENGINE_ROWS: usize = 16;
const ENGINE_EXIT: f64 = 30.0;

/// The same of gradients of the weights, whose products are cut where sums should be short.
const ENGINE_WEIGHT: f64 = 75.0;
const ENGINE_WEIGHT_ROWS: usize = 32;

/// Nanoseconds to fold one element of the patch matrix back, channels first and channels last.
const FOLD: [f64; 2] = [0.45, 3.0];

/// GFLOP/s of the products of Winograd's algorithm.
const WINOGRAD: f64 = 160.0;

/// Nanoseconds to transform one number of a tile of pixels and of one of results, channels last and channels first; the
/// end of a product is among them.
const TRANSFORM_IN: [f64; 2] = [0.25, 0.35];
const TRANSFORM_OUT: [f64; 2] = [0.2, 0.28];

/// GB/s at which transformed weights are read, once a block.
const WINOGRAD_WEIGHTS: f64 = 45.0;

/// Nanoseconds to add a block to one sum of the gradient of the weights: not measured by itself, but the choices made
/// with it were, on the 26 layers.
const SUM_JOINED: f64 = 0.1;

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

/// GFLOP/s of the products of spectra, and nanoseconds to begin with one.
const FOURIER: f64 = 140.0;
const FOURIER_CALL: f64 = 60.0;

/// GB/s at which the spectra of weights are read, up to so many bytes and beyond.
const FOURIER_WEIGHTS: [f64; 2] = [40.0, 14.0];
const FOURIER_FAR: f64 = 33e6;

/// GB/s at which spectra of images are written and read within the second-level cache and beyond it, and where it ends.
const FOURIER_MOVED: [f64; 2] = [40.0, 5.0];
const FOURIER_NEAR: f64 = 1.5e6;

/// How many times too high the estimates of `direct` and, for depthwise layers, of `grouped` are for large kernels: they
/// were measured on 3 × 3.
const FOURIER_DOUBT: f64 = 1.15;
const FOURIER_DOUBT_DEPTHWISE: f64 = 1.5;

/// Taps below which no plan thinks of Fourier transforms: no layer of 3 × 3 was quicker with them than by Winograd's
/// algorithm or direct.
const FOURIER_TAPS: usize = 25;

/// Channels of the source up to which the errors of Winograd F4 were found to stay below 2.5 times those of direct, and
/// the largest below 4 times: 256 have 2.3 and 3.8 times, 512 have 2.1 and in 24 trials up to 3.3, 2048 have 2.2
/// and 3.5.
const MOST_SOURCES: usize = 2048;

/// The same where a kernel of two axes has several pieces, times their number: 192 channels of 5 × 5 taps have 2.3 and 3.4
/// times, 256 have 2.4 and 3.9, 512 have 2.6 and 4.5, 113 of 7 × 7 taps have 2.5.
const MOST_OF_PIECES: usize = 800;

/// Positions of all images from which on the same holds for gradients of the weights: 196 have 2 to 2.8 times, 49 up to
/// 2.9 times, 784 have 1.9 times.
const FEWEST_TERMS: usize = 400;

/// Why no native recipe takes a plan of another type.
const NOT_SINGLE: &str = "the elements are not f32";

/// Why there is no recipe `fft`.
const NO_FOURIER: &str = "the feature `fft` is not compiled in";

/// The tiled recipe, which handles everything.
pub(super) fn unfold<T: Element>(
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> Recipe {
    let limit = options.scratch_elements::<T>();
    Recipe::Unfold(Tiles::new(geometry, pass, limit))
}

/// The recipe of a kind with its numbers, or why there is none.
pub(super) fn recipe<T: Element>(
    kind: RecipeKind,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> Result<Recipe, &'static str> {
    let single = size_of::<T>() == size_of::<f32>();
    let winograd = |results| {
        if !single {
            return Err(NOT_SINGLE);
        }
        let limit = options.scratch_limit.unwrap_or(WINOGRAD_SCRATCH_LIMIT) / size_of::<T>();
        if pass == Pass::BackwardWeight {
            let parts = WinogradParts::new(geometry, results, options.isa, limit);
            return parts.map(Recipe::WinogradWeight);
        }
        WinogradTiles::new(geometry, pass, results, options.isa, limit).map(Recipe::Winograd)
    };
    let (grouped, made): (bool, fn(Blocks) -> Recipe) = match kind {
        RecipeKind::Naive => return Ok(Recipe::Naive),
        RecipeKind::Unfold => return Ok(unfold::<T>(geometry, pass, options)),
        RecipeKind::Direct => (false, Recipe::Direct),
        RecipeKind::Pointwise if geometry.patch.taps() > 1 => {
            return Err("the kernel has several taps");
        }
        RecipeKind::Pointwise => (false, Recipe::Pointwise),
        RecipeKind::Grouped if geometry.groups() == 1 => return Err("there is one group"),
        RecipeKind::Grouped => (true, Recipe::Grouped),
        RecipeKind::WinogradF2 => return winograd(2),
        RecipeKind::WinogradF4 => return winograd(4),
        RecipeKind::Fft if !cfg!(feature = "fft") => return Err(NO_FOURIER),
        RecipeKind::Fft => {
            let limit = options.scratch_limit.unwrap_or(FOURIER_SCRATCH_LIMIT) / size_of::<T>();
            let seconds =
                |tiles: &FourierTiles| fourier_seconds::<T>(tiles, geometry, pass, options);
            let tiles = FourierTiles::new(geometry, pass, options.isa, limit, seconds);
            return tiles.map(Recipe::Fft);
        }
    };
    if !single {
        return Err(NOT_SINGLE);
    }
    let limit = options.scratch_elements::<T>();
    Blocks::new(geometry, pass, grouped, options.isa, limit).map(made)
}

/// What a plan chooses from.
pub(crate) const CANDIDATES: [RecipeKind; 7] = [
    RecipeKind::Direct,
    RecipeKind::Pointwise,
    RecipeKind::Grouped,
    RecipeKind::WinogradF2,
    RecipeKind::WinogradF4,
    RecipeKind::Fft,
    RecipeKind::Unfold,
];

/// The recipe of a pass, and why.
pub(super) fn choose<T: Element>(
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> (Recipe, String) {
    // The same recipe by the name that it does not have here.
    let other_name = if geometry.patch.taps() == 1 {
        RecipeKind::Direct
    } else {
        RecipeKind::Pointwise
    };
    let mut best = (unfold::<T>(geometry, pass, options), f64::INFINITY);
    let mut told = Vec::new();
    let large = geometry.patch.taps() >= FOURIER_TAPS;
    let candidates = CANDIDATES
        .into_iter()
        .filter(|&kind| kind != other_name && (large || kind != RecipeKind::Fft));
    for kind in candidates {
        match recipe::<T>(kind, geometry, pass, options) {
            Ok(recipe) => {
                let seconds = seconds::<T>(&recipe, geometry, pass, options);
                let but = match options.accuracy {
                    _ if kind.is_exact() => "",
                    Accuracy::Exact => " but not exact",
                    Accuracy::Fast if rounds_much(&recipe, geometry, pass) => " but rounds much",
                    Accuracy::Fast => "",
                };
                told.push(format!("{kind} {:.3} ms{but}", 1e3 * seconds));
                if but.is_empty() && seconds < best.1 {
                    best = (recipe, seconds);
                }
            }
            // One group, a kernel or a stride that tiles are not for is no reason that anybody wonders about.
            Err(_) if kind == RecipeKind::Grouped || !kind.is_exact() => {}
            Err(why) => told.push(format!("no {kind}: {why}")),
        }
    }
    (best.0, format!("estimated {}", told.join(", ")))
}

/// Whether errors may be more than 2.5 times those of the direct recipe, or the largest more than 4 times.
fn rounds_much(recipe: &Recipe, geometry: &ConvGeometry, pass: Pass) -> bool {
    let tiles = match recipe {
        Recipe::Winograd(tiles) | Recipe::WinogradWeight(WinogradParts { tiles, .. }) => tiles,
        _ => return false,
    };
    let pieces = tiles.tiling.pieces();
    let line = tiles.tiling.results().contains(&1);
    let most = match pieces {
        several if several > 1 && !line => MOST_OF_PIECES / several,
        _ => MOST_SOURCES,
    };
    let much = match pass {
        Pass::Forward => geometry.channels_per_group() > most,
        Pass::BackwardInput => geometry.outputs_per_group() > most,
        Pass::BackwardWeight => {
            geometry.positions().saturating_mul(geometry.batch()) < FEWEST_TERMS
        }
    };
    tiles.tiling.size() == 4 && much
}

/// Seconds that one thread would need, by the model.
fn seconds<T: Element>(
    recipe: &Recipe,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> f64 {
    match recipe {
        Recipe::Winograd(tiles) => return winograd_seconds(tiles, geometry, pass),
        Recipe::WinogradWeight(parts) => return winograd_weight_seconds(parts, geometry),
        Recipe::Fft(tiles) => {
            return fourier_seconds::<T>(tiles, geometry, pass, options);
        }
        _ => {}
    }
    let kind = recipe.kind();
    let lanes = options.isa.lanes();
    let results = match pass {
        Pass::BackwardInput => geometry.channels_per_group(),
        _ => geometry.outputs_per_group(),
    };
    let padding = |columns: usize| columns.next_multiple_of(lanes) as f64 / columns as f64;
    let work = |rate: f64| geometry.operations() as f64 / rate / 1e9;
    match kind {
        RecipeKind::Grouped => padding(geometry.groups() * results) * work(GROUPED),
        RecipeKind::Unfold => {
            let columns = geometry.positions() as f64 * geometry.batch() as f64;
            let (rows, terms, fold) = match pass {
                Pass::Forward => (results, geometry.patch_len() as f64, 0.0),
                Pass::BackwardInput => {
                    let each = FOLD[usize::from(geometry.layout() == Layout::ChannelsLast)];
                    let elements = (geometry.patch_len() * geometry.groups()) as f64 * columns;
                    let terms = geometry.outputs_per_group() as f64;
                    (geometry.patch_len(), terms, elements * each / 1e9)
                }
                Pass::BackwardWeight => (results, columns, 0.0),
            };
            let (rate, most) = match pass {
                Pass::BackwardWeight => (ENGINE_WEIGHT, ENGINE_WEIGHT_ROWS),
                _ => (ENGINE, ENGINE_ROWS),
            };
            // Twice the bytes take twice the time.
            let wide = size_of::<T>() as f64 / size_of::<f32>() as f64;
            let rate = rate / wide * rows.min(most) as f64 / most as f64;
            work(rate) * (1.0 + ENGINE_EXIT / terms.max(1.0)) + fold
        }
        _ => {
            let several = usize::from(results > lanes);
            let layout = usize::from(geometry.layout() == Layout::ChannelsFirst);
            let sums = match pass {
                Pass::Forward => geometry.output_len(),
                Pass::BackwardInput => geometry.input_len(),
                // Of many terms each, and a panel of its own copied for every block.
                Pass::BackwardWeight => return padding(results) * work(DENSE_WEIGHT[several]),
            };
            let (rate, exit) = if several == 0 {
                (DENSE_ONE_VECTOR, EXIT_ONE_VECTOR)
            } else {
                (DENSE, EXIT)
            };
            let terms = geometry.operations() as f64 / 2.0 / sums.max(1) as f64;
            if let Some(slower) = pixels_in_lanes(geometry, pass, options.isa) {
                let rate = FEW_COLUMNS[1].min(FEW_COLUMNS[0] * results as f64);
                return slower * work(rate) * (1.0 + EXIT_FEW_COLUMNS / terms.max(1.0));
            }
            padding(results) * work(rate[layout]) * (1.0 + exit[layout] / terms.max(1.0))
        }
    }
}

/// Where the lanes of dense native products are neighbouring pixels, for few channels of the result: how many times as
/// long they take as if all lanes and all multiply-add units were busy.
fn pixels_in_lanes(geometry: &ConvGeometry, pass: Pass, isa: Isa) -> Option<f64> {
    let results = match pass {
        Pass::Forward => geometry.outputs_per_group(),
        Pass::BackwardInput => geometry.channels_per_group(),
        Pass::BackwardWeight => return None,
    };
    let axes = block_axes(geometry, pass).ok()?;
    let [_, _, line] = &axes;
    let (lanes, width) = (isa.lanes(), line.positions(0, line.result).max(1));
    let vectors = width.div_ceil(lanes);
    let fits = geometry.layout() == Layout::ChannelsFirst
        && results <= most_columns(isa.registers())
        && line.step == 1
        && vectors * results < width;
    // With several phases each line is a product of its own.
    let lone = axes.iter().any(|axis| axis.phases.len() > 1);
    let chains = results * if lone { vectors.min(4) } else { 4 };
    let idle = 4.0 / chains.min(4) as f64;
    fits.then_some(idle * (vectors * lanes) as f64 / width as f64)
}

/// The same for Winograd's algorithm: its products, the transforms on both sides, the transformed weights that every
/// block reads.
fn winograd_seconds(tiles: &WinogradTiles, geometry: &ConvGeometry, pass: Pass) -> f64 {
    let whole = |channels: usize| channels.next_multiple_of(tiles.isa.lanes()) as f64;
    let results = match pass {
        Pass::BackwardInput => geometry.channels_per_group(),
        _ => geometry.outputs_per_group(),
    };
    let pieces = tiles.tiling.pieces() as f64;
    let (sources, columns) = (pieces * tiles.sources as f64, whole(results));
    let (groups, products) = (geometry.groups() as f64, tiles.products() as f64);
    let count = geometry.batch() as f64 * tiles.in_image() as f64;
    let blocks = (count / tiles.block() as f64).ceil();
    let multiplied = 2.0 * count * sources * columns / WINOGRAD;
    let layout = usize::from(tiles.copied);
    let transformed = count
        * (pieces * whole(tiles.sources) * TRANSFORM_IN[layout] + columns * TRANSFORM_OUT[layout]);
    let read = blocks * sources * columns * size_of::<f32>() as f64 / WINOGRAD_WEIGHTS;
    groups * products * (multiplied + transformed + read) / 1e9
}

/// The same for the gradient of the weights, of which each part transforms what it multiplies: its products, the
/// transforms, and its sums, which every block reads and writes.
fn winograd_weight_seconds(parts: &WinogradParts, geometry: &ConvGeometry) -> f64 {
    let tiles = &parts.tiles;
    let whole = |channels: usize| channels.next_multiple_of(tiles.isa.lanes()) as f64;
    let [channels, outputs] = [geometry.channels_per_group(), geometry.outputs_per_group()];
    let (down, across) = (
        channels.div_ceil(tiles.sources.max(1)) as f64,
        outputs.div_ceil(parts.outputs.max(1)) as f64,
    );
    let (groups, products) = (geometry.groups() as f64, tiles.products() as f64);
    let count = geometry.batch() as f64 * tiles.in_image() as f64;
    let blocks = (count / tiles.block() as f64).ceil();
    let pieces = tiles.tiling.pieces() as f64;
    let sums = pieces * channels as f64 * whole(outputs);
    let multiplied = 2.0 * count * sums / WINOGRAD;
    let layout = usize::from(tiles.copied);
    let transformed = count
        * (across * pieces * whole(channels) * TRANSFORM_IN[layout]
            + down * whole(outputs) * TRANSFORM_OUT[layout]);
    let joined = blocks * sums * SUM_JOINED;
    groups * products * (multiplied + transformed + joined) / 1e9
}

/// The same for Fourier transforms: those of all windows and results, the products, the spectra of the weights that
/// every block reads.
fn fourier_seconds<T: Element>(
    tiles: &FourierTiles,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> f64 {
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
    let products = f * (4.0 * count * sources * columns * wide / FOURIER + calls * FOURIER_CALL);
    let bytes = size_of::<T>() as f64;
    // Spectra are written and read, on both sides; those of the weights by every block.
    let rate = |[near, far]: [f64; 2], size: f64, limit: f64| if size > limit { far } else { near };
    let moved = count * f * (sources + results) * 4.0 * bytes;
    let moved = moved / rate(FOURIER_MOVED, tiles.spectra() as f64 * bytes, FOURIER_NEAR);
    let weights = f * sources * columns * bytes;
    let read = blocks * weights / rate(FOURIER_WEIGHTS, groups * weights, FOURIER_FAR);
    FOURIER_DOUBT * groups * (transformed + products + read + moved + prepared) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ConvOptions;

    fn chosen(channels: usize, outputs: usize, groups: usize, pass: Pass) -> RecipeKind {
        let options = ConvOptions::new().padding(1).groups(groups);
        let shape = [outputs, channels / groups, 3, 3];
        let geometry = ConvGeometry::new(&[1, channels, 56, 56], &shape, &options).unwrap();
        let options = PlanOptions::new();
        let (recipe, why) = choose::<f32>(&geometry, pass, &options);
        assert!(why.contains("unfold"), "{why}");
        let exact = options.accuracy(Accuracy::Exact);
        let (exact, why) = choose::<f32>(&geometry, pass, &exact);
        if recipe.kind().is_exact() {
            assert_eq!(exact, recipe, "{why}");
        } else {
            assert!(exact.kind().is_exact(), "{why}");
            assert!(why.contains("but not exact"), "{why}");
        }
        recipe.kind()
    }

    #[test]
    fn lanes_decide() {
        for pass in Pass::ALL {
            assert_eq!(chosen(64, 64, 1, pass), RecipeKind::WinogradF4);
            assert_eq!(chosen(64, 64, 64, pass), RecipeKind::Grouped);
            assert_eq!(chosen(128, 128, 4, pass), RecipeKind::WinogradF4);
        }
        assert_eq!(
            chosen(128, 128, 32, Pass::BackwardWeight),
            RecipeKind::Grouped
        );
        // Few channels would leave most lanes empty, but pixels do not.
        if PlanOptions::new().isa.lanes() == 16 {
            for pass in [Pass::Forward, Pass::BackwardInput] {
                assert_eq!(chosen(128, 128, 32, pass), RecipeKind::Direct);
            }
            assert_eq!(chosen(3, 64, 1, Pass::BackwardInput), RecipeKind::Direct);
        }
        assert_eq!(chosen(3, 64, 1, Pass::Forward), RecipeKind::Direct);
    }

    /// Large kernels by Fourier transforms, unless strides, preparing or accuracy stand against it.
    #[cfg(feature = "fft")]
    #[test]
    fn large_kernels_are_transformed() {
        let chosen = |kernel: usize, channels: usize, stride: usize, options: &PlanOptions| {
            let shape = [1, channels, 56, 56];
            let conv = ConvOptions::new().padding(kernel / 2).stride(stride);
            let geometry =
                ConvGeometry::new(&shape, &[channels, channels, kernel, kernel], &conv).unwrap();
            choose::<f32>(&geometry, Pass::Forward, options).0.kind()
        };
        let options = PlanOptions::new();
        for kernel in [11, 15, 31] {
            for channels in [1, 8, 64] {
                assert_eq!(chosen(kernel, channels, 1, &options), RecipeKind::Fft);
            }
        }
        assert_ne!(chosen(31, 64, 2, &options), RecipeKind::Fft);
        assert_ne!(chosen(3, 64, 1, &options), RecipeKind::Fft);
        // Few channels in and many out: transforms of results for hardly any product.
        let conv = ConvOptions::new().padding(5);
        let wide = ConvGeometry::new(&[1, 3, 224, 224], &[64, 3, 11, 11], &conv).unwrap();
        let (recipe, why) = choose::<f32>(&wide, Pass::Forward, &options);
        assert_eq!(recipe.kind(), RecipeKind::Direct, "{why}");
        let once = options.clone().weights_change(true);
        assert_eq!(chosen(7, 64, 1, &options), RecipeKind::Fft);
        assert_ne!(chosen(7, 64, 1, &once), RecipeKind::Fft);
        assert_eq!(chosen(31, 64, 1, &once), RecipeKind::Fft);
        let exact = options.accuracy(Accuracy::Exact);
        assert_ne!(chosen(31, 64, 1, &exact), RecipeKind::Fft);
    }

    #[test]
    fn pointwise_is_direct_by_another_name() {
        let options = ConvOptions::new().stride(2).padding(1);
        let geometry = ConvGeometry::new(&[3, 40, 30, 30], &[50, 40, 1, 1], &options).unwrap();
        for pass in Pass::ALL {
            let blocks = |kind| {
                let recipe = recipe::<f32>(kind, &geometry, pass, &PlanOptions::new()).unwrap();
                assert_eq!(recipe.kind(), kind);
                *recipe.blocks().unwrap()
            };
            assert_eq!(blocks(RecipeKind::Direct), blocks(RecipeKind::Pointwise));
        }
    }

    #[test]
    fn the_reason_names_what_is_missing() {
        let options = ConvOptions::new()
            .padding(1)
            .padding_mode(crate::geometry::PaddingMode::Reflect);
        let geometry = ConvGeometry::new(&[1, 64, 9, 9], &[64, 64, 3, 3], &options).unwrap();
        let (recipe, why) = choose::<f32>(&geometry, Pass::BackwardInput, &PlanOptions::new());
        assert_eq!(recipe.kind(), RecipeKind::Unfold);
        assert!(
            why.contains("no direct: the padding is read from the image"),
            "{why}"
        );
        let (recipe, why) = choose::<f64>(&geometry, Pass::Forward, &PlanOptions::new());
        assert_eq!(recipe.kind(), RecipeKind::Unfold);
        assert!(why.contains("not f32"), "{why}");
    }
}
