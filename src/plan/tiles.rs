//! How large the tiles of the `unfold` recipe are.
//!
//! ```text
//! forward          tile of X̂: rows ≤ 256, columns ≤ 1024       Y tile  += W[:, rows] · X̂
//! backward input   tile of dX̂: whole channels, rows ≈ 512       dX      += fold(Wᵀ[rows, :] · dY tile)
//! backward weight  tile of X̂: rows ≤ 512, columns ≤ 1024        dW[:, rows] += dY tile · X̂ᵀ
//! ```
//!
//! Several small images share a tile: 7×7 positions alone are too few columns to repay the packing
//! of the weights. Channels last needs no staging for that, as positions of one image follow those of
//! the image before.

use std::ops::RangeInclusive;

use super::{Pass, Patches, Tiles};
use crate::geometry::{ConvGeometry, Layout};

/// Rows of a tile: `matrixmultiply`'s KC, so that a row block costs no pass over C that the engine
/// would not make by itself.
const ROWS: usize = 256;

/// Rows of a tile of the gradients. There both factors are packed anew for every tile, the weights once for its
/// columns and the output gradient once for its rows: a square tile of 1 MiB wastes least.
const GRADIENT_ROWS: usize = 512;

/// Columns of a tile: `matrixmultiply`'s NC; its weights are packed anew for every such block.
const COLUMNS: usize = 1024;

/// Positions of one image below which several images share a tile.
const SMALL_IMAGE: usize = 512;

/// Positions below which a single image is not cut in two for a second thread.
const WORTH_CUTTING: usize = 256;

/// Output channels below which they are not cut in two for a second thread: each half unfolds and packs the same
/// patches anew, which costs `resnet_3x3_512_7` an eighth of its speed on one thread.
const WORTH_HALVING: usize = 1024;

/// Most output channels of a forward task whose product is staged. More leave less of the scratch to the patches;
/// fewer unfold the same patches more often.
const STAGED_OUTPUTS: usize = 256;

/// Terms of a weight gradient that are summed in blocks of [`SHORT_BLOCK`], so that it stays within
/// 1.3e-6 · |dW| + 1e-5 of the exact sum for operands of size 1, which one running sum of 338 terms misses. It costs
/// a third of the speed. Shorter sums do without, and longer ones could not be held to that bound anyway.
const SHORT_SUMS: RangeInclusive<usize> = 200..=512;

/// Columns of a tile of a short weight gradient.
pub(crate) const SHORT_BLOCK: usize = 48;

/// Whether the terms of the weight gradient are summed in short blocks.
pub(crate) fn sums_are_short(geometry: &ConvGeometry) -> bool {
    SHORT_SUMS.contains(&geometry.positions().saturating_mul(geometry.batch()))
}

impl Tiles {
    /// The tiles of one pass with at most `limit` elements of scratch a thread (at least one is used).
    pub(super) fn new(geometry: &ConvGeometry, pass: Pass, limit: usize) -> Self {
        let limit = limit.max(1);
        let small = geometry.positions() < SMALL_IMAGE && geometry.batch() > 1;
        if geometry.patch.is_identity() && (!small || geometry.layout() == Layout::ChannelsLast) {
            return Self::of_image(geometry, pass);
        }
        let channels = match (pass, geometry.layout()) {
            (Pass::BackwardInput, Layout::ChannelsFirst) => balanced(
                geometry.channels_per_group(),
                GRADIENT_ROWS.div_ceil(geometry.patch.taps()),
            ),
            _ => geometry.channels_per_group(),
        };
        let rows = match pass {
            Pass::Forward => ROWS.min(geometry.patch_len()),
            Pass::BackwardInput => (channels * geometry.patch.taps()).min(GRADIENT_ROWS + ROWS),
            Pass::BackwardWeight => Self::weight_rows(geometry.patch_len()),
        }
        .min(limit);
        let in_blocks = pass == Pass::BackwardWeight && sums_are_short(geometry);
        if small && geometry.layout() == Layout::ChannelsFirst && !in_blocks {
            let shared = Self::shared(geometry, pass, [rows, channels], limit);
            if let Some(tiles) = shared {
                return tiles;
            }
        }
        if geometry.patch.is_identity() {
            return Self::of_image(geometry, pass);
        }
        let most = COLUMNS.min(limit / rows).max(1);
        let (columns, images) = match geometry.layout() {
            Layout::ChannelsFirst => (Self::cut(geometry, pass, geometry.positions(), most), 1),
            Layout::ChannelsLast => Self::last(geometry, pass, most),
        };
        Self {
            patches: Patches::Tile,
            rows,
            columns,
            images,
            channels,
            outputs: Self::outputs(geometry, columns),
            staged: 0,
        }
    }

