//! Forward and backward input: a result summed over windows of a source.
//!
//! ```text
//! for each block of the result (in parallel):
//!     a ← the window of the block                                  copied, or the source itself
//!     for each phase:                                              forward has one
//!         result[positions of the phase] ← finish( a[rows + terms] · weights of the phase )
//!
//! rows[position]  = distance of its window in a       terms[channel, tap] = distance in the window
//! weights         [group][phase][panel][term][width]; grouped [phase][panel][term][lane]
//! ```

mod block;
mod slide;

use ndarray::{Axis, s};

use self::block::Part;
use super::pack::{Place, Source, Strides};
use super::{FARTHER, Target, aligned, batch_mut};
use crate::error::Result;
use crate::geometry::{ConvGeometry, Layout, SweepAxis};
use crate::kernel::{Left, Map, Panels, offsets};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{Blocks, Pass, is_thinned};
use crate::unfold::planes;

/// Positions of a task that are worth reading all weights for: two tiles of rows.
const FEWEST_ROWS: usize = 12;

/// What happens to every element last.
#[derive(Clone, Copy)]
pub(in crate::conv) struct Finale<'a> {
    pub(in crate::conv) bias: Option<&'a [f32]>,
    pub(in crate::conv) residual: Option<&'a [f32]>,
    pub(in crate::conv) map: Map,
}

/// The positions of the result that share their taps.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    first: [usize; 3],
    /// Places in the kernel, in the order of the terms.
    pub(super) taps: Vec<usize>,
    pub(super) terms: Vec<u32>,
    /// Rows of a whole block where there is one phase, else of one line.
    rows: Vec<u32>,
    /// Terms of the phases before.
    pub(super) before: usize,
}

/// A pass that reads windows.
#[derive(Clone, Debug)]
pub(in crate::conv) struct Sweep {
    pub(super) source: Source,
    pub(super) blocks: Blocks,
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Channels of the result and of the source in one group.
    pub(super) results: usize,
    pub(super) sources: usize,
    strides: Strides,
    pub(super) phases: Vec<Phase>,
    /// From one position of a phase to the next.
    pub(super) steps: [usize; 3],
}

