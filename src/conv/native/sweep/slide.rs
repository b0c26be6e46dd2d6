//! Depthwise passes and small groups that slide along lines of the source, without a copy.

use ndarray::{ArrayViewMut3, Axis};

use super::super::FAR;
use super::{Finale, Sweep};
use crate::error::{Error, Result};
use crate::geometry::Layout;
use crate::kernel::{Map, Slide};
use crate::parallel::try_for_each_tile;

/// Lines of one task of a depthwise pass: neighbours read the same rows.
const SLIDE_ROWS: usize = 16;

impl Sweep {
    /// The channels of a group where the pass can run along the lines of the source itself, without a copy for the
    /// padding: depthwise, or as many channels in as out, four or eight.
    pub(super) fn slides(&self, finale: &Finale<'_>) -> Option<usize> {
        let isa = self.blocks.isa;
        let group = match (self.sources, self.results) {
            (sources @ (1 | 4 | 8), results) if sources == results && self.blocks.grouped => {
                sources
            }
            _ => return None,
        };
        if self.source.layout != Layout::ChannelsLast {
            return None;
        }
        let mut phases = self.phases.iter();
        let slides = phases.all(|phase| {
            let cuts = Slide::cuts(isa, group, self.source.channels, phase.taps.len());
            cuts && self.source.slide_axes(isa, group, phase.first).is_some()
        }) && finale.residual.is_none()
            && !matches!(finale.map, Map::Leaky { .. });
        slides.then_some(group)
    }

    /// A depthwise pass along lines, or one of small groups.
    pub(super) fn slide(
        &self,
        x: &[f32],
        weights: &[f32],
        group: usize,
        finale: Finale<'_>,
        y: &mut [f32],
        threads: usize,
    ) -> Result<()> {
        let [_, rows, columns] = &self.source.axes;
        let channels = self.source.channels;
        let padded = channels.next_multiple_of(self.blocks.isa.lanes());
        let line = columns.result * channels;
        let got = y.len();
        let y = ArrayViewMut3::from_shape([self.batch, rows.result, line], y);
        let y = y.map_err(|_| Error::BufferLength {
            what: "result",
            expected: self.batch * rows.result * line,
            got,
        })?;
        let bounds = match finale.map {
            Map::Clamp { low, high } => Some((low, high)),
            _ => None,
        };
        let columns_in_all = columns.result;
        let block = [1, rows_of_task(self.batch, rows.result, threads), line];
        try_for_each_tile(y, block, threads > 1, &|[image, first, _], mut tile| {
            let (rows_here, [_, down, right]) = (tile.len_of(Axis(1)), self.steps);
            // Rows are cut, columns are not: a tile is one run of memory.
            let Some(out) = tile.as_slice_mut() else {
                return Ok(());
            };
            for phase in &self.phases {
                let Some([rows, columns]) =
                    self.source.slide_axes(self.blocks.isa, group, phase.first)
                else {
                    continue;
                };
                let slide = Slide {
                    x: &x[image * self.source.image_len()..],
                    weights: &weights[padded * phase.before..],
                    group,
                    channels,
                    rows,
                    columns,
                    bias: finale.bias,
                    bounds,
                    far: self.source.image_len() > FAR || self.is_far(),
                };
                // The first row of the tile that belongs to the phase.
                let above = (phase.first[1] + down - first % down) % down;
                let counts = [
                    rows_here.saturating_sub(above).div_ceil(down),
                    self.source.axes[2].positions(phase.first[2], columns_in_all),
                ];
                let begin = above * line + phase.first[2] * channels;
                if counts[0] > 0 && counts[1] > 0 {
                    let steps = [down * line, right * channels];
                    slide.run(
                        self.blocks.isa,
                        &mut out[begin..],
                        (first + above) / down,
                        counts,
                        steps,
                    );
                }
            }
            Ok(())
        })
    }
}

/// Lines of one task of a depthwise pass, so that the threads have as much to do each.
fn rows_of_task(batch: usize, rows: usize, threads: usize) -> usize {
    if threads == 1 || batch > 1 {
        return SLIDE_ROWS.min((batch * rows).div_ceil(2 * threads));
    }
    let rows = rows.max(1);
    // A few tasks for each thread, or one where that is fairer: 14 rows are 7 and 7, not 8 and 6.
    let few = rows.div_ceil(SLIDE_ROWS).next_multiple_of(2 * threads);
    let busiest = |tasks: usize| rows.div_ceil(tasks) * (tasks / threads);
    rows.div_ceil(match busiest(threads) < busiest(few) {
        true => threads,
        false => few,
    })
}