    /// Channels first, a tile of several small images: their product is staged, then dealt out to them.
    fn shared(
        geometry: &ConvGeometry,
        pass: Pass,
        [rows, channels]: [usize; 2],
        limit: usize,
    ) -> Option<Self> {
        let (batch, positions, outputs) = (
            geometry.batch(),
            geometry.positions(),
            geometry.outputs_per_group(),
        );
        let outputs = match pass {
            Pass::Forward => balanced(outputs, STAGED_OUTPUTS),
            // The gradients stage dY, all of it.
            _ => outputs,
        };
        let most = COLUMNS.min(limit / (rows + outputs)) / positions;
        let tasks = batch.div_ceil(most.clamp(1, batch));
        // An even number of tasks, so that two threads have as much to do.
        let images = batch.div_ceil(tasks.next_multiple_of(2));
        (images > 1).then_some(Self {
            patches: Patches::Tile,
            rows,
            columns: images * positions,
            images,
            channels,
            outputs,
            staged: outputs,
        })
    }

    /// Output channels of one forward task: all of them, unless a second thread would find nothing to do.
    fn outputs(geometry: &ConvGeometry, columns: usize) -> usize {
        let outputs = geometry.outputs_per_group();
        let tasks = geometry.groups * (geometry.positions() * geometry.batch()).div_ceil(columns);
        if tasks < 2 && outputs >= WORTH_HALVING {
            outputs.div_ceil(2)
        } else {
            outputs
        }
    }

    /// Tiles where the image is its own patch matrix: cut for threads only.
    fn of_image(geometry: &ConvGeometry, pass: Pass) -> Self {
        let (positions, images) = match geometry.layout() {
            Layout::ChannelsFirst => (geometry.positions(), 1),
            Layout::ChannelsLast => (
                geometry.positions() * geometry.batch().max(1),
                geometry.batch().max(1),
            ),
        };
        let rows = match pass {
            Pass::BackwardWeight => Self::weight_rows(geometry.patch_len()),
            _ => geometry.patch_len(),
        };
        // Nothing is folded, so that the gradient of the input is cut like the output.
        let cut_like = match pass {
            Pass::BackwardInput => Pass::Forward,
            pass => pass,
        };
        let columns = Self::cut(geometry, cut_like, positions, COLUMNS);
        Self {
            patches: Patches::Image,
            rows,
            columns,
            images,
            channels: geometry.channels_per_group(),
            outputs: Self::outputs(geometry, columns),
            staged: 0,
        }
    }

    /// Channels last: the positions of several images are one run, cut anywhere.
    fn last(geometry: &ConvGeometry, pass: Pass, most: usize) -> (usize, usize) {
        let images = match pass {
            // dX is cut by images: few enough that every thread finds some.
            Pass::BackwardInput => {
                balanced(geometry.batch(), (COLUMNS / geometry.positions()).max(1))
            }
            _ => geometry.batch().max(1),
        };
        (
            Self::cut(geometry, pass, images * geometry.positions(), most),
            images,
        )
    }

    /// Columns of a tile: at most `most`, and even pieces of whole output rows where that is possible.
    fn cut(geometry: &ConvGeometry, pass: Pass, positions: usize, most: usize) -> usize {
        if pass == Pass::BackwardWeight {
            // The sum runs over the columns: no evenness needed, full blocks are best.
            let most = if sums_are_short(geometry) {
                most.min(SHORT_BLOCK)
            } else {
                most
            };
            return most.min(positions);
        }
        let mut pieces = positions.div_ceil(most);
        let tasks = geometry.groups
            * if geometry.layout() == Layout::ChannelsLast {
                1
            } else {
                geometry.batch().max(1)
            };
        if pass == Pass::Forward && pieces * tasks < 2 && positions >= WORTH_CUTTING {
            pieces = 2;
        }
        let even = positions.div_ceil(pieces);
        let line = geometry.patch.axes[2].output;
        let lines = even.next_multiple_of(line);
        if lines <= most { lines } else { even }
    }

