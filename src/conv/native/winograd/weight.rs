//! Winograd's algorithm for the gradient of the weights, and that of the bias in the same pass.
//!
//! ```text
//! for each part of dW, source channels × outputs of one group (in parallel, nothing is added across threads):
//!     for each block of tiles, in order:
//!         V[f][tile][piece, channel] ← Bᵀ d B    of the pixels d of every tile                      read.rs
//!         W[f][tile][output]  ← A dy Aᵀ      of the gradients dy of every tile's results, in panels
//!         db[output] += dy                   by the part of the first channel
//!         for each product f:  M[f] (pieces, channels × outputs) += V[f]ᵀ · W[f]                    terms: tiles
//!         every few blocks:      dw += Gᵀ M G,  M ← 0
//! ```
//!
//! It is the forward pass transposed: the same V, and its tables with rows and terms exchanged.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis};

use super::super::{WeightGradient, aligned};
use super::Winograd;
use super::part::{Part, Run};
use crate::element::filled;
use crate::error::Result;
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{
    AS_THEY_ARE, Far, Finish, GradientRow, Left, Lie, Lines, MOST_LANES, Panels, Product, Spectrum,
    Turns, WeightSums, to_lanes,
};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{Pass, WinogradParts};
use crate::unfold::planes_mut;

/// Tiles that are summed before they join the rest, and blocks whose sums join before they become a part of dw: what sums
/// of products round, the last transform makes larger, but not what sums of its results do. Turns of 32 tiles miss 2.5
/// times the error of the direct recipe.
const TURN: usize = 24;
const BLOCKS: usize = 8;

/// The gradient of the weights by Winograd's algorithm.
#[derive(Clone, Debug)]
pub(in crate::conv) struct WinogradWeight {
    /// Source and tables of the forward pass, tiles of this one.
    forward: Winograd,
    parts: WinogradParts,
    /// Input channels of one group.
    channels: usize,
    /// Which number stands at each place of a kernel, counted over its pieces.
    order: Vec<usize>,
}

/// What one part is made of: input channels and outputs, counted over all groups.
struct Share {
    channels: Range<usize>,
    outputs: Range<usize>,
}

/// The scratch of one thread.
struct Room<'s> {
    v: &'s mut [f32],
    w: &'s mut [f32],
    m: &'s mut [f32],
    /// Copies of windows, one vector of channels.
    window: &'s mut [f32],
    /// Sums of dy over a block and over all blocks.
    block: &'s mut [f32],
    total: &'s mut [f32],
}

impl WinogradWeight {
    /// # Errors
    /// A geometry that has no sweep; no memory for the tables.
    pub(in crate::conv) fn new(geometry: &ConvGeometry, parts: &WinogradParts) -> Result<Self> {
        let forward = Winograd::new(geometry, Pass::BackwardWeight, &parts.tiles)?;
        let mut order = filled(geometry.patch.taps(), 0)?;
        let tiling = parts.tiles.tiling;
        for piece in 0..tiling.pieces() {
            for tap in 0..tiling.taps() {
                if let Some(place) = tiling.place(piece, tap, geometry.flips_kernel()) {
                    order[place] = piece * tiling.taps() + tap;
                }
            }
        }
        Ok(Self {
            forward,
            parts: *parts,
            channels: geometry.channels_per_group(),
            order,
        })
    }

