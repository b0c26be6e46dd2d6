//! Backward weight: the gradient of the weights as sums over positions, block by block.
//!
//! ```text
//! for each part of dW, outputs × channels (in parallel, nothing is added across threads):
//!     for each block of positions, in order:
//!         a     ← the window of the block, those channels of x          copied, or x itself
//!         for each panel of outputs:
//!             panel ← dY [position][output]                             copied once for all channels
//!             dW[outputs, (channel, tap)] += a[rows + terms] · panel    rows: (channel, tap); terms: positions
//!             db[outputs] += 1 · panel                                  by the part of the first channel
//! ```
//!
//! It is the forward product with rows and terms exchanged. Grouped, a part is as many outputs as a vector has lanes.

use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis, s};

use super::pack::{Place, Source};
use super::sweep::term_order;
use super::{FAR, FARTHER, WeightGradient, aligned};
use crate::error::Result;
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{
    AS_THEY_ARE, Far, Finish, Left, Lie, MOST_LANES, Panels, Product, SlideAxis, SlideWeight,
    Turns, offsets, to_lanes,
};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{ALIGN, Blocks, Pass, SHORT_BLOCK, is_thinned, sums_are_short};
use crate::unfold::planes_mut;

/// Elements of an image whose channels are summed in parts, and of the sums of one part: 16 KiB of a first-level cache.
/// Larger images are read once for all channels.
const SMALL: usize = 64 << 10;
const NEAR_SUMS: usize = 4 << 10;

/// The gradient of the weights.
#[derive(Clone, Debug)]
pub(in crate::conv) struct Correlation {
    source: Source,
    blocks: Blocks,
    /// Images of the whole batch, of which a share may come at a time.
    batch: usize,
    groups: usize,
    /// Input and output channels of one group.
    channels: usize,
    outputs: usize,
    taps: usize,
    flip: bool,
    /// Where each element of a patch stands, `[channel][tap]` in the order of the weights.
    rows: Vec<u32>,
    /// Where the window of each position of a block begins.
    terms: Vec<u32>,
    /// How the sums over positions are made.
    turns: Turns,
    /// As many zeros as terms: the places of the 1 that the bias is summed with.
    ones: Vec<u32>,
}

impl Correlation {
    /// # Errors
    /// A geometry that has no sweep.
    pub(in crate::conv) fn new(geometry: &ConvGeometry, blocks: &Blocks) -> Result<Self> {
        let source = Source::new(geometry, Pass::BackwardWeight)?;
        let strides = if blocks.packed {
            source.packed_strides(blocks)
        } else {
            source.strides()
        };
        let kernel = [0, 1, 2].map(|axis| geometry.patch.axes[axis].kernel);
        let taps = geometry.patch.taps();
        let mut places: Vec<usize> = (0..taps)
            .map(|tap| {
                let tap = [
                    tap / kernel[2] / kernel[1],
                    tap / kernel[2] % kernel[1],
                    tap % kernel[2],
                ];
                (0..3)
                    .map(|axis| source.axes[axis].phases[0][tap[axis]].at * strides.axes[axis])
                    .sum()
            })
            .collect();
        if geometry.flips_kernel() {
            places.reverse();
        }
        let in_part = if blocks.grouped {
            geometry.channels_per_group()
        } else {
            blocks.channels
        };
        let rows = term_order(true, in_part, &places)
            .map(|(channel, _, place)| channel * strides.channel + place);
        // Index first: a stride beyond the image has one position, and its product with anything may be too large.
        let distance = |index: usize, axis: usize| {
            let sweep = &source.axes[axis];
            let thinned = is_thinned(sweep) && blocks.packed;
            index * if thinned { 1 } else { sweep.step } * strides.axes[axis]
        };
        let [planes, lines, columns] = blocks.lengths;
        let terms = (0..blocks.positions()).map(|position| {
            let at = [
                position / columns / lines % planes,
                position / columns % lines,
                position % columns,
            ];
            let image = position / columns / lines / planes;
            image * strides.image + (0..3).map(|axis| distance(at[axis], axis)).sum::<usize>()
        });
        Ok(Self {
            rows: offsets(rows)?,
            ones: vec![0; blocks.positions()],
            terms: offsets(terms)?,
            turns: if sums_are_short(geometry) {
                Turns::of(SHORT_BLOCK)
            } else {
                Turns::LONG
            },
            blocks: *blocks,
            batch: geometry.batch(),
            groups: geometry.groups(),
            channels: geometry.channels_per_group(),
            outputs: geometry.outputs_per_group(),
            taps,
            flip: geometry.flips_kernel(),
            source,
        })
    }

