//! Where a block lies in the result.
//!
//! ```text
//! row of result i of tile t of phase p     begin + p + (t · R + i) · d        p < d
//! row of its pixel k                       base + that + k · d                k < taps; columns likewise
//! ```
//!
//! So each phase of a kernel with dilation d is a dense convolution of results d apart, and reads nothing of the others.
//! Dense kernels have d = 1 and one phase.

use std::ops::Range;

use crate::plan::WinogradTiles;

/// The tiles of some phases in a rectangle of the result, in one image or several.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) image: usize,
    pub(super) images: usize,
    /// The first row and column, multiples of the dilation, and how many.
    pub(super) begin: [usize; 2],
    pub(super) lengths: [usize; 2],
    phases: [Range<usize>; 2],
}

/// Tiles of one phase side by side.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) image: usize,
    /// The first tile, counted in the part.
    pub(super) tile: usize,
    pub(super) phases: [usize; 2],
    /// Results of the phase above these, from the rectangle's first row on.
    pub(super) row: usize,
    /// The first result, from the corner of the rectangle on.
    pub(super) at: [usize; 2],
    /// Results down, at most R, and across.
    pub(super) lengths: [usize; 2],
}

impl Part {
    /// All phases of `lengths` results from `begin` on.
    pub(super) fn new(
        tiles: &WinogradTiles,
        [image, images]: [usize; 2],
        begin: [usize; 2],
        lengths: [usize; 2],
    ) -> Self {
        Self {
            image,
            images,
            begin,
            lengths,
            phases: [0, 1].map(|axis| 0..tiles.dilation[axis].min(lengths[axis])),
        }
    }

    /// The same with no more phases each than a block has.
    pub(super) fn blocks(self, tiles: &WinogradTiles) -> impl Iterator<Item = Self> {
        let [all_down, all_across] = self.phases.clone();
        let [down, across] = tiles.phases;
        all_down.clone().step_by(down).flat_map(move |first| {
            let part = self.clone();
            let rows = first..all_down.end.min(first + down);
            let all = all_across.clone();
            all.clone().step_by(across).map(move |column| Self {
                phases: [rows.clone(), column..all.end.min(column + across)],
                ..part.clone()
            })
        })
    }

    /// Results of a phase.
    fn results(&self, tiles: &WinogradTiles, axis: usize, phase: usize) -> usize {
        (self.lengths[axis] - phase).div_ceil(tiles.dilation[axis])
    }

    /// How many tiles there are.
    pub(super) fn count(&self, tiles: &WinogradTiles) -> usize {
        let [down, across] = [0, 1].map(|axis| -> usize {
            let of = |phase| {
                self.results(tiles, axis, phase)
                    .div_ceil(tiles.tiling.results()[axis])
            };
            self.phases[axis].clone().map(of).sum()
        });
        self.images * down * across
    }

    /// All tiles in their order.
    pub(super) fn for_each_run(&self, tiles: &WinogradTiles, mut each: impl FnMut(&Run)) {
        let [high, wide] = tiles.tiling.results();
        let mut tile = 0;
        for image in 0..self.images {
            for down in self.phases[0].clone() {
                let rows = self.results(tiles, 0, down);
                for row in (0..rows).step_by(high) {
                    for across in self.phases[1].clone() {
                        let columns = self.results(tiles, 1, across);
                        each(&Run {
                            image,
                            tile,
                            phases: [down, across],
                            row,
                            at: [down + row * tiles.dilation[0], across],
                            lengths: [high.min(rows - row), columns],
                        });
                        tile += columns.div_ceil(wide);
                    }
                }
            }
        }
    }
}
