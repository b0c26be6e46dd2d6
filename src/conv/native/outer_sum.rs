//! Backward weight of kernels with one tap: a sum of outer products, pixel by pixel.
//!
//! ```text
//! dW (O × C) = Σ_p dY[p] (O × 1) · X[p] (1 × C)
//!
//! for each part of dW, outputs × channels (in parallel):
//!     for each block of positions, in order:
//!         for each panel of channels:
//!             panel ← X [position][channel]             the positions that the stride reads, copied, or where they lie
//!             dW[outputs, channels] += dY · panel       rows: outputs; terms: positions, read where dY lies
//!         db[outputs] += the sums of dY                 by the part of the first channel
//! ```
//!
//! Each product asks memory for what the next panel reads, and the last one of a block for dY of the next.
//!
//! The lanes are input channels here, which lie beside each other in dW: sums go out as they are, where those of
//! `backward_weight.rs` have to be transposed.

use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis, s};

use super::pack::{Place, Source};
use super::{FAR, WeightGradient, aligned};
use crate::error::Result;
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{
    AS_THEY_ARE, Far, Finish, Left, Lie, Lines, MOST_LANES, Panels, Product, Turns, copy_pixels,
    offsets, to_lanes,
};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{Blocks, Pass};
use crate::unfold::planes_mut;

/// Outputs of a part up to which a panel of x is not worth a copy, and channels of a pixel up to which the lines of a panel
/// do not drive each other out of the second-level cache: on the Intel machine 64 outputs of 64 channels, 64 of 256 and
/// 128 of 512 take 0.9 to 0.95 of the time without it, 256 of 256 as much, 256 of 1024 a tenth to a quarter more. Narrow
/// units wait less for copies; there it was not measured.
const FEW: usize = 128;
const NEAR: usize = 512;

/// The gradient of the weights of a kernel with one tap.
#[derive(Clone, Debug)]
pub(in crate::conv) struct OuterSum {
    source: Source,
    blocks: Blocks,
    groups: usize,
    /// Input and output channels of one group.
    channels: usize,
    outputs: usize,
    /// Where the outputs of a group and the positions of a block stand in dY.
    rows: Vec<u32>,
    terms: Vec<u32>,
    /// Every eighth of the terms.
    eighths: Vec<u32>,
    /// A vector of ones for each position: what sums are multiplied with.
    ones: Vec<f32>,
}

impl OuterSum {
    /// # Errors
    /// A geometry that has no sweep; offsets beyond 32 bits.
    pub(in crate::conv) fn new(geometry: &ConvGeometry, blocks: &Blocks) -> Result<Self> {
        let source = Source::new(geometry, Pass::BackwardWeight)?;
        let (positions, all) = (geometry.positions(), geometry.output_channels());
        let in_image = blocks.positions() / blocks.images;
        let (pixel, channel) = match geometry.layout() {
            Layout::ChannelsFirst => (1, positions),
            Layout::ChannelsLast => (all, 1),
        };
        let outputs = geometry.outputs_per_group();
        let term = |term: usize| term / in_image * positions * all + term % in_image * pixel;
        Ok(Self {
            rows: offsets((0..outputs).map(|output| output * channel))?,
            terms: offsets((0..blocks.positions()).map(term))?,
            eighths: offsets((0..blocks.positions()).step_by(8).map(term))?,
            ones: vec![1.0; blocks.positions() * blocks.isa.lanes()],
            blocks: *blocks,
            groups: geometry.groups(),
            channels: geometry.channels_per_group(),
            outputs,
            source,
        })
    }

    /// dw ← Σ dY · X, db ← the sums of dY. Lengths have been checked.
    pub(in crate::conv) fn run(
        &self,
        gradient: WeightGradient<'_>,
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        let WeightGradient { x, dy, dw, mut db } = gradient;
        if let Some(db) = db.as_deref_mut() {
            db.fill(0.0);
        }
        if dy.is_empty() {
            dw.fill(0.0);
            return Ok(());
        }
        let db = Mutex::new(db);
        let shape = [1, self.groups * self.outputs, self.channels];
        let dw = planes_mut(Layout::ChannelsFirst, shape, dw)?;
        let block = self.part(threads);
        try_for_each_tile(dw, block, threads > 1, &|[_, output, channel], tile| {
            lanes.with(|scratch| self.sum(x, dy, [output, channel], tile, &db, scratch));
            Ok(())
        })
    }

    /// The part of dW that is one task.
    fn part(&self, threads: usize) -> [usize; 3] {
        let (mut outputs, mut channels) = (self.outputs, self.channels);
        if threads > 1 {
            let panel = 4 * self.blocks.isa.lanes();
            // No more of them than threads: each reads all of dY, or all of x.
            let missing = threads.div_ceil(self.groups);
            channels = channels
                .div_ceil(missing)
                .next_multiple_of(panel)
                .min(channels);
            // A part lies in one group.
            if self.groups == 1 {
                let missing = missing.div_ceil(self.channels.div_ceil(channels));
                outputs = outputs.div_ceil(missing);
            }
        }
        [1, outputs, channels]
    }

