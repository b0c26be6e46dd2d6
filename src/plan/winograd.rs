//! How Winograd's algorithm cuts its work.
//!
//! ```text
//! a tile:     R × R results, made of (R + 2)² pixels and as many products for each pair of channels
//! a block:    images × tiles down × tiles across, an inner length cut only where the outer ones are 1
//! scratch:    V [product][tile][source channel]  of a block, M [product][tile][column]  of a panel of its results
//! ```
//!
//! V is read again for each panel of results, the transformed weights for each block: V and M should stay in the
//! second-level cache, and a block have so many tiles that its products take longer than reading the weights.

use super::tiles::balanced;
use super::{ALIGN, Pass, sweep_axes};
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{Isa, Left, Panels, TAPS};

/// Elements of V and M that should stay in the second-level cache.
const TRANSFORMED: usize = (1 << 20) / size_of::<f32>();

/// Tiles of a block where so few elements are too few tiles: the products of as many take about as long as their
/// weights need from the third-level cache.
const FEWEST_TILES: usize = 36;

/// Channels above which offsets in V would need more than 32 bits.
pub(super) const MOST_CHANNELS: usize = 1 << 24;

/// Elements that keep one product's matrix from the sets of the cache in which the one before lies.
pub(super) const APART: usize = 16;

/// Whether tiles can be made of the kernels and strides of `geometry`.
///
/// # Errors
/// The reason why not.
pub(super) fn check(geometry: &ConvGeometry) -> Result<(), &'static str> {
    let axes = &geometry.patch.axes;
    if geometry.patch.rank != 2 {
        return Err("there are not two axes");
    }
    if axes[1..].iter().any(|axis| axis.kernel != TAPS) {
        return Err("the kernel is not 3 × 3");
    }
    if axes[1..].iter().any(|axis| axis.stride != 1) {
        return Err("the stride is not 1");
    }
    if axes[1..].iter().any(|axis| axis.dilation != 1) {
        return Err("the kernel is dilated");
    }
    Ok(())
}

/// How one pass is cut into tiles of Winograd's algorithm.
///
/// Blocks depend on the geometry, the instruction set and the scratch limit, never on threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WinogradTiles {
    /// Instruction set of the transforms and the products.
    pub isa: Isa,
    /// Results of a tile on each axis, R: 4 or 2.
    pub results: usize,
    /// Images of one block.
    pub images: usize,
    /// Tiles of one block, down and across.
    pub tiles: [usize; 2],
    /// Tiles of one image, down and across.
    pub all: [usize; 2],
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
        check(geometry)?;
        let sweep = sweep_axes(geometry, pass)?;
        let (sources, columns) = match pass {
            Pass::BackwardInput => (geometry.outputs_per_group(), geometry.channels_per_group()),
            _ => (geometry.channels_per_group(), geometry.outputs_per_group()),
        };
        if sources.max(columns) > MOST_CHANNELS {
            return Err("there are too many channels");
        }
        let all = [1, 2].map(|axis| sweep[axis].result.div_ceil(results).max(1));
        let widest = Panels::new(isa, Left::Scalars, columns)
            .each()
            .map(|(_, width)| width);
        let mut tiles = Self {
            isa,
            results,
            images: 1,
            tiles: [1; 2],
            all,
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
        let [down, across] = self.all;
        self.images = balanced(batch, most / (down * across));
        self.tiles = if most < across {
            [1, balanced(across, most)]
        } else {
            [balanced(down, most / across), across]
        };
    }

    /// Products of a tile for each pair of channels.
    pub(crate) fn products(&self) -> usize {
        (self.results + TAPS - 1).pow(2)
    }

    /// Most tiles of a block.
    pub(crate) fn block(&self) -> usize {
        self.images * self.tiles[0] * self.tiles[1]
    }

    /// Elements of V from one tile to the next: whole vectors, and not so that neighbouring tiles share a set of the cache.
    pub(crate) fn pitch(&self) -> usize {
        let whole = self.sources.next_multiple_of(self.isa.lanes());
        whole + if whole.is_multiple_of(256) { APART } else { 0 }
    }

    /// Elements of V and of M from one product to the next.
    pub(crate) fn steps(&self) -> [usize; 2] {
        [self.pitch(), self.columns]
            .map(|pitch| (self.block() * pitch).next_multiple_of(16) + APART)
    }

    /// Rows and columns of the window of an image that a block reads.
    pub(crate) fn window(&self) -> [usize; 2] {
        self.tiles.map(|tiles| tiles * self.results + TAPS - 1)
    }

    /// Elements of the copy of the windows of all images of a block, one vector of channels; 0 where there is none.
    pub(crate) fn window_len(&self) -> usize {
        let [rows, columns] = self.window();
        if self.copied {
            self.images * rows * columns * self.isa.lanes()
        } else {
            0
        }
    }

    /// Elements of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        let [v, m] = self.steps();
        self.products() * (v + m) + self.window_len() + ALIGN
    }
}