    /// dw ← dY · xᵀ over the windows, db ← the sums of dY. Lengths have been checked.
    pub(in crate::conv) fn run(
        &self,
        gradient: WeightGradient<'_>,
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        let WeightGradient { x, dy, dw, db } = gradient;
        let (groups, outputs) = (self.forward.groups, self.forward.results);
        if dy.is_empty() {
            dw.fill(0.0);
            if let Some(db) = db {
                db.fill(0.0);
            }
            return Ok(());
        }
        let biased = db.is_some();
        let db = Mutex::new(db);
        let taps = self.order.len();
        let shape = [groups, outputs, self.channels * taps];
        let dw = planes_mut(Layout::ChannelsFirst, shape, dw)?;
        let [most_outputs, most_channels] = self.part(threads);
        let block = [1, most_outputs, most_channels * taps];
        try_for_each_tile(dw, block, threads > 1, &|[group, output, row], tile| {
            let (_, outputs, rows) = tile.dim();
            let channel = row / taps;
            let (first, begin) = (
                group * self.channels + channel,
                group * self.forward.results + output,
            );
            let share = Share {
                channels: first..first + rows / taps,
                outputs: begin..begin + outputs,
            };
            let biased = biased && channel == 0;
            lanes.with(|scratch| {
                let mut room = self.room(scratch);
                self.sum([x, dy], &share, biased, tile, &mut room);
                if biased {
                    // A panic elsewhere is no reason not to go on: nobody will read the result.
                    let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(db) = db.as_deref_mut() {
                        db[share.outputs].copy_from_slice(&room.total[..outputs]);
                    }
                }
            });
            Ok(())
        })
    }

    /// Outputs and channels of the part of dW that is one task: more parts transform more, fewer leave threads
    /// without work.
    fn part(&self, threads: usize) -> [usize; 2] {
        let most = [self.parts.outputs, self.parts.tiles.sources];
        let all = [self.forward.results, self.channels];
        let lanes = self.parts.tiles.isa.lanes();
        // Every even share in whole vectors, from the largest on.
        let shares = |axis: usize| {
            let vectors = all[axis].div_ceil(lanes);
            (1..=vectors)
                .map(move |count| (vectors.div_ceil(count) * lanes).min(all[axis]))
                .filter(move |&share| share < most[axis])
        };
        let smaller = shares(0).map(|outputs| [outputs, most[1]]);
        let smaller = smaller.chain(shares(1).map(|channels| [most[0], channels]));
        // As many for each thread, or so many that it does not matter.
        let fair = |part: &[usize; 2]| {
            let [down, across] = [0, 1].map(|axis| all[axis].div_ceil(part[axis]));
            let count = self.forward.groups * down * across;
            count.is_multiple_of(threads) || count >= 2 * threads
        };
        std::iter::once(most)
            .chain(smaller)
            .find(fair)
            .unwrap_or(most)
    }

