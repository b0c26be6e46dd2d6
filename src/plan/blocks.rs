//! How the native recipes cut their work into blocks.
//!
//! ```text
//! a block of the result:   images × planes × rows × columns, an inner length cut only where the outer ones are 1
//! its window:              what it reads of the source, copied once into scratch with the padding around it
//! ```
//!
//! So a block is one run of positions of an image, or whole images. The window is copied for three reasons: the
//! padding is then there to be read; neighbouring rows of different channels do not lie pages apart; and each
//! number is read by many products. Where none of them holds, the products read the source itself.

use super::Pass;
use crate::geometry::{ConvGeometry, Layout, SweepAxis};
use crate::kernel::Isa;

/// Most scratch of a window: a quarter of a common L2 cache of 2 MiB, so that weights fit beside it.
const MOST_WINDOW: usize = (512 << 10) / size_of::<f32>();

/// Most scratch of the window of a grouped recipe: its copy is a large part of the work, so that it stays nearer.
const MOST_GROUPED_WINDOW: usize = (256 << 10) / size_of::<f32>();

/// Rows of a block that are worth more than more channels in its window: neighbouring blocks copy their edges twice.
const GROUPED_ROWS: usize = 8;

/// Positions of a block: enough to read a panel of weights once for many tiles.
const POSITIONS: usize = 1008;

/// Positions of a block of the weight's gradient, the terms of one product.
const TERMS: usize = 1024;

/// The same where the sums go straight into the result: the terms of one partial sum.
const OUTER_TERMS: usize = 512;

/// The same with AVX-512 units of 512 bits where pixels of dY lie a multiple of 4 KiB apart, which share few sets of the
/// caches: 2048 outputs of 512 channels with a batch of 16 and two threads go from 204 to 249 GFLOP/s by it on the Intel
/// machine, 1024 of 256 from 209 to 228.
const CROWDED_TERMS: usize = 256;
const CROWDED: usize = 1024;

/// Columns of the widest panel of output gradients.
const PANEL_COLUMNS: usize = 64;

/// Pieces that a layer is cut into at least, if it is large enough, so that a few threads find as much to do each.
const MOST_PIECES: u128 = 8;

/// Multiply-adds of the smallest of those pieces.
const WORTH_CUTTING: u128 = 1 << 19;

/// Positions below which a block is not made smaller: all weights are read once for each block. Half of 14 × 14.
const FEWEST_POSITIONS: usize = 98;

/// Elements of one channel up to which the source is read where it lies, channels first: neighbouring channels
/// are then close to each other.
const SMALL_PLANE: usize = 400;

/// Slack for the alignment of a buffer in scratch to a cache line.
pub(crate) const ALIGN: usize = 16;

/// Stride above which the phases of a gradient are too many.
const MOST_PHASES: usize = 16;

/// Taps above which tables of them are not built.
const MOST_TAPS: usize = 1 << 16;

/// How one pass is cut into native products.
///
/// Blocks depend on the geometry, the instruction set, whether its units have 256 or 512 bits, and the scratch limit,
/// never on threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// Instruction set of the products.
    pub isa: Isa,
    /// Whether the product meets a number (dense) or a vector (groups) with each vector of weights.
    pub grouped: bool,
    /// Images of one block.
    pub images: usize,
    /// Planes, rows and columns of one block.
    pub lengths: [usize; 3],
    /// Lengths of the window that a block reads, whole or as far as it is used.
    pub window: [usize; 3],
    /// Whether the window is copied into scratch; else products read the source itself.
    pub packed: bool,
    /// Whether the lanes of a grouped product are the channels of a pixel as they lie there.
    pub plain: bool,
    /// Whether a gradient of the weights is a sum of outer products: one tap, nothing outside the image.
    pub outer: bool,
    /// Channels of the source in one window.
    pub channels: usize,
    /// Elements of the panel that a gradient of the weights is multiplied with; 0 in the other passes.
    pub panel: usize,
}

/// Whether only the positions read are copied: one tap on an axis leaves the others unread.
pub(crate) fn is_thinned(axis: &SweepAxis) -> bool {
    axis.reach == 0 && axis.step > 1
}

