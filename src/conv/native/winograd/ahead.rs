//! What the products of a block ask for, so that it is in the second-level cache when it is read or written.
//!
//! ```text
//! forward              the pixels that the next block reads, the weights of the next product, the results of this block
//! gradient of weights  the pixels that the next block reads, and their gradients
//! ```
//!
//! Each product asks for a share. Otherwise the transforms would wait for memory while the multiply-add units stand still.

use std::ops::Range;

use ndarray::ArrayViewMut4;

use super::super::FARTHER;
use super::Winograd;
use super::part::Part;
use crate::geometry::Layout;
use crate::kernel::{Far, Lines};

/// What the products of a block of the forward pass ask for.
pub(super) struct Ahead {
    products: usize,
    terms: usize,
    /// The numbers that the next block reads.
    pixels: (*const f32, usize),
    /// The results of this block, with so many channels from one to the next.
    results: *const f32,
    channels: usize,
    count: usize,
}

impl Ahead {
    /// For `part`, whose results go to `out`; `None` where they are near, or do not follow each other.
    pub(super) fn new(
        winograd: &Winograd,
        x: &[f32],
        part: &Part,
        out: &ArrayViewMut4<'_, f32>,
    ) -> Option<Self> {
        let channels = winograd.source.channels;
        let pixels = winograd.pixels_after(part)?;
        let numbers = match winograd.groups {
            1 => pixels.len() * channels,
            // Those of the other groups are of no use here.
            _ => 0,
        };
        let (images, _, rows, columns) = out.dim();
        Some(Self {
            products: winograd.tiles.products(),
            terms: winograd.tiles.tiling.pieces() * winograd.tiles.sources,
            pixels: (x.as_ptr().wrapping_add(pixels.start * channels), numbers),
            results: out.as_ptr(),
            channels: out.strides()[3].unsigned_abs(),
            count: images * rows * columns,
        })
    }

    /// For product `f` of a panel: the weights of the next one, a share of the pixels, with the first panel, and a share
    /// of its own results, `width` channels from `channel` on.
    pub(super) fn of_product(
        &self,
        f: usize,
        weights: &[f32],
        [channel, width]: [usize; 2],
    ) -> Far {
        let (pixels, numbers) = self.pixels;
        let share = match channel {
            0 => numbers.div_ceil(self.products),
            _ => 0,
        };
        let results = (self.results.wrapping_add(channel), self.channels);
        Far::Later([
            Lines::all(weights.as_ptr_range().end, weights.len(), self.terms),
            Lines::all(pixels.wrapping_add(f * share), share, self.terms),
            Lines::of_pixels(results, f * self.count / self.products, width),
        ])
    }
}

impl Winograd {
    /// As many pixels of the batch as `part` reads, from the last of those on: what the next part reads. `None` where
    /// arrays may stay in the cache, or pixels do not follow each other.
    pub(super) fn pixels_after(&self, part: &Part) -> Option<Range<usize>> {
        let rows = |results| self.tiles.tiling.axes[0].pixel(results);
        let [_, down, across] = [0, 1, 2].map(|axis| self.source.axes[axis].source);
        let lines = [part.begin[0], part.lengths[0]].map(rows);
        self.after(part, lines, [down, across])
    }

    /// The same of its results.
    pub(super) fn results_after(&self, part: &Part) -> Option<Range<usize>> {
        let [_, down, across] = [0, 1, 2].map(|axis| self.source.axes[axis].result);
        self.after(part, [part.begin[0], part.lengths[0]], [down, across])
    }

    /// The pixels after `count` rows from `begin` on, as many, in images of so many rows and columns.
    fn after(
        &self,
        part: &Part,
        [begin, count]: [usize; 2],
        [rows, columns]: [usize; 2],
    ) -> Option<Range<usize>> {
        let [_, down, across] = [0, 1, 2].map(|axis| self.source.axes[axis].result);
        let results = self.groups * self.results * down * across;
        let far = self.batch * (self.source.image_len() + results) > FARTHER;
        let follow = self.source.layout == Layout::ChannelsLast
            && self.tiles.dilation == [1; 2]
            && part.lengths[1] == across;
        if !far || !follow {
            return None;
        }
        // Several images are whole.
        let count = match part.images {
            1 => count,
            several => several * rows,
        };
        let first = part.image * rows + begin + count;
        Some(first * columns..(first + count) * columns)
    }
}