    /// One part of dW, from output `output` and, within the group, channel `channel` on.
    fn sum(
        &self,
        x: &[f32],
        dy: &[f32],
        [output, channel]: [usize; 2],
        mut tile: ArrayViewMut3<'_, f32>,
        db: &Mutex<Option<&mut [f32]>>,
        scratch: &mut [f32],
    ) {
        let mut tile: ArrayViewMut2<'_, f32> = tile.index_axis_mut(Axis(0), 0);
        let (outputs, channels) = tile.dim();
        let panel = &mut aligned(scratch)[..self.blocks.panel];
        let all = [0, 1, 2].map(|axis| self.source.axes[axis].result);
        let positions: usize = all.iter().product();
        let batch = dy.len() / (positions * self.groups * self.outputs);
        let in_image = self.blocks.lengths.iter().product::<usize>();
        let (_, run) = self.blocks.runs(all);
        let group = output / self.outputs;
        let first = group * self.channels + channel;
        let all_outputs = self.groups * self.outputs;
        let gradient = (dy.as_ptr().wrapping_add(output), all_outputs);
        let lies = self.lies([outputs, channels]);
        let mut accumulate = false;
        for image in (0..batch).step_by(self.blocks.images) {
            let mut position = 0;
            while position < positions {
                let images = self.blocks.images.min(batch - image);
                let count = in_image.min(run - position % run);
                let place = Place::new(image, images, position, count, all);
                let here = image * positions + position;
                let after = here + images * count;
                let dy = &dy[self.place_in_dy(image, position, output)..];
                let terms = &self.terms[..images * count];
                for (column, width) in Panels::new(self.blocks.isa, Left::Scalars, channels).each()
                {
                    let columns = width.min(channels - column);
                    let b = if lies {
                        &x[self.source.direct(&place, first + column)..]
                    } else {
                        self.pack_panel(x, &place, [first + column, columns], width, panel);
                        &*panel
                    };
                    // What the next panel reads, and with the last one what the next block reads of dY.
                    let far = match column + width {
                        _ if self.source.layout == Layout::ChannelsFirst => Far::Nothing,
                        next if next < channels => {
                            let x = self.pixels(x, here, [first + next, channels - next]);
                            Far::Terms(all_outputs, [x, Lines::NONE])
                        }
                        _ => {
                            let x = self.pixels(x, after, [first, channels]);
                            let dy = match terms.len() * outputs < FAR {
                                true => Lines::of_pixels(gradient, after, outputs),
                                // It would not stay.
                                false => Lines::NONE,
                            };
                            Far::Terms(all_outputs, [x, dy])
                        }
                    };
                    let product = Product {
                        left: Left::Scalars,
                        a: dy,
                        rows: &self.rows[..outputs],
                        terms,
                        b,
                        apart: lies.then_some(self.source.channels),
                        columns,
                        turns: Turns::LONG,
                        first: 0,
                        far,
                    };
                    let finish = Finish {
                        accumulate,
                        ..Finish::NONE
                    };
                    let part = tile.slice_mut(s![.., column..column + columns]);
                    product.run(self.blocks.isa, part, &finish);
                }
                if channel == 0 {
                    self.add_bias(db, dy, output..output + outputs, terms, [images, count]);
                }
                accumulate = true;
                position += count;
            }
        }
    }

    /// A panel of channels of x, from `channel` on, of the pixels from number `pixel` on.
    fn pixels(&self, x: &[f32], pixel: usize, [channel, channels]: [usize; 2]) -> Lines {
        if !self.reads_all() {
            // They do not follow each other.
            return Lines::NONE;
        }
        let width = channels.min(4 * self.blocks.isa.lanes());
        let from = (x.as_ptr().wrapping_add(channel), self.source.channels);
        Lines::of_pixels(from, pixel, width)
    }

    /// Where dY of one output at one position stands.
    fn place_in_dy(&self, image: usize, position: usize, output: usize) -> usize {
        let positions: usize = self.source.axes.iter().map(|axis| axis.result).product();
        let all = self.groups * self.outputs;
        match self.source.layout {
            Layout::ChannelsFirst => (image * all + output) * positions + position,
            Layout::ChannelsLast => (image * positions + position) * all + output,
        }
    }

    /// Whether panels of x are read where they lie.
    fn lies(&self, [outputs, channels]: [usize; 2]) -> bool {
        self.source.layout == Layout::ChannelsLast
            && self.reads_all()
            && !self.blocks.isa.is_narrow()
            && outputs <= FEW
            && self.source.channels <= NEAR
            && Panels::may_lie(self.blocks.isa, channels)
    }

    /// Whether every pixel is read.
    fn reads_all(&self) -> bool {
        let mut axes = self.source.axes.iter();
        axes.all(|axis| axis.step == 1 && axis.result == axis.source)
    }