impl Sweep {
    /// The sweep of `pass`, forward or backward input.
    ///
    /// # Errors
    /// A geometry that has no sweep; offsets beyond 32 bits.
    pub(in crate::conv) fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        blocks: &Blocks,
    ) -> Result<Self> {
        let results = match pass {
            Pass::BackwardInput => geometry.channels_per_group(),
            _ => geometry.outputs_per_group(),
        };
        let source = Source::new(geometry, pass)?;
        let sources = source.channels / geometry.groups();
        let strides = if blocks.packed {
            source.packed_strides(blocks)
        } else {
            source.strides()
        };
        let steps = [0, 1, 2].map(|axis| source.axes[axis].phases.len());
        let mut sweep = Self {
            source,
            blocks: *blocks,
            batch: geometry.batch(),
            groups: geometry.groups(),
            results,
            sources,
            strides,
            phases: Vec::new(),
            steps,
        };
        sweep.set_phases(geometry)?;
        Ok(sweep)
    }

    fn set_phases(&mut self, geometry: &ConvGeometry) -> Result<()> {
        let kernel = [0, 1, 2].map(|axis| geometry.patch.axes[axis].kernel);
        let last = geometry.patch.taps() - 1;
        let mut before = 0;
        let [planes, rows, columns] = self.steps;
        for index in 0..planes * rows * columns {
            let first = [
                index / columns / rows,
                index / columns % rows,
                index % columns,
            ];
            let mut taps = Vec::new();
            let mut places = Vec::new();
            let of = |axis: usize| &self.source.axes[axis].phases[first[axis]];
            for z in of(0) {
                for y in of(1) {
                    for x in of(2) {
                        let tap = (z.kernel * kernel[1] + y.kernel) * kernel[2] + x.kernel;
                        taps.push(if geometry.flips_kernel() {
                            last - tap
                        } else {
                            tap
                        });
                        let at = [z.at, y.at, x.at];
                        places.push((0..3).map(|axis| at[axis] * self.strides.axes[axis]).sum());
                    }
                }
            }
            let rows = self.rows(first);
            let phase = Phase {
                first,
                terms: offsets(
                    term_order(self.channels_first(), self.sources, &places)
                        .map(|(channel, _, place)| channel * self.strides.channel + place),
                )?,
                taps,
                rows: offsets(rows.into_iter())?,
                before,
            };
            before += phase.terms.len();
            self.phases.push(phase);
        }
        Ok(())
    }

    /// Whether the terms of a product count channels first, taps last.
    pub(super) fn channels_first(&self) -> bool {
        self.source.layout == Layout::ChannelsFirst && !self.blocks.grouped
    }

    /// Where the windows of the positions of a block begin, relative to the window of the block.
    fn rows(&self, first: [usize; 3]) -> Vec<usize> {
        let step = |axis: usize| {
            let sweep = &self.source.axes[axis];
            let thinned = is_thinned(sweep) && self.blocks.packed;
            if thinned { 1 } else { sweep.step }
        };
        let lengths = [0, 1, 2]
            .map(|axis| self.source.axes[axis].positions(first[axis], self.blocks.lengths[axis]));
        let at = |axis: usize, j: usize| j * step(axis) * self.strides.axes[axis];
        if self.phases_in_all() > 1 {
            return (0..lengths[2]).map(|j| at(2, j)).collect();
        }
        let mut rows = Vec::new();
        for image in 0..self.blocks.images {
            for z in 0..lengths[0] {
                for y in 0..lengths[1] {
                    for x in 0..lengths[2] {
                        let pixel = at(0, z) + at(1, y) + at(2, x);
                        rows.push(image * self.strides.image + pixel);
                    }
                }
            }
        }
        rows
    }

    fn phases_in_all(&self) -> usize {
        self.steps.iter().product()
    }

    /// The taps of every phase, in the order of the weights.
    pub(in crate::conv) fn taps(&self) -> Vec<Vec<usize>> {
        self.phases.iter().map(|phase| phase.taps.clone()).collect()
    }

    pub(super) fn left(&self) -> Left {
        if self.blocks.grouped {
            let step = if self.blocks.plain {
                self.blocks.isa.lanes()
            } else {
                0
            };
            Left::Vectors { step }
        } else {
            Left::Scalars
        }
    }

    /// Whether a batch is too large to stay near.
    fn is_far(&self) -> bool {
        self.batch * self.source.image_len() > FARTHER
    }

    /// Positions and channels of the result of one task, of `blocks` with so many `positions` each.
    fn task(&self, positions: usize, blocks: usize, threads: usize) -> [usize; 2] {
        let channels = self.channels_per_task(blocks, threads);
        // Where every position reads itself, a block of one image may be cut anywhere: if it is the only one and its
        // channels come in pieces that leave a thread with much more than its share.
        let pieces = self.results.div_ceil(channels.max(1));
        let busiest = (pieces.div_ceil(threads) * channels).min(self.results);
        let fair = 6 * busiest * threads <= 7 * self.results;
        let free = !self.blocks.packed
            && self.groups == 1
            && self.blocks.images == 1
            && self.source.axes.iter().all(SweepAxis::stays_in_place);
        if fair || !free || blocks > 1 || positions < FEWEST_ROWS * threads {
            return [positions, channels];
        }
        [positions.div_ceil(threads), self.results]
    }

    /// Channels of the result of one task: all that read the same window, unless threads would find nothing to do.
    fn channels_per_task(&self, blocks: usize, threads: usize) -> usize {
        let all = self.groups * self.results;
        let most = if self.blocks.plain && self.blocks.packed {
            self.blocks.channels
        } else if self.blocks.grouped {
            all
        } else {
            self.results
        };
        let tasks = blocks * (all / most.max(1));
        let wanted = 2 * threads;
        if threads < 2 || tasks >= wanted || (!self.blocks.grouped && self.groups > 1) {
            return most;
        }
        let fair = most.div_ceil(wanted.div_ceil(tasks.max(1)));
        Panels::new(self.blocks.isa, self.left(), most)
            .cut(fair)
            .min(most)
    }

    /// `y`, as `target` says, ← finale(sums over the windows of `x`). Lengths have been checked; the residual lies as
    /// a whole batch in the layout of the target.
    pub(in crate::conv) fn run(
        &self,
        x: &[f32],
        weights: &[f32],
        finale: Finale<'_>,
        (y, target): (&mut [f32], Target),
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        let all = [0, 1, 2].map(|axis| self.source.axes[axis].result);
        let shape = [self.batch, self.groups * self.results, all.iter().product()];
        let alone = target == Target::whole(self.source.layout, shape[1]);
        if let Some(group) = self.slides(&finale).filter(|_| alone) {
            return self.slide(x, weights, group, finale, y, threads);
        }
        let (runs, run) = self.blocks.runs(all);
        let y = batch_mut(target, [shape[0], shape[1], runs, run], y)?;
        let residual = finale
            .residual
            .map(|residual| planes(target.layout, shape, residual))
            .transpose()?;
        let positions: usize = self.blocks.lengths.iter().product();
        let blocks = shape[0].div_ceil(self.blocks.images) * runs * run.div_ceil(positions.max(1));
        let [positions, channels] = self.task(positions, blocks, threads);
        let block = [self.blocks.images, 1, positions, channels];
        // Positions before channels: of as many blocks of both, a thread takes the positions that it takes of the
        // layers before and after, whose numbers are in its own cache then.
        try_for_each_tile(
            y.permuted_axes([0, 2, 3, 1]),
            block,
            threads > 1,
            &|[image, index, position, channel], tile| {
                let tile = tile.index_axis_move(Axis(1), 0);
                let mut tile = tile.permuted_axes([0, 2, 1]);
                let position = index * run + position;
                let (images, channels, count) = tile.dim();
                let place = Place::new(image, images, position, count, all);
                let residual = residual.as_ref().map(|residual| {
                    residual.slice(s![
                        image..image + images,
                        channel..channel + channels,
                        position..position + count
                    ])
                });
                let bias = finale.bias.map(|bias| &bias[channel..channel + channels]);
                lanes.with(|scratch| {
                    let scratch = aligned(scratch);
                    let part = Part {
                        bias,
                        residual,
                        map: finale.map,
                    };
                    if !self.blocks.grouped {
                        return self.block(x, weights, &place, channel, tile, part, scratch);
                    }
                    let lanes = self.blocks.isa.lanes();
                    let step = if self.blocks.plain { channels } else { lanes };
                    for first in (0..channels).step_by(step) {
                        let some = first..(first + step).min(channels);
                        let part = part.channels(some.clone());
                        let tile = tile.slice_mut(s![.., some, ..]);
                        self.block(x, weights, &place, channel + first, tile, part, scratch);
                    }
                });
                Ok(())
            },
        )
    }
}

/// The terms of a product in order, as (channel, index of the tap, its place).
pub(super) fn term_order(
    channels_first: bool,
    channels: usize,
    places: &[usize],
) -> impl Iterator<Item = (usize, usize, usize)> {
    let taps = places.len();
    (0..channels * taps).map(move |term| {
        let (channel, tap) = if channels_first {
            (term / taps, term % taps)
        } else {
            (term % channels, term / channels)
        };
        (channel, tap, places[tap])
    })
}