    /// dw ← dY · xᵀ over the windows, db ← the sums of dY. Lengths have been checked.
    pub(in crate::conv) fn run(
        &self,
        gradient: WeightGradient<'_>,
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        let outputs = self.groups * self.outputs;
        let WeightGradient { x, dy, dw, mut db } = gradient;
        if let Some(db) = db.as_deref_mut() {
            db.fill(0.0);
        }
        if dy.is_empty() {
            dw.fill(0.0);
            return Ok(());
        }
        let db = Mutex::new(db);
        let patch = self.channels * self.taps;
        if let Some(axes) = self.slides() {
            return self.slide(axes, [x, dy], dw, &db, lanes, threads);
        }
        let dw = planes_mut(Layout::ChannelsFirst, [1, outputs, patch], dw)?;
        let block = self.part(threads);
        try_for_each_tile(dw, block, threads > 1, &|[_, output, row], tile| {
            lanes.with(|scratch| self.sum(x, dy, [output, row / self.taps], tile, &db, scratch));
            Ok(())
        })
    }

    /// Channels whose sums, one a tap and the bias, fit the scratch.
    fn sums_in_scratch(&self) -> usize {
        self.blocks.scratch_len().saturating_sub(ALIGN) / (self.taps + 1)
    }

    /// The axes of a depthwise pass that can run along lines.
    fn slides(&self) -> Option<[SlideAxis; 2]> {
        let isa = self.blocks.isa;
        let depthwise = self.blocks.grouped && [self.channels, self.outputs] == [1, 1];
        let last = self.source.layout == Layout::ChannelsLast;
        let wide = self.source.channels >= isa.lanes() && self.sums_in_scratch() >= isa.lanes();
        let axes = self.source.slide_axes(isa, 1, [0; 3])?;
        (depthwise && last && wide && SlideWeight::fits(axes[1].taps)).then_some(axes)
    }

    /// The gradient of a depthwise pass along lines. Channels that fill no vector are the last lanes of one that begins
    /// among those before.
    fn slide(
        &self,
        [rows, columns]: [SlideAxis; 2],
        [x, dy]: [&[f32]; 2],
        dw: &mut [f32],
        db: &Mutex<Option<&mut [f32]>>,
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        let results = [1, 2].map(|axis| self.source.axes[axis].result);
        let (all, width) = (self.source.channels, self.blocks.isa.lanes());
        let image = results[0] * results[1] * all;
        let fair = if threads > 1 {
            all.div_ceil(2 * threads)
        } else if self.source.image_len() < SMALL {
            NEAR_SUMS / (self.taps + 1)
        } else {
            all
        };
        let most = fair.max(width).min(self.sums_in_scratch()) / width * width;
        let dw = planes_mut(Layout::ChannelsFirst, [1, all, self.taps], dw)?;
        let block = [1, most, self.taps];
        try_for_each_tile(dw, block, threads > 1, &|[_, first, _], mut tile| {
            let channels = tile.len_of(Axis(1));
            let whole = channels / width * width;
            lanes.with(|scratch| {
                let taps = self.taps + 1;
                let sums = &mut aligned(scratch)[..channels.next_multiple_of(width) * taps];
                sums.fill(0.0);
                let (vectors, beyond) = sums.split_at_mut(whole * taps);
                for n in 0..dy.len() / image {
                    let run = |first: usize, channels: usize, sums: &mut [f32]| {
                        let slide = SlideWeight {
                            x: &x[n * self.source.image_len() + first..],
                            dy: &dy[n * image + first..],
                            pitch: all,
                            dy_pitch: all,
                            channels,
                            rows,
                            columns,
                            results,
                            far: x.len() > FAR,
                            farther: self.batch * self.source.image_len() > FARTHER,
                        };
                        slide.run(self.blocks.isa, sums);
                    };
                    if whole > 0 {
                        run(first, whole, vectors);
                    }
                    if channels > whole {
                        run(all - width, width, beyond);
                    }
                }
                // A panic elsewhere is no reason not to go on: nobody will read the result.
                let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
                for channel in 0..channels {
                    let vector = if channel < whole {
                        channel / width * width * taps + channel % width
                    } else {
                        whole * taps + channel + width - channels
                    };
                    for tap in 0..self.taps {
                        // Flipped kernels hold their taps the other way round.
                        let to = if self.flip { self.taps - 1 - tap } else { tap };
                        tile[[0, channel, to]] = sums[vector + tap * width];
                    }
                    if let Some(db) = db.as_deref_mut() {
                        db[first + channel] = sums[vector + self.taps * width];
                    }
                }
            });
            Ok(())
        })
    }