/// The axes of one pass of the result over its source; the weight's gradient reads what forward reads.
///
/// # Errors
/// The reason why there are none.
pub(crate) fn sweep_axes(
    geometry: &ConvGeometry,
    pass: Pass,
) -> Result<[SweepAxis; 3], &'static str> {
    let axes = &geometry.patch.axes;
    if geometry.patch.taps() > MOST_TAPS {
        return Err("the kernel has too many taps");
    }
    if pass != Pass::BackwardInput {
        return Ok([0, 1, 2].map(|axis| SweepAxis::forward(&axes[axis])));
    }
    if geometry.patch.mode.reads_image() {
        return Err("the padding is read from the image");
    }
    if axes.iter().any(|axis| axis.stride > MOST_PHASES) {
        return Err("the stride is large");
    }
    Ok([0, 1, 2].map(|axis| SweepAxis::backward(&axes[axis])))
}

/// [`sweep_axes`] of the native products. Where every position reads only the one in its place, all axes are one, so
/// that a block may end anywhere.
pub(crate) fn block_axes(
    geometry: &ConvGeometry,
    pass: Pass,
) -> Result<[SweepAxis; 3], &'static str> {
    let axes = sweep_axes(geometry, pass)?;
    if geometry.groups() > 1 || !axes.iter().all(SweepAxis::stays_in_place) {
        return Ok(axes);
    }
    let all = axes.iter().map(|axis| axis.result).product();
    let [_, _, last] = axes;
    Ok([1, 1, all].map(|length| SweepAxis {
        result: length,
        source: length,
        ..last.clone()
    }))
}

