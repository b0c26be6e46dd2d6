//! Seconds of Winograd's algorithm, and where it rounds much.

use super::rates::{Rates, THIRD_CACHE};
use crate::geometry::ConvGeometry;
use crate::kernel::{Left, Panels};
use crate::plan::{Pass, PlanOptions, Recipe, WinogradParts, WinogradTiles};

/// Nanoseconds that a product takes beside its multiply-adds: 36 groups of 16 channels over 14 × 14 pixels took 446 µs
/// with 1296 products of F4, where the estimate without this was 250, and direct 329.
const CALL: f64 = 100.0;

/// Channels of the source up to which the errors of Winograd F4 were found to stay below 2.5 times those of direct, and
/// the largest below 4 times: 256 have 2.3 and 3.8 times, 512 have 2.1 and in 24 trials up to 3.3, 2048 have 2.2
/// and 3.5.
const MOST_SOURCES: usize = 2048;

/// The same where a kernel of two axes has several pieces, times their number: 192 channels of 5 × 5 taps have 2.3 and 3.4
/// times, 256 have 2.4 and 3.9, 512 have 2.6 and 4.5, 113 of 7 × 7 taps have 2.5.
const MOST_OF_PIECES: usize = 800;

/// Positions of all images from which on the same holds for gradients of the weights: 196 have 2 to 2.8 times, 49 up to
/// 2.9 times, 784 have 1.9 times. On a line 64 have 1.4 times, 289 up to 1.6.
const FEWEST_TERMS: usize = 400;

/// Whether errors may be more than 2.5 times those of the direct recipe, or the largest more than 4 times.
pub(super) fn rounds_much(recipe: &Recipe, geometry: &ConvGeometry, pass: Pass) -> bool {
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
            !line && geometry.positions().saturating_mul(geometry.batch()) < FEWEST_TERMS
        }
    };
    tiles.tiling.size() == 4 && much
}

/// Seconds that one thread would need, by the model: its products, the transforms on both sides, the transformed weights that every
/// block reads.
pub(super) fn seconds(
    tiles: &WinogradTiles,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> f64 {
    let rates = Rates::of(tiles.isa);
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
    let multiplied = 2.0 * count * sources * columns / rates.winograd;
    let [pixel, result] = rates.transform(tiles.products(), tiles.copied);
    let transformed = count * (pieces * whole(tiles.sources) * pixel + columns * result);
    let bytes = sources * columns * size_of::<f32>() as f64;
    let [near, far, memory] = rates.winograd_weights;
    let again = match groups * products * bytes > THIRD_CACHE {
        true => far,
        false => near,
    };
    let first = if options.weights_far { memory } else { again };
    let read = bytes / first + (blocks - 1.0).max(0.0) * bytes / again;
    let calls = blocks
        * Panels::new(tiles.isa, Left::Scalars, results)
            .each()
            .count() as f64;
    groups * products * (multiplied + transformed + read + calls * CALL) / 1e9
}

/// The same for the gradient of the weights, of which each part transforms what it multiplies: its products, the
/// transforms, and its sums, which every block reads and writes.
pub(super) fn weight_seconds(parts: &WinogradParts, geometry: &ConvGeometry) -> f64 {
    let tiles = &parts.tiles;
    let rates = Rates::of(tiles.isa);
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
    let multiplied = 2.0 * count * sums / rates.winograd_weight;
    let [pixel, result] = rates.transform(tiles.products(), tiles.copied);
    let transformed =
        count * (across * pieces * whole(channels) * pixel + down * whole(outputs) * result);
    let joined = blocks * sums * rates.sum_joined;
    groups * products * (multiplied + transformed + joined) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{ConvOptions, Layout};
    use crate::kernel::Isa;
    use crate::plan::RecipeKind;
    use crate::plan::cost::choose;

    /// The 3 × 3 layer of GoogLeNet's last block: its transformed weights decide, where multiply-adds are dear.
    #[test]
    fn weights_from_memory_take_longer() {
        let options = ConvOptions::new().padding(1).layout(Layout::ChannelsLast);
        let geometry = ConvGeometry::new(&[1, 7, 7, 192], &[384, 192, 3, 3], &options).unwrap();
        for isa in Isa::available() {
            let [near, far] = [false, true].map(|far| {
                let options = PlanOptions::new().isa(isa).weights_far(far);
                let tiles = WinogradTiles::new(&geometry, Pass::Forward, 4, isa, 1 << 20).unwrap();
                let seconds = seconds(&tiles, &geometry, Pass::Forward, &options);
                let (recipe, _) = choose::<f32>(&geometry, Pass::Forward, &options);
                (seconds, recipe.kind())
            });
            if isa.is_narrow() {
                assert!(far.0 > 1.2 * near.0, "{isa}: {near:?} {far:?}");
                assert_eq!(near.1, RecipeKind::WinogradF4, "{isa}");
                assert_eq!(far.1, RecipeKind::WinogradF2, "{isa}");
            } else {
                assert_eq!(near, far, "{isa}");
            }
        }
    }
}