    /// The part of dW that is one task: more parts copy more, fewer leave threads without work.
    fn part(&self, threads: usize) -> [usize; 3] {
        let lanes = self.blocks.isa.lanes();
        if self.blocks.grouped {
            let outputs = if self.blocks.plain && self.blocks.packed {
                self.blocks.channels
            } else {
                lanes
            };
            return [1, outputs, self.channels * self.taps];
        }
        let (mut outputs, mut channels) = (self.outputs, self.blocks.channels);
        let parts = |outputs: usize, channels: usize| {
            self.groups * self.outputs.div_ceil(outputs) * self.channels.div_ceil(channels)
        };
        if threads > 1 {
            let wanted = 2 * threads;
            let missing = wanted.div_ceil(parts(outputs, channels));
            // A part lies in one group.
            if self.groups == 1 {
                outputs = outputs
                    .div_ceil(missing)
                    .next_multiple_of(lanes)
                    .min(outputs);
            }
            let missing = wanted.div_ceil(parts(outputs, channels));
            channels = channels.div_ceil(missing);
        }
        [1, outputs, channels * self.taps]
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
        let (outputs, rows) = tile.dim();
        let scratch = aligned(scratch);
        let (window, rest) = scratch.split_at_mut(self.blocks.window_len());
        let panel = &mut aligned(rest)[..self.blocks.panel];
        let all = [0, 1, 2].map(|axis| self.source.axes[axis].result);
        let positions: usize = all.iter().product();
        let batch = dy.len() / (positions * self.groups * self.outputs);
        let group = output / self.outputs;
        let first = group * self.channels + channel;
        let mut lanes = [0; MOST_LANES];
        let spread = outputs.min(self.blocks.isa.lanes());
        for (lane, from) in lanes.iter_mut().enumerate().take(spread) {
            *from = (output + lane) / self.outputs * self.channels;
        }
        let in_image = self.blocks.lengths.iter().product::<usize>();
        let (_, run) = self.blocks.runs(all);
        let mut accumulate = false;
        for image in (0..batch).step_by(self.blocks.images) {
            let mut position = 0;
            while position < positions {
                let images = self.blocks.images.min(batch - image);
                let count = in_image.min(run - position % run);
                let place = Place::new(image, images, position, count, all);
                let a: &[f32] = if !self.blocks.packed {
                    &x[self.source.direct(&place, first)..]
                } else {
                    if self.blocks.plain {
                        let channels = output..output + outputs;
                        self.source.pack(x, &place, channels, &self.blocks, window);
                    } else if self.blocks.grouped {
                        let lanes = &lanes[..outputs];
                        let shape = [self.channels, self.blocks.pitch()];
                        self.source
                            .pack_lanes(x, &place, lanes, &self.blocks, shape, window);
                    } else {
                        let channels = first..first + rows / self.taps;
                        self.source.pack(x, &place, channels, &self.blocks, window);
                    }
                    window
                };
                let left = if self.blocks.grouped {
                    Left::Vectors { step: 0 }
                } else {
                    Left::Scalars
                };
                for (column, width) in Panels::new(self.blocks.isa, left, outputs).each() {
                    let columns = width.min(outputs - column);
                    let channels = [output + column, columns];
                    self.pack_panel(
                        dy,
                        [image, images],
                        [position, count],
                        channels,
                        width,
                        panel,
                    );
                    let terms = images * count;
                    let part = tile
                        .slice_mut(s![column..column + columns, ..])
                        .reversed_axes();
                    let product = Product {
                        left,
                        a: if self.blocks.plain { &a[column..] } else { a },
                        rows: &self.rows[..rows],
                        terms: &self.terms[..terms],
                        turns: self.turns,
                        b: panel,
                        apart: None,
                        columns,
                        first: 0,
                        far: Far::Nothing,
                    };
                    let finish = Finish {
                        accumulate,
                        ..Finish::NONE
                    };
                    product.run(self.blocks.isa, part, &finish);
                    if channel == 0 {
                        self.add_bias(db, output + column, columns, panel, terms);
                    }
                }
                accumulate = true;
                position += count;
            }
        }
    }