    /// Copies `columns` channels of x from `first` on, as `[position][width]`.
    fn pack_panel(
        &self,
        x: &[f32],
        place: &Place,
        [first, columns]: [usize; 2],
        width: usize,
        panel: &mut [f32],
    ) {
        let lanes = self.blocks.isa.lanes();
        let channels: [usize; MOST_LANES] = std::array::from_fn(|lane| lane);
        if self.reads_all() {
            return self.pack_run(x, place, [first, columns], width, panel);
        }
        for lane in (0..width).step_by(lanes) {
            let to = &mut panel[lane..];
            let some = columns.saturating_sub(lane).min(lanes);
            if some == 0 {
                let positions = place.images * place.lengths.iter().product::<usize>();
                to.chunks_mut(width).take(positions).for_each(|to| {
                    let end = lanes.min(to.len());
                    to[..end].fill(0.0);
                });
                continue;
            }
            let channels = channels.map(|channel| first + lane + channel);
            self.source
                .pack_lanes(x, place, &channels[..some], &self.blocks, [1, width], to);
        }
    }

    /// [`pack_panel`](Self::pack_panel) where every position is read: those of a block follow each other.
    fn pack_run(
        &self,
        x: &[f32],
        place: &Place,
        [first, columns]: [usize; 2],
        width: usize,
        panel: &mut [f32],
    ) {
        let isa = self.blocks.isa;
        let (all, strides) = (self.source.channels, self.source.strides());
        let count = place.lengths.iter().product::<usize>();
        let begin = self.source.direct(place, first);
        if self.source.layout == Layout::ChannelsLast {
            let count = place.images * count;
            copy_pixels(isa, &x[begin..], all, panel, width, [count, columns]);
            if columns < width {
                let rest = panel.chunks_exact_mut(width).take(count);
                rest.for_each(|to| to[columns..].fill(0.0));
            }
            return;
        }
        for image in 0..place.images {
            for lane in (0..width).step_by(isa.lanes()) {
                let some = columns.saturating_sub(lane).min(isa.lanes());
                let begin = begin + image * strides.image;
                let lines: [usize; MOST_LANES] =
                    std::array::from_fn(|index| begin + (lane + index) * strides.channel);
                let to = &mut panel[image * count * width + lane..];
                let lie = Lie::Lines(&lines[..some]);
                to_lanes(isa, x, lie, count, &[AS_THEY_ARE], to, width);
            }
        }
    }

    /// db[outputs] += the sums of dY, which begins at the first of them.
    fn add_bias(
        &self,
        db: &Mutex<Option<&mut [f32]>>,
        dy: &[f32],
        outputs: std::ops::Range<usize>,
        terms: &[u32],
        [images, count]: [usize; 2],
    ) {
        // A panic elsewhere is no reason not to go on: nobody will read the result.
        let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = db.as_deref_mut() else {
            return;
        };
        let db = &mut db[outputs];
        match self.source.layout {
            Layout::ChannelsFirst => {
                for (db, &row) in db.iter_mut().zip(&self.rows) {
                    for image in 0..images {
                        let from = row as usize + terms[image * count] as usize;
                        *db += sum_of_line(&dy[from..from + count]);
                    }
                }
            }
            Layout::ChannelsLast => {
                let lanes = self.blocks.isa.lanes();
                // Positions follow each other, eight sums at a time: one alone would wait for each of its additions.
                let eighths = &self.eighths[..terms.len() / 8];
                let rest = &terms[eighths.len() * 8..];
                for (index, db) in db.chunks_mut(lanes).enumerate() {
                    let mut sums = [[0.0; MOST_LANES]; 8];
                    let mut add = |rows: &[u32], terms: &[u32], accumulate: bool| {
                        let product = Product {
                            left: Left::Vectors { step: 0 },
                            a: &dy[index * lanes..],
                            rows,
                            terms,
                            b: &self.ones,
                            apart: None,
                            columns: db.len(),
                            turns: Turns::LONG,
                            first: 0,
                            far: Far::Nothing,
                        };
                        let finish = Finish {
                            accumulate,
                            ..Finish::NONE
                        };
                        let out = sums[..rows.len()].as_flattened_mut();
                        if let Ok(out) = ArrayViewMut2::from_shape((rows.len(), MOST_LANES), out) {
                            product.run(
                                self.blocks.isa,
                                out.slice_move(s![.., ..db.len()]),
                                &finish,
                            );
                        }
                    };
                    if !eighths.is_empty() {
                        add(&terms[..8], eighths, false);
                    }
                    add(&[0], rest, true);
                    for sums in &sums {
                        for (db, sum) in db.iter_mut().zip(sums) {
                            *db += sum;
                        }
                    }
                }
            }
        }
    }
}

/// The sum of a line by sixteen running sums.
fn sum_of_line(line: &[f32]) -> f32 {
    let (whole, rest) = line.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for chunk in whole {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().chain(rest).sum()
}
