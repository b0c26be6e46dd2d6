//! How Winograd's algorithm cuts its work.
//!
//! ```text
//! a phase:    with dilation d, the results d apart on an axis: they and what they read are a dense convolution
//! a tile:     R × R results of one phase, made of N² pixels, N = (R − 1) · stride + 3, and as many products for each
//!             pair of channels; where the kernel has one row or column, R and N are 1 there; see `TileAxis`
//! a piece:    the taps of a kernel that meet one tile's pixels, 3 × 3, or 4 of a line; larger kernels are sums of
//!             several, which read their tiles from pixels further on, as if they were further channels
//! a block:    images × tiles down × tiles across in every phase, an inner length cut only where the outer ones are 1;
//!             some of the phases where one tile of each is too much
//! scratch:    V [product][tile][piece, source channel]  of a block, M [product][tile][column]  of a panel of its results
//! ```
//!
//! V is read again for each panel of results, the transformed weights for each block: V and M should stay in the
//! second-level cache, and a block have so many tiles that its products take longer than reading the weights.

use super::tiles::balanced;
use super::{ALIGN, Pass, sweep_axes};
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{Isa, Left, MOST_PIECES, Panels, TileAxis, Tiling};

/// Elements of V and M that should stay in the second-level cache.
const TRANSFORMED: usize = (1 << 20) / size_of::<f32>();

/// Tiles of a block where so few elements are too few tiles: the products of as many take about as long as their
/// weights need from the third-level cache.
const FEWEST_TILES: usize = 36;

/// Channels above which offsets in V would need more than 32 bits.
pub(super) const MOST_CHANNELS: usize = 1 << 24;

/// Elements that keep one product's matrix from the sets of the cache in which the one before lies.
pub(super) const APART: usize = 16;

/// Tiles of R = `results` for the kernels and strides of `geometry`.
///
/// # Errors
/// The reason why there are none.
pub(super) fn tiling(
    geometry: &ConvGeometry,
    pass: Pass,
    results: usize,
) -> Result<Tiling, &'static str> {
    let axes = [1, 2].map(|axis| &geometry.patch.axes[axis]);
    let kernel = axes.map(|axis| axis.kernel);
    if geometry.patch.rank > 2 {
        return Err("there are more than two axes");
    }
    if kernel == [1, 1] || kernel.contains(&2) {
        return Err("the kernel has one tap, or two on an axis");
    }
    let stride = axes[1].stride;
    if stride > 2 || axes[0].stride != stride {
        return Err("the strides are neither both 1 nor both 2");
    }
    if stride == 2 && kernel != [3, 3] {
        return Err("there is a stride, and the kernel is not 3 × 3");
    }
    if stride == 2 && axes.iter().any(|axis| axis.dilation != 1) {
        return Err("there are a stride and a dilation");
    }
    let up = stride == 2 && pass == Pass::BackwardInput;
    if up && axes.iter().any(|axis| axis.pad_before % 2 == 0) {
        return Err("the stride is 2 and the padding in front of the image even");
    }
    let line = kernel.contains(&1);
    let tiling = Tiling {
        axes: kernel.map(|kernel| match kernel {
            1 => TileAxis::ONE,
            _ => TileAxis {
                results: if up { 2 * results } else { results },
                taps: taps(kernel, line && results == 4),
                stride: if up { 1 } else { stride },
                up,
                kernel,
            },
        }),
    };
    if tiling.pieces() > MOST_PIECES {
        return Err("the kernel has too many pieces");
    }
    Ok(tiling)
}

/// From one result of a tile to the next, which is that of the taps.
pub(super) fn dilation(geometry: &ConvGeometry) -> [usize; 2] {
    [1, 2].map(|axis| match &geometry.patch.axes[axis] {
        axis if axis.kernel == 1 => 1,
        axis => axis.dilation,
    })
}

/// Taps of a piece: on a line there are tiles of 4 too, which need 7 products where those of 3 need 6.
fn taps(kernel: usize, line: bool) -> usize {
    if line && kernel.div_ceil(4) * 7 < kernel.div_ceil(3) * 6 {
        4
    } else {
        3
    }
}

