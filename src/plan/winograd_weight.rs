//! How Winograd's algorithm cuts the gradient of the weights.
//!
//! ```text
//! a part:     source channels × outputs of one group; what it sums, nobody else sums
//! a block:    images × tiles down × tiles across of some phases, as in the other passes
//! scratch:    V [product][tile][piece, channel], W [product][panel][tile][output]  of a block
//!             M [product][piece, channel][output]                               of a part, summed over all blocks
//! ```
//!
//! Each part transforms the channels and the outputs that it multiplies: larger parts transform less, smaller ones leave
//! more of the second-level cache to V and W. M is read and written once a block.

use super::tiles::balanced;
use super::winograd::{APART, MOST_CHANNELS, dilation, tiling};
use super::{Pass, WinogradTiles, sweep_axes};
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{Isa, Left, Panels};

/// Most elements of M: most of a second-level cache of 2 MiB.
const SUMS: usize = (3 << 19) / size_of::<f32>();

/// Elements of V and W of a block.
const TRANSFORMED: usize = (1 << 20) / size_of::<f32>();

/// Tiles of a block where so few elements are too few tiles: the sums of M are read and written for each block.
const FEWEST_TILES: usize = 64;

/// How the gradient of the weights is cut into parts and tiles of Winograd's algorithm.
///
/// Blocks depend on the geometry, the instruction set and the scratch limit, never on threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WinogradParts {
    /// The blocks of tiles; their sources are the source channels of one part, their columns its outputs in panels.
    pub tiles: WinogradTiles,
    /// Most outputs of one part.
    pub outputs: usize,
}

impl WinogradParts {
    /// The parts and blocks with at most `limit` elements of scratch a thread.
    ///
    /// # Errors
    /// The reason why Winograd's algorithm cannot do this pass.
    pub(super) fn new(
        geometry: &ConvGeometry,
        results: usize,
        isa: Isa,
        limit: usize,
    ) -> Result<Self, &'static str> {
        let tiling = tiling(geometry, Pass::BackwardWeight, results)?;
        let sweep = sweep_axes(geometry, Pass::BackwardWeight)?;
        let shape = [geometry.channels_per_group(), geometry.outputs_per_group()];
        if tiling.pieces() * shape[0].max(shape[1]) > MOST_CHANNELS {
            return Err("there are too many channels");
        }
        let mut parts = Self {
            tiles: WinogradTiles {
                isa,
                tiling,
                dilation: dilation(geometry),
                lengths: [1, 2].map(|axis| sweep[axis].result),
                images: 1,
                phases: [1; 2],
                tiles: [1; 2],
                sources: 1,
                columns: isa.lanes(),
                copied: geometry.layout() == Layout::ChannelsFirst,
            },
            outputs: 1,
        };
        let mut sums = SUMS;
        loop {
            let products = parts.tiles.products() * parts.tiles.tiling.pieces();
            parts.set_share(shape, sums / products);
            let each = parts.tiles.pitch() + parts.tiles.columns;
            let most = TRANSFORMED / (parts.tiles.products() * each);
            if parts.fit_block(geometry.batch(), most.max(FEWEST_TILES), limit) {
                return Ok(parts);
            }
            // Smaller parts leave more room for a block.
            sums = match sums / 2 {
                0 => return Err("a tile does not fit the scratch limit"),
                half => half,
            };
        }
    }

    /// Parts of at most `most` sums, in even shares, so that as little as possible is transformed in all.
    fn set_share(&mut self, [channels, outputs]: [usize; 2], most: usize) {
        let lanes = self.tiles.isa.lanes();
        let vectors = outputs.div_ceil(lanes);
        let share = |count: usize| {
            let columns = vectors.div_ceil(count) * lanes;
            let sources = match most / columns {
                few if few < lanes => balanced(channels, few),
                // Whole vectors.
                many => (balanced(channels.div_ceil(lanes), many / lanes) * lanes).min(channels),
            };
            let down = channels.div_ceil(sources);
            let across = (vectors * lanes).div_ceil(columns);
            // Every row of parts transforms all outputs, every column all channels.
            let transformed = down * vectors * lanes + across * channels;
            (transformed, columns.min(outputs), sources)
        };
        let best = (1..=vectors).map(share).min_by_key(|share| share.0);
        let (_, outputs, sources) = best.unwrap_or((0, 1, 1));
        self.outputs = outputs;
        self.tiles.sources = sources;
        self.tiles.columns = Panels::new(self.tiles.isa, Left::Scalars, outputs).columns();
    }

    /// A block of at most `most` tiles that fits the limit, if there is one.
    fn fit_block(&mut self, batch: usize, mut most: usize, limit: usize) -> bool {
        loop {
            self.tiles.set_block(batch, most);
            if self.scratch_len() <= limit {
                return true;
            }
            most = match self.tiles.block() {
                1 => return false,
                several => several - 1,
            };
        }
    }

    /// Elements of M from one product to the next.
    pub(crate) fn step(&self) -> usize {
        let rows = self.tiles.tiling.pieces() * self.tiles.sources;
        (rows * self.tiles.columns).next_multiple_of(16) + APART
    }

    /// Elements of scratch that one thread needs: two sums of each output's gradients beside V, W and M.
    pub fn scratch_len(&self) -> usize {
        let sums = self.tiles.products() * self.step();
        (sums + 2 * self.tiles.columns).saturating_add(self.tiles.scratch_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ConvOptions;

    fn parts(channels: usize, outputs: usize, side: usize, limit: usize) -> WinogradParts {
        let options = ConvOptions::new().padding(1);
        let (input, shape) = ([2, channels, side, side], [outputs, channels, 3, 3]);
        let geometry = ConvGeometry::new(&input, &shape, &options).unwrap();
        let parts = WinogradParts::new(&geometry, 4, Isa::selected(), limit).unwrap();
        assert!(parts.scratch_len() <= limit);
        assert!(parts.tiles.sources <= channels && parts.outputs <= outputs);
        assert!(parts.tiles.columns >= parts.outputs);
        parts
    }

    #[test]
    fn sums_stay_in_the_cache() {
        for channels in [1, 3, 16, 64, 100, 512] {
            for outputs in [1, 17, 64, 96, 512] {
                for side in [1, 7, 28, 112] {
                    let parts = parts(channels, outputs, side, 1 << 20);
                    let sums = parts.tiles.products() * parts.tiles.sources * parts.tiles.columns;
                    assert!(sums <= SUMS, "{parts:?}");
                }
            }
        }
        let whole = parts(64, 64, 56, 1 << 20);
        assert_eq!([whole.tiles.sources, whole.outputs], [64, 64]);
        let wide = parts(256, 256, 56, 1 << 20);
        assert!(wide.tiles.sources >= 64 && wide.outputs >= 64 && wide.tiles.block() >= 32);
    }

    #[test]
    fn little_scratch_makes_small_parts() {
        let parts = parts(64, 64, 28, 1 << 14);
        assert!(parts.tiles.sources < 64 || parts.outputs < 64);
        let options = ConvOptions::new().padding(1);
        let geometry = ConvGeometry::new(&[1, 4, 9, 9], &[4, 4, 3, 3], &options).unwrap();
        let none = WinogradParts::new(&geometry, 4, Isa::selected(), 100);
        assert_eq!(none, Err("a tile does not fit the scratch limit"));
    }
}