    /// Rows of one task of the weight gradient.
    fn weight_rows(patch: usize) -> usize {
        let blocks = patch.div_ceil(GRADIENT_ROWS);
        // An even number, so that two threads have as much to do.
        let blocks = if patch >= 64 {
            blocks.next_multiple_of(2)
        } else {
            blocks
        };
        patch.div_ceil(blocks)
    }
}

/// The largest even share of `total` that is at most `most` (at least 1).
pub(super) fn balanced(total: usize, most: usize) -> usize {
    let total = total.max(1);
    total.div_ceil(total.div_ceil(most.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ConvOptions;

    const MEBIBYTE: usize = (1 << 20) / 4;

    fn tiles(
        input: &[usize],
        weight: &[usize],
        options: &ConvOptions,
        pass: Pass,
        limit: usize,
    ) -> Tiles {
        Tiles::new(
            &ConvGeometry::new(input, weight, options).unwrap(),
            pass,
            limit,
        )
    }

    #[test]
    fn a_resnet_layer() {
        let same = ConvOptions::new().padding(1);
        let forward = tiles(
            &[1, 64, 56, 56],
            &[64, 64, 3, 3],
            &same,
            Pass::Forward,
            MEBIBYTE,
        );
        // 3136 positions in four even pieces of 14 whole rows.
        assert_eq!(
            (forward.rows, forward.columns, forward.images),
            (256, 784, 1)
        );
        // Small maps share: eight images of 49 positions, and half the output channels a task.
        let small = tiles(
            &[16, 512, 7, 7],
            &[512, 512, 3, 3],
            &same,
            Pass::Forward,
            MEBIBYTE,
        );
        assert_eq!(
            (small.images, small.rows, small.columns, small.staged),
            (8, 256, 392, 256)
        );
        // A single small map with many output channels: two halves of them.
        let single = tiles(
            &[1, 512, 7, 7],
            &[2048, 512, 1, 3],
            &ConvOptions::new().padding([0, 1]),
            Pass::Forward,
            MEBIBYTE,
        );
        assert_eq!(
            (single.columns, single.outputs, single.staged),
            (49, 1024, 0)
        );
        let pointwise = tiles(
            &[1, 64, 56, 56],
            &[256, 64, 1, 1],
            &ConvOptions::new(),
            Pass::Forward,
            MEBIBYTE,
        );
        assert_eq!(
            (pointwise.patches, pointwise.scratch_len()),
            (Patches::Image, 0)
        );
    }

    #[test]
    fn scratch_stays_below_the_limit() {
        let shapes: [(&[usize], &[usize]); 5] = [
            (&[1, 64, 56, 56], &[64, 64, 3, 3]),
            (&[16, 512, 7, 7], &[512, 512, 3, 3]),
            (&[3, 3, 224, 224], &[64, 3, 7, 7]),
            (&[2, 8, 9, 9], &[8, 8, 9, 9]),
            (&[5, 1, 600], &[7, 1, 599]),
        ];
        for (input, weight) in shapes {
            for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
                let shape = layout.shape(input[0], input[1], &input[2..]);
                let options = ConvOptions::new().layout(layout);
                for pass in Pass::ALL {
                    for limit in [0, 1, 2, 7, 100, 4096, MEBIBYTE] {
                        let tiles = tiles(&shape, weight, &options, pass, limit);
                        assert!(
                            tiles.scratch_len() <= limit.max(1),
                            "{tiles:?} with {limit}"
                        );
                        assert!(
                            tiles.rows > 0
                                && tiles.columns > 0
                                && tiles.images > 0
                                && tiles.channels > 0
                        );
                    }
                }
            }
        }
    }
}