    /// db[first..first + columns] += the sums of the panel's columns.
    fn add_bias(
        &self,
        db: &Mutex<Option<&mut [f32]>>,
        first: usize,
        columns: usize,
        panel: &[f32],
        terms: usize,
    ) {
        // A panic elsewhere is no reason not to go on: nobody will read the result.
        let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = db.as_deref_mut() else {
            return;
        };
        let ones = Product {
            left: Left::Scalars,
            a: &[1.0],
            rows: &[0],
            terms: &self.ones[..terms],
            turns: Turns::LONG,
            b: panel,
            apart: None,
            columns,
            first: 0,
            far: Far::Nothing,
        };
        if let Ok(out) = ArrayViewMut2::from_shape((1, columns), &mut db[first..first + columns]) {
            let finish = Finish {
                accumulate: true,
                ..Finish::NONE
            };
            ones.run(self.blocks.isa, out, &finish);
        }
    }

    /// Copies `columns` channels of dY from `first` on, at the positions of a block, as `[position][width]`.
    fn pack_panel(
        &self,
        dy: &[f32],
        [image, images]: [usize; 2],
        [position, count]: [usize; 2],
        [first, columns]: [usize; 2],
        width: usize,
        panel: &mut [f32],
    ) {
        let channels = self.groups * self.outputs;
        let positions: usize = self.source.axes.iter().map(|axis| axis.result).product();
        for n in 0..images {
            let dy = &dy[(image + n) * channels * positions..][..channels * positions];
            let panel = &mut panel[n * count * width..][..count * width];
            let lanes = self.blocks.isa.lanes();
            for lane in (0..width).step_by(lanes) {
                let some = columns.saturating_sub(lane).min(lanes);
                let mut lines = [0; MOST_LANES];
                let lie = match self.source.layout {
                    Layout::ChannelsLast => Lie::Beside {
                        begin: if some > 0 {
                            position * channels + first + lane
                        } else {
                            0
                        },
                        stride: channels,
                        lanes: some,
                    },
                    Layout::ChannelsFirst => {
                        for (index, line) in lines.iter_mut().enumerate().take(some) {
                            *line = (first + lane + index) * positions + position;
                        }
                        Lie::Lines(&lines[..some])
                    }
                };
                let to = &mut panel[lane..];
                to_lanes(self.blocks.isa, dy, lie, count, &[AS_THEY_ARE], to, width);
            }
        }
    }
}
