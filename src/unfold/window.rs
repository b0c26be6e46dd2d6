//! Where in the patch matrix: blocks of it, lines of positions, taps.

use std::ops::Range;

use crate::geometry::PatchGeometry;

/// A block of the patch matrix of some channels, over the positions of the whole batch.
///
/// ```text
/// channels first:  row = (c − channels.start) · taps + tap        channels last:  row = tap · |channels| + (c − channels.start)
/// column = n · P + p
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The input channels whose patches these are: one group's, or a part of one.
    pub(crate) channels: Range<usize>,
    /// Rows, among the |channels| · taps there are.
    pub(crate) rows: Range<usize>,
    /// Columns, among the N · P there are.
    pub(crate) columns: Range<usize>,
}

/// The place of one tap in the kernel, outermost axis first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap(pub(super) [usize; 3]);

impl Tap {
    /// Tap number `index` in row-major order.
    pub(super) fn new(geometry: &PatchGeometry, index: usize) -> Self {
        let [_, h, w] = &geometry.axes;
        let (rest, x) = (index / w.kernel, index % w.kernel);
        Self([rest / h.kernel, rest % h.kernel, x])
    }

    /// The tap after this one.
    pub(super) fn advance(&mut self, geometry: &PatchGeometry) {
        let [_, h, w] = &geometry.axes;
        self.0[2] += 1;
        if self.0[2] == w.kernel {
            self.0[2] = 0;
            self.0[1] += 1;
            if self.0[1] == h.kernel {
                self.0[1] = 0;
                self.0[0] += 1;
            }
        }
    }
}

/// A run of positions along the innermost axis.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) image: usize,
    /// Output coordinates on the two outer axes.
    pub(super) outer: [usize; 2],
    /// Output coordinates on the innermost axis.
    pub(super) inner: Range<usize>,
    /// Where the run begins among the columns asked for.
    pub(super) offset: usize,
}

/// Calls `visit` for every line of `columns` (positions over the whole batch), in order.
#[inline]
pub(super) fn for_each_line(
    geometry: &PatchGeometry,
    columns: Range<usize>,
    mut visit: impl FnMut(Line),
) {
    if columns.is_empty() {
        return;
    }
    let [d, h, w] = geometry.axes.map(|axis| axis.output);
    let (rest, mut x) = (columns.start / w, columns.start % w);
    let (rest, mut y) = (rest / h, rest % h);
    let (mut image, mut z) = (rest / d, rest % d);
    let (mut offset, total) = (0, columns.len());
    while offset < total {
        let length = (w - x).min(total - offset);
        visit(Line {
            image,
            outer: [z, y],
            inner: x..x + length,
            offset,
        });
        offset += length;
        x = 0;
        y += 1;
        if y == h {
            y = 0;
            z += 1;
            if z == d {
                z = 0;
                image += 1;
            }
        }
    }
}