/// How one pass is cut into tiles of Winograd's algorithm.
///
/// Blocks depend on the geometry, the instruction set and the scratch limit, never on threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WinogradTiles {
    /// Instruction set of the transforms and the products.
    pub isa: Isa,
    /// The size of a tile.
    pub tiling: Tiling,
    /// From one result of a tile to the next, down and across.
    pub dilation: [usize; 2],
    /// Results of one image, down and across.
    pub lengths: [usize; 2],
    /// Images of one block.
    pub images: usize,
    /// Phases of one block, down and across.
    pub phases: [usize; 2],
    /// Most tiles of one phase in a block, down and across.
    pub tiles: [usize; 2],
    /// Channels of the source that are transformed together: those of one group, or of one part of the weights' gradient.
    pub sources: usize,
    /// Columns of the widest panel of results, or of all panels of a part of the weights' gradient.
    pub columns: usize,
    /// Whether the pixels of a block are copied first, so that the channels of each lie together.
    pub copied: bool,
}

impl WinogradTiles {
    /// The blocks of one pass with at most `limit` elements of scratch a thread.
    ///
    /// # Errors
    /// The reason why Winograd's algorithm cannot do this pass.
    pub(super) fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        results: usize,
        isa: Isa,
        limit: usize,
    ) -> Result<Self, &'static str> {
        let tiling = tiling(geometry, pass, results)?;
        let sweep = sweep_axes(geometry, pass)?;
        let (sources, columns) = match pass {
            Pass::BackwardInput => (geometry.outputs_per_group(), geometry.channels_per_group()),
            _ => (geometry.channels_per_group(), geometry.outputs_per_group()),
        };
        if tiling.pieces() * sources.max(columns) > MOST_CHANNELS {
            return Err("there are too many channels");
        }
        let widest = Panels::new(isa, Left::Scalars, columns)
            .each()
            .map(|(_, width)| width);
        let mut tiles = Self {
            isa,
            tiling,
            dilation: dilation(geometry),
            lengths: [1, 2].map(|axis| sweep[axis].result),
            images: 1,
            phases: [1; 2],
            tiles: [1; 2],
            sources,
            columns: widest.max().unwrap_or(0),
            copied: geometry.layout() == Layout::ChannelsFirst,
        };
        let each = tiles
            .products()
            .saturating_mul(tiles.pitch() + tiles.columns);
        let mut most = (TRANSFORMED / each.max(1)).max(FEWEST_TILES);
        loop {
            tiles.set_block(geometry.batch(), most);
            if tiles.scratch_len() <= limit {
                return Ok(tiles);
            }
            most = match tiles.block() {
                1 => return Err("a tile does not fit the scratch limit"),
                several => several - 1,
            };
        }
    }

    /// A block of at most `most` tiles, in even shares.
    pub(super) fn set_block(&mut self, batch: usize, most: usize) {
        let ([down, across], phases) = (self.all(), self.all_phases());
        let each = phases[0] * phases[1];
        let row = each * across;
        self.images = balanced(batch, most / (row * down));
        self.tiles = if most < row {
            [1, balanced(across, most / each)]
        } else {
            [balanced(down, most / row), across]
        };
        self.phases = if most < phases[1] {
            [1, balanced(phases[1], most)]
        } else {
            [balanced(phases[0], most / phases[1]), phases[1]]
        };
    }

    /// Phases down and across: no more than there are results.
    pub(crate) fn all_phases(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.dilation[axis].min(self.lengths[axis]).max(1))
    }

    /// Most tiles of a phase in one image, down and across.
    pub(crate) fn all(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let of_phase = self.lengths[axis].div_ceil(self.dilation[axis]);
            of_phase.div_ceil(self.tiling.results()[axis]).max(1)
        })
    }

    /// Tiles of all phases of one image.
    pub(crate) fn in_image(&self) -> usize {
        let [down, across] = [0, 1].map(|axis| {
            let (length, phases) = (self.lengths[axis], self.dilation[axis]);
            // One tile of each phase, as often as it is whole, and what is left begins as many tiles as it has phases.
            let whole = phases.saturating_mul(self.tiling.results()[axis]);
            length / whole * phases + (length % whole).min(phases)
        });
        down.saturating_mul(across)
    }

    /// Products of a tile for each pair of channels and each piece of the kernel.
    pub(crate) fn products(&self) -> usize {
        self.tiling.products()
    }

    /// Most tiles of a block.
    pub(crate) fn block(&self) -> usize {
        self.images * self.phases[0] * self.phases[1] * self.tiles[0] * self.tiles[1]
    }

    /// Rows and columns of the result that a block spans.
    pub(crate) fn span(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            (self.tiles[axis] * self.tiling.results()[axis]).saturating_mul(self.dilation[axis])
        })
    }

    /// Elements of V from one piece of the kernel to the next: whole vectors of channels.
    pub(crate) fn of_piece(&self) -> usize {
        self.sources.next_multiple_of(self.isa.lanes())
    }

    /// Elements of V from one tile to the next, not so that neighbouring tiles share a set of the cache.
    pub(crate) fn pitch(&self) -> usize {
        let whole = self.tiling.pieces() * self.of_piece();
        whole + if whole.is_multiple_of(256) { APART } else { 0 }
    }

    /// Elements of V and of M from one product to the next.
    pub(crate) fn steps(&self) -> [usize; 2] {
        [self.pitch(), self.columns]
            .map(|pitch| (self.block() * pitch).next_multiple_of(16) + APART)
    }

    /// Lines and pixels of a line of one phase, as tables hold them: those of an image, or of the copy of a window.
    pub(crate) fn pixels(&self) -> [usize; 2] {
        let tiles = if self.copied { self.tiles } else { self.all() };
        [0, 1].map(|axis| self.tiling.axes[axis].window(tiles[axis]))
    }

    /// Rows and columns of the window of an image that a block reads.
    pub(crate) fn window(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let of_phase = self.tiling.axes[axis].window(self.tiles[axis]);
            of_phase.saturating_mul(self.dilation[axis])
        })
    }

    /// Elements of the copy of the windows of all images of a block, one vector of channels; 0 where there is none.
    pub(crate) fn window_len(&self) -> usize {
        let [rows, columns] = self.window();
        if self.copied {
            let pixels = self.images.saturating_mul(rows).saturating_mul(columns);
            pixels.saturating_mul(self.isa.lanes())
        } else {
            0
        }
    }

    /// Elements of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        let [v, m] = self.steps();
        (self.products() * (v + m) + ALIGN).saturating_add(self.window_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ConvOptions;

    fn tiles(
        side: usize,
        dilation: [usize; 2],
        limit: usize,
    ) -> Result<WinogradTiles, &'static str> {
        let options = ConvOptions::new()
            .padding(dilation)
            .dilation(dilation)
            .layout(Layout::ChannelsLast);
        let geometry = ConvGeometry::new(&[3, side, side, 512], &[64, 512, 3, 3], &options);
        let isa = Isa::selected();
        WinogradTiles::new(&geometry.unwrap(), Pass::Forward, 2, isa, limit)
    }

    #[test]
    fn blocks_hold_whole_phases_where_they_can() {
        let limit = 1 << 20;
        for (side, dilation, phases) in [
            (28, [1, 1], [1, 1]),
            (28, [2, 2], [2, 2]),
            (14, [2, 1], [2, 1]),
            (33, [6, 6], [6, 6]),
        ] {
            let tiles = tiles(side, dilation, limit).unwrap();
            assert_eq!(tiles.phases, phases, "{tiles:?}");
            assert!((18..=40).contains(&tiles.block()), "{tiles:?}");
        }
        // Too many for one block.
        let many = tiles(65, [18, 18], limit).unwrap();
        assert_eq!((many.tiles, many.phases), ([1, 1], [2, 18]));
        let little = tiles(65, [18, 18], 1 << 16).unwrap();
        assert!(
            little.phases[0] == 1 && little.scratch_len() <= 1 << 16,
            "{little:?}"
        );
        // More phases than results.
        let few = tiles(3, [9, 9], limit).unwrap();
        assert_eq!((few.tiles, few.phases), ([1, 1], [3, 3]));
    }

    #[test]
    fn every_tile_is_counted_once() {
        for side in 1..40 {
            for dilation in [1, 2, 3, 7, 50] {
                let tiles = tiles(side, [dilation, 1], 1 << 20).unwrap();
                let of_phase = |phase: usize| (side - phase).div_ceil(dilation).div_ceil(2);
                let down: usize = (0..dilation.min(side)).map(of_phase).sum();
                assert_eq!(tiles.in_image(), down * side.div_ceil(2), "{tiles:?}");
            }
        }
    }
}