    /// The scratch of one thread, cut.
    fn room<'s>(&self, scratch: &'s mut [f32]) -> Room<'s> {
        let (tiles, products) = (&self.parts.tiles, self.parts.tiles.products());
        let [v_step, w_step] = tiles.steps();
        let (v, rest) = aligned(scratch).split_at_mut(products * v_step);
        let (w, rest) = rest.split_at_mut(products * w_step);
        let (m, rest) = rest.split_at_mut(products * self.parts.step());
        let (block, rest) = rest.split_at_mut(tiles.columns);
        let (total, window) = rest.split_at_mut(tiles.columns);
        Room {
            v,
            w,
            m,
            window,
            block,
            total,
        }
    }

    /// One part of dW, and its sums of dy.
    fn sum(
        &self,
        [x, dy]: [&[f32]; 2],
        share: &Share,
        biased: bool,
        mut dw: ArrayViewMut3<'_, f32>,
        room: &mut Room<'_>,
    ) {
        let tiles = &self.parts.tiles;
        let all = [1, 2].map(|axis| self.forward.source.axes[axis].result);
        let sides = tiles.span();
        let in_image = [0, 1].map(|axis| all[axis].div_ceil(sides[axis]));
        let spans = self.forward.batch.div_ceil(tiles.images) * in_image[0] * in_image[1];
        let span = |index: usize| {
            let [row, column] = [index / in_image[1] % in_image[0], index % in_image[1]];
            let image = index / in_image[1] / in_image[0] * tiles.images;
            let images = tiles.images.min(self.forward.batch - image);
            let begin = [row * sides[0], column * sides[1]];
            let lengths = [0, 1].map(|axis| sides[axis].min(all[axis] - begin[axis]));
            Part::new(tiles, [image, images], begin, lengths)
        };
        let parts = || (0..spans).flat_map(|index| span(index).blocks(tiles));
        let blocks = parts().count();
        // Even rounds.
        let round = blocks.div_ceil(blocks.div_ceil(BLOCKS));
        room.total.fill(0.0);
        for (block, part) in parts().enumerate() {
            self.add_block([x, dy], &part, share, [block % round > 0, biased], room);
            if (block + 1).is_multiple_of(round) || block + 1 == blocks {
                let sums = WeightSums {
                    m: room.m,
                    spectrum: Spectrum {
                        step: self.parts.step(),
                        pitch: self.panels(share).columns(),
                    },
                    pieces: tiles.tiling.pieces(),
                    order: &self.order,
                };
                let dw = dw.index_axis_mut(Axis(0), 0);
                sums.run(tiles.isa, tiles.tiling, dw, block >= round);
            }
        }
    }

    /// M (+)= V · W of one block of tiles.
    fn add_block(
        &self,
        [x, dy]: [&[f32]; 2],
        part: &Part,
        share: &Share,
        [accumulate, biased]: [bool; 2],
        room: &mut Room<'_>,
    ) {
        let channels = share.channels.clone();
        self.forward.read(x, part, channels, room.v, room.window);
        room.block.fill(0.0);
        self.spread(dy, part, &share.outputs, biased, room);
        if biased {
            for (total, sum) in room.total.iter_mut().zip(room.block.iter()) {
                *total += sum;
            }
        }
        let tiles = part.count(&self.parts.tiles);
        let ([v_step, w_step], m_step) = (self.parts.tiles.steps(), self.parts.step());
        // Whole panels: the columns beyond the last output are zeros, and no product needs a detour.
        let columns = self.panels(share).columns();
        let finish = Finish {
            accumulate,
            ..Finish::NONE
        };
        let (rows, all) = (share.channels.len(), self.parts.tiles.sources);
        let products = self.parts.tiles.products();
        let pieces = self.parts.tiles.tiling.pieces();
        let ahead = self.ahead([x, dy], part, share);
        for (f, piece) in (0..products).flat_map(|f| (0..pieces).map(move |piece| (f, piece))) {
            let product = Product {
                left: Left::Scalars,
                a: &room.v[f * v_step..],
                rows: &self.forward.terms[piece * all..][..rows],
                terms: &self.forward.rows[..tiles],
                b: &room.w[f * w_step..][..tiles * columns],
                apart: None,
                columns,
                turns: Turns::of(TURN),
                first: 0,
                far: ahead(f * pieces + piece),
            };
            let m = &mut room.m[f * m_step + piece * rows * columns..][..rows * columns];
            if let Ok(m) = ArrayViewMut2::from_shape((rows, columns), m) {
                product.run(self.parts.tiles.isa, m, &finish);
            }
        }
    }

    /// What each product of a block asks for: a share of what the next block reads of x and dy.
    fn ahead(&self, [x, dy]: [&[f32]; 2], part: &Part, share: &Share) -> impl Fn(usize) -> Far {
        let forward = &self.forward;
        let products = forward.tiles.products() * forward.tiles.tiling.pieces();
        let next = forward.pixels_after(part).zip(forward.results_after(part));
        let from = |data: &[f32], first: &Range<usize>| data.as_ptr().wrapping_add(first.start);
        let sources = (from(x, &share.channels), forward.source.channels);
        let results = forward.groups * forward.results;
        let results = (from(dy, &share.outputs), results);
        let widths = [share.channels.len(), share.outputs.len()];
        move |product| {
            let Some((pixels, gradients)) = &next else {
                return Far::Nothing;
            };
            let first = |all: &Range<usize>| all.start + product * all.len() / products;
            Far::Later([
                Lines::of_pixels(sources, first(pixels), widths[0]),
                Lines::of_pixels(results, first(gradients), widths[1]),
                Lines::NONE,
            ])
        }
    }

    fn panels(&self, share: &Share) -> Panels {
        Panels::new(self.parts.tiles.isa, Left::Scalars, share.outputs.len())
    }

    /// W ← A dy Aᵀ of every tile of `part`, and the sums of its dy.
    fn spread(
        &self,
        dy: &[f32],
        part: &Part,
        outputs: &Range<usize>,
        biased: bool,
        room: &mut Room<'_>,
    ) {
        let [rows, columns] = [1, 2].map(|axis| self.forward.source.axes[axis].result);
        let all = self.forward.groups * self.forward.results;
        let (positions, lanes) = (rows * columns, self.parts.tiles.isa.lanes());
        let tiles = part.count(&self.parts.tiles);
        let panels = Panels::new(self.parts.tiles.isa, Left::Scalars, outputs.len());
        let [height, width] = part.lengths;
        for (first, pitch) in panels.each() {
            let panel = &mut room.w[first * tiles..];
            let sums = &mut room.block[first..first + pitch];
            let count = pitch.min(outputs.len() - first);
            match self.forward.source.layout {
                Layout::ChannelsLast => {
                    let steps = [columns * all, all];
                    let begin = part.begin[0] * columns + part.begin[1];
                    let from = |image: usize| {
                        let pixel = (part.image + image) * positions + begin;
                        &dy[pixel * all + outputs.start + first..]
                    };
                    let sums = biased.then_some(sums);
                    self.spread_rows(from, steps, count, part, (panel, pitch), sums);
                }
                Layout::ChannelsFirst => {
                    for lane in (0..count).step_by(lanes) {
                        let some = lanes.min(count - lane);
                        let output = outputs.start + first + lane;
                        let window = &mut room.window[..part.images * height * width * lanes];
                        self.copy(dy, part, output..output + some, window);
                        let window = &*window;
                        let from = |image: usize| &window[image * height * width * lanes..];
                        let steps = [width * lanes, lanes];
                        let to = (&mut panel[lane..], pitch);
                        let sums = biased.then_some(&mut sums[lane..lane + lanes]);
                        self.spread_rows(from, steps, some, part, to, sums);
                    }
                }
            }
        }
    }

    /// The rows of tiles of `part`, whose gradients are `from` in each image, lines and pixels `steps` apart.
    fn spread_rows<'y>(
        &self,
        from: impl Fn(usize) -> &'y [f32],
        [line, pixel]: [usize; 2],
        outputs: usize,
        part: &Part,
        (to, pitch): (&mut [f32], usize),
        mut sums: Option<&mut [f32]>,
    ) {
        let (isa, tiling) = (self.parts.tiles.isa, self.parts.tiles.tiling);
        let dilation = self.parts.tiles.dilation;
        let spectrum = Spectrum {
            step: self.parts.tiles.steps()[1],
            pitch,
        };
        part.for_each_run(&self.parts.tiles, |run: &Run| {
            let gradients = GradientRow {
                dy: &from(run.image)[run.at[0] * line + run.at[1] * pixel..],
                // A single line has no next one.
                line: line.saturating_mul(dilation[0]),
                pixel: pixel.saturating_mul(dilation[1]),
                lengths: run.lengths,
                outputs,
            };
            let to = &mut to[run.tile * pitch..];
            gradients.run(isa, tiling, to, spectrum, sums.as_deref_mut());
        });
    }

    /// Copies the gradients of a block, at most a vector of outputs, as `[image][row][column][lane]`.
    fn copy(&self, dy: &[f32], part: &Part, outputs: Range<usize>, to: &mut [f32]) {
        let [rows, columns] = [1, 2].map(|axis| self.forward.source.axes[axis].result);
        let all = self.forward.groups * self.forward.results;
        let (isa, [height, width]) = (self.parts.tiles.isa, part.lengths);
        // Lines of the whole width follow each other.
        let (runs, length) = if width == columns {
            (1, height * width)
        } else {
            (height, width)
        };
        let mut lines = [0; MOST_LANES];
        for image in 0..part.images {
            for run in 0..runs {
                let mut count = 0;
                for (line, output) in lines.iter_mut().zip(outputs.clone()) {
                    let plane = ((part.image + image) * all + output) * rows;
                    *line = (plane + part.begin[0] + run) * columns + part.begin[1];
                    count += 1;
                }
                let to = &mut to[(image * height * width + run * length) * isa.lanes()..];
                let lie = Lie::Lines(&lines[..count]);
                to_lanes(isa, dy, lie, length, &[AS_THEY_ARE], to, isa.lanes());
            }
        }
    }
}