impl Blocks {
    /// The blocks of one pass with at most `limit` elements of scratch a thread.
    ///
    /// # Errors
    /// The reason why the native products cannot do this pass.
    pub(super) fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        grouped: bool,
        isa: Isa,
        limit: usize,
    ) -> Result<Self, &'static str> {
        let axes = block_axes(geometry, pass)?;
        let (source, result) = match pass {
            Pass::BackwardInput => (geometry.outputs_per_group(), geometry.channels_per_group()),
            _ => (geometry.channels_per_group(), geometry.outputs_per_group()),
        };
        let last = geometry.layout() == Layout::ChannelsLast;
        let inside = axes.iter().all(SweepAxis::stays_inside);
        let whole = geometry.groups.is_multiple_of(isa.lanes());
        let plain = grouped && last && source == 1 && result == 1 && whole;
        let packed = if grouped {
            !(plain && inside)
        } else {
            !(inside && (last || geometry.patch.pixels() <= SMALL_PLANE))
        };
        let mut blocks = Self {
            isa,
            grouped,
            images: 1,
            lengths: [1; 3],
            window: [1; 3],
            packed,
            plain,
            outer: false,
            channels: source,
            panel: 0,
        };
        let all = geometry.batch().max(1) * axes.iter().map(|axis| axis.result).product::<usize>();
        let most = limit.min(if grouped {
            MOST_GROUPED_WINDOW
        } else {
            MOST_WINDOW
        });
        let (room, positions) = if pass == Pass::BackwardWeight {
            let width = if grouped { isa.lanes() } else { PANEL_COLUMNS };
            // The panel takes a third at most; positions are terms, whose blocks no thread may change.
            blocks.outer = !grouped && inside && geometry.patch.taps() == 1;
            let crowded = last && geometry.output_channels().is_multiple_of(CROWDED);
            let wide = matches!(isa, Isa::Avx512(_)) && !isa.is_narrow();
            let most_terms = match geometry.patch.taps() {
                1 if blocks.outer && crowded && wide => CROWDED_TERMS,
                1 => OUTER_TERMS,
                _ => TERMS,
            };
            let terms = most_terms
                .min(limit.saturating_sub(2 * ALIGN) / 3 / width)
                .min(all);
            if terms == 0 {
                return Err("the scratch limit is too low");
            }
            blocks.panel = terms * width;
            let room = most.min((limit - 2 * ALIGN).saturating_sub(blocks.panel));
            if blocks.outer {
                // Only the positions that are read are copied, and no window of them.
                blocks.packed = true;
            } else if packed && !grouped {
                blocks.channels = 1;
                blocks.grow(&axes, geometry.batch(), room, terms.min(TERMS / 2))?;
                let fit = room / blocks.window_volume().max(1);
                blocks.channels = source.div_ceil(source.div_ceil(fit.clamp(1, source)));
            }
            (room, terms)
        } else {
            let room = most.min(limit.saturating_sub(ALIGN));
            let work = geometry.operations() / 2 / WORTH_CUTTING;
            // An even number, so that two threads have as much to do.
            let pieces = (work.min(MOST_PIECES) as usize / 2 * 2).max(1);
            let most = POSITIONS.min(all.div_ceil(pieces).max(FEWEST_POSITIONS));
            // However many they become, an even number of them too.
            let positions = all.div_ceil(match all.div_ceil(most) {
                0 | 1 => 1,
                several => several.next_multiple_of(2),
            });
            (room, positions)
        };
        if plain {
            // As many channels as leave room for some rows.
            let [_, rows, columns] = [0, 1, 2].map(|axis| axes[axis].result.max(1));
            blocks.channels = isa.lanes();
            blocks.grow(
                &axes,
                geometry.batch(),
                room,
                columns * rows.min(GROUPED_ROWS),
            )?;
            let fit = room / blocks.window_volume().max(1) / isa.lanes();
            let vectors = geometry.groups / isa.lanes();
            let tasks = vectors.div_ceil(fit.saturating_sub(1).clamp(1, vectors));
            blocks.channels = vectors.div_ceil(tasks) * isa.lanes();
        }
        blocks.grow(&axes, geometry.batch(), room, positions)?;
        if blocks.panel > 0 {
            blocks.panel = blocks.panel / positions * blocks.positions();
        }
        let reach = if blocks.outer {
            // Of dY, which is read where it lies.
            geometry.output_len() / geometry.batch().max(1) * blocks.images
        } else if packed {
            blocks.window_len()
        } else {
            geometry.input_len().max(geometry.output_len())
        };
        if reach > u32::MAX as usize {
            return Err("offsets need more than 32 bits");
        }
        Ok(blocks)
    }

    /// Makes the block as large as its window fits `room` elements, up to about `positions`.
    fn grow(
        &mut self,
        axes: &[SweepAxis; 3],
        batch: usize,
        room: usize,
        positions: usize,
    ) -> Result<(), &'static str> {
        let room = if self.packed { room } else { usize::MAX };
        self.images = 1;
        self.lengths = [0, 1, 2].map(|axis| axes[axis].phases.len().min(axes[axis].result.max(1)));
        let fits = |blocks: &mut Self, lengths: [usize; 3], images: usize| {
            blocks.lengths = lengths;
            blocks.images = images;
            blocks.set_window(axes);
            blocks.window_len() <= room
        };
        if !fits(self, self.lengths, 1) {
            return Err("the window of one position does not fit the scratch limit");
        }
        for axis in [2, 1, 0] {
            let (all, phases) = (axes[axis].result.max(1), axes[axis].phases.len());
            let before: usize = self.lengths.iter().product::<usize>() / self.lengths[axis];
            // Positions of an image must be one run: inside several rows of phases nothing may be cut.
            let several = self.lengths[..axis].iter().any(|&length| length > 1);
            let wanted = if several { all } else { positions / before };
            let most = wanted.clamp(self.lengths[axis], all);
            let mut length = self.lengths[axis];
            let mut high = all
                .div_ceil(all.div_ceil(most))
                .next_multiple_of(phases)
                .min(all);
            // The largest that fits, by halving the doubt.
            while length < high {
                let middle = (length + high)
                    .div_ceil(2)
                    .next_multiple_of(phases)
                    .min(high);
                let mut lengths = self.lengths;
                lengths[axis] = middle;
                let mut trial = *self;
                if fits(&mut trial, lengths, 1) {
                    length = middle;
                } else {
                    high = (middle - 1) / phases * phases;
                }
            }
            let mut lengths = self.lengths;
            // Even pieces.
            lengths[axis] = all
                .div_ceil(all.div_ceil(length))
                .next_multiple_of(phases)
                .min(length);
            fits(self, lengths, 1);
            if lengths[axis] < all {
                return if lengths[..axis].iter().all(|&length| length == 1) {
                    Ok(())
                } else {
                    Err("a block of whole rows does not fit the scratch limit")
                };
            }
        }
        let one = self.lengths.iter().product::<usize>().max(1);
        let images = (positions / one)
            .min(room / self.window_len().max(1))
            .clamp(1, batch.max(1));
        let images = batch.max(1).div_ceil(batch.max(1).div_ceil(images));
        fits(self, self.lengths, images);
        Ok(())
    }

    fn set_window(&mut self, axes: &[SweepAxis; 3]) {
        self.window = [0, 1, 2].map(|axis| {
            let sweep = &axes[axis];
            if is_thinned(sweep) && self.packed {
                self.lengths[axis]
            } else {
                sweep.window_len(self.lengths[axis])
            }
        });
    }

    /// Positions of the window of all images of a block.
    fn window_volume(&self) -> usize {
        self.window.iter().fold(self.images, |product, &length| {
            product.saturating_mul(length)
        })
    }

    /// Elements from a position of the window to the next, where a position's channels lie together.
    ///
    /// Not a multiple of a large power of two, which would put the pixels of a tile into a few sets of the cache.
    pub(crate) fn pitch(&self) -> usize {
        if self.grouped && !self.plain {
            return self.channels * self.isa.lanes();
        }
        let sets = if self.plain { 64 } else { 512 };
        self.channels
            + if self.channels.is_multiple_of(sets) {
                16
            } else {
                0
            }
    }

    /// Elements of the copy of a window; 0 where there is none.
    pub(crate) fn window_len(&self) -> usize {
        if self.packed && !self.outer {
            self.window_volume().saturating_mul(self.pitch())
        } else {
            0
        }
    }

    /// The positions of an image, of which `all` are the lengths, as (runs, length of a run): blocks cut runs only.
    pub(crate) fn runs(&self, all: [usize; 3]) -> (usize, usize) {
        let [planes, rows, columns] = all;
        if self.lengths[2] < columns {
            (planes * rows, columns)
        } else if self.lengths[1] < rows {
            (planes, rows * columns)
        } else {
            (1, planes * rows * columns)
        }
    }

    /// Positions of one block.
    pub(crate) fn positions(&self) -> usize {
        self.lengths.iter().product::<usize>() * self.images
    }

    /// Elements of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        let aligned = |length: usize| if length > 0 { length + ALIGN } else { 0 };
        aligned(self.window_len()) + aligned(self.panel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ConvOptions;

    fn blocks(input: &[usize], weight: &[usize], options: &ConvOptions, pass: Pass) -> Blocks {
        let geometry = ConvGeometry::new(input, weight, options).unwrap();
        Blocks::new(&geometry, pass, false, Isa::Portable, 1 << 18).unwrap()
    }

    #[test]
    fn whole_rows_of_large_images_and_several_small_ones() {
        let same = ConvOptions::new().padding(1);
        let large = blocks(&[1, 64, 56, 56], &[64, 64, 3, 3], &same, Pass::Forward);
        assert_eq!((large.images, large.lengths), (1, [1, 7, 56]));
        assert_eq!(large.window, [1, 9, 58]);
        let small = blocks(&[16, 512, 7, 7], &[512, 512, 3, 3], &same, Pass::Forward);
        assert_eq!((small.images, small.lengths), (2, [1, 7, 7]));
        let wide = blocks(&[1, 64, 4096], &[64, 64, 3], &same, Pass::Forward);
        assert_eq!((wide.images, wide.lengths), (1, [1, 1, 512]));
    }

    #[test]
    fn phases_are_not_cut() {
        let options = ConvOptions::new().padding(1).stride(2);
        let gradient = blocks(
            &[1, 64, 56, 56],
            &[64, 64, 3, 3],
            &options,
            Pass::BackwardInput,
        );
        assert!(gradient.lengths[1].is_multiple_of(2), "{gradient:?}");
        assert_eq!(gradient.lengths[2], 56);
    }

    #[test]
    fn pixels_do_not_share_a_set_of_the_cache() {
        let options = ConvOptions::new().padding(1).layout(Layout::ChannelsLast);
        let blocks = blocks(&[1, 7, 7, 512], &[512, 512, 3, 3], &options, Pass::Forward);
        assert_eq!(blocks.pitch(), 528);
    }
}
